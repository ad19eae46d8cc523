package apply

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/siskin-dev/siskin/pkg/gitsync/apply/applytest"
)

// hold does what the Canary controller does to a target: zero replicas, owned by it, and the annotation.
func hold(t *testing.T, c *applytest.Cluster, name string) {
	t.Helper()
	c.As("siskin", applytest.Object(t, `
apiVersion: apps/v1
kind: Deployment
metadata: {name: `+name+`, namespace: prod, annotations: {siskin.dev/held: podinfo}}
spec: {replicas: 0}
`))
}

func replicas(t *testing.T, c *applytest.Cluster) (n int64, recorded string) {
	t.Helper()
	d := c.Live(applytest.Deployment(), "prod", "podinfo")
	n, ok, err := unstructured.NestedInt64(d.Object, "spec", "replicas")
	if err != nil || !ok {
		t.Fatalf("the held target has no replicas: the server would default it to 1 (%v)", err)
	}
	return n, d.GetAnnotations()["siskin.dev/replicas"]
}

func TestReplicasOfAHeldTargetAreLeftAlone(t *testing.T) {
	c := applytest.New(t)
	mustApply(t, c, "one", deployment(t, "p:1", 3))
	hold(t, c, "podinfo")
	for _, step := range []struct {
		name     string
		replicas int
		image    string
		action   string
		recorded string
	}{
		{"git repeats its number", 3, "p:1", "configured", "3"},
		{"nothing changes", 3, "p:1", "unchanged", "3"},
		{"git asks for another number", 5, "p:1", "configured", "5"},
		{"a new version", 5, "p:2", "configured", "5"},
		{"git gives the number up", -1, "p:2", "unchanged", "5"},
		{"and stays so", -1, "p:3", "configured", "5"},
		{"git has a number again", 2, "p:3", "configured", "2"},
		{"git switches the app off", 0, "p:3", "configured", "0"},
		{"git gives the zero up", -1, "p:3", "configured", "1"},
		{"and stays so again", -1, "p:3", "unchanged", "1"},
	} {
		got := mustApply(t, c, step.name, deployment(t, step.image, step.replicas))
		if diff := cmp.Diff([]string{"Deployment prod/podinfo " + step.action}, got); diff != "" {
			t.Errorf("%s: %s", step.name, diff)
		}
		if n, recorded := replicas(t, c); n != 0 || recorded != step.recorded {
			t.Errorf("%s: replicas = %d, recorded %q, want 0 and %q", step.name, n, recorded, step.recorded)
		}
	}
}

// Whoever scaled the target down without owning the field: it must not come up to the server's default.
func TestReplicasOfAHeldTargetThatOnlyGitSyncOwns(t *testing.T) {
	c := applytest.New(t)
	d := deployment(t, "p:1", 0)
	mustApply(t, c, "one", d)
	c.As("someone", applytest.Object(t, "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: podinfo, namespace: prod, annotations: {siskin.dev/held: podinfo}}\n"))
	for _, n := range []int{4, 4, -1, -1} {
		mustApply(t, c, "two", deployment(t, "p:2", n))
		if got, _ := replicas(t, c); got != 0 {
			t.Errorf("with %d in git: replicas = %d, want 0", n, got)
		}
	}
}

func TestReplicasComeBackWhenTheTargetIsReleased(t *testing.T) {
	c := applytest.New(t)
	mustApply(t, c, "one", deployment(t, "p:1", 3))
	hold(t, c, "podinfo")
	mustApply(t, c, "one", deployment(t, "p:1", 3))
	c.As("siskin", applytest.Object(t, "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: podinfo, namespace: prod}\n")) // lets go
	mustApply(t, c, "one", deployment(t, "p:1", 3))
	if n, recorded := replicas(t, c); n != 3 || recorded != "" {
		t.Errorf("replicas = %d, recorded %q, want 3 and nothing", n, recorded)
	}
}

// A Canary takes hold of its target between our read and our write.
func TestATargetThatIsHeldWhileItIsAppliedIsNotScaledUp(t *testing.T) {
	c := applytest.New(t)
	mustApply(t, c, "one", deployment(t, "p:1", 3))
	first := true
	c.BeforeWrite = func(o *unstructured.Unstructured) {
		if first && o.GetKind() == "Deployment" {
			first = false
			hold(t, c, "podinfo")
		}
	}
	mustApply(t, c, "two", deployment(t, "p:2", 3))
	if n, recorded := replicas(t, c); n != 0 || recorded != "3" {
		t.Errorf("replicas = %d, recorded %q, want 0 and 3", n, recorded)
	}
}

