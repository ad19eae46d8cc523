// Package installs checks what depends on how Siskin is installed: in some namespaces only, with replicas that stand by, in shards.
// Each test has a cluster of its own, with pods that are no processes and a stand-in for the gateway's controller.
package installs

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/e2e/cluster"
	"github.com/siskin-dev/siskin/e2e/fixtures"
	"github.com/siskin-dev/siskin/e2e/fleet"
)

const interval = 5 * time.Second

func TestMain(m *testing.M) {
	log.SetLogger(logr.Discard()) // or clients complain that nobody did
	os.Exit(m.Run())
}

// install starts a cluster with Siskin from a kustomization; files are its files by path, in which KUSTOMIZE is the way to
// kustomize/. Namespaces are made before.
func install(t *testing.T, o cluster.Options, files map[string]string, namespaces ...string) *fixtures.Env {
	t.Helper()
	root, err := fixtures.Root()
	if err != nil {
		t.Fatal(err)
	}
	if o.CRDs, err = fixtures.GatewayCRDs(t.Context()); err != nil {
		t.Fatal(err)
	}
	o.Siskin = fixtures.Build(t, root)
	c := cluster.Start(t, o)
	for _, ns := range namespaces {
		if err := c.Apply(t.Context(), []byte("apiVersion: v1\nkind: Namespace\nmetadata: {name: "+ns+"}\n")); err != nil {
			t.Fatal(err)
		}
	}
	dir := filepath.Join(c.Dir(), "install")
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		base, err := filepath.Rel(filepath.Dir(path), filepath.Join(root, "kustomize"))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(strings.ReplaceAll(text, "KUSTOMIZE", base)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	e, err := fixtures.InstallFrom(t.Context(), c, root, dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			e.Dump(t)
		}
	})
	var gateway sync.WaitGroup
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	gateway.Go(func() { fleet.AcceptRoutes(ctx, e.API, func(string, ...any) {}) })
	t.Cleanup(func() {
		cancel()
		gateway.Wait()
	})
	return e
}

// app is a Deployment without processes and its Canary of three steps; extra are further lines of the Canary's metadata.
func app(name, version, analysis, extra string) string {
	return deployment(name, version) + fmt.Sprintf(`---
apiVersion: siskin.dev/v1
kind: Canary
metadata:
  name: %[1]s
%[4]s
spec:
  targetRef: {kind: Deployment, name: %[1]s}
  provider: gatewayapi
  service: {port: 80, targetPort: http, gatewayRefs: [{name: gateway}]}
  analysis:
    interval: %[2]s
    threshold: 1
    stepWeights: [20, 40, 60]
%[3]s
`, name, interval, analysis, extra)
}

func deployment(name, version string) string {
	return fmt.Sprintf(`apiVersion: apps/v1
kind: Deployment
metadata: {name: %[1]s}
spec:
  replicas: 1
  selector: {matchLabels: {app: %[1]s}}
  template:
    metadata: {labels: {app: %[1]s}}
    spec:
      containers:
      - {name: app, image: "siskin.dev/pause:%[2]s", ports: [{name: http, containerPort: 8080}]}
`, name, version)
}

// steps records what a watch sees of one Canary: when each step was decided, and which rollouts there were.
type steps struct {
	mu       sync.Mutex
	decided  map[int32]time.Time
	ends     map[int32]time.Time
	weights  []int32
	rollouts map[int64]bool
}

// follow records a Canary's steps until the test ends.
func follow(t *testing.T, e *fixtures.Env, namespace, name string) *steps {
	t.Helper()
	s := &steps{decided: map[int32]time.Time{}, ends: map[int32]time.Time{}, rollouts: map[int64]bool{}}
	w, err := e.API.Watch(t.Context(), &siskinv1.CanaryList{}, client.InNamespace(namespace))
	if err != nil {
		t.Fatal(err)
	}
	var done sync.WaitGroup
	done.Go(func() {
		for ev := range w.ResultChan() {
			if c, ok := ev.Object.(*siskinv1.Canary); ok && ev.Type != watch.Deleted && c.Name == name {
				s.note(c)
			}
		}
	})
	t.Cleanup(func() {
		w.Stop()
		done.Wait()
	})
	return s
}

func (s *steps) note(c *siskinv1.Canary) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := len(s.weights); n == 0 || s.weights[n-1] != c.Status.CanaryWeight {
		s.weights = append(s.weights, c.Status.CanaryWeight)
	}
	if c.Status.Rollout != nil {
		s.rollouts[c.Status.Rollout.ID] = true
	}
	st := c.Status.Step
	if c.Status.Phase != siskinv1.PhaseProgressing || st == nil || st.Index == 0 || st.StartedAt == nil || st.EndsAt == nil {
		if c.Status.Phase == siskinv1.PhasePromoting && c.Status.LastTransitionTime != nil {
			s.decided[-1] = c.Status.LastTransitionTime.Time // the promotion
		}
		return
	}
	s.decided[st.Index], s.ends[st.Index] = st.StartedAt.Time, st.EndsAt.Time
}

// check fails if a step was shorter than its interval, or than it was planned, or if more than one rollout was begun.
func (s *steps) check(t *testing.T, n int32) {
	t.Helper()
	cluster.Eventually(t, 10*time.Second, func(context.Context) error { // the watch may tell later than a read
		s.mu.Lock()
		defer s.mu.Unlock()
		if _, ok := s.decided[-1]; !ok {
			return fmt.Errorf("the promotion was not seen: %v", s.decided)
		}
		return nil
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.rollouts) != 1 {
		t.Errorf("%d rollouts were seen", len(s.rollouts))
	}
	for i := int32(1); i <= n; i++ {
		next, ok := s.decided[i+1]
		if i == n {
			next, ok = s.decided[-1]
		}
		began, ok2 := s.decided[i]
		if !ok || !ok2 {
			t.Errorf("step %d or its end was not seen: %v", i, s.decided)
			continue
		}
		if took := next.Sub(began); took < interval || next.Before(s.ends[i]) {
			t.Errorf("step %d took %s of %s, and ended %s before it was planned to", i, took, interval, s.ends[i].Sub(next))
		}
		t.Logf("step %d took %s", i, next.Sub(began).Round(time.Millisecond))
	}
}

// pods of a Deployment of Siskin's.
func pods(t *testing.T, e *fixtures.Env, name string) []corev1.Pod {
	t.Helper()
	var list corev1.PodList
	err := e.API.List(t.Context(), &list, client.InNamespace(fixtures.SiskinNamespace), client.MatchingLabels{"app.kubernetes.io/name": name})
	if err != nil {
		t.Fatal(err)
	}
	return list.Items
}

// metric sums the series of a pod's metrics whose line begins with prefix.
func metric(ctx context.Context, e *fixtures.Env, pod corev1.Pod, name string, labels map[string]string) (float64, error) {
	families, err := fleet.Get(ctx, e.HTTPClient(), "http://"+net.JoinHostPort(pod.Status.PodIP, "8080")+"/metrics")
	if err != nil {
		return 0, err
	}
	var sum float64
series:
	for _, m := range families[name].GetMetric() {
		for key, value := range labels {
			if fleet.Label(m, key) != value {
				continue series
			}
		}
		sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
	}
	return sum, nil
}
