// Package service keeps the three Services of a Canary: the apex that clients use, and one each for primary and canary. It
// generates what is missing with server-side apply, adopts what the user made, and gives it back. It is the only writer
// of Services: the router "kubernetes" moves traffic through it.
//
// An adopted Service keeps all that its author wrote. Its selector gets one more label, the role, and three annotations
// tell which role (siskin.dev/serving), what the selector was (siskin.dev/selector) and for which Canary (siskin.dev/canary).
// They are written by a merge patch that fails when the Service changed since it was read, not by server-side apply: an
// apply would create a Service that was deleted meanwhile, and the selector, an atomic map, would go with Siskin's ownership.
package service

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/router"
	"github.com/siskin-dev/siskin/pkg/router/internal/owned"
)

// name stands for this package in errors.
const name = "service"

// In is what the Services of one Canary depend on.
type In struct {
	// Canary that owns what is generated.
	Canary *siskinv1.Canary
	// Apex, PrimaryName and CanaryName are the names of the Services.
	Apex, PrimaryName, CanaryName string
	// Selector are the labels that the target's spec.selector names.
	Selector map[string]string
	// Own tells which of the generated Services select their pods by siskin.dev/clone.
	Own Own
	// PodLabels are the labels of the target's pod template: a Service that selects them feeds the target.
	PodLabels map[string]string
	// Template is the target's pod template; its containers' ports count when portDiscovery is on.
	Template corev1.PodTemplateSpec
	// Serving is the role that the apex selects. "" leaves its selector alone, and other Services too: before the first
	// primary is ready the target's own pods serve.
	Serving string
	// Keep tells Release that the target serves on, so that a generated apex outlives the Canary.
	Keep bool
}

// Result is what Apply did and found.
type Result struct {
	// Adopted are the user's Services that were adopted just now, the apex among them.
	Adopted []string
	// Shared are Services that select the target's pods and pods of other workloads. They are left alone, since with a role
	// they would lose those; they send a part of their traffic to the canary.
	Shared []string
	// Restored are Services that were given back just now: opted out, or shared by now.
	Restored []string
	// Changed are all Services that were written.
	Changed []string
	// Ports are the ports that primary and canary serve.
	Ports []corev1.ServicePort
	// Port is the one whose traffic is split.
	Port int32
}

// Applier reads and writes the Services.
type Applier struct{ c client.Client }

// New returns an Applier. Reads (Services, Canaries, workloads, metadata of Pods) come from c's cache.
func New(c client.Client) *Applier { return &Applier{c: c} }

// ServingRole is the role that the apex selects for a split: the primary, but for a router without weights, which moves
// traffic by that very selector. Engine and router both go by it, so they never fight.
func ServingRole(caps router.Capabilities, split router.Split) string {
	if !caps.Weighted && split.Canary == 100 {
		return siskinv1.RoleCanary
	}
	return siskinv1.RolePrimary
}

// ApexName is the name of the apex Service of a Canary.
func ApexName(canary *siskinv1.Canary) string {
	if canary.Spec.Service.Name != "" {
		return canary.Spec.Service.Name
	}
	return canary.Spec.TargetRef.Name
}

// Apply makes all Services say what in asks for. It writes only what differs. Primary and canary come first, since routes need
// them; the apex and other Services follow. An error stops it; what was done is in Result.
func (a *Applier) Apply(ctx context.Context, in In) (Result, error) {
	var res Result
	live, err := a.get(ctx, in.Canary.Namespace, in.Apex)
	if err != nil {
		return res, err
	}
	user, refusal, err := a.own(ctx, in, live)
	if err != nil {
		return res, err
	}
	res.Ports, err = Ports(in.Canary.Spec.Service, user, in.Template)
	if err != nil {
		return res, err
	}
	res.Port, err = TrafficPort(in.Canary.Spec.Service, res.Ports)
	if err != nil {
		return res, err
	}
	base := in.Selector
	if user != nil {
		base = withoutRole(original(user))
	}
	svc := in.Canary.Spec.Service
	for _, want := range []*corev1.Service{
		generate(in.Canary, in.PrimaryName, svc.Primary, in.pods(in.Own.Primary, base), siskinv1.RolePrimary, res.Ports, user),
		generate(in.Canary, in.CanaryName, svc.Canary, in.pods(in.Own.Canary, base), siskinv1.RoleCanary, res.Ports, user),
	} {
		if err := a.ensure(ctx, in.Canary, want, want.Spec.Selector, &res); err != nil {
			return res, err
		}
	}
	if user == nil {
		err = a.ensureApex(ctx, in, live, &res)
	} else {
		err = a.adopt(ctx, in, user, in.Serving, &res)
	}
	if err == nil {
		err = a.others(ctx, in, &res)
	}
	if err != nil {
		return res, err
	}
	return res, refusal
}

