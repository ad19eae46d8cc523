// Package gatewayapi is the router for the Gateway API: one HTTPRoute per Canary, generated from spec.service, with primary
// and canary as weighted backends. Its parents are Gateways, or Services in a mesh (GAMMA).
package gatewayapi

import (
	"context"
	"errors"
	"fmt"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/internal/async"
	"github.com/siskin-dev/siskin/pkg/internal/ssa"
	"github.com/siskin-dev/siskin/pkg/metrics/meter"
	"github.com/siskin-dev/siskin/pkg/router"
	"github.com/siskin-dev/siskin/pkg/router/internal/owned"
	"github.com/siskin-dev/siskin/pkg/router/service"
)

// Name of the provider.
const Name = "gatewayapi"

// Router writes one HTTPRoute.
type Router struct {
	c      client.Client
	live   client.Reader
	planes *planes
	wholes *wholes
}

var _ router.Router = (*Router)(nil)

// +kubebuilder:rbac:groups=gateway.networking.k8s.io,resources=httproutes,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups=gateway.networking.k8s.io,resources=gateways;gatewayclasses,verbs=get

// Names are the names of the provider; all mean the same. The versions are those that Flagger's manifests name.
func Names() []string { return []string{Name, Name + ":v1", Name + ":v1beta1"} }

// New returns a Router that reads from and writes through c. live reads Gateways, GatewayClasses and field managers from the API
// server; clk tells how old what it read is.
func New(c client.Client, live client.Reader, clk clock.PassiveClock) *Router {
	return &Router{c: c, live: live, planes: &planes{live: live, clock: clk}, wholes: &wholes{live: live}}
}

// Registration registers the router.
func Registration() router.Registration {
	return router.Registration{
		Names:       Names(),
		AddToScheme: gatewayv1.Install,
		New:         func(c client.Client, live client.Reader) router.Router { return New(c, live, clock.RealClock{}) },
		Owns:        []client.Object{&gatewayv1.HTTPRoute{}},
		Matters:     matters,
		Watches:     []router.Watch{{Object: &gatewayv1.HTTPRoute{}, Of: adopts}},
	}
}

// adopts names the route of a Canary, which may be its user's.
func adopts(c *siskinv1.Canary) []types.NamespacedName {
	return []types.NamespacedName{{Namespace: c.Namespace, Name: service.ApexName(c)}}
}

// ReadBeside has what may be slow to read be read beside the reconcile.
func (r *Router) ReadBeside(reads *async.Reads) { r.planes.reads = reads }

// Validate builds the route and throws it away. That it has no parents is told when it is made: an adopted one has its own.
func (r *Router) Validate(in router.Intent) error {
	if in.Port <= 0 {
		in.Port = 1 // that it is missing is told where it is looked for
	}
	if len(in.Owner.Spec.Service.GatewayRefs) == 0 {
		in.Owner = in.Owner.DeepCopy()
		in.Owner.Spec.Service.GatewayRefs = []gatewayv1.ParentReference{{Name: "any"}}
	}
	if err := vouchable(in.Owner); err != nil {
		return err
	}
	_, err := build(in)
	return err
}

// Apply writes the HTTPRoute if it differs, and looks after a route that another one is to take the place of: see bridge.go.
func (r *Router) Apply(ctx context.Context, in router.Intent) (router.Receipt, error) {
	receipt, err := r.apply(ctx, in)
	if _, refused := errors.AsType[*router.InvalidError](err); err != nil && !refused {
		return receipt, err
	}
	if failed := r.relay(ctx, in); failed != nil {
		return receipt, errors.Join(err, failed)
	}
	return receipt, err
}

// apply writes the HTTPRoute if it differs. When spec.service is invalid, the weights are still moved on the route as it is, and what
// else leads to the canary is taken out, so that a wrong edit never holds up a rollback; the *InvalidError is returned all the same,
// and Observe tells what was reached.
func (r *Router) apply(ctx context.Context, in router.Intent) (router.Receipt, error) {
	if err := r.Capabilities(ctx, in.Owner).Check(Name, in); err != nil {
		return router.Receipt{}, err
	}
	live, err := r.get(ctx, in)
	if err != nil {
		return router.Receipt{}, err
	}
	theirs, live, err := r.theirs(ctx, in, live)
	switch {
	case err != nil:
		return router.Receipt{}, err
	case theirs:
		return r.adopt(ctx, in, live)
	}
	return r.generate(ctx, in, live)
}

// theirs tells whether a route is its user's, and gives up what was generated if somebody else has applied it. It returns
// what then is there.
func (r *Router) theirs(
	ctx context.Context, in router.Intent, live *gatewayv1.HTTPRoute,
) (bool, *gatewayv1.HTTPRoute, error) {
	if live == nil {
		return false, nil, nil
	}
	switch owned.By(live, in.Owner) {
	case owned.Foreign:
		return true, live, nil
	case owned.Leftover:
		return false, live, fmt.Errorf("waiting for HTTPRoute %s of an earlier Canary to be collected: %w",
			live.Name, router.ErrNotFound)
	case owned.Ours:
	}
	claimed, err := r.claimedRoute(ctx, live)
	if claimed && err == nil {
		live, err = r.yield(ctx, in, live)
	}
	return claimed, live, err
}

