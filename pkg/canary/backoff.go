package canary

import (
	"time"

	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// soonest is the shortest pause after an effect that failed again, once the backoff is longer: a plan that wants to look at once gets no
// busy loop.
const soonest = 100 * time.Millisecond

// RateLimiter returns how long a Canary whose pass failed is left alone: base at first, and twice as long after each failure, up to most.
// If an effect failed, it is looked at again when the plan wants to, at the latest: an effect that keeps failing must not delay the checks
// and the hooks that take a version back.
func (r *Reconciler) RateLimiter(base, most time.Duration) workqueue.TypedRateLimiter[reconcile.Request] {
	return impatient{workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](base, most), r}
}

type impatient struct {
	workqueue.TypedRateLimiter[reconcile.Request]

	of *Reconciler
}

// When returns the next pause, and counts a failure.
func (l impatient) When(req reconcile.Request) time.Duration {
	pause := l.TypedRateLimiter.When(req)
	if v, ok := l.of.wakes.LoadAndDelete(req.NamespacedName); ok {
		if wake, isDuration := v.(time.Duration); isDuration {
			pause = min(pause, max(wake, soonest))
		}
	}
	return pause
}
