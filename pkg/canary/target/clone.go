package target

import (
	"maps"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/controller-runtime/pkg/client"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
)

// CloneName is the name of the workload of a role.
func CloneName(target, role string) string { return target + "-" + role }

// Clone makes the object of a role that runs the revision named name, of the kind of the Canary's target. Its pods keep
// all labels of the template and get the role and a label that only this Canary's clones have; terms that spread or
// separate the app's own pods get it too, so that canary pods do not push primary pods away. What they read is the
// revision's copy of it.
func Clone(canary *siskinv1.Canary, role, name string, r Revision, replicas int32) (client.Object, error) {
	obj, err := New(canary.Spec.TargetRef.Kind)
	if err != nil {
		return nil, err
	}
	obj.SetName(CloneName(canary.Spec.TargetRef.Name, role))
	obj.SetNamespace(canary.Namespace)
	obj.SetLabels(with(with(copiedOf(r.Workload.Labels), siskinv1.CanaryLabel, canary.Name), siskinv1.RoleLabel, role))
	obj.SetAnnotations(with(copiedOf(r.Workload.Annotations), siskinv1.RevisionAnnotation, name))
	obj.SetOwnerReferences([]metav1.OwnerReference{*metav1.NewControllerRef(canary, siskinv1.GroupVersion.WithKind("Canary"))})
	if svc, ok := obj.(*corev1.Service); ok {
		cloneService(svc, r, replicas)
		return svc, nil
	}
	w := workloadOf(obj)
	p := w.parts()
	*p.template = *r.Template.DeepCopy()
	own := maps.Clone(p.template.Labels)
	p.template.Labels = with(with(p.template.Labels, siskinv1.RoleLabel, role), siskinv1.CloneLabel, canary.Name)
	separate(&p.template.Spec, own, role)
	r.Config.rewrite(&p.template.Spec)
	*p.selector = selector(r.Workload.Selector, role, canary.Name)
	*p.minReady, *p.history = r.Workload.MinReadySeconds, copied(r.Workload.RevisionHistoryLimit)
	w.give(r.Workload)
	resize(p, replicas)
	seal(obj, r.Workload)
	return obj, nil
}

// Runs tells whether live still has all that want sets of what makes a revision, whatever defaults and other writers added.
func Runs(live, want client.Object) bool {
	if svc, ok := want.(*corev1.Service); ok {
		have, is := live.(*corev1.Service)
		return is && serves(have.Spec, svc.Spec)
	}
	return equality.Semantic.DeepDerivative(*workloadOf(want).parts().template, *workloadOf(live).parts().template)
}

func selector(s *metav1.LabelSelector, role, canary string) *metav1.LabelSelector {
	out := s.DeepCopy()
	if out == nil {
		out = &metav1.LabelSelector{}
	}
	out.MatchLabels = with(with(out.MatchLabels, siskinv1.RoleLabel, role), siskinv1.CloneLabel, canary)
	return out
}

// with returns m and one more entry; m itself is not changed.
func with(m map[string]string, key, value string) map[string]string {
	out := maps.Clone(m)
	if out == nil {
		out = map[string]string{}
	}
	out[key] = value
	return out
}

// without returns m without an entry; m itself is not changed. Nothing is nil.
func without(m map[string]string, key string) map[string]string {
	if _, ok := m[key]; !ok {
		return m
	}
	out := maps.Clone(m)
	delete(out, key)
	if len(out) == 0 {
		return nil
	}
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
	s.MatchLabels = with(s.MatchLabels, siskinv1.RoleLabel, role)
}