// generate writes the generated route if it differs.
func (r *Router) generate(
	ctx context.Context, in router.Intent, live *gatewayv1.HTTPRoute,
) (router.Receipt, error) {
	in, unable := r.feasible(ctx, in)
	want, refused := desired(in, live)
	if refused == nil {
		refused = unable
	}
	if want == nil {
		return router.Receipt{}, refused
	}
	if err := seal(want); err != nil {
		return router.Receipt{}, errors.Join(refused, err)
	}
	if live != nil && covered(live, want) && same(live.Spec, want.Spec) {
		return router.Receipt{}, refused
	}
	receipt := router.Receipt{Changed: true, Object: "HTTPRoute " + want.Name}
	if live != nil && foreign(live, in) {
		receipt.Foreign = true
		receipt.By = owned.Writer(ctx, r.live, live, "rules")
	}
	var kept gatewayv1.HTTPRoute
	if err := owned.Write(ctx, r.c, want, &kept); err != nil {
		return receipt, errors.Join(refused, err)
	}
	if !same(kept.Spec, want.Spec) { // and what is not kept is nobody's change
		receipt.Foreign, receipt.By = false, ""
		return receipt, errors.Join(refused, invalid("spec.service",
			"the API server does not keep what is written to HTTPRoute %s: update the CRDs of the Gateway API, or look for a webhook that changes it", want.Name))
	}
	return receipt, refused
}

// desired is the route that the intent asks for or, if that is refused, the live one adjusted to the split, if there is one.
func desired(in router.Intent, live *gatewayv1.HTTPRoute) (*gatewayv1.HTTPRoute, error) {
	want, err := build(in)
	if err == nil || live == nil {
		return want, err
	}
	want = &gatewayv1.HTTPRoute{ObjectMeta: owned.Meta(in.Owner, in.Apex, in.Owner.Spec.Service.Apex), Spec: *live.Spec.DeepCopy()}
	if !adjust(&want.Spec, in) {
		return nil, err
	}
	return want, err
}

// Observe reads how far the split got: written, and accepted by every parent at this generation. While a bridge is there
// nothing is, so that Apply is asked to take it away.
func (r *Router) Observe(ctx context.Context, in router.Intent) (router.Observation, error) {
	obs, err := r.observe(ctx, in)
	if err != nil || obs.Evidence < router.EvidenceAccepted {
		return obs, err
	}
	bridge, err := r.named(ctx, in, bridgeOf(in))
	if err == nil && bridge != nil && owned.By(bridge, in.Owner) == owned.Ours {
		obs.Evidence, obs.Reason = router.EvidenceNone, ReasonBridged
		obs.Message = fmt.Sprintf("HTTPRoute %s, which carried the traffic meanwhile, is still there.", bridge.Name)
	}
	return obs, err
}

// observe is Observe without a look at the bridge.
func (r *Router) observe(ctx context.Context, in router.Intent) (router.Observation, error) {
	obs := router.Observation{MetricsKind: meter.App}
	live, err := r.get(ctx, in)
	if err != nil {
		return obs, err
	}
	if live == nil {
		obs.Reason, obs.Message = ReasonRouteMissing, fmt.Sprintf("HTTPRoute %s does not exist.", in.Apex)
		return obs, nil
	}
	switch owned.By(live, in.Owner) {
	case owned.Leftover:
		obs.Reason, obs.Message = ReasonForeignRoute, fmt.Sprintf("HTTPRoute %s is not Siskin's.", in.Apex)
		return obs, nil
	case owned.Foreign:
		return r.observeAdopted(ctx, in, live)
	case owned.Ours:
		theirs, err := r.claimedRoute(ctx, live)
		if err != nil {
			return obs, err
		}
		if theirs {
			obs.Current, obs.Known = serving(live.Spec, in)
			obs.Reason, obs.Message = ReasonSpecDiffers, fmt.Sprintf("HTTPRoute %s was applied by somebody else, and is not adopted yet.", in.Apex)
			return obs, nil
		}
	}
	obs.MetricsKind = metricsKind(live)
	obs.Counted = obs.MetricsKind.Counted()
	in, _ = r.feasible(ctx, in)
	want, _ := desired(in, live) // What is invalid is Validate's to tell.
	if want == nil || !same(live.Spec, want.Spec) {
		obs.Current, obs.Known = current(live.Spec, in)
		obs.Reason = ReasonSpecDiffers
		obs.Message = fmt.Sprintf("HTTPRoute %s does not say %s: somebody else changed it, or it was not written yet.", in.Apex, in.Split)
		if v := accepted(live); !obs.Known && !v.accepted && !v.rejected { // it leads to neither version: Release wrote it last
			obs.Leaving, obs.Message = true, fmt.Sprintf("HTTPRoute %s leads to Service %s, but %s", in.Apex, in.Apex, v.message)
		}
		return obs, nil
	}
	obs.Current, obs.Known = in.Split, true
	v := accepted(live)
	obs.Evidence, obs.Reason, obs.Message, obs.Rejected = router.EvidenceWritten, v.reason, v.message, v.rejected
	if v.accepted {
		obs.Evidence = router.EvidenceAccepted
	}
	return obs, nil
}

