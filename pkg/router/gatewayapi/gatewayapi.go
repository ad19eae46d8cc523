// Package gatewayapi is the router for the Gateway API: one HTTPRoute per Canary, generated from spec.service, with primary
// and canary as weighted backends. Its parents are Gateways, or Services in a mesh (GAMMA).
package gatewayapi

import (
	"context"
	"errors"
	"fmt"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/router"
	"github.com/siskin-dev/siskin/pkg/router/internal/owned"
)

// Name of the provider.
const Name = "gatewayapi"

// Router writes one HTTPRoute.
type Router struct{ c client.Client }

var _ router.Router = (*Router)(nil)

// New returns a Router that reads from and writes through c.
func New(c client.Client) *Router { return &Router{c: c} }

// Registration registers the router.
func Registration() router.Registration {
	return router.Registration{
		New:  func(c client.Client) router.Router { return New(c) },
		Owns: []client.Object{&gatewayv1.HTTPRoute{}},
	}
}

// Capabilities : whole percentages; that a controller accepted the route is the most that the standard tells.
func (r *Router) Capabilities(context.Context, *siskinv1.Canary) router.Capabilities {
	return capabilities
}

var capabilities = router.Capabilities{Weighted: true, Ceiling: router.EvidenceAccepted} //nolint:gochecknoglobals // a constant

// Apply writes the HTTPRoute if it differs. When spec.service is invalid, the weights are still moved on the route as it is, so
// that a wrong edit never holds up a rollback; the *InvalidError is returned all the same, and Observe tells what was
// reached.
func (r *Router) Apply(ctx context.Context, in router.Intent) (router.Receipt, error) {
	if err := capabilities.Check(Name, in.Split); err != nil {
		return router.Receipt{}, err
	}
	live, err := r.get(ctx, in)
	if err != nil {
		return router.Receipt{}, err
	}
	if live != nil {
		if err := ours(live, in); err != nil {
			return router.Receipt{}, err
		}
	}
	want, refused := desired(in, live)
	if want == nil {
		return router.Receipt{}, refused
	}
	if live != nil && owned.MetaCovers(live, want) && same(live.Spec, want.Spec) {
		return router.Receipt{}, refused
	}
	return router.Receipt{Changed: true}, errors.Join(refused, owned.Write(ctx, r.c, want))
}

// desired is the route that the intent asks for or, if that is refused, the live one with other weights, if there is one.
func desired(in router.Intent, live *gatewayv1.HTTPRoute) (*gatewayv1.HTTPRoute, error) {
	want, err := build(in)
	if err == nil || live == nil {
		return want, err
	}
	want = &gatewayv1.HTTPRoute{ObjectMeta: owned.Meta(in.Owner, in.Apex, in.Owner.Spec.Service.Apex), Spec: *live.Spec.DeepCopy()}
	if !reweigh(&want.Spec, in) {
		return nil, err
	}
	return want, errors.Join(err, owned.Seal(want, want))
}

// reweigh sets the weights of the backends in every rule that has both, and tells whether there is one.
func reweigh(spec *gatewayv1.HTTPRouteSpec, in router.Intent) bool {
	found := false
	for i := range spec.Rules {
		primary, canary := pair(&spec.Rules[i], in)
		if primary != nil && canary != nil {
			primary.Weight, canary.Weight = &in.Split.Primary, &in.Split.Canary
			found = true
		}
	}
	return found
}

// pair finds the two backends of a rule.
func pair(rule *gatewayv1.HTTPRouteRule, in router.Intent) (primary, canary *gatewayv1.BackendRef) {
	for i := range rule.BackendRefs {
		switch ref := &rule.BackendRefs[i].BackendRef; string(ref.Name) {
		case in.Primary:
			primary = ref
		case in.Canary:
			canary = ref
		}
	}
	return primary, canary
}

// Observe reads how far the split got: written, and accepted by every parent at this generation.
func (r *Router) Observe(ctx context.Context, in router.Intent) (router.Observation, error) {
	if err := capabilities.Check(Name, in.Split); err != nil {
		return router.Observation{}, err
	}
	obs := router.Observation{MetricsKind: "app"}
	live, err := r.get(ctx, in)
	if err != nil {
		return obs, err
	}
	if live == nil {
		obs.Reason, obs.Message = ReasonRouteMissing, fmt.Sprintf("HTTPRoute %s does not exist.", in.Apex)
		return obs, nil
	}
	if owned.By(live, in.Owner) != owned.Ours {
		obs.Reason, obs.Message = ReasonForeignRoute, fmt.Sprintf("HTTPRoute %s is not Siskin's.", in.Apex)
		return obs, nil
	}
	obs.MetricsKind = metricsKind(live)
	obs.Current, obs.Known = current(live.Spec, in)
	want, _ := desired(in, live) // What is invalid is Apply's to tell.
	if want == nil || !same(live.Spec, want.Spec) {
		obs.Reason = ReasonSpecDiffers
		obs.Message = fmt.Sprintf("HTTPRoute %s does not say %d/%d: somebody else changed it, or it was not written yet.",
			in.Apex, in.Split.Primary, in.Split.Canary)
		return obs, nil
	}
	v := accepted(live)
	obs.Evidence, obs.Reason, obs.Message, obs.Rejected = router.EvidenceWritten, v.reason, v.message, v.rejected
	if v.accepted {
		obs.Evidence = router.EvidenceAccepted
	}
	return obs, nil
}

