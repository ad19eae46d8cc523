// Package service keeps the three Services of a Canary: the apex that clients use, and one each for primary and canary. It
// generates what is missing with server-side apply, adopts what the user made, and gives it back. It is the only writer
// of Services: the router "kubernetes" moves traffic through it.
//
// An adopted Service keeps all that its author wrote. Its selector gets one more label, the role, and three annotations
// tell which role (siskin.dev/serving), what the selector was (siskin.dev/selector) and for which Canary
// (siskin.dev/canary). What its author writes of selector and ports for a revision that is not promoted is recorded
// (siskin.dev/ports, siskin.dev/left) until that is; until then the Service goes on leading to the pods that serve.
// They are written by a merge patch that fails when the Service changed since it was read, not by server-side apply: an
// apply would create a Service that was deleted meanwhile, and the selector, an atomic map, would go with Siskin's
// ownership.
package service

import (
	"context"
	"fmt"
	"slices"

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
	// Template is the target's pod template; its containers' ports count when portDiscovery is on and no view is given.
	Template corev1.PodTemplateSpec
	// Main is what the primary's pods need, Trial what the canary's do.
	Main, Trial Side
	// Lent tells that the canary's pods stand in for the primary's, which are being replaced.
	Lent bool
	// Also are ports beside those of the views, by which routes or clients still come.
	Also []int32
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
type Applier struct {
	c    client.Client
	live client.Reader
}

// New returns an Applier. Reads (Services, Canaries, workloads, metadata of Pods) come from c's cache; live reads from
// the API server what caches do not keep of a Service whose author wants something else than it serves now; nil: nobody
// does.
func New(c client.Client, live client.Reader) *Applier { return &Applier{c: c, live: live} }

// ServingRole is the role that the apex selects for a split: the primary, but for a router without weights, which moves
// traffic by that very selector. Engine and router both go by it, so they never fight.
func ServingRole(caps router.Capabilities, split router.Split) string {
	if !caps.Features.Can(router.FeatureWeights) && split.Canary == 100 {
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
	user, refusal, err := a.own(ctx, in, live, &res)
	if err != nil {
		return res, err
	}
	var author map[string]string
	if user != nil {
		author = withoutRole(original(user))
	}
	if in, err = in.complete(user); err != nil {
		return res, err
	}
	res.Ports, res.Port = in.Main.View.Ports, in.Main.View.Port
	if err := a.sides(ctx, in, user, author, &res); err != nil {
		return res, err
	}
	if user == nil {
		err = a.ensureApex(ctx, in, live, &res)
	} else {
		err = a.adopt(ctx, in, user, &res)
	}
	if err == nil {
		err = a.others(ctx, in, &res)
	}
	if err != nil {
		return res, err
	}
	return res, refusal
}

// complete returns in with the views that are not given.
func (in In) complete(user *corev1.Service) (In, error) {
	if len(in.Main.View.Ports) == 0 {
		if user != nil {
			user = Author(user)
		}
		var err error
		if in.Main.View, err = Wanted(in.Canary.Spec.Service, user, in.Template); err != nil {
			return in, err
		}
	}
	if len(in.Trial.View.Ports) == 0 {
		in.Trial.View = in.Main.View
	}
	return in, nil
}

// ports are what a Service serves that leads to a side.
func (in In) ports(side Side) []corev1.ServicePort {
	v := side.View
	for _, port := range in.Also {
		v = v.beside(port)
	}
	return v.Ports
}

// sides writes the Services of primary and canary.
func (a *Applier) sides(ctx context.Context, in In, user *corev1.Service, author map[string]string, res *Result) error {
	svc := in.Canary.Spec.Service
	for _, of := range []struct {
		service, role string
		extra         *siskinv1.Metadata
	}{{in.PrimaryName, siskinv1.RolePrimary, svc.Primary}, {in.CanaryName, siskinv1.RoleCanary, svc.Canary}} {
		live, err := a.get(ctx, in.Canary.Namespace, of.service)
		if err != nil {
			return err
		}
		role, side := in.lead(of.role)
		own := in.Own.Primary
		if role == siskinv1.RoleCanary {
			own = in.Own.Canary
		}
		ports := in.ports(side)
		if live != nil {
			ports = keepNames(ports, live.Spec.Ports)
		}
		want := generate(in.Canary, of.service, of.extra, in.pods(own, in.base(side.Labels, author, live)), role, ports, user)
		if err := a.ensure(ctx, in.Canary, want, want.Spec.Selector, res); err != nil {
			return err
		}
	}
	return nil
}

// own returns the apex if it is the user's own, nil if Siskin generates it. What forbids to adopt it stops everything
// at first; once it is adopted, it is only told (refusal), because a rollback must not wait for an edit. Without a
// result nothing is written.
func (a *Applier) own(ctx context.Context, in In, live *corev1.Service, res *Result) (user *corev1.Service, refusal, err error) {
	if live == nil {
		return nil, nil, nil
	}
	switch owned.By(live, in.Canary) {
	case owned.Ours:
		if res == nil || Claimant(live) == "" {
			return nil, nil, nil
		}
		if err := a.yield(ctx, in, live, res); err != nil {
			return nil, nil, err
		}
	case owned.Leftover:
		return nil, nil, leftover(live)
	case owned.Foreign:
	}
	err = adoptable(live)
	if err == nil {
		err = candidate(live).Taken(ctx, a.c, in.Canary)
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
	role, side := in.lead(in.Serving)
	want := generate(in.Canary, in.Apex, in.Canary.Spec.Service.Apex, selector, role, in.ports(side), nil)
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

// adopt has the user's apex lead to the role that serves, if one does, and notes it.
func (a *Applier) adopt(ctx context.Context, in In, svc *corev1.Service, res *Result) error {
	if in.Serving == "" {
		return nil
	}
	role, side := in.lead(in.Serving)
	// Both sides count, so that the router moves nothing but the role.
	base := in.base(slices.Concat(in.Main.Labels, in.Trial.Labels), withoutRole(original(svc)), nil)
	return a.take(ctx, in, svc, role, base, in.ports(side), res)
}

// take marks the user's Service and notes it. ports: see mark.
func (a *Applier) take(ctx context.Context, in In, svc *corev1.Service, role string, base map[string]string, ports []corev1.ServicePort,
	res *Result,
) error {
	fresh := !marked(svc)
	changed, err := a.mark(ctx, in.Canary, svc, role, base, ports)
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
