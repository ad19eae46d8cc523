package target

import (
	"maps"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
)

// CloneName is the name of the workload of a role.
func CloneName(target, role string) string { return target + "-" + role }

// Clone makes the workload of a role that runs the revision named name. Its pods keep all labels of the template and get the
// role; terms that spread or separate the app's own pods get it too, so that canary pods do not push primary pods away.
func Clone(canary *siskinv1.Canary, role, name string, r Revision, replicas int32) *appsv1.Deployment {
	template := *r.Template.DeepCopy()
	own := maps.Clone(template.Labels)
	template.Labels = withRole(template.Labels, role)
	separate(&template.Spec, own, role)

	meta := maps.Clone(r.Workload.Labels)
	if meta == nil {
		meta = map[string]string{}
	}
	meta[siskinv1.CanaryLabel], meta[siskinv1.RoleLabel] = canary.Name, role
	d := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{
			Name: CloneName(canary.Spec.TargetRef.Name, role), Namespace: canary.Namespace,
			Labels:          meta,
			Annotations:     map[string]string{siskinv1.RevisionAnnotation: name},
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(canary, siskinv1.GroupVersion.WithKind("Canary"))},
		},
		Spec: appsv1.DeploymentSpec{
			Replicas: new(replicas), Selector: selector(r.Workload.Selector, role), Template: template,
			MinReadySeconds: r.Workload.MinReadySeconds, ProgressDeadlineSeconds: r.Workload.ProgressDeadlineSeconds,
			RevisionHistoryLimit: r.Workload.RevisionHistoryLimit,
		},
	}
	if r.Workload.Strategy != nil {
		d.Spec.Strategy = *r.Workload.Strategy
	}
	return d
}

// Runs tells whether live still has all that want sets in its pod template, whatever defaults and other writers added.
func Runs(live, want *appsv1.Deployment) bool {
	return equality.Semantic.DeepDerivative(want.Spec.Template, live.Spec.Template)
}

func selector(s *metav1.LabelSelector, role string) *metav1.LabelSelector {
	out := s.DeepCopy()
	if out == nil {
		out = &metav1.LabelSelector{}
	}
	out.MatchLabels = withRole(out.MatchLabels, role)
	return out
}

func withRole(labels map[string]string, role string) map[string]string {
	out := maps.Clone(labels)
	if out == nil {
		out = map[string]string{}
	}
	out[siskinv1.RoleLabel] = role
	return out
}

// separate adds the role to the (anti-)affinity and topology-spread terms that select the template's own labels.
func separate(spec *corev1.PodSpec, own map[string]string, role string) {
	for i := range spec.TopologySpreadConstraints {
		narrow(spec.TopologySpreadConstraints[i].LabelSelector, own, role)
	}
	if spec.Affinity == nil {
		return
	}
	if a := spec.Affinity.PodAffinity; a != nil {
		narrowTerms(a.RequiredDuringSchedulingIgnoredDuringExecution, a.PreferredDuringSchedulingIgnoredDuringExecution, own, role)
	}
	if a := spec.Affinity.PodAntiAffinity; a != nil {
		narrowTerms(a.RequiredDuringSchedulingIgnoredDuringExecution, a.PreferredDuringSchedulingIgnoredDuringExecution, own, role)
	}
}

func narrowTerms(required []corev1.PodAffinityTerm, preferred []corev1.WeightedPodAffinityTerm, own map[string]string, role string) {
	for i := range required {
		narrow(required[i].LabelSelector, own, role)
	}
	for i := range preferred {
		narrow(preferred[i].PodAffinityTerm.LabelSelector, own, role)
	}
}

// narrow adds the role to a selector that selects pods with the labels own; an empty selector selects all and stays.
func narrow(s *metav1.LabelSelector, own map[string]string, role string) {
	if s == nil || (len(s.MatchLabels) == 0 && len(s.MatchExpressions) == 0) {
		return
	}
	if sel, err := metav1.LabelSelectorAsSelector(s); err != nil || !sel.Matches(labels.Set(own)) {
		return
	}
	s.MatchLabels = withRole(s.MatchLabels, role)
}
