package flagger

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/e2e/fixtures"
)

// brisk is the analysis of stories that are not about it.
const brisk = `    interval: 3s
    threshold: 5
    maxWeight: 50
    stepWeight: 25`

// TestWeighted : a good version goes through its steps on the built-in metrics and is promoted; a bad one is taken
// back, and only its own answers were bad.
func TestWeighted(t *testing.T) {
	s := story(t, fixtures.App{Replicas: 2})
	s.Start(s.canary(`    interval: 5s
    threshold: 1
    maxWeight: 50
    stepWeight: 25
    metrics:
    - {name: request-success-rate, interval: 1m, thresholdRange: {min: 99}}
    - {name: request-duration, interval: 1m, thresholdRange: {max: 500}}
    webhooks:
    ` + s.gate("acceptance", "pre-rollout")))
	users := s.everybody()
	s.Release("1.1.0")
	s.ends(0, siskinv1.PhaseSucceeded)
	if n := len(world.receiver.Calls(s.NS + "/acceptance")); n == 0 {
		t.Error("the acceptance test was never asked for")
	}
	s.serves("1.1.0", s.App.Name+"-primary-")
	s.App.FailRatio = "0.5"
	s.Release("1.2.0")
	s.ends(1, siskinv1.PhaseFailed)
	s.serves("1.1.0", s.App.Name+"-primary-")
	if versions := users.unharmed("1.2.0"); versions["1.1.0"] == 0 || versions["1.2.0"] == 0 {
		t.Errorf("a version was seen by nobody: %v", versions)
	}
}

// TestSkipAnalysis : the version is promoted at once, without a step, and nobody notices.
func TestSkipAnalysis(t *testing.T) {
	s := story(t, fixtures.App{Replicas: 2})
	s.Start(s.canary("    interval: 10m\n    threshold: 1\n    maxWeight: 50\n    stepWeight: 10", "skipAnalysis: true"))
	users := s.everybody()
	s.Release("1.1.0")
	s.ends(0, siskinv1.PhaseSucceeded)
	s.serves("1.1.0", s.App.Name+"-primary-")
	users.unharmed()
}

// TestSuspend : a suspended rollout stays where it is for as long as it is suspended, and goes on to its end after
// that.
func TestSuspend(t *testing.T) {
	s := story(t, fixtures.App{})
	s.Start(s.canary(brisk))
	users := s.everybody()
	s.Release("1.1.0")
	s.Weight(25, time.Minute)
	s.Patch(`{"suspend": true}`)
	held := s.When(10*time.Second, func(c *siskinv1.Canary) string {
		if c.Status.ObservedGeneration != c.Generation {
			return "the edit is not seen"
		}
		return ""
	}).Status.CanaryWeight
	s.pass(8 * time.Second) // two intervals and more
	if c := s.Now(); c.Status.CanaryWeight != held || c.Status.Phase != siskinv1.PhaseProgressing {
		t.Errorf("%d%% and %s, not %d%% as when it was suspended", c.Status.CanaryWeight, c.Status.Phase, held)
	}
	s.Patch(`{"suspend": false}`)
	s.ends(0, siskinv1.PhaseSucceeded)
	users.unharmed()
}

// TestTemplateByLabel : a template that selects the version by the label of its pods, as Flagger's do, judges the
// version on trial: the good one passes, the bad one is taken back for what it did, and not because nothing was found.
func TestTemplateByLabel(t *testing.T) {
	s := story(t, fixtures.App{})
	const requests = `http_request_duration_seconds_count{namespace="{{ namespace }}",app="{{ target }}"`
	s.Apply(fmt.Sprintf(`apiVersion: siskin.dev/v1
kind: MetricTemplate
metadata: {name: error-share}
spec:
  provider: {type: prometheus, address: %q}
  query: |
    100 - 100 * sum(rate(%[2]s,status!~"5.*"}[{{ interval }}])) / sum(rate(%[2]s}[{{ interval }}]))
`, s.PrometheusURLInCluster(), requests))
	s.Start(s.canary(`    interval: 6s
    threshold: 1
    maxWeight: 50
    stepWeight: 50
    metrics:
    - {name: error-share, templateRef: {name: error-share}, interval: 30s, thresholdRange: {max: 5}}`))
	users := s.everybody()
	s.Release("1.1.0")
	s.ends(0, siskinv1.PhaseSucceeded)
	s.App.FailRatio = "0.5"
	s.Release("1.2.0")
	c := s.ends(1, siskinv1.PhaseFailed)
	if e := s.OneEvent("RollingBack"); !strings.Contains(e.Note, "error-share") {
		t.Errorf("it was taken back for something else: %s; %s", e.Note, c.Status.Message)
	}
	users.unharmed("1.2.0")
}

// TestGitOps : a tool applies everything that is in git again every 5 s, replicas and Service included, and versions
// are pushed meanwhile.
func TestGitOps(t *testing.T) {
	s := story(t, fixtures.App{Replicas: 2})
	canary := s.canary("    interval: 2s\n    threshold: 5\n    maxWeight: 50\n    stepWeight: 50")
	var mu sync.Mutex // one apply at a time: one that is late would take a push back
	apply := func(ctx context.Context, version string) error {
		mu.Lock()
		defer mu.Unlock()
		if version != "" {
			s.App.Version = version
		}
		return s.ApplyTo(ctx, s.NS, s.App.Deployment()+"---\n"+s.App.Service()+"---\n"+canary)
	}
	push := func(version string) {
		t.Helper()
		if err := apply(t.Context(), version); err != nil {
			t.Fatal(err)
		}
	}
	push("")
	s.Phase(siskinv1.PhaseInitialized, time.Minute)
	users := s.everybody()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for tick := time.NewTicker(5 * time.Second); ; {
			select {
			case <-ctx.Done():
				tick.Stop()
				return
			case <-tick.C:
				if err := apply(ctx, ""); err != nil && ctx.Err() == nil {
					t.Errorf("applying again: %v", err)
				}
			}
		}
	}()
	defer func() { cancel(); <-done }()
	for i, version := range []string{"1.1.0", "1.2.0", "1.3.0"} {
		push(version)
		s.ends(int64(i), siskinv1.PhaseSucceeded)
		s.serves(version, s.App.Name+"-primary-")
	}
	users.unharmed()
}

// TestNewVersionMidway : a version that is pushed while another is on trial is analysed from the first step on; the one
// before it is never promoted.
func TestNewVersionMidway(t *testing.T) {
	s := story(t, fixtures.App{})
	s.set("promotion", fixtures.No)
	s.Start(s.canary(brisk + "\n    webhooks:\n    " + s.gate("promotion", "confirm-promotion")))
	users := s.everybody()
	s.Release("1.1.0")
	s.Weight(50, time.Minute)
	s.Release("1.2.0")
	s.When(30*time.Second, func(c *siskinv1.Canary) string {
		if c.Status.Rollout == nil || c.Status.Rollout.ID < 2 {
			return "the new version is not seen"
		}
		return ""
	})
	s.set("promotion", fixtures.Yes)
	s.ends(1, siskinv1.PhaseSucceeded)
	s.serves("1.2.0", s.App.Name+"-primary-")
	if h := s.Now().Status.History; len(h) != 2 || h[0].Outcome != "Succeeded" || h[1].Outcome != "Superseded" {
		t.Errorf("the history is %+v", h)
	}
	users.unharmed()
}
