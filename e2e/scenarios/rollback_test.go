package scenarios

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/e2e/cluster"
	"github.com/siskin-dev/siskin/e2e/fixtures"
)

// revisionsOf is the command that docs/canary.md gives people to see what they can go back to.
func revisionsOf(s *fixtures.Story) string {
	s.Helper()
	out, err := s.Kubectl(s.Context(), "-n", s.NS, "get", "controllerrevisions", "-l", siskinv1.CanaryLabel+"="+s.App.Name, "--sort-by=.revision",
		"-o", `custom-columns=REVISION:.metadata.name,NUMBER:.revision,IMAGE:.metadata.annotations.siskin\.dev/image,`+
			`COMMIT:.metadata.annotations.siskin\.dev/git-revision,CREATED:.metadata.creationTimestamp`)
	if err != nil {
		s.Fatalf("%v: %s", err, out)
	}
	return out
}

// TestRollbackToKeptRevisions : a person brings the previous version back at once, then one that is older still, without analysis;
// what the target says is not rolled forward again until it changes.
func TestRollbackToKeptRevisions(t *testing.T) {
	t.Parallel()
	s, _ := story(t, fixtures.App{})
	s.Apply(strings.Replace(s.App.Deployment(), "spec:\n", commit+"spec:\n", 1))
	s.Apply(s.App.Canary(strings.Replace(brisk, "3s", "1s", 1)))
	s.Phase(siskinv1.PhaseInitialized, time.Minute)
	s.Refused("rollback@0", "there is no previous revision")
	for i, version := range []string{"1.1.0", "1.2.0"} {
		s.Release(version)
		begun(s, int64(i))
		endsAs(s, siskinv1.PhaseSucceeded, time.Minute)
	}
	table := revisionsOf(s)
	t.Logf("what people see:\n%s", table)
	oldest := ""
	for line := range strings.Lines(table) {
		if strings.Contains(line, ":1.0.0") {
			if oldest = strings.Fields(line)[0]; !strings.Contains(line, " 1 ") || !strings.Contains(line, "main@sha1:0123456789abcdef") {
				t.Errorf("the first revision reads %s", line)
			}
		}
	}
	if oldest == "" || len(strings.Split(strings.TrimSpace(table), "\n")) != 4 {
		t.Fatal("people cannot see what to go back to")
	}
	s.Refused("rollback/nobody@1", "revision nobody is not kept: choose one of "+s.App.Name+"-")

	users := s.Users(100)
	asked := s.Accepted("rollback@2").At
	c := endsAs(s, siskinv1.PhaseSucceeded, time.Minute)
	t.Logf("the previous version is back %s after the request", c.Status.LastTransitionTime.Sub(asked.Time))
	if !c.Status.Rollout.Direct || c.Status.Rejected == "" {
		t.Errorf("rollout %+v, rejected %q", c.Status.Rollout, c.Status.Rejected)
	}
	if e := s.OneEvent("DirectRollout"); e.Type != "Warning" || !strings.Contains(e.Note, "ann asked for revision") || !strings.Contains(e.Note, ":1.1.0") {
		t.Errorf("the event says %+v", e)
	}
	describe(s, "after a rollback to the previous version")
	serves(s, "1.1.0", "shop-primary-", 10*time.Second)

	s.Accepted("rollback/" + oldest + "@3")
	c = s.When(time.Minute, func(c *siskinv1.Canary) string {
		if c.Status.Stable.Revision != oldest || c.Status.Phase != siskinv1.PhaseSucceeded {
			return "not back at " + oldest
		}
		return ""
	})
	serves(s, "1.0.0", "shop-primary-", 10*time.Second)
	// The target still says 1.2.0: that is not released again, also when its manifest is applied again.
	s.Release("1.2.0")
	select {
	case <-time.After(4 * time.Second): // four intervals
	case <-t.Context().Done():
	}
	if now := s.Now(); now.Status.Phase != siskinv1.PhaseSucceeded || now.Status.Rollout.ID != c.Status.Rollout.ID || now.Status.Stable.Revision != oldest {
		t.Errorf("the target was rolled forward again: %s, rollout %+v", now.Status.Phase, now.Status.Rollout)
	}
	s.When(30*time.Second, func(c *siskinv1.Canary) string { // texts for people may be 15 s late
		return unless(strings.Contains(c.Status.Message, "was taken back (ann asked for revision "+oldest+"): commit a fix, or revert to "+oldest), "status does not say so")
	})
	s.Release("1.3.0")
	begun(s, c.Status.Rollout.ID)
	c = endsAs(s, siskinv1.PhaseSucceeded, time.Minute)
	if c.Status.Rollout.Direct || c.Status.Rejected != "" {
		t.Errorf("rollout %+v, rejected %q", c.Status.Rollout, c.Status.Rejected)
	}
	serves(s, "1.3.0", "shop-primary-", 10*time.Second)
	users.Stop()
	s.NobodyFailed("users", users, time.Time{})
	var outcomes []string
	for _, h := range c.Status.History {
		outcomes = append(outcomes, fmt.Sprintf("%s %s: %s", h.Image, h.Outcome, h.Cause))
	}
	t.Log(strings.Join(outcomes, "\n"))
}

