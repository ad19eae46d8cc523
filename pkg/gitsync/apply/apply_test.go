package apply

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/siskin-dev/siskin/pkg/gitsync/apply/applytest"
	"github.com/siskin-dev/siskin/pkg/gitsync/inventory"
)

var owner = types.NamespacedName{Namespace: "siskin", Name: "app"}

func stamp(rev string) Stamp {
	return Stamp{Revision: "main@sha1:" + rev, Author: "Jane", Message: "commit " + rev, URL: "https://x.example/r"}
}

func deployment(t *testing.T, image string, replicas int) *unstructured.Unstructured {
	t.Helper()
	text := fmt.Sprintf(`
apiVersion: apps/v1
kind: Deployment
metadata: {name: %[1]s, namespace: prod}
spec:
  selector: {matchLabels: {app: %[1]s}}
  template:
    metadata: {labels: {app: %[1]s}}
    spec: {containers: [{name: app, image: "%[2]s"}]}
`, "podinfo", image)
	if replicas >= 0 {
		text += fmt.Sprintf("  replicas: %d\n", replicas)
	}
	return applytest.Object(t, text)
}

func configMap(t *testing.T, name, value string) *unstructured.Unstructured {
	t.Helper()
	return applytest.Object(t, "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: "+name+", namespace: prod}\ndata: {k: '"+value+"'}\n")
}

func applier(c *applytest.Cluster) *Applier {
	return &Applier{Client: c, Clock: clock.RealClock{}}
}

func mustApply(t *testing.T, c *applytest.Cluster, rev string, objs ...*unstructured.Unstructured) []string {
	t.Helper()
	a := applier(c)
	if f := a.SetScope(objs, "prod"); len(f) > 0 {
		t.Fatalf("SetScope: %v", f)
	}
	r := a.Apply(t.Context(), objs, owner, stamp(rev), time.Second)
	for _, f := range r.Failures {
		t.Errorf("%s: %s", Describe(f.Ref), f.Message())
	}
	var out []string
	for _, ch := range r.Changes {
		out = append(out, Describe(ch.Ref)+" "+string(ch.Action))
	}
	return out
}

func TestApplyInOrderAndStampOnlyWhatChanges(t *testing.T) {
	c := applytest.New(t)
	ns := applytest.Object(t, "apiVersion: v1\nkind: Namespace\nmetadata: {name: prod}\n")
	objs := func(image string) []*unstructured.Unstructured {
		return []*unstructured.Unstructured{deployment(t, image, 2), configMap(t, "settings", "a"), ns.DeepCopy()}
	}
	got := mustApply(t, c, "one", objs("podinfo:1")...)
	if diff := cmp.Diff([]string{"Namespace prod created", "ConfigMap prod/settings created", "Deployment prod/podinfo created"}, got); diff != "" {
		t.Error(diff)
	}
	c.Log()

	got = mustApply(t, c, "two", objs("podinfo:1")...)
	if diff := cmp.Diff([]string{"Namespace prod unchanged", "ConfigMap prod/settings unchanged", "Deployment prod/podinfo unchanged"}, got); diff != "" {
		t.Error(diff)
	}
	if log := c.Log(); len(log) > 0 {
		t.Errorf("a commit that changes nothing wrote %v", log)
	}

	got = mustApply(t, c, "three", objs("podinfo:3")...)
	if diff := cmp.Diff([]string{"Namespace prod unchanged", "ConfigMap prod/settings unchanged", "Deployment prod/podinfo configured"}, got); diff != "" {
		t.Error(diff)
	}
	d := c.Live(applytest.Deployment(), "prod", "podinfo")
	want := map[string]string{
		"siskin.dev/git-revision": "main@sha1:three", "siskin.dev/git-author": "Jane",
		"siskin.dev/git-message": "commit three", "siskin.dev/git-url": "https://x.example/r",
	}
	if diff := cmp.Diff(want, d.GetAnnotations()); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(map[string]string{"siskin.dev/gitsync-name": "app", "siskin.dev/gitsync-namespace": "siskin"}, d.GetLabels()); diff != "" {
		t.Error(diff)
	}
	if rev := c.Live(applytest.Core("ConfigMap"), "prod", "settings").GetAnnotations()["siskin.dev/git-revision"]; rev != "main@sha1:one" {
		t.Errorf("the ConfigMap was stamped by a commit that does not touch it: %s", rev)
	}
}

func TestDriftIsCorrectedAndForeignFieldsStay(t *testing.T) {
	c := applytest.New(t)
	mustApply(t, c, "one", configMap(t, "settings", "a"))
	c.As("kubectl", applytest.Object(t, "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings, namespace: prod, annotations: {note: x}}\ndata: {k: hacked, extra: z}\n"))
	if got := mustApply(t, c, "one", configMap(t, "settings", "a")); got[0] != "ConfigMap prod/settings configured" {
		t.Error(got)
	}
	live := c.Live(applytest.Core("ConfigMap"), "prod", "settings")
	if diff := cmp.Diff(map[string]any{"k": "a", "extra": "z"}, live.Object["data"]); diff != "" {
		t.Error(diff)
	}
	if live.GetAnnotations()["note"] != "x" {
		t.Error("a foreign annotation was taken away")
	}
	if got := mustApply(t, c, "one", configMap(t, "settings", "a")); got[0] != "ConfigMap prod/settings unchanged" {
		t.Error(got)
	}
}

