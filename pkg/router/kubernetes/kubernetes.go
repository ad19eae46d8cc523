// Package kubernetes is the router without a mesh: the apex Service selects either the primary's pods or the canary's. It
// cannot split, so it serves blue/green. Package service writes the apex for it.
package kubernetes

import (
	"context"
	"fmt"
	"maps"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/metrics/meter"
	"github.com/siskin-dev/siskin/pkg/router"
	"github.com/siskin-dev/siskin/pkg/router/internal/owned"
	"github.com/siskin-dev/siskin/pkg/router/service"
)

// Name of the provider.
const Name = "kubernetes"

// Reasons of an Observation.
const (
	// ReasonServiceMissing : there is no apex Service.
	ReasonServiceMissing = "ServiceMissing"
	// ReasonSelectorDiffers : the apex selects another role, or none.
	ReasonSelectorDiffers = "SelectorDiffers"
	// ReasonNoReadyEndpoints : the apex has no ready endpoint.
	ReasonNoReadyEndpoints = "NoReadyEndpoints"
	// ReasonEndpointsDiffer : the endpoints of the apex are not those of the role yet.
	ReasonEndpointsDiffer = "EndpointsDiffer"
)

// Router moves traffic by the selector of the apex Service.
type Router struct {
	c        client.Client
	live     client.Reader
	services *service.Applier
}

var _ router.Router = (*Router)(nil)

// New returns a Router that reads from and writes through c. live reads field managers from the API server.
func New(c client.Client, live client.Reader) *Router {
	return &Router{c: c, live: live, services: service.New(c, live)}
}

// Registration registers the router. Services and EndpointSlices are watched by the engine for every provider.
func Registration() router.Registration {
	return router.Registration{Names: []string{Name}, New: func(c client.Client, live client.Reader) router.Router { return New(c, live) }}
}

// Capabilities : no weights; the EndpointSlices tell what the apex really leads to.
func (r *Router) Capabilities(context.Context, *siskinv1.Canary) router.Capabilities {
	return capabilities
}

var capabilities = router.Capabilities{Ceiling: router.EvidenceProgrammed} //nolint:gochecknoglobals // a constant

// Validate refuses whatever needs more than a switch.
func (r *Router) Validate(in router.Intent) error { return capabilities.Check(Name, in) }

// Apply makes the apex select the primary (100/0) or the canary (0/100).
func (r *Router) Apply(ctx context.Context, in router.Intent) (router.Receipt, error) {
	if err := capabilities.Check(Name, in); err != nil {
		return router.Receipt{}, err
	}
	receipt := router.Receipt{Object: "Service " + in.Apex}
	key := client.ObjectKey{Namespace: in.Owner.Namespace, Name: in.Apex}
	var apex corev1.Service
	if err := r.c.Get(ctx, key, &apex); client.IgnoreNotFound(err) != nil {
		return receipt, fmt.Errorf("reading Service %s: %w", key, err)
	}
	if foreign(&apex) {
		receipt.Foreign = true
		receipt.By = owned.Writer(ctx, r.live, &apex, "selector")
	}
	var err error
	receipt.Changed, err = r.services.Serve(ctx, in, leads(in))
	receipt.Foreign = receipt.Foreign && receipt.Changed
	return receipt, err
}

// leads is the role that the apex selects: the one with the traffic, or the one that stands in for it.
func leads(in router.Intent) string {
	if in.Lent {
		return siskinv1.RoleCanary
	}
	return service.ServingRole(capabilities, in.Split)
}

// foreign tells whether the apex selects another role than the one that Siskin left there.
func foreign(apex *corev1.Service) bool {
	left, adopted := apex.Annotations[siskinv1.ServingAnnotation]
	return adopted && left != apex.Spec.Selector[siskinv1.RoleLabel]
}

