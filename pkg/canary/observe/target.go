package observe

import (
	"fmt"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/canary/plan"
	"github.com/siskin-dev/siskin/pkg/canary/scaler"
	"github.com/siskin-dev/siskin/pkg/canary/target"
	"github.com/siskin-dev/siskin/pkg/router"
)

// targetOf reads what the user wants of the target. A number that git or a person wrote over the held zero is the new wish.
func targetOf(w *World) plan.Target {
	st := target.Observe(w.Target)
	t := plan.Target{Found: true, Revision: w.RevisionName, Replicas: st.Replicas, Available: st.Available}
	t.Current, t.Old, t.Message = st.Observed >= w.Target.GetGeneration(), max(st.Pods-st.Updated, 0), w.message(w.Target, st.Message)
	if !t.Current {
		t.Available = 0
	}
	t.Serving = max(t.Available-t.Old, 0)
	t.Paused, t.Promoted = target.Paused(w.Target), w.Promoted
	_, t.Unpaused = w.Target.GetAnnotations()[siskinv1.UnpausedAnnotation]
	_, marked := w.Target.GetAnnotations()[siskinv1.HeldAnnotation]
	switch {
	case w.Canary.Spec.TargetRef.Kind == target.Service:
		// It is left as it is: nothing of it has to be held or given back.
		t.Replicas, t.Held, t.Released, t.Available = 1, true, true, min(w.TargetEndpoints, 1)
		t.Serving, t.Old = t.Available, 0
	case !target.Numbered(w.Target):
		t.Replicas, t.Held, t.Released = 1, marked && st.Replicas == 0, !marked && st.Replicas > 0
		t.Serving = all(t.Serving, st.Desired, t.Released && t.Current)
		t.Available = all(t.Available, st.Desired, t.Released && t.Current)
	default:
		t.Released = !marked
		wanted(w, marked, &t)
	}
	t.Stored = w.complete()
	return t
}

// wanted finds out what number of replicas the user wants.
func wanted(w *World, marked bool, t *plan.Target) {
	recorded, err := parseReplicas(w.Target.GetAnnotations()[siskinv1.ReplicasAnnotation])
	switch {
	case !marked && w.unheld && err == nil && (recorded == 0 || t.Replicas > 0): // recorded before there was anything to hold
		t.Replicas = recorded
		t.Off = off(w, recorded)
	case !marked && t.Replicas == 0 && lost(w.Canary) && !w.unheld && w.Target.GetGeneration() != 1: // somebody took the mark away: the zero is still Siskin's
		t.Replicas = *w.Canary.Status.Replicas
	case !marked || t.Replicas != 0:
	case err == nil:
		t.Replicas, t.Held = recorded, true
		t.Off = off(w, recorded)
	case w.Canary.Status.Replicas != nil: // somebody took the record away: the zero is still Siskin's, and nobody's wish
		t.Replicas = *w.Canary.Status.Replicas
	}
}

// unheldAfter is how long after its drain a target may not be held yet, because a write is repeated.
const unheldAfter = 2 * time.Second

// unheld tells whether a Canary has not held its target yet, so that its number is its author's, zero too.
func (o *Observer) unheld(c *siskinv1.Canary) bool {
	switch st := c.Status; {
	case st.Phase == "" || st.Phase == siskinv1.PhaseInitializing:
		return true
	case st.Phase != siskinv1.PhaseInitialized || st.Rollout != nil || st.DrainUntil == nil:
		return false
	default:
		return o.now().Before(st.DrainUntil.Add(unheldAfter))
	}
}

// off tells that the user wants no pods although an autoscaler sizes the app. What switches an app off without Siskin does so here: a
// HorizontalPodAutoscaler leaves a workload alone that has zero replicas, KEDA one that it was told to keep at zero. That the target is
// at zero says nothing, as Siskin holds it there: only the record does, which Siskin never sets to zero under an autoscaler.
func off(w *World, recorded int32) bool {
	if ref := w.Canary.Spec.AutoscalerRef; ref != nil && ref.Kind == scaler.KindHPA {
		return recorded == 0
	}
	return w.Scalers.Main != nil && w.Scalers.Main.Off()
}

// all is 1 if all pods are available; that there is no node for one is nothing to wait for, if that is what the counts say today.
func all(available, desired int32, current bool) int32 {
	if available >= desired && (desired > 0 || current) {
		return 1
	}
	return 0
}

