package target

import (
	"maps"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
)

// Over fits want, which is to be written over the clone live, to what cannot or must not change. A selector can never
// be changed, so that a clone from before siskin.dev/clone keeps its own. Its pods get the label when they are
// replaced anyway (restarts), and never by themselves: a label more restarts pods. A live that is nil changes
// nothing.
func Over(want, live client.Object, restarts bool) {
	if live == nil {
		return
	}
	is, have := workloadOf(want), workloadOf(live)
	if is == nil || have == nil {
		return
	}
	to, from := is.parts(), have.parts()
	if _, ok := matchLabels(*from.selector)[siskinv1.CloneLabel]; ok {
		return
	}
	(*to.selector).MatchLabels = without((*to.selector).MatchLabels, siskinv1.CloneLabel)
	if _, ok := from.template.Labels[siskinv1.CloneLabel]; !ok && !restarts {
		to.template.Labels = without(to.template.Labels, siskinv1.CloneLabel)
	}
}

// Labelled tells whether the pods of a clone are known by siskin.dev/clone: whether its template has the label, and
// whether no pod of an earlier template, which may lack it, is left.
func Labelled(clone client.Object, canary string) (template, pods bool) {
	w := workloadOf(clone)
	if w == nil {
		return false, false
	}
	p := w.parts()
	if matchLabels(*p.selector)[siskinv1.CloneLabel] == canary {
		return true, true
	}
	if p.template.Labels[siskinv1.CloneLabel] != canary {
		return false, false
	}
	st := w.state()
	return true, st.Observed >= clone.GetGeneration() && st.Updated >= st.Pods
}

// SelectorLabels are labels of the pods of r that select them as far as labels can: those that the selector names,
// with the values that the template has. A selector that names none (NotIn, DoesNotExist) gets all of the template's.
func (r Revision) SelectorLabels() map[string]string {
	s := r.Workload.Selector
	if s == nil {
		return nil
	}
	out := maps.Clone(s.MatchLabels)
	for _, e := range s.MatchExpressions {
		if e.Operator != metav1.LabelSelectorOpIn && e.Operator != metav1.LabelSelectorOpExists {
			continue
		}
		if value, ok := r.Template.Labels[e.Key]; ok {
			out = with(out, e.Key, value)
		}
	}
	if len(out) == 0 {
		return maps.Clone(r.Template.Labels)
	}
	return out
}

func matchLabels(s *metav1.LabelSelector) map[string]string {
	if s == nil {
		return nil
	}
	return s.MatchLabels
}

// podName is how long the part of a pod's name can be that tells who made it.
const podName = 58

// MadeBy tells whether an endpoint is a pod of a workload, as far as its name tells: one that names no pod may be.
func MadeBy(workload string, endpoint *corev1.ObjectReference) bool {
	prefix := workload + "-"
	return endpoint == nil || endpoint.Kind != "Pod" || strings.HasPrefix(endpoint.Name, prefix[:min(len(prefix), podName)])
}
