package scaler

import (
	"encoding/json"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
)

// Yielded is an autoscaler that Siskin made for a canary, as the one of whoever has applied it since: without owner and
// marks, and with nothing of Siskin's spec. obj must come from the API server: caches keep neither who owns what nor
// what kubectl applied.
func Yielded(obj *unstructured.Unstructured, canary *siskinv1.Canary) *unstructured.Unstructured {
	out := obj.DeepCopy()
	out.SetOwnerReferences(slices.DeleteFunc(out.GetOwnerReferences(), func(o metav1.OwnerReference) bool { return o.UID == canary.UID }))
	labels := out.GetLabels()
	delete(labels, siskinv1.CanaryLabel)
	delete(labels, siskinv1.RoleLabel)
	out.SetLabels(labels)
	annotate(out, map[string]string{siskinv1.AppliedAnnotation: ""})
	if spec, ok := applied(out); ok {
		out.Object["spec"] = spec
	} else {
		dropUnowned(out)
	}
	out.SetManagedFields(slices.DeleteFunc(out.GetManagedFields(), func(e metav1.ManagedFieldsEntry) bool { return e.Manager == siskinv1.FieldManager }))
	return out
}

// applied is the spec that kubectl apply applied last.
func applied(obj *unstructured.Unstructured) (any, bool) {
	var last struct{ Spec map[string]any }
	err := json.Unmarshal([]byte(obj.GetAnnotations()[corev1.LastAppliedConfigAnnotation]), &last)
	return last.Spec, err == nil && len(last.Spec) > 0
}

// dropUnowned takes the fields out of the spec that only Siskin owns, but for those without which there is none.
func dropUnowned(obj *unstructured.Unstructured) {
	spec, _, _ := unstructured.NestedMap(obj.Object, "spec")
	owned := map[string]bool{"scaleTargetRef": true, "maxReplicas": true, "triggers": true}
	for _, e := range obj.GetManagedFields() {
		var fields struct {
			Spec map[string]any `json:"f:spec"`
		}
		if e.Manager == siskinv1.FieldManager || e.FieldsV1 == nil || json.Unmarshal(e.FieldsV1.GetRawBytes(), &fields) != nil {
			continue
		}
		for key := range fields.Spec {
			owned[key[min(len("f:"), len(key)):]] = true
		}
	}
	for key := range spec {
		if !owned[key] {
			unstructured.RemoveNestedField(obj.Object, "spec", key)
		}
	}
}
