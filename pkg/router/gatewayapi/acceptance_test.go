package gatewayapi_test

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/metrics/meter"
	"github.com/siskin-dev/siskin/pkg/router"
	"github.com/siskin-dev/siskin/pkg/router/gatewayapi/gatewayapitest"
)

// from builds an entry of status.parents; unedited it is what a controller says that took the route.
func from(controller string, edits ...func(*gatewayv1.RouteParentStatus)) gatewayv1.RouteParentStatus {
	s := gatewayv1.RouteParentStatus{
		ParentRef:      gatewayv1.ParentReference{Name: "public"},
		ControllerName: gatewayv1.GatewayController(controller),
		Conditions:     []metav1.Condition{cond("Accepted", "True", "Accepted", 1), cond("ResolvedRefs", "True", "ResolvedRefs", 1)},
	}
	for _, edit := range edits {
		edit(&s)
	}
	return s
}

func cond(kind string, status metav1.ConditionStatus, reason string, generation int64) metav1.Condition {
	return metav1.Condition{
		Type: kind, Status: status, Reason: reason, ObservedGeneration: generation, Message: "because",
		LastTransitionTime: metav1.Unix(0, 0),
	}
}

// says replaces or adds a condition.
func says(kind string, status metav1.ConditionStatus, reason string, generation int64) func(*gatewayv1.RouteParentStatus) {
	return func(s *gatewayv1.RouteParentStatus) {
		for i := range s.Conditions {
			if s.Conditions[i].Type == kind {
				s.Conditions[i] = cond(kind, status, reason, generation)
				return
			}
		}
		s.Conditions = append(s.Conditions, cond(kind, status, reason, generation))
	}
}

func without(kind string) func(*gatewayv1.RouteParentStatus) {
	return func(s *gatewayv1.RouteParentStatus) {
		kept := []metav1.Condition{}
		for _, c := range s.Conditions {
			if c.Type != kind {
				kept = append(kept, c)
			}
		}
		s.Conditions = kept
	}
}

func ref(edit func(*gatewayv1.ParentReference)) func(*gatewayv1.RouteParentStatus) {
	return func(s *gatewayv1.RouteParentStatus) { edit(&s.ParentRef) }
}

