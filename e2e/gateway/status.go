package gateway

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	"sigs.k8s.io/gateway-api/pkg/features"
)

// attached is a parent of a route that is one of this gateway's.
type attached struct {
	ref     gatewayv1.ParentReference
	hosts   []string // that the listeners leave over; none: nothing is routed
	verdict verdict
}

// attach finds the parents of a route that are this gateway's, and judges the route for each.
func (g *Gateway) attach(route *gatewayv1.HTTPRoute) []attached {
	var out []attached
	for _, ref := range route.Spec.ParentRefs {
		if (ref.Kind != nil && *ref.Kind != "Gateway") || (ref.Group != nil && *ref.Group != gatewayv1.GroupName) {
			continue
		}
		key := client.ObjectKey{Namespace: route.Namespace, Name: string(ref.Name)}
		if ref.Namespace != nil {
			key.Namespace = string(*ref.Namespace)
		}
		gw, ok := g.gateways.get(key)
		if !ok || !g.mine(gw) {
			continue
		}
		out = append(out, g.judge(route, ref, gw))
	}
	return out
}

// mine tells whether a Gateway is of a class of this gateway.
func (g *Gateway) mine(gw *gatewayv1.Gateway) bool {
	class, ok := g.classes.get(client.ObjectKey{Name: string(gw.Spec.GatewayClassName)})
	return ok && class.Spec.ControllerName == Controller
}

func (g *Gateway) judge(route *gatewayv1.HTTPRoute, ref gatewayv1.ParentReference, gw *gatewayv1.Gateway) attached {
	a := attached{ref: ref, verdict: verdict{accepted: true, resolved: true}}
	named, allowed := false, false
	for _, l := range gw.Spec.Listeners {
		if (ref.SectionName != nil && *ref.SectionName != l.Name) || (ref.Port != nil && *ref.Port != l.Port) {
			continue
		}
		named = true
		if !admits(l, gw.Namespace, route.Namespace) {
			continue
		}
		allowed = true
		a.hosts = append(a.hosts, hostsOf(route.Spec.Hostnames, l.Hostname)...)
	}
	refuse := func(reason gatewayv1.RouteConditionReason, message string) attached {
		a.hosts, a.verdict.accepted, a.verdict.acceptedReason, a.verdict.message = nil, false, string(reason), message
		return a
	}
	switch {
	case !named:
		return refuse(gatewayv1.RouteReasonNoMatchingParent, "the Gateway has no such listener")
	case !allowed:
		return refuse(gatewayv1.RouteReasonNotAllowedByListeners, "no listener allows routes of this namespace")
	case len(a.hosts) == 0:
		return refuse(gatewayv1.RouteReasonNoMatchingListenerHostname, "no listener has such a host")
	}
	slices.Sort(a.hosts)
	a.hosts = slices.Compact(a.hosts)
	if _, err := compile(route, a.hosts, g.resolver(route.Namespace), nil); err != nil {
		reason := gatewayv1.RouteReasonUnsupportedValue
		return refuse(reason, err.Error())
	}
	if reason, message := g.references(route); reason != "" {
		a.verdict.resolved, a.verdict.resolvedReason, a.verdict.message = false, reason, message
	}
	return a
}

// admits tells whether a listener takes routes of a namespace. Selectors are not supported: they admit nobody.
func admits(l gatewayv1.Listener, own, namespace string) bool {
	from := gatewayv1.NamespacesFromSame
	if l.AllowedRoutes != nil && l.AllowedRoutes.Namespaces != nil && l.AllowedRoutes.Namespaces.From != nil {
		from = *l.AllowedRoutes.Namespaces.From
	}
	return from == gatewayv1.NamespacesFromAll || (from == gatewayv1.NamespacesFromSame && own == namespace)
}

// hostsOf returns the hosts that route and listener have in common; "" is any.
func hostsOf(route []gatewayv1.Hostname, listener *gatewayv1.Hostname) []string {
	own := ""
	if listener != nil {
		own = strings.ToLower(string(*listener))
	}
	if len(route) == 0 {
		return []string{own}
	}
	var out []string
	for _, h := range route {
		host := strings.ToLower(string(h))
		switch {
		case hostMatches(own, host), own == host:
			out = append(out, host)
		case strings.HasPrefix(host, "*") && hostMatches(host, own):
			out = append(out, own)
		}
	}
	return out
}