// own returns the apex if it is the user's own, nil if Siskin generates it. What forbids to adopt it stops everything at
// first; once it is adopted, it is only told (refusal), because a rollback must not wait for an edit.
func (a *Applier) own(ctx context.Context, in In, live *corev1.Service) (user *corev1.Service, refusal, err error) {
	if live == nil {
		return nil, nil, nil
	}
	switch owned.By(live, in.Canary) {
	case owned.Ours:
		return nil, nil, nil
	case owned.Leftover:
		return nil, nil, leftover(live)
	case owned.Foreign:
	}
	err = adoptable(live)
	if err == nil {
		err = a.notHeld(ctx, in.Canary, live)
	}
	if err == nil {
		err = a.notShared(ctx, in, live)
	}
	if err != nil && marked(live) && heldBy(live) == in.Canary.Name && len(live.Spec.Selector) > 0 {
		return live, err, nil
	}
	if err != nil {
		return nil, nil, err
	}
	return live, nil, nil
}

// ensureApex writes the generated apex. Its role is not part of the digest: the router moves it.
func (a *Applier) ensureApex(ctx context.Context, in In, live *corev1.Service, res *Result) error {
	selector, err := a.apexPods(ctx, in, live)
	if err != nil {
		return err
	}
	want := generate(in.Canary, in.Apex, in.Canary.Spec.Service.Apex, selector, in.Serving, res.Ports, nil)
	if in.Serving == "" && live != nil {
		// The whole selector is sent, as it is: an apply without it would delete it.
		want.Spec.Selector = live.Spec.Selector
	}
	return a.ensure(ctx, in.Canary, want, selector, res)
}

// ensure writes want if the live object differs from it. selector is what of the selector counts for the digest.
func (a *Applier) ensure(ctx context.Context, canary *siskinv1.Canary, want *corev1.Service, selector map[string]string, res *Result) error {
	content := want.DeepCopy()
	content.Spec.Selector = selector
	if err := owned.Seal(want, content); err != nil {
		return err
	}
	live, err := a.get(ctx, want.Namespace, want.Name)
	if err != nil {
		return err
	}
	if live != nil {
		switch owned.By(live, canary) {
		case owned.Ours:
		case owned.Leftover:
			return leftover(live)
		case owned.Foreign:
			return taken(live)
		}
		if covers(live, want) {
			return nil
		}
	}
	if err := owned.Write(ctx, a.c, want, &corev1.Service{}); err != nil {
		return err
	}
	res.Changed = append(res.Changed, want.Name)
	return nil
}

// get returns a Service, or nil if there is none.
func (a *Applier) get(ctx context.Context, namespace, service string) (*corev1.Service, error) {
	var svc corev1.Service
	err := a.c.Get(ctx, client.ObjectKey{Namespace: namespace, Name: service}, &svc)
	switch {
	case apierrors.IsNotFound(err):
		return nil, nil //nolint:nilnil // absence is an answer here, not an error
	case err != nil:
		return nil, fmt.Errorf("reading Service %s/%s: %w", namespace, service, err)
	}
	return &svc, nil
}

// adopt marks the user's Service for a role, if that is not "", and notes it.
func (a *Applier) adopt(ctx context.Context, in In, svc *corev1.Service, role string, res *Result) error {
	if role == "" {
		return nil
	}
	fresh := !marked(svc)
	changed, err := a.mark(ctx, in.Canary, svc, role)
	if err != nil {
		return err
	}
	if changed {
		res.Changed = append(res.Changed, svc.Name)
	}
	if changed && fresh {
		res.Adopted = append(res.Adopted, svc.Name)
	}
	return nil
}

func leftover(svc *corev1.Service) error {
	return fmt.Errorf("waiting for Service %s of an earlier Canary to be collected: %w", svc.Name, router.ErrNotFound)
}
