package act

import (
	"context"
	"errors"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/client"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/canary/observe"
	"github.com/siskin-dev/siskin/pkg/canary/plan"
	"github.com/siskin-dev/siskin/pkg/canary/scaler"
	"github.com/siskin-dev/siskin/pkg/canary/target"
	"github.com/siskin-dev/siskin/pkg/internal/ssa"
)

// scalers writes autoscalers: through the client whose reads are those of the observer, so that what was written is seen by the next
// pass.
func (a *Actor) scalers() client.Client {
	if a.Scalers != nil {
		return a.Scalers
	}
	return a.Client
}

// live reads past the caches.
func (a *Actor) live() client.Reader {
	if a.Live != nil {
		return a.Live
	}
	return a.Client
}

// applyScaler makes the autoscalers as the spec says. The canary's own comes and goes before the floor is noted on the user's, so that
// what a crash has left out is seen.
func (a *Actor) applyScaler(ctx context.Context, w *observe.World, e plan.ApplyScaler) error {
	errs := []error{a.strays(ctx, w), a.dropLeftover(ctx, w), a.yieldScalers(ctx, w)}
	ref, main := w.Autoscaler(), w.Scalers.Main
	if main == nil {
		errs = append(errs, a.dropCopy(ctx, w))
		return errors.Join(errs...)
	}
	if e.Canary && ref.Canary != nil {
		errs = append(errs, a.applyCopy(ctx, w))
	} else {
		errs = append(errs, a.dropCopy(ctx, w))
	}
	errs = append(errs, a.rewrite(ctx, w, main, func(s *scaler.Scaler) *unstructured.Unstructured { return s.Pointed(ref, e.Floor) }))
	return errors.Join(errs...)
}

// restoreScaler gives the user's autoscaler back to the target.
func (a *Actor) restoreScaler(ctx context.Context, w *observe.World) error {
	errs := []error{a.dropCopy(ctx, w), a.dropLeftover(ctx, w), a.yieldScalers(ctx, w)}
	for _, s := range append(w.Scalers.Strays, w.Scalers.Main) {
		if s != nil && s.Marked() {
			errs = append(errs, a.rewrite(ctx, w, s, (*scaler.Scaler).Restored))
		}
	}
	return errors.Join(errs...)
}

// strays gives the autoscalers back that are not in the spec any more, but for what would wake the target. If none took their place, the
// size that they gave the primary is recorded as the user's.
func (a *Actor) strays(ctx context.Context, w *observe.World) error {
	if n, unrecorded := w.Size(); unrecorded {
		if err := a.hold(ctx, w, n, &Outcome{}); err != nil {
			return err
		}
	}
	var errs []error
	for _, s := range w.Scalers.Strays {
		errs = append(errs, a.rewrite(ctx, w, s, (*scaler.Scaler).Left))
	}
	return errors.Join(errs...)
}

// rewrite changes an autoscaler to what desired says, if it is not so. What it says is worked out of what is written over: if somebody
// has written meanwhile, it is read and worked out again.
func (a *Actor) rewrite(ctx context.Context, w *observe.World, s *scaler.Scaler, desired func(*scaler.Scaler) *unstructured.Unstructured) error {
	current := s
	err := retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		obj := current.Object()
		want := desired(current)
		if scaler.Same(obj, want) {
			return nil
		}
		err := a.scalers().Patch(ctx, want, ssa.MergeFrom(obj), client.FieldOwner(siskinv1.FieldManager))
		if !apierrors.IsConflict(err) {
			return err
		}
		fresh := scaler.New(obj.GroupVersionKind(), obj.GetNamespace(), obj.GetName())
		if err := a.live().Get(ctx, client.ObjectKeyFromObject(obj), fresh); err != nil {
			return err
		}
		current = scaler.Of(fresh, w.Canary.Spec.TargetRef, w.Pods())
		return err
	})
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("writing %s: %w", s, err)
	}
	return nil
}

// applyCopy gives the canary an autoscaler of its own.
func (a *Actor) applyCopy(ctx context.Context, w *observe.World) error {
	want, err := w.Scalers.Main.Copy(w.Canary, w.Canary.Spec.AutoscalerRef.Canary)
	if err != nil {
		return err
	}
	if w.Scalers.Copy != nil && scaler.Runs(w.Scalers.Copy, want) {
		return nil
	}
	live := scaler.New(want.GroupVersionKind(), want.GetNamespace(), want.GetName())
	if w.Scalers.Copy == nil { // one of that name that is not the Canary's is another's
		err := a.live().Get(ctx, client.ObjectKeyFromObject(want), live)
		if err == nil && !metav1.IsControlledBy(live, w.Canary) {
			return usersCopy(w, live)
		}
		if client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("reading the canary's autoscaler: %w", err)
		}
	}
	return ssa.Apply(ctx, a.scalers(), want, live)
}

