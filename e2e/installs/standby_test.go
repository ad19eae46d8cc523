package installs

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/e2e/cluster"
	"github.com/siskin-dev/siskin/e2e/fixtures"
)

const twoReplicas = `resources: [KUSTOMIZE/default]
replicas: [{name: siskin, count: 2}]
`

// TestStandbyTakesOver : the leader's pod is lost in the middle of a rollout, and the replica that stands by, whose caches are full by
// then, goes on: first with a good version, where no step gets shorter, then with a bad one, which it takes back.
func TestStandbyTakesOver(t *testing.T) {
	r := fixtures.NewReceiver()
	t.Cleanup(r.Close)
	e := install(t, cluster.Options{OutsidePorts: []int{r.Port()}}, map[string]string{"kustomization.yaml": twoReplicas}, "shop")
	judge := `    webhooks: [{name: judge, type: rollout, url: "` + r.URL("judge") + `"}]`
	e.Given(t, "shop", app("web", "1", judge, ""))
	e.UntilPhase(t, "shop", "web", siskinv1.PhaseInitialized, time.Minute)
	seen := follow(t, e, "shop", "web")

	e.Given(t, "shop", deployment("web", "2"))
	atWeight(t, e, 20)
	t.Logf("another replica led after %s", loseLeader(t, e))
	e.UntilPhase(t, "shop", "web", siskinv1.PhaseSucceeded, 90*time.Second)
	seen.check(t, 3)

	e.Given(t, "shop", deployment("web", "3"))
	atWeight(t, e, 20)
	r.Set("judge", fixtures.No)
	t.Logf("another replica led after %s", loseLeader(t, e))
	c := e.UntilPhase(t, "shop", "web", siskinv1.PhaseFailed, 90*time.Second)
	if c.Status.Rollout.ID != 2 || c.Status.CanaryWeight != 0 || len(c.Status.History) != 2 {
		t.Errorf("rollout %d, %d %%, history %+v", c.Status.Rollout.ID, c.Status.CanaryWeight, c.Status.History)
	}
}

func atWeight(t *testing.T, e *fixtures.Env, weight int32) {
	t.Helper()
	e.Until(t, "shop", "web", 30*time.Second, func(c *siskinv1.Canary) string {
		if c.Status.CanaryWeight != weight {
			return fmt.Sprintf("not at %d %%", weight)
		}
		return ""
	})
}

// loseLeader kills the leader's process and loses its pod, and returns how long it took until another replica led: mostly the one that
// stood by, or else the new one, whose caches are full too when the lease has run out.
func loseLeader(t *testing.T, e *fixtures.Env) time.Duration {
	t.Helper()
	untilWarm(t, e)
	leader := holder(t, e)
	if err := e.KillPod(t.Context(), fixtures.SiskinNamespace, leader, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	killed := time.Now()
	dead := &corev1.Pod{}
	dead.Namespace, dead.Name = fixtures.SiskinNamespace, leader
	if err := e.API.Delete(t.Context(), dead, client.GracePeriodSeconds(0)); client.IgnoreNotFound(err) != nil {
		t.Fatal(err)
	}
	var successor string
	cluster.Eventually(t, 30*time.Second, func(context.Context) error {
		if successor = holder(t, e); successor == leader || successor == "" {
			return errors.New("nobody leads")
		}
		return nil
	})
	led := time.Now()
	cluster.Eventually(t, 15*time.Second, func(ctx context.Context) error { // it has looked at everything
		for _, pod := range pods(t, e, "siskin") {
			if pod.Name != successor {
				continue
			}
			n, err := metric(ctx, e, pod, "controller_runtime_reconcile_total", map[string]string{"controller": "canary"})
			if err == nil && n == 0 {
				err = errors.New("the new leader has not looked at the Canary")
			}
			return err
		}
		return errors.New("the new leader has gone")
	})
	t.Logf("its first look came within %s of that", time.Since(led).Round(time.Millisecond))
	return led.Sub(killed).Round(10 * time.Millisecond)
}

// untilWarm waits until the replica that stands by has seen the Canary in its caches.
func untilWarm(t *testing.T, e *fixtures.Env) {
	t.Helper()
	cluster.Eventually(t, time.Minute, func(ctx context.Context) error {
		leader := holder(t, e)
		for _, pod := range pods(t, e, "siskin") {
			if pod.Name == leader || pod.Status.PodIP == "" || pod.DeletionTimestamp != nil {
				continue
			}
			waiting, err := metric(ctx, e, pod, "workqueue_depth", map[string]string{"name": "canary"})
			if err != nil {
				return err
			}
			worked, err := metric(ctx, e, pod, "controller_runtime_reconcile_total", nil)
			if err != nil {
				return err
			}
			if worked > 0 {
				t.Fatalf("%s works without leading", pod.Name)
			}
			if waiting < 1 {
				return fmt.Errorf("%s stands by with empty caches", pod.Name)
			}
			return nil
		}
		return errors.New("nobody stands by")
	})
}

// holder of the leader's lease.
func holder(t *testing.T, e *fixtures.Env) string {
	t.Helper()
	var lease coordinationv1.Lease
	if err := e.API.Get(t.Context(), client.ObjectKey{Namespace: fixtures.SiskinNamespace, Name: "siskin.dev"}, &lease); err != nil {
		t.Fatal(err)
	}
	if lease.Spec.HolderIdentity == nil {
		return ""
	}
	return *lease.Spec.HolderIdentity
}
