package canary

import (
	"context"
	"fmt"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/canary/observe"
	"github.com/siskin-dev/siskin/pkg/canary/report"
	"github.com/siskin-dev/siskin/pkg/canary/target"
	"github.com/siskin-dev/siskin/pkg/router/service"
)

// A Canary whose finalizer somebody takes away goes without giving anything back: the target is at zero. Its clones serve
// on, as after deletionPolicy Orphan, since the target owns them too (see Anchored); that is told. Where they are gone,
// what is marked as held by a Canary that does not exist is given back: when that Canary goes, and when Siskin starts.

// The reasons of what becomes of a target that was held by a Canary that is gone.
const (
	// ReasonGivenBack : it has its pods again.
	ReasonGivenBack = "GivenBack"
	// ReasonClonesServe : the clones go on serving in its place.
	ReasonClonesServe = "ClonesServe"
)

// leftAgain is how soon it is gone on with what could not be given back at once.
const leftAgain = 200 * time.Millisecond

// acquaintance is what is remembered of a Canary, should it go without a word.
type acquaintance struct {
	uid          types.UID
	stable, apex string // the promoted revision, and the apex Service
}

// acquainted is what is to be remembered of a Canary.
func acquainted(c *siskinv1.Canary) acquaintance {
	return acquaintance{uid: c.UID, stable: observe.RestoreTo(&c.Status), apex: service.ApexName(c)}
}

// giveBack gives back what the Canary of a name left that does not exist. past is what is remembered of it.
func (r *Reconciler) giveBack(
	ctx context.Context, who types.NamespacedName, past acquaintance,
) (reconcile.Result, error) {
	left, clones, err := r.heldBy(ctx, who)
	if err != nil || len(left) == 0 {
		return reconcile.Result{}, err
	}
	if len(clones) > 0 {
		return reconcile.Result{}, r.leaveClones(ctx, who, left, clones)
	}
	// The caches may be behind, and a Canary may have come again: what is given to the users is looked up.
	if err := r.Actor.Lookup(ctx, who, &siskinv1.Canary{}); !apierrors.IsNotFound(err) {
		return reconcile.Result{}, err
	}
	var again reconcile.Result
	for _, obj := range left {
		done, err := r.giveOneBack(ctx, who, past, obj)
		switch {
		case apierrors.IsConflict(err) || err == nil && !done:
			r.names.Store(who, past)
			again.RequeueAfter = leftAgain
		case err != nil:
			r.names.Store(who, past)
			return reconcile.Result{}, fmt.Errorf("giving back what Canary %s left: %w", who.Name, err)
		}
	}
	return again, nil
}

func (r *Reconciler) giveOneBack(
	ctx context.Context, who types.NamespacedName, past acquaintance, obj client.Object,
) (bool, error) {
	live, err := target.New(target.KindOf(obj))
	if err != nil {
		return false, err
	}
	if err := r.Actor.Lookup(ctx, client.ObjectKeyFromObject(obj), live); err != nil {
		return true, client.IgnoreNotFound(err)
	}
	if live.GetAnnotations()[siskinv1.HeldAnnotation] != who.Name || live.GetDeletionTimestamp() != nil {
		return true, nil
	}
	c := &siskinv1.Canary{ObjectMeta: metav1.ObjectMeta{Namespace: who.Namespace, Name: who.Name, UID: past.uid}}
	c.DeletionTimestamp = new(metav1.NewTime(r.Clock.Now()))
	c.Spec.TargetRef = siskinv1.TargetRef{Kind: target.KindOf(obj), Name: obj.GetName()}
	c.Spec.Service.Name = past.apex
	if past.stable != "" {
		c.Status.Stable = &siskinv1.RevisionStatus{Revision: past.stable}
	}
	w, err := r.Observer.Left(ctx, c)
	if err != nil {
		return false, err
	}
	done, err := r.Actor.GiveBack(ctx, w)
	if err != nil || !done {
		return done, err
	}
	what := "with the content that it has"
	if w.Promoted && w.Snapshots[past.stable] != nil {
		what = "with the promoted revision " + past.stable
	}
	text := fmt.Sprintf("Canary %s is gone without having given this %s back: it has its pods again, %s, and its autoscaler and "+
		"the adopted Services are as their author wrote them; create a Canary to release it in steps again",
		who.Name, target.KindOf(obj), what)
	r.Recorder.Eventf(obj, nil, corev1.EventTypeWarning, ReasonGivenBack, "GiveBack", "%s", report.Note(text))
	return true, nil
}

