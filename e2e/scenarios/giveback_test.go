package scenarios

import (
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/e2e/fixtures"
	"github.com/siskin-dev/siskin/e2e/gateway"
)

// TestTrafficGoesBackInSteps : after the promotion the traffic goes back to the primary in steps of stepWeightPromotion. The first begins when
// the primary runs the new version at full size; each lasts its interval from when the gateway, which is slow, has carried it out; the
// canary keeps its pods until the last one is confirmed. Nobody notices.
func TestTrafficGoesBackInSteps(t *testing.T) {
	t.Parallel()
	s, _ := onTestGateway(t, fixtures.App{Replicas: 2})
	s.Start(s.App.Canary(`    interval: 2s
    threshold: 1
    stepWeights: [60]
    stepWeightPromotion: 25`))
	h, users := s.Follow(), s.Users(100)
	const late = 3 * time.Second
	wrong(s, gateway.Fault{Kind: gateway.Late, Delay: late})
	s.Release("1.1.0")
	s.Phase(siskinv1.PhaseFinalising, time.Minute)
	c := endsAs(s, siskinv1.PhaseSucceeded, time.Minute)
	drained(s)
	users.Stop()
	sum := s.NobodyFailed("users", users, time.Time{})
	if sum.ByVersion["1.0.0"] == 0 || sum.ByVersion["1.1.0"] == 0 {
		t.Errorf("the traffic was not moved: %v", sum)
	}
	stepped(s, h, 0, 60, 35, 10, 0)
	at := []time.Time{}
	for _, weight := range []int32{60, 35, 10} {
		wrote, ok1 := whenWritten(h, weight, time.Time{})
		carried, ok2 := whenProgrammed(s, int(weight), time.Time{})
		if !ok1 || !ok2 {
			t.Fatalf("%d%%: seen written %t, carried out %t", weight, ok1, ok2)
		}
		if d := carried.Sub(wrote); d < late/2 { // the watch may tell late that it was written
			t.Errorf("%d%%: the gateway took %s: the story proves nothing", weight, d)
		}
		at = append(at, carried)
	}
	for i, next := range []int32{35, 10, 0} {
		wrote, ok := whenWritten(h, next, at[i])
		if d := wrote.Sub(at[i]); !ok || d < 2*time.Second {
			t.Errorf("%d%% was written %s after the gateway had carried out what was before, less than 2 s", next, d)
		}
	}
	if what := promotedFirst(s, h, c.Status.Stable.Revision); what != "" {
		h.Print(t)
		t.Error(what)
	}
}

// promotedFirst tells what is wrong with the order of a promotion: the primary runs the revision at full size, then the traffic goes back, then
// the canary goes.
func promotedFirst(s *fixtures.Story, h *fixtures.History, revision string) string {
	var primary *appsv1.Deployment
	weight, confirmed, routed := int32(0), false, false
	for _, change := range h.Changes() {
		switch o := change.Object.(type) {
		case *gatewayv1.HTTPRoute:
			now, _, ok := fixtures.Routed(o, "-canary")
			up := primary != nil && primary.Annotations[siskinv1.RevisionAnnotation] == revision && primary.Status.ObservedGeneration == primary.Generation &&
				primary.Status.UpdatedReplicas == fixtures.Replicas(primary) && primary.Status.AvailableReplicas >= fixtures.Replicas(primary)
			if now < weight && !up {
				return "traffic went back before the primary was up: " + change.String()
			}
			weight, confirmed, routed = now, ok, routed || now > 0
		case *appsv1.Deployment:
			switch o.Name {
			case s.App.Name + "-primary":
				primary = o
			case s.App.Name + "-canary":
				if routed && fixtures.Replicas(o) == 0 && (weight > 0 || !confirmed) {
					return "the canary went before its traffic had: " + change.String()
				}
			}
		}
	}
	return ""
}