// TestDirectRolloutThatFails : a version that a person wants back and that does not come up any more leaves the traffic where it is,
// and the primary returns to what it ran.
func TestDirectRolloutThatFails(t *testing.T) {
	t.Parallel()
	s, _ := story(t, fixtures.App{})
	s.Start(s.App.Canary(strings.Replace(brisk, "3s", "1s", 1), "progressDeadlineSeconds: 12"))
	users := s.Users(50)
	s.App.Env = map[string]string{"NOT_READY": "true"}
	s.Release("1.1.0")
	begun(s, 0)
	c := endsAs(s, siskinv1.PhaseFailed, time.Minute)
	stable := c.Status.Stable.Revision
	s.Accepted("promote@1") // without analysis, and it never becomes ready
	c = s.When(time.Minute, func(c *siskinv1.Canary) string {
		if c.Status.Rollout.ID != 2 || c.Status.Phase != siskinv1.PhaseFailed {
			return "not taken back"
		}
		return ""
	})
	if c.Status.Stable.Revision != stable || c.Status.Rejected != c.Status.Canary.Revision {
		t.Errorf("stable is %s, not %s; rejected is %q", c.Status.Stable.Revision, stable, c.Status.Rejected)
	}
	cluster.Eventually(t, 20*time.Second, func(context.Context) error {
		if d := s.Deployment("-primary"); d.Annotations[siskinv1.RevisionAnnotation] != stable || d.Status.AvailableReplicas != 1 {
			return fmt.Errorf("the primary has %s and %d pods", d.Annotations[siskinv1.RevisionAnnotation], d.Status.AvailableReplicas)
		}
		return nil
	})
	rest(t, 3*time.Second) // three intervals
	if now := s.Now(); now.Status.Rollout.ID != 2 || now.Status.Phase != siskinv1.PhaseFailed {
		t.Errorf("nobody asked for it again, and it is tried: %s, rollout %+v", now.Status.Phase, now.Status.Rollout)
	}
	users.Stop()
	s.NobodyFailed("users", users, time.Time{})
}

// TestPromotionThatFails : a version that is good as a canary and does not come up as the primary is taken back at the deadline: the primary
// returns to what it ran before the canary gives the traffic up, and nobody notices.
func TestPromotionThatFails(t *testing.T) {
	t.Parallel()
	s, _ := story(t, fixtures.App{Replicas: 2})
	s.Start(s.App.Canary(brisk, "progressDeadlineSeconds: 20")) // which the canary has to come up too
	stable := s.Now().Status.Stable.Revision
	users := s.Users(100)
	s.App.Env = map[string]string{"NOT_READY_AS": "-primary-"}
	s.Release("1.1.0")
	c := s.Phase(siskinv1.PhasePromoting, time.Minute)
	if c.Status.Rollout.ID != 1 {
		t.Errorf("rollout %d", c.Status.Rollout.ID)
	}
	c = endsAs(s, siskinv1.PhaseFailed, 2*time.Minute)
	if c.Status.Stable.Revision != stable || c.Status.Rejected != c.Status.Canary.Revision {
		t.Errorf("stable is %s, not %s; rejected is %q", c.Status.Stable.Revision, stable, c.Status.Rejected)
	}
	if !strings.Contains(c.Status.Rollout.Cause, "primary") {
		t.Errorf("the cause says %q", c.Status.Rollout.Cause)
	}
	serves(s, "1.0.0", "shop-primary-", 20*time.Second)
	cluster.Eventually(t, 30*time.Second, func(context.Context) error {
		primary, canary := s.Deployment("-primary"), s.Deployment("-canary")
		if primary.Annotations[siskinv1.RevisionAnnotation] != stable || primary.Status.AvailableReplicas != 2 || primary.Status.Replicas != 2 {
			return fmt.Errorf("the primary has %s and %+v", primary.Annotations[siskinv1.RevisionAnnotation], primary.Status)
		}
		if canary.Status.Replicas != 0 {
			return fmt.Errorf("the canary keeps %d pods", canary.Status.Replicas)
		}
		return nil
	})
	users.Stop()
	s.NobodyFailed("users", users, time.Time{})
	t.Logf("%s; %s", c.Status.Rollout.Cause, c.Status.Message)
}
