package apply

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/gitsync/apply/applytest"
)

// A route that a Canary has adopted goes on carrying the split for as long as git says what it said before.
func TestAnAdoptedRouteKeepsItsSplit(t *testing.T) {
	kind := schema.GroupVersionKind{Group: "gateway.networking.k8s.io", Version: "v1", Kind: "HTTPRoute"}
	c := applytest.New(t)
	c.AddKind(kind, meta.RESTScopeNamespace)
	git := func(host, service string) *unstructured.Unstructured {
		return applytest.Object(t, "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: podinfo}\n"+
			"spec: {hostnames: ["+host+"], rules: [{backendRefs: [{name: "+service+", port: 80}]}]}\n")
	}
	mustApply(t, c, "a:1", git("a", "podinfo"))
	live := c.Live(kind, "prod", "podinfo")
	annotate(live, siskinv1.RulesAnnotation, `[{"backendRefs":[{"name":"podinfo","port":80}]}]`)
	split := []any{map[string]any{"backendRefs": []any{
		map[string]any{"name": "podinfo-primary", "port": int64(80), "weight": int64(90)},
		map[string]any{"name": "podinfo-canary", "port": int64(80), "weight": int64(10)},
	}}}
	if err := unstructured.SetNestedSlice(live.Object, split, "spec", "rules"); err != nil {
		t.Fatal(err)
	}
	if err := c.Update(t.Context(), live, client.FieldOwner(siskinv1.FieldManager)); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		name, host, service, action string
		want                        []any
	}{
		{"the same", "a", "podinfo", "unchanged", split},
		{"another host", "b", "podinfo", "configured", split},
		{"other rules", "b", "other", "configured", []any{map[string]any{
			"backendRefs": []any{map[string]any{"name": "other", "port": int64(80)}},
		}}},
	} {
		got := mustApply(t, c, step.name, git(step.host, step.service))
		if diff := cmp.Diff([]string{"HTTPRoute prod/podinfo " + step.action}, got); diff != "" {
			t.Errorf("%s: %s", step.name, diff)
		}
		rules, _, _ := unstructured.NestedSlice(c.Live(kind, "prod", "podinfo").Object, "spec", "rules")
		if diff := cmp.Diff(step.want, rules); diff != "" {
			t.Errorf("%s: %s", step.name, diff)
		}
	}
}
