package gatewayapi

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	"sigs.k8s.io/gateway-api/pkg/features"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/router"
	"github.com/siskin-dev/siskin/pkg/router/internal/owned"
	"github.com/siskin-dev/siskin/pkg/router/service"
)

// Capabilities are what all parents of the route can do. A gateway that accepts a route does not thereby say that it carries it out:
// Traefik accepts a route that mirrors and answers 500 to every request of it. What keeps users from that is what the GatewayClass
// says it supports (status.supportedFeatures), or else what is known of its controller.
func (r *Router) Capabilities(ctx context.Context, c *siskinv1.Canary) router.Capabilities {
	out := everything()
	refs, adopted := r.parentsOf(ctx, c)
	for _, ref := range refs {
		out = least(out, r.parent(ctx, c, defaulted(*ref.DeepCopy())))
	}
	if adopted != nil {
		out = r.sayable(ctx, c, adopted, out)
	}
	return out
}

// parentsOf are the parents of a Canary's route: those that its author gave it, which then is returned too, or those that
// the Canary names.
func (r *Router) parentsOf(ctx context.Context, c *siskinv1.Canary) ([]gatewayv1.ParentReference, *gatewayv1.HTTPRoute) {
	live, err := r.get(ctx, router.Intent{Owner: c, Apex: service.ApexName(c)})
	if err == nil && live != nil && owned.By(live, c) == owned.Foreign && metav1.GetControllerOf(live) == nil {
		return live.Spec.ParentRefs, live
	}
	return c.Spec.Service.GatewayRefs, nil
}

// sayable leaves out what cannot be said beside the rules of a user's route: it is tried on paper, so that it is refused
// before a rollout begins.
func (r *Router) sayable(ctx context.Context, c *siskinv1.Canary, live *gatewayv1.HTTPRoute, out router.Capabilities) router.Capabilities {
	apex := service.ApexName(c)
	in := router.Intent{Owner: c, Apex: apex, Primary: apex + "-primary", Canary: apex + "-canary", Audience: c.Spec.Analysis.Match}
	try := func(split router.Split, affinity *router.Affinity) bool {
		in.Split, in.Affinity = split, affinity
		a, err := r.adoptee(ctx, in, live)
		if err != nil || a.refused == nil { // what cannot be read is not known to be impossible
			return true
		}
		out.Of = fmt.Sprintf("HTTPRoute %s as its author wrote it (%s)", live.Name, a.refused)
		return false
	}
	if len(in.Audience) > 0 && !try(router.Split{Primary: 100, Audience: true}, nil) {
		out.Features = out.Features.With(router.No, router.Matching()...)
	}
	if a := c.Spec.Analysis.SessionAffinity; a != nil {
		token := strings.Repeat("0", tokenLength)
		kept := &router.Affinity{SessionAffinity: *a, Token: token, PrimaryToken: token}
		if out.Features.Can(router.FeatureAffinity) && !try(router.Split{Primary: 50, Canary: 50}, kept) {
			out.Features[router.FeatureAffinity] = router.No
		}
	}
	return out
}

// tokenLength is that of the values of cookies.
const tokenLength = 20

// everything that this router can write; that a controller accepted the route is the most that the standard tells.
func everything() router.Capabilities {
	return router.Capabilities{Features: router.Every(router.Yes), Ceiling: router.EvidenceAccepted}
}

// least is what two parents can do that both carry the traffic.
func least(a, b router.Capabilities) router.Capabilities {
	a.Features = a.Features.Least(b.Features)
	if a.Unsure = cmp.Or(a.Unsure, b.Unsure); a.Features.Sure() {
		a.Unsure = ""
	}
	a.Vouch, a.Late = cmp.Or(a.Vouch, b.Vouch), a.Late || b.Late
	if a.Of != "" && b.Of != "" {
		a.Of += " and "
	}
	a.Of += b.Of
	return a
}

// optional are the features that not every implementation of the standard has.
func optional() []router.Feature {
	return []router.Feature{
		router.FeatureMatchQuery, router.FeatureMatchMethod, router.FeatureMirror, router.FeatureMirrorPart, router.FeatureAffinity,
	}
}

// parent tells what one parent of the route can do: what its class says, or else what is known of its controller and what a person vouches
// for. That a controller accepted the route says nothing about it.
func (r *Router) parent(ctx context.Context, c *siskinv1.Canary, ref gatewayv1.ParentReference) router.Capabilities {
	key := gatewayKey{namespace: c.Namespace, name: string(ref.Name)}
	if ref.Namespace != nil {
		key.namespace = string(*ref.Namespace)
	}
	p := plane{final: true} // a Service of a mesh has no class
	if *ref.Kind == "Gateway" && *ref.Group == gatewayv1.GroupName {
		p = r.planes.of(ctx, client.ObjectKeyFromObject(c), key)
	}
	of := string(*ref.Kind) + " " + key.namespace + "/" + key.name
	if len(p.features) > 0 {
		out := fromFeatures(p.features)
		out.Of = of + " of " + p.controller
		return out
	}
	name := cmp.Or(p.controller, r.answered(ctx, c, ref))
	why := unanswered(p, string(*ref.Kind))
	var out router.Capabilities
	switch {
	case name == "":
		out = everything()
		out.Features, out.Unsure = out.Features.With(router.Maybe, optional()...), of+": "+why
		out.Of = of + " (" + why + ")"
	case p.final:
		out = fromController(name)
		out.Of = of + " of " + name
	default:
		out = perhaps(fromController(name), of+" of "+name+": "+p.why)
		out.Of = of + " of " + name
	}
	out.Late = p.late
	out.Vouch = "if it can, annotate the Canary with " + siskinv1.FeaturesAnnotation
	return vouched(c, out)
}

