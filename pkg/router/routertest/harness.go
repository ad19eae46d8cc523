package routertest

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	"sigs.k8s.io/gateway-api/pkg/features"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/router"
	"github.com/siskin-dev/siskin/pkg/router/gatewayapi"
	"github.com/siskin-dev/siskin/pkg/router/kubernetes"
)

// Canary returns a Canary of the Deployment "finch" behind the Gateway "public".
func Canary(namespace string) *siskinv1.Canary {
	return &siskinv1.Canary{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "finch", UID: types.UID("c0ffee00-0000-4000-8000-000000000001")},
		Spec: siskinv1.CanarySpec{
			TargetRef: siskinv1.TargetRef{APIVersion: "apps/v1", Kind: "Deployment", Name: "finch"},
			Service: siskinv1.CanaryService{
				Port:        80,
				Hosts:       []string{"finch.example.org"},
				GatewayRefs: []gatewayv1.ParentReference{{Name: "public"}},
			},
		},
	}
}

// Intent of that Canary.
func Intent(owner *siskinv1.Canary) router.Intent {
	return router.Intent{Owner: owner, Apex: "finch", Primary: "finch-primary", Canary: "finch-canary", Port: 80}
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

// GatewayAPI returns the harness of the router gatewayapi in a namespace of c, which has the CRDs of the Gateway API. Its Gateway can do
// everything.
func GatewayAPI(t *testing.T, c client.Client, namespace string) Harness {
	t.Helper()
	Gateway(t, c, namespace, features.SupportHTTPRoute, features.SupportHTTPRouteRequestMirror, features.SupportHTTPRouteRequestPercentageMirror,
		features.SupportHTTPRouteQueryParamMatching, features.SupportHTTPRouteMethodMatching,
		features.SupportHTTPRouteBackendRequestHeaderModification, features.SupportHTTPRouteResponseHeaderModification)
	swap := func(obj client.Object, in router.Intent) {
		if refs := backendRefs(obj); len(refs) == 2 {
			refs[0].Weight, refs[1].Weight = &in.Split.Canary, &in.Split.Primary
		}
	}
	return Harness{
		Client: c,
		New: func(c client.Client, live client.Reader) router.Router {
			return gatewayapi.New(c, live, clocktesting.NewFakePassiveClock(time.Unix(0, 0)))
		},
		Intent: Intent(Canary(namespace)),
		Object: &gatewayv1.HTTPRoute{},
		Accept: func(ctx context.Context, in router.Intent) error {
			var route gatewayv1.HTTPRoute
			if err := c.Get(ctx, client.ObjectKey{Namespace: namespace, Name: in.Apex}, &route); err != nil {
				return fmt.Errorf("reading the route: %w", err)
			}
			route.Status.Parents = Accepted(&route)
			if err := c.Status().Update(ctx, &route); err != nil {
				return fmt.Errorf("accepting the route: %w", err)
			}
			return nil
		},
		Revert: swap,
		Tamper: swap,
		Limit:  func(t *testing.T) { t.Helper(); Supports(t, c, namespace, features.SupportHTTPRoute) },
		Weights: func(obj client.Object, _ router.Intent) [][]int32 {
			var out [][]int32
			for _, rule := range routeOf(obj).Spec.Rules {
				var weights []int32
				for _, ref := range rule.BackendRefs {
					weights = append(weights, *ref.Weight)
				}
				out = append(out, weights)
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

// Kubernetes returns the harness of the router kubernetes in a namespace of c. It makes the user's apex Service and the
// EndpointSlices of primary and canary. On a real cluster no controller for EndpointSlices may interfere, so their Services
// are left out.
func Kubernetes(t *testing.T, c client.Client, namespace string) Harness {
	t.Helper()
	in := Intent(Canary(namespace))
	apex := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace, Name: in.Apex, Labels: map[string]string{"app": "finch"},
			Annotations: map[string]string{"example.org/owner": "aviary"},
		},
		Spec: corev1.ServiceSpec{
			Selector: map[string]string{"app": "finch", "tier": "web"},
			Ports:    []corev1.ServicePort{{Name: "http", Port: 80}, {Name: "grpc", Port: 9999}},
		},
	}
	if err := c.Create(t.Context(), apex, client.FieldOwner("git")); err != nil {
		t.Fatalf("creating the apex: %v", err)
	}
	for svc, pod := range map[string]string{in.Primary: "finch-primary-1", in.Canary: "finch-canary-1"} {
		if err := EndpointSlice(t.Context(), c, namespace, svc, pod); err != nil {
			t.Fatalf("creating the endpoints of %s: %v", svc, err)
		}
	}
	return Harness{
		Client:  c,
		New:     func(c client.Client, live client.Reader) router.Router { return kubernetes.New(c, live) },
		Intent:  in,
		Object:  &corev1.Service{},
		Adopted: true,
		Accept: func(ctx context.Context, in router.Intent) error {
			pod := "finch-primary-1"
			if in.Split.Canary == 100 {
				pod = "finch-canary-1"
			}
			return EndpointSlice(ctx, c, namespace, in.Apex, pod)
		},
		Revert: func(obj client.Object, _ router.Intent) {
			if svc, ok := obj.(*corev1.Service); ok {
				// As a person does who ends the hold: whatever else a writer leaves out, the admission policy puts back.
				delete(svc.Annotations, siskinv1.ServingAnnotation)
				svc.Spec.Selector = map[string]string{"app": "finch", "tier": "web"}
			}
		},
		Tamper: func(obj client.Object, _ router.Intent) {
			if svc, ok := obj.(*corev1.Service); ok {
				svc.Spec.Selector = map[string]string{"app": "finch", "tier": "web"}
			}
		},
		Reaches: func(obj client.Object, _ router.Intent) bool {
			svc, ok := obj.(*corev1.Service)
			return ok && svc.Spec.Selector[siskinv1.RoleLabel] != siskinv1.RolePrimary
		},
		Spec: func(obj client.Object) any {
			if svc, ok := obj.(*corev1.Service); ok {
				return svc.Spec
			}
			return nil
		},
	}
}

// EndpointSlice makes or replaces the one slice of a Service, with these pods ready. Without pods it is empty.
func EndpointSlice(ctx context.Context, c client.Client, namespace, svc string, pods ...string) error {
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace, Name: svc + "-abcde",
			Labels: map[string]string{discoveryv1.LabelServiceName: svc},
		},
		AddressType: discoveryv1.AddressTypeIPv4,
	}
	for i, pod := range pods {
		slice.Endpoints = append(slice.Endpoints, discoveryv1.Endpoint{
			Addresses:  []string{fmt.Sprintf("10.0.%d.%d", len(pod), i+1)},
			Conditions: discoveryv1.EndpointConditions{Ready: new(true)},
			TargetRef:  &corev1.ObjectReference{Kind: "Pod", Namespace: namespace, Name: pod},
		})
	}
	if err := c.Delete(ctx, slice.DeepCopy()); err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("replacing EndpointSlice %s: %w", slice.Name, err)
	}
	if err := c.Create(ctx, slice); err != nil {
		return fmt.Errorf("creating EndpointSlice %s: %w", slice.Name, err)
	}
	return nil
}
