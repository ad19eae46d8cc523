package canary_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/router"
	"github.com/siskin-dev/siskin/pkg/router/routertest"
)

// applies are the times, since begin, at which the router was told to write while play goes on for so long, with an event each tick: whoever
// reverts the route at once makes one each time.
func (s *stage) applies(long time.Duration) []time.Duration {
	s.t.Helper()
	const tick = 250 * time.Millisecond
	var at []time.Duration
	begin, told := s.clock.Now(), s.told()
	for s.clock.Now().Before(begin.Add(long)) {
		res := s.pass()
		if n := s.told(); n > told {
			at, told = append(at, s.clock.Now().Sub(begin)), n
		} else if z, _ := s.router.Split("shop/web"); z != s.desired() && (res.RequeueAfter <= 0 || res.RequeueAfter > 30*time.Second) {
			s.t.Fatalf("the route is wrong, and Siskin comes back after %s", res.RequeueAfter)
		}
		s.sleep(tick)
	}
	return at
}

// told counts how often the router was told to write.
func (s *stage) told() (n int) {
	for _, c := range s.router.Calls() {
		if c.Op == "Apply" {
			n++
		}
	}
	return n
}

func (s *stage) desired() router.Split {
	st := s.canary().Status
	return router.Split{Primary: 100 - st.CanaryWeight, Canary: st.CanaryWeight}
}

func seconds(n ...int) (out []time.Duration) {
	for _, s := range n {
		out = append(out, time.Duration(s)*time.Second)
	}
	return out
}

// Two controllers that disagree about a route do not write to it at the speed of events: the first repair is immediate, and each further one
// takes longer to come: up to 2 s while the canary must get nothing, since nobody may run there. It costs no write of status, and is told once.
func TestAFightOverTheRouteIsSlowedDown(t *testing.T) {
	play(t, newCanary(), func(s *stage) {
		s.until(siskinv1.PhaseInitialized)
		s.sleep(time.Hour)
		s.quiet()
		theirs := router.Split{Primary: 30, Canary: 70}
		s.router.Revert("shop/web", theirs)
		s.router.Fight("shop/web", "argocd-controller", theirs, 1000)
		if diff := cmp.Diff(seconds(0, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19), s.applies(20*time.Second)); diff != "" {
			s.t.Errorf("-want +got\n%s", diff)
		}
		if told := s.events.take(); reasons(told) != "RouteReasserted" || !strings.Contains(told[0], "somebody-else") {
			s.t.Errorf("events %v", told)
		}
		if s.stored > 2 { // that the split is not carried out any more
			s.t.Errorf("%d writes of status", s.stored)
		}

		s.router.Fight("shop/web", "argocd-controller", theirs, 0) // peace
		s.applies(2 * time.Minute)
		if z, _ := s.router.Split("shop/web"); z != (router.Split{Primary: 100}) {
			s.t.Fatalf("not put back in the end: %s", z)
		}
		s.router.Revert("shop/web", theirs)
		if diff := cmp.Diff(seconds(0), s.applies(2*time.Minute)); diff != "" {
			s.t.Errorf("after a minute of peace the first repair is immediate again: -want +got\n%s", diff)
		}
	})
}

// Who deletes the route again and again fights too.
func TestWhoDeletesTheRouteAgainAndAgain(t *testing.T) {
	play(t, newCanary(), func(s *stage) {
		s.until(siskinv1.PhaseInitialized)
		s.sleep(time.Hour)
		begin, told := s.clock.Now(), s.told()
		var at []time.Duration
		for s.clock.Now().Before(begin.Add(10 * time.Second)) {
			s.router.Delete("shop/web")
			s.pass()
			if n := s.told(); n > told {
				at, told = append(at, s.clock.Now().Sub(begin)), n
			}
			s.sleep(250 * time.Millisecond)
		}
		if diff := cmp.Diff(seconds(0, 1, 3, 5, 7, 9), at); diff != "" {
			s.t.Errorf("-want +got\n%s", diff)
		}
	})
}

// What is decided waits for no fight: a version is taken back at once, however often the route was rewritten just now. And a split that
// is reverted is no evidence: no step goes on by it.
func TestADecisionWaitsForNoFight(t *testing.T) {
	play(t, newCanary(), func(s *stage) {
		s.until(siskinv1.PhaseInitialized)
		s.image("web:2")
		for s.canary().Status.CanaryWeight != 20 {
			s.kubelet()
			s.sleep(max(s.pass().RequeueAfter, time.Millisecond))
		}
		theirs := router.Split{Primary: 40, Canary: 60}
		s.router.Revert("shop/web", theirs)
		s.router.Fight("shop/web", "argocd-controller", theirs, 1000)
		if diff := cmp.Diff(seconds(0, 1, 3, 7, 15, 31, 61), s.applies(65*time.Second)); diff != "" { // the canary runs: twice as long each time
			s.t.Errorf("-want +got\n%s", diff)
		}
		if w := s.canary().Status.CanaryWeight; w != 20 {
			s.t.Errorf("the step went on to %d without its split", w)
		}
		calls := len(s.router.Calls())
		s.edit(func(c *siskinv1.Canary) {
			c.Annotations = map[string]string{siskinv1.RequestAnnotation: "abort@1"}
		})
		for range 3 {
			s.pass()
		}
		if !slices.ContainsFunc(s.router.Calls()[calls:], func(c routertest.Call) bool { return c.Op == "Apply" && c.Split == router.Split{Primary: 100} }) {
			s.t.Errorf("the rollback waits: %+v", s.canary().Status)
		}
	})
}
