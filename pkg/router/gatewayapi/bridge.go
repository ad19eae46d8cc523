package gatewayapi

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/router"
	"github.com/siskin-dev/siskin/pkg/router/internal/owned"
)

// A route that its user deletes must not leave a gap until the generated one is taken by the gateway, and the two have
// one name. So an adopted route has a finalizer, and goes in these steps, each in a pass of its own:
//
//  1. the generated route is made under another name, the bridge, while the user's serves on;
//  2. when the bridge is accepted, the finalizer is taken off;
//  3. the generated route is made under its own name;
//  4. when that is accepted, the bridge is deleted.
//
// All of them carry the split that is wanted.

// bridgeLimit is how long a route that is deleted is kept for a bridge that no gateway takes.
const bridgeLimit = 30 * time.Second

// bridgeOf is the name of the bridge.
func bridgeOf(in router.Intent) string { return in.Apex + "-bridge" }

// kept are the finalizers that an adopted route is to have: Siskin's too, if there is a generated route to take its
// place. None can be added to a route that is being deleted.
func (r *Router) kept(ctx context.Context, in router.Intent, a *adoptee) []string {
	has := slices.Contains(a.finalizers, siskinv1.RouteFinalizer)
	if a.live.DeletionTimestamp != nil {
		return a.finalizers
	}
	in, _ = r.feasible(ctx, in)
	_, err := build(in)
	switch {
	case err == nil && !has:
		return append(slices.Clone(a.finalizers), siskinv1.RouteFinalizer)
	case err != nil && has:
		return unfinalized(a.finalizers)
	}
	return a.finalizers
}

func unfinalized(finalizers []string) []string {
	return slices.DeleteFunc(slices.Clone(finalizers), func(f string) bool { return f == siskinv1.RouteFinalizer })
}

// relay has the bridge take the place of an adopted route that is being deleted, and that of the bridge be taken.
func (r *Router) relay(ctx context.Context, in router.Intent) error {
	live, err := r.get(ctx, in)
	if err != nil {
		return err
	}
	if live != nil && live.DeletionTimestamp != nil && slices.Contains(live.Finalizers, siskinv1.RouteFinalizer) {
		return r.cross(ctx, in, live)
	}
	bridge, err := r.named(ctx, in, bridgeOf(in))
	if err != nil || bridge == nil || owned.By(bridge, in.Owner) != owned.Ours {
		return err
	}
	if obs, err := r.observe(ctx, in); err != nil || obs.Evidence >= router.EvidenceAccepted {
		return errors.Join(err, r.dismantle(ctx, in, bridge))
	}
	_, err = r.bridge(ctx, in)
	return err
}

// cross lets a route go that is being deleted, as soon as the bridge carries its traffic, or if there can be none.
func (r *Router) cross(ctx context.Context, in router.Intent, live *gatewayv1.HTTPRoute) error {
	ready, err := r.bridge(ctx, in)
	_, never := errors.AsType[*router.InvalidError](err)
	late := r.planes.clock.Since(live.DeletionTimestamp.Time) > bridgeLimit
	if !ready && !never && !late {
		return err
	}
	return r.unlock(ctx, live)
}

// unlock takes Siskin's finalizer off a route.
func (r *Router) unlock(ctx context.Context, live *gatewayv1.HTTPRoute) error {
	if !slices.Contains(live.Finalizers, siskinv1.RouteFinalizer) {
		return nil
	}
	err := r.patch(ctx, live.DeepCopy(), fields{"metadata": fields{
		"resourceVersion": live.ResourceVersion, "finalizers": unfinalized(live.Finalizers),
	}})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// bridge writes the bridge, and tells whether it carries the split. Errors: *router.InvalidError, if there can be none.
func (r *Router) bridge(ctx context.Context, in router.Intent) (ready bool, err error) {
	in, _ = r.feasible(ctx, in)
	want, err := build(in)
	if err != nil {
		return false, err
	}
	want.Name = bridgeOf(in)
	live, err := r.named(ctx, in, want.Name)
	if err != nil {
		return false, err
	}
	if live != nil && owned.By(live, in.Owner) != owned.Ours {
		return false, invalid("spec.service.name", "HTTPRoute %s exists and is not Siskin's: rename or delete it", live.Name)
	}
	if err := seal(want); err != nil {
		return false, err
	}
	if live != nil && covered(live, want) && same(live.Spec, want.Spec) {
		return accepted(live).accepted, nil
	}
	return false, owned.Write(ctx, r.c, want, &gatewayv1.HTTPRoute{})
}

// dismantle deletes the bridge, if it is this Canary's.
func (r *Router) dismantle(ctx context.Context, in router.Intent, bridge *gatewayv1.HTTPRoute) error {
	if owned.By(bridge, in.Owner) != owned.Ours {
		return nil
	}
	return r.remove(ctx, bridge)
}

// Orphan gives the routes up as they are: a generated one has no owner any more, and nothing of an adopted one waits for Siskin.
func (r *Router) Orphan(ctx context.Context, in router.Intent) error {
	for _, name := range []string{in.Apex, bridgeOf(in)} {
		live, err := r.named(ctx, in, name)
		if err != nil {
			return err
		}
		if live == nil {
			continue
		}
		if err := owned.Orphan(ctx, r.c, live, in.Owner); err != nil {
			return fmt.Errorf("giving HTTPRoute %s up: %w", live.Name, err)
		}
		if holder(live) != in.Owner.Name {
			continue
		}
		if err := r.unlock(ctx, live); err != nil {
			return fmt.Errorf("giving HTTPRoute %s up: %w", live.Name, err)
		}
	}
	return nil
}

// GiveBack restores the routes that the Canary has adopted, under whatever name.
func (r *Router) GiveBack(ctx context.Context, in router.Intent) error {
	var all gatewayv1.HTTPRouteList
	err := r.c.List(ctx, &all, client.InNamespace(in.Owner.Namespace), client.UnsafeDisableDeepCopy,
		client.DisableReadYourWritesConsistency)
	if err != nil {
		return fmt.Errorf("listing the HTTPRoutes that Canary %s left: %w", in.Owner.Name, err)
	}
	for i := range all.Items {
		live := &all.Items[i]
		if holder(live) != in.Owner.Name || owned.By(live, in.Owner) != owned.Foreign {
			continue
		}
		in.Apex, in.Primary, in.Canary = live.Name, live.Name+"-primary", live.Name+"-canary"
		if err := r.restore(ctx, in, live); err != nil {
			return err
		}
	}
	return nil
}
