package canary_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/api/meta"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/router"
	"github.com/siskin-dev/siskin/pkg/router/routertest"
)

// able is what a router can do that can do everything.
func able() router.Capabilities {
	return router.Capabilities{Features: router.Every(router.Yes), Ceiling: router.EvidenceAccepted, Of: "Gateway shop/public of example.org"}
}

func (s *stage) stalled(reason string, words ...string) {
	s.t.Helper()
	c := s.canary()
	stalled := meta.FindStatusCondition(c.Status.Conditions, siskinv1.ConditionStalled)
	ready := meta.FindStatusCondition(c.Status.Conditions, siskinv1.ConditionReady)
	if stalled == nil || stalled.Reason != reason || ready == nil || ready.Reason != reason {
		s.t.Fatalf("not stalled as %s: %+v", reason, c.Status.Conditions)
	}
	for _, w := range words {
		if !strings.Contains(stalled.Message, w) {
			s.t.Errorf("the message lacks %q: %s", w, stalled.Message)
		}
	}
}

// splits are what the router was told, without repetitions.
func (s *stage) splits() []router.Split {
	var seen []router.Split
	for _, call := range s.router.Calls() {
		if call.Op == "Apply" && (len(seen) == 0 || seen[len(seen)-1] != call.Split) {
			seen = append(seen, call.Split)
		}
	}
	return seen
}

func TestStrategiesReachTheRouter(t *testing.T) {
	none, ab := router.Split{Primary: 100}, router.Split{Primary: 100, Audience: true}
	for name, tt := range map[string]struct {
		edit func(*siskinv1.CanaryAnalysis)
		want []router.Split
	}{
		"A/B": {func(a *siskinv1.CanaryAnalysis) {
			a.StepWeights, a.Iterations, a.Match = nil, new(int32(2)), routertest.Audience()
		}, []router.Split{none, ab, none}},
		"weights and a match": {
			func(a *siskinv1.CanaryAnalysis) { a.Match = routertest.Audience() },
			[]router.Split{none, {Primary: 80, Canary: 20, Audience: true}, {Primary: 50, Canary: 50, Audience: true}, none},
		},
		"a mirror first": {
			func(a *siskinv1.CanaryAnalysis) { a.Mirror, a.MirrorWeight = true, new(int32(30)) },
			[]router.Split{none, {Primary: 100, Mirror: 30}, {Primary: 80, Canary: 20}, {Primary: 50, Canary: 50}, none},
		},
		"blue/green with a mirror": {
			func(a *siskinv1.CanaryAnalysis) { a.StepWeights, a.Iterations, a.Mirror = nil, new(int32(2)), true },
			[]router.Split{none, {Primary: 100, Mirror: 100}, {Canary: 100}, none},
		},
		"sticky users": {func(a *siskinv1.CanaryAnalysis) {
			a.SessionAffinity = &siskinv1.SessionAffinity{CookieName: "web", PrimaryCookieName: "web-primary"}
		}, []router.Split{none, {Primary: 80, Canary: 20}, {Primary: 50, Canary: 50}, none}},
	} {
		t.Run(name, func(t *testing.T) {
			play(t, newCanary(func(c *siskinv1.Canary) { tt.edit(&c.Spec.Analysis) }), func(s *stage) {
				s.router.SetCapabilities(able())
				s.until(siskinv1.PhaseInitialized)
				s.image("web:2")
				s.until(siskinv1.PhaseSucceeded)
				if diff := cmp.Diff(tt.want, s.splits()); diff != "" {
					s.t.Errorf("splits: -want +got\n%s", diff)
				}
			})
		})
	}
}

