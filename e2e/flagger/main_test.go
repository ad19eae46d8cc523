// Package flagger keeps the promise of docs/flagger.md: what Flagger's own end-to-end scenarios do, Siskin does with
// manifests in Flagger's terms, and no user notices. Each story has users who ask steadily from its beginning to its
// end.
//
//   - release_test.go: what moves traffic: weights, skipped analysis, suspension, a template, a GitOps tool that never rests.
//   - steering_test.go: who gets which version: A/B tests, session affinity.
//   - objects_test.go: what is the user's: KEDA's objects, a Service with another port, deletion.
package flagger

import (
	"context"
	"flag"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/e2e/cluster"
	"github.com/siskin-dev/siskin/e2e/fixtures"
	"github.com/siskin-dev/siskin/e2e/load"
)

// shared is the one cluster of this package.
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
		_ = f.Value.Set("6") // stories wait more than they work
	}
	code := m.Run()
	if world.receiver != nil {
		world.receiver.Close()
	}
	if world.env != nil {
		if err := world.env.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, "stopping the cluster:", err)
			code = 1
		}
	}
	os.Exit(code)
}

// story begins a story on the shared cluster, which the first one starts.
func story(t *testing.T, app fixtures.App) *tale {
	t.Helper()
	t.Parallel()
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
			Traefik: true, Prometheus: true, CRDs: []string{keda}, OutsidePorts: []int{world.receiver.Port()},
		})
	})
	if world.err != nil {
		t.Fatal(world.err)
	}
	return &tale{Story: world.env.Story(t, app), port: 80}
}

// tale is a story whose Canary is written in Flagger's terms.
type tale struct {
	*fixtures.Story

	// port is spec.service.port.
	port int
}

// canary is the manifest: Flagger's fields, with another apiVersion. analysis is the YAML of spec.analysis, indented by
// four; extra are further lines of spec.
func (s *tale) canary(analysis string, extra ...string) string {
	return fmt.Sprintf(`apiVersion: siskin.dev/v1
kind: Canary
metadata: {name: %[1]s}
spec:
  provider: gatewayapi:v1
  targetRef: {apiVersion: apps/v1, kind: Deployment, name: %[1]s}
  progressDeadlineSeconds: 60%[2]s
  service:
    port: %[3]d
    portName: http
    targetPort: 8080
    hosts: [%[4]s]
    gatewayRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: gateway, namespace: gateway-system}]
  analysis:
%[5]s
`, s.App.Name, strings.Join(append([]string{""}, extra...), "\n  "), s.port, s.App.Host, analysis)
}

// gate is a webhook that a test opens and closes; it is open at first.
func (s *tale) gate(name, kind string) string {
	return fmt.Sprintf("- {name: %s, type: %s, url: %q}", name, kind, world.receiver.URL(s.NS+"/"+name))
}

func (s *tale) set(gate string, answer fixtures.Answer) { world.receiver.Set(s.NS+"/"+gate, answer) }

// users are those of the gateway and those of the apex Service.
type users struct {
	s     *tale
	kinds map[string]*load.Generator
}

// everybody sends requests through the gateway and to the apex Service until the story ends.
func (s *tale) everybody() *users {
	s.Helper()
	return &users{s, map[string]*load.Generator{"users of the gateway": s.Users(25), "users of the Service": s.inside(s.port, 10)}}
}

// inside sends requests to a port of the apex Service, each on a connection of its own.
func (s *tale) inside(port, rate int) *load.Generator {
	s.Helper()
	g := &load.Generator{
		URL: fmt.Sprintf("http://%s.%s.svc.cluster.local:%d/", s.App.Name, s.NS, port), Rate: rate,
		Client: &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DialContext: s.DialContext, DisableKeepAlives: true}},
	}
	g.Start(s.Context())
	s.Cleanup(g.Stop)
	return g
}

// unharmed ends the load and checks that nobody's request failed, but for what versions that are bad by design
// answered. It returns how many requests each version answered.
func (u *users) unharmed(bad ...string) map[string]int {
	u.s.Helper()
	versions := map[string]int{}
	for who, g := range u.kinds {
		g.Stop()
		for v, n := range u.s.NobodyFailed(who, g, time.Time{}, bad...).ByVersion {
			versions[v] += n
		}
	}
	u.s.Logf("answers by version: %v", versions)
	return versions
}

// ends waits until the rollout after number id has ended and checks how.
func (s *tale) ends(id int64, phase siskinv1.Phase) *siskinv1.Canary {
	s.Helper()
	c := s.When(90*time.Second, func(c *siskinv1.Canary) string {
		if c.Status.Rollout == nil || c.Status.Rollout.ID <= id {
			return "no new rollout"
		}
		switch c.Status.Phase {
		case siskinv1.PhaseSucceeded, siskinv1.PhaseFailed, siskinv1.PhaseCancelled:
			return ""
		}
		return "not ended"
	})
	if c.Status.Phase != phase {
		s.Fatalf("the rollout ended as %s, not as %s: %s", c.Status.Phase, phase, c.Status.Message)
	}
	return c
}

// serves waits until the apex Service is answered by a version, by pods whose names begin so.
func (s *tale) serves(version, pods string) {
	s.Helper()
	cluster.Eventually(s, 20*time.Second, func(ctx context.Context) error {
		v, pod, err := s.WhoServes(ctx)
		if err == nil && (v != version || len(pod) < len(pods) || pod[:len(pods)] != pods) {
			err = fmt.Errorf("%s of pod %s answers, not %s of %s", v, pod, version, pods)
		}
		return err
	})
}

// pass waits for a time in which something must not happen.
func (s *tale) pass(d time.Duration) {
	s.Helper()
	select {
	case <-time.After(d):
	case <-s.Context().Done():
		s.Fatal(s.Context().Err())
	}
}
