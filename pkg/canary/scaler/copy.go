package scaler

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"

	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/canary/target"
)

// CopyKey is the key of the autoscalers that canaries have of their own, by the name of the Canary.
func CopyKey(canary string) string { return siskinv1.RoleCanary + "/" + canary }

// Keys are what an autoscaler is found by: what Siskin pointed it at, and whose canary it scales.
func Keys(obj metav1.Object) []string {
	var keys []string
	if name := obj.GetAnnotations()[siskinv1.ScalesAnnotation]; name != "" {
		keys = append(keys, name)
	}
	if l := obj.GetLabels(); l[siskinv1.RoleLabel] == siskinv1.RoleCanary && l[siskinv1.CanaryLabel] != "" {
		keys = append(keys, CopyKey(l[siskinv1.CanaryLabel]))
	}
	return keys
}

// Copy is the canary's own autoscaler: the user's, pointed at the canary, with the limits of spec.autoscalerRef.canary. It never goes
// to zero, so that what is on trial can be judged. Labels and annotations of the user's stay where they are: a GitOps tool would take
// the copy for its own.
func (s *Scaler) Copy(canary *siskinv1.Canary, replicas *siskinv1.ScalerReplicas) (*unstructured.Unstructured, error) {
	out := New(s.obj.GroupVersionKind(), canary.Namespace, CopyName(s.obj.GetName()))
	out.SetLabels(map[string]string{siskinv1.CanaryLabel: canary.Name, siskinv1.RoleLabel: siskinv1.RoleCanary})
	out.SetOwnerReferences([]metav1.OwnerReference{*metav1.NewControllerRef(canary, siskinv1.GroupVersion.WithKind("Canary"))})
	out.Object["spec"] = s.obj.DeepCopy().Object["spec"]
	setString(out, target.CloneName(s.target.Name, siskinv1.RoleCanary), "spec", "scaleTargetRef", "name")
	s.wish().override(replicas).above(1).write(out)
	if out.GetKind() == KindScaledObject {
		s.trial(out)
	}
	data, err := json.Marshal(out.Object["spec"])
	if err != nil {
		return nil, fmt.Errorf("encoding the canary's %s: %w", s, err)
	}
	sum := sha256.Sum256(data)
	out.SetAnnotations(map[string]string{siskinv1.AppliedAnnotation: hex.EncodeToString(sum[:8])})
	return out, nil
}

// Unfit tells why the user's own autoscaler cannot take the place of the canary's; "": it can.
func Unfit(obj *unstructured.Unstructured, ref siskinv1.TargetRef) string {
	kind, _, _ := unstructured.NestedString(obj.Object, "spec", "scaleTargetRef", "kind")
	name, _, _ := unstructured.NestedString(obj.Object, "spec", "scaleTargetRef", "name")
	trial := target.CloneName(ref.Name, siskinv1.RoleCanary)
	least := read(obj).min
	switch {
	case obj.GetKind() == KindScaledObject:
		return "it would wake a canary that rests"
	case kind != ref.Kind || name != trial:
		return fmt.Sprintf("it scales %s %s and not %s %s", kind, name, ref.Kind, trial)
	case least != nil && *least == 0:
		return "with minReplicas 0 it would wake a canary that rests"
	}
	return ""
}

// trial makes a copy of a ScaledObject the canary's: its queries, and the name of the autoscaler that KEDA makes of it.
func (s *Scaler) trial(out *unstructured.Unstructured) {
	unstructured.RemoveNestedField(out.Object, "spec", fieldIdle)
	if name, ok, _ := unstructured.NestedString(out.Object, "spec", "advanced", "horizontalPodAutoscalerConfig", "name"); ok && name != "" {
		setString(out, CopyName(name), "spec", "advanced", "horizontalPodAutoscalerConfig", "name")
	}
	was := s.noted()
	for i, t := range triggers(out) {
		if now, ok := t.query(); ok && t.kind == prometheus {
			t.metadata["query"] = s.pods.OfCanary(was.user(i, now))
		}
	}
}

// Runs tells whether live, the canary's autoscaler, still has all that want sets.
func Runs(live, want *unstructured.Unstructured) bool {
	const key = siskinv1.AppliedAnnotation
	return live.GetAnnotations()[key] == want.GetAnnotations()[key] && equality.Semantic.DeepDerivative(want.Object["spec"], live.Object["spec"])
}
