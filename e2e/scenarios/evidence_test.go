package scenarios

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/e2e/cluster"
	"github.com/siskin-dev/siskin/e2e/fixtures"
	"github.com/siskin-dev/siskin/e2e/gateway"
)

// onTestGateway begins a story behind the data plane that goes wrong as told.
func onTestGateway(t *testing.T, app fixtures.App) (*fixtures.Story, *fixtures.Receiver) {
	t.Helper()
	app.Gateway = fixtures.TestGateway
	return story(t, app)
}

// wrong makes the gateway go wrong for the story's route until the test ends.
func wrong(s *fixtures.Story, f gateway.Fault) {
	s.Helper()
	if err := s.TestGateway().Set(s.Context(), s.Route(), f); err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		_ = s.TestGateway().Clear(ctx, s.Route())
	})
}

// right ends that.
func right(s *fixtures.Story) {
	s.Helper()
	if err := s.TestGateway().Clear(s.Context(), s.Route()); err != nil {
		s.Fatal(err)
	}
}

// whenWritten returns when a route first stated a weight for the canary, from a time on.
func whenWritten(h *fixtures.History, weight int32, from time.Time) (time.Time, bool) {
	for _, c := range h.Changes() {
		if route, ok := c.Object.(*gatewayv1.HTTPRoute); ok && c.At.After(from) {
			if w, _, _ := fixtures.Routed(route, "-canary"); w == weight {
				return c.At, true
			}
		}
	}
	return time.Time{}, false
}

// whenProgrammed returns when the gateway first carried a weight of the canary out, from a time on. It notes that before it tells the API
// server: nobody can know of it earlier, however late a watch is.
func whenProgrammed(s *fixtures.Story, weight int, from time.Time) (time.Time, bool) {
	s.Helper()
	events, err := s.TestGateway().Events(s.Context(), s.Route())
	if err != nil {
		s.Fatal(err)
	}
	for _, e := range events {
		if e.What == "programmed" && e.At.After(from) && strings.Contains(e.Weights+" ", fmt.Sprintf("%s-canary=%d ", s.App.Name, weight)) {
			return e.At, true
		}
	}
	return time.Time{}, false
}

// TestLateGateway : a split that the gateway accepts late delays the step's clock: it runs from the acceptance, not from the write.
func TestLateGateway(t *testing.T) {
	t.Parallel()
	s, _ := onTestGateway(t, fixtures.App{})
	s.Start(s.App.Canary(brisk))
	h, users := s.Follow(), s.Users(50)
	const late = 6 * time.Second
	wrong(s, gateway.Fault{Kind: gateway.Late, Delay: late})
	s.Release("1.1.0")
	s.When(40*time.Second, func(c *siskinv1.Canary) string {
		if c.Status.CanaryWeight == 20 && c.Status.Split != nil && c.Status.Split.Evidence == "Accepted" {
			return ""
		}
		return "20 % is not accepted yet"
	})
	right(s)
	endsAs(s, siskinv1.PhaseSucceeded, time.Minute)
	wrote, ok1 := whenWritten(h, 20, time.Time{})
	accepted, ok2 := whenProgrammed(s, 20, time.Time{})
	next, ok3 := whenWritten(h, 50, time.Time{})
	if !ok1 || !ok2 || !ok3 {
		t.Fatalf("not seen: written %t, accepted %t, next %t", ok1, ok2, ok3)
	}
	if d := accepted.Sub(wrote); d < late/2 { // the watch may tell late that it was written
		t.Fatalf("the gateway took %s: the story proves nothing", d)
	}
	if d := next.Sub(accepted); d < 3*time.Second {
		t.Errorf("the step lasted %s after its split was accepted, less than 3 s", d)
	}
	users.Stop()
	s.NobodyFailed("users", users, time.Time{})
}

