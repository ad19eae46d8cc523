package service

import (
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/controller-runtime/pkg/client"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/router/internal/owned"
)

// others adopts every other Service that selects the target's pods, for the primary: else it would feed the canary behind the
// router's back. What it no longer should hold, it gives back. Before the primary serves it does nothing.
func (a *Applier) others(ctx context.Context, in In, res *Result) error {
	if in.Serving == "" {
		return nil
	}
	services, near, err := a.list(ctx, in)
	if err != nil {
		return err
	}
	for _, svc := range services {
		if err := a.other(ctx, in, svc, near, res); err != nil {
			return err
		}
	}
	return nil
}

// other decides about one Service.
func (a *Applier) other(ctx context.Context, in In, svc *corev1.Service, near neighbours, res *Result) error {
	mine := marked(svc) && heldBy(svc) == in.Canary.Name
	off := near.apexes[svc.Name] || optedOut(svc)
	switch {
	case mine && off:
		return a.giveBack(ctx, svc, res)
	case !mine && (off || near.names[heldBy(svc)] || !feeds(svc, in.PodLabels)):
		return nil
	}
	stranger, err := a.stranger(ctx, in, svc)
	if err != nil {
		return err
	}
	if stranger == "" {
		role, side := in.lead(siskinv1.RolePrimary)
		ports := in.leading(wishOf(svc).ports, side)
		return a.take(ctx, in, svc, role, in.base(side.Labels, withoutRole(original(svc)), nil), ports, res)
	}
	res.Shared = append(res.Shared, svc.Name)
	if mine {
		return a.giveBack(ctx, svc, res)
	}
	return nil
}

func (a *Applier) giveBack(ctx context.Context, svc *corev1.Service, res *Result) error {
	changed, err := a.restore(ctx, svc, In{})
	if changed {
		res.Restored = append(res.Restored, svc.Name)
		res.Changed = append(res.Changed, svc.Name)
	}
	return err
}

// neighbours are the other Canaries of the namespace.
type neighbours struct {
	// names of the Canaries.
	names map[string]bool
	// apexes are the names of their apex Services.
	apexes map[string]bool
}

// list returns the namespace's Services by name, and the other Canaries.
func (a *Applier) list(ctx context.Context, in In) ([]*corev1.Service, neighbours, error) {
	var all corev1.ServiceList
	// Most are generated: only those that are not are copied. The list waits for nobody's write; a Service that is older
	// in it than in the API server is written under its version, which is refused.
	err := a.c.List(ctx, &all, client.InNamespace(in.Canary.Namespace), client.UnsafeDisableDeepCopy, client.DisableReadYourWritesConsistency)
	if err != nil {
		return nil, neighbours{}, fmt.Errorf("listing Services: %w", err)
	}
	var services []*corev1.Service
	for i := range all.Items {
		svc := &all.Items[i]
		if !generatedByAny(svc) && !slices.Contains([]string{in.Apex, in.PrimaryName, in.CanaryName}, svc.Name) {
			services = append(services, svc.DeepCopy())
		}
	}
	var canaries siskinv1.CanaryList
	// Only their names matter, which never change: to wait until the cache has seen what was just written about others would make
	// each rollout wait for all.
	err = a.c.List(ctx, &canaries, client.InNamespace(in.Canary.Namespace), client.UnsafeDisableDeepCopy, client.DisableReadYourWritesConsistency)
	if err != nil {
		return nil, neighbours{}, fmt.Errorf("listing Canaries: %w", err)
	}
	near := neighbours{names: map[string]bool{}, apexes: map[string]bool{}}
	for i := range canaries.Items {
		if canary := &canaries.Items[i]; canary.Name != in.Canary.Name {
			near.names[canary.Name] = true
			near.apexes[ApexName(canary)] = true
		}
	}
	slices.SortFunc(services, func(x, y *corev1.Service) int { return strings.Compare(x.Name, y.Name) })
	return services, near, nil
}

// feeds tells whether a Service sends traffic to pods with these labels.
func feeds(svc *corev1.Service, podLabels map[string]string) bool {
	selector := original(svc)
	return len(selector) > 0 && svc.Spec.Type != corev1.ServiceTypeExternalName &&
		labels.SelectorFromSet(selector).Matches(labels.Set(podLabels))
}

func optedOut(svc *corev1.Service) bool {
	return svc.Annotations[siskinv1.AdoptAnnotation] == "disabled"
}

// generatedByAny tells whether a Canary, whichever, generated the Service.
func generatedByAny(svc *corev1.Service) bool {
	ref := metav1.GetControllerOf(svc)
	return svc.Labels[siskinv1.CanaryLabel] != "" || (ref != nil && owned.IsCanary(*ref))
}
