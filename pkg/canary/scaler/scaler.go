// Package scaler knows the two kinds of autoscalers that a Canary may name, the HorizontalPodAutoscaler and KEDA's ScaledObject, and
// tells how one should look that scales a clone, or the target again. It neither reads nor writes the cluster.
//
// What Siskin changes in the user's object it notes in annotations beside what the user wanted. So it can give everything back
// exactly, and an edit is told apart from its own values: what is not as it was written last is the user's new wish.
package scaler

import (
	"fmt"
	"maps"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/canary/target"
	"github.com/siskin-dev/siskin/pkg/internal/promql"
)

// The kinds in the versions that Siskin reads and writes, whatever version the spec names: they are the same objects.
const (
	KindHPA          = "HorizontalPodAutoscaler"
	KindScaledObject = "ScaledObject"
)

// HPA is the HorizontalPodAutoscaler.
func HPA() schema.GroupVersionKind {
	return schema.GroupVersionKind{Group: "autoscaling", Version: "v2", Kind: KindHPA}
}

// ScaledObject is KEDA's.
func ScaledObject() schema.GroupVersionKind {
	return schema.GroupVersionKind{Group: "keda.sh", Version: "v1alpha1", Kind: KindScaledObject}
}

// GVK returns the kind that a reference names. Errors name the field.
func GVK(ref *siskinv1.AutoscalerRef) (schema.GroupVersionKind, error) {
	gvk := HPA()
	if ref.Kind == KindScaledObject {
		gvk = ScaledObject()
	}
	group, _, _ := strings.Cut(ref.APIVersion, "/")
	if ref.Kind != gvk.Kind || (ref.APIVersion != "" && group != gvk.Group) {
		return gvk, fmt.Errorf("spec.autoscalerRef: %s of %s is no autoscaler that Siskin knows: use HorizontalPodAutoscaler of autoscaling/v2 or ScaledObject of keda.sh/v1alpha1",
			ref.Kind, ref.APIVersion)
	}
	return gvk, nil
}

// New returns an empty object of a kind.
func New(gvk schema.GroupVersionKind, namespace, name string) *unstructured.Unstructured {
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(gvk)
	u.SetNamespace(namespace)
	u.SetName(name)
	return u
}

// CopyName is the name of the canary's own autoscaler.
func CopyName(name string) string { return name + "-" + siskinv1.RoleCanary }

// Scaler is an autoscaler as it was read.
type Scaler struct {
	obj    *unstructured.Unstructured
	target siskinv1.TargetRef
	pods   promql.Target
}

// Of returns the autoscaler obj of a target, whose pods are made of a template; nil: they are not known. obj is not
// changed.
func Of(obj *unstructured.Unstructured, ref siskinv1.TargetRef, pods *corev1.PodTemplateSpec) *Scaler {
	return &Scaler{obj: obj, target: ref, pods: promql.TargetOf(ref, pods)}
}

// Object is the object as it was read.
func (s *Scaler) Object() *unstructured.Unstructured { return s.obj }

// String is kind and name, as people say it.
func (s *Scaler) String() string { return s.obj.GetKind() + " " + s.obj.GetName() }

// scales is the name of the workload that it scales.
func (s *Scaler) scales() string {
	name, _, _ := unstructured.NestedString(s.obj.Object, "spec", "scaleTargetRef", "name")
	return name
}

func (s *Scaler) primary() string { return target.CloneName(s.target.Name, siskinv1.RolePrimary) }

// Foreign returns what it scales if that is neither the target nor its primary, else "".
func (s *Scaler) Foreign() string {
	kind, _, _ := unstructured.NestedString(s.obj.Object, "spec", "scaleTargetRef", "kind")
	if kind == "" { // a ScaledObject may leave it out
		kind = "Deployment"
	}
	if name := s.scales(); kind != s.target.Kind || (name != s.target.Name && name != s.primary()) {
		return kind + " " + name
	}
	return ""
}

// OnPrimary tells that it was pointed at the primary and still is.
func (s *Scaler) OnPrimary() bool {
	return s.scales() == s.primary() && s.obj.GetAnnotations()[siskinv1.ScalesAnnotation] == s.primary()
}

// Floor is the number of pods that it was told not to go below for a rollout; 0 none.
func (s *Scaler) Floor() int32 {
	n, err := strconv.ParseInt(s.obj.GetAnnotations()[siskinv1.FloorAnnotation], 10, 32)
	if err != nil || n < 0 {
		return 0
	}
	return int32(n)
}

// MayIdle tells that it may take the workload to zero by itself.
func (s *Scaler) MayIdle() bool {
	least := read(s.obj).min
	_, idle := number(s.obj, fieldIdle)
	return s.obj.GetKind() == KindScaledObject && (idle || least == nil || *least == 0)
}

// pausedReplicas is KEDA's annotation of a ScaledObject that keeps the workload at a number.
const pausedReplicas = "autoscaling.keda.sh/paused-replicas"

