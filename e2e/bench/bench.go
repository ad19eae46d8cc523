package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/siskin-dev/siskin/e2e/cluster"
	"github.com/siskin-dev/siskin/e2e/fixtures"
	"github.com/siskin-dev/siskin/e2e/fleet"
)

type bench struct {
	o     options
	e     *fixtures.Env
	fleet *fleet.Fleet
	log   io.Writer
}

func newBench(o options, e *fixtures.Env, log io.Writer, prometheus string) *bench {
	return &bench{o: o, e: e, log: log, fleet: &fleet.Fleet{
		API: e.API, Prefix: "bench", Canaries: o.canaries, Namespaces: o.namespaces, Interval: o.interval,
		Weights: []int32{10, 20, 30, 40, 50}, Image: cluster.ImagePause, Prometheus: prometheus,
	}}
}

func (b *bench) say(format string, args ...any) { _, _ = fmt.Fprintf(b.log, format+"\n", args...) }

// scrape reads Siskin's metrics.
func (b *bench) scrape(ctx context.Context) (fleet.Reading, error) {
	var pods corev1.PodList
	err := b.e.API.List(ctx, &pods, client.InNamespace(fixtures.SiskinNamespace), client.MatchingLabels{"app.kubernetes.io/name": "siskin"})
	if err != nil || len(pods.Items) == 0 {
		return fleet.Reading{}, fmt.Errorf("finding Siskin's pod: %w", err)
	}
	return fleet.Scrape(ctx, b.e.HTTPClient(), "http://"+pods.Items[0].Status.PodIP+":8080/metrics")
}

// serverWrites counts the API server's writes by verb and resource, of all clients: it tells what Siskin's calls are about.
func (b *bench) serverWrites(ctx context.Context) (map[string]float64, error) {
	raw, err := b.e.Kubectl(ctx, "get", "--raw", "/metrics")
	if err != nil {
		return nil, fmt.Errorf("asking the API server for metrics: %w", err)
	}
	return fleet.ServerWrites(strings.NewReader(raw))
}

// profile writes a CPU profile of Siskin, from the first release to the last promotion.
func (b *bench) profile(ctx context.Context) {
	pod, err := b.e.SiskinPod(ctx)
	if err != nil {
		b.say("profiling: %v", err)
		return
	}
	var p corev1.Pod
	if err := b.e.API.Get(ctx, client.ObjectKey{Namespace: fixtures.SiskinNamespace, Name: pod}, &p); err != nil {
		b.say("profiling: %v", err)
		return
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.Status.PodIP+":6060/debug/pprof/profile?seconds=70", nil)
	if err != nil {
		b.say("profiling: %v", err)
		return
	}
	hc := b.e.HTTPClient()
	hc.Timeout = 0
	resp, err := hc.Do(req)
	if err != nil {
		b.say("profiling: %v", err)
		return
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 64<<20))
	if err == nil {
		err = os.WriteFile(b.o.profile, body, 0o600)
	}
	b.say("profile of %d bytes in %s (%v)", len(body), b.o.profile, err)
}
