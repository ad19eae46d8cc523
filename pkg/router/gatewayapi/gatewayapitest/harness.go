// Package gatewayapitest has the harness of the router gatewayapi for the contract of routers, and its API in memory.
package gatewayapitest

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	"sigs.k8s.io/gateway-api/pkg/features"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/router"
	"github.com/siskin-dev/siskin/pkg/router/gatewayapi"
	"github.com/siskin-dev/siskin/pkg/router/routertest"
)

// Canary returns routertest's Canary behind the Gateway "public".
func Canary(namespace string) *siskinv1.Canary {
	c := routertest.Canary(namespace)
	c.Spec.Provider = gatewayapi.Name
	c.Spec.Service.GatewayRefs = []gatewayv1.ParentReference{{Name: "public"}}
	return c
}

// Gateway makes the Gateway "public" in a namespace and a GatewayClass for it that says it supports these features.
func Gateway(t *testing.T, c client.Client, namespace string, supported ...features.FeatureName) {
	t.Helper()
	class := &gatewayv1.GatewayClass{
		ObjectMeta: metav1.ObjectMeta{Name: "class-" + namespace},
		Spec:       gatewayv1.GatewayClassSpec{ControllerName: "example.org/gateway-controller"},
	}
	gateway := &gatewayv1.Gateway{
		ObjectMeta: metav1.ObjectMeta{Name: "public", Namespace: namespace},
		Spec: gatewayv1.GatewaySpec{
			GatewayClassName: gatewayv1.ObjectName(class.Name),
			Listeners:        []gatewayv1.Listener{{Name: "http", Port: 80, Protocol: gatewayv1.HTTPProtocolType}},
		},
	}
	for _, obj := range []client.Object{class, gateway} {
		if err := c.Create(t.Context(), obj); err != nil {
			t.Fatalf("creating %T: %v", obj, err)
		}
	}
	t.Cleanup(func() { // it is not in the namespace
		if err := c.Delete(context.WithoutCancel(t.Context()), class); err != nil {
			t.Errorf("deleting the GatewayClass: %v", err)
		}
	})
	Supports(t, c, namespace, supported...)
}

// Supports makes that GatewayClass say that it supports these features and no others.
func Supports(t *testing.T, c client.Client, namespace string, supported ...features.FeatureName) {
	t.Helper()
	var class gatewayv1.GatewayClass
	if err := c.Get(t.Context(), client.ObjectKey{Name: "class-" + namespace}, &class); err != nil {
		t.Fatalf("reading the GatewayClass: %v", err)
	}
	class.Status.SupportedFeatures = nil
	for _, name := range slices.Sorted(slices.Values(supported)) {
		class.Status.SupportedFeatures = append(class.Status.SupportedFeatures, gatewayv1.SupportedFeature{Name: gatewayv1.FeatureName(name)})
	}
	if err := c.Status().Update(t.Context(), &class); err != nil {
		t.Fatalf("writing the GatewayClass's status: %v", err)
	}
}

// accept makes the Gateway accept all routes of a namespace.
func accept(ctx context.Context, c client.Client, namespace string) error {
	var routes gatewayv1.HTTPRouteList
	if err := c.List(ctx, &routes, client.InNamespace(namespace)); err != nil {
		return fmt.Errorf("reading the routes: %w", err)
	}
	for i := range routes.Items {
		route := &routes.Items[i]
		route.Status.Parents = Accepted(route)
		if err := c.Status().Update(ctx, route); err != nil {
			return fmt.Errorf("accepting a route: %w", err)
		}
	}
	return nil
}

// New returns the harness of the router gatewayapi in a namespace of c, which has the CRDs of the Gateway API. Its Gateway can do
// everything.
func New(t *testing.T, c client.Client, namespace string) routertest.Harness {
	t.Helper()
	Gateway(t, c, namespace, features.SupportHTTPRoute, features.SupportHTTPRouteRequestMirror, features.SupportHTTPRouteRequestPercentageMirror,
		features.SupportHTTPRouteQueryParamMatching, features.SupportHTTPRouteMethodMatching,
		features.SupportHTTPRouteBackendRequestHeaderModification, features.SupportHTTPRouteResponseHeaderModification)
	swap := func(obj client.Object, in router.Intent) {
		if refs := backendRefs(obj); len(refs) == 2 {
			refs[0].Weight, refs[1].Weight = &in.Split.Canary, &in.Split.Primary
		}
	}
	return routertest.Harness{
		Client: c,
		New: func(c client.Client, live client.Reader) router.Router {
			return gatewayapi.New(c, live, clocktesting.NewFakePassiveClock(time.Unix(0, 0)))
		},
		Intent: routertest.Intent(Canary(namespace)),
		Object: &gatewayv1.HTTPRoute{},
		Accept: func(ctx context.Context, _ router.Intent) error { return accept(ctx, c, namespace) },
		Revert: swap,
		Tamper: swap,
		Limit:  func(t *testing.T) { t.Helper(); Supports(t, c, namespace, features.SupportHTTPRoute) },
		Weights: func(obj client.Object, in router.Intent) [][]int32 {
			var out [][]int32
			for _, rule := range routeOf(obj).Spec.Rules {
				var weights []int32
				for _, ref := range rule.BackendRefs {
					if string(ref.Name) == in.Primary || string(ref.Name) == in.Canary {
						weights = append(weights, *ref.Weight)
					}
				}
				if len(weights) > 0 {
					out = append(out, weights)
				}
			}
			return out
		},
		Reaches: func(obj client.Object, in router.Intent) bool {
			for _, rule := range routeOf(obj).Spec.Rules {
				for _, ref := range rule.BackendRefs {
					if string(ref.Name) == in.Canary && *ref.Weight > 0 {
						return true
					}
				}
				for _, f := range rule.Filters {
					if f.RequestMirror != nil && string(f.RequestMirror.BackendRef.Name) == in.Canary {
						return true
					}
				}
			}
			return false
		},
	}
}

