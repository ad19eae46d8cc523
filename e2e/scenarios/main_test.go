// Package scenarios holds the stories that Siskin is for, on real parts: Siskin as a pod, a real API server, Traefik, Prometheus.
package scenarios

import (
	"context"
	"flag"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/e2e/cluster"
	"github.com/siskin-dev/siskin/e2e/fixtures"
)

// brisk is the analysis of stories that are not about it: two steps of 3 s without checks.
const brisk = `    interval: 3s
    threshold: 1
    stepWeights: [20, 50]`

// shared is the one cluster of this package, with the receiver of its webhooks. Starting it takes longer than most stories.
type shared struct {
	once     sync.Once
	env      *fixtures.Env
	receiver *fixtures.Receiver
	err      error
}

var world shared

func TestMain(m *testing.M) {
	flag.Parse()
	if f := flag.Lookup("test.parallel"); f != nil && f.Value.String() == f.DefValue {
		_ = f.Value.Set("4") // stories wait more than they work
	}
	code := m.Run()
	if err := world.stop(); err != nil {
		fmt.Fprintln(os.Stderr, "stopping the cluster:", err)
		code = 1
	}
	os.Exit(code)
}

// given returns the cluster, which the first caller starts.
func given(t *testing.T) (*fixtures.Env, *fixtures.Receiver) {
	t.Helper()
	world.once.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Minute) // building the servers takes most of it, once
		defer cancel()
		keda, err := fixtures.KEDACRD()
		if err != nil {
			world.err = err
			return
		}
		world.receiver = fixtures.NewReceiver()
		world.env, world.err = fixtures.New(ctx, cluster.Options{
			Traefik: true, TestGateway: true, Prometheus: true, Slack: true, Git: true, MetricsAPI: true,
			PodEnv: fixtures.CacheGuard(), CRDs: []string{keda}, OutsidePorts: []int{world.receiver.Port()},
		})
		if world.err == nil { // who asked is stamped, as docs tell users to install it
			world.err = world.env.StampRequests(ctx)
		}
	})
	if world.err != nil {
		t.Fatal(world.err)
	}
	return world.env, world.receiver
}

func (w *shared) stop() error {
	if w.receiver != nil {
		w.receiver.Close()
	}
	if w.env == nil {
		return nil
	}
	return w.env.Stop()
}

// story begins a story on the shared cluster.
func story(t *testing.T, app fixtures.App) (*fixtures.Story, *fixtures.Receiver) {
	t.Helper()
	e, r := given(t)
	return e.Story(t, app), r
}

// ended is what a rollout waits for: it has ended in some way.
func ended(c *siskinv1.Canary) string {
	switch c.Status.Phase {
	case siskinv1.PhaseSucceeded, siskinv1.PhaseFailed, siskinv1.PhaseCancelled:
		return ""
	}
	return "not ended"
}

// endsAs waits until a rollout of a version has ended and checks how.
func endsAs(s *fixtures.Story, phase siskinv1.Phase, limit time.Duration) *siskinv1.Canary {
	s.Helper()
	c := s.When(limit, ended)
	if c.Status.Phase != phase {
		s.Fatalf("the rollout ended as %s, not as %s: %s", c.Status.Phase, phase, c.Status.Message)
	}
	return c
}

// begun waits until the rollout after number id has begun.
func begun(s *fixtures.Story, id int64) *siskinv1.Canary {
	s.Helper()
	return s.When(30*time.Second, func(c *siskinv1.Canary) string {
		if c.Status.Rollout == nil || c.Status.Rollout.ID <= id {
			return "no new rollout"
		}
		return ""
	})
}
