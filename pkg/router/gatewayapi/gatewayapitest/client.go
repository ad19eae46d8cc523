package gatewayapitest

import (
	"k8s.io/apimachinery/pkg/api/equality"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	gatewayapply "sigs.k8s.io/gateway-api/applyconfiguration"

	"github.com/siskin-dev/siskin/pkg/router/routertest"
)

// NewClient returns routertest's client, taught the Gateway API.
func NewClient(t routertest.TB, objects ...client.Object) client.WithWatch {
	t.Helper()
	return routertest.NewClientWith(t, []routertest.API{API()}, objects...)
}

// API is the Gateway API as far as the router uses it.
func API() routertest.API {
	return routertest.API{
		AddToScheme: gatewayv1.Install,
		Converter:   gatewayapply.NewTypeConverter,
		Kinds: []routertest.Kind{
			{Object: &gatewayv1.HTTPRoute{}, Finish: finishRoute}, {Object: &gatewayv1.GatewayClass{}},
		},
	}
}

// finishRoute sets defaults and counts changes of the spec.
func finishRoute(before, after client.Object) bool {
	was, is := routeOf(before), routeOf(after)
	defaultRoute(is)
	if equality.Semantic.DeepEqual(was.Spec, is.Spec) {
		return false
	}
	is.Generation = was.Generation + 1
	return true
}

func defaultRoute(route *gatewayv1.HTTPRoute) {
	for i := range route.Spec.ParentRefs {
		ref := &route.Spec.ParentRefs[i]
		if ref.Group == nil {
			ref.Group = new(gatewayv1.Group(gatewayv1.GroupName))
		}
		if ref.Kind == nil {
			ref.Kind = new(gatewayv1.Kind("Gateway"))
		}
	}
	for i := range route.Spec.Rules {
		rule := &route.Spec.Rules[i]
		if rule.Matches == nil {
			rule.Matches = []gatewayv1.HTTPRouteMatch{{}}
		}
		for j := range rule.Matches {
			if rule.Matches[j].Path == nil {
				rule.Matches[j].Path = &gatewayv1.HTTPPathMatch{Type: new(gatewayv1.PathMatchPathPrefix), Value: new("/")}
			}
		}
		for j := range rule.BackendRefs {
			ref := &rule.BackendRefs[j]
			if ref.Group == nil {
				ref.Group = new(gatewayv1.Group(""))
			}
			if ref.Kind == nil {
				ref.Kind = new(gatewayv1.Kind("Service"))
			}
			if ref.Weight == nil {
				ref.Weight = new(int32(1))
			}
		}
	}
}
