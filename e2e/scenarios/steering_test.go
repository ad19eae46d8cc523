package scenarios

import (
	"strings"
	"testing"
	"time"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/e2e/fixtures"
)

// TestSkipAnalysis : a new version is promoted as soon as its pods are ready, and never shares the traffic.
func TestSkipAnalysis(t *testing.T) {
	t.Parallel()
	s, _ := story(t, fixtures.App{})
	s.Start(s.App.Canary(strings.Replace(brisk, "3s", "10m", 1), "skipAnalysis: true"))
	users := s.Users(50)
	s.Release("1.1.0")
	begun(s, 0)
	endsAs(s, siskinv1.PhaseSucceeded, time.Minute)
	serves(s, "1.1.0", "shop-primary-", 10*time.Second)
	s.NobodyFailed("users", users, time.Time{})
}

// TestSuspend : a suspended rollout keeps its traffic where it is, for longer than its steps last, and goes on when it may.
func TestSuspend(t *testing.T) {
	t.Parallel()
	s, _ := story(t, fixtures.App{})
	s.Start(s.App.Canary(brisk))
	s.Release("1.1.0")
	s.Weight(20, 40*time.Second)
	s.Patch(`{"suspend": true}`)
	s.When(10*time.Second, func(c *siskinv1.Canary) string {
		if c.Status.ObservedGeneration != c.Generation {
			return "the edit is not seen"
		}
		return ""
	})
	held := s.Now().Status.CanaryWeight
	log := watchWeights(s)
	select {
	case <-time.After(8 * time.Second): // two steps and more
	case at := <-log.changes:
		t.Fatalf("the traffic moved while suspended: %+v", at)
	}
	if c := s.Now(); c.Status.CanaryWeight != held || c.Status.Phase != siskinv1.PhaseProgressing {
		t.Errorf("%d%% and %s, not %d%% as when it was suspended", c.Status.CanaryWeight, c.Status.Phase, held)
	}
	s.Patch(`{"suspend": false}`)
	endsAs(s, siskinv1.PhaseSucceeded, time.Minute)
}

// TestNewRevisionMidway : a version that is pushed while another one is on trial gets no traffic before all of it is back at the
// primary; then it is analysed from the first step.
func TestNewRevisionMidway(t *testing.T) {
	t.Parallel()
	s, r := story(t, fixtures.App{})
	gate := s.NS + "/confirm-promotion"
	r.Set(gate, fixtures.No) // however long the push takes, it comes midway
	s.Start(s.App.Canary(gated(s, r, "confirm-promotion")))
	users := s.Users(100)
	log := watchWeights(s)
	s.Release("1.1.0")
	s.Weight(50, time.Minute)
	pushed := time.Now()
	s.Release("1.2.0")
	c := begun(s, 1)
	r.Set(gate, fixtures.Yes)
	if got := c.Status.Rollout.GatesPassed; len(got) > 0 {
		t.Errorf("approvals of the version before count for the new one: %v", got)
	}
	c = endsAs(s, siskinv1.PhaseSucceeded, time.Minute)
	users.Stop()
	s.NobodyFailed("users", users, time.Time{})
	var zero, rise time.Time
	for _, w := range log.all() {
		if w.At.Before(pushed) {
			continue
		}
		if zero.IsZero() && w.Canary == 0 {
			zero = w.At
		}
		if !zero.IsZero() && rise.IsZero() && w.Canary > 0 {
			rise = w.At
			if w.Canary != 20 {
				t.Errorf("the new version begins at %d%%, not at the first step", w.Canary)
			}
		}
	}
	if zero.IsZero() || rise.IsZero() {
		t.Fatalf("the traffic was never given back to the primary: %+v", log.all())
	}
	decided := c.Status.Rollout.TrafficAt.Time // which the watch may tell late
	for _, sample := range users.Samples() {
		if answered := sample.At.Add(sample.Took); sample.Version == "1.2.0" && answered.Before(decided) {
			t.Fatalf("1.2.0 answered %s before its first step", decided.Sub(answered))
		}
	}
	if h := c.Status.History; len(h) != 2 || h[0].Outcome != "Succeeded" || h[1].Outcome != "Superseded" {
		t.Errorf("the history does not tell: %+v", h)
	}
}

// TestReturnToPromoted : reverting the commit midway ends the rollout as cancelled, at once and without failures.
func TestReturnToPromoted(t *testing.T) {
	t.Parallel()
	s, _ := story(t, fixtures.App{})
	s.Start(s.App.Canary(slow))
	users := s.Users(50)
	s.Release("1.1.0")
	s.Weight(20, 40*time.Second)
	s.Release("1.0.0")
	c := endsAs(s, siskinv1.PhaseCancelled, 30*time.Second) // it does not wait for the step, which lasts 5 min
	if c.Status.CanaryWeight != 0 || c.Status.Stable.Revision == c.Status.Canary.Revision {
		t.Errorf("weight %d, stable %+v, canary %+v", c.Status.CanaryWeight, c.Status.Stable, c.Status.Canary)
	}
	serves(s, "1.0.0", "shop-primary-", 10*time.Second)
	s.NobodyFailed("users", users, time.Time{})
	s.OneEvent("Cancelled")
}
