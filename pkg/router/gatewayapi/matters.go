package gatewayapi

import (
	"maps"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
)

// matters tells whether an update of a route is a reason to look at its Canary. What Siskin wrote itself is none before a
// gateway has answered, since nothing follows from it: whoever wrote looks again when the answer should be there. Nor is an
// answer that says what was said before.
func matters(before, after client.Object) bool {
	was, ok := before.(*gatewayv1.HTTPRoute)
	is, ok2 := after.(*gatewayv1.HTTPRoute)
	if !ok || !ok2 || (was.DeletionTimestamp == nil) != (is.DeletionTimestamp == nil) {
		return true
	}
	if was.Generation != is.Generation {
		return answeredFor(is) || was.Annotations[siskinv1.WrittenAnnotation] == is.Annotations[siskinv1.WrittenAnnotation] || !sealed(is)
	}
	return !maps.Equal(was.Labels, is.Labels) || !maps.Equal(was.Annotations, is.Annotations) ||
		!slices.EqualFunc(was.OwnerReferences, is.OwnerReferences, sameOwner) ||
		accepted(was) != accepted(is) || !slices.Equal(controllers(was), controllers(is))
}

// answeredFor tells whether a controller says anything of a route's present generation.
func answeredFor(route *gatewayv1.HTTPRoute) bool {
	return slices.ContainsFunc(route.Status.Parents, func(p gatewayv1.RouteParentStatus) bool {
		return slices.ContainsFunc(p.Conditions, func(c metav1.Condition) bool { return c.ObservedGeneration == route.Generation })
	})
}

// controllers are those that have answered for a route.
func controllers(route *gatewayv1.HTTPRoute) []gatewayv1.GatewayController {
	out := make([]gatewayv1.GatewayController, 0, len(route.Status.Parents))
	for i := range route.Status.Parents {
		out = append(out, route.Status.Parents[i].ControllerName)
	}
	return out
}

func sameOwner(a, b metav1.OwnerReference) bool {
	return a.UID == b.UID && (a.Controller == nil) == (b.Controller == nil)
}
