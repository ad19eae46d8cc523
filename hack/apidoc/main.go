// Command apidoc writes the API reference as Markdown from CustomResourceDefinitions.
//
//	apidoc -out docs/api.md kustomize/crd/siskin.dev_*.yaml
package main

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/yaml"
)

func main() {
	out := flag.String("out", "docs/api.md", "the file to write")
	flag.Parse()
	if err := run(*out, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "apidoc:", err)
		os.Exit(1)
	}
}

func run(out string, files []string) error {
	var crds []*apiextensionsv1.CustomResourceDefinition
	for _, f := range files {
		crd, err := load(f)
		if err != nil {
			return err
		}
		crds = append(crds, crd)
	}
	// The Canary is what people look for.
	slices.SortFunc(crds, func(a, b *apiextensionsv1.CustomResourceDefinition) int {
		return strings.Compare(order(a)+a.Spec.Names.Kind, order(b)+b.Spec.Names.Kind)
	})
	text, err := document(crds)
	if err != nil {
		return err
	}
	if err := os.WriteFile(out, []byte(text), 0o644); err != nil {
		return fmt.Errorf("writing the reference: %w", err)
	}
	return nil
}

func order(crd *apiextensionsv1.CustomResourceDefinition) string {
	if crd.Spec.Names.Kind == "Canary" {
		return "0"
	}
	return "1"
}

func load(file string) (*apiextensionsv1.CustomResourceDefinition, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("reading a CRD: %w", err)
	}
	var crd apiextensionsv1.CustomResourceDefinition
	if err := yaml.UnmarshalStrict(data, &crd); err != nil {
		return nil, fmt.Errorf("reading %s: %w", file, err)
	}
	return &crd, nil
}
