package observe

import (
	"context"
	"maps"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/canary/target"
	"github.com/siskin-dev/siskin/pkg/router/service"
)

// Left reads what a Canary that is gone has left of its target, clones, snapshots and autoscalers. c has what is still
// known of it: its name, its target, its uid, the promoted revision, and the time of its deletion.
func (o *Observer) Left(ctx context.Context, c *siskinv1.Canary) (*World, error) {
	apex, name := service.ApexName(c), c.Spec.TargetRef.Name
	w := &World{
		Canary: c, Apex: apex, PrimaryService: apex + "-primary", CanaryService: apex + "-canary",
		Snapshots: map[string]*appsv1.ControllerRevision{}, Live: map[string]*corev1.Service{}, include: o.Include,
		Intent: intent(c), Routers: slices.Collect(maps.Values(o.Routers)),
	}
	var err error
	if w.Target, err = o.object(ctx, c, name); err != nil {
		return nil, err
	}
	if w.Primary, err = o.object(ctx, c, target.CloneName(name, siskinv1.RolePrimary)); err != nil {
		return nil, err
	}
	if err := o.snapshots(ctx, w); err != nil {
		return nil, err
	}
	if err := o.revision(ctx, w); err != nil {
		return nil, err
	}
	o.promoted(ctx, w)
	return w, o.scalers(ctx, w)
}
