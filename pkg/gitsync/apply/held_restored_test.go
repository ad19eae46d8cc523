package apply

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
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
