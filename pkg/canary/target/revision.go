// Package target knows the workloads that Siskin releases: what of them makes a revision, how a revision is kept as a snapshot,
// and how the clones that run it look.
package target

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
)

// Revision is one exact content of the target, with what is needed to run it again.
type Revision struct {
	// Template of the pods and the content of what they read (Config) are what makes a revision of a workload.
	Template corev1.PodTemplateSpec `json:"template"`
	// Config is nil if the template reads no ConfigMap and no Secret, or if that was not recorded.
	Config *Config `json:"config,omitempty"`
	// Service is what makes a revision of a target of kind Service; it is nil for all others.
	Service *corev1.ServiceSpec `json:"service,omitempty"`
	// Workload is the rest of the target's spec that clones take over; a change of it alone is no new revision.
	Workload Workload `json:"workload"`
	// Origin tells people where it came from; it is no part of the revision either.
	Origin Origin `json:"origin,omitzero"`
}

// Workload is how the pods are run.
type Workload struct {
	Labels                  map[string]string               `json:"labels,omitempty"`
	Annotations             map[string]string               `json:"annotations,omitempty"`
	Selector                *metav1.LabelSelector           `json:"selector"`
	Strategy                *appsv1.DeploymentStrategy      `json:"strategy,omitempty"`
	DaemonSetStrategy       *appsv1.DaemonSetUpdateStrategy `json:"daemonSetStrategy,omitempty"`
	StatefulSet             *StatefulSetSpec                `json:"statefulSet,omitempty"`
	MinReadySeconds         int32                           `json:"minReadySeconds,omitempty"`
	ProgressDeadlineSeconds *int32                          `json:"progressDeadlineSeconds,omitempty"`
	RevisionHistoryLimit    *int32                          `json:"revisionHistoryLimit,omitempty"`
}

// StatefulSetSpec is what only a StatefulSet has.
type StatefulSetSpec struct {
	ServiceName         string                           `json:"serviceName,omitempty"`
	PodManagementPolicy appsv1.PodManagementPolicyType   `json:"podManagementPolicy,omitempty"`
	UpdateStrategy      appsv1.StatefulSetUpdateStrategy `json:"updateStrategy,omitzero"`
	Ordinals            *appsv1.StatefulSetOrdinals      `json:"ordinals,omitempty"`
}

// Origin is the commit that a revision came from, if git-sync applied it.
type Origin struct {
	Commit  string `json:"commit,omitempty"`
	Author  string `json:"author,omitempty"`
	Message string `json:"message,omitempty"`
}

// OriginOf reads the commit that changed an object last.
func OriginOf(obj metav1.Object) Origin {
	a := obj.GetAnnotations()
	return Origin{
		Commit: a[siskinv1.GitRevisionAnnotation], Author: a[siskinv1.GitAuthorAnnotation], Message: a[siskinv1.GitMessageAnnotation],
	}
}

// From reads the present revision of a target, without the content of what its pods read: see Config.
func From(obj client.Object) Revision {
	r := Revision{
		Workload: Workload{Labels: copiedOf(obj.GetLabels())},
		Origin:   OriginOf(obj),
	}
	if svc, ok := obj.(*corev1.Service); ok {
		r.Service = new(portable(svc.Spec))
		return r
	}
	w := workloadOf(obj)
	p := w.parts()
	r.Workload.Annotations = copiedOf(obj.GetAnnotations())
	r.Template = *p.template.DeepCopy()
	r.Template.CreationTimestamp = metav1.Time{}
	r.Template.Spec.NodeSelector = without(r.Template.Spec.NodeSelector, fence)
	r.Workload.Selector, r.Workload.MinReadySeconds = (*p.selector).DeepCopy(), *p.minReady
	r.Workload.RevisionHistoryLimit = copied(*p.history)
	w.take(&r.Workload)
	return r
}

// Into writes the content that makes r a revision into obj, which must be of r's kind, and leaves all else of obj as it is.
func (r Revision) Into(obj client.Object) {
	if svc, ok := obj.(*corev1.Service); ok {
		if r.Service != nil {
			intoService(&svc.Spec, *r.Service)
		}
		return
	}
	*workloadOf(obj).parts().template = *r.Template.DeepCopy()
}