// Release leads the HTTPRoute to the apex and leaves it without an owner, so that clients of the gateway notice nothing; if
// there is nothing left to serve, it deletes it. A Canary of the same name takes the route back. An adopted route is given
// back as its author wants it.
func (r *Router) Release(ctx context.Context, in router.Intent) error {
	if err := r.release(ctx, in); err != nil {
		return err
	}
	bridge, err := r.named(ctx, in, bridgeOf(in))
	if err != nil || bridge == nil {
		return err
	}
	return r.dismantle(ctx, in, bridge)
}

func (r *Router) release(ctx context.Context, in router.Intent) error {
	live, err := r.get(ctx, in)
	if err != nil || live == nil {
		return err
	}
	switch owned.By(live, in.Owner) {
	case owned.Leftover:
		return nil
	case owned.Foreign:
		return r.restore(ctx, in, live)
	case owned.Ours:
		theirs, err := r.claimedRoute(ctx, live)
		if theirs && err == nil {
			_, err = r.yield(ctx, in, live)
		}
		if theirs || err != nil {
			return err
		}
	}
	if in.Keep {
		return r.leave(ctx, in, live)
	}
	return r.remove(ctx, live)
}

// remove deletes a route that is as it was read.
func (r *Router) remove(ctx context.Context, live *gatewayv1.HTTPRoute) error {
	err := r.c.Delete(ctx, live, client.Preconditions{UID: &live.UID})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("deleting HTTPRoute %s/%s: %w", live.Namespace, live.Name, err)
	}
	return nil
}

// leave writes the route that needs no Siskin: one backend, the apex, for all that the users' own match takes.
func (r *Router) leave(ctx context.Context, in router.Intent, live *gatewayv1.HTTPRoute) error {
	route := live.DeepCopy()
	owned.Disown(route, in.Owner)
	for _, key := range []string{siskinv1.AppliedAnnotation, siskinv1.WrittenAnnotation} { // from now on it is whoever writes it
		delete(route.Annotations, key)
	}
	in.Split, in.Affinity, in.Expired = router.Split{Primary: 100}, nil, nil
	if adjust(&route.Spec, in); len(route.Spec.Rules) == 0 {
		route.Spec.Rules = []gatewayv1.HTTPRouteRule{{
			Matches: []gatewayv1.HTTPRouteMatch{{Path: anyPath()}}, BackendRefs: []gatewayv1.HTTPBackendRef{backend(in, in.Apex, 1)},
		}}
	}
	for i := range route.Spec.Rules {
		rule := &route.Spec.Rules[i]
		primary, _ := pair(rule, in)
		if primary == nil {
			continue
		}
		apex := *primary.DeepCopy()
		apex.Name, apex.Weight, apex.Port = gatewayv1.ObjectName(in.Apex), new(int32(1)), new(in.Port)
		rule.BackendRefs = []gatewayv1.HTTPBackendRef{apex}
	}
	if equality.Semantic.DeepEqual(live, route) {
		return nil
	}
	patch := ssa.MergeFrom(live)
	if err := r.c.Patch(ctx, route, patch, client.FieldOwner(siskinv1.FieldManager)); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("leaving HTTPRoute %s/%s to Service %s: %w", live.Namespace, live.Name, in.Apex, err)
	}
	return nil
}

// get returns the route, or nil if there is none. It shares its maps, slices and pointers with the cache: whoever
// changes it copies it first.
func (r *Router) get(ctx context.Context, in router.Intent) (*gatewayv1.HTTPRoute, error) {
	return r.named(ctx, in, in.Apex)
}

func (r *Router) named(ctx context.Context, in router.Intent, name string) (*gatewayv1.HTTPRoute, error) {
	var route gatewayv1.HTTPRoute
	err := r.c.Get(ctx, client.ObjectKey{Namespace: in.Owner.Namespace, Name: name}, &route, client.UnsafeDisableDeepCopy)
	switch {
	case apierrors.IsNotFound(err):
		return nil, nil //nolint:nilnil // absence is an answer here, not an error
	case err != nil:
		return nil, fmt.Errorf("reading HTTPRoute %s/%s: %w", in.Owner.Namespace, name, err)
	}
	return &route, nil
}
