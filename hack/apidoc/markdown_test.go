package main

import (
	"path/filepath"
	"strings"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
)

// TestTheReferenceNamesEveryKindAndRule : the page is made from the CRDs that are installed, with nothing left out.
func TestTheReferenceNamesEveryKindAndRule(t *testing.T) {
	files, err := filepath.Glob("../../kustomize/crd/siskin.dev_*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no CRDs: %v", err)
	}
	var crds []*apiextensionsv1.CustomResourceDefinition
	for _, f := range files {
		crd, err := load(f)
		if err != nil {
			t.Fatal(err)
		}
		crds = append(crds, crd)
	}
	text, err := document(crds)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"## Canary\n", "## GitSync\n", "`analysis.stepWeights`", "give one of iterations, stepWeight, stepWeights"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing", want)
		}
	}
	for line := range strings.Lines(text) {
		if cells := strings.Count(strings.ReplaceAll(line, `\|`, ""), "|"); strings.HasPrefix(line, "|") && cells != 4 {
			t.Errorf("a row of %d cells: %s", cells-1, line)
		}
	}
}

// TestTextCannotBreakTheTable : descriptions are prose of many hands.
func TestTextCannotBreakTheTable(t *testing.T) {
	for in, want := range map[string]string{
		"a | b":                   `a \| b`,
		"<name>-primary":          "&lt;name>-primary",
		"as {{ variables.<x> }}.": "as `{{ variables.<x> }}`.",
	} {
		if got := escape(in); got != want {
			t.Errorf("escape(%q) = %q, want %q", in, got, want)
		}
	}
}
