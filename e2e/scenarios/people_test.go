package scenarios

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/e2e/cluster"
	"github.com/siskin-dev/siskin/e2e/fixtures"
	"github.com/siskin-dev/siskin/e2e/load"
)

// slow is an analysis whose first step outlasts its story, so that only a person ends it.
var slow = strings.Replace(brisk, "3s", "5m", 1)

// TestPromoteMidRollout : a person who has seen enough promotes a version in the middle of its first step, through a closed gate.
func TestPromoteMidRollout(t *testing.T) {
	t.Parallel()
	s, r := story(t, fixtures.App{})
	r.Set(s.NS+"/confirm-promotion", fixtures.No)
	s.Start(s.App.Canary(strings.Replace(gated(s, r, "confirm-promotion"), "3s", "5m", 1)))
	users := s.Users(100)
	s.Release("1.1.0")
	s.Weight(20, 40*time.Second)
	began := s.Accepted("promote@1").At
	c := endsAs(s, siskinv1.PhaseSucceeded, time.Minute)
	t.Logf("promoted %s after the request; %s", c.Status.LastTransitionTime.Sub(began.Time), c.Status.Message)
	serves(s, "1.1.0", "shop-primary-", 10*time.Second)
	users.Stop()
	s.NobodyFailed("users", users, time.Time{})
	if e := s.OneEvent("PromotionRequested"); e.Type != "Warning" || !strings.Contains(e.Note, "ann asked for the promotion") || !strings.Contains(e.Note, ":1.1.0") {
		t.Errorf("the event says %+v", e)
	}
	s.Refused("promote@2", "there is nothing to promote")
	s.Refused("abort@3", "no rollout ")
	if e := s.EventsWhen("RequestRefused", 2); e[0].Type != "Warning" || !strings.Contains(e[0].Note, "promote by ann refused") {
		t.Errorf("the events say %+v", e)
	}
}

// TestAbortMidRollout : a person takes a version back in the middle of a step; users are back at the old one within about a second.
// The version is not tried again until a person says so: by retry through the analysis, by promote without it.
func TestAbortMidRollout(t *testing.T) {
	t.Parallel()
	s, _ := story(t, fixtures.App{})
	s.Start(s.App.Canary(strings.Replace(slow, "[20, 50]", "[50]", 1)))
	users := s.Users(200)
	s.Release("1.1.0")
	s.Weight(50, 40*time.Second)
	seen(s, users, "1.1.0")
	asked := s.Ask("abort@1")
	c := endsAs(s, siskinv1.PhaseFailed, 30*time.Second)
	if c.Status.Rollout.Cause != "ann aborted it" || c.Status.Rejected != c.Status.Canary.Revision {
		t.Errorf("cause %q, rejected %q", c.Status.Rollout.Cause, c.Status.Rejected)
	}
	if e := s.OneEvent("RollingBack"); e.Type != "Warning" || !strings.Contains(e.Note, "ann aborted it") {
		t.Errorf("the event says %+v", e)
	}
	last, _ := lastOf(users.Samples(), "1.1.0")
	t.Logf("the last request that 1.1.0 answered was sent %s after kubectl annotate had returned", last.Sub(asked))
	if late := last.Sub(asked); late > 5*time.Second { // a step would last 5 min
		t.Errorf("users had the version until %s after the request", late)
	}

	s.Accepted("retry@2")
	c = s.Weight(50, 40*time.Second)
	if c.Status.Rollout.ID != 2 || c.Status.Rejected != "" {
		t.Errorf("rollout %d, rejected %q", c.Status.Rollout.ID, c.Status.Rejected)
	}
	s.Accepted("rollback@3") // of a version on trial it is the same as abort
	endsAs(s, siskinv1.PhaseFailed, 30*time.Second)

	s.Accepted("promote@4")
	c = endsAs(s, siskinv1.PhaseSucceeded, time.Minute)
	if c.Status.Stable.Revision != c.Status.Canary.Revision || !c.Status.Rollout.Direct {
		t.Errorf("stable %+v, rollout %+v", c.Status.Stable, c.Status.Rollout)
	}
	serves(s, "1.1.0", "shop-primary-", 10*time.Second)
	users.Stop()
	s.NobodyFailed("users", users, time.Time{})
	var outcomes []string
	for _, h := range s.Now().Status.History {
		outcomes = append(outcomes, h.Outcome+": "+h.Cause)
	}
	t.Log(strings.Join(outcomes, "; "))
}

