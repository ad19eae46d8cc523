package apply

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
)

// What git asks for belongs to the next revision: it is noted, and the Service stays as the promoted pods need it.
func TestAServiceThatIsKeptForThePromotedPods(t *testing.T) {
	git := func() *unstructured.Unstructured {
		return &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "v1", "kind": "Service", "metadata": map[string]any{"name": "web"},
			"spec": map[string]any{"selector": map[string]any{"app": "web", "v": "2"}, "ports": []any{map[string]any{"port": int64(80), "targetPort": int64(8081)}}},
		}}
	}
	live := git()
	live.SetAnnotations(map[string]string{
		siskinv1.ServingAnnotation: "primary",
		siskinv1.LeftAnnotation:    `{"selector":{"app":"web"},"ports":[{"port":80,"protocol":"TCP","targetPort":8080}]}`,
	})
	desired := git()
	if err := respect(desired, live); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"selector": map[string]any{"app": "web", siskinv1.RoleLabel: "primary"},
		"ports":    []any{map[string]any{"port": int64(80), "protocol": "TCP", "targetPort": int64(8080)}},
	}
	if diff := cmp.Diff(want, desired.Object["spec"]); diff != "" {
		t.Error(diff)
	}
	notes := map[string]string{
		siskinv1.SelectorAnnotation: `{"app":"web","v":"2"}`, siskinv1.PortsAnnotation: `[{"port":80,"targetPort":8081}]`,
	}
	if diff := cmp.Diff(notes, desired.GetAnnotations()); diff != "" {
		t.Error(diff)
	}
	live.SetAnnotations(nil)
	desired = git()
	if err := respect(desired, live); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(git(), desired); diff != "" {
		t.Error(diff)
	}
}