// One object that the API server refuses leaves the cluster untouched, wherever in the order it is.
func TestARefusedDryRunLeavesNothingApplied(t *testing.T) {
	for _, bad := range []string{"prod", "a", "z", "podinfo"} {
		t.Run(bad, func(t *testing.T) {
			c := applytest.New(t)
			c.Refuse = func(o *unstructured.Unstructured, _ bool) error {
				if o.GetName() == bad {
					return apierrors.NewInvalid(o.GroupVersionKind().GroupKind(), bad, field.ErrorList{field.Required(field.NewPath("spec", "x"), "say\nwhat")})
				}
				return nil
			}
			objs := []*unstructured.Unstructured{
				configMap(t, "a", "1"), configMap(t, "z", "1"), deployment(t, "p", 1),
				applytest.Object(t, "apiVersion: v1\nkind: Namespace\nmetadata: {name: prod}\n"),
			}
			if bad != "prod" {
				c.As("kubectl", objs[3])
			}
			c.Log()
			r := applier(c).Apply(t.Context(), objs, owner, stamp("one"), time.Second)
			if len(r.Failures) != 1 || r.Failures[0].Ref.Name != bad || r.Wrote || len(c.Log()) > 0 {
				t.Errorf("result = %+v", r)
			}
			if m := r.Failures[0].Message(); !strings.Contains(m, "spec.x: Required value") || strings.Contains(m, "\n") {
				t.Errorf("message = %q", m)
			}
		})
	}
}

func TestAFailedWriteDoesNotStopTheOthers(t *testing.T) {
	c := applytest.New(t)
	c.Refuse = func(o *unstructured.Unstructured, dryRun bool) error {
		if o.GetName() == "a" && !dryRun {
			return apierrors.NewInternalError(errors.New("etcd is away"))
		}
		return nil
	}
	r := applier(c).Apply(t.Context(), []*unstructured.Unstructured{configMap(t, "a", "1"), configMap(t, "b", "1")}, owner, stamp("one"), time.Second)
	if len(r.Failures) != 1 || !r.Wrote || c.Live(applytest.Core("ConfigMap"), "prod", "b") == nil {
		t.Errorf("result = %+v", r)
	}
}

const crd = `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: things.x.example}
spec: {group: x.example, scope: Namespaced, names: {kind: Thing, plural: things}}
`

func TestACRDAndItsObjectInOneCommit(t *testing.T) {
	c := applytest.New(t)
	thing := schema.GroupVersionKind{Group: "x.example", Version: "v1", Kind: "Thing"}
	c.BeforeWrite = func(o *unstructured.Unstructured) {
		if o.GetKind() == "CustomResourceDefinition" { // the API server establishes it
			c.AddKind(thing, meta.RESTScopeNamespace)
		}
	}
	got := mustApply(t, c, "one", applytest.Object(t, "apiVersion: x.example/v1\nkind: Thing\nmetadata: {name: one}\n"), applytest.Object(t, crd))
	if diff := cmp.Diff([]string{"CustomResourceDefinition things.x.example created", "Thing prod/one created"}, got); diff != "" {
		t.Error(diff)
	}
}

func TestACRDThatIsNeverEstablishedHasADeadline(t *testing.T) {
	c := applytest.New(t)
	thing := applytest.Object(t, "apiVersion: x.example/v1\nkind: Thing\nmetadata: {name: one, namespace: prod}\n")
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	r := applier(c).Apply(ctx, []*unstructured.Unstructured{applytest.Object(t, crd), thing}, owner, stamp("one"), time.Millisecond)
	if len(r.Failures) != 1 || !strings.Contains(r.Failures[0].Message(), "did not establish it") {
		t.Errorf("result = %+v", r)
	}
}

func TestObjectsInANewNamespaceAreTriedAfterIt(t *testing.T) {
	c := applytest.New(t)
	c.Refuse = func(o *unstructured.Unstructured, _ bool) error {
		if o.GetNamespace() != "" && c.Live(applytest.Core("Namespace"), "", o.GetNamespace()) == nil {
			return apierrors.NewNotFound(schema.GroupResource{Resource: "namespaces"}, o.GetNamespace())
		}
		return nil
	}
	ns := applytest.Object(t, "apiVersion: v1\nkind: Namespace\nmetadata: {name: prod}\n")
	mustApply(t, c, "one", configMap(t, "a", "1"), ns)
	if c.Live(applytest.Core("ConfigMap"), "prod", "a") == nil {
		t.Error("the ConfigMap is missing")
	}
}

