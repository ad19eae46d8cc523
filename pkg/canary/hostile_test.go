package canary_test

import (
	"errors"
	"testing"
	"time"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/router/routertest"
)

// What a hostile reading found, told through the whole reconciler.

// on makes passes, also such as fail, until done.
func (s *stage) on(done func() bool) {
	s.t.Helper()
	for range 400 {
		if done() {
			return
		}
		s.kubelet()
		woken := s.woken
		res, err := s.once()
		if err != nil {
			s.t.Log("a pass failed:", err)
		}
		if s.woken == woken {
			s.sleep(max(res.RequeueAfter, 500*time.Millisecond))
		}
	}
	s.t.Fatalf("it never happens: %+v", s.canary().Status)
}

// exists tells whether the Canary does.
func (s *stage) exists() bool { return s.api.Get(s.t.Context(), web, &siskinv1.Canary{}) == nil }

func TestAMatchThatIsTakenOutFailsNoGoodVersion(t *testing.T) {
	play(t, newCanary(func(c *siskinv1.Canary) { c.Spec.Analysis.Match = routertest.Audience() }), func(s *stage) {
		s.router.SetCapabilities(able())
		s.until(siskinv1.PhaseInitialized)
		s.image("web:2")
		s.on(func() bool { return s.canary().Status.CanaryWeight == 20 })
		s.edit(func(c *siskinv1.Canary) { c.Spec.Analysis.Match = nil })
		s.on(func() bool {
			p := s.canary().Status.Phase
			return p == siskinv1.PhaseSucceeded || p == siskinv1.PhaseFailed
		})
		if st := s.canary().Status; st.Phase != siskinv1.PhaseSucceeded {
			s.t.Errorf("it ends as %s: %s", st.Phase, st.Message)
		}
	})
}

// At a deletion the clones go when they had time to drain since the route left them, and not since it should have.
func TestARouteThatIsGivenBackLate(t *testing.T) {
	play(t, newCanary(), func(s *stage) {
		s.until(siskinv1.PhaseInitialized)
		if err := s.api.Delete(s.t.Context(), s.canary()); err != nil {
			s.t.Fatal(err)
		}
		for range 12 {
			s.router.FailNext("Release", errors.New("the API server refuses HTTPRoutes"))
		}
		var released time.Time
		s.on(func() bool {
			if _, ok := s.router.Split("shop/web"); !ok && released.IsZero() {
				released = s.clock.Now()
			}
			return !s.exists()
		})
		if drained := s.clock.Now().Sub(released); released.IsZero() || drained < s.Drain {
			s.t.Errorf("the clones went %s after the route left them", drained)
		}
	})
}

// A Canary that is made anew over what another one left begins with what serves, and releases what was taken back like any other revision.
func TestWhatWasTakenBackIsJudgedAgainAfterOrphan(t *testing.T) {
	play(t, newCanary(func(c *siskinv1.Canary) { c.Spec.DeletionPolicy = siskinv1.DeletionPolicyOrphan }), func(s *stage) {
		s.until(siskinv1.PhaseInitialized)
		s.metrics.Answer(17)
		s.image("web:2")
		s.until(siskinv1.PhaseFailed)
		if err := s.api.Delete(s.t.Context(), s.canary()); err != nil {
			s.t.Fatal(err)
		}
		s.on(func() bool { return !s.exists() })
		c := newCanary()
		c.UID = "another"
		if err := s.api.Create(s.t.Context(), c); err != nil {
			s.t.Fatal(err)
		}
		primary := func() string { return s.deployment("web-primary").Spec.Template.Spec.Containers[0].Image }
		s.on(func() bool {
			if primary() != "web:1" {
				s.t.Fatalf("%s serves everybody, without analysis", primary())
			}
			return s.canary().Status.Phase == siskinv1.PhaseFailed
		})
	})
}