// unanswered tells why the controller behind a parent is not known.
func unanswered(p plane, kind string) string {
	const nobody = "no controller has answered for "
	switch {
	case p.why == "":
		return nobody + "it yet"
	case p.final: // the answer to the route is all that can be had
		return p.why + ", and " + nobody + "the " + kind + " yet"
	}
	return p.why
}

// perhaps makes of what a controller is not known to do what it may do: its class, which cannot be read just now, may say that it does.
func perhaps(known router.Capabilities, why string) router.Capabilities {
	known.Features = known.Features.Most(router.Every(router.Maybe))
	if !known.Features.Sure() {
		known.Unsure = why
	}
	return known
}

// vouched adds what a person says that the Canary's gateways and mesh can do.
func vouched(c *siskinv1.Canary, out router.Capabilities) router.Capabilities {
	said := make(map[features.FeatureName]bool)
	for _, name := range vouchers(c) {
		said[name] = true
	}
	if len(said) == 0 {
		return out
	}
	if out.Features = out.Features.Most(fromFeatures(said).Features); out.Features.Sure() {
		out.Unsure = ""
	}
	return out
}

// vouchers are the features that the Canary's annotation lists.
func vouchers(c *siskinv1.Canary) []features.FeatureName {
	var out []features.FeatureName
	for name := range strings.SplitSeq(c.Annotations[siskinv1.FeaturesAnnotation], ",") {
		if name = strings.TrimSpace(name); name != "" {
			out = append(out, features.FeatureName(name))
		}
	}
	return out
}

// vouchable refuses names that are no features of the Gateway API: a slip must not look like an answer.
func vouchable(c *siskinv1.Canary) error {
	for _, name := range vouchers(c) {
		known := slices.ContainsFunc(features.AllFeatures.UnsortedList(), func(f features.Feature) bool { return f.Name == name })
		if !known {
			return invalid("metadata.annotations["+siskinv1.FeaturesAnnotation+"]",
				"%q is no feature of the Gateway API: give names such as %s, separated by commas", name, features.SupportHTTPRouteRequestMirror)
		}
	}
	return nil
}

// answered is the controller that has answered for a parent of the Canary's route, if there is one.
func (r *Router) answered(ctx context.Context, c *siskinv1.Canary, ref gatewayv1.ParentReference) string {
	live, err := r.get(ctx, router.Intent{Owner: c, Apex: service.ApexName(c)})
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
	need := func(f router.Feature, names ...features.FeatureName) {
		for _, name := range names {
			if !said[name] {
				out.Features[f] = router.No
			}
		}
	}
	need(router.FeatureMirror, features.SupportHTTPRouteRequestMirror)
	need(router.FeatureMirrorPart, features.SupportHTTPRouteRequestMirror, features.SupportHTTPRouteRequestPercentageMirror)
	need(router.FeatureAffinity, features.SupportHTTPRouteBackendRequestHeaderModification, features.SupportHTTPRouteResponseHeaderModification)
	need(router.FeatureMatchQuery, features.SupportHTTPRouteQueryParamMatching)
	need(router.FeatureMatchMethod, features.SupportHTTPRouteMethodMatching)
	return out
}

// fromController is what conformance reports say of controllers whose GatewayClass says nothing, or may not be read. Of others it is assumed
// that they match requests and keep users, and not that they mirror: to be wrong about that costs users their answers.
func fromController(name string) router.Capabilities {
	out := everything()
	lack := func(some ...router.Feature) { out.Features = out.Features.With(router.No, some...) }
	switch {
	case oneOf(name, "istio.io/", "gateway.envoyproxy.io/", "kgateway.dev/", "agentgateway.dev/", "io.cilium/", "tigera.io/"):
	case oneOf(name, "gateway.nginx.org/"):
		lack(router.FeatureAffinity)
	case oneOf(name, "networking.gke.io/"):
		lack(router.FeatureAffinity, router.FeatureMatchQuery, router.FeatureMatchMethod)
	case oneOf(name, "solo.io/"):
		lack(router.FeatureMirrorPart, router.FeatureAffinity)
	case oneOf(name, "linkerd.io/"):
		lack(router.FeatureMirror, router.FeatureMirrorPart, router.FeatureAffinity)
	case oneOf(name, "konghq.com/", "haproxy-ingress.github.io/", "application-networking.k8s.aws/"):
		lack(router.FeatureMirror, router.FeatureMirrorPart, router.FeatureAffinity, router.FeatureMatchQuery, router.FeatureMatchMethod)
	case oneOf(name, "gateway.k8s.aws/"):
		lack(router.FeatureMirror, router.FeatureMirrorPart, router.FeatureAffinity, router.FeatureMatchQuery)
	default: // traefik.io among them
		lack(router.FeatureMirror, router.FeatureMirrorPart)
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
