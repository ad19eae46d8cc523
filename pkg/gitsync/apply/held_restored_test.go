package apply

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/gitsync/apply/applytest"
	"github.com/siskin-dev/siskin/pkg/internal/restored"
)

// restore does what the deletion of a Canary does to its target: another image, and the notes.
func restore(t *testing.T, c *applytest.Cluster, image string) {
	t.Helper()
	u := c.Live(applytest.Deployment(), "prod", "podinfo")
	var d appsv1.Deployment
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, &d); err != nil {
		t.Fatal(err)
	}
	was := *d.Spec.Template.DeepCopy()
	d.Spec.Template.Spec.Containers[0].Image = image
	containers, _, _ := unstructured.NestedSlice(u.Object, "spec", "template", "spec", "containers")
	containers[0].(map[string]any)["image"] = image
	if err := unstructured.SetNestedSlice(u.Object, containers, "spec", "template", "spec", "containers"); err != nil {
		t.Fatal(err)
	}
	annotate(u, siskinv1.RestoredFromAnnotation, restored.Note(was, d.Spec.Template))
	if err := c.Update(t.Context(), u, client.FieldOwner(siskinv1.FieldManager)); err != nil {
		t.Fatal(err)
	}
}

func TestATargetKeepsWhatADeletionGaveItUntilGitSaysSomethingElse(t *testing.T) {
	c := applytest.New(t)
	mustApply(t, c, "p:1", deployment(t, "p:1", 3))
	mustApply(t, c, "p:2", deployment(t, "p:2", 3))
	restore(t, c, "p:1")
	for _, step := range []struct {
		name     string
		replicas int
		image    string
		action   string
		has      string
	}{
		{"git says what was not promoted", 3, "p:2", "unchanged", "p:1"},
		{"again", 3, "p:2", "unchanged", "p:1"},
		{"with another size", 4, "p:2", "configured", "p:1"},
		{"a fix", 4, "p:3", "configured", "p:3"},
		{"what was not promoted, on purpose", 4, "p:2", "configured", "p:2"},
	} {
		got := mustApply(t, c, step.name, deployment(t, step.image, step.replicas))
		if diff := cmp.Diff([]string{"Deployment prod/podinfo " + step.action}, got); diff != "" {
			t.Errorf("%s: %s", step.name, diff)
		}
		containers, _, _ := unstructured.NestedSlice(c.Live(applytest.Deployment(), "prod", "podinfo").Object, "spec", "template", "spec", "containers")
		if has := containers[0].(map[string]any)["image"]; has != step.has {
			t.Errorf("%s: image %v, want %s", step.name, has, step.has)
		}
	}
}

// A Service goes on leading to the pods of that target, for as long as git says what it said then.
func TestAServiceKeepsWhatADeletionGaveItUntilGitSaysSomethingElse(t *testing.T) {
	c := applytest.New(t)
	git := func(version, target string) *unstructured.Unstructured {
		return applytest.Object(t, "apiVersion: v1\nkind: Service\nmetadata: {name: podinfo, namespace: prod}\n"+
			"spec: {selector: {app: podinfo, version: "+version+"}, ports: [{port: 80, protocol: TCP, targetPort: "+target+"}]}\n")
	}
	mustApply(t, c, "v1", git("v1", "8080"))
	mustApply(t, c, "v2", git("v2", "8081"))
	u := c.Live(applytest.Core("Service"), "prod", "podinfo")
	var was, is corev1.Service
	for _, s := range []*corev1.Service{&was, &is} {
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, s); err != nil {
			t.Fatal(err)
		}
	}
	is.Spec.Selector["version"], is.Spec.Ports[0].TargetPort = "v1", intstr.FromInt32(8080)
	ports, _, _ := unstructured.NestedSlice(u.Object, "spec", "ports")
	ports[0].(map[string]any)["targetPort"] = int64(8080)
	for _, err := range []error{
		unstructured.SetNestedField(u.Object, "v1", "spec", "selector", "version"), unstructured.SetNestedSlice(u.Object, ports, "spec", "ports"),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	annotate(u, siskinv1.RestoredFromAnnotation, restored.NoteService(was.Spec, is.Spec))
	if err := c.Update(t.Context(), u, client.FieldOwner(siskinv1.FieldManager)); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct{ name, version, target, action, has string }{
		{"git says what was not promoted", "v2", "8081", "unchanged", "v1"},
		{"a fix", "v3", "8080", "configured", "v3"},
		{"what was not promoted, on purpose", "v2", "8081", "configured", "v2"},
	} {
		got := mustApply(t, c, step.name, git(step.version, step.target))
		if diff := cmp.Diff([]string{"Service prod/podinfo " + step.action}, got); diff != "" {
			t.Errorf("%s: %s", step.name, diff)
		}
		has, _, _ := unstructured.NestedString(c.Live(applytest.Core("Service"), "prod", "podinfo").Object, "spec", "selector", "version")
		if has != step.has {
			t.Errorf("%s: version %v, want %s", step.name, has, step.has)
		}
	}
}
