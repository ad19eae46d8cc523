package gitsync

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
)

// finalize deletes what a deleted GitSync applied, if it is to be deleted, and lets the GitSync go.
func (r *Reconciler) finalize(ctx context.Context, cached *siskinv1.GitSync) (ctrl.Result, error) {
	if !controllerutil.ContainsFinalizer(cached, siskinv1.GitSyncFinalizer) {
		return ctrl.Result{}, nil
	}
	gs := &siskinv1.GitSync{}
	err := r.APIReader.Get(ctx, key(cached), gs) // the inventory in the cache may be older than what was applied
	if apierrors.IsNotFound(err) {
		return ctrl.Result{}, nil
	}
	if err != nil {
		return ctrl.Result{}, fmt.Errorf("reading the GitSync: %w", err)
	}
	s := &run{gs: gs, before: gs.DeepCopy(), stored: gs.DeepCopy(), note: r.memory.get(gs), now: r.Clock.Now()}
	if deletesObjects(gs) {
		if err := r.deleteAll(ctx, s); err != nil {
			o, _ := judge(gs, "", err)
			o.message += "; to let the GitSync go without them, set spec.deletionPolicy: Orphan"
			s.note.failures++
			return r.finish(ctx, s, o)
		}
	}
	if !controllerutil.RemoveFinalizer(gs, siskinv1.GitSyncFinalizer) {
		return ctrl.Result{}, nil
	}
	err = r.Client.Patch(ctx, gs, client.MergeFromWithOptions(s.stored, client.MergeFromWithOptimisticLock{}))
	if client.IgnoreNotFound(err) != nil {
		return ctrl.Result{}, fmt.Errorf("removing the finalizer: %w", err)
	}
	r.memory.forget(key(gs))
	return ctrl.Result{}, nil
}

func deletesObjects(gs *siskinv1.GitSync) bool {
	prune := gs.Spec.Prune == nil || *gs.Spec.Prune
	return prune && !gs.Spec.Suspend && gs.Spec.DeletionPolicy != siskinv1.GitSyncOrphan
}

func (r *Reconciler) deleteAll(ctx context.Context, s *run) error {
	a, err := r.applier(ctx, s.gs)
	if err != nil {
		return err
	}
	p := a.Prune(ctx, recorded(ctx, s.gs), key(s.gs))
	s.done.pruned = p.Deleted
	if len(p.Failures) == 0 {
		return nil
	}
	s.gs.Status.Inventory = stored(p.Kept)
	s.gs.Status.Failures = listed(p.Failures)
	return &objectsError{siskinv1.GitSyncPruneFailed, "not all objects could be deleted", p.Failures}
}
