package canary

import (
	"context"
	"slices"

	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/router/service"
)

// mine tells whether a Canary belongs to this controller's shard.
func (r *Reconciler) mine(c client.Object) bool {
	return r.Selector == nil || r.Selector.Matches(labels.Set(c.GetLabels()))
}

// leave forgets a Canary that was given to another shard. All that a rollout depends on is in its status, so that the other shard
// goes on where this one stopped; a decision of this one that comes late is refused, because the label changed the version.
func (r *Reconciler) leave(who types.NamespacedName, c *siskinv1.Canary) {
	r.drop(c.UID)
	r.vanished(who)
}

// sharded lets events of this shard's Canaries pass, and of those that come to it or leave it.
func (r *Reconciler) sharded(inner predicate.Predicate) predicate.Predicate {
	return predicate.Funcs{
		CreateFunc: func(e event.CreateEvent) bool { return r.mine(e.Object) && inner.Create(e) },
		DeleteFunc: func(e event.DeleteEvent) bool { return r.mine(e.Object) && inner.Delete(e) },
		UpdateFunc: func(e event.UpdateEvent) bool {
			was, is := r.mine(e.ObjectOld), r.mine(e.ObjectNew)
			return was != is || is && inner.Update(e)
		},
		GenericFunc: func(e event.GenericEvent) bool { return r.mine(e.Object) && inner.Generic(e) },
	}
}

// freed lets events pass after which a Canary no longer claims what it did, or is gone.
func (r *Reconciler) freed() predicate.Predicate {
	return predicate.Funcs{
		CreateFunc:  func(event.CreateEvent) bool { return false },
		GenericFunc: func(event.GenericEvent) bool { return false },
		UpdateFunc: func(e event.UpdateEvent) bool {
			was, ok := e.ObjectOld.(*siskinv1.Canary)
			is, ok2 := e.ObjectNew.(*siskinv1.Canary)
			return ok && ok2 && (service.ApexName(was) != service.ApexName(is) || !slices.Equal(r.routed(was), r.routed(is)))
		},
	}
}

// rivals wakes the Canaries that claim what a Canary claims, or did.
func (r *Reconciler) rivals() handler.EventHandler {
	return r.gathered(handler.EnqueueRequestsFromMapFunc(func(ctx context.Context, o client.Object) []reconcile.Request {
		c, ok := o.(*siskinv1.Canary)
		if !ok {
			return nil
		}
		var out []reconcile.Request
		for _, key := range r.claimKeys(c) {
			out = append(out, r.requests(ctx, client.InNamespace(c.Namespace), client.MatchingFields{indexClaims: key})...)
		}
		return out
	}))
}
