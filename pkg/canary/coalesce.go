package canary

import (
	"context"
	"time"

	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/canary/observe"
)

// gather is how long the events of one Canary are gathered: what a write sets off (its echo, the answer of another controller,
// the answers of several metrics) mostly comes within it, and is looked at once.
const gather = 20 * time.Millisecond

// gatherAnswers is how long an answer waits for those of other questions that were asked with it: the servers that are asked
// mostly answer at about the same time. Then all are looked at once.
const gatherAnswers = 100 * time.Millisecond

// gatherCounts is how long a change of what is counted waits for the next one: pods that come up together are told one by one, by
// their workload and by their endpoints, and a decision needs the last of these. It adds up to as much to each wait for pods.
const gatherCounts = 100 * time.Millisecond

// The priorities of the queue. When more is to be done than the API server takes, what takes users back from a version goes first, and what a
// person asked for; then steps, which must end in time whether the version is good or bad; then what ends a rollout: either version may
// serve meanwhile. What is coming up goes before what has not begun, which can wait: many rollouts that begin at once then get to their first
// step one after the other, as fast as the API server can take all of a rollout, and not all together, with steps that end together.
const (
	calm    = 0
	rising  = 10
	closing = 20
	exposed = 30
	urgent  = 40
	// due is added when a clock has run out or an answer is there: something is decided then, while most events only confirm what is known.
	due = 5
)

// priority of a Canary in the queue.
func priority(c *siskinv1.Canary) *int {
	if observe.Asked(c) {
		return new(urgent)
	}
	st := &c.Status
	switch st.Phase {
	case siskinv1.PhaseInitializing, siskinv1.PhaseInitialized, siskinv1.PhaseWaiting, siskinv1.PhaseSucceeded, siskinv1.PhaseFailed,
		siskinv1.PhaseCancelled, "":
		return new(calm)
	case siskinv1.PhaseProgressing:
		if st.Step == nil || st.Step.Index == 0 { // its pods are not even up
			return new(rising)
		}
	case siskinv1.PhaseWaitingPromotion, siskinv1.PhasePromoting, siskinv1.PhaseFinalising, siskinv1.PhaseTerminating:
		return new(closing)
	case siskinv1.PhaseRollingBack:
		return new(urgent)
	case siskinv1.PhaseFrozen, siskinv1.PhaseBaking: // the one serves what failed, the other may have to
	}
	return new(exposed)
}

type queue = workqueue.TypedRateLimitingInterface[reconcile.Request]

// patient is a queue that gathers. The work queue keeps a request that waits only once, with the highest of its priorities.
type patient struct {
	queue

	priority func(reconcile.Request) *int
	// wait is how long a request is gathered; nil: for gather.
	wait func(reconcile.Request) time.Duration
}

func (p patient) Add(r reconcile.Request) {
	after := gather
	if p.wait != nil {
		after = p.wait(r)
	}
	if q, ok := p.queue.(priorityqueue.PriorityQueue[reconcile.Request]); ok {
		q.AddWithOpts(priorityqueue.AddOpts{After: after, Priority: p.priority(r)}, r)
		return
	}
	p.AddAfter(r, after)
}

// gathered makes a handler gather the events of one Canary.
func (r *Reconciler) gathered(h handler.EventHandler) handler.EventHandler {
	return r.ranked(h, 0, nil)
}

// answered is for answers: they are gathered while others are open, and go before events.
func (r *Reconciler) answered(h handler.EventHandler) handler.EventHandler {
	return r.ranked(h, due, func(who reconcile.Request) time.Duration {
		if r.Asker != nil && r.Asker.Pool.Open(who.NamespacedName) {
			return gatherAnswers
		}
		return gather
	})
}

// counting is for what is counted of pods.
func (r *Reconciler) counting(h handler.EventHandler) handler.EventHandler {
	return r.ranked(h, 0, func(reconcile.Request) time.Duration { return gatherCounts })
}

// ranked is gathered, with something added to the Canary's priority, and for as long as wait says.
func (r *Reconciler) ranked(h handler.EventHandler, more int, wait func(reconcile.Request) time.Duration) handler.EventHandler {
	wrap := func(ctx context.Context, q queue) queue {
		return patient{queue: q, priority: func(who reconcile.Request) *int { return new(*r.priorityOf(ctx, who) + more) }, wait: wait}
	}
	return handler.Funcs{
		CreateFunc: func(ctx context.Context, e event.TypedCreateEvent[client.Object], q queue) {
			h.Create(ctx, e, wrap(ctx, q))
		},
		UpdateFunc: func(ctx context.Context, e event.TypedUpdateEvent[client.Object], q queue) {
			h.Update(ctx, e, wrap(ctx, q))
		},
		DeleteFunc: func(ctx context.Context, e event.TypedDeleteEvent[client.Object], q queue) {
			h.Delete(ctx, e, wrap(ctx, q))
		},
		GenericFunc: func(ctx context.Context, e event.TypedGenericEvent[client.Object], q queue) {
			h.Generic(ctx, e, wrap(ctx, q))
		},
	}
}

// priorityOf a Canary as the cache has it.
func (r *Reconciler) priorityOf(ctx context.Context, who reconcile.Request) *int {
	var c siskinv1.Canary
	if err := r.Client.Get(ctx, who.NamespacedName, &c, client.UnsafeDisableDeepCopy, client.DisableReadYourWritesConsistency); err != nil {
		return new(calm) // it is gone
	}
	return priority(&c)
}