// W8 : a strategy that the data plane cannot do is refused by the names of both, before a rollout; it neither loops nor is ignored.
func TestW8AStrategyThatTheGatewayCannotDoIsRefused(t *testing.T) {
	for name, tt := range map[string]struct {
		edit func(*siskinv1.CanaryAnalysis)
		lack []router.Feature
		want string
	}{
		"mirror": {
			func(a *siskinv1.CanaryAnalysis) { a.Mirror = true },
			[]router.Feature{router.FeatureMirror, router.FeatureMirrorPart},
			"spec.analysis.mirror: ",
		},
		"a part of a mirror": {
			func(a *siskinv1.CanaryAnalysis) { a.Mirror, a.MirrorWeight = true, new(int32(10)) },
			[]router.Feature{router.FeatureMirrorPart},
			"spec.analysis.mirrorWeight: ",
		},
		"match": {
			func(a *siskinv1.CanaryAnalysis) { a.Match = routertest.Audience() },
			router.Matching(), "spec.analysis.match[0]: ",
		},
		"match by query": {
			func(a *siskinv1.CanaryAnalysis) { a.Match = routertest.Audience() },
			[]router.Feature{router.FeatureMatchQuery},
			"spec.analysis.match[2]: ",
		},
		"sticky users": {
			func(a *siskinv1.CanaryAnalysis) { a.SessionAffinity = &siskinv1.SessionAffinity{CookieName: "web"} },
			[]router.Feature{router.FeatureAffinity},
			"spec.analysis.sessionAffinity: ",
		},
	} {
		t.Run(name, func(t *testing.T) {
			play(t, newCanary(), func(s *stage) {
				s.router.SetCapabilities(able())
				s.until(siskinv1.PhaseInitialized)
				caps := able()
				caps.Features = caps.Features.With(router.No, tt.lack...)
				s.router.SetCapabilities(caps)
				s.edit(func(c *siskinv1.Canary) { tt.edit(&c.Spec.Analysis) })
				s.pass()
				s.stalled("InvalidSpec", tt.want, "fake", "Gateway shop/public of example.org")
				s.image("web:2")
				for range 5 {
					s.kubelet()
					s.pass()
					s.sleep(time.Minute)
				}
				if phase := s.canary().Status.Phase; phase != siskinv1.PhaseInitialized {
					s.t.Errorf("a rollout has begun: %s", phase)
				}
				s.edit(func(c *siskinv1.Canary) { c.Spec = newCanary().Spec })
				s.until(siskinv1.PhaseSucceeded)
			})
		})
	}
}

// Copies of all requests that the data plane cannot make are refused before a rollout, also before one without
// analysis.
func TestCopiesThatTheGatewayCannotMakeAreRefused(t *testing.T) {
	play(t, newCanary(func(c *siskinv1.Canary) { c.Spec.SkipAnalysis = true }), func(s *stage) {
		caps := able()
		caps.Features[router.FeatureMirrorPart] = router.No
		s.router.SetCapabilities(caps)
		s.until(siskinv1.PhaseInitialized)
		port := gatewayv1.PortNumber(80)
		s.edit(func(c *siskinv1.Canary) {
			c.Spec.Service.Mirror = []gatewayv1.HTTPRequestMirrorFilter{
				{BackendRef: gatewayv1.BackendObjectReference{Name: "audit", Port: &port}, Percent: new(int32(5))},
			}
		})
		s.pass()
		s.stalled("InvalidSpec", "spec.service.mirror[0]: ", "mirror a part of the requests", "fake", "Gateway shop/public of example.org")
		s.image("web:2")
		for range 5 {
			s.kubelet()
			s.pass()
			s.sleep(time.Minute)
		}
		if phase := s.canary().Status.Phase; phase != siskinv1.PhaseInitialized {
			s.t.Errorf("a rollout has begun: %s", phase)
		}
		s.edit(func(c *siskinv1.Canary) { c.Spec.Service.Mirror[0].Percent = nil })
		s.until(siskinv1.PhaseSucceeded)
	})
}

// A cookie is named in the status while users are kept by it, and as the previous one after that; then they are to drop
// it.
func TestCookiesInTheStatus(t *testing.T) {
	sticky := func(c *siskinv1.Canary) {
		c.Spec.Analysis.SessionAffinity = &siskinv1.SessionAffinity{CookieName: "web", PrimaryCookieName: "web-primary"}
	}
	play(t, newCanary(sticky), func(s *stage) {
		s.router.SetCapabilities(able())
		s.until(siskinv1.PhaseInitialized)
		expires := func() bool {
			calls := s.router.Calls()
			return calls[len(calls)-1].Expires
		}
		if expires() {
			s.t.Error("cookies are dropped that nobody has")
		}
		s.image("web:2")
		var canary, primary []string
		for s.canary().Status.Phase != siskinv1.PhaseSucceeded {
			s.kubelet()
			s.sleep(max(s.pass().RequeueAfter, time.Millisecond))
			if st := s.canary().Status; st.SessionAffinityCookie != "" {
				canary, primary = append(canary, st.SessionAffinityCookie), append(primary, st.PrimarySessionAffinityCookie)
			}
		}
		st := s.canary().Status
		if n, m := len(slices.Compact(canary)), len(slices.Compact(primary)); n != 1 || m != 2 || st.SessionAffinityCookie != "" ||
			st.PreviousSessionAffinityCookie != canary[0] || !strings.HasPrefix(canary[0], "web=") || !strings.HasPrefix(primary[0], "web-primary=") {
			s.t.Errorf("%q, %q, at the end %q", canary, primary, st.PreviousSessionAffinityCookie)
		}
		if !expires() {
			s.t.Error("nobody drops the cookie")
		}
	})
}

