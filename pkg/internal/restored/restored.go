// Package restored knows again what the deletion of a Canary wrote over: in a target the pod template of a version that
// was not promoted, and in a Service how it led to the pods of that.
package restored

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
)

// Note is what is noted on a target: digests of the template that was written over, and of the one that it was given.
func Note(was, is corev1.PodTemplateSpec) string { return digest(was) + "/" + digest(is) }

// Holds tells whether a target still has what it was given, and git would write over it what was written over then.
func Holds(note string, live, git corev1.PodTemplateSpec) bool {
	was, is, ok := strings.Cut(note, "/")
	return ok && was == digest(git) && is == digest(live)
}

// NoteService is Note of a Service, of which selector and ports count.
func NoteService(was, is corev1.ServiceSpec) string {
	return digestService(was) + "/" + digestService(is)
}

// HoldsService is Holds of a Service.
func HoldsService(note string, live, git corev1.ServiceSpec) bool {
	was, is, ok := strings.Cut(note, "/")
	return ok && was == digestService(git) && is == digestService(live)
}

func digest(t corev1.PodTemplateSpec) string {
	t = *t.DeepCopy()
	t.CreationTimestamp = metav1.Time{}
	if delete(t.Spec.NodeSelector, siskinv1.HeldAnnotation); len(t.Spec.NodeSelector) == 0 {
		t.Spec.NodeSelector = nil
	}
	return sum(t)
}

// digestService leaves out what the API server gives each Service anew.
func digestService(s corev1.ServiceSpec) string {
	out := corev1.ServiceSpec{Selector: s.Selector}
	for _, p := range s.Ports {
		p.NodePort, p.Protocol = 0, cmp.Or(p.Protocol, corev1.ProtocolTCP)
		if p.TargetPort == (intstr.IntOrString{}) {
			p.TargetPort = intstr.FromInt32(p.Port)
		}
		out.Ports = append(out.Ports, p)
	}
	slices.SortFunc(out.Ports, func(a, b corev1.ServicePort) int {
		return cmp.Or(cmp.Compare(a.Port, b.Port), cmp.Compare(a.Protocol, b.Protocol))
	})
	return sum(out)
}

func sum(v any) string {
	raw, err := json.Marshal(v)
	if err != nil {
		return err.Error() // what was read can be written
	}
	digest := sha256.Sum256(raw)
	return hex.EncodeToString(digest[:8])
}
