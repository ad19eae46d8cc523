// Package restored knows again what the deletion of a Canary wrote over in a target: the pod template of a version that
// was not promoted.
package restored

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
)

// Note is what is noted on a target: digests of the template that was written over, and of the one that it was given.
func Note(was, is corev1.PodTemplateSpec) string { return digest(was) + "/" + digest(is) }

// Holds tells whether a target still has what it was given, and git would write over it what was written over then.
func Holds(note string, live, git corev1.PodTemplateSpec) bool {
	was, is, ok := strings.Cut(note, "/")
	return ok && was == digest(git) && is == digest(live)
}

func digest(t corev1.PodTemplateSpec) string {
	t = *t.DeepCopy()
	t.CreationTimestamp = metav1.Time{}
	if delete(t.Spec.NodeSelector, siskinv1.HeldAnnotation); len(t.Spec.NodeSelector) == 0 {
		t.Spec.NodeSelector = nil
	}
	raw, err := json.Marshal(t)
	if err != nil {
		return err.Error() // a template that was read can be written
	}
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:8])
}
