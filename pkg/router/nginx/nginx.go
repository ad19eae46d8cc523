// Package nginx is the router for the canary annotations of ingress-nginx, and of those who read the same: beside the user's Ingress,
// which is never written, it has a second one with the paths that lead to the apex, which the ingress controller merges into the first.
package nginx

import (
	"context"
	"errors"
	"fmt"

	netv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/metrics/meter"
	"github.com/siskin-dev/siskin/pkg/router"
	"github.com/siskin-dev/siskin/pkg/router/internal/owned"
)

const (
	// Name of the provider.
	Name = "nginx"
	// DefaultPrefix is what ingress-nginx's annotations begin with, unless it is told otherwise.
	DefaultPrefix = "nginx.ingress.kubernetes.io"
	// DisabledClass is the class of a canary Ingress that leads nobody anywhere: no controller serves it. With weight 0 an Ingress
	// would keep users whom a session cookie binds to the canary, and without the annotation canary it would be one like any other.
	DisabledClass = "disabled.siskin.dev"

	kind = "Ingress"
)

// +kubebuilder:rbac:groups=networking.k8s.io,resources=ingresses,verbs=get;list;watch;create;patch;delete

// Reasons of an Observation.
const (
	// ReasonIngressMissing : the user's Ingress does not exist.
	ReasonIngressMissing = "IngressMissing"
	// ReasonNoPath : no path of the user's Ingress can be split any more.
	ReasonNoPath = "NoPath"
	// ReasonRouteMissing : there is no canary Ingress.
	ReasonRouteMissing = "RouteMissing"
	// ReasonForeignRoute : the Ingress of that name is somebody else's.
	ReasonForeignRoute = "ForeignRoute"
	// ReasonSpecDiffers : the canary Ingress does not say what is wanted.
	ReasonSpecDiffers = "SpecDiffers"
	// ReasonCanaryConflict : an older canary Ingress has one of the paths, of which each can have one.
	ReasonCanaryConflict = "CanaryConflict"
	// ReasonSettling : the ingress controller is given time to take what was written.
	ReasonSettling = "Settling"
)

// Router writes one Ingress.
type Router struct {
	c     client.Client
	live  client.Reader
	clock clock.PassiveClock
}

var _ router.Router = (*Router)(nil)

// New returns a Router that reads from and writes through c. live reads field managers from the API server; clk tells how long ago
// something was written.
func New(c client.Client, live client.Reader, clk clock.PassiveClock) *Router {
	return &Router{c: c, live: live, clock: clk}
}

// Capabilities are those of the annotations.
func (r *Router) Capabilities(context.Context, *siskinv1.Canary) router.Capabilities {
	return router.Capabilities{
		Features: router.Features{}.With(router.Yes, router.FeatureWeights, router.FeatureMatchHeader, router.FeatureMatchCookie),
		Ceiling:  router.EvidenceAccepted, Of: "ingress-nginx",
	}
}

// Validate wants an Ingress, and nothing that only its author can say in it.
func (r *Router) Validate(in router.Intent) error {
	ref := in.Owner.Spec.IngressRef
	switch {
	case ref == nil:
		return invalid("spec.ingressRef", "name the Ingress that leads to Service %s", in.Apex)
	case ref.Kind != "" && ref.Kind != kind:
		return invalid("spec.ingressRef.kind", "%s is none of this provider's: name an Ingress", ref.Kind)
	}
	if err := elsewhere(in.Owner.Spec.Service); err != nil {
		return err
	}
	_, err := audience(in)
	return err
}

// Apply writes the canary Ingress if it differs. When the user's Ingress is gone or leads nowhere, or the spec is invalid, the weight is
// still moved on the paths as they were, so that nothing of that holds up a rollback; the error is returned all the same.
func (r *Router) Apply(ctx context.Context, in router.Intent) (router.Receipt, error) {
	if err := r.Capabilities(ctx, in.Owner).Check(Name, in); err != nil {
		return router.Receipt{}, err
	}
	main, live, err := r.both(ctx, in)
	if err != nil {
		return router.Receipt{}, err
	}
	if live != nil {
		switch owned.By(live, in.Owner) {
		case owned.Leftover:
			return router.Receipt{}, fmt.Errorf("waiting for Ingress %s of an earlier Canary to be collected: %w", live.Name, router.ErrNotFound)
		case owned.Foreign:
			return router.Receipt{}, invalid("spec.service.name", "Ingress %s exists and is not Siskin's: rename or delete it, "+
				"or choose another spec.service.name", live.Name)
		case owned.Ours:
		}
	}
	want, refused := desired(in, main, live)
	if want == nil {
		return router.Receipt{}, refused
	}
	receipt, err := r.write(ctx, in, want, live)
	if refused != nil && closed(in) && errors.Is(refused, router.ErrNotFound) {
		refused = nil // nobody is led anywhere, which is what is wanted
	}
	return receipt, errors.Join(refused, err)
}