// TestRetryAfterFailure : a version that failed for a reason outside of it passes when a person has it tried again.
func TestRetryAfterFailure(t *testing.T) {
	t.Parallel()
	s, r := story(t, fixtures.App{})
	r.Set(s.NS+"/rollout", fixtures.No)
	s.Start(s.App.Canary(gated(s, r, "rollout")))
	s.Refused("retry@0", "there is nothing to try again")
	s.Release("1.1.0")
	begun(s, 0)
	failed := endsAs(s, siskinv1.PhaseFailed, time.Minute)
	r.Set(s.NS+"/rollout", fixtures.Yes)
	s.Accepted("retry@1")
	begun(s, 1)
	c := endsAs(s, siskinv1.PhaseSucceeded, time.Minute)
	if c.Status.Stable.Revision != failed.Status.Rejected {
		t.Errorf("%s was promoted, not %s", c.Status.Stable.Revision, failed.Status.Rejected)
	}
}

// TestPause : a paused rollout keeps its traffic and goes on being judged; resumed, it goes on; a failing check during a pause takes
// the version back.
func TestPause(t *testing.T) {
	t.Parallel()
	s, r := story(t, fixtures.App{})
	check := s.NS + "/rollout"
	s.Start(s.App.Canary(strings.Replace(gated(s, r, "rollout"), "[20, 50]", "[20, 40, 60, 80]", 1)))
	s.Refused("pause@0", "nothing can be paused in phase Initialized")
	s.Release("1.1.0")
	s.Weight(20, 40*time.Second)
	s.Accepted("pause@1")
	held, calls := s.Now().Status.CanaryWeight, len(r.Calls(check)) // 20 %, if kubectl is faster than the step
	c := s.When(30*time.Second, func(c *siskinv1.Canary) string {
		if c.Status.CanaryWeight != held || c.Status.Phase != siskinv1.PhaseProgressing {
			t.Fatalf("%d%% and %s while it is paused", c.Status.CanaryWeight, c.Status.Phase)
		}
		if len(r.Calls(check)) < calls+3 {
			return "it is not judged"
		}
		return ""
	})
	if !c.Status.Step.Paused || !strings.Contains(c.Status.Message, "resume@<token>") || len(c.Status.WaitingFor) != 1 || c.Status.WaitingFor[0] != "resume" {
		t.Errorf("paused %t, %q, waiting for %q", c.Status.Step.Paused, c.Status.Message, c.Status.WaitingFor)
	}
	describe(s, "paused")
	s.Refused("pause@2", "paused already")
	s.Accepted("resume@3")
	c = s.When(15*time.Second, func(c *siskinv1.Canary) string {
		return unless(c.Status.CanaryWeight > held, "it does not go on")
	})
	if c.Status.Step.Paused {
		t.Error("it is still paused")
	}
	s.Accepted("pause@4")
	if e := s.EventsWhen("Paused", 2); e[0].Type != "Warning" || !strings.Contains(e[0].Note, "ann paused") {
		t.Errorf("the events say %+v", e)
	}
	r.Set(check, fixtures.No)
	c = endsAs(s, siskinv1.PhaseFailed, 30*time.Second)
	if !strings.Contains(c.Status.Rollout.Cause, "webhook rollout") {
		t.Errorf("the cause is %q", c.Status.Rollout.Cause)
	}
	s.OneEvent("Resumed")
}

