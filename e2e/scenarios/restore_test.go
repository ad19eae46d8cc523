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

// TestDeletionOfAFailedCanary : git has a version whose image does not exist. The canary says so by the container's
// reason, in status and in the event of the rollback. Deleting the Canary then gives everybody what was promoted, and
// does not hang; git's version is named in the event.
func TestDeletionOfAFailedCanary(t *testing.T) {
	t.Parallel()
	s, _ := story(t, fixtures.App{Replicas: 2})
	s.Start(s.App.Canary(brisk, "progressDeadlineSeconds: 40"))
	users, pods := s.Users(50), s.Pods(50)
	s.App.Version = "9.9.9"
	const broken = "example.invalid/nothing:9.9.9"
	s.Apply(strings.Replace(s.App.Deployment(), "siskin.dev/testapp:9.9.9", broken, 1))
	begun(s, 0)
	s.When(time.Minute, func(c *siskinv1.Canary) string {
		if waits := strings.Join(c.Status.WaitingFor, " "); !strings.Contains(waits, "ErrImagePull") && !strings.Contains(waits, "ImagePullBackOff") {
			return "the status does not say why the canary does not start: " + waits
		}
		return ""
	})
	c := endsAs(s, siskinv1.PhaseFailed, 2*time.Minute)
	for where, text := range map[string]string{"status": c.Status.Message, "event": s.OneEvent("RollingBack").Note} {
		if !strings.Contains(text, "ImagePull") || !strings.Contains(text, broken) {
			t.Errorf("the %s does not say why the canary did not start: %s", where, text)
		}
	}

	remove(s)
	gone(s)
	full(s, 2)
	if e := s.OneEvent("Terminating"); !strings.Contains(e.Note, c.Status.Stable.Revision) || !strings.Contains(e.Note, broken) {
		t.Errorf("nobody is told what git still says: %s", e.Note)
	}
	if image := s.Deployment("").Spec.Template.Spec.Containers[0].Image; image != "siskin.dev/testapp:1.0.0" {
		t.Errorf("the target has image %s", image)
	}
	routeLeadsHome(s)
	serves(s, "1.0.0", s.App.Name+"-", 10*time.Second)
	users.Stop()
	pods.Stop()
	for who, sum := range map[string]map[string]int{
		"users": s.NobodyFailed("users", users, time.Time{}).ByVersion, "pods": s.NobodyFailed("pods", pods, time.Time{}).ByVersion,
	} {
		if len(sum) != 1 || sum["1.0.0"] == 0 {
			t.Errorf("%s reached %v", who, sum)
		}
	}
}

// TestAPausedTarget : kubectl rollout pause holds a new revision, which is told, and kubectl rollout resume lets it go.
// A Canary that is deleted while its target is paused gives back what was promoted, neither what the target had before
// nor what waits, and the target stays paused.
func TestAPausedTarget(t *testing.T) {
	t.Parallel()
	s, _ := story(t, fixtures.App{})
	s.Start(s.App.Canary(brisk))
	drainedTarget(s)
	users, pods := s.Users(50), s.Pods(50)
	rollout(s, "pause")
	s.Release("1.1.0")
	s.When(30*time.Second, func(c *siskinv1.Canary) string {
		if ready := c.Status.Conditions; !hasReason(c, siskinv1.ConditionReady, "TargetPaused") {
			return fmt.Sprintf("nobody is told that the revision waits: %v", ready)
		}
		return ""
	})
	if c := s.Now(); c.Status.Rollout != nil {
		t.Errorf("a paused target is released: %+v", c.Status.Rollout)
	}
	rollout(s, "resume")
	begun(s, 0)
	endsAs(s, siskinv1.PhaseSucceeded, time.Minute)
	drained(s)

	rollout(s, "pause")
	s.Release("1.2.0")
	s.When(30*time.Second, func(c *siskinv1.Canary) string {
		if !hasReason(c, siskinv1.ConditionReady, "TargetPaused") {
			return "nobody is told that the revision waits"
		}
		return ""
	})
	remove(s)
	gone(s)
	full(s, 1)
	if d := s.Deployment(""); !d.Spec.Paused || d.Annotations[siskinv1.UnpausedAnnotation] != "" || d.Spec.Template.Spec.Containers[0].Image != "siskin.dev/testapp:1.1.0" {
		t.Errorf("the target was given back paused %v, %v, image %s", d.Spec.Paused, d.Annotations, d.Spec.Template.Spec.Containers[0].Image)
	}
	serves(s, "1.1.0", s.App.Name+"-", 10*time.Second)
	users.Stop()
	pods.Stop()
	for who, sum := range map[string]map[string]int{
		"users": s.NobodyFailed("users", users, time.Time{}).ByVersion, "pods": s.NobodyFailed("pods", pods, time.Time{}).ByVersion,
	} {
		if sum["1.2.0"] > 0 || sum["1.1.0"] == 0 {
			t.Errorf("%s reached %v", who, sum)
		}
	}
}

// rollout pauses or resumes the target as people do.
func rollout(s *fixtures.Story, verb string) {
	s.Helper()
	if out, err := s.Kubectl(s.Context(), "-n", s.NS, "rollout", verb, "deployment/"+s.App.Name); err != nil {
		s.Fatalf("%v: %s", err, out)
	}
}

// drainedTarget waits until the target has no pods any more.
func drainedTarget(s *fixtures.Story) {
	s.Helper()
	cluster.Eventually(s, time.Minute, func(context.Context) error {
		if d := s.Deployment(""); *d.Spec.Replicas != 0 || d.Status.Replicas != 0 {
			return fmt.Errorf("the target has %d replicas, %d pods", *d.Spec.Replicas, d.Status.Replicas)
		}
		return nil
	})
}

func hasReason(c *siskinv1.Canary, condition, reason string) bool {
	for _, have := range c.Status.Conditions {
		if have.Type == condition && have.Reason == reason {
			return true
		}
	}
	return false
}
