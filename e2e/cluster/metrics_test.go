package cluster_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/siskin-dev/siskin/e2e/cluster"
)

const autoscaled = `
apiVersion: v1
kind: Namespace
metadata: {name: scaled}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: busy, namespace: scaled}
spec:
  selector: {matchLabels: {app: busy}}
  template:
    metadata: {labels: {app: busy}}
    spec: {containers: [{name: app, image: "siskin.dev/pause:1"}]}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: busy, namespace: scaled}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: busy}
  maxReplicas: 6
  metrics: [{type: Resource, resource: {name: cpu, target: {type: AverageValue, averageValue: 100m}}}]
  behavior: {scaleDown: {stabilizationWindowSeconds: 0}, scaleUp: {policies: [{type: Pods, value: 10, periodSeconds: 1}]}}
`

// testAutoscaling : the real horizontal-pod-autoscaler controller scales by what SetLoad says.
func testAutoscaling(t *testing.T, c *cluster.Cluster) {
	apply(t, c, autoscaled)
	for _, step := range []struct {
		milli int
		want  int32
	}{{400, 4}, {100, 1}} {
		if err := c.SetLoad(t.Context(), "scaled", "app=busy", step.milli); err != nil {
			t.Fatal(err)
		}
		cluster.Eventually(t, time.Minute, func(ctx context.Context) error {
			var d appsv1.Deployment
			if err := c.Client().Get(ctx, client.ObjectKey{Namespace: "scaled", Name: "busy"}, &d); err != nil {
				return err
			}
			if *d.Spec.Replicas != step.want {
				out, err := c.Kubectl(ctx, "-n", "scaled", "describe", "hpa", "busy")
				return fmt.Errorf("%d replicas, not %d: %s %w", *d.Spec.Replicas, step.want, out, err)
			}
			return nil
		})
	}
	if err := c.SetLoad(t.Context(), "scaled", "=", 1); err == nil {
		t.Error("a selector that cannot be read was taken")
	}
}
