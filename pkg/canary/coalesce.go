package canary

import (
	"context"
	"time"

	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// gather is how long the events of one Canary are gathered: what a write sets off (its echo, the answer of another controller,
// the answers of several metrics) mostly comes within it, and is looked at once.
const gather = 20 * time.Millisecond

type queue = workqueue.TypedRateLimitingInterface[reconcile.Request]

// patient is a queue that gathers. The work queue keeps a request that waits only once.
type patient struct{ queue }

func (p patient) Add(r reconcile.Request) { p.AddAfter(r, gather) }

// gathered makes a handler gather the events of one Canary.
func gathered(h handler.EventHandler) handler.EventHandler {
	return handler.Funcs{
		CreateFunc: func(ctx context.Context, e event.TypedCreateEvent[client.Object], q queue) {
			h.Create(ctx, e, patient{q})
		},
		UpdateFunc: func(ctx context.Context, e event.TypedUpdateEvent[client.Object], q queue) {
			h.Update(ctx, e, patient{q})
		},
		DeleteFunc: func(ctx context.Context, e event.TypedDeleteEvent[client.Object], q queue) {
			h.Delete(ctx, e, patient{q})
		},
		GenericFunc: func(ctx context.Context, e event.TypedGenericEvent[client.Object], q queue) {
			h.Generic(ctx, e, patient{q})
		},
	}
}
