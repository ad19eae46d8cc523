package gatewayapi_test

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/router/gatewayapi"
)

// What Siskin wrote itself wakes nobody before a gateway has answered; all that others do and say does.
func TestUpdatesThatMatter(t *testing.T) {
	route := func() *gatewayv1.HTTPRoute {
		r := &gatewayv1.HTTPRoute{ObjectMeta: metav1.ObjectMeta{Name: "web", Generation: 1}}
		r.Spec.ParentRefs = []gatewayv1.ParentReference{{Name: "public"}}
		r.Spec.Rules = []gatewayv1.HTTPRouteRule{{BackendRefs: []gatewayv1.HTTPBackendRef{{}, {}}}}
		gatewayapi.Seal(t, r)
		r.Status.Parents = []gatewayv1.RouteParentStatus{from("gateway")}
		return r
	}
	weigh := func(r *gatewayv1.HTTPRoute, weight int32) {
		r.Spec.Rules[0].BackendRefs[1].Weight = &weight
		r.Generation++
	}
	answer := func(r *gatewayv1.HTTPRoute, edits ...func(*gatewayv1.RouteParentStatus)) {
		r.Status.Parents[0] = from("gateway", append([]func(*gatewayv1.RouteParentStatus){
			says("Accepted", "True", "Accepted", r.Generation), says("ResolvedRefs", "True", "ResolvedRefs", r.Generation),
		}, edits...)...)
	}
	for name, tt := range map[string]struct {
		edit func(r *gatewayv1.HTTPRoute)
		want bool
	}{
		"Siskin's own":              {func(r *gatewayv1.HTTPRoute) { weigh(r, 10); gatewayapi.Seal(t, r) }, false},
		"Siskin's own, answered":    {func(r *gatewayv1.HTTPRoute) { weigh(r, 10); gatewayapi.Seal(t, r); answer(r) }, true},
		"somebody's weight":         {func(r *gatewayv1.HTTPRoute) { weigh(r, 10) }, true},
		"somebody's digest":         {func(r *gatewayv1.HTTPRoute) { weigh(r, 10); gatewayapi.Seal(t, r); weigh(r, 20) }, true},
		"somebody's, without a one": {func(r *gatewayv1.HTTPRoute) { weigh(r, 10); r.Annotations = nil }, true},
		"somebody's label":          {func(r *gatewayv1.HTTPRoute) { r.Labels = map[string]string{"a": "b"} }, true},
		"somebody's annotation":     {func(r *gatewayv1.HTTPRoute) { r.Annotations[siskinv1.AppliedAnnotation] = "other" }, true},
		"the owner":                 {func(r *gatewayv1.HTTPRoute) { r.OwnerReferences = []metav1.OwnerReference{{UID: "other"}} }, true},
		"the end":                   {func(r *gatewayv1.HTTPRoute) { r.DeletionTimestamp = &metav1.Time{} }, true},
		"nothing":                   {func(*gatewayv1.HTTPRoute) {}, false},
		"the same, told again": {func(r *gatewayv1.HTTPRoute) {
			r.Status.Parents[0].Conditions[0].LastTransitionTime = metav1.Unix(1, 0)
		}, false},
		"a refusal":          {func(r *gatewayv1.HTTPRoute) { answer(r, says("Accepted", "False", "NoMatchingParent", 1)) }, true},
		"another refusal":    {func(r *gatewayv1.HTTPRoute) { answer(r, says("ResolvedRefs", "False", "BackendNotFound", 1)) }, true},
		"no answer any more": {func(r *gatewayv1.HTTPRoute) { r.Status.Parents = nil }, true},
		"another controller": {func(r *gatewayv1.HTTPRoute) { r.Status.Parents = append(r.Status.Parents, from("other")) }, true},
	} {
		before, after := route(), route()
		tt.edit(after)
		if got := gatewayapi.Registration().Matters(before, after); got != tt.want {
			t.Errorf("%s: %v", name, got)
		}
	}
	if !gatewayapi.Registration().Matters(&metav1.PartialObjectMetadata{}, &metav1.PartialObjectMetadata{}) {
		t.Error("of other kinds it knows nothing")
	}
}