// lost tells that a target without a mark is one that Siskin held.
func lost(c *siskinv1.Canary) bool {
	st := c.Status
	held := st.Phase != "" && st.Phase != siskinv1.PhaseInitializing && st.Phase != siskinv1.PhaseTerminating
	return held && c.DeletionTimestamp == nil && st.Replicas != nil && *st.Replicas > 0
}

// complete tells whether all that the snapshot of the target's content refers to was copied.
func (w *World) complete() bool {
	s, ok := w.Snapshots[w.RevisionName]
	if !ok || target.Complete(s) || w.Unrecorded == w.RevisionName || len(w.Revision.Config.Copies()) == 0 {
		return ok
	}
	r, err := w.Read(s) // what is tracked now may not have been when it was taken
	return err == nil && len(r.Config.Copies()) == 0
}

func (o *Observer) workload(w *World, obj client.Object, role string, endpoints int32) plan.Workload {
	if obj == nil {
		return plan.Workload{}
	}
	st := target.Observe(obj)
	out := plan.Workload{
		Found: true, Revision: obj.GetAnnotations()[siskinv1.RevisionAnnotation], Replicas: st.Replicas, Desired: st.Desired,
		Pods: st.Pods, Updated: st.Updated, Available: st.Available, Endpoints: endpoints,
		Current: st.Observed >= obj.GetGeneration(), Message: w.message(obj, st.Message),
	}
	out.Stuck = st.Stuck && out.Current
	if w.Canary.Spec.TargetRef.Kind == target.Service { // the pods are the user's: the ready endpoints stand for them
		out.Pods, out.Updated, out.Available = st.Replicas, st.Replicas, min(st.Replicas, endpoints)
	}
	out.Drifted = o.drifted(w, obj, role, st.Replicas)
	return out
}

// drifted tells whether somebody changed what makes the revision of a clone.
func (o *Observer) drifted(w *World, obj client.Object, role string, replicas int32) bool {
	revision := obj.GetAnnotations()[siskinv1.RevisionAnnotation]
	snapshot, ok := w.Snapshots[revision]
	if !ok || obj.GetDeletionTimestamp() != nil {
		return false
	}
	version := fmt.Sprintf("%d/%s/%s%s%s", obj.GetGeneration(), revision, snapshot.ResourceVersion, tags(obj), tags(w.Target))
	if w.Canary.Spec.TargetRef.Kind == target.Service { // it has no generation
		version = obj.GetResourceVersion() + version + fmt.Sprint(w.alongside())
	}
	if drifted, ok := o.drifts.get(obj.GetUID(), version); ok {
		return drifted != ""
	}
	r, err := w.Read(snapshot)
	if err != nil {
		return false
	}
	want, err := target.Clone(w.Canary, role, revision, w.Managed(revision, r, obj), replicas)
	if err != nil {
		return false
	}
	target.Over(want, obj, false) // that an earlier Siskin made it without a label is nobody's edit
	drifted := ""
	if !target.Runs(obj, want) || !target.Keeps(obj, want) {
		drifted = "drifted"
	}
	o.drifts.set(obj.GetUID(), version, drifted)
	return drifted != ""
}

// tags name the version of an object's metadata and spec, nil or not. A resource version would change with each count
// of its status.
func tags(obj client.Object) string {
	if obj == nil {
		return "/-"
	}
	return fmt.Sprintf("/%d/%v/%v", obj.GetGeneration(), obj.GetLabels(), obj.GetAnnotations())
}

// releasable refuses what a kind of target and a router cannot do together.
func releasable(c *siskinv1.Canary, caps router.Capabilities) error {
	ref := c.Spec.TargetRef
	if ref.Kind != target.Service {
		return nil
	}
	if !caps.Features.Can(router.FeatureWeights) {
		return &InvalidSpecError{"spec.targetRef.kind", "a Service needs a provider that routes between Services, which this one does not: set spec.provider to gatewayapi"}
	}
	if name := c.Spec.Service.Name; name != "" && name != ref.Name {
		return &InvalidSpecError{"spec.service.name", fmt.Sprintf("a target of kind Service is the apex itself: leave it out, or set it to %s", ref.Name)}
	}
	return nil
}
