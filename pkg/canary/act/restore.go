package act

import (
	"context"
	"errors"
	"fmt"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/canary/observe"
	"github.com/siskin-dev/siskin/pkg/canary/target"
	"github.com/siskin-dev/siskin/pkg/internal/restored"
)

// restoreTarget gives the target the content of a promoted revision, and takes a pause off it, which would keep it from
// serving that. Its size stays. What its pods read is the original as long as that has the content of the revision,
// else the revision's copy, which stays.
//
// It is written as nobody's: those who owned the fields go on owning them, so that whoever applies the target again
// meets no conflict.
func (a *Actor) restoreTarget(ctx context.Context, w *observe.World, name string) error {
	snapshot := w.Snapshots[name]
	if snapshot == nil {
		return fmt.Errorf("restoring the target: the snapshot of revision %s does not exist", name)
	}
	r, err := w.Read(snapshot)
	if err != nil {
		return err
	}
	r, err = a.readable(ctx, w, r)
	if err != nil {
		return err
	}
	return a.rewriteTarget(ctx, w, func(obj client.Object) {
		notes := obj.GetAnnotations()
		if notes == nil {
			notes = map[string]string{}
		}
		notes[siskinv1.RestoredAnnotation] = name
		if target.Paused(obj) {
			notes[siskinv1.UnpausedAnnotation] = "true"
		}
		target.Pause(obj, false)
		was, isPods := target.Template(obj)
		r.Restore(obj)
		if is, _ := target.Template(obj); isPods && !equality.Semantic.DeepEqual(was, is) {
			notes[siskinv1.RestoredFromAnnotation] = restored.Note(was, is)
			noteApplied(notes, is)
		}
		obj.SetAnnotations(notes)
	})
}

// pauseTarget puts the pause back that restoreTarget took off.
func (a *Actor) pauseTarget(ctx context.Context, w *observe.World) error {
	return a.rewriteTarget(ctx, w, func(obj client.Object) {
		notes := obj.GetAnnotations()
		if _, ok := notes[siskinv1.UnpausedAnnotation]; !ok {
			return
		}
		delete(notes, siskinv1.UnpausedAnnotation)
		obj.SetAnnotations(notes)
		target.Pause(obj, true)
	})
}

// readable returns r whose pods read what they are to read, and takes the owners off the copies that they do.
func (a *Actor) readable(ctx context.Context, w *observe.World, r target.Revision) (target.Revision, error) {
	if r.Config == nil {
		return r, nil
	}
	var errs []error
	out := r.Reading(func(it target.Item) bool {
		if a.unchanged(ctx, w, it) {
			return false
		}
		if it.Hash == "" { // it did not exist: nothing has the name of its copy
			return true
		}
		kept, err := a.keepCopy(ctx, w, it)
		errs = append(errs, err)
		return kept
	})
	return out, errors.Join(errs...)
}

// unchanged tells whether the original of an item has the content that the item has. If that cannot be found out, it
// may have another.
func (a *Actor) unchanged(ctx context.Context, w *observe.World, it target.Item) bool {
	obj := target.NewConfig(it.Kind)
	err := a.live().Get(ctx, types.NamespacedName{Namespace: w.Canary.Namespace, Name: it.Name}, obj)
	if err != nil || it.Hash == "" {
		return apierrors.IsNotFound(err) && it.Hash == ""
	}
	hash, err := target.Hash(obj)
	return err == nil && hash == it.Hash
}

// keepCopy takes the owners off a copy, so that it outlives its snapshots. It returns false if there is none.
func (a *Actor) keepCopy(ctx context.Context, w *observe.World, it target.Item) (bool, error) {
	obj := target.NewConfig(it.Kind)
	err := a.live().Get(ctx, types.NamespacedName{Namespace: w.Canary.Namespace, Name: it.Copy}, obj)
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("keeping %s %s: %w", it.Kind, it.Copy, err)
	}
	before, ok := obj.DeepCopyObject().(client.Object)
	if !ok {
		return false, fmt.Errorf("copying %T %s", obj, it.Copy)
	}
	if len(obj.GetOwnerReferences()) == 0 {
		return true, nil
	}
	obj.SetOwnerReferences(nil)
	patch := client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})
	if err := a.Live.Patch(ctx, obj, patch, client.FieldOwner(siskinv1.FieldManager)); err != nil {
		return false, fmt.Errorf("keeping %s %s: %w", it.Kind, it.Copy, err)
	}
	return true, nil
}

// rewriteTarget changes the target as it is now, and leaves its fields to those who owned them.
func (a *Actor) rewriteTarget(ctx context.Context, w *observe.World, change func(client.Object)) error {
	if w.Target == nil {
		return nil
	}
	live, err := emptyTarget(w)
	if err != nil {
		return err
	}
	if err := a.live().Get(ctx, client.ObjectKeyFromObject(live), live); err != nil {
		return fmt.Errorf("reading target %s: %w", w.Target.GetName(), err)
	}
	if live.GetUID() != w.Target.GetUID() {
		return fmt.Errorf("target %s was replaced meanwhile", w.Target.GetName())
	}
	before, ok := live.DeepCopyObject().(client.Object)
	if !ok {
		return fmt.Errorf("copying %T %s", live, live.GetName())
	}
	change(live)
	if equality.Semantic.DeepEqual(before, live) {
		return nil
	}
	patch := client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})
	if err := a.Client.Patch(ctx, live, patch, client.FieldOwner(siskinv1.FieldManager)); err != nil {
		return fmt.Errorf("restoring target %s: %w", w.Target.GetName(), err)
	}
	owners, err := inherited(before.GetManagedFields(), live.GetManagedFields())
	if err != nil || len(owners) == 0 {
		return err
	}
	return a.disclaim(ctx, live, owners)
}
