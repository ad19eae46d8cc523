package act

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/canary/observe"
)

// disclaims is how often it is tried to give ownership back.
const disclaims = 5

// fence takes the pods of a target without a number away, by a nodeSelector that fits no node, and writes the marks; without marks it
// gives the pods back and takes the marks off.
//
// The nodeSelector is one field to the API server, whoever wrote it. A server-side apply would take the user's part of it over and
// keep it when git gives it up. So only the one key is written, by a merge patch, and those who owned the field go on owning it.
func (a *Actor) fence(ctx context.Context, w *observe.World, marks map[string]string) error {
	live, err := emptyTarget(w)
	if err != nil {
		return err
	}
	if err := a.Live.Get(ctx, client.ObjectKeyFromObject(live), live); err != nil {
		return fmt.Errorf("reading target %s: %w", w.Target.GetName(), err)
	}
	if live.GetUID() != w.Target.GetUID() {
		return fmt.Errorf("target %s was replaced meanwhile", w.Target.GetName())
	}
	owners := others(live, "")
	annotations := map[string]any{siskinv1.HeldAnnotation: nil, siskinv1.ReplicasAnnotation: nil}
	if len(marks) > 0 { // what the deletion of an earlier Canary left
		annotations[siskinv1.RestoredAnnotation], annotations[siskinv1.RestoredFromAnnotation] = nil, nil
	}
	var key any
	for k, v := range marks {
		annotations[k], key = v, "true"
	}
	node := map[string]any{"nodeSelector": map[string]any{siskinv1.HeldAnnotation: key}}
	err = a.merge(ctx, live, map[string]any{
		"metadata": map[string]any{"annotations": annotations, "resourceVersion": live.GetResourceVersion()},
		"spec":     map[string]any{"template": map[string]any{"spec": node}},
	})
	if err != nil {
		return fmt.Errorf("holding or releasing target %s: %w", w.Target.GetName(), err)
	}
	if len(owners) == 0 {
		return nil
	}
	return a.disclaim(ctx, live, owners)
}

// disclaim has the content of live, as Siskin has just written it, belong to those again to whom it belonged before. Its controller, which sees
// the new content, may write the status meanwhile. After any other write the ownership stays with Siskin.
func (a *Actor) disclaim(ctx context.Context, live client.Object, owners []metav1.ManagedFieldsEntry) error {
	written := others(live, "")
	for range disclaims {
		err := a.merge(ctx, live, map[string]any{"metadata": map[string]any{
			"managedFields": slices.Concat(owners, others(live, "status")), "resourceVersion": live.GetResourceVersion(),
		}})
		if !apierrors.IsConflict(err) {
			return client.IgnoreNotFound(err)
		}
		if err := a.Live.Get(ctx, client.ObjectKeyFromObject(live), live); err != nil {
			return client.IgnoreNotFound(err)
		}
		if !equality.Semantic.DeepEqual(others(live, ""), written) {
			return nil
		}
	}
	return nil
}

// others are the entries of all but Siskin about the object itself, or about a subresource.
func others(obj client.Object, subresource string) []metav1.ManagedFieldsEntry {
	return slices.DeleteFunc(slices.Clone(obj.GetManagedFields()), func(e metav1.ManagedFieldsEntry) bool {
		return e.Manager == siskinv1.FieldManager || e.Subresource != subresource
	})
}

func (a *Actor) merge(ctx context.Context, obj client.Object, content map[string]any) error {
	data, err := json.Marshal(content)
	if err != nil {
		return fmt.Errorf("encoding a patch of %s: %w", obj.GetName(), err)
	}
	return a.Client.Patch(ctx, obj, client.RawPatch(types.MergePatchType, data), client.FieldOwner(siskinv1.FieldManager))
}
