package service

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/siskin-dev/siskin/pkg/router/internal/owned"
)

// Release gives all Services back. It is called when the target's own pods can take all traffic again. Adopted Services get
// their selector back and lose every trace of Siskin. A generated apex selects the target's pods of any role from now on;
// with Keep it stays without an owner, else its owner reference takes it away after the finalizer is gone. The Services of
// primary and canary are deleted last. Release is idempotent; only Canary, Apex, PrimaryName and CanaryName are needed.
func (a *Applier) Release(ctx context.Context, in In) error {
	if err := a.ReleaseApex(ctx, in); err != nil {
		return err
	}
	var services corev1.ServiceList
	// The list waits for nobody's write; what this Canary wrote just now is read by name.
	err := a.c.List(ctx, &services, client.InNamespace(in.Canary.Namespace), client.UnsafeDisableDeepCopy, client.DisableReadYourWritesConsistency)
	if err != nil {
		return fmt.Errorf("listing Services: %w", err)
	}
	for i := range services.Items {
		if generatedByAny(&services.Items[i]) {
			continue
		}
		svc, err := a.get(ctx, in.Canary.Namespace, services.Items[i].Name)
		if err != nil {
			return err
		}
		if svc == nil || !marked(svc) || heldBy(svc) != in.Canary.Name {
			continue
		}
		if _, err := a.restore(ctx, svc, in); err != nil {
			return err
		}
	}
	for _, service := range []string{in.PrimaryName, in.CanaryName} {
		if err := a.remove(ctx, in, service); err != nil {
			return err
		}
	}
	return nil
}

// ReleaseApex gives the apex back and leaves the other Services as they are.
func (a *Applier) ReleaseApex(ctx context.Context, in In) error {
	svc, err := a.get(ctx, in.Canary.Namespace, in.Apex)
	if err != nil || svc == nil {
		return err
	}
	switch owned.By(svc, in.Canary) {
	case owned.Ours:
		_, err = a.patch(ctx, svc, func(s *corev1.Service) {
			s.Spec.Selector = in.targetsPods(s.Spec.Selector)
			if in.Keep {
				owned.Disown(s, in.Canary)
			}
		})
	case owned.Foreign:
		if marked(svc) && heldBy(svc) == in.Canary.Name {
			_, err = a.restore(ctx, svc, in)
		}
	case owned.Leftover:
	}
	return err
}

// remove deletes a generated Service, if it is this Canary's.
func (a *Applier) remove(ctx context.Context, in In, service string) error {
	svc, err := a.get(ctx, in.Canary.Namespace, service)
	if err != nil || svc == nil || owned.By(svc, in.Canary) != owned.Ours {
		return err
	}
	err = a.c.Delete(ctx, svc, client.Preconditions{UID: &svc.UID})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("deleting Service %s/%s: %w", svc.Namespace, svc.Name, err)
	}
	return nil
}
