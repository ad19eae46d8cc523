package act

import (
	"maps"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/json"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
)

// maxApplied bounds what is noted for kubectl, in bytes: the API server takes 256 KiB of annotations.
const maxApplied = 128 << 10

// noteApplied makes a client-side kubectl apply believe that it has applied a pod template. It takes away what it
// applied last and is to apply no more: what only the template has that Siskin wrote over that would stay for good.
func noteApplied(annotations map[string]string, template corev1.PodTemplateSpec) {
	var applied map[string]any
	text, ok := annotations[corev1.LastAppliedConfigAnnotation]
	if !ok || json.Unmarshal([]byte(text), &applied) != nil {
		return
	}
	spec, ok := applied["spec"].(map[string]any)
	if !ok {
		return
	}
	template.Spec.NodeSelector = maps.Clone(template.Spec.NodeSelector)
	delete(template.Spec.NodeSelector, siskinv1.HeldAnnotation) // a DaemonSet's, until it is released
	spec["template"] = template
	if raw, err := json.Marshal(applied); err == nil && len(raw) <= maxApplied {
		annotations[corev1.LastAppliedConfigAnnotation] = string(raw)
	}
}
