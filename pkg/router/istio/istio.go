// Package istio is the router for Istio: one VirtualService per Canary, generated from spec.service or adopted from its author, with
// primary and canary as weighted destinations, and a DestinationRule for each if there is a trafficPolicy.
package istio

import (
	"context"
	"fmt"

	istiov1 "istio.io/client-go/pkg/apis/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/metrics/meter"
	"github.com/siskin-dev/siskin/pkg/router"
	"github.com/siskin-dev/siskin/pkg/router/internal/owned"
)

// Name of the provider.
const Name = "istio"

// +kubebuilder:rbac:groups=networking.istio.io,resources=virtualservices;destinationrules,verbs=get;list;watch;create;patch;delete

// Reasons of an Observation that are Siskin's own; others are codes of Istio's analysis.
const (
	// ReasonRouteMissing : there is no VirtualService.
	ReasonRouteMissing = "RouteMissing"
	// ReasonForeignRoute : the VirtualService of that name is its author's, and not adopted.
	ReasonForeignRoute = "ForeignRoute"
	// ReasonSpecDiffers : somebody else wrote into the VirtualService.
	ReasonSpecDiffers = "SpecDiffers"
	// ReasonNoApex : no rule of the adopted VirtualService leads to the apex Service.
	ReasonNoApex = "NoApexDestination"
	// ReasonSettling : Istio is given time to take what was written.
	ReasonSettling = "Settling"
	// ReasonNotReconciled : istiod says that not all proxies have what was written.
	ReasonNotReconciled = "NotReconciled"
)

// Router writes one VirtualService, and DestinationRules.
type Router struct {
	c     client.Client
	live  client.Reader
	clock clock.PassiveClock
}

var _ router.Router = (*Router)(nil)

// New returns a Router that reads from and writes through c. live reads whole VirtualServices of others, and field managers, from the
// API server; clk tells how long ago something was written.
func New(c client.Client, live client.Reader, clk clock.PassiveClock) *Router {
	return &Router{c: c, live: live, clock: clk}
}

// Validate builds everything and throws it away.
func (r *Router) Validate(in router.Intent) error {
	if in.Port <= 0 {
		in.Port = 1 // that it is missing is told where it is looked for
	}
	if _, err := trafficPolicy(in); err != nil {
		return err
	}
	b, err := generate(in)
	if err != nil {
		return err
	}
	_, _, err = weave(b.rules, in)
	return err
}

// Apply writes the VirtualService and the DestinationRules if they differ: a rule for a version before it is led to, and after it is
// not any more. When spec.service is invalid, the weights are still moved on the rules as they were, and what else leads to the canary is
// taken out, so that a wrong edit never holds up a rollback; the *InvalidError is returned all the same, and Observe tells what was
// reached.
func (r *Router) Apply(ctx context.Context, in router.Intent) (router.Receipt, error) {
	if err := r.Capabilities(ctx, in.Owner).Check(Name, in); err != nil {
		return router.Receipt{}, err
	}
	live, err := r.get(ctx, in)
	if err != nil {
		return router.Receipt{}, err
	}
	theirs, live, err := r.theirs(ctx, in, live)
	if err != nil {
		return router.Receipt{}, err
	}
	write := r.generate
	if theirs {
		write = r.adopt
	}
	changed, refused, err := r.applyRules(ctx, in)
	if err != nil {
		return router.Receipt{}, err
	}
	receipt, err := write(ctx, in, live)
	if receipt.Object == "" && changed {
		receipt.Object = "DestinationRule " + in.Primary
	}
	receipt.Changed = receipt.Changed || changed
	if err == nil {
		err = refused
	}
	return receipt, err
}

// theirs tells whether a VirtualService is its author's, and gives up what was generated if somebody else has applied it. It returns what
// then is there.
func (r *Router) theirs(ctx context.Context, in router.Intent, live *istiov1.VirtualService) (bool, *istiov1.VirtualService, error) {
	if live == nil {
		return false, nil, nil
	}
	switch owned.By(live, in.Owner) {
	case owned.Foreign:
		return true, live, nil
	case owned.Leftover:
		return false, live, fmt.Errorf("waiting for VirtualService %s of an earlier Canary to be collected: %w", live.Name, router.ErrNotFound)
	case owned.Ours:
	}
	raw, err := r.claimed(ctx, live)
	if err != nil || raw == nil {
		return false, live, err
	}
	live, err = r.yield(ctx, in, live, raw)
	return live != nil, live, err
}

