package gatewayapi

import (
	"context"
	"strings"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	"sigs.k8s.io/gateway-api/pkg/features"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/router"
)

// Capabilities are what all parents of the route can do. A gateway that accepts a route does not thereby say that it carries it out:
// Traefik accepts a route that mirrors and answers 500 to every request of it. What keeps users from that is what the GatewayClass
// says it supports (status.supportedFeatures), or else what is known of its controller.
func (r *Router) Capabilities(ctx context.Context, c *siskinv1.Canary) router.Capabilities {
	out := everything()
	for _, ref := range c.Spec.Service.GatewayRefs {
		out = least(out, r.parent(ctx, c, defaulted(*ref.DeepCopy())))
	}
	return out
}

// everything that this router can write; that a controller accepted the route is the most that the standard tells.
func everything() router.Capabilities {
	return router.Capabilities{
		Weighted: true, Match: true, Mirror: true, MirrorPercent: true, Affinity: true, Ceiling: router.EvidenceAccepted,
	}
}

func least(a, b router.Capabilities) router.Capabilities {
	a.Mirror, a.MirrorPercent, a.Affinity = a.Mirror && b.Mirror, a.MirrorPercent && b.MirrorPercent, a.Affinity && b.Affinity
	a.NoQueryMatch, a.NoMethodMatch = a.NoQueryMatch || b.NoQueryMatch, a.NoMethodMatch || b.NoMethodMatch
	if a.Of != "" && b.Of != "" {
		a.Of += " and "
	}
	a.Of += b.Of
	return a
}

// parent tells what one parent of the route can do.
func (r *Router) parent(ctx context.Context, c *siskinv1.Canary, ref gatewayv1.ParentReference) router.Capabilities {
	key := gatewayKey{namespace: c.Namespace, name: string(ref.Name)}
	if ref.Namespace != nil {
		key.namespace = string(*ref.Namespace)
	}
	var p plane
	if *ref.Kind == "Gateway" && *ref.Group == gatewayv1.GroupName {
		p = r.planes.of(ctx, key)
	}
	if p.controller == "" { // a Service of a mesh has no class; the class of a Gateway may be out of reach
		p.controller = r.answered(ctx, c, ref)
	}
	out := fromFeatures(p.features)
	if len(p.features) == 0 {
		out = fromController(p.controller)
	}
	out.Of = string(*ref.Kind) + " " + key.namespace + "/" + key.name
	if p.controller != "" {
		out.Of += " of " + p.controller
	} else {
		out.Of += " (" + p.why + ")"
	}
	return out
}

// answered is the controller that has answered for a parent of the Canary's route, if there is one.
func (r *Router) answered(ctx context.Context, c *siskinv1.Canary, ref gatewayv1.ParentReference) string {
	live, err := r.get(ctx, router.Intent{Owner: c, Apex: apexName(c)})
	if err != nil || live == nil {
		return ""
	}
	for _, parent := range live.Status.Parents {
		if sameParent(c.Namespace, ref, parent.ParentRef) {
			return string(parent.ControllerName)
		}
	}
	return ""
}

// fromFeatures reads what a GatewayClass says. The standard has no feature for filters on the answers of one backend, which keep users
// at a version: whoever filters the requests of one backend and the answers of a rule does that too.
func fromFeatures(said map[features.FeatureName]bool) router.Capabilities {
	out := everything()
	out.Mirror = said[features.SupportHTTPRouteRequestMirror]
	out.MirrorPercent = out.Mirror && said[features.SupportHTTPRouteRequestPercentageMirror]
	out.Affinity = said[features.SupportHTTPRouteBackendRequestHeaderModification] && said[features.SupportHTTPRouteResponseHeaderModification]
	out.NoQueryMatch = !said[features.SupportHTTPRouteQueryParamMatching]
	out.NoMethodMatch = !said[features.SupportHTTPRouteMethodMatching]
	return out
}

// fromController is what conformance reports say of controllers whose GatewayClass says nothing. Of others it is assumed that they match
// requests and keep users, and not that they mirror: to be wrong about that costs users their answers.
func fromController(name string) router.Capabilities {
	out := everything()
	switch {
	case oneOf(name, "istio.io/", "gateway.envoyproxy.io/", "kgateway.dev/", "agentgateway.dev/", "io.cilium/", "tigera.io/"):
	case oneOf(name, "gateway.nginx.org/"):
		out.Affinity = false
	case oneOf(name, "networking.gke.io/"):
		out.Affinity, out.NoQueryMatch, out.NoMethodMatch = false, true, true
	case oneOf(name, "solo.io/"):
		out.MirrorPercent, out.Affinity = false, false
	case oneOf(name, "linkerd.io/"):
		out.Mirror, out.MirrorPercent, out.Affinity = false, false, false
	case oneOf(name, "konghq.com/", "haproxy-ingress.github.io/", "application-networking.k8s.aws/"):
		out.Mirror, out.MirrorPercent, out.Affinity, out.NoQueryMatch, out.NoMethodMatch = false, false, false, true, true
	case oneOf(name, "gateway.k8s.aws/"):
		out.Mirror, out.MirrorPercent, out.Affinity, out.NoQueryMatch = false, false, false, true
	default: // traefik.io among them
		out.Mirror, out.MirrorPercent = false, false
	}
	return out
}

func oneOf(name string, prefixes ...string) bool {
	for _, p := range prefixes {
		if strings.HasPrefix(name, p) {
			return true
		}
	}
	return false
}

// apexName is the name of the apex Service and of the route.
func apexName(c *siskinv1.Canary) string {
	if c.Spec.Service.Name != "" {
		return c.Spec.Service.Name
	}
	return c.Spec.TargetRef.Name
}
