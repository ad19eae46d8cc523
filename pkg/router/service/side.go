package service

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
)

// Side is what the Services that lead to one side have to serve.
type Side struct {
	// View of the revision that the side runs; without ports it is what the spec and the author of the apex ask for.
	View View
	// Labels of the pod templates that the side runs, and of the one that it is about to run.
	Labels []map[string]string
	// Listens are the ports that those templates declare.
	Listens []Listens
}

// base is the selector, without the role, of a Service that leads to the pods with all of these labels, where it does
// not select by the label that only clones have. What its author wants comes first, if that selects them all: else it
// belongs to a revision that is not promoted yet, or no more. Then the Service stays as it is, if that selects them;
// the labels by which the target itself selects its pods always do.
func (in In) base(all []map[string]string, author map[string]string, live *corev1.Service) map[string]string {
	fits := func(selector map[string]string) bool {
		for _, l := range all {
			if !matches(selector, l) {
				return false
			}
		}
		return len(selector) > 0
	}
	switch {
	case author == nil:
		return in.Selector
	case fits(author) || len(in.Selector) == 0:
		return author
	}
	if live != nil && len(all) > 0 && fits(withoutRole(live.Spec.Selector)) {
		return withoutRole(live.Spec.Selector)
	}
	return in.Selector
}

// lead is whose pods a Service for a role leads to: while the primary's are being replaced by pods that one Service
// cannot serve beside them, the canary's stand in.
func (in In) lead(role string) (string, Side) {
	if role == siskinv1.RoleCanary || role == siskinv1.RolePrimary && in.Lent {
		return siskinv1.RoleCanary, in.Trial
	}
	return role, in.Main
}

func matches(selector, podLabels map[string]string) bool {
	return labels.SelectorFromSet(selector).Matches(labels.Set(podLabels))
}