// NewAdopted is New where the user's own HTTPRoute is there before: of its rules one leads to the apex.
func NewAdopted(t *testing.T, c client.Client, namespace string) routertest.Harness {
	t.Helper()
	h := New(t, c, namespace)
	if err := c.Create(t.Context(), UsersRoute(namespace), client.FieldOwner("git")); err != nil {
		t.Fatalf("creating the user's route: %v", err)
	}
	h.Adopted, h.Generates = true, true
	h.Intent.Owner.Spec.Service.Hosts = nil // the route says it
	h.Spec = func(obj client.Object) any { return routeOf(obj).Spec }
	return h
}

// UsersRoute is an HTTPRoute as a user writes it for that Canary.
func UsersRoute(namespace string) *gatewayv1.HTTPRoute {
	to := func(name string, port gatewayv1.PortNumber) gatewayv1.HTTPBackendRef {
		return gatewayv1.HTTPBackendRef{BackendRef: gatewayv1.BackendRef{
			BackendObjectReference: gatewayv1.BackendObjectReference{Name: gatewayv1.ObjectName(name), Port: &port},
		}}
	}
	header := func(name string) []gatewayv1.HTTPRouteFilter {
		return []gatewayv1.HTTPRouteFilter{{
			Type:                  gatewayv1.HTTPRouteFilterRequestHeaderModifier,
			RequestHeaderModifier: &gatewayv1.HTTPHeaderFilter{Set: []gatewayv1.HTTPHeader{{Name: gatewayv1.HTTPHeaderName(name), Value: "yes"}}},
		}}
	}
	admin, apex := to("admin", 8080), to("finch", 80)
	apex.Filters = header("X-Backend")
	return &gatewayv1.HTTPRoute{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "finch", Labels: map[string]string{"app": "finch"}},
		Spec: gatewayv1.HTTPRouteSpec{
			CommonRouteSpec: gatewayv1.CommonRouteSpec{ParentRefs: []gatewayv1.ParentReference{{Name: "public"}}},
			Hostnames:       []gatewayv1.Hostname{"finch.example.org"},
			Rules: []gatewayv1.HTTPRouteRule{
				{
					Matches: []gatewayv1.HTTPRouteMatch{{Path: &gatewayv1.HTTPPathMatch{
						Type: new(gatewayv1.PathMatchPathPrefix), Value: new("/admin"),
					}}},
					Filters: header("X-Admin"), BackendRefs: []gatewayv1.HTTPBackendRef{admin},
				},
				{
					BackendRefs: []gatewayv1.HTTPBackendRef{apex}, Filters: header("X-Rule"),
					Timeouts: &gatewayv1.HTTPRouteTimeouts{Request: new(gatewayv1.Duration("5s"))},
				},
			},
		},
	}
}

func routeOf(obj client.Object) *gatewayv1.HTTPRoute {
	if route, ok := obj.(*gatewayv1.HTTPRoute); ok {
		return route
	}
	return &gatewayv1.HTTPRoute{}
}

// backendRefs are those of the rule that splits.
func backendRefs(obj client.Object) []gatewayv1.HTTPBackendRef {
	for _, rule := range routeOf(obj).Spec.Rules {
		if len(rule.BackendRefs) == 2 {
			return rule.BackendRefs
		}
	}
	return nil
}

// Accepted is the status of a controller that took the route as it is, with the references filled in as controllers do.
func Accepted(route *gatewayv1.HTTPRoute) []gatewayv1.RouteParentStatus {
	condition := func(kind gatewayv1.RouteConditionType, reason gatewayv1.RouteConditionReason) metav1.Condition {
		return metav1.Condition{
			Type: string(kind), Status: metav1.ConditionTrue, Reason: string(reason),
			ObservedGeneration: route.Generation, LastTransitionTime: metav1.Unix(0, 0),
		}
	}
	out := make([]gatewayv1.RouteParentStatus, 0, len(route.Spec.ParentRefs))
	for _, ref := range route.Spec.ParentRefs {
		ref.Namespace = new(gatewayv1.Namespace(route.Namespace))
		out = append(out, gatewayv1.RouteParentStatus{
			ParentRef: ref, ControllerName: "traefik.io/gateway-controller",
			Conditions: []metav1.Condition{
				condition(gatewayv1.RouteConditionAccepted, gatewayv1.RouteReasonAccepted),
				condition(gatewayv1.RouteConditionResolvedRefs, gatewayv1.RouteReasonResolvedRefs),
			},
		})
	}
	return out
}
