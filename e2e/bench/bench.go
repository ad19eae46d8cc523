package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/e2e/cluster"
	"github.com/siskin-dev/siskin/e2e/fixtures"
)

type bench struct {
	o          options
	e          *fixtures.Env
	log        io.Writer
	prometheus string
}

func (b *bench) say(format string, args ...any) { _, _ = fmt.Fprintf(b.log, format+"\n", args...) }

// servePrometheus answers every query with a value that is good: 100 for a success rate, 50 for a duration.
func servePrometheus(ctx context.Context) (int, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("listening: %w", err)
	}
	srv := &http.Server{ReadHeaderTimeout: 5 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		value := "100"
		if strings.Contains(r.FormValue("query"), "histogram_quantile") {
			value = "50"
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprintf(w, `{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[%d,%q]}]}}`, time.Now().Unix(), value)
	})}
	go func() { _ = srv.Serve(l) }()
	context.AfterFunc(ctx, func() { _ = srv.Close() })
	addr, ok := l.Addr().(*net.TCPAddr)
	if !ok {
		return 0, fmt.Errorf("listening on %s", l.Addr())
	}
	return addr.Port, nil
}

func (b *bench) keys() []types.NamespacedName {
	out := make([]types.NamespacedName, 0, b.o.canaries)
	for i := range b.o.canaries {
		out = append(out, types.NamespacedName{Namespace: fmt.Sprintf("bench-%d", i%b.o.namespaces), Name: fmt.Sprintf("app-%d", i)})
	}
	return out
}

func (b *bench) create(ctx context.Context) error {
	for i := range b.o.namespaces {
		ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("bench-%d", i)}}
		if err := b.e.API.Create(ctx, ns); err != nil {
			return fmt.Errorf("creating a namespace: %w", err)
		}
	}
	for _, key := range b.keys() {
		if err := b.e.API.Create(ctx, deployment(key)); err != nil {
			return fmt.Errorf("creating %s: %w", key, err)
		}
		if err := b.e.API.Create(ctx, b.canary(key)); err != nil {
			return fmt.Errorf("creating %s: %w", key, err)
		}
	}
	return nil
}

func deployment(key types.NamespacedName) *appsv1.Deployment {
	labels := map[string]string{"app": key.Name}
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name},
		Spec: appsv1.DeploymentSpec{
			Replicas: new(int32(1)), Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec: corev1.PodSpec{Containers: []corev1.Container{{
					Name: "app", Image: cluster.ImagePause + ":1", Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: 8080}},
				}}},
			},
		},
	}
}

func (b *bench) canary(key types.NamespacedName) *siskinv1.Canary {
	metric := func(name string, r siskinv1.ThresholdRange) siskinv1.CanaryMetric {
		return siskinv1.CanaryMetric{Name: name, ThresholdRange: &r}
	}
	return &siskinv1.Canary{
		ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name},
		Spec: siskinv1.CanarySpec{
			TargetRef: siskinv1.TargetRef{Kind: "Deployment", Name: key.Name}, Provider: "gatewayapi", MetricsServer: b.prometheus,
			Service: siskinv1.CanaryService{Port: 80, GatewayRefs: []gatewayv1.ParentReference{{Name: "gateway"}}},
			Analysis: siskinv1.CanaryAnalysis{
				Interval: b.o.interval.String(), Threshold: 3, StepWeights: []int32{10, 20, 30, 40, 50},
				Metrics: []siskinv1.CanaryMetric{
					metric("request-success-rate", siskinv1.ThresholdRange{Min: new(99.0)}),
					metric("request-duration", siskinv1.ThresholdRange{Max: new(500.0)}),
				},
			},
		},
	}
}

// release changes the image of every target and returns when.
func (b *bench) release(ctx context.Context) (map[types.NamespacedName]time.Time, error) {
	began := map[types.NamespacedName]time.Time{}
	patch, err := json.Marshal(map[string]any{"spec": map[string]any{"template": map[string]any{"spec": map[string]any{
		"containers": []map[string]any{{"name": "app", "image": cluster.ImagePause + ":2"}},
	}}}})
	if err != nil {
		return nil, fmt.Errorf("encoding the release: %w", err)
	}
	for _, key := range b.keys() {
		d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name}}
		began[key] = time.Now()
		if err := b.e.API.Patch(ctx, d, client.RawPatch(types.StrategicMergePatchType, patch)); err != nil {
			return nil, fmt.Errorf("releasing %s: %w", key, err)
		}
	}
	return began, nil
}

// untilAll waits until all Canaries are in a phase and returns when each got there.
func (b *bench) untilAll(ctx context.Context, phase siskinv1.Phase, limit time.Duration) (map[types.NamespacedName]time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	at := map[types.NamespacedName]time.Time{}
	for {
		var list siskinv1.CanaryList
		if err := b.e.API.List(ctx, &list); err != nil {
			return nil, fmt.Errorf("listing Canaries: %w", err)
		}
		counts := make(map[siskinv1.Phase]int)
		for i := range list.Items {
			c := &list.Items[i]
			counts[c.Status.Phase]++
			if c.Status.Phase == phase && c.Status.LastTransitionTime != nil {
				at[client.ObjectKeyFromObject(c)] = c.Status.LastTransitionTime.Time
			}
		}
		if counts[phase] == b.o.canaries {
			return at, nil
		}
		if err := pause(ctx, 2*time.Second); err != nil {
			return nil, fmt.Errorf("waiting for %s, phases are %v: %w", phase, counts, err)
		}
	}
}

// acceptRoutes plays the gateway's controller: it accepts each generation of each route as soon as it sees it.
func (b *bench) acceptRoutes(ctx context.Context) {
	for ctx.Err() == nil {
		if err := b.acceptWatched(ctx); err != nil && ctx.Err() == nil {
			b.say("watching routes: %v", err)
			_ = pause(ctx, time.Second)
		}
	}
}