// leaveClones lets clones serve on that a Canary has left, and tells that it did so by force. Those that deletionPolicy Orphan
// has left have no owner at all.
func (r *Reconciler) leaveClones(ctx context.Context, who types.NamespacedName, held, clones []client.Object) error {
	owned := slices.ContainsFunc(clones, func(o client.Object) bool { return len(o.GetOwnerReferences()) > 0 })
	if !owned {
		return nil
	}
	if err := r.Actor.Lookup(ctx, who, &siskinv1.Canary{}); !apierrors.IsNotFound(err) {
		return err
	}
	for _, obj := range held {
		r.Recorder.Eventf(obj, nil, corev1.EventTypeWarning, ReasonClonesServe, "Leave", "%s", report.Note(fmt.Sprintf(
			"Canary %s is gone without having given this %s back: %s %s serves in its place; create a Canary of that name again, "+
				"and delete that if the %s is to serve itself", who.Name, target.KindOf(obj), target.KindOf(clones[0]), clones[0].GetName(), target.KindOf(obj))))
	}
	return nil
}

// heldBy lists the workloads that are marked as held by the Canary of a name, and the clones that it has left.
func (r *Reconciler) heldBy(
	ctx context.Context, who types.NamespacedName,
) (held, clones []client.Object, err error) {
	kinds := []client.ObjectList{&appsv1.DeploymentList{}, &appsv1.DaemonSetList{}, &appsv1.StatefulSetList{}}
	for _, list := range kinds {
		err := r.Client.List(ctx, list, client.InNamespace(who.Namespace), client.UnsafeDisableDeepCopy,
			client.DisableReadYourWritesConsistency)
		if err != nil {
			return nil, nil, fmt.Errorf("listing what Canary %s left: %w", who.Name, err)
		}
		err = meta.EachListItem(list, func(o runtime.Object) error {
			obj, ok := o.(client.Object)
			if !ok {
				return nil
			}
			switch of := obj.GetLabels()[siskinv1.CanaryLabel]; {
			case of == "" && obj.GetAnnotations()[siskinv1.HeldAnnotation] == who.Name:
				held = append(held, obj)
			case of == who.Name && stays(obj):
				clones = append(clones, obj)
			}
			return nil
		})
		if err != nil {
			return nil, nil, fmt.Errorf("reading what Canary %s left: %w", who.Name, err)
		}
	}
	return held, clones, nil
}

// stays reports whether the API server leaves a clone alone whose Canary is gone: nothing owns it, or something else does.
func stays(obj client.Object) bool {
	refs := obj.GetOwnerReferences()
	other := func(r metav1.OwnerReference) bool { return r.Kind != "Canary" }
	return obj.GetDeletionTimestamp() == nil && (len(refs) == 0 || slices.ContainsFunc(refs, other))
}

// leftovers wakes the Canary by whose name a workload is marked as held, whether it exists or not, when Siskin starts.
func (r *Reconciler) leftovers() handler.EventHandler {
	return r.gathered(handler.EnqueueRequestsFromMapFunc(func(_ context.Context, o client.Object) []reconcile.Request {
		who := types.NamespacedName{Namespace: o.GetNamespace(), Name: o.GetAnnotations()[siskinv1.HeldAnnotation]}
		return []reconcile.Request{{NamespacedName: who}}
	}))
}

// held lets workloads pass that are marked when they are first seen.
func held() predicate.Predicate {
	return predicate.Funcs{
		CreateFunc:  func(e event.CreateEvent) bool { return e.Object.GetAnnotations()[siskinv1.HeldAnnotation] != "" },
		UpdateFunc:  func(event.UpdateEvent) bool { return false },
		DeleteFunc:  func(event.DeleteEvent) bool { return false },
		GenericFunc: func(event.GenericEvent) bool { return false },
	}
}