func TestScope(t *testing.T) {
	a := applier(applytest.New(t))
	objs := []*unstructured.Unstructured{
		applytest.Object(t, "apiVersion: v1\nkind: Namespace\nmetadata: {name: prod, namespace: wrong}\n"),
		applytest.Object(t, "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n"),
		applytest.Object(t, "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: other}\n"),
		applytest.Object(t, "apiVersion: x.example/v1\nkind: Thing\nmetadata: {name: a}\n"),
		applytest.Object(t, crd),
	}
	if f := a.SetScope(objs, "siskin"); len(f) > 0 {
		t.Fatal(f)
	}
	var got []string
	for _, o := range objs {
		got = append(got, RefOf(o).String())
	}
	want := []string{"_prod__Namespace", "siskin_a__ConfigMap", "other_a__ConfigMap", "siskin_a_x.example_Thing", "_things.x.example_apiextensions.k8s.io_CustomResourceDefinition"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	f := a.SetScope([]*unstructured.Unstructured{applytest.Object(t, "apiVersion: y.example/v1\nkind: Thing\nmetadata: {name: a}\n")}, "siskin")
	if len(f) != 1 || !strings.Contains(f[0].Message(), "commit its CustomResourceDefinition") {
		t.Errorf("an unknown kind: %v", f)
	}
	f = a.SetScope([]*unstructured.Unstructured{configMap(t, "a", "1"), configMap(t, "a", "2")}, "siskin")
	if len(f) != 1 || !strings.Contains(f[0].Message(), "twice") {
		t.Errorf("an object twice: %v", f)
	}
}

func TestAnObjectOfAnotherGitSyncIsRefused(t *testing.T) {
	c := applytest.New(t)
	mustApply(t, c, "one", configMap(t, "a", "1"))
	a := applier(c)
	claimed := true
	a.Claimed = func(_ context.Context, who types.NamespacedName, ref inventory.Ref) (bool, error) {
		if who != owner || ref.Name != "a" {
			t.Errorf("asked %s for %s", who, ref)
		}
		return claimed, nil
	}
	other := types.NamespacedName{Namespace: "siskin", Name: "other"}
	r := a.Apply(t.Context(), []*unstructured.Unstructured{configMap(t, "a", "2")}, other, stamp("two"), time.Second)
	if len(r.Failures) != 1 || !strings.Contains(r.Failures[0].Message(), "GitSync siskin/app applies it too") {
		t.Errorf("result = %+v", r)
	}
	claimed = false // it was deleted, or has let go
	if r = a.Apply(t.Context(), []*unstructured.Unstructured{configMap(t, "a", "2")}, other, stamp("two"), time.Second); len(r.Failures) > 0 {
		t.Errorf("result = %+v", r)
	}
}

func TestPrune(t *testing.T) {
	c := applytest.New(t)
	keep := configMap(t, "keep", "1")
	keep.SetAnnotations(map[string]string{"siskin.dev/prune": "disabled"})
	objs := []*unstructured.Unstructured{configMap(t, "a", "1"), configMap(t, "adopted", "1"), keep, deployment(t, "p", 1)}
	mustApply(t, c, "one", objs...)
	adopted := configMap(t, "adopted", "1")
	adopted.SetLabels(map[string]string{"siskin.dev/gitsync-name": "other"})
	c.As("kubectl", adopted)
	entries := append(Entries(objs),
		inventory.Entry{Ref: inventory.Ref{Namespace: "prod", Name: "gone", Kind: "ConfigMap"}, Version: "v1"},
		inventory.Entry{Ref: inventory.Ref{Namespace: "prod", Name: "x", Group: "gone.example", Kind: "Gone"}, Version: "v1"},
		inventory.Entry{Ref: inventory.Ref{Namespace: "prod", Name: "podinfo2", Group: "apps", Kind: "Deployment"}, Version: "v1beta1"},
	)
	c.Log()
	p := applier(c).Prune(t.Context(), entries, owner)
	if diff := cmp.Diff([]string{"delete Deployment prod/podinfo", "delete ConfigMap prod/a"}, c.Log()); diff != "" {
		t.Error(diff)
	}
	if len(p.Kept) > 0 || len(p.Deleted) != 2 {
		t.Errorf("pruned = %+v", p)
	}
	for _, name := range []string{"keep", "adopted"} {
		if c.Live(applytest.Core("ConfigMap"), "prod", name) == nil {
			t.Errorf("%s was deleted", name)
		}
	}
}

func TestSecretValuesAreNotTold(t *testing.T) {
	f := Failure{
		Ref: inventory.Ref{Name: "s", Kind: "Secret"},
		Err: fmt.Errorf("trying it: %w", apierrors.NewInvalid(schema.GroupKind{Kind: "Secret"}, "s", field.ErrorList{field.Invalid(field.NewPath("data[k]"), "s3cret", "bad")})),
	}
	if m := f.Message(); strings.Contains(m, "s3cret") || !strings.Contains(m, "data[k]") {
		t.Error(m)
	}
}

var _ client.Client = (*applytest.Cluster)(nil)
