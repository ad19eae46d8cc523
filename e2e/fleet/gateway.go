package fleet

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// AcceptRoutes plays the gateway's controller until ctx ends: it accepts each generation of each route as soon as it sees it. say is
// told what went wrong; it goes on.
func AcceptRoutes(ctx context.Context, api client.WithWatch, say func(format string, args ...any)) {
	for ctx.Err() == nil {
		if err := acceptWatched(ctx, api); err != nil && ctx.Err() == nil {
			say("watching routes: %v", err)
			_ = Pause(ctx, time.Second)
		}
	}
}

func acceptWatched(ctx context.Context, api client.WithWatch) error {
	events, err := api.Watch(ctx, &gatewayv1.HTTPRouteList{})
	if err != nil {
		return fmt.Errorf("watching routes: %w", err)
	}
	defer events.Stop()
	var group errgroup.Group
	group.SetLimit(parallel)
	for ev := range events.ResultChan() {
		route, ok := ev.Object.(*gatewayv1.HTTPRoute)
		if !ok || (ev.Type != watch.Added && ev.Type != watch.Modified) || accepted(route) {
			continue
		}
		group.Go(func() error {
			before := route.DeepCopy()
			accept(route)
			if err := api.Status().Patch(ctx, route, client.MergeFrom(before)); client.IgnoreNotFound(err) != nil {
				return fmt.Errorf("accepting a route: %w", err)
			}
			return nil
		})
	}
	return group.Wait()
}

func accepted(route *gatewayv1.HTTPRoute) bool {
	if len(route.Status.Parents) == 0 {
		return false
	}
	c := meta.FindStatusCondition(route.Status.Parents[0].Conditions, string(gatewayv1.RouteConditionAccepted))
	return c != nil && c.ObservedGeneration == route.Generation
}

func accept(route *gatewayv1.HTTPRoute) {
	route.Status.Parents = nil
	for _, ref := range route.Spec.ParentRefs {
		p := gatewayv1.RouteParentStatus{ParentRef: ref, ControllerName: "traefik.io/gateway-controller"}
		for _, kind := range []gatewayv1.RouteConditionType{gatewayv1.RouteConditionAccepted, gatewayv1.RouteConditionResolvedRefs} {
			meta.SetStatusCondition(&p.Conditions, metav1.Condition{
				Type: string(kind), Status: metav1.ConditionTrue, Reason: string(kind), ObservedGeneration: route.Generation,
			})
		}
		route.Status.Parents = append(route.Status.Parents, p)
	}
}
