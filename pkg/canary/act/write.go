package act

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/client"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/canary/target"
	"github.com/siskin-dev/siskin/pkg/internal/ssa"
)

// cloneOver makes the clone of a revision as it can be written over live, which is nil if there is none. Pods of an
// earlier Siskin get the label siskin.dev/clone with another revision, or when there are none that it could restart.
func cloneOver(c *siskinv1.Canary, live client.Object, role, name string, r target.Revision, replicas int32) (client.Object, error) {
	want, err := target.Clone(c, role, name, r, replicas)
	if err != nil || live == nil {
		return want, err
	}
	another := live.GetAnnotations()[siskinv1.RevisionAnnotation] != name
	target.Over(want, live, another || replicas > 0 && podless(live))
	return want, nil
}

// podless tells that a clone has no pods.
func podless(clone client.Object) bool {
	st := target.Observe(clone)
	return st.Replicas == 0 && st.Pods == 0 && st.Observed >= clone.GetGeneration()
}

// write writes a clone over live, nil if there is none, in the version that is given, or in any. The API server takes
// by create and update what it refuses to apply, such as two variables of one name. A clone that has been written as
// a whole is never applied again: what an update wrote would stay beside what an apply writes.
func (a *Actor) write(ctx context.Context, want, live client.Object, version string) error {
	if live != nil && live.GetAnnotations()[siskinv1.WholeAnnotation] != "" {
		return a.whole(ctx, want, live, version)
	}
	written, err := target.New(target.KindOf(want))
	if err != nil {
		return err
	}
	refused := ssa.ApplyOwned(ctx, a.Client, want, written, version)
	if !unappliable(refused) || target.KindOf(want) == target.Service {
		return refused
	}
	err = a.whole(ctx, want, live, version)
	if apierrors.IsInvalid(refused) && apierrors.IsInvalid(err) {
		return refused // it is the content
	}
	return err
}

// unappliable tells that an apply was refused for what it is or says, so that another kind of write may be taken. The
// API server has no reason for what it cannot merge.
func unappliable(err error) bool {
	if apierrors.IsInvalid(err) {
		return true
	}
	status, ok := errors.AsType[*apierrors.StatusError](err)
	return ok && status.ErrStatus.Code == http.StatusInternalServerError && status.ErrStatus.Reason == metav1.StatusReasonUnknown
}

// whole creates a clone, or replaces live. With a version the caller looks again after a conflict.
func (a *Actor) whole(ctx context.Context, want, live client.Object, version string) error {
	kind := target.KindOf(want)
	if live == nil {
		target.Whole(want)
		if err := a.Client.Create(ctx, want, client.FieldOwner(siskinv1.FieldManager)); err != nil {
			return fmt.Errorf("creating %s %s: %w", kind, want.GetName(), err)
		}
		return nil
	}
	if version != "" {
		return a.replace(ctx, want, live)
	}
	return retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		err := a.replace(ctx, want, live)
		if !apierrors.IsConflict(err) {
			return err
		}
		fresh, newErr := target.New(kind)
		if newErr != nil {
			return newErr
		}
		if getErr := a.live().Get(ctx, client.ObjectKeyFromObject(live), fresh); getErr != nil {
			return fmt.Errorf("reading %s %s again: %w", kind, live.GetName(), getErr)
		}
		live = fresh
		return err
	})
}

// replace makes live what want is, if it still is what was read.
func (a *Actor) replace(ctx context.Context, want, live client.Object) error {
	next, ok := live.DeepCopyObject().(client.Object)
	if !ok {
		return fmt.Errorf("copying %T %s", live, live.GetName())
	}
	target.Replace(next, want)
	if err := a.Client.Update(ctx, next, client.FieldOwner(siskinv1.FieldManager)); err != nil {
		return fmt.Errorf("replacing %s %s: %w", target.KindOf(want), want.GetName(), err)
	}
	return nil
}
