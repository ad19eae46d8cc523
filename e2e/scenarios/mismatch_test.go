package scenarios

import (
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/e2e/fixtures"
	"github.com/siskin-dev/siskin/e2e/load"
)

// TestRoutingMismatch : an old route claims one of the app's two hosts, and with it half of the requests. The step has
// judged a canary that those users did not see: it is told once, by the name of the route, and the step does not pass
// until the route is gone.
func TestRoutingMismatch(t *testing.T) {
	t.Parallel()
	s, _ := story(t, fixtures.App{})
	www := "www." + s.App.Host
	s.Start(strings.ReplaceAll(s.App.Canary(`    interval: 14s
    threshold: 1
    stepWeights: [50]
    metrics:
    - {name: request-success-rate, interval: 10s, thresholdRange: {min: 99}}`, "progressDeadlineSeconds: 180"),
		"hosts: ["+s.App.Host+"]", "hosts: ["+s.App.Host+", "+www+"]"))
	// Of two rules that say the same, Traefik follows that of the route with more rules.
	s.Apply(`apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: shop-old}
spec:
  parentRefs: [{name: gateway, namespace: gateway-system}]
  hostnames: [` + www + `]
  rules:
  - backendRefs: [{name: shop, port: 80}]
  - matches: [{path: {type: Exact, value: /none}}]
    backendRefs: [{name: shop, port: 80}]
`)
	here := s.Users(40)
	there := &load.Generator{URL: s.Entrance() + "/", Host: www, Rate: 40}
	there.Start(s.Context())
	s.Cleanup(there.Stop)
	s.Release("1.1.0")
	c := s.When(time.Minute, func(c *siskinv1.Canary) string {
		if ended(c) == "" && c.Status.Canary != nil {
			t.Fatalf("the rollout ended as %s: %s", c.Status.Phase, c.Status.Message)
		}
		ready := meta.FindStatusCondition(c.Status.Conditions, siskinv1.ConditionReady)
		if ready == nil || ready.Reason != "RoutingMismatch" || ready.Status != metav1.ConditionFalse {
			return "no mismatch is told"
		}
		return ""
	})
	if c.Status.Step.Index != 1 || c.Status.FailedChecks != 0 ||
		!strings.Contains(c.Status.Message, "HTTPRoute shop-old") || !strings.Contains(c.Status.Message, "50% is wanted") {
		t.Errorf("step %d, %d failed checks: %s", c.Status.Step.Index, c.Status.FailedChecks, c.Status.Message)
	}
	old := &gatewayv1.HTTPRoute{ObjectMeta: metav1.ObjectMeta{Namespace: s.NS, Name: "shop-old"}}
	if err := s.API.Delete(s.Context(), old); err != nil {
		t.Fatal(err)
	}
	endsAs(s, siskinv1.PhaseSucceeded, 2*time.Minute)
	told := s.OneEvent("RoutingMismatch") // nothing is said of the rest of the rollout
	if !strings.Contains(told.Note, "HTTPRoute shop-old") {
		t.Errorf("the event says %q", told.Note)
	}
	here.Stop()
	s.NobodyFailed("users", here, time.Time{})
}