// What the router cannot write is told while nothing goes on, and not when a split is to be moved.
func TestWhatCannotBeWrittenIsToldBeforeARollout(t *testing.T) {
	play(t, newCanary(), func(s *stage) {
		s.until(siskinv1.PhaseInitialized)
		s.quiet()
		s.router.Invalidate("spec.service.hosts[0]", "is no host name")
		s.pass()
		s.stalled("InvalidSpec", "spec.service.hosts[0] (router fake)")
		if told := s.events.take(); reasons(told) != "InvalidSpec" {
			s.t.Errorf("events %v", told)
		}
		s.image("web:2")
		for range 5 {
			s.kubelet()
			s.pass()
			s.sleep(time.Minute)
		}
		if c := s.canary(); c.Status.Phase != siskinv1.PhaseInitialized || len(s.events.take()) > 0 {
			s.t.Errorf("phase %s", c.Status.Phase)
		}
		s.router.Invalidate("", "")
		s.until(siskinv1.PhaseSucceeded)
	})
}

// W9 : an edit that cannot be written moves no traffic; a bad version is still taken back.
func TestW9AnEditThatCannotBeWrittenMovesNothing(t *testing.T) {
	play(t, newCanary(), func(s *stage) {
		s.until(siskinv1.PhaseInitialized)
		s.image("web:2")
		for s.canary().Status.CanaryWeight != 20 {
			s.kubelet()
			s.sleep(max(s.pass().RequeueAfter, time.Millisecond))
		}
		s.router.Invalidate("spec.service.hosts[0]", "is no host name")
		for range 4 {
			s.pass()
			s.sleep(10 * time.Second)
		}
		if z, _ := s.router.Split("shop/web"); z != (router.Split{Primary: 80, Canary: 20}) {
			s.t.Errorf("traffic moved to %s", z)
		}
		s.reach(siskinv1.PhaseFailed)
		if z, _ := s.router.Split("shop/web"); z != (router.Split{Primary: 100}) {
			s.t.Errorf("after the deadline: %s", z)
		}
	})
}

// Somebody else who writes to the route is undone each time, and told once per spell.
func TestAForeignWriterIsToldOnce(t *testing.T) {
	play(t, newCanary(), func(s *stage) {
		s.until(siskinv1.PhaseInitialized)
		s.quiet()
		foreign := func(times int) {
			s.t.Helper()
			s.router.Revert("shop/web", router.Split{Primary: 40, Canary: 60})
			s.router.Fight("shop/web", "argocd-controller", router.Split{Primary: 30, Canary: 70}, times)
			for range times + 3 {
				s.pass()
				s.sleep(time.Minute)
			}
			if z, _ := s.router.Split("shop/web"); z != (router.Split{Primary: 100}) {
				s.t.Fatalf("not put back: %s", z)
			}
		}
		foreign(0)
		told := s.events.take()
		if reasons(told) != "RouteReasserted" || !strings.HasPrefix(told[0], "Warning ") {
			s.t.Fatalf("events %v", told)
		}
		for _, part := range []string{"Route web", "somebody-else", "100/0", "exclude"} {
			if !strings.Contains(told[0], part) {
				s.t.Errorf("the event lacks %q: %s", part, told[0])
			}
		}
		for range 12 { // and it goes on for two hours
			foreign(3)
			s.sleep(4 * time.Minute)
		}
		if told := s.events.take(); len(told) > 0 {
			s.t.Errorf("told again: %v", told)
		}
		s.sleep(time.Hour)
		foreign(1)
		if told := s.events.take(); reasons(told) != "RouteReasserted" {
			s.t.Errorf("a new spell: %v", told)
		}
	})
}
