package canary

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/canary/target"
)

// Anchored is a client that gives what a Canary owns a second owner, the target. A deletion in the foreground, which is
// the default of Argo CD, takes all dependents before the owner's finalizers are asked: with the clones, the Services and
// the route the app would be gone before the target serves again. Of an object with another owner that lives the
// garbage collector takes only the reference, also while no controller runs.
func Anchored(c client.Client) client.Client { return &anchored{c} }

type anchored struct{ client.Client }

// Create implements client.Writer.
func (a *anchored) Create(ctx context.Context, obj client.Object, opts ...client.CreateOption) error {
	a.anchor(ctx, obj)
	return a.Client.Create(ctx, obj, opts...)
}

// Update implements client.Writer.
func (a *anchored) Update(ctx context.Context, obj client.Object, opts ...client.UpdateOption) error {
	a.anchor(ctx, obj)
	return a.Client.Update(ctx, obj, opts...)
}

// Patch implements client.Writer. Only an apply says all owners that Siskin wants.
func (a *anchored) Patch(ctx context.Context, obj client.Object, patch client.Patch, opts ...client.PatchOption) error {
	if patch.Type() != types.ApplyPatchType {
		return a.Client.Patch(ctx, obj, patch, opts...)
	}
	data, err := patch.Data(obj)
	if err != nil {
		return fmt.Errorf("reading the apply of %T %s: %w", obj, obj.GetName(), err)
	}
	if data, err = a.anchorApply(ctx, obj.GetNamespace(), data); err != nil {
		return fmt.Errorf("giving %T %s its owners: %w", obj, obj.GetName(), err)
	}
	return a.Client.Patch(ctx, obj, client.RawPatch(types.ApplyPatchType, data), opts...)
}

func (a *anchored) anchor(ctx context.Context, obj client.Object) {
	obj.SetOwnerReferences(a.owners(ctx, obj.GetNamespace(), obj.GetOwnerReferences()))
}

func (a *anchored) anchorApply(ctx context.Context, namespace string, data []byte) ([]byte, error) {
	var content map[string]any
	if err := json.Unmarshal(data, &content); err != nil {
		return nil, err
	}
	meta, _ := content["metadata"].(map[string]any)
	raw, err := json.Marshal(meta["ownerReferences"])
	if err != nil {
		return nil, err
	}
	var refs []metav1.OwnerReference
	if err := json.Unmarshal(raw, &refs); err != nil {
		return nil, err
	}
	owners := a.owners(ctx, namespace, refs)
	if len(owners) == len(refs) {
		return data, nil
	}
	meta["ownerReferences"] = owners
	return json.Marshal(content)
}

// owners are refs with the target, if a Canary is the controller among them and its target is there to stay.
func (a *anchored) owners(ctx context.Context, namespace string, refs []metav1.OwnerReference) []metav1.OwnerReference {
	i := slices.IndexFunc(refs, func(r metav1.OwnerReference) bool {
		return r.Kind == "Canary" && r.APIVersion == siskinv1.GroupVersion.String() && r.Controller != nil && *r.Controller
	})
	if i < 0 {
		return refs
	}
	var c siskinv1.Canary
	if a.read(ctx, namespace, refs[i].Name, &c) != nil || c.UID != refs[i].UID {
		return refs
	}
	obj, err := target.New(c.Spec.TargetRef.Kind)
	if err != nil || a.read(ctx, namespace, c.Spec.TargetRef.Name, obj) != nil || obj.GetDeletionTimestamp() != nil {
		return refs
	}
	gvk, err := a.GroupVersionKindFor(obj)
	if err != nil || slices.ContainsFunc(refs, func(r metav1.OwnerReference) bool { return r.UID == obj.GetUID() }) {
		return refs
	}
	return append(slices.Clone(refs), metav1.OwnerReference{
		APIVersion: gvk.GroupVersion().String(), Kind: gvk.Kind, Name: obj.GetName(), UID: obj.GetUID(),
	})
}

func (a *anchored) read(ctx context.Context, namespace, name string, obj client.Object) error {
	key := types.NamespacedName{Namespace: namespace, Name: name}
	return a.Get(ctx, key, obj, client.UnsafeDisableDeepCopy, client.DisableReadYourWritesConsistency)
}