// paused is the number of pods that KEDA was told to keep, if it was.
func (s *Scaler) paused() (int32, bool) {
	n, err := strconv.ParseInt(s.obj.GetAnnotations()[pausedReplicas], 10, 32)
	if err != nil || n < 0 || s.obj.GetKind() != KindScaledObject {
		return 0, false
	}
	return int32(n), true
}

// Off tells that KEDA was told to keep the workload at zero.
func (s *Scaler) Off() bool {
	n, paused := s.paused()
	return paused && n == 0
}

// Least is the lowest number of pods that it allows, at least 1 unless it may idle; or the number that KEDA was told to keep.
func (s *Scaler) Least() int32 {
	if n, paused := s.paused(); paused {
		return n
	}
	if s.MayIdle() {
		return 0
	}
	n := int64(1)
	if least := read(s.obj).min; least != nil {
		n = max(n, *least)
	}
	return int32(min(n, 1<<30))
}

// marks are the annotations that an autoscaler has only while Siskin points it.
func marks() []string {
	return []string{
		siskinv1.ScalesAnnotation, siskinv1.FloorAnnotation, siskinv1.LimitsAnnotation, siskinv1.LimitsHeldAnnotation, siskinv1.AutoscalerAnnotation,
	}
}

// Marked tells that Siskin has changed it.
func (s *Scaler) Marked() bool {
	have := s.obj.GetAnnotations()
	for _, key := range marks() {
		if _, ok := have[key]; ok {
			return true
		}
	}
	return false
}

// Pointed is the object as it should be while it scales the primary: with the limits of ref, and never below floor while that is
// positive.
func (s *Scaler) Pointed(ref *siskinv1.AutoscalerRef, floor int32) *unstructured.Unstructured {
	out := s.obj.DeepCopy()
	wish := s.wish()
	held := wish.override(ref.PrimaryScalerReplicas).above(int64(floor))
	setString(out, s.primary(), "spec", "scaleTargetRef", "name")
	held.write(out)
	note := keda{}
	if out.GetKind() == KindScaledObject {
		note = s.point(out, ref.PrimaryScalerQueries, floor > 0)
	}
	notes := map[string]string{
		siskinv1.ScalesAnnotation: s.primary(), siskinv1.LimitsAnnotation: wish.String(), siskinv1.LimitsHeldAnnotation: held.String(),
		siskinv1.AutoscalerAnnotation: note.String(), siskinv1.FloorAnnotation: "",
	}
	if floor > 0 {
		notes[siskinv1.FloorAnnotation] = strconv.Itoa(int(floor))
	}
	annotate(out, notes)
	return out
}

// Restored is the object as the user wrote it, scaling the target.
func (s *Scaler) Restored() *unstructured.Unstructured {
	out := s.obj.DeepCopy()
	if s.scales() == s.primary() {
		setString(out, s.target.Name, "spec", "scaleTargetRef", "name")
	}
	s.wish().write(out)
	if out.GetKind() == KindScaledObject {
		s.unpoint(out)
	}
	notes := map[string]string{}
	for _, key := range marks() {
		notes[key] = ""
	}
	annotate(out, notes)
	return out
}

// Wakes tells that it brings a workload back from zero by itself, so that it must not scale the target: Siskin holds that at zero.
func (s *Scaler) Wakes() bool {
	least := s.wish().min
	return s.Foreign() == "" && (s.obj.GetKind() == KindScaledObject || (least != nil && *least == 0))
}

// Left is the object as it should be when the spec has ceased to name it: as the user wrote it, scaling the target. One that would wake
// the target goes on scaling the primary, with nothing of the spec and no floor.
func (s *Scaler) Left() *unstructured.Unstructured {
	if s.Wakes() {
		return s.Pointed(&siskinv1.AutoscalerRef{}, 0)
	}
	return s.Restored()
}

// Same tells whether two versions of an object differ in nothing that this package writes.
func Same(a, b *unstructured.Unstructured) bool {
	if !equality.Semantic.DeepEqual(a.Object["spec"], b.Object["spec"]) {
		return false
	}
	x, y := a.GetAnnotations(), b.GetAnnotations()
	for _, key := range marks() {
		if x[key] != y[key] {
			return false
		}
	}
	return true
}

// annotate sets annotations; those that are "" go.
func annotate(obj *unstructured.Unstructured, notes map[string]string) {
	all := maps.Clone(obj.GetAnnotations())
	if all == nil {
		all = map[string]string{}
	}
	for key, value := range notes {
		if all[key] = value; value == "" {
			delete(all, key)
		}
	}
	if len(all) == 0 {
		all = nil
	}
	obj.SetAnnotations(all)
}

// setString sets a string in a map that is Siskin's own copy; what lies in the way is replaced by no one: the API server has
// checked the types.
func setString(obj *unstructured.Unstructured, value string, path ...string) {
	_ = unstructured.SetNestedField(obj.Object, value, path...)
}