// Observe compares the apex's selector with the split, and its endpoints with those of the Service of the role.
func (r *Router) Observe(ctx context.Context, in router.Intent) (router.Observation, error) {
	if err := capabilities.Check(Name, in); err != nil {
		return router.Observation{}, err
	}
	obs := router.Observation{MetricsKind: meter.App}
	var apex corev1.Service
	err := r.c.Get(ctx, client.ObjectKey{Namespace: in.Owner.Namespace, Name: in.Apex}, &apex)
	switch {
	case apierrors.IsNotFound(err):
		obs.Reason, obs.Message = ReasonServiceMissing, fmt.Sprintf("Service %s does not exist.", in.Apex)
		return obs, nil
	case err != nil:
		return obs, fmt.Errorf("reading Service %s/%s: %w", in.Owner.Namespace, in.Apex, err)
	}
	role := apex.Spec.Selector[siskinv1.RoleLabel]
	obs.Current, obs.Known = splitOf(role)
	want, backend := leads(in), in.Primary
	if want == siskinv1.RoleCanary {
		backend = in.Canary
	}
	if in.Lent && role == want { // the primary's share reaches the canary's pods too
		obs.Current = in.Split
	}
	if role != want {
		obs.Reason = ReasonSelectorDiffers
		obs.Message = fmt.Sprintf("Service %s selects the role %q instead of %q.", in.Apex, role, want)
		return obs, nil
	}
	return r.programmed(ctx, in, backend, obs)
}

// Release gives the apex back; the engine lets package service do the rest.
func (r *Router) Release(ctx context.Context, in router.Intent) error {
	return r.services.ReleaseApex(ctx, service.In{Canary: in.Owner, Apex: in.Apex, Keep: in.Keep})
}

// Orphan leaves the apex as it is: the engine takes the Canary out of the owners of the Services.
func (r *Router) Orphan(context.Context, router.Intent) error { return nil }

// GiveBack gives the apex back, as the engine does with all Services that bear the Canary's name.
func (r *Router) GiveBack(ctx context.Context, in router.Intent) error {
	return r.services.ReleaseApex(ctx, service.In{Canary: in.Owner, Apex: in.Apex, Keep: true})
}

// programmed raises the evidence when the apex's ready endpoints are those of the role's own Service.
func (r *Router) programmed(ctx context.Context, in router.Intent, backend string, obs router.Observation) (router.Observation, error) {
	obs.Evidence = router.EvidenceWritten
	have, err := r.ready(ctx, in.Owner.Namespace, in.Apex)
	if err != nil {
		return obs, err
	}
	want, err := r.ready(ctx, in.Owner.Namespace, backend)
	if err != nil {
		return obs, err
	}
	switch {
	case len(have) == 0:
		obs.Reason, obs.Message = ReasonNoReadyEndpoints, fmt.Sprintf("Service %s has no ready endpoint.", in.Apex)
	case !maps.Equal(have, want):
		obs.Reason = ReasonEndpointsDiffer
		obs.Message = fmt.Sprintf("The %d ready endpoints of Service %s are not the %d of %s yet.", len(have), in.Apex, len(want), backend)
	default:
		obs.Evidence = router.EvidenceProgrammed
	}
	return obs, nil
}

// ready returns what a Service leads to: the pods, or the addresses of endpoints that are no pods.
func (r *Router) ready(ctx context.Context, namespace, svc string) (map[string]bool, error) {
	var slices discoveryv1.EndpointSliceList
	err := r.c.List(ctx, &slices, client.InNamespace(namespace), client.MatchingLabels{discoveryv1.LabelServiceName: svc},
		client.DisableReadYourWritesConsistency)
	if err != nil {
		return nil, fmt.Errorf("listing the EndpointSlices of Service %s/%s: %w", namespace, svc, err)
	}
	out := map[string]bool{}
	for _, slice := range slices.Items {
		for _, e := range slice.Endpoints {
			if e.Conditions.Ready != nil && !*e.Conditions.Ready {
				continue
			}
			if e.TargetRef != nil {
				out[e.TargetRef.Kind+"/"+e.TargetRef.Name] = true
				continue
			}
			for _, address := range e.Addresses {
				out[address] = true
			}
		}
	}
	return out, nil
}

// splitOf is what a selector's role means. Without a role all pods are selected: no split that can be told.
func splitOf(role string) (router.Split, bool) {
	switch role {
	case siskinv1.RolePrimary:
		return router.Split{Primary: 100}, true
	case siskinv1.RoleCanary:
		return router.Split{Canary: 100}, true
	default:
		return router.Split{}, false
	}
}
