package observe

import (
	"context"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/siskin-dev/siskin/pkg/canary/plan"
	"github.com/siskin-dev/siskin/pkg/canary/target"
)

const (
	// podsAfter is how long a workload may be short of ready pods before its pods are looked at, podsAgain how soon after
	// that once more.
	podsAfter, podsAgain = 10 * time.Second, 30 * time.Second
	// podsLimit bounds how many pods one look reads, podsTimeout how long it takes.
	podsLimit, podsTimeout = 50, 2 * time.Second
)

// Ailing finds out why pods are not ready. No cache holds pods: they are read from the API server, by the labels of one
// workload and no more than podsLimit, when it has lacked ready pods for podsAfter, or when its controller has given
// up. What was found is remembered. The zero value never looks.
type Ailing struct {
	// Live reads from the API server; nil: pods are not looked at.
	Live client.Reader
	// Clock tells when; nil: the real time.
	Clock clock.PassiveClock

	mu  sync.Mutex
	all map[types.UID]ailment
}

// ailment is what is known of a workload that lacks ready pods.
type ailment struct {
	generation int64
	since      time.Time // it was seen first
	at         time.Time // its pods were looked at; zero: never
	why        string
}

// troubles finds out why the pods of what somebody waits for are not ready.
func (o *Observer) troubles(ctx context.Context, w *World) {
	st := w.Canary.Status
	objs := []client.Object{w.Primary, w.Trial}
	switch {
	case w.Canary.DeletionTimestamp != nil:
		objs = []client.Object{w.Target}
	case w.Canary.Spec.Suspend, plan.Phase(st.Phase).Idle() && (st.Split == nil || st.Split.Primary == 100):
		return
	}
	for _, obj := range objs {
		if obj == nil {
			continue
		}
		why, again := o.Ailing.look(ctx, obj)
		if why != "" {
			if w.Troubles == nil {
				w.Troubles = map[string]string{}
			}
			w.Troubles[obj.GetName()] = why
		}
		if again > 0 && (w.PodsAgain == 0 || again < w.PodsAgain) {
			w.PodsAgain = again
		}
	}
}

// message tells why a workload is not ready: what its pods say, else what its controller does.
func (w *World) message(obj client.Object, controller string) string {
	if why := w.Troubles[obj.GetName()]; why != "" {
		return "(" + why + ")"
	}
	return controller
}

// look tells why the pods of obj are not ready, as far as that is known, and when to look again; 0: they are ready, or
// nobody needs to.
func (a *Ailing) look(ctx context.Context, obj client.Object) (string, time.Duration) {
	if a == nil || a.Live == nil || obj == nil || target.Selector(obj) == nil {
		return "", 0
	}
	st := target.Observe(obj)
	if !short(st) || obj.GetDeletionTimestamp() != nil {
		a.forget(obj.GetUID())
		return "", 0
	}
	now, is := a.now(), a.known(obj)
	due := is.since.Add(podsAfter)
	if !is.at.IsZero() {
		due = is.at.Add(podsAgain)
	}
	if now.Before(due) && (!st.Stuck || !is.at.IsZero()) {
		return is.why, due.Sub(now)
	}
	is.at = now
	pods, err := a.pods(ctx, obj)
	if err != nil { // it is only told: nothing waits for it
		log.FromContext(ctx).V(1).Info("looking at pods", "workload", obj.GetName(), "error", err.Error())
	} else {
		is.why = target.Trouble(obj, pods)
	}
	a.note(obj.GetUID(), is)
	return is.why, podsAgain
}

// short tells whether a workload lacks ready pods of its present template.
func short(st target.State) bool {
	need := max(st.Replicas, st.Desired)
	return st.Replicas > 0 && (st.Available < need || st.Updated < need || st.Pods > st.Updated)
}

func (a *Ailing) pods(ctx context.Context, obj client.Object) ([]corev1.Pod, error) {
	selector, err := metav1.LabelSelectorAsSelector(target.Selector(obj))
	if err != nil {
		return nil, fmt.Errorf("reading the selector: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, podsTimeout)
	defer cancel()
	var list corev1.PodList
	err = a.Live.List(ctx, &list, client.InNamespace(obj.GetNamespace()), client.MatchingLabelsSelector{Selector: selector},
		client.Limit(podsLimit), client.DisableReadYourWritesConsistency)
	if err != nil {
		return nil, fmt.Errorf("listing pods: %w", err)
	}
	return list.Items, nil
}

// known returns what is known of obj; what was seen of an earlier generation was about other pods.
func (a *Ailing) known(obj client.Object) ailment {
	a.mu.Lock()
	defer a.mu.Unlock()
	is, ok := a.all[obj.GetUID()]
	if !ok || is.generation != obj.GetGeneration() {
		is = ailment{generation: obj.GetGeneration(), since: a.now()}
		if a.all == nil || len(a.all) >= memoLimit {
			a.all = map[types.UID]ailment{}
		}
		a.all[obj.GetUID()] = is
	}
	return is
}

func (a *Ailing) note(uid types.UID, is ailment) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.all[uid] = is
}

func (a *Ailing) forget(uid types.UID) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.all, uid)
}

func (a *Ailing) now() time.Time {
	if a.Clock == nil {
		return clock.RealClock{}.Now()
	}
	return a.Clock.Now()
}
