package act

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"sigs.k8s.io/controller-runtime/pkg/client"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/canary/observe"
	"github.com/siskin-dev/siskin/pkg/canary/target"
)

// GiveBack gives back what a Canary left that went without doing so: the promoted content, if its snapshot is still
// there, then the number of pods, the autoscalers and the adopted Services. It returns false if something is left to be
// done, by a later call, with a world that is read anew. Of two who try, one writes.
func (a *Actor) GiveBack(ctx context.Context, w *observe.World) (done bool, err error) {
	if name := observe.RestoreTo(&w.Canary.Status); w.Target != nil && !w.Promoted && w.Snapshots[name] != nil {
		return false, a.restoreTarget(ctx, w, name)
	}
	if w.Target != nil {
		var out Outcome
		if err := a.release(ctx, w, recordedReplicas(w), &out); err != nil {
			return false, fmt.Errorf("giving target %s its pods back: %w", w.Target.GetName(), err)
		}
		if out.Later > 0 { // it was written meanwhile
			return false, nil
		}
	}
	in := a.serviceInput(w)
	in.Keep = w.Target != nil
	released := a.Services.Release(ctx, in)
	if released != nil {
		released = fmt.Errorf("giving the Services back: %w", released)
	}
	return true, errors.Join(a.restoreScaler(ctx, w), released, unrouted(ctx, w))
}

// unrouted gives back what routers have adopted.
func unrouted(ctx context.Context, w *observe.World) error {
	var errs []error
	for _, r := range w.Routers {
		errs = append(errs, r.GiveBack(ctx, w.Intent))
	}
	return errors.Join(errs...)
}

// Lookup reads an object past the caches.
func (a *Actor) Lookup(ctx context.Context, key client.ObjectKey, obj client.Object) error {
	return a.live().Get(ctx, key, obj)
}

// recordedReplicas is the number of pods that the user wants, as it is noted on a held target; 1 where somebody took the
// note away.
func recordedReplicas(w *observe.World) int32 {
	if st := target.Observe(w.Target); st.Replicas > 0 { // somebody has given it pods
		return st.Replicas
	}
	n, err := strconv.ParseInt(w.Target.GetAnnotations()[siskinv1.ReplicasAnnotation], 10, 32)
	if err != nil || n < 0 {
		return 1
	}
	return int32(n)
}
