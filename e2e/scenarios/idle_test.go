package scenarios

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"regexp"
	"strconv"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/e2e/fixtures"
)

// TestIdle : a Canary that has been promoted, one that was taken back and one that is frozen, after an answered request, cost nothing: in
// 30 s Siskin does nothing but renew its lease.
func TestIdle(t *testing.T) {
	good, r := story(t, fixtures.App{Name: "good"})
	good.Apply(good.App.Deployment())
	good.Apply(hpa(good, 1, 2)) // its controller writes its status all the time
	busy(good, 100)
	good.Start(good.App.Canary(brisk, "autoscalerRef: {kind: HorizontalPodAutoscaler, name: good}"))
	bad, _ := story(t, fixtures.App{Name: "bad"})
	r.Set(bad.NS+"/pre-rollout", fixtures.No)
	bad.Start(bad.App.Canary(gated(bad, r, "pre-rollout")))
	good.Release("1.1.0")
	bad.Release("1.1.0")
	begun(good, 0)
	begun(bad, 0)
	endsAs(good, siskinv1.PhaseSucceeded, time.Minute)
	endsAs(bad, siskinv1.PhaseFailed, time.Minute)
	frozen, _ := story(t, fixtures.App{Name: "frozen"})
	r.Set(frozen.NS+"/rollout", fixtures.No)
	frozen.Start(frozen.App.Canary(gated(frozen, r, "rollout") + "\n    onFailure: Freeze"))
	frozen.Release("1.1.0")
	frozen.Phase(siskinv1.PhaseFrozen, time.Minute)
	frozen.Refused("pause@1", "nothing can be paused in phase Frozen")
	for _, s := range []*fixtures.Story{good, bad} {
		drained(s)
	}
	before := requests(t, good.Env)
	settled := before
	for range 4 { // texts for people may be 15 s late
		rest(t, 17*time.Second)
		settled = requests(t, good.Env)
		if settled["POST"] == before["POST"] && settled["PATCH"] == before["PATCH"] {
			break
		}
		before = settled
	}
	rest(t, 30*time.Second)
	after := requests(t, good.Env)
	t.Logf("before %v, after %v", settled, after)
	for method, limit := range map[string]int{
		"PUT":  20, // the lease, every 2 s
		"GET":  8,  // watches that were renewed meanwhile: each of some 15, every 5 to 10 min
		"POST": 0, "PATCH": 0, "DELETE": 0,
	} {
		if n := after[method] - settled[method]; n > limit {
			t.Errorf("%d %s requests in 30 idle seconds, at most %d are the lease's and watches'", n, method, limit)
		}
	}
	if after["PUT"] == settled["PUT"] {
		t.Error("not even the lease was renewed: this counts nothing")
	}
}

// drained waits until the canary is scaled down, the last thing that a rollout does.
func drained(s *fixtures.Story) {
	s.Helper()
	s.When(time.Minute, func(*siskinv1.Canary) string {
		if d := s.Deployment("-canary"); *d.Spec.Replicas != 0 || d.Status.Replicas != 0 {
			return "the canary is still there"
		}
		return ""
	})
}

// rest lets time pass, which is what this story is about.
func rest(t *testing.T, d time.Duration) {
	t.Helper()
	select {
	case <-time.After(d):
	case <-t.Context().Done():
		t.Fatal(t.Context().Err())
	}
}

var requestLine = regexp.MustCompile(`^rest_client_requests_total\{.*method="([A-Z]+)".*\} ([0-9.e+]+)$`)

// requests counts what Siskin has asked the API server, by method.
func requests(t *testing.T, e *fixtures.Env) map[string]int {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	counts, err := scrape(ctx, e)
	if err != nil {
		t.Fatal(err)
	}
	return counts
}

func scrape(ctx context.Context, e *fixtures.Env) (map[string]int, error) {
	name, err := e.SiskinPod(ctx)
	if err != nil {
		return nil, err
	}
	var pod corev1.Pod
	if err := e.API.Get(ctx, client.ObjectKey{Namespace: fixtures.SiskinNamespace, Name: name}, &pod); err != nil {
		return nil, fmt.Errorf("reading Siskin's pod: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+net.JoinHostPort(pod.Status.PodIP, "8080")+"/metrics", nil)
	if err != nil {
		return nil, fmt.Errorf("asking Siskin's metrics: %w", err)
	}
	resp, err := e.HTTPClient().Do(req)
	if err != nil {
		return nil, fmt.Errorf("asking Siskin's metrics: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	counts := map[string]int{}
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		if m := requestLine.FindStringSubmatch(lines.Text()); m != nil {
			n, err := strconv.ParseFloat(m[2], 64)
			if err != nil {
				return nil, fmt.Errorf("reading %s: %w", lines.Text(), err)
			}
			counts[m[1]] += int(n)
		}
	}
	return counts, nil
}