// Observe reads how far the split got: written, and taken by Istio as far as that can be told.
func (r *Router) Observe(ctx context.Context, in router.Intent) (router.Observation, error) {
	obs := router.Observation{MetricsKind: meter.App}
	live, err := r.get(ctx, in)
	if err != nil {
		return obs, err
	}
	if live == nil {
		obs.Reason, obs.Message = ReasonRouteMissing, fmt.Sprintf("VirtualService %s does not exist.", in.Apex)
		return obs, nil
	}
	if requested(live, in) {
		obs.MetricsKind = meter.Istio
	}
	switch owned.By(live, in.Owner) {
	case owned.Foreign:
		return r.observeAdopted(in, live, obs)
	case owned.Leftover:
		obs.Reason, obs.Message = ReasonForeignRoute, fmt.Sprintf("VirtualService %s is an earlier Canary's.", in.Apex)
		return obs, nil
	case owned.Ours:
		raw, err := r.claimed(ctx, live)
		if err != nil {
			return obs, err
		}
		if raw != nil {
			obs.Current, obs.Known = serving(listsOf(object(raw.Object, "spec")), in)
			obs.Reason = ReasonSpecDiffers
			obs.Message = fmt.Sprintf("VirtualService %s was applied by somebody else, and is not adopted yet.", in.Apex)
			return obs, nil
		}
	}
	return r.observeGenerated(in, live, obs)
}

// Release gives everything back. A generated VirtualService leads to the apex and stays without an owner, so that its clients notice
// nothing; if there is nothing left to serve it is deleted. A Canary of the same name takes it back. An adopted one is as its author
// wants it. Both go before the DestinationRules of the versions that they led to.
func (r *Router) Release(ctx context.Context, in router.Intent) error {
	live, err := r.get(ctx, in)
	if err != nil {
		return err
	}
	if in.Keep {
		if err := r.leaveRule(ctx, in); err != nil {
			return err
		}
	}
	if live != nil {
		switch owned.By(live, in.Owner) {
		case owned.Foreign:
			err = r.restore(ctx, in, live)
		case owned.Ours:
			err = r.giveUpOrYield(ctx, in, live)
		case owned.Leftover:
		}
	}
	if err != nil {
		return err
	}
	return r.removeRules(ctx, in, in.Primary, in.Canary)
}

// giveUpOrYield has what was generated need no Siskin, but what somebody else has applied since is theirs.
func (r *Router) giveUpOrYield(ctx context.Context, in router.Intent, live *istiov1.VirtualService) error {
	raw, err := r.claimed(ctx, live)
	if err != nil {
		return err
	}
	if raw == nil {
		return r.giveUp(ctx, in, live)
	}
	_, err = r.yield(ctx, in, live, raw)
	return err
}

// Orphan leaves what was generated as it is, without an owner. An adopted VirtualService has none.
func (r *Router) Orphan(ctx context.Context, in router.Intent) error {
	live, err := r.get(ctx, in)
	if err != nil {
		return err
	}
	if live != nil {
		if err := owned.Orphan(ctx, r.c, live, in.Owner); err != nil {
			return fmt.Errorf("giving VirtualService %s up: %w", live.Name, err)
		}
	}
	for _, name := range []string{in.Apex, in.Primary, in.Canary} {
		rule, err := r.rule(ctx, in, name)
		if err == nil && rule != nil {
			err = owned.Orphan(ctx, r.c, rule, in.Owner)
		}
		if err != nil {
			return fmt.Errorf("giving DestinationRule %s up: %w", name, err)
		}
	}
	return nil
}

// get returns the VirtualService, or nil if there is none. It is the cache's own: whoever changes it copies it first.
func (r *Router) get(ctx context.Context, in router.Intent) (*istiov1.VirtualService, error) {
	var vs istiov1.VirtualService
	err := r.c.Get(ctx, client.ObjectKey{Namespace: in.Owner.Namespace, Name: in.Apex}, &vs, client.UnsafeDisableDeepCopy)
	switch {
	case apierrors.IsNotFound(err):
		return nil, nil //nolint:nilnil // absence is an answer here, not an error
	case err != nil:
		return nil, fmt.Errorf("reading VirtualService %s/%s: %w", in.Owner.Namespace, in.Apex, err)
	}
	return &vs, nil
}

// requested tells whether a VirtualService splits requests, which Istio counts by version, and not connections.
func requested(live *istiov1.VirtualService, in router.Intent) bool {
	for _, r := range live.Spec.Http {
		for _, to := range r.Route {
			for _, service := range []string{in.Apex, in.Primary, in.Canary} {
				if _, ok := domainOf(to.GetDestination().GetHost(), service, in); ok {
					return true
				}
			}
		}
	}
	return false
}

// names of a Canary's Services.
func names(c *siskinv1.Canary) router.Intent {
	apex := c.Spec.Service.Name
	if apex == "" {
		apex = c.Spec.TargetRef.Name
	}
	return router.Intent{Owner: c, Apex: apex, Primary: apex + "-" + siskinv1.RolePrimary, Canary: apex + "-" + siskinv1.RoleCanary}
}
