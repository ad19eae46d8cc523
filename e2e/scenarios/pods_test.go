package scenarios

import (
	"context"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/e2e/cluster"
	"github.com/siskin-dev/siskin/e2e/fixtures"
)

// TestCanaryNeverReady : a version that never becomes ready gets no traffic, and the rollout ends at progressDeadlineSeconds.
func TestCanaryNeverReady(t *testing.T) {
	t.Parallel()
	neverUp(t, map[string]string{"NOT_READY": "true"})
}

// TestCanaryCrashesAtStart : the same for a version that exits at once.
func TestCanaryCrashesAtStart(t *testing.T) {
	t.Parallel()
	neverUp(t, map[string]string{"CRASH_AFTER_START": "1ms"})
}

func neverUp(t *testing.T, env map[string]string) {
	t.Helper()
	s, _ := story(t, fixtures.App{})
	s.Start(s.App.Canary(brisk, "progressDeadlineSeconds: 10"))
	users := s.Users(20)
	s.App.Env = env
	began := time.Now()
	s.Release("1.1.0")
	begun(s, 0)
	c := endsAs(s, siskinv1.PhaseFailed, time.Minute)
	if took := time.Since(began); took < 9*time.Second || took > 35*time.Second {
		t.Errorf("the rollout ended after %s at a deadline of 10 s", took)
	}
	if !strings.Contains(c.Status.Rollout.Cause, "the canary") || !strings.Contains(c.Status.Rollout.Cause, "ready") {
		t.Errorf("the cause is %q", c.Status.Rollout.Cause)
	}
	e := s.OneEvent("RollingBack")
	if !strings.Contains(e.Note, ":1.1.0") {
		t.Errorf("the event does not name the image: %s", e.Note)
	}
	users.Stop()
	if sum := s.NobodyFailed("users", users, time.Time{}); sum.ByVersion["1.1.0"] > 0 {
		t.Errorf("%d requests reached pods that were never ready", sum.ByVersion["1.1.0"])
	}
}

// TestCanaryCrashesUnderTraffic : when the only pod of the canary dies with traffic on it, the traffic goes back to the primary
// and the rollout ends as failed, although no metric is asked.
func TestCanaryCrashesUnderTraffic(t *testing.T) {
	t.Parallel()
	s, _ := story(t, fixtures.App{})
	s.Start(s.App.Canary(strings.Replace(brisk, "3s", "60s", 1)))
	users := s.Users(50)
	s.Release("1.1.0")
	s.Weight(20, 40*time.Second)
	cluster.Eventually(t, 20*time.Second, func(context.Context) error {
		if _, ok := lastOf(users.Samples(), "1.1.0"); !ok {
			return context.DeadlineExceeded
		}
		return nil
	})
	crashed := time.Now()
	for _, pod := range canaryPods(s) {
		if err := s.KillPod(t.Context(), s.NS, pod, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
	c := endsAs(s, siskinv1.PhaseFailed, 30*time.Second)
	if !strings.Contains(c.Status.Rollout.Cause, "canary pods") {
		t.Errorf("the cause is %q", c.Status.Rollout.Cause)
	}
	ended := s.OneEvent("RollingBack").At
	if took := ended.Sub(crashed); took > 15*time.Second { // and not the minute that the step lasts
		t.Errorf("noticing took %s", took)
	}
	users.Stop()
	for _, sample := range users.Samples() {
		if sample.Failed() && sample.At.After(ended.Add(10*time.Second)) {
			t.Fatalf("a request failed %s after the rollback began: %+v", sample.At.Sub(ended), sample)
		}
	}
	serves(s, "1.0.0", "shop-primary-", 10*time.Second)
}

func canaryPods(s *fixtures.Story) []string {
	s.Helper()
	var list corev1.PodList
	if err := s.API.List(s.Context(), &list, client.InNamespace(s.NS), client.MatchingLabels{siskinv1.RoleLabel: siskinv1.RoleCanary}); err != nil {
		s.Fatal(err)
	}
	var out []string
	for i := range list.Items {
		out = append(out, list.Items[i].Name)
	}
	return out
}
