package apply

import (
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/internal/restored"
)

// keepRestored leaves a target the promoted pod template that the deletion of its Canary gave it, for as long as git
// says what it said then: that was not promoted, and nobody has committed it for a workload without a Canary. merged is
// what an apply would make of live. It returns true if desired was changed.
func keepRestored(desired, live, merged *unstructured.Unstructured) (bool, error) {
	note := live.GetAnnotations()[siskinv1.RestoredFromAnnotation]
	if note == "" {
		return false, nil
	}
	if live.GetKind() == "Service" {
		return keepService(note, desired, live, merged)
	}
	has, is, err := templateOf(live)
	if err != nil {
		return false, err
	}
	_, git, err := templateOf(merged)
	if err != nil || !restored.Holds(note, is, git) {
		return false, err
	}
	return true, set(desired, has, "spec", "template")
}

// keepService is keepRestored of a Service, which leads to the pods of that template.
func keepService(note string, desired, live, merged *unstructured.Unstructured) (bool, error) {
	var is, git corev1.Service
	err := errors.Join(
		runtime.DefaultUnstructuredConverter.FromUnstructured(live.Object, &is), runtime.DefaultUnstructuredConverter.FromUnstructured(merged.Object, &git),
	)
	if err != nil {
		return false, fmt.Errorf("reading the Service: %w", err)
	}
	if !restored.HoldsService(note, is.Spec, git.Spec) {
		return false, nil
	}
	for _, field := range []string{"selector", "ports"} {
		has, found, err := unstructured.NestedFieldCopy(live.Object, "spec", field)
		if err == nil && found {
			err = set(desired, has, "spec", field)
		}
		if err != nil {
			return false, fmt.Errorf("reading spec.%s: %w", field, err)
		}
	}
	return true, nil
}

// templateOf reads the pod template of a workload, as it is and in its type.
func templateOf(o *unstructured.Unstructured) (map[string]any, corev1.PodTemplateSpec, error) {
	var out corev1.PodTemplateSpec
	raw, _, err := unstructured.NestedMap(o.Object, "spec", "template")
	if err == nil {
		err = runtime.DefaultUnstructuredConverter.FromUnstructured(raw, &out)
	}
	if err != nil {
		return nil, out, fmt.Errorf("reading spec.template: %w", err)
	}
	return raw, out, nil
}
