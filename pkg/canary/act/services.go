package act

import (
	"context"
	"errors"

	"sigs.k8s.io/controller-runtime/pkg/client"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/canary/observe"
	"github.com/siskin-dev/siskin/pkg/canary/target"
	"github.com/siskin-dev/siskin/pkg/router"
	"github.com/siskin-dev/siskin/pkg/router/service"
)

// ownPods tells which Services can select pods by siskin.dev/clone. One that does goes on doing so: from then on each
// template has the label. Where there is no clone yet, which will have it, a Service is left as it is.
func ownPods(w *observe.World) service.Own {
	own := func(clone client.Object, svc string) bool {
		live := w.Live[svc]
		if clone == nil {
			return live == nil || service.Owns(live)
		}
		template, pods := target.Labelled(clone, w.Canary.Name)
		return pods || template && live != nil && service.Owns(live)
	}
	out := service.Own{Primary: own(w.Primary, w.PrimaryService), Canary: own(w.Trial, w.CanaryService)}
	if apex := w.Live[w.Apex]; apex != nil && service.Owns(apex) {
		out.Apex = out.Primary
		if apex.Spec.Selector[siskinv1.RoleLabel] == siskinv1.RoleCanary {
			out.Apex = out.Canary
		}
		return out
	}
	// A router that moves traffic by the apex's selector may lead it to either.
	out.Apex = out.Primary && (out.Canary || w.Trial == nil || podless(w.Trial))
	return out
}

// Check tells what keeps the Services of a Canary that has begun nothing from ever being written: as long as nothing is
// made, spec.service.name can be edited. Errors: *router.InvalidError.
func (a *Actor) Check(ctx context.Context, w *observe.World) error {
	c := w.Canary
	if c.Status.Stable != nil || c.DeletionTimestamp != nil || c.Spec.TargetRef.Kind == target.Service || w.Target == nil {
		return nil
	}
	err := a.Services.Check(ctx, a.serviceInput(w))
	if invalid, ok := errors.AsType[*router.InvalidError](err); ok {
		return invalid
	}
	return nil // it is found again, and told, by whoever writes them
}
