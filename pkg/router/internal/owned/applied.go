package owned

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
)

// AppliedSpec is the spec that kubectl apply applied last to an object that was read whole; nil if it applied none.
func AppliedSpec(raw *unstructured.Unstructured) map[string]any {
	var last map[string]any
	if utiljson.Unmarshal([]byte(raw.GetAnnotations()[corev1.LastAppliedConfigAnnotation]), &last) != nil {
		return nil
	}
	spec, _ := last["spec"].(map[string]any)
	return spec
}

// Applies reports whether somebody else than Siskin has applied a field of the spec server-side, and still owns it.
func Applies(raw *unstructured.Unstructured, field string) bool {
	for _, e := range raw.GetManagedFields() {
		theirs := e.Operation == metav1.ManagedFieldsOperationApply && e.Manager != siskinv1.FieldManager && e.Subresource == ""
		if !theirs || e.FieldsV1 == nil {
			continue
		}
		var set fieldpath.Set
		path := fieldpath.MakePathOrDie("spec", field)
		if set.FromJSON(strings.NewReader(e.FieldsV1.GetRawString())) == nil && set.Has(path) {
			return true
		}
	}
	return false
}
