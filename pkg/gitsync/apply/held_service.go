package apply

import (
	"encoding/json"
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utiljson "k8s.io/apimachinery/pkg/util/json"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
)

// respectService leaves selector and ports of an adopted Service as Siskin keeps them for the promoted pods, and tells
// the Canary controller in annotations what git asks for: it belongs to a revision that is not promoted yet.
func respectService(desired, live *unstructured.Unstructured) error {
	text, kept := live.GetAnnotations()[siskinv1.LeftAnnotation]
	if !kept || desired.GetKind() != "Service" || desired.GroupVersionKind().Group != "" {
		return nil
	}
	var left struct {
		Selector map[string]any `json:"selector"`
		Ports    []any          `json:"ports"`
	}
	if err := utiljson.Unmarshal([]byte(text), &left); err != nil {
		return nil //nolint:nilerr // somebody wrote nonsense there: git's own counts
	}
	for _, field := range []struct {
		name, note string
		left       any
		none       bool
	}{
		{"selector", siskinv1.SelectorAnnotation, left.Selector, len(left.Selector) == 0},
		{"ports", siskinv1.PortsAnnotation, left.Ports, len(left.Ports) == 0},
	} {
		wanted, inGit, err := unstructured.NestedFieldCopy(desired.Object, "spec", field.name)
		if err != nil {
			return fmt.Errorf("reading spec.%s: %w", field.name, err)
		}
		if !inGit || field.none {
			continue
		}
		raw, err := json.Marshal(wanted)
		if err != nil {
			return fmt.Errorf("noting spec.%s: %w", field.name, err)
		}
		annotate(desired, field.note, string(raw))
		if err := set(desired, field.left, "spec", field.name); err != nil {
			return err
		}
	}
	return nil
}