func TestAcceptance(t *testing.T) {
	const traefik, istio = "traefik.io/gateway-controller", "istio.io/gateway-controller"
	full := ref(func(r *gatewayv1.ParentReference) {
		r.Group, r.Kind = new(gatewayv1.Group(gatewayv1.GroupName)), new(gatewayv1.Kind("Gateway"))
		r.Namespace = new(gatewayv1.Namespace(namespace))
	})
	section := ref(func(r *gatewayv1.ParentReference) { r.SectionName = new(gatewayv1.SectionName("https")) })
	name := func(n string) func(*gatewayv1.RouteParentStatus) {
		return ref(func(r *gatewayv1.ParentReference) { r.Name = gatewayv1.ObjectName(n) })
	}
	two := []gatewayv1.ParentReference{{Name: "public"}, {Name: "internal"}}
	mesh := []gatewayv1.ParentReference{{Kind: new(gatewayv1.Kind("Service")), Name: "finch"}}
	list := func(s ...gatewayv1.RouteParentStatus) []gatewayv1.RouteParentStatus { return s }
	const written, taken = router.EvidenceWritten, router.EvidenceAccepted
	tests := map[string]struct {
		refs     []gatewayv1.ParentReference
		status   []gatewayv1.RouteParentStatus
		evidence router.Evidence
		reason   string
		rejected bool
		metrics  meter.Kind
	}{
		"no status":                     {nil, nil, written, "NotReconciled", false, "app"},
		"taken":                         {nil, list(from(traefik)), taken, "", false, "traefik"},
		"taken, reference filled in":    {nil, list(from(traefik, full)), taken, "", false, "traefik"},
		"another parent's answer":       {nil, list(from(traefik, name("private"))), written, "NotReconciled", false, "traefik"},
		"an answer for one section":     {nil, list(from(traefik, section)), written, "NotReconciled", false, "traefik"},
		"no conditions":                 {nil, list(from(istio, without("Accepted"), without("ResolvedRefs"))), written, "NotReconciled", false, "istio"},
		"references not looked at":      {nil, list(from(istio, without("ResolvedRefs"))), written, "NotReconciled", false, "istio"},
		"older generation":              {nil, list(from(istio, says("Accepted", "True", "Accepted", 0))), written, "StaleGeneration", false, "istio"},
		"references of an older one":    {nil, list(from(istio, says("ResolvedRefs", "True", "ResolvedRefs", 0))), written, "StaleGeneration", false, "istio"},
		"refused, but an older one":     {nil, list(from(istio, says("Accepted", "False", "NoMatchingParent", 0))), written, "StaleGeneration", false, "istio"},
		"unknown":                       {nil, list(from(istio, says("Accepted", "Unknown", "Pending", 1))), written, "Pending", false, "istio"},
		"pending":                       {nil, list(from(istio, says("Accepted", "False", "Pending", 1))), written, "Pending", false, "istio"},
		"not allowed":                   {nil, list(from(istio, says("Accepted", "False", "NotAllowedByListeners", 1))), written, "NotAllowedByListeners", true, "istio"},
		"no such host":                  {nil, list(from(istio, says("Accepted", "False", "NoMatchingListenerHostname", 1))), written, "NoMatchingListenerHostname", true, "istio"},
		"no such parent":                {nil, list(from(istio, says("Accepted", "False", "NoMatchingParent", 1))), written, "NoMatchingParent", true, "istio"},
		"unsupported":                   {nil, list(from(istio, says("Accepted", "False", "UnsupportedValue", 1))), written, "UnsupportedValue", true, "istio"},
		"filters do not go together":    {nil, list(from(istio, says("Accepted", "False", "IncompatibleFilters", 1))), written, "IncompatibleFilters", true, "istio"},
		"a reason nobody knows":         {nil, list(from(istio, says("Accepted", "False", "Moonphase", 1))), written, "Moonphase", false, "istio"},
		"backend not there yet":         {nil, list(from(istio, says("ResolvedRefs", "False", "BackendNotFound", 1))), written, "BackendNotFound", false, "istio"},
		"reference not permitted":       {nil, list(from(istio, says("ResolvedRefs", "False", "RefNotPermitted", 1))), written, "RefNotPermitted", true, "istio"},
		"kind of backend":               {nil, list(from(istio, says("ResolvedRefs", "False", "InvalidKind", 1))), written, "InvalidKind", true, "istio"},
		"a reason of the other kind":    {nil, list(from(istio, says("ResolvedRefs", "False", "NoMatchingParent", 1))), written, "NoMatchingParent", false, "istio"},
		"a rule was dropped":            {nil, list(from(istio, says("PartiallyInvalid", "True", "UnsupportedValue", 1))), written, "UnsupportedValue", true, "istio"},
		"a rule was dropped before":     {nil, list(from(istio, says("PartiallyInvalid", "True", "UnsupportedValue", 0))), written, "UnsupportedValue", false, "istio"},
		"no rule was dropped":           {nil, list(from(istio, says("PartiallyInvalid", "False", "Fine", 0))), taken, "", false, "istio"},
		"two controllers, one refuses":  {nil, list(from(traefik), from(istio, says("Accepted", "False", "NoMatchingParent", 1))), written, "NoMatchingParent", true, "app"},
		"two controllers, both took it": {nil, list(from(traefik), from(istio)), taken, "", false, "app"},
		"two parents, one answered":     {two, list(from(traefik)), written, "NotReconciled", false, "traefik"},
		"two parents, both took it":     {two, list(from(traefik, name("internal")), from(traefik)), taken, "", false, "traefik"},
		"a refusal outweighs a wait":    {two, list(from(traefik, name("internal"), says("Accepted", "False", "NoMatchingParent", 1))), written, "NoMatchingParent", true, "traefik"},
		"mesh": {mesh, list(from(istio, ref(func(r *gatewayv1.ParentReference) {
			r.Group, r.Kind, r.Name = new(gatewayv1.Group("")), new(gatewayv1.Kind("Service")), "finch"
		}))), taken, "", false, "istio"},
		"another implementation": {nil, list(from("example.org/gateway")), taken, "", false, "app"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			c := gatewayapitest.NewClient(t)
			r, in := newRouter(c), intent(func(s *siskinv1.CanaryService) {
				if tt.refs != nil {
					s.GatewayRefs = tt.refs
				}
			})
			if _, err := r.Apply(t.Context(), in); err != nil {
				t.Fatal(err)
			}
			route := get(t, c)
			if route.Status.Parents = tt.status; tt.status != nil {
				if err := c.Status().Update(t.Context(), route); err != nil {
					t.Fatal(err)
				}
			}
			obs, err := r.Observe(t.Context(), in)
			if err != nil {
				t.Fatal(err)
			}
			if obs.Evidence != tt.evidence || obs.Reason != tt.reason || obs.Rejected != tt.rejected || obs.MetricsKind != tt.metrics {
				t.Errorf("%+v", obs)
			}
		})
	}
}
