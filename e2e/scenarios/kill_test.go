package scenarios

import (
	"context"
	"fmt"
	"math/rand/v2"
	"syscall"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/e2e/cluster"
	"github.com/siskin-dev/siskin/e2e/fixtures"
)

const kills = 10

// TestKilledController : Siskin is killed with SIGKILL at ten random moments of good and bad rollouts. Each ends as it would have
// without, and no request fails that the bad version did not answer itself.
//
// Mostly its container restarts in its pod, which keeps the leader's lease. Every fourth time the pod is lost too: its successor has
// to wait until the lease has run out (15 s). The story waits so once and measures it; later it takes the lease away.
func TestKilledController(t *testing.T) {
	s, r := story(t, fixtures.App{})
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	check := "killed/" + s.NS
	s.Start(s.App.Canary(`    interval: 3s
    threshold: 1
    stepWeights: [20, 50]
    webhooks:
    - {name: judge, type: rollout, url: "` + r.URL(check) + `"}`))
	users := s.Users(50)
	killed := 0
	for rollout := int64(1); killed < kills; rollout++ {
		good := rollout%2 == 1
		want, answer := siskinv1.PhaseSucceeded, fixtures.Yes
		if !good {
			want, answer = siskinv1.PhaseFailed, fixtures.No
		}
		r.Set(check, answer)
		s.Release(fmt.Sprintf("1.%d.0", rollout))
		for killed < kills {
			moment := time.After(time.Duration(rnd.Int64N(int64(5 * time.Second))))
			c := s.When(time.Minute, func(c *siskinv1.Canary) string {
				select {
				case <-moment:
					return ""
				default:
				}
				if c.Status.Rollout != nil && c.Status.Rollout.ID == rollout {
					return ended(c)
				}
				return "neither the moment nor the end has come"
			})
			if c.Status.Rollout != nil && c.Status.Rollout.ID == rollout && ended(c) == "" {
				break
			}
			at := fmt.Sprintf("%s %d%%", c.Status.Phase, c.Status.CanaryWeight)
			how := []death{crash, crash, crash, podLost}[killed%4]
			if how == podLost && killed > 4 {
				how = podAndLeaseLost
			}
			took := takeOver(t, s.Env, how)
			killed++
			t.Logf("kill %d (%s) of rollout %d at %s: taken over after %s", killed, how, rollout, at, took.Round(100*time.Millisecond))
			if how == crash && took > 12*time.Second { // at most 4 s are the node's restart delay
				t.Errorf("a restart in the pod took over after %s: it waited for its own lease", took)
			}
		}
		begun(s, rollout-1)
		c := endsAs(s, want, 90*time.Second)
		if c.Status.Rollout.ID != rollout {
			t.Fatalf("rollout %d is number %d by now", rollout, c.Status.Rollout.ID)
		}
		if len(c.Status.History) == 0 || c.Status.History[0].Outcome != string(want) {
			t.Errorf("the history does not tell: %+v", c.Status.History)
		}
	}
	users.Stop()
	sum := s.NobodyFailed("users while Siskin was killed", users, time.Time{})
	t.Logf("%v", sum)
	// What was decided just before a kill was told by the next process, under the same name.
	c, err := s.Canary(t.Context(), s.NS, s.App.Name)
	if err != nil {
		t.Fatal(err)
	}
	n := int(c.Status.Rollout.ID)
	for reason, want := range map[string]int{"NewRevision": n, "Promoted": (n + 1) / 2, "RolledBack": n / 2} {
		s.EventsWhen(reason, want)
	}
}

// death is what happens to the controller.
type death string

const (
	crash           death = "restart in the pod"
	podLost         death = "pod lost"
	podAndLeaseLost death = "pod and lease lost"
)

// takeOver kills Siskin and waits until its successor leads.
func takeOver(t *testing.T, e *fixtures.Env, how death) time.Duration {
	t.Helper()
	killed := die(t, e, how)
	var lease coordinationv1.Lease
	cluster.Eventually(t, 45*time.Second, func(ctx context.Context) error {
		if err := e.API.Get(ctx, client.ObjectKey{Namespace: fixtures.SiskinNamespace, Name: "siskin.dev"}, &lease); err != nil {
			return fmt.Errorf("reading the lease: %w", err)
		}
		if renewed := lease.Spec.RenewTime; renewed == nil || !renewed.After(killed) {
			return fmt.Errorf("nobody has led since: %+v", lease.Spec)
		}
		return nil
	})
	return time.Since(killed)
}

// die kills Siskin, as soon as it runs, and returns when that was.
func die(t testing.TB, e *fixtures.Env, how death) time.Time {
	t.Helper()
	ctx := t.Context()
	var pod string
	cluster.Eventually(t, 45*time.Second, func(ctx context.Context) error { // the successor of one that died just now is still to start
		var err error
		if pod, err = e.SiskinPod(ctx); err != nil {
			return err
		}
		return e.KillPod(ctx, fixtures.SiskinNamespace, pod, syscall.SIGKILL)
	})
	killed := time.Now()
	lease := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: fixtures.SiskinNamespace, Name: "siskin.dev"}}
	if how != crash {
		dead := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: fixtures.SiskinNamespace, Name: pod}}
		if err := e.API.Delete(ctx, dead, client.GracePeriodSeconds(0)); client.IgnoreNotFound(err) != nil {
			t.Fatal(err)
		}
	}
	if how == podAndLeaseLost {
		if err := e.API.Delete(ctx, lease); client.IgnoreNotFound(err) != nil {
			t.Fatal(err)
		}
	}
	return killed
}