// usersCopy tells what keeps an autoscaler of the user's, which is not in the cache yet, from being the canary's; nil:
// nothing.
func usersCopy(w *observe.World, live client.Object) error {
	obj, ok := live.(*unstructured.Unstructured)
	if !ok {
		return nil
	}
	why := scaler.Unfit(obj, w.Canary.Spec.TargetRef)
	if why == "" {
		return nil
	}
	return &observe.InvalidSpecError{Field: "spec.autoscalerRef.canary", Message: fmt.Sprintf(
		"%s %s exists and is not Siskin's, and %s: correct, rename or delete it", obj.GetKind(), obj.GetName(), why)}
}

// dropCopy takes the canary's own autoscaler away, before it wakes a canary that was scaled down.
func (a *Actor) dropCopy(ctx context.Context, w *observe.World) error {
	if w.Scalers.Copy == nil {
		return nil
	}
	return a.drop(ctx, w.Scalers.Copy)
}

// yieldScalers gives those up that somebody else has applied since Siskin made them: they lose their owner and all that
// says that they are generated, and have what was applied.
func (a *Actor) yieldScalers(ctx context.Context, w *observe.World) error {
	var errs []error
	for _, obj := range w.Scalers.Claimed {
		live := scaler.New(obj.GroupVersionKind(), obj.GetNamespace(), obj.GetName())
		err := a.live().Get(ctx, client.ObjectKeyFromObject(obj), live)
		if err == nil {
			patch := client.MergeFromWithOptions(live, client.MergeFromWithOptimisticLock{})
			err = a.scalers().Patch(ctx, scaler.Yielded(live, w.Canary), patch, client.FieldOwner(siskinv1.FieldManager))
		}
		if client.IgnoreNotFound(err) != nil {
			errs = append(errs, fmt.Errorf("giving %s %s up to whoever applied it: %w", obj.GetKind(), obj.GetName(), err))
		}
	}
	return errors.Join(errs...)
}

// dropLeftover takes away what the canary had of an autoscaler that the spec named before.
func (a *Actor) dropLeftover(ctx context.Context, w *observe.World) error {
	var errs []error
	for _, obj := range w.Scalers.Leftover {
		errs = append(errs, a.drop(ctx, obj))
	}
	return errors.Join(errs...)
}

func (a *Actor) drop(ctx context.Context, obj *unstructured.Unstructured) error {
	if err := a.scalers().Delete(ctx, obj.DeepCopy()); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("deleting the canary's autoscaler %s: %w", obj.GetName(), err)
	}
	return nil
}

// scaled tells whether an autoscaler writes the number of pods of a clone.
func scaled(w *observe.World, role string) bool {
	if role == siskinv1.RoleCanary {
		return w.Scalers.Copy != nil || w.Scalers.User != nil && w.Autoscaler().Canary != nil
	}
	return w.Scalers.Main != nil && w.Scalers.Main.OnPrimary()
}

// applyScaled applies a clone whose number of pods an autoscaler writes. The number is sent all the same: Siskin may be its only owner,
// and a field without an owner would fall back to one. So it is the number that the clone has in the version that is written over; if
// the autoscaler has changed it since the decision, the autoscaler's stands.
func (a *Actor) applyScaled(ctx context.Context, observed client.Object, decided int32, clone func(replicas int32) (client.Object, error)) error {
	was, live := target.Observe(observed).Replicas, observed
	err := retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		n := decided
		if now := target.Observe(live).Replicas; n > 0 && now > 0 && now != was {
			n = now
		}
		want, err := clone(n)
		if err != nil {
			return err
		}
		err = a.write(ctx, want, live, live.GetResourceVersion())
		if !apierrors.IsConflict(err) {
			return err
		}
		fresh, newErr := target.New(target.KindOf(observed))
		if newErr != nil {
			return newErr
		}
		if err := a.live().Get(ctx, client.ObjectKeyFromObject(observed), fresh); err != nil {
			return fmt.Errorf("reading %s again: %w", observed.GetName(), err)
		}
		live = fresh
		return err
	})
	if err != nil {
		return fmt.Errorf("applying %s under its autoscaler: %w", observed.GetName(), err)
	}
	return nil
}