// TestSteps : each step has a weight, an interval and a pause of its own; a pause lasts its time, or until a person ends it.
func TestSteps(t *testing.T) {
	t.Parallel()
	s, _ := story(t, fixtures.App{})
	s.Start(s.App.Canary(`    interval: 2s
    threshold: 1
    steps:
    - {weight: 10}
    - {weight: 20, interval: 5s}
    - {weight: 30, pause: {duration: 6s}}
    - {pause: {}}
    - {weight: 60}`))
	h, log := s.Follow(), watchWeights(s)
	s.Release("1.1.0")
	c := s.When(time.Minute, func(c *siskinv1.Canary) string {
		if c.Status.Step.PausedUntil == nil {
			return "no timed pause"
		}
		return ""
	})
	if c.Status.Step.Index != 3 || !strings.Contains(c.Status.Message, "step 3 pauses") {
		t.Errorf("step %d: %s", c.Status.Step.Index, c.Status.Message)
	}
	describe(s, "paused for a time")
	c = s.When(time.Minute, func(c *siskinv1.Canary) string {
		if !c.Status.Step.Paused {
			return "no pause until resumed"
		}
		return ""
	})
	if c.Status.Step.Index != 4 || c.Status.CanaryWeight != 30 {
		t.Errorf("paused in step %d at %d%%", c.Status.Step.Index, c.Status.CanaryWeight)
	}
	select {
	case <-time.After(5 * time.Second): // two intervals and more
	case at := <-emptied(log.changes):
		t.Fatalf("the traffic moved while paused: %+v", at)
	}
	s.Accepted("resume@1")
	endsAs(s, siskinv1.PhaseSucceeded, time.Minute)
	least := map[int32]time.Duration{10: 2 * time.Second, 20: 5 * time.Second, 30: 2*time.Second + 6*time.Second + 5*time.Second, 60: 2 * time.Second}
	all := log.until(s, 0)
	for i, w := range all[:len(all)-1] {
		if lasted := all[i+1].At.Sub(w.At); lasted < least[w.Canary] || w.Canary > 0 && lasted > time.Minute {
			t.Errorf("%d%% lasted %s, not %s or little more", w.Canary, lasted, least[w.Canary])
		}
	}
	const settle = time.Second // which each step has for its route
	for step, interval := range map[int32]time.Duration{1: 2 * time.Second, 2: 5 * time.Second, 3: 2 * time.Second, 5: 2 * time.Second} {
		if got := planned(h, step); got != settle+interval {
			t.Errorf("step %d was planned for %s, not %s", step, got, settle+interval)
		}
	}
	t.Logf("%+v", all)
}

// planned is how long a step was to last when it began: how long it does last is also up to the machine.
func planned(h *fixtures.History, step int32) time.Duration {
	for _, change := range h.Changes() {
		if c, ok := change.Object.(*siskinv1.Canary); ok && c.Status.Step != nil && c.Status.Step.Index == step {
			return c.Status.Step.EndsAt.Sub(c.Status.Step.StartedAt.Time)
		}
	}
	return 0
}

// emptied empties a channel of what was told before.
func emptied(ch chan weight) chan weight {
	for {
		select {
		case <-ch:
		default:
			return ch
		}
	}
}

// describe logs how a state reads for people.
func describe(s *fixtures.Story, what string) {
	s.Helper()
	out, err := s.Kubectl(s.Context(), "-n", s.NS, "describe", "canary", s.App.Name)
	if err != nil {
		s.Fatalf("%v: %s", err, out)
	}
	_, status, _ := strings.Cut(out, "\nStatus:")
	row, err := s.Kubectl(s.Context(), "-n", s.NS, "get", "canary", s.App.Name)
	if err != nil {
		s.Fatalf("%v: %s", err, row)
	}
	s.Logf("%s:\n%s%s", what, row, status)
}

// seen waits until a user was answered by a version.
func seen(s *fixtures.Story, users *load.Generator, version string) {
	s.Helper()
	cluster.Eventually(s, 20*time.Second, func(context.Context) error {
		if _, ok := lastOf(users.Samples(), version); !ok {
			return errors.New("no user has seen " + version)
		}
		return nil
	})
}
