package scenarios

import (
	"fmt"
	"strings"
	"testing"
	"time"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/e2e/fixtures"
)

// TestTheSecondCanaryOfATarget : a Canary whose target is another one's touches nothing until that one is deleted. Then
// it takes over what is left, whatever that is, and releases. No user notices.
func TestTheSecondCanaryOfATarget(t *testing.T) {
	t.Parallel()
	blue := func(a fixtures.App) string {
		return a.BlueGreen("    {interval: 2s, threshold: 1, iterations: 1}")
	}
	weights := func(a fixtures.App) string {
		return a.Canary("    interval: 2s\n    threshold: 1\n    stepWeights: [50]")
	}
	for name, tt := range map[string]struct {
		own     bool // the user has a Service
		onTrial bool // the first one is deleted in a step
		canary  func(a fixtures.App) string
	}{
		"generated": {canary: weights},
		"own":       {own: true, canary: weights},
		"trial":     {own: true, onTrial: true, canary: weights},
		"bluegreen": {canary: blue},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, r := story(t, fixtures.App{Name: "twice-" + name, Replicas: 2})
			if tt.own {
				s.Apply(s.App.Service())
			}
			first := tt.canary(s.App)
			if tt.onTrial {
				gate := s.NS + "/promotion"
				r.Set(gate, fixtures.No)
				first += "    webhooks: [{name: promotion, type: confirm-promotion, url: \"" + r.URL(gate) + "\"}]\n"
			}
			s.Start(first)
			s.Apply(strings.Replace(tt.canary(s.App), "\n  name: "+s.App.Name+"\n", "\n  name: second\n", 1))
			s.Until(s, s.NS, "second", 20*time.Second, stalled("TargetConflict"))
			users := s.Pods(25)
			if name != "bluegreen" {
				users = s.Users(50)
			}
			if tt.onTrial {
				s.Release("1.1.0")
				s.Phase(siskinv1.PhaseWaitingPromotion, time.Minute)
			}
			remove(s)
			rollout := func(c *siskinv1.Canary) string {
				if p := c.Status.Phase; p != siskinv1.PhaseInitialized && p != siskinv1.PhaseSucceeded {
					return fmt.Sprintf("%s: %s", c.Status.Phase, c.Status.Message)
				}
				if c.Status.Stable == nil || c.Status.Stable.Image != "siskin.dev/testapp:"+s.App.Version {
					return fmt.Sprintf("%s does not serve: %s, %+v", s.App.Version, c.Status.Message, c.Status.Stable)
				}
				return ""
			}
			if tt.onTrial {
				s.App.Version = "1.0.0" // what was not promoted is taken back
			}
			s.Until(s, s.NS, "second", time.Minute, rollout)
			s.Release("1.2.0")
			s.Until(s, s.NS, "second", time.Minute, rollout)
			rest(t, 2*time.Second)
			s.NobodyFailed("users", users, time.Time{})
		})
	}
}
