package istio

import (
	"context"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/router"
	"github.com/siskin-dev/siskin/pkg/router/internal/owned"
)

// Capabilities are those of Envoy for requests. Connections can be split, and nothing more.
func (r *Router) Capabilities(ctx context.Context, c *siskinv1.Canary) router.Capabilities {
	out := router.Capabilities{Features: router.Every(router.Yes), Ceiling: router.EvidenceAccepted}
	in := names(c)
	connections := streams(in)
	live, err := r.get(ctx, in)
	if err == nil && live != nil && owned.By(live, c) == owned.Foreign {
		connections = len(live.Spec.Tcp)+len(live.Spec.Tls) > 0 && !requested(live, in)
	}
	if connections {
		out.Features = router.Features{}.With(router.Yes, router.FeatureWeights)
		out.Of = "Istio, for a port of TCP,"
	}
	return out
}