// Canonical returns the content that makes a revision, as canonical JSON: encoding/json sorts the keys of maps, and the structs
// have a fixed order. Without configuration it is the content alone, as it was before configuration belonged to revisions.
func (r Revision) Canonical() ([]byte, error) {
	content, err := r.content()
	if err != nil {
		return nil, err
	}
	hashes := r.Config.hashes()
	if len(hashes) == 0 {
		return content, nil
	}
	raw, err := json.Marshal(map[string]any{"config": hashes, "template": json.RawMessage(content)})
	if err != nil {
		return nil, fmt.Errorf("encoding the configuration: %w", err)
	}
	return raw, nil
}

// content is the canonical form without configuration.
func (r Revision) content() ([]byte, error) {
	var of any = r.Template
	if r.Service != nil {
		of = r.Service
	}
	raw, err := json.Marshal(of)
	if err != nil {
		return nil, fmt.Errorf("encoding the revision: %w", err)
	}
	// A round trip through plain maps sorts the struct's fields too, so that a new version of the Kubernetes libraries, which may
	// reorder them, changes nothing.
	// Numbers stay as they are written: a float64 would take two big ones for one.
	var plain map[string]any
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber()
	if err := decoder.Decode(&plain); err != nil {
		return nil, fmt.Errorf("decoding the revision: %w", err)
	}
	raw, err = json.Marshal(plain)
	if err != nil {
		return nil, fmt.Errorf("encoding the revision: %w", err)
	}
	return raw, nil
}

// Same tells whether a and b are one revision: the same content, and the same configuration as far as both have recorded it. What
// one of them has not recorded, because it was not tracked at that time, makes no difference.
func Same(a, b Revision) (bool, error) {
	x, err := a.content()
	if err != nil {
		return false, err
	}
	y, err := b.content()
	if err != nil {
		return false, err
	}
	return bytes.Equal(x, y) && a.Config.agrees(b.Config), nil
}

// Name of a revision: the Canary's name and a digest of the canonical content. The digest only names; what is equal is decided
// by the content.
func Name(canary string, canonical []byte) string {
	sum := sha256.Sum256(canonical)
	return canary + "-" + hex.EncodeToString(sum[:5])
}

// Image lists the images of the containers, for people.
func (r Revision) Image() string {
	images := make([]string, 0, len(r.Template.Spec.Containers))
	for _, c := range r.Template.Spec.Containers {
		images = append(images, c.Image)
	}
	return strings.Join(images, ", ")
}

// Snapshot makes the ControllerRevision that keeps r.
func Snapshot(canary *siskinv1.Canary, name string, number int64, r Revision) (*appsv1.ControllerRevision, error) {
	raw, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("encoding revision %s: %w", name, err)
	}
	return &appsv1.ControllerRevision{
		ObjectMeta: metav1.ObjectMeta{
			Name: name, Namespace: canary.Namespace,
			Labels:          map[string]string{siskinv1.CanaryLabel: canary.Name},
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(canary, siskinv1.GroupVersion.WithKind("Canary"))},
		},
		Data:     runtime.RawExtension{Raw: raw},
		Revision: number,
	}, nil
}

// Read returns the revision that a snapshot keeps.
func Read(snapshot *appsv1.ControllerRevision) (Revision, error) {
	var r Revision
	if err := json.Unmarshal(snapshot.Data.Raw, &r); err != nil {
		return r, fmt.Errorf("reading snapshot %s: %w", snapshot.Name, err)
	}
	if text := snapshot.Annotations[siskinv1.ConfigAnnotation]; text != "" { // it was recorded later: the data cannot be changed
		r.Config = nil
		if err := json.Unmarshal([]byte(text), &r.Config); err != nil {
			return r, fmt.Errorf("reading annotation %s of snapshot %s: %w", siskinv1.ConfigAnnotation, snapshot.Name, err)
		}
	}
	return r, nil
}

// Complete tells whether all that a snapshot refers to was copied, or is read from the originals.
func Complete(snapshot *appsv1.ControllerRevision) bool {
	return snapshot.Annotations[siskinv1.CopiedAnnotation] != "" || snapshot.Annotations[siskinv1.ConfigAnnotation] != ""
}
