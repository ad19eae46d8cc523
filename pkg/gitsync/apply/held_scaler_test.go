package apply

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/siskin-dev/siskin/pkg/gitsync/apply/applytest"
)

const heldHPA = `apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: podinfo, namespace: prod}
spec: {minReplicas: 2, maxReplicas: 9, scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: podinfo}}
`

// TestLimitsOfAnAutoscalerStay : what git has asked for before does not undo what Siskin holds; a new number is applied.
func TestLimitsOfAnAutoscalerStay(t *testing.T) {
	c := applytest.New(t)
	mustApply(t, c, "one", applytest.Object(t, heldHPA))
	c.As("siskin", applytest.Object(t, strings.NewReplacer("minReplicas: 2", "minReplicas: 5", "name: podinfo}}", "name: podinfo-primary}}",
		"namespace: prod}", `namespace: prod, annotations: {siskin.dev/scales: podinfo-primary, siskin.dev/limits: 2-9, siskin.dev/limits-held: 5-9, siskin.dev/floor: "5"}}`).Replace(heldHPA)))
	limits := func() []int64 {
		live := c.Live(applytest.Object(t, heldHPA).GroupVersionKind(), "prod", "podinfo")
		least, _, _ := unstructured.NestedInt64(live.Object, "spec", "minReplicas")
		most, _, _ := unstructured.NestedInt64(live.Object, "spec", "maxReplicas")
		return []int64{least, most}
	}
	if got := mustApply(t, c, "two", applytest.Object(t, heldHPA)); got[0] != "HorizontalPodAutoscaler prod/podinfo unchanged" {
		t.Errorf("git repeats itself: %v", got)
	}
	if diff := cmp.Diff([]int64{5, 9}, limits()); diff != "" {
		t.Error(diff)
	}
	mustApply(t, c, "three", applytest.Object(t, strings.NewReplacer("minReplicas: 2", "minReplicas: 7", "maxReplicas: 9", "maxReplicas: 30").Replace(heldHPA)))
	if diff := cmp.Diff([]int64{7, 30}, limits()); diff != "" {
		t.Error(diff)
	}
}

// TestQueriesOfAScaledObjectStay : git's query of the target stays the primary's, and KEDA stays above zero during a rollout.
func TestQueriesOfAScaledObjectStay(t *testing.T) {
	const asGit = `apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata: {name: podinfo, namespace: prod}
spec:
  scaleTargetRef: {name: podinfo}
  idleReplicaCount: 0
  triggers: [{type: prometheus, metadata: {query: 'up{app="podinfo"}'}}, {type: cron, metadata: {start: "0 8 * * *"}}]
`
	held := strings.NewReplacer("name: podinfo}\n", "name: podinfo-primary}\n", `app="podinfo"`, `app="podinfo-primary"`, "  idleReplicaCount: 0\n", "",
		"namespace: prod}", `namespace: prod, annotations: {siskin.dev/scales: podinfo-primary, siskin.dev/limits: "-", siskin.dev/limits-held: "3-",
  siskin.dev/autoscaler: '{"idle":0,"queries":[{"user":"up{app=\"podinfo\"}","held":"up{app=\"podinfo-primary\"}"},null]}'}}`).Replace(asGit)
	live := applytest.Object(t, held)
	respected := func(manifest string) *unstructured.Unstructured {
		t.Helper()
		desired := applytest.Object(t, manifest)
		if err := respect(desired, live); err != nil {
			t.Fatal(err)
		}
		return desired
	}
	if diff := cmp.Diff(live.Object["spec"], respected(asGit).Object["spec"]); diff != "" {
		t.Errorf("-held +applied\n%s", diff)
	}
	edited := respected(strings.NewReplacer(`up{app="podinfo"}`, `rate{app="podinfo"}`, "idleReplicaCount: 0", "idleReplicaCount: 1").Replace(asGit))
	triggers, _, _ := unstructured.NestedSlice(edited.Object, "spec", "triggers")
	query, _, _ := unstructured.NestedString(triggers[0].(map[string]any), "metadata", "query")
	if idle, _, _ := unstructured.NestedInt64(edited.Object, "spec", "idleReplicaCount"); query != `rate{app="podinfo"}` || idle != 1 {
		t.Errorf("a new wish became %s, %d", query, idle)
	}
}
