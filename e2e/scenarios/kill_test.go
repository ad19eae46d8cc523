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
// A killed leader leaves its lease, which the next one waits for (15 s). Twice the story waits too and measures that; after the
// other kills it takes the lease away, as if its time were over.
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
			took := takeOver(t, s.Env, killed >= 2)
			killed++
			t.Logf("kill %d of rollout %d at %s: taken over after %s", killed, rollout, at, took.Round(100*time.Millisecond))
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
}

// takeOver kills Siskin, takes its pod away so that no restart delay adds up, and waits until the next one leads.
func takeOver(t *testing.T, e *fixtures.Env, freeLease bool) time.Duration {
	t.Helper()
	ctx := t.Context()
	before := leader(ctx, t, e)
	pod, err := e.SiskinPod(ctx)
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if err := e.KillPod(ctx, fixtures.SiskinNamespace, pod, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	dead := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: fixtures.SiskinNamespace, Name: pod}}
	if err := e.API.Delete(ctx, dead, client.GracePeriodSeconds(0)); client.IgnoreNotFound(err) != nil {
		t.Fatal(err)
	}
	if freeLease {
		lease := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: fixtures.SiskinNamespace, Name: "siskin.dev"}}
		if err := e.API.Delete(ctx, lease); client.IgnoreNotFound(err) != nil {
			t.Fatal(err)
		}
	}
	cluster.Eventually(t, 45*time.Second, func(ctx context.Context) error {
		if now := leader(ctx, t, e); now == "" || now == before {
			return fmt.Errorf("the leader is still %q", now)
		}
		return nil
	})
	return time.Since(began)
}

// leader is who holds the lease; "" while nobody does.
func leader(ctx context.Context, t *testing.T, e *fixtures.Env) string {
	t.Helper()
	var lease coordinationv1.Lease
	err := e.API.Get(ctx, client.ObjectKey{Namespace: fixtures.SiskinNamespace, Name: "siskin.dev"}, &lease)
	if err != nil || lease.Spec.HolderIdentity == nil {
		return ""
	}
	return *lease.Spec.HolderIdentity
}