// Observe reads how far the split got: written, and taken by the ingress controller as far as that can be told.
func (r *Router) Observe(ctx context.Context, in router.Intent) (router.Observation, error) {
	obs := router.Observation{MetricsKind: meter.IngressNGINX}
	main, live, err := r.both(ctx, in)
	switch {
	case err != nil:
		return obs, err
	case live == nil:
		obs.Reason, obs.Message = ReasonRouteMissing, fmt.Sprintf("Ingress %s does not exist.", in.Canary)
		return obs, nil
	case owned.By(live, in.Owner) != owned.Ours:
		obs.Reason, obs.Message = ReasonForeignRoute, fmt.Sprintf("Ingress %s is not this Canary's.", in.Canary)
		return obs, nil
	}
	obs.Current, obs.Known = current(live, in), true
	want, refused := desired(in, main, live)
	switch {
	case want == nil && errors.Is(refused, router.ErrNotFound):
		obs.Reason, obs.Message = ReasonIngressMissing, refused.Error()
		return obs, nil
	case want == nil || !same(live, want, in):
		obs.Reason = ReasonSpecDiffers
		obs.Message = fmt.Sprintf("Ingress %s does not say %s: somebody else changed it, or it was not written yet.", live.Name, in.Split)
		return obs, nil
	case refused != nil && !closed(in):
		obs.Evidence, obs.Reason, obs.Message = router.EvidenceWritten, ReasonNoPath, refused.Error()
		return obs, nil
	}
	obs.Current = in.Split
	if !closed(in) {
		rival, err := r.rival(ctx, in, live)
		if err != nil {
			return obs, err
		}
		if rival != "" {
			obs.Evidence, obs.Rejected, obs.Reason = router.EvidenceWritten, true, ReasonCanaryConflict
			obs.Message = fmt.Sprintf("Ingress %s is a canary for a path of Ingress %s too, and older: delete it, or give it other paths.", rival, live.Name)
			return obs, nil
		}
	}
	return r.settled(obs, live), nil
}

// Release deletes the canary Ingress: the user's leads to the apex by itself.
func (r *Router) Release(ctx context.Context, in router.Intent) error {
	live, err := r.get(ctx, in, in.Canary)
	if err != nil || live == nil || owned.By(live, in.Owner) != owned.Ours {
		return err
	}
	err = r.c.Delete(ctx, live, client.Preconditions{UID: &live.UID})
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("deleting Ingress %s/%s: %w", live.Namespace, live.Name, err)
	}
	return nil
}

// Orphan leaves the canary Ingress without an owner.
func (r *Router) Orphan(ctx context.Context, in router.Intent) error {
	live, err := r.get(ctx, in, in.Canary)
	if err != nil || live == nil {
		return err
	}
	return owned.Orphan(ctx, r.c, live, in.Owner)
}

// GiveBack has nothing to do: the user's Ingress is not written.
func (r *Router) GiveBack(context.Context, router.Intent) error { return nil }

// both are the user's Ingress and the canary's; nil: there is none. They are the cache's own: whoever changes them copies them first.
func (r *Router) both(ctx context.Context, in router.Intent) (main, live *netv1.Ingress, err error) {
	if ref := in.Owner.Spec.IngressRef; ref != nil {
		if main, err = r.get(ctx, in, ref.Name); err != nil {
			return nil, nil, err
		}
	}
	live, err = r.get(ctx, in, in.Canary)
	return main, live, err
}

func (r *Router) get(ctx context.Context, in router.Intent, name string) (*netv1.Ingress, error) {
	var ingress netv1.Ingress
	err := r.c.Get(ctx, client.ObjectKey{Namespace: in.Owner.Namespace, Name: name}, &ingress, client.UnsafeDisableDeepCopy)
	switch {
	case apierrors.IsNotFound(err):
		return nil, nil //nolint:nilnil // absence is an answer here, not an error
	case err != nil:
		return nil, fmt.Errorf("reading Ingress %s/%s: %w", in.Owner.Namespace, name, err)
	}
	return &ingress, nil
}

// closed tells whether nobody is to be led to the canary.
func closed(in router.Intent) bool { return in.Split.Canary == 0 && !in.Split.Audience }

func invalid(field, format string, args ...any) error {
	return &router.InvalidError{Router: Name, Field: field, Message: fmt.Sprintf(format, args...)}
}
