package service

import (
	"context"
	"maps"

	corev1 "k8s.io/api/core/v1"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
)

// Own tells which of the generated Services select their pods by siskin.dev/clone, which no other pods have. Those of
// clones that an earlier Siskin made do so only when all pods have the label.
type Own struct{ Primary, Canary, Apex bool }

// Owns tells whether a Service selects its pods by siskin.dev/clone.
func Owns(svc *corev1.Service) bool { return svc.Spec.Selector[siskinv1.CloneLabel] != "" }

// pods returns the selector of the clones' pods, without the role: by their own label, or as before.
func (in In) pods(own bool, before map[string]string) map[string]string {
	if !own {
		return before
	}
	return map[string]string{siskinv1.CloneLabel: in.Canary.Name}
}

// apexPods returns the selector of a generated apex, without the role. Before it serves it leads to the target's own
// pods; if their labels select others' pods too, it leads to the primary's, as soon as there are any.
func (a *Applier) apexPods(ctx context.Context, in In, live *corev1.Service) (map[string]string, error) {
	switch {
	case in.Serving != "":
		return in.pods(in.Own.Apex, in.Selector), nil
	case live != nil:
		return in.pods(Owns(live), in.Selector), nil
	}
	fresh := generate(in.Canary, in.Apex, nil, in.Selector, "", nil, nil)
	stranger, err := a.stranger(ctx, in, fresh)
	return in.pods(stranger != "" || len(in.Selector) == 0, in.Selector), err
}

// targetsPods returns the selector of a generated apex that is given back: it leads to the target's pods.
func (in In) targetsPods(selector map[string]string) map[string]string {
	out := withoutRole(selector)
	if _, own := out[siskinv1.CloneLabel]; own && len(in.Selector) > 0 {
		return maps.Clone(in.Selector)
	}
	return out
}