// resolver tells whether a reference names a port of a Service of the route's namespace. References to other namespaces would need
// a ReferenceGrant, which this gateway does not know.
func (g *Gateway) resolver(namespace string) func(gatewayv1.BackendObjectReference) bool {
	return func(ref gatewayv1.BackendObjectReference) bool {
		reason, _ := g.reference(namespace, ref)
		return reason == "" || reason == string(gatewayv1.RouteReasonBackendNotFound) // which may come
	}
}

func (g *Gateway) reference(namespace string, ref gatewayv1.BackendObjectReference) (reason, message string) {
	switch {
	case (ref.Group != nil && *ref.Group != "") || (ref.Kind != nil && *ref.Kind != "Service"):
		return string(gatewayv1.RouteReasonInvalidKind), "only Services can be backends"
	case ref.Namespace != nil && string(*ref.Namespace) != namespace:
		return string(gatewayv1.RouteReasonRefNotPermitted), "Services of other namespaces are not permitted"
	case ref.Port == nil:
		return string(gatewayv1.RouteReasonBackendNotFound), "a Service needs a port"
	}
	if _, found := g.endpoints.portName(namespace, string(ref.Name), *ref.Port); !found {
		return string(gatewayv1.RouteReasonBackendNotFound), fmt.Sprintf("Service %s has no port %d, or does not exist", ref.Name, *ref.Port)
	}
	return "", ""
}

func (g *Gateway) references(route *gatewayv1.HTTPRoute) (reason, message string) {
	for _, r := range route.Spec.Rules {
		for _, ref := range r.BackendRefs {
			if reason, message = g.reference(route.Namespace, ref.BackendObjectReference); reason != "" {
				return reason, message
			}
		}
		for _, f := range r.Filters {
			if f.RequestMirror == nil {
				continue
			}
			if reason, message = g.reference(route.Namespace, f.RequestMirror.BackendRef); reason != "" {
				return reason, message
			}
		}
	}
	return "", ""
}

// say writes the conditions of the parents into the route's status, if they differ. Entries of other controllers stay.
func (g *Gateway) say(ctx context.Context, route *gatewayv1.HTTPRoute, parents []attached, conditions func(attached) []metav1.Condition) error {
	if equality.Semantic.DeepEqual(g.parents(route.Status.Parents, parents, conditions), route.Status.Parents) {
		return nil
	}
	var live gatewayv1.HTTPRoute
	if err := g.c.Get(ctx, client.ObjectKeyFromObject(route), &live); err != nil {
		return client.IgnoreNotFound(err) //nolint:wrapcheck // logged by the caller
	}
	if live.UID != route.UID || live.Generation != route.Generation {
		return errBehind
	}
	live.Status.Parents = g.parents(live.Status.Parents, parents, conditions)
	if err := g.c.Status().Update(ctx, &live, client.FieldOwner(Controller)); err != nil {
		return fmt.Errorf("writing the status of HTTPRoute %s/%s: %w", route.Namespace, route.Name, err)
	}
	return nil
}

// errBehind : the route is a newer one than the watch has told of. The next pass knows it.
var errBehind = errors.New("a newer generation is on its way")

// parents are the entries of a route's status, with those of this gateway as they should be.
func (g *Gateway) parents(live []gatewayv1.RouteParentStatus, parents []attached, conditions func(attached) []metav1.Condition) []gatewayv1.RouteParentStatus {
	var out []gatewayv1.RouteParentStatus
	was := map[string][]metav1.Condition{}
	for _, p := range live {
		if p.ControllerName != Controller {
			out = append(out, p)
			continue
		}
		was[key(p.ParentRef)] = p.Conditions
	}
	now := metav1.NewTime(g.clock.Now().Truncate(time.Second))
	for _, a := range parents {
		p := gatewayv1.RouteParentStatus{ParentRef: a.ref, ControllerName: Controller}
		for _, c := range conditions(a) {
			c.LastTransitionTime = now
			if old := meta.FindStatusCondition(was[key(a.ref)], c.Type); old != nil && old.Status == c.Status {
				c.LastTransitionTime = old.LastTransitionTime
			}
			p.Conditions = append(p.Conditions, c)
		}
		out = append(out, p)
	}
	return out
}

// key tells the parents of a route apart.
func key(ref gatewayv1.ParentReference) string {
	out := string(ref.Name)
	if ref.Namespace != nil {
		out = string(*ref.Namespace) + "/" + out
	}
	if ref.SectionName != nil {
		out += "#" + string(*ref.SectionName)
	}
	if ref.Port != nil {
		out += fmt.Sprintf(":%d", *ref.Port)
	}
	return out
}

