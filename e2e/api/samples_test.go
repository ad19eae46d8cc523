package api_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/siskin-dev/siskin/e2e/fixtures"
)

// TestSamples : the API server accepts every sample as it is, field by field.
func TestSamples(t *testing.T) {
	e := given(t)
	ns := e.Namespace(t)
	root, err := fixtures.Root()
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(root, "kustomize", "samples", "*.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("there are no samples: %v", err)
	}
	seen := map[string]bool{}
	for _, f := range files {
		if filepath.Base(f) == "kustomization.yaml" {
			continue
		}
		t.Run(filepath.Base(f), func(t *testing.T) {
			data, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			for i, doc := range strings.Split("\n"+string(data), "\n---") {
				obj := &unstructured.Unstructured{}
				if err := yaml.Unmarshal([]byte(doc), &obj.Object); err != nil || len(obj.Object) == 0 {
					t.Fatalf("document %d: %v", i, err)
				}
				seen[obj.GetKind()] = true
				if err := dryRun(t, e, ns, obj); err != nil {
					t.Errorf("%s %s: %v", obj.GetKind(), obj.GetName(), err)
				}
			}
		})
	}
	for _, kind := range []string{"Canary", "MetricTemplate", "AlertProvider", "GitSync"} {
		if !seen[kind] {
			t.Errorf("no sample shows a %s", kind)
		}
	}
}

// dryRun applies an object as a person would, without storing it. Its namespace is not there, so that another one has to do.
func dryRun(t *testing.T, e *fixtures.Env, namespace string, obj *unstructured.Unstructured) error {
	t.Helper()
	gvk := obj.GroupVersionKind()
	mapping, err := e.API.RESTMapper().RESTMapping(gvk.GroupKind(), gvk.Version)
	if err != nil {
		return fmt.Errorf("finding %s: %w", gvk, err)
	}
	if mapping.Scope.Name() == meta.RESTScopeNameNamespace {
		obj.SetNamespace(namespace)
	}
	strict := client.WithFieldValidation(e.API, "Strict")
	return strict.Apply(t.Context(), client.ApplyConfigurationFromUnstructured(obj), client.DryRunAll, client.FieldOwner("ann"))
}