// TestRefusingGateway : a route that the gateway refuses, or takes only in part, is rolled back at the deadline, which is said; users
// see the old version all the time.
func TestRefusingGateway(t *testing.T) {
	for _, f := range []gateway.Fault{{Kind: gateway.Refused, Reason: "IncompatibleFilters"}, {Kind: gateway.Partial}} {
		t.Run(string(f.Kind), func(t *testing.T) {
			t.Parallel()
			s, _ := onTestGateway(t, fixtures.App{})
			s.Start(s.App.Canary(brisk, "progressDeadlineSeconds: 15")) // which the canary has to come up too
			users := s.Users(50)
			wrong(s, f)
			began := time.Now()
			s.Release("1.1.0")
			stalled := s.When(30*time.Second, func(c *siskinv1.Canary) string {
				for _, cond := range c.Status.Conditions {
					if cond.Type == siskinv1.ConditionStalled && cond.Reason == "RouteRejected" {
						return ""
					}
				}
				return "not Stalled with RouteRejected"
			})
			if stalled.Status.CanaryWeight != 20 {
				t.Errorf("it stalled at %d %%", stalled.Status.CanaryWeight)
			}
			e := s.OneEventWithin("RollingBack", 40*time.Second)
			if took := time.Since(began); took < 15*time.Second || !strings.Contains(e.Note, "the route was not confirmed before the deadline") {
				t.Errorf("after %s: %s", took, e.Note)
			}
			heard(s) // of the rollback: it would bring the canary its share now
			right(s)
			c := endsAs(s, siskinv1.PhaseFailed, 30*time.Second)
			if len(c.Status.History) == 0 || !strings.Contains(c.Status.History[0].Cause, "the route was not confirmed") {
				t.Errorf("the history does not tell: %+v", c.Status.History)
			}
			users.Stop()
			if sum := s.NobodyFailed("users", users, time.Time{}); sum.ByVersion["1.1.0"] > 0 {
				t.Errorf("%d requests reached a canary whose route was never in force", sum.ByVersion["1.1.0"])
			}
		})
	}
}

// heard waits until the gateway has an opinion of the route as it is written now.
func heard(s *fixtures.Story) {
	s.Helper()
	cluster.Eventually(s, 10*time.Second, func(ctx context.Context) error {
		var route gatewayv1.HTTPRoute
		if err := s.API.Get(ctx, client.ObjectKey{Namespace: s.NS, Name: s.App.Name}, &route); err != nil {
			return fmt.Errorf("reading the route: %w", err)
		}
		for _, p := range route.Status.Parents {
			for _, c := range p.Conditions {
				if c.ObservedGeneration == route.Generation {
					return nil
				}
			}
		}
		return fmt.Errorf("the gateway has not seen generation %d of the route", route.Generation)
	})
}