// supportedFeatures is what GatewayClasses say.
func supportedFeatures() []gatewayv1.SupportedFeature {
	names := []features.FeatureName{
		features.SupportGateway, features.SupportHTTPRoute, features.SupportHTTPRouteBackendRequestHeaderModification,
		features.SupportHTTPRouteBackendTimeout, features.SupportHTTPRouteHostRewrite, features.SupportHTTPRouteMethodMatching,
		features.SupportHTTPRouteParentRefPort, features.SupportHTTPRoutePathRewrite, features.SupportHTTPRouteQueryParamMatching,
		features.SupportHTTPRouteRequestMirror, features.SupportHTTPRouteRequestMultipleMirrors, features.SupportHTTPRouteRequestPercentageMirror,
		features.SupportHTTPRouteRequestTimeout, features.SupportHTTPRouteResponseHeaderModification,
	}
	slices.Sort(names)
	out := make([]gatewayv1.SupportedFeature, 0, len(names))
	for _, n := range names {
		out = append(out, gatewayv1.SupportedFeature{Name: gatewayv1.FeatureName(n)})
	}
	return out
}

// sayClasses accepts the GatewayClasses of this gateway and their Gateways.
func (g *Gateway) sayClasses(ctx context.Context) error {
	for _, class := range g.classes.all() {
		if class.Spec.ControllerName != Controller {
			continue
		}
		next := class.DeepCopy()
		meta.SetStatusCondition(&next.Status.Conditions, g.yes(string(gatewayv1.GatewayClassConditionStatusAccepted), "Accepted", class.Generation))
		next.Status.SupportedFeatures = supportedFeatures()
		if !equality.Semantic.DeepEqual(class.Status, next.Status) {
			if err := g.c.Status().Update(ctx, next, client.FieldOwner(Controller)); err != nil {
				return fmt.Errorf("writing the status of GatewayClass %s: %w", class.Name, err)
			}
		}
	}
	for _, gw := range g.gateways.all() {
		if !g.mine(gw) {
			continue
		}
		next := gw.DeepCopy()
		g.describe(next)
		if !equality.Semantic.DeepEqual(gw.Status, next.Status) {
			if err := g.c.Status().Update(ctx, next, client.FieldOwner(Controller)); err != nil {
				return fmt.Errorf("writing the status of Gateway %s/%s: %w", gw.Namespace, gw.Name, err)
			}
		}
	}
	return nil
}

// describe fills in a Gateway's status.
func (g *Gateway) describe(gw *gatewayv1.Gateway) {
	for _, kind := range []string{string(gatewayv1.GatewayConditionAccepted), string(gatewayv1.GatewayConditionProgrammed)} {
		meta.SetStatusCondition(&gw.Status.Conditions, g.yes(kind, kind, gw.Generation))
	}
	before := gw.Status.Listeners
	gw.Status.Listeners = nil
	for _, l := range gw.Spec.Listeners {
		st := gatewayv1.ListenerStatus{
			Name: l.Name, AttachedRoutes: g.routesAt(gw, l),
			SupportedKinds: []gatewayv1.RouteGroupKind{{Group: new(gatewayv1.Group(gatewayv1.GroupName)), Kind: "HTTPRoute"}},
		}
		for _, old := range before {
			if old.Name == l.Name {
				st.Conditions = old.Conditions
			}
		}
		for _, kind := range []string{"Accepted", "Programmed", "ResolvedRefs"} {
			meta.SetStatusCondition(&st.Conditions, g.yes(kind, kind, gw.Generation))
		}
		gw.Status.Listeners = append(gw.Status.Listeners, st)
	}
}

func (g *Gateway) routesAt(gw *gatewayv1.Gateway, l gatewayv1.Listener) int32 {
	n := int32(0)
	for _, route := range g.routes.all() {
		for _, a := range g.attach(route) {
			if string(a.ref.Name) == gw.Name && len(a.hosts) > 0 && (a.ref.SectionName == nil || *a.ref.SectionName == l.Name) {
				n++
			}
		}
	}
	return n
}

func (g *Gateway) yes(kind, reason string, generation int64) metav1.Condition {
	return metav1.Condition{
		Type: kind, Status: metav1.ConditionTrue, Reason: reason, ObservedGeneration: generation,
		LastTransitionTime: metav1.NewTime(g.clock.Now().Truncate(time.Second)),
	}
}