// A DaemonSet is held by a node selector, which is one field to the API server, whoever wrote which part.
func TestNodesOfAHeldTargetAreLeftAlone(t *testing.T) {
	c := applytest.New(t)
	daemon := func(image, nodes string) *unstructured.Unstructured {
		return applytest.Object(t, `
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: agent, namespace: prod}
spec:
  selector: {matchLabels: {app: agent}}
  template:
    metadata: {labels: {app: agent}}
    spec: {`+nodes+`containers: [{name: app, image: "`+image+`"}]}
`)
	}
	nodes := func() map[string]string {
		live := c.Live(schema.GroupVersionKind{Group: "apps", Version: "v1", Kind: "DaemonSet"}, "prod", "agent")
		out, _, _ := unstructured.NestedStringMap(live.Object, "spec", "template", "spec", "nodeSelector")
		return out
	}
	mustApply(t, c, "one", daemon("a:1", ""))
	if got := nodes(); len(got) > 0 {
		t.Fatalf("nodes %v of a DaemonSet that is not held", got)
	}
	c.As("siskin", applytest.Object(t, "apiVersion: apps/v1\nkind: DaemonSet\nmetadata: {name: agent, namespace: prod, annotations: {siskin.dev/held: agent}}\nspec: {template: {spec: {nodeSelector: {siskin.dev/held: \"true\"}}}}\n"))
	for i, git := range []string{"", "nodeSelector: {disk: ssd}, ", "nodeSelector: {disk: ssd}, ", ""} {
		mustApply(t, c, "two", daemon(fmt.Sprintf("a:%d", i), git))
		want := map[string]string{"siskin.dev/held": "true"}
		if git != "" {
			want["disk"] = "ssd"
		}
		if diff := cmp.Diff(want, nodes()); diff != "" {
			t.Errorf("with %q in git: -want +got\n%s", git, diff)
		}
	}
}

func TestSelectorOfAnAdoptedServiceKeepsTheRole(t *testing.T) {
	c := applytest.New(t)
	svc := func(port string) *unstructured.Unstructured {
		return applytest.Object(t, "apiVersion: v1\nkind: Service\nmetadata: {name: podinfo, namespace: prod}\nspec: {selector: {app: podinfo}, ports: [{port: "+port+", protocol: TCP}]}\n")
	}
	mustApply(t, c, "one", svc("80"))
	c.As("siskin", applytest.Object(t, "apiVersion: v1\nkind: Service\nmetadata: {name: podinfo, namespace: prod, annotations: {siskin.dev/serving: primary}}\nspec: {selector: {app: podinfo, siskin.dev/role: primary}}\n"))
	if got := mustApply(t, c, "two", svc("80")); got[0] != "Service prod/podinfo unchanged" {
		t.Errorf("git repeats the selector: %v", got)
	}
	mustApply(t, c, "three", svc("81"))
	live := c.Live(applytest.Core("Service"), "prod", "podinfo")
	selector, _, _ := unstructured.NestedStringMap(live.Object, "spec", "selector")
	if diff := cmp.Diff(map[string]string{"app": "podinfo", "siskin.dev/role": "primary"}, selector); diff != "" {
		t.Error(diff)
	}
}

func TestTargetOfAnAutoscalerStays(t *testing.T) {
	c := applytest.New(t)
	hpa := func(limit string) *unstructured.Unstructured {
		return applytest.Object(t, "apiVersion: autoscaling/v2\nkind: HorizontalPodAutoscaler\nmetadata: {name: podinfo, namespace: prod}\nspec: {maxReplicas: "+limit+", scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: podinfo}}\n")
	}
	mustApply(t, c, "one", hpa("5"))
	c.As("siskin", applytest.Object(t, "apiVersion: autoscaling/v2\nkind: HorizontalPodAutoscaler\nmetadata: {name: podinfo, namespace: prod, annotations: {siskin.dev/scales: podinfo-primary}}\nspec: {maxReplicas: 5, scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: podinfo-primary}}\n"))
	mustApply(t, c, "two", hpa("9"))
	live := c.Live(hpa("9").GroupVersionKind(), "prod", "podinfo")
	name, _, _ := unstructured.NestedString(live.Object, "spec", "scaleTargetRef", "name")
	limit, _, _ := unstructured.NestedInt64(live.Object, "spec", "maxReplicas")
	if name != "podinfo-primary" || limit != 9 {
		t.Errorf("target = %s, maxReplicas = %d", name, limit)
	}
}
