package service

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"

	"github.com/siskin-dev/siskin/pkg/router"
	"github.com/siskin-dev/siskin/pkg/router/internal/owned"
)

// Check tells, before anything is made, what Apply would refuse: an apex that cannot be adopted, a port that is not
// there, a name that is taken. Errors: *router.InvalidError, or a read that failed.
func (a *Applier) Check(ctx context.Context, in In) error {
	live, err := a.get(ctx, in.Canary.Namespace, in.Apex)
	if err != nil {
		return err
	}
	user, _, err := a.own(ctx, in, live, nil)
	if err != nil {
		return err
	}
	ports, err := Ports(in.Canary.Spec.Service, user, in.Template)
	if err != nil {
		return err
	}
	if _, err = TrafficPort(in.Canary.Spec.Service, ports); err != nil {
		return err
	}
	for _, generated := range []string{in.PrimaryName, in.CanaryName} {
		live, err := a.get(ctx, in.Canary.Namespace, generated)
		if err != nil {
			return err
		}
		if live != nil && owned.By(live, in.Canary) == owned.Foreign {
			return taken(live)
		}
	}
	return nil
}

// taken refuses a name that somebody else's Service has.
func taken(svc *corev1.Service) error {
	return &router.InvalidError{Router: name, Field: "spec.service.name", Message: fmt.Sprintf(
		"Service %s exists and is not Siskin's: rename or delete it, or choose another spec.service.name", svc.Name)}
}
