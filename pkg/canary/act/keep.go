package act

import (
	"context"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/canary/observe"
)

// keep makes the Canary the owner of the snapshots in use that nobody owns: an earlier Canary of its name was deleted and left them.
// Those of a living Canary are owned from the start, so that this writes once, or never.
func (a *Actor) keep(ctx context.Context, w *observe.World) error {
	if w.Canary.Spec.Suspend || w.Canary.DeletionTimestamp != nil {
		return nil
	}
	used := []string{w.RevisionName}
	for _, r := range []*siskinv1.RevisionStatus{w.Canary.Status.Stable, w.Canary.Status.Canary} {
		if r != nil {
			used = append(used, r.Revision)
		}
	}
	for _, name := range used {
		have := w.Snapshots[name]
		if have == nil || metav1.GetControllerOf(have) != nil {
			continue
		}
		fresh := have.DeepCopy()
		if err := a.own(ctx, w.Canary, fresh); err != nil {
			return err
		}
		w.Snapshots[name] = fresh
	}
	return nil
}

func (a *Actor) own(ctx context.Context, c *siskinv1.Canary, cr *appsv1.ControllerRevision) error {
	before := cr.DeepCopy()
	cr.OwnerReferences = append(cr.OwnerReferences, *metav1.NewControllerRef(c, siskinv1.GroupVersion.WithKind("Canary")))
	patch := client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})
	if err := a.Client.Patch(ctx, cr, patch, client.FieldOwner(siskinv1.FieldManager)); err != nil {
		return fmt.Errorf("keeping snapshot %s: %w", cr.Name, err)
	}
	return nil
}
