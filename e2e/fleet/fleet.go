// Package fleet is many Canaries at once, for programs that measure Siskin: their objects, their releases, a stand-in for the gateway's
// controller that accepts routes at once, a Prometheus that is always content, and a reader of Siskin's own metrics.
package fleet

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
)

// parallel is how many requests are made at once.
const parallel = 16

// Fleet is many Canaries, each with a Deployment of its own.
type Fleet struct {
	// API is a client that knows Siskin's types.
	API client.WithWatch
	// Prefix of the names of the namespaces.
	Prefix string
	// Canaries in so many Namespaces.
	Canaries, Namespaces int
	// Interval and Weights of the steps.
	Interval time.Duration
	Weights  []int32
	// Image without tag.
	Image string
	// Prometheus is the URL of the metrics server.
	Prometheus string
}

// Keys names all Canaries, and their Deployments.
func (f *Fleet) Keys() []types.NamespacedName {
	out := make([]types.NamespacedName, 0, f.Canaries)
	for i := range f.Canaries {
		out = append(out, types.NamespacedName{Namespace: fmt.Sprintf("%s-%d", f.Prefix, i%f.Namespaces), Name: fmt.Sprintf("app-%d", i)})
	}
	return out
}

// Create creates everything, with version 1.
func (f *Fleet) Create(ctx context.Context) error {
	for i := range f.Namespaces {
		ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("%s-%d", f.Prefix, i)}}
		if err := f.API.Create(ctx, ns); err != nil {
			return fmt.Errorf("creating a namespace: %w", err)
		}
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	for _, key := range f.Keys() {
		group.Go(func() error {
			for _, obj := range []client.Object{f.deployment(key), f.canary(key)} {
				if err := f.API.Create(ctx, obj); err != nil {
					return fmt.Errorf("creating %s: %w", key, err)
				}
			}
			return nil
		})
	}
	return group.Wait()
}

func (f *Fleet) image(version int) string { return fmt.Sprintf("%s:%d", f.Image, version) }

func (f *Fleet) deployment(key types.NamespacedName) *appsv1.Deployment {
	labels := map[string]string{"app": key.Name}
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name},
		Spec: appsv1.DeploymentSpec{
			Replicas: new(int32(1)), Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec: corev1.PodSpec{Containers: []corev1.Container{{
					Name: "app", Image: f.image(1), Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: 8080}},
				}}},
			},
		},
	}
}

func (f *Fleet) canary(key types.NamespacedName) *siskinv1.Canary {
	metric := func(name string, r siskinv1.ThresholdRange) siskinv1.CanaryMetric {
		return siskinv1.CanaryMetric{Name: name, ThresholdRange: &r}
	}
	return &siskinv1.Canary{
		ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name},
		Spec: siskinv1.CanarySpec{
			TargetRef: siskinv1.TargetRef{Kind: "Deployment", Name: key.Name}, Provider: "gatewayapi", MetricsServer: f.Prometheus,
			Service: siskinv1.CanaryService{Port: 80, GatewayRefs: []gatewayv1.ParentReference{{Name: "gateway"}}},
			Analysis: siskinv1.CanaryAnalysis{
				Interval: f.Interval.String(), Threshold: 3, StepWeights: f.Weights,
				Metrics: []siskinv1.CanaryMetric{
					metric("request-success-rate", siskinv1.ThresholdRange{Min: new(99.0)}),
					metric("request-duration", siskinv1.ThresholdRange{Max: new(500.0)}),
				},
			},
		},
	}
}

// Release gives every target the image of a version, evenly over a time (0: as fast as the API server takes it), and returns when each
// one got it.
func (f *Fleet) Release(ctx context.Context, version int, over time.Duration) (map[types.NamespacedName]time.Time, error) {
	patch, err := json.Marshal(map[string]any{"spec": map[string]any{"template": map[string]any{"spec": map[string]any{
		"containers": []map[string]any{{"name": "app", "image": f.image(version)}},
	}}}})
	if err != nil {
		return nil, fmt.Errorf("encoding the release: %w", err)
	}
	keys := f.Keys()
	began, start := make([]time.Time, len(keys)), time.Now()
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	for i, key := range keys {
		if err := Pause(ctx, time.Until(start.Add(over*time.Duration(i)/time.Duration(len(keys))))); err != nil {
			return nil, err
		}
		group.Go(func() error {
			d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name}}
			began[i] = time.Now()
			if err := f.API.Patch(ctx, d, client.RawPatch(types.StrategicMergePatchType, patch)); err != nil {
				return fmt.Errorf("releasing %s: %w", key, err)
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	out := map[types.NamespacedName]time.Time{}
	for i, key := range keys {
		out[key] = began[i]
	}
	return out, nil
}

// UntilAll waits until all Canaries are in a phase, of the rollout with a number (0: any), and returns when each got there.
func (f *Fleet) UntilAll(ctx context.Context, phase siskinv1.Phase, rollout int64, limit time.Duration) (map[types.NamespacedName]time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		var list siskinv1.CanaryList
		if err := f.API.List(ctx, &list); err != nil {
			return nil, fmt.Errorf("listing Canaries: %w", err)
		}
		at := map[types.NamespacedName]time.Time{}
		counts := make(map[siskinv1.Phase]int)
		for i := range list.Items {
			c := &list.Items[i]
			counts[c.Status.Phase]++
			if c.Status.Phase == phase && c.Status.LastTransitionTime != nil && (rollout == 0 || c.Status.Rollout != nil && c.Status.Rollout.ID == rollout) {
				at[client.ObjectKeyFromObject(c)] = c.Status.LastTransitionTime.Time
			}
		}
		if len(at) == f.Canaries {
			return at, nil
		}
		if err := Pause(ctx, 2*time.Second); err != nil {
			return nil, fmt.Errorf("waiting until all are %s, %d are; phases are %v: %w", phase, len(at), counts, err)
		}
	}
}

// Pause waits.
func Pause(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("interrupted: %w", ctx.Err())
	}
}
