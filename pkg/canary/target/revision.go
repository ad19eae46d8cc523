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

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
)

// Revision is one exact content of the target, with what is needed to run it again.
type Revision struct {
	// Template of the pods: this is what makes a revision.
	Template corev1.PodTemplateSpec `json:"template"`
	// Workload is the rest of the target's spec that clones take over; a change of it alone is no new revision.
	Workload Workload `json:"workload"`
	// Origin tells people where it came from; it is no part of the revision either.
	Origin Origin `json:"origin,omitzero"`
}

// Workload is how the pods are run.
type Workload struct {
	Labels                  map[string]string          `json:"labels,omitempty"`
	Selector                *metav1.LabelSelector      `json:"selector"`
	Strategy                *appsv1.DeploymentStrategy `json:"strategy,omitempty"`
	MinReadySeconds         int32                      `json:"minReadySeconds,omitempty"`
	ProgressDeadlineSeconds *int32                     `json:"progressDeadlineSeconds,omitempty"`
	RevisionHistoryLimit    *int32                     `json:"revisionHistoryLimit,omitempty"`
}

// Origin is the commit that a revision came from, if git-sync applied it.
type Origin struct {
	Commit  string `json:"commit,omitempty"`
	Author  string `json:"author,omitempty"`
	Message string `json:"message,omitempty"`
}

// FromDeployment reads the present revision of d.
func FromDeployment(d *appsv1.Deployment) Revision {
	spec := d.Spec.DeepCopy()
	r := Revision{
		Template: spec.Template,
		Workload: Workload{
			Labels: ownLabels(d.Labels), Selector: spec.Selector, Strategy: &spec.Strategy, MinReadySeconds: spec.MinReadySeconds,
			ProgressDeadlineSeconds: spec.ProgressDeadlineSeconds, RevisionHistoryLimit: spec.RevisionHistoryLimit,
		},
		Origin: Origin{
			Commit:  d.Annotations[siskinv1.GitRevisionAnnotation],
			Author:  d.Annotations[siskinv1.GitAuthorAnnotation],
			Message: d.Annotations[siskinv1.GitMessageAnnotation],
		},
	}
	r.Template.CreationTimestamp = metav1.Time{}
	return r
}

// ownLabels drops the labels by which GitOps tools find what they may prune: a clone that carried them would be deleted.
func ownLabels(all map[string]string) map[string]string {
	out := map[string]string{}
	for k, v := range all {
		prefix, _, _ := strings.Cut(k, "/")
		switch {
		case strings.HasSuffix(prefix, "toolkit.fluxcd.io"), strings.HasSuffix(prefix, "argoproj.io"):
		case prefix == siskinv1.GroupVersion.Group:
		default:
			out[k] = v
		}
	}
	return out
}

// Canonical returns the content that makes a revision, as canonical JSON: encoding/json sorts the keys of maps, and the structs
// have a fixed order. Revisions are equal when these bytes are.
func (r Revision) Canonical() ([]byte, error) {
	raw, err := json.Marshal(r.Template)
	if err != nil {
		return nil, fmt.Errorf("encoding the pod template: %w", err)
	}
	// A round trip through plain maps sorts the struct's fields too, so that a new version of the Kubernetes libraries, which may
	// reorder them, changes nothing.
	// Numbers stay as they are written: a float64 would take two big ones for one.
	var plain map[string]any
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber()
	if err := decoder.Decode(&plain); err != nil {
		return nil, fmt.Errorf("decoding the pod template: %w", err)
	}
	raw, err = json.Marshal(plain)
	if err != nil {
		return nil, fmt.Errorf("encoding the pod template: %w", err)
	}
	return raw, nil
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
	return r, nil
}
