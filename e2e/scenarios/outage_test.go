package scenarios

import (
	"context"
	"fmt"
	"testing"
	"time"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/e2e/fixtures"
)

// TestPrometheusDown : while Prometheus is down a step holds and nothing counts as failed; when it is back the rollout goes on.
func TestPrometheusDown(t *testing.T) {
	s, _ := story(t, fixtures.App{})
	s.Start(s.App.Canary(`    interval: 4s
    threshold: 1
    stepWeights: [30, 60]
    metrics:
    - {name: request-success-rate, interval: 20s, thresholdRange: {min: 99}}`))
	users := s.Users(50)
	s.Release("1.1.0")
	s.Weight(30, 40*time.Second)
	if err := s.StopComponent(t.Context(), "prometheus"); err != nil {
		t.Fatal(err)
	}
	started := false
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		if !started {
			t.Log(s.StartComponent(ctx, "prometheus"))
		}
	})
	attempt := int32(0)
	c := s.When(40*time.Second, func(c *siskinv1.Canary) string {
		if c.Status.FailedChecks > 0 || ended(c) == "" {
			t.Fatalf("an outage of Prometheus counted as a bad release: %s, %s", c.Status.Phase, c.Status.Message)
		}
		if len(c.Status.Checks) == 0 || c.Status.Checks[0].Verdict != "inconclusive" {
			return fmt.Sprintf("no inconclusive check: %+v", c.Status.Checks)
		}
		if attempt == 0 {
			attempt = c.Status.Step.Attempt
		}
		if c.Status.Step.Attempt < attempt+2 {
			return "the check is not repeated"
		}
		return ""
	})
	held := c.Status.CanaryWeight
	s.OneEvent("CheckInconclusive")
	if err := s.StartComponent(t.Context(), "prometheus"); err != nil {
		t.Fatal(err)
	}
	started = true
	c = endsAs(s, siskinv1.PhaseSucceeded, 2*time.Minute)
	if c.Status.FailedChecks > 0 {
		t.Errorf("%d failed checks", c.Status.FailedChecks)
	}
	users.Stop()
	s.NobodyFailed("users", users, time.Time{})
	t.Logf("held at %d%%", held)
}