// Release leads the HTTPRoute to the apex and leaves it without an owner, so that clients of the gateway notice nothing; if
// there is nothing left to serve, it deletes it. A Canary of the same name takes the route back.
func (r *Router) Release(ctx context.Context, in router.Intent) error {
	live, err := r.get(ctx, in)
	if err != nil || live == nil || owned.By(live, in.Owner) != owned.Ours {
		return err
	}
	if in.Keep {
		return r.leave(ctx, in, live)
	}
	err = r.c.Delete(ctx, live, client.Preconditions{UID: &live.UID})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("deleting HTTPRoute %s/%s: %w", live.Namespace, live.Name, err)
	}
	return nil
}

// leave writes the route that needs no Siskin: one backend, the apex.
func (r *Router) leave(ctx context.Context, in router.Intent, live *gatewayv1.HTTPRoute) error {
	route := live.DeepCopy()
	owned.Disown(route, in.Owner)
	for i := range route.Spec.Rules {
		rule := &route.Spec.Rules[i]
		primary, _ := pair(rule, in)
		if primary == nil {
			continue
		}
		apex := *primary.DeepCopy()
		apex.Name, apex.Weight = gatewayv1.ObjectName(in.Apex), new(int32(1))
		rule.BackendRefs = []gatewayv1.HTTPBackendRef{{BackendRef: apex}}
	}
	if equality.Semantic.DeepEqual(live, route) {
		return nil
	}
	patch := client.MergeFromWithOptions(live, client.MergeFromWithOptimisticLock{})
	if err := r.c.Patch(ctx, route, patch, client.FieldOwner(siskinv1.FieldManager)); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("leaving HTTPRoute %s/%s to Service %s: %w", live.Namespace, live.Name, in.Apex, err)
	}
	return nil
}

// get returns the route, or nil if there is none.
func (r *Router) get(ctx context.Context, in router.Intent) (*gatewayv1.HTTPRoute, error) {
	var route gatewayv1.HTTPRoute
	err := r.c.Get(ctx, client.ObjectKey{Namespace: in.Owner.Namespace, Name: in.Apex}, &route)
	switch {
	case apierrors.IsNotFound(err):
		return nil, nil //nolint:nilnil // absence is an answer here, not an error
	case err != nil:
		return nil, fmt.Errorf("reading HTTPRoute %s/%s: %w", in.Owner.Namespace, in.Apex, err)
	}
	return &route, nil
}

func ours(live *gatewayv1.HTTPRoute, in router.Intent) error {
	switch owned.By(live, in.Owner) {
	case owned.Ours:
		return nil
	case owned.Leftover:
		return fmt.Errorf("waiting for HTTPRoute %s of an earlier Canary to be collected: %w", live.Name, router.ErrNotFound)
	case owned.Foreign:
	}
	return invalid("spec.service.name", "HTTPRoute %s exists and is not Siskin's: rename or delete it, or choose another spec.service.name", live.Name)
}

// current is the split that the route states. Foreign weights are turned into percent so that a backend that gets anything
// never counts as 0. When rules disagree, the largest share of the canary counts: what carries traffic must not be scaled away.
func current(spec gatewayv1.HTTPRouteSpec, in router.Intent) (router.Split, bool) {
	canary, known := int64(0), false
	for i := range spec.Rules {
		p, c := weights(&spec.Rules[i], in)
		if p+c == 0 {
			continue
		}
		share := (c*100 + p + c - 1) / (p + c)
		if p > 0 {
			share = min(share, 99)
		}
		if !known || share > canary {
			canary = share
		}
		known = true
	}
	if !known {
		return router.Split{}, false
	}
	return router.Split{Primary: int32(100 - canary), Canary: int32(canary)}, true
}

func weights(rule *gatewayv1.HTTPRouteRule, in router.Intent) (primary, canary int64) {
	weight := func(ref *gatewayv1.BackendRef) int64 {
		switch {
		case ref == nil:
			return 0
		case ref.Weight == nil:
			return 1
		}
		return int64(*ref.Weight)
	}
	p, c := pair(rule, in)
	return weight(p), weight(c)
}
