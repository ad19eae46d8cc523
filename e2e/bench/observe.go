package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/siskin-dev/siskin/e2e/fixtures"
)

func (b *bench) acceptWatched(ctx context.Context) error {
	w, err := client.NewWithWatch(b.e.Config(), client.Options{Scheme: b.e.API.Scheme()})
	if err != nil {
		return fmt.Errorf("making a client: %w", err)
	}
	events, err := w.Watch(ctx, &gatewayv1.HTTPRouteList{})
	if err != nil {
		return fmt.Errorf("watching routes: %w", err)
	}
	defer events.Stop()
	var group errgroup.Group
	group.SetLimit(8)
	for ev := range events.ResultChan() {
		route, ok := ev.Object.(*gatewayv1.HTTPRoute)
		if !ok || (ev.Type != watch.Added && ev.Type != watch.Modified) || accepted(route) {
			continue
		}
		group.Go(func() error {
			before := route.DeepCopy()
			accept(route)
			if err := w.Status().Patch(ctx, route, client.MergeFrom(before)); client.IgnoreNotFound(err) != nil {
				return fmt.Errorf("accepting a route: %w", err)
			}
			return nil
		})
	}
	return group.Wait()
}

func accepted(route *gatewayv1.HTTPRoute) bool {
	if len(route.Status.Parents) == 0 {
		return false
	}
	c := meta.FindStatusCondition(route.Status.Parents[0].Conditions, string(gatewayv1.RouteConditionAccepted))
	return c != nil && c.ObservedGeneration == route.Generation
}

func accept(route *gatewayv1.HTTPRoute) {
	route.Status.Parents = nil
	for _, ref := range route.Spec.ParentRefs {
		p := gatewayv1.RouteParentStatus{ParentRef: ref, ControllerName: "traefik.io/gateway-controller"}
		for _, kind := range []gatewayv1.RouteConditionType{gatewayv1.RouteConditionAccepted, gatewayv1.RouteConditionResolvedRefs} {
			meta.SetStatusCondition(&p.Conditions, metav1.Condition{
				Type: string(kind), Status: metav1.ConditionTrue, Reason: string(kind), ObservedGeneration: route.Generation,
			})
		}
		route.Status.Parents = append(route.Status.Parents, p)
	}
}

// reading is one look at Siskin's own metrics.
type reading struct {
	calls, writes, cpu, rss float64
	reconciles              float64
	byVerb                  map[string]float64
}

func (r reading) since(before reading, n float64) string {
	var parts []string
	for _, verb := range slices.Sorted(maps.Keys(r.byVerb)) {
		if d := r.byVerb[verb] - before.byVerb[verb]; d > 0 {
			parts = append(parts, fmt.Sprintf("%s=%.2f", verb, d/n))
		}
	}
	return strings.Join(parts, " ")
}

// scrape reads Siskin's metrics. The leader's lease is renewed by one GET or PUT every two seconds whatever Siskin does; it is
// counted apart by its host label's path, which client-go does not tell, so that GETs and PUTs count as lease traffic: Siskin
// itself uses neither (reads come from caches, writes are POST, PATCH and DELETE).
func (b *bench) scrape(ctx context.Context) (reading, error) {
	var r reading
	var pods corev1.PodList
	err := b.e.API.List(ctx, &pods, client.InNamespace(fixtures.SiskinNamespace), client.MatchingLabels{"app.kubernetes.io/name": "siskin"})
	if err != nil || len(pods.Items) == 0 {
		return r, fmt.Errorf("finding Siskin's pod: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+pods.Items[0].Status.PodIP+":8080/metrics", nil)
	if err != nil {
		return r, fmt.Errorf("asking for metrics: %w", err)
	}
	resp, err := b.e.HTTPClient().Do(req)
	if err != nil {
		return r, fmt.Errorf("asking for metrics: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 16<<20))
	if err != nil {
		return r, fmt.Errorf("reading metrics: %w", err)
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(body))
	if err != nil {
		return r, fmt.Errorf("parsing metrics: %w", err)
	}
	r.byVerb = map[string]float64{}
	for _, m := range families["rest_client_requests_total"].GetMetric() {
		verb := label(m, "method")
		r.byVerb[verb+" "+label(m, "code")] += m.GetCounter().GetValue()
		switch verb {
		case http.MethodGet, http.MethodPut: // the lease, see above, and watches that begin anew
		default:
			r.calls += m.GetCounter().GetValue()
			r.writes += m.GetCounter().GetValue()
		}
	}
	for _, m := range families["controller_runtime_reconcile_total"].GetMetric() {
		r.reconciles += m.GetCounter().GetValue()
	}
	r.cpu, r.rss = single(families["process_cpu_seconds_total"]), single(families["process_resident_memory_bytes"])
	return r, nil
}

func label(m *dto.Metric, name string) string {
	for _, l := range m.GetLabel() {
		if l.GetName() == name {
			return l.GetValue()
		}
	}
	return ""
}

func single(f *dto.MetricFamily) float64 {
	for _, m := range f.GetMetric() {
		return m.GetCounter().GetValue() + m.GetGauge().GetValue()
	}
	return 0
}

// serverWrites counts the API server's writes by verb and resource, of all clients: it tells what Siskin's calls are about.
func (b *bench) serverWrites(ctx context.Context) (map[string]float64, error) {
	raw, err := b.e.Kubectl(ctx, "get", "--raw", "/metrics")
	if err != nil {
		return nil, fmt.Errorf("asking the API server for metrics: %w", err)
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(raw))
	if err != nil {
		return nil, fmt.Errorf("parsing metrics: %w", err)
	}
	out := map[string]float64{}
	for _, m := range families["apiserver_request_total"].GetMetric() {
		switch verb := label(m, "verb"); verb {
		case "POST", "APPLY", "PATCH", "PUT", "DELETE":
			resource := label(m, "resource")
			if sub := label(m, "subresource"); sub != "" {
				resource += "/" + sub
			}
			out[verb+" "+resource] += m.GetCounter().GetValue()
		}
	}
	return out, nil
}

// profile writes a CPU profile of Siskin.
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
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.Status.PodIP+":6060/debug/pprof/profile?seconds=50", nil)
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
