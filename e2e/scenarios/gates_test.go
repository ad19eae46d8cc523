package scenarios

import (
	"fmt"
	"strings"
	"testing"
	"time"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/e2e/fixtures"
)

// gated is an analysis with webhooks, each at a path of its type below the story's namespace.
func gated(s *fixtures.Story, r *fixtures.Receiver, types ...string) string {
	var b strings.Builder
	b.WriteString(brisk + "\n    webhooks:")
	for _, t := range types {
		fmt.Fprintf(&b, "\n    - {name: %s, type: %s, url: %q, timeout: 2s}", t, t, r.URL(s.NS+"/"+t))
	}
	return b.String()
}

// TestGates : a rollout waits at a closed confirm-rollout without a canary, and at a closed confirm-promotion with its traffic;
// opening them lets it go on.
func TestGates(t *testing.T) {
	t.Parallel()
	s, r := story(t, fixtures.App{})
	first, last := s.NS+"/confirm-rollout", s.NS+"/confirm-promotion"
	r.Set(first, fixtures.No)
	r.Set(last, fixtures.No)
	s.Start(s.App.Canary(gated(s, r, "confirm-rollout", "confirm-promotion")))

	s.Release("1.1.0")
	c := s.Phase(siskinv1.PhaseWaiting, 30*time.Second)
	asked := len(r.Calls(first))
	s.When(30*time.Second, func(c *siskinv1.Canary) string {
		if c.Status.Phase != siskinv1.PhaseWaiting {
			t.Fatalf("a closed gate let the rollout through: %s", c.Status.Phase)
		}
		if len(r.Calls(first)) < asked+2 {
			return "the gate is not asked again"
		}
		return ""
	})
	if c.Status.CanaryWeight != 0 {
		t.Errorf("weight %d while the gate is closed", c.Status.CanaryWeight)
	}
	s.OneEvent("WaitingForApproval")
	body := r.Calls(first)[0].Body
	if body["name"] != s.App.Name || body["namespace"] != s.NS || body["phase"] != "Waiting" {
		t.Errorf("the gate was told %v", body)
	}
	r.Set(first, fixtures.Yes)
	s.OneEvent("Approved")

	c = s.Phase(siskinv1.PhaseWaitingPromotion, time.Minute)
	if c.Status.CanaryWeight != 50 {
		t.Errorf("weight %d while the promotion waits, not that of the last step", c.Status.CanaryWeight)
	}
	r.Set(last, fixtures.Yes)
	endsAs(s, siskinv1.PhaseSucceeded, time.Minute)
}

// TestPreRolloutRefuses : a version whose pre-rollout hook refuses never gets traffic.
func TestPreRolloutRefuses(t *testing.T) {
	t.Parallel()
	s, r := story(t, fixtures.App{})
	r.Set(s.NS+"/pre-rollout", fixtures.No)
	s.Start(s.App.Canary(gated(s, r, "pre-rollout")))
	users := s.Users(20)
	s.Release("1.1.0")
	begun(s, 0)
	c := endsAs(s, siskinv1.PhaseFailed, time.Minute)
	if !strings.Contains(c.Status.Rollout.Cause, "pre-rollout") {
		t.Errorf("the cause does not name the hook: %s", c.Status.Rollout.Cause)
	}
	users.Stop()
	if sum := s.NobodyFailed("users", users, time.Time{}); sum.ByVersion["1.1.0"] > 0 {
		t.Errorf("%d requests reached a version that its pre-rollout hook refused", sum.ByVersion["1.1.0"])
	}
}

// TestRollbackHook : a rollback hook that agrees takes the version back in the middle of a step.
func TestRollbackHook(t *testing.T) {
	t.Parallel()
	s, r := story(t, fixtures.App{})
	r.Set(s.NS+"/rollback", fixtures.No)
	s.Start(s.App.Canary(strings.Replace(gated(s, r, "rollback"), "[20, 50]", "[20, 30, 40, 50, 60, 70, 80, 90]", 1)))
	s.Release("1.1.0")
	s.Weight(20, 40*time.Second)
	r.Set(s.NS+"/rollback", fixtures.Yes)
	pressed := time.Now()
	c := endsAs(s, siskinv1.PhaseFailed, 30*time.Second)
	if took := time.Since(pressed); took > 20*time.Second { // the steps would last 32 s
		t.Errorf("the stop button took %s at an interval of 3 s", took)
	}
	if !strings.Contains(c.Status.Rollout.Cause, "rollback hook rollback") {
		t.Errorf("the cause is %q", c.Status.Rollout.Cause)
	}
	s.OneEvent("RollingBack")
}

// TestHangingGateDelaysNobodyElse : one gate never answers; another rollout, which began later, takes no longer than it should.
func TestHangingGateDelaysNobodyElse(t *testing.T) {
	t.Parallel()
	stuck, r := story(t, fixtures.App{Name: "stuck"})
	r.Set(stuck.NS+"/confirm-rollout", fixtures.Hang)
	stuck.Start(stuck.App.Canary(gated(stuck, r, "confirm-rollout")))
	free, _ := story(t, fixtures.App{Name: "free"})
	free.Start(free.App.Canary(brisk))

	stuck.Release("1.1.0")
	stuck.Phase(siskinv1.PhaseWaiting, 30*time.Second)
	began := time.Now()
	free.Release("1.1.0")
	begun(free, 0)
	endsAs(free, siskinv1.PhaseSucceeded, time.Minute)
	t.Logf("the other rollout took %s", time.Since(began))
	if took := time.Since(began); took > 45*time.Second {
		t.Errorf("two steps of 3 s took %s beside a gate that hangs", took)
	}
	if c := stuck.Now(); c.Status.Phase != siskinv1.PhaseWaiting {
		t.Errorf("the gate that hangs let the rollout through: %s", c.Status.Phase)
	}
	r.Set(stuck.NS+"/confirm-rollout", fixtures.Yes)
	endsAs(stuck, siskinv1.PhaseSucceeded, time.Minute)
}
