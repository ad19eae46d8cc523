package observe

import (
	"context"
	"fmt"
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/canary/plan"
	"github.com/siskin-dev/siskin/pkg/canary/target"
)

const (
	// podsAfter is how long a workload may be short of ready pods before its pods are looked at, podsAgain how soon after
	// that once more. Where waiting ends soon, the first look comes after half of that time.
	podsAfter, podsAgain = 10 * time.Second, 30 * time.Second
	// podsLimit bounds how many pods one look reads, podsTimeout how long it takes.
	podsLimit, podsTimeout = 50, 2 * time.Second
	// podsRoom is how soon a look is tried again for which there was no room.
	podsRoom = time.Second
)

// Ailing finds out why pods are not ready. No cache holds pods: they are read from the API server, by the labels of one
// workload and no more than podsLimit, when it has lacked ready pods for podsAfter, or when its controller has given
// up. No decision waits for that: it is done outside of the reconcile, and what was found is remembered. The zero value
// never looks.
type Ailing struct {
	// Live reads from the API server; nil: pods are not looked at.
	Live client.Reader
	// Run has a look made outside of the reconcile, within a time, and has the Canary looked at again when it has ended.
	// looks are told apart by key. It returns false if there is no room for it now. nil: pods are not looked at.
	Run func(who types.NamespacedName, key string, within time.Duration, look func(context.Context)) bool
	// Clock tells when; nil: the real time.
	Clock clock.PassiveClock

	mu  sync.Mutex
	all map[types.UID]ailment
}

// ailment is what is known of a workload that lacks ready pods.
type ailment struct {
	generation int64
	since      time.Time // it was seen first
	at         time.Time // its pods were looked at last, or a look began that goes on; zero: never
	underWay   bool
	why        string
}

// troubles finds out why the pods of what somebody waits for are not ready.
func (o *Observer) troubles(w *World) {
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
		why, again := o.Ailing.look(w.Canary, obj)
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

// look tells why the pods of obj are not ready, as far as that is known, and when to look again; 0: they are ready,
// nobody needs to, or the Canary is looked at again when a look that is under way has ended.
func (a *Ailing) look(c *siskinv1.Canary, obj client.Object) (string, time.Duration) {
	if a == nil || a.Live == nil || a.Run == nil || obj == nil || target.Selector(obj) == nil {
		return "", 0
	}
	st := target.Observe(obj)
	if !short(st) || obj.GetDeletionTimestamp() != nil {
		a.forget(obj.GetUID())
		return "", 0
	}
	now, is := a.now(), a.known(obj)
	due := is.since.Add(patience(c, obj))
	if !is.at.IsZero() {
		due = is.at.Add(podsAgain)
	}
	switch {
	case is.underWay && now.Before(is.at.Add(podsAgain)): // else it was lost
		return is.why, 0
	case now.Before(due) && (!st.Stuck || !is.at.IsZero()):
		return is.why, due.Sub(now)
	}
	before := is
	is.at, is.underWay = now, true
	a.note(obj.GetUID(), is) // before it runs, which may be at once
	key := fmt.Sprintf("%s/%d", obj.GetUID(), obj.GetGeneration())
	if !a.Run(client.ObjectKeyFromObject(c), key, podsTimeout, func(ctx context.Context) { a.find(ctx, obj) }) {
		a.note(obj.GetUID(), before)
		return is.why, podsRoom
	}
	return is.why, 0
}

// find looks at the pods of obj and notes what it has found.
func (a *Ailing) find(ctx context.Context, obj client.Object) {
	pods, err := a.pods(ctx, obj)
	if err != nil { // it is only told: nothing waits for it
		log.FromContext(ctx).V(1).Info("looking at pods", "workload", obj.GetName(), "error", err.Error())
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	is, ok := a.all[obj.GetUID()]
	if !ok || is.generation != obj.GetGeneration() {
		return
	}
	if is.underWay = false; err == nil {
		is.why = target.Trouble(obj, pods)
	}
	a.all[obj.GetUID()] = is
}

// patience is how long obj may be short of ready pods before they are looked at: less than podsAfter where the waiting
// ends soon, so that what ends it can say why.
func patience(c *siskinv1.Canary, obj client.Object) time.Duration {
	ends := []int32{ptr.Deref(c.Spec.ProgressDeadlineSeconds, 0)}
	if d, ok := obj.(*appsv1.Deployment); ok {
		ends = append(ends, ptr.Deref(d.Spec.ProgressDeadlineSeconds, 0))
	}
	out := podsAfter
	for _, seconds := range ends {
		if seconds > 0 {
			out = min(out, time.Duration(seconds)*time.Second/2)
		}
	}
	return out
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
