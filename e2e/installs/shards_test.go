package installs

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/e2e/cluster"
	"github.com/siskin-dev/siskin/e2e/fixtures"
)

const firstShard = `resources: [KUSTOMIZE/default]
patches:
- target: {kind: Deployment, name: siskin}
  patch: |-
    - {op: add, path: /spec/template/spec/containers/0/args/-, value: "--watch-label-selector=shard!=b"}
    - {op: add, path: /spec/template/spec/containers/0/args/-, value: "--gitsync"}
`

// TestShards : two controllers with complementary selectors run side by side. Each Canary has one of them; one that is relabelled in the
// middle of a rollout moves over with its clocks; two that want the same are told apart also across shards.
func TestShards(t *testing.T) {
	e := install(t, cluster.Options{}, map[string]string{"kustomization.yaml": firstShard}, "shop")
	secondShard(t, e)
	e.Given(t, "shop", app("one", "1", "", ""))
	e.Given(t, "shop", app("two", "1", "", "  labels: {shard: b}"))
	for name, shard := range map[string]string{"one": "siskin", "two": "siskin-b"} {
		e.UntilPhase(t, "shop", name, siskinv1.PhaseInitialized, time.Minute)
		onlyIn(t, e, name, shard)
	}
	t.Run("W30 across shards", func(t *testing.T) { twins(t, e) })

	seen := follow(t, e, "shop", "one")
	e.Given(t, "shop", deployment("one", "2"))
	e.Given(t, "shop", deployment("two", "2"))
	e.Until(t, "shop", "one", 30*time.Second, func(c *siskinv1.Canary) string {
		if c.Status.CanaryWeight != 20 {
			return "not at the first step"
		}
		return ""
	})
	if out, err := e.Kubectl(t.Context(), "-n", "shop", "label", "canary", "one", "shard=b"); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	onlyIn(t, e, "one", "siskin-b")
	for _, name := range []string{"one", "two"} {
		e.UntilPhase(t, "shop", name, siskinv1.PhaseSucceeded, time.Minute)
	}
	seen.check(t, 3)
}

// secondShard runs a copy of Siskin with the other selector.
func secondShard(t *testing.T, e *fixtures.Env) {
	t.Helper()
	var first appsv1.Deployment
	if err := e.API.Get(t.Context(), client.ObjectKey{Namespace: fixtures.SiskinNamespace, Name: "siskin"}, &first); err != nil {
		t.Fatal(err)
	}
	labels := map[string]string{"app.kubernetes.io/name": "siskin-b"}
	second := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: first.Namespace, Name: "siskin-b", Labels: labels}, Spec: *first.Spec.DeepCopy(),
	}
	second.Spec.Selector, second.Spec.Template.Labels = &metav1.LabelSelector{MatchLabels: labels}, labels
	args := second.Spec.Template.Spec.Containers[0].Args
	for i, arg := range args {
		args[i] = strings.NewReplacer("shard!=b", "shard=b").Replace(arg)
		if arg == "--gitsync" {
			args[i] = "--gitsync=false"
		}
	}
	if err := e.API.Create(t.Context(), second); err != nil {
		t.Fatal(err)
	}
	if out, err := e.Kubectl(t.Context(), "-n", first.Namespace, "rollout", "status", "deployment/siskin-b", "--timeout=120s"); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

// onlyIn waits until one shard, and no other, looks after a Canary: it has series of it.
func onlyIn(t *testing.T, e *fixtures.Env, canary, shard string) {
	t.Helper()
	cluster.Eventually(t, 20*time.Second, func(ctx context.Context) error {
		for _, name := range []string{"siskin", "siskin-b"} {
			all := pods(t, e, name)
			if len(all) != 1 {
				return fmt.Errorf("%s has %d pods", name, len(all))
			}
			n, err := metric(ctx, e, all[0], "siskin_canary_phase", map[string]string{"name": canary})
			if err != nil {
				return err
			}
			if (n > 0) != (name == shard) {
				return fmt.Errorf("%s shows %v series of %s", name, n, canary)
			}
		}
		return nil
	})
}

// twins : a second Canary for the same target, in the other shard, is refused there, and gone at once when it is deleted.
func twins(t *testing.T, e *fixtures.Env) {
	t.Helper()
	var before appsv1.Deployment
	key := client.ObjectKey{Namespace: "shop", Name: "one"}
	cluster.Eventually(t, 45*time.Second, func(ctx context.Context) error { // its own Siskin holds it some seconds after it was initialized
		err := e.API.Get(ctx, key, &before)
		if err == nil && (*before.Spec.Replicas != 0 || before.Status.Replicas != 0 || before.Status.ObservedGeneration != before.Generation) {
			err = fmt.Errorf("the target is not held yet: %d replicas, %+v", *before.Spec.Replicas, before.Status)
		}
		return err
	})
	_, twin, _ := strings.Cut(app("one", "1", "", "  labels: {shard: b}"), "---\n")
	e.Given(t, "shop", strings.Replace(twin, "name: one", "name: twin", 1))
	c := e.Until(t, "shop", "twin", 20*time.Second, func(c *siskinv1.Canary) string {
		if meta.FindStatusCondition(c.Status.Conditions, siskinv1.ConditionStalled) == nil {
			return "not refused"
		}
		return ""
	})
	stalled := meta.FindStatusCondition(c.Status.Conditions, siskinv1.ConditionStalled)
	if stalled.Reason != "TargetConflict" || !strings.Contains(stalled.Message, "Canary one ") || len(c.Finalizers) != 0 || c.Status.Phase != "" {
		t.Errorf("%+v", c.Status)
	}
	if out, err := e.Kubectl(t.Context(), "-n", "shop", "delete", "canary", "twin", "--timeout=10s"); err != nil {
		t.Errorf("%v: %s", err, out)
	}
	var after appsv1.Deployment
	if err := e.API.Get(t.Context(), key, &after); err != nil {
		t.Fatal(err)
	}
	before.Status, after.Status = appsv1.DeploymentStatus{}, appsv1.DeploymentStatus{} // which is the Deployment controller's
	before.ResourceVersion, after.ResourceVersion, before.ManagedFields, after.ManagedFields = "", "", nil, nil
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("the other one's target was touched: -before +after\n%s", diff)
	}
}
