package apply

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	testingclock "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/gitsync/apply/applytest"
)

const applying = siskinv1.GitApplyingAnnotation

// holding is a cluster in which a Canary holds the Deployment podinfo of the first commit.
func holding(t *testing.T) *applytest.Cluster {
	t.Helper()
	c := applytest.New(t)
	for range 2 {
		mustApply(t, c, "one", configMap(t, "a", "1"), configMap(t, "b", "1"), deployment(t, "podinfo:1", 2))
		hold(t, c, "podinfo")
	}
	mustApply(t, c, "one", configMap(t, "a", "1"), configMap(t, "b", "1"), deployment(t, "podinfo:1", 2)) // which records the number
	return c
}

func mark(c *applytest.Cluster) string {
	return c.Live(applytest.Deployment(), "prod", "podinfo").GetAnnotations()[applying]
}

// A workload that a Canary holds is marked while a part of what it is made of is written, and another is not.
func TestAnApplyInPartsIsMarked(t *testing.T) {
	for name, c := range map[string]struct {
		a, b, image string
		marked      bool
	}{
		"a ConfigMap and the workload": {a: "2", b: "1", image: "podinfo:2", marked: true},
		"two ConfigMaps":               {a: "2", b: "2", image: "podinfo:1", marked: true},
		"a ConfigMap":                  {a: "2", b: "1", image: "podinfo:1"},
		"the workload":                 {a: "1", b: "1", image: "podinfo:2"},
		"nothing":                      {a: "1", b: "1", image: "podinfo:1"},
	} {
		t.Run(name, func(t *testing.T) {
			cluster := holding(t)
			var seen []string
			cluster.BeforeWrite = func(o *unstructured.Unstructured) {
				what, _, _ := strings.Cut(mark(cluster), " ")
				seen = append(seen, o.GetName()+" "+what)
			}
			mustApply(t, cluster, "two", configMap(t, "a", c.a), configMap(t, "b", c.b), deployment(t, c.image, 2))
			for _, s := range seen {
				if got := strings.HasSuffix(s, "main@sha1:two"); got != c.marked {
					t.Errorf("%q was written, marked: %v", s, got)
				}
			}
			if left := mark(cluster); left != "" {
				t.Errorf("the mark %q is left", left)
			}
		})
	}
}

// A workload that a Canary of the commit is for is marked before the Canary holds it: it must not begin with a half.
func TestAnApplyInPartsIsMarkedBeforeACanaryHolds(t *testing.T) {
	canary := func(target string) *unstructured.Unstructured {
		return applytest.Object(t, `
apiVersion: siskin.dev/v1
kind: Canary
metadata: {name: podinfo, namespace: prod}
spec: {targetRef: {kind: Deployment, name: `+target+`}, service: {port: 80}}
`)
	}
	for name, c := range map[string]struct {
		canary *unstructured.Unstructured
		marked bool
	}{
		"its Canary":       {canary("podinfo"), true},
		"another's Canary": {canary("other"), false},
	} {
		t.Run(name, func(t *testing.T) {
			cluster := applytest.New(t)
			cluster.AddKind(siskinv1.GroupVersion.WithKind("Canary"), meta.RESTScopeNamespace)
			mustApply(t, cluster, "one", configMap(t, "a", "1"), deployment(t, "podinfo:1", 2))
			marked := false
			cluster.BeforeWrite = func(o *unstructured.Unstructured) { marked = marked || o.GetName() == "a" && mark(cluster) != "" }
			mustApply(t, cluster, "two", configMap(t, "a", "2"), deployment(t, "podinfo:2", 2), c.canary)
			if marked != c.marked || mark(cluster) != "" {
				t.Errorf("marked: %v, left: %q", marked, mark(cluster))
			}
		})
	}
}

// A commit of which a write fails leaves its mark, which is as old as its first attempt; the one that succeeds takes it
// away.
func TestTheMarkOfAnApplyThatFails(t *testing.T) {
	c := holding(t)
	clk := testingclock.NewFakeClock(time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC))
	a := &Applier{Client: c, Clock: clk}
	broken := true
	c.Refuse = func(o *unstructured.Unstructured, dryRun bool) error {
		if o.GetName() == "b" && !dryRun && broken {
			return apierrors.NewInternalError(errors.New("etcd is away"))
		}
		return nil
	}
	objs := func() []*unstructured.Unstructured {
		return []*unstructured.Unstructured{configMap(t, "a", "2"), configMap(t, "b", "2"), deployment(t, "podinfo:2", 2)}
	}
	for try := range 2 {
		if r := a.Apply(t.Context(), objs(), owner, stamp("two"), time.Second); len(r.Failures) != 1 || r.Wrote != (try == 0) {
			t.Fatalf("result %+v", r)
		}
		if diff := cmp.Diff("main@sha1:two 2026-01-01T12:00:00Z", mark(c)); diff != "" {
			t.Error(diff)
		}
		clk.Step(time.Minute)
	}
	broken = false
	if got := mustApply(t, c, "two", objs()...); mark(c) != "" {
		t.Errorf("the mark %q is left after %v", mark(c), got)
	}
}

// A mark that a process left behind changes nothing but itself.
func TestALeftMarkGoes(t *testing.T) {
	c := holding(t)
	live := c.Live(applytest.Deployment(), "prod", "podinfo")
	patch := client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"annotations":{"siskin.dev/git-applying":"main@sha1:one 2026-01-01T12:00:00Z"}}}`))
	if err := c.Patch(t.Context(), live, patch, client.FieldOwner(siskinv1.GitSyncFieldManager)); err != nil {
		t.Fatal(err)
	}
	got := mustApply(t, c, "one", configMap(t, "a", "1"), configMap(t, "b", "1"), deployment(t, "podinfo:1", 2))
	if diff := cmp.Diff([]string{"ConfigMap prod/a unchanged", "ConfigMap prod/b unchanged", "Deployment prod/podinfo unchanged"}, got); diff != "" || mark(c) != "" {
		t.Errorf("mark %q; %s", mark(c), diff)
	}
}
