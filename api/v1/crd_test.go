package v1_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/yaml"
)

// TestEveryFieldOfTheCRDsIsDescribedAndBounded takes the place of a linter for API types: it reads the CRDs as they are installed.
// Bounds keep the cost of CEL rules known and an object below etcd's limit; status is written by Siskin alone and bounded there.
func TestEveryFieldOfTheCRDsIsDescribedAndBounded(t *testing.T) {
	for kind, crd := range crds(t) {
		for _, v := range crd.Spec.Versions {
			root := v.Schema.OpenAPIV3Schema
			for _, part := range []string{"spec", "status"} {
				if s, ok := root.Properties[part]; ok {
					checkSchema(t, kind+"."+part, &s, part == "spec")
				}
			}
			if v.Subresources == nil && root.Properties["status"].Type != "" {
				t.Errorf("%s has a status and no status subresource", kind)
			}
		}
	}
}

// foreign are fields of types that are not ours.
var foreign = []string{".gatewayRefs[]", ".service.mirror[]", ".conditions[]"}

func checkSchema(t *testing.T, path string, s *apiextensionsv1.JSONSchemaProps, bounded bool) {
	t.Helper()
	if slices.ContainsFunc(foreign, func(f string) bool { return strings.HasSuffix(path, f) }) {
		return
	}
	for name := range s.Properties {
		field := s.Properties[name]
		at := path + "." + name
		checkField(t, at, &field, bounded)
		checkSchema(t, at, &field, bounded)
		if field.Items != nil {
			checkBounds(t, at+"[]", field.Items.Schema, bounded)
			checkSchema(t, at+"[]", field.Items.Schema, bounded)
		}
		// The values of a map cannot be bounded with a marker; their number is.
		if field.AdditionalProperties != nil && field.AdditionalProperties.Schema != nil {
			checkSchema(t, at+".<key>", field.AdditionalProperties.Schema, bounded)
		}
	}
}

func checkField(t *testing.T, at string, s *apiextensionsv1.JSONSchemaProps, bounded bool) {
	t.Helper()
	if strings.TrimSpace(s.Description) == "" {
		t.Errorf("%s has no description", at)
	}
	if s.Type == "array" && s.XListType == nil {
		t.Errorf("%s has no listType", at)
	}
	checkBounds(t, at, s, bounded)
}

func checkBounds(t *testing.T, at string, s *apiextensionsv1.JSONSchemaProps, bounded bool) {
	t.Helper()
	if !bounded {
		return
	}
	switch s.Type {
	case "string":
		if s.MaxLength == nil && len(s.Enum) == 0 && !hasLengthInPattern(s.Pattern) {
			t.Errorf("%s is a string without maxLength, enum or a pattern that bounds it", at)
		}
	case "array":
		if s.MaxItems == nil {
			t.Errorf("%s is a list without maxItems", at)
		}
	case "object":
		if s.AdditionalProperties != nil && s.MaxProperties == nil && !isMetadata(at) {
			t.Errorf("%s is a map without maxProperties", at)
		}
	case "integer":
		if (s.Minimum == nil || s.Maximum == nil) && !s.XIntOrString {
			t.Errorf("%s is a number without minimum and maximum", at)
		}
	}
}

// hasLengthInPattern tells whether a pattern allows no endless text.
func hasLengthInPattern(pattern string) bool {
	return strings.HasPrefix(pattern, "^") && strings.HasSuffix(pattern, "$") && !strings.ContainsAny(pattern, "*+")
}

// isMetadata : labels and annotations have the API server's own limits.
func isMetadata(at string) bool {
	return strings.HasSuffix(at, ".labels") || strings.HasSuffix(at, ".annotations")
}

// TestEveryKindHasColumnsAndACategory : `kubectl get siskin` shows everything, with what matters.
func TestEveryKindHasColumnsAndACategory(t *testing.T) {
	for kind, crd := range crds(t) {
		if !slices.Contains(crd.Spec.Names.Categories, "siskin") {
			t.Errorf("%s is missing in `kubectl get siskin`", kind)
		}
		for _, v := range crd.Spec.Versions {
			if len(v.AdditionalPrinterColumns) == 0 {
				t.Errorf("%s has no columns for `kubectl get`", kind)
			}
		}
	}
}

func crds(t *testing.T) map[string]*apiextensionsv1.CustomResourceDefinition {
	t.Helper()
	files, err := filepath.Glob("../../kustomize/crd/siskin.dev_*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]*apiextensionsv1.CustomResourceDefinition{}
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		var crd apiextensionsv1.CustomResourceDefinition
		if err := yaml.UnmarshalStrict(data, &crd); err != nil {
			t.Fatalf("%s: %v", f, err)
		}
		all[crd.Spec.Names.Kind] = &crd
	}
	if len(all) != 5 {
		t.Fatalf("got %d CRDs, want Canary, MetricTemplate, AlertProvider, GitSync, RouterDefinition", len(all))
	}
	return all
}
