package act

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/canary/observe"
)

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
	owners := slices.DeleteFunc(slices.Clone(live.GetManagedFields()), func(e metav1.ManagedFieldsEntry) bool {
		return e.Manager == siskinv1.FieldManager
	})
	annotations := map[string]any{siskinv1.HeldAnnotation: nil, siskinv1.ReplicasAnnotation: nil}
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
	err = a.merge(ctx, live, map[string]any{
		"metadata": map[string]any{"managedFields": owners, "resourceVersion": live.GetResourceVersion()},
	})
	if err != nil { // somebody wrote meanwhile: only the ownership stays with Siskin
		return client.IgnoreNotFound(ignoreConflict(err))
	}
	return nil
}

func (a *Actor) merge(ctx context.Context, obj client.Object, content map[string]any) error {
	data, err := json.Marshal(content)
	if err != nil {
		return fmt.Errorf("encoding a patch of %s: %w", obj.GetName(), err)
	}
	return a.Client.Patch(ctx, obj, client.RawPatch(types.MergePatchType, data), client.FieldOwner(siskinv1.FieldManager))
}
