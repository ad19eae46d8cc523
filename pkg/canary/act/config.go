package act

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/canary/observe"
	"github.com/siskin-dev/siskin/pkg/canary/target"
)

// takeOver records what the pods of a snapshot read that was written before configuration belonged to revisions, or before its author
// let this ConfigMap or Secret belong to them again: digests, so that the next change is noticed. Its pods go on reading the originals: nothing is restarted.
func (a *Actor) takeOver(ctx context.Context, w *observe.World) error {
	stored := w.Snapshots[w.Unrecorded]
	if stored == nil || w.Sure() != nil || w.Canary.Spec.Suspend || w.Canary.DeletionTimestamp != nil {
		return nil //nolint:nilerr // what is not sure is recorded when it is
	}
	r, err := w.Read(stored)
	if err != nil {
		return err
	}
	text, err := json.Marshal(r.Config.Record(w.Revision.Config))
	if err != nil {
		return fmt.Errorf("encoding the configuration of %s: %w", stored.Name, err)
	}
	fresh := stored.DeepCopy()
	if err := a.annotate(ctx, fresh, siskinv1.ConfigAnnotation, string(text)); err != nil {
		return err
	}
	w.Snapshots[w.Unrecorded] = fresh
	return nil
}

func (a *Actor) annotate(ctx context.Context, cr *appsv1.ControllerRevision, key, value string) error {
	before := cr.DeepCopy()
	metav1.SetMetaDataAnnotation(&cr.ObjectMeta, key, value)
	if err := a.Client.Patch(ctx, cr, client.MergeFrom(before), client.FieldOwner(siskinv1.FieldManager)); err != nil {
		return fmt.Errorf("annotating snapshot %s: %w", cr.Name, err)
	}
	return nil
}

// originals reads what the target's pods read, and makes sure that it is what the revision is named by.
func (a *Actor) originals(ctx context.Context, w *observe.World, config *target.Config) (map[string]client.Object, error) {
	out := map[string]client.Object{}
	for _, it := range config.Copies() {
		obj, err := a.original(ctx, w, it)
		if err != nil {
			return nil, err
		}
		out[it.Copy] = obj
	}
	return out, nil
}

// original reads what an item is the copy of, and makes sure that it has the content that the item has.
func (a *Actor) original(ctx context.Context, w *observe.World, it target.Item) (client.Object, error) {
	obj := target.NewConfig(it.Kind)
	if err := a.Live.Get(ctx, types.NamespacedName{Namespace: w.Canary.Namespace, Name: it.Name}, obj); err != nil {
		return nil, fmt.Errorf("copying %s %s: %w", it.Kind, it.Name, err)
	}
	hash, err := target.Hash(obj)
	if err != nil {
		return nil, err
	}
	if hash != it.Hash {
		a.expire(it.Kind, w.Canary.Namespace, it.Name)
		return nil, fmt.Errorf("copying %s %s: it has changed meanwhile", it.Kind, it.Name)
	}
	return obj, nil
}

func (a *Actor) expire(kind, namespace, name string) {
	if a.Expire != nil {
		a.Expire(kind, namespace, name)
	}
}

// copyConfig makes the copies that a snapshot, as it is stored, refers to, and notes on it that all are there. A copy belongs to all
// snapshots that need it: the garbage collector takes it with the last of them.
func (a *Actor) copyConfig(ctx context.Context, w *observe.World, cr *appsv1.ControllerRevision) error {
	r, err := w.Read(cr)
	if err != nil {
		return err
	}
	originals, err := a.originals(ctx, w, r.Config)
	if err != nil || len(originals) == 0 {
		return err
	}
	for _, it := range r.Config.Copies() {
		want, err := target.CopyConfig(w.Canary.Name, it, originals[it.Copy], reads(cr))
		if err != nil {
			return err
		}
		if _, err := a.ensureCopy(ctx, it, want, originals[it.Copy]); err != nil {
			return err
		}
	}
	return a.annotate(ctx, cr, siskinv1.CopiedAnnotation, "true")
}

// reads is a snapshot as an owner of the copies that it refers to.
func reads(cr *appsv1.ControllerRevision) metav1.OwnerReference {
	return metav1.OwnerReference{APIVersion: appsv1.SchemeGroupVersion.String(), Kind: "ControllerRevision", Name: cr.Name, UID: cr.UID}
}

// ensureCopy creates a copy, or adds the owners of want to the one that is there. It tells whether it was created. One that is refused, perhaps
// by an admission policy that asks for labels which the original has, is tried once more with those.
func (a *Actor) ensureCopy(ctx context.Context, it target.Item, want, original client.Object) (created bool, err error) {
	err = a.Live.Create(ctx, want, client.FieldOwner(siskinv1.FieldManager))
	if apierrors.IsForbidden(err) || apierrors.IsInvalid(err) || apierrors.IsBadRequest(err) {
		target.Resemble(want, original)
		err = a.Live.Create(ctx, want, client.FieldOwner(siskinv1.FieldManager))
	}
	if err == nil {
		return true, nil
	}
	if !apierrors.IsAlreadyExists(err) {
		return false, fmt.Errorf("copying %s %s: %w", it.Kind, it.Name, err)
	}
	have := target.NewConfig(it.Kind)
	if err := a.Live.Get(ctx, client.ObjectKeyFromObject(want), have); err != nil {
		return false, fmt.Errorf("reading %s %s: %w", it.Kind, it.Copy, err)
	}
	hash, err := target.Hash(have)
	wanted, err2 := target.Hash(want)
	if err := errors.Join(err, err2); err != nil {
		return false, err
	}
	if hash != wanted || have.GetLabels()[siskinv1.CanaryLabel] != want.GetLabels()[siskinv1.CanaryLabel] {
		return false, &observe.InvalidSpecError{Field: "spec.targetRef", Message: fmt.Sprintf(
			"%s %s exists and is not Siskin's copy of %s: rename or delete it", it.Kind, it.Copy, it.Name)}
	}
	owners := have.GetOwnerReferences()
	for _, owner := range want.GetOwnerReferences() {
		if !slices.ContainsFunc(owners, func(o metav1.OwnerReference) bool { return o.UID == owner.UID }) {
			owners = append(slices.Clone(owners), owner)
		}
	}
	if len(owners) == len(have.GetOwnerReferences()) {
		return false, nil
	}
	before, ok := have.DeepCopyObject().(client.Object)
	if !ok {
		return false, fmt.Errorf("copying %T %s", have, have.GetName())
	}
	have.SetOwnerReferences(owners)
	patch := client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})
	if err := a.Live.Patch(ctx, have, patch, client.FieldOwner(siskinv1.FieldManager)); err != nil {
		return false, fmt.Errorf("keeping %s %s: %w", it.Kind, it.Copy, err)
	}
	return false, nil
}