// TestRollbackOrder : traffic to the primary; the gateway, which is slow, accepts; what had traffic drains; only then it is scaled
// down. Seen from the API server's own order of writes.
func TestRollbackOrder(t *testing.T) {
	t.Parallel()
	s, r := onTestGateway(t, fixtures.App{})
	check := "order/" + s.NS
	s.Start(s.App.Canary(brisk + `
    webhooks:
    - {name: judge, type: rollout, url: "` + r.URL(check) + `"}`))
	h, users := s.Follow(), s.Users(50)
	s.Release("1.1.0")
	s.Weight(20, 30*time.Second)
	wrong(s, gateway.Fault{Kind: gateway.Late, Delay: 4 * time.Second})
	r.Set(check, fixtures.No) // only now: the route must not be written before the gateway is late
	endsAs(s, siskinv1.PhaseFailed, 40*time.Second)
	drained(s)
	users.Stop()
	s.NobodyFailed("users", users, time.Time{})

	var reverted, accepted, scaled *fixtures.Change
	routed := false
	for _, c := range h.Changes() {
		switch o := c.Object.(type) {
		case *gatewayv1.HTTPRoute:
			w, _, ok := fixtures.Routed(o, "-canary")
			routed = routed || w > 0
			if routed && w == 0 && reverted == nil {
				reverted = &c
			}
			if routed && w == 0 && ok && accepted == nil {
				accepted = &c
			}
		case *appsv1.Deployment:
			if o.Name == s.App.Name+"-canary" && routed && fixtures.Replicas(o) == 0 && scaled == nil {
				scaled = &c
			}
		}
	}
	if reverted == nil || accepted == nil || scaled == nil {
		h.Print(t)
		t.Fatalf("not seen: reverted %v, accepted %v, scaled %v", reverted, accepted, scaled)
	}
	if reverted.Version >= accepted.Version || accepted.Version >= scaled.Version {
		h.Print(t)
		t.Errorf("the order is not: route, acceptance, scale: %s / %s / %s", reverted, accepted, scaled)
	}
	if d := accepted.At.Sub(reverted.At); d < 2*time.Second { // the watch may tell late of either
		t.Errorf("the gateway took %s: the story proves nothing", d)
	}
	acted, ok := whenProgrammed(s, 0, reverted.At)
	if d := scaled.At.Sub(acted); !ok || d < 5*time.Second {
		t.Errorf("the canary drained for %s after the gateway had acted (%t), less than 5 s", d, ok)
	}
}

// TestRevertedRoute : another writer puts old weights back three times. Each time Siskin writes its own again; the rollout ends as it
// would have, and people are told once.
func TestRevertedRoute(t *testing.T) {
	t.Parallel()
	s, _ := onTestGateway(t, fixtures.App{})
	s.Start(s.App.Canary(brisk))
	h, users := s.Follow(), s.Users(50)
	s.Release("1.1.0")
	s.Weight(20, 30*time.Second)
	wrong(s, gateway.Fault{Kind: gateway.Reverted, Times: 3})
	endsAs(s, siskinv1.PhaseSucceeded, time.Minute)
	drained(s)
	events, err := s.TestGateway().Events(t.Context(), s.Route())
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, e := range events {
		if e.What == "reverted" {
			n++
		}
	}
	if n != 3 {
		t.Errorf("the writer came %d times, not 3: the story proves nothing", n)
	}
	users.Stop()
	s.NobodyFailed("users", users, time.Time{})
	cluster.Eventually(t, 10*time.Second, func(context.Context) error {
		for i, changes := len(h.Changes())-1, h.Changes(); i >= 0; i-- {
			if route, ok := changes[i].Object.(*gatewayv1.HTTPRoute); ok {
				if w, _, accepted := fixtures.Routed(route, "-canary"); w == 0 && accepted {
					return nil
				}
				return fmt.Errorf("the route ends as %s", changes[i])
			}
		}
		return errors.New("no route")
	})
	e := s.OneEvent("RouteReasserted")
	if !strings.Contains(e.Note, gateway.OtherWriter) {
		t.Errorf("the event does not name the writer: %s", e.Note)
	}
}

// TestUnprogrammedGateway : a gateway that accepts before it acts is not caught by its status; the drain covers it.
func TestUnprogrammedGateway(t *testing.T) {
	t.Parallel()
	s, r := onTestGateway(t, fixtures.App{})
	check := "unprogrammed/" + s.NS
	s.Start(s.App.Canary(brisk + `
    webhooks:
    - {name: judge, type: rollout, url: "` + r.URL(check) + `"}`))
	users := s.Users(50)
	wrong(s, gateway.Fault{Kind: gateway.Unprogrammed, Delay: 3 * time.Second})
	s.Release("1.1.0")
	s.Weight(50, time.Minute)
	r.Set(check, fixtures.No)
	endsAs(s, siskinv1.PhaseFailed, 40*time.Second)
	drained(s)
	users.Stop()
	if sum := s.NobodyFailed("users", users, time.Time{}); sum.ByVersion["1.1.0"] == 0 {
		t.Error("no user saw the new version: the story proves nothing")
	}
}
