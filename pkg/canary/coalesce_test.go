package canary

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/canary/canarytest"
	"github.com/siskin-dev/siskin/pkg/canary/plan"
)

func TestWhatUsersMaySeeGoesFirst(t *testing.T) {
	for name, tc := range map[string]struct {
		reason string
		phase  siskinv1.Phase
		step   int32
		asked  string
		want   int
	}{
		"new":          {"nothing has begun", "", 0, "", calm},
		"idle":         {"nothing goes on", siskinv1.PhaseSucceeded, 5, "", calm},
		"at the gate":  {"no user sees it", siskinv1.PhaseWaiting, 0, "", calm},
		"coming up":    {"its pods are not ready", siskinv1.PhaseProgressing, 0, "", rising},
		"judged":       {"a step must end in time, and a bad version too", siskinv1.PhaseProgressing, 1, "", exposed},
		"baking":       {"it may have to be taken back", siskinv1.PhaseBaking, 5, "", exposed},
		"rolling back": {"users suffer", siskinv1.PhaseRollingBack, 0, "", urgent},
		"promoted":     {"both versions serve", siskinv1.PhasePromoting, 5, "", closing},
		"going":        {"nobody is harmed", siskinv1.PhaseTerminating, 0, "", closing},
		"asked for":    {"a person waits", siskinv1.PhaseSucceeded, 5, "rollback@2", urgent},
		"answered":     {"a person has been answered", siskinv1.PhaseSucceeded, 5, "promote@1", calm},
	} {
		c := &siskinv1.Canary{Status: siskinv1.CanaryStatus{
			Phase: tc.phase, Step: &siskinv1.StepStatus{Index: tc.step}, Request: &siskinv1.RequestStatus{Value: "promote@1"},
		}}
		c.Annotations = map[string]string{siskinv1.RequestAnnotation: tc.asked}
		if got := *priority(c); got != tc.want {
			t.Errorf("%s: %s: %d", name, tc.reason, got)
		}
	}
}

// TestEventsAreGatheredAndOrdered : on the queue that the controller has, what users may see comes out before what came first.
func TestEventsAreGatheredAndOrdered(t *testing.T) { synctest.Test(t, gatheredAndOrdered) }

func gatheredAndOrdered(t *testing.T) {
	calmOne, urgentOne := newSharded(), newSharded()
	calmOne.Namespace, calmOne.Name, calmOne.Status.Phase = "shop", "calm", siskinv1.PhaseSucceeded
	urgentOne.Namespace, urgentOne.Name, urgentOne.Status.Phase = "shop", "urgent", siskinv1.PhaseRollingBack
	r := &Reconciler{Client: canarytest.NewClient(t, calmOne, urgentOne)}
	q := priorityqueue.New[reconcile.Request]("test")
	defer q.ShutDown()
	h := r.gathered(&handler.EnqueueRequestForObject{})
	began := time.Now()
	for range 3 {
		for _, c := range []client.Object{calmOne, urgentOne} {
			h.Generic(t.Context(), event.GenericEvent{Object: c}, q)
			h.Update(t.Context(), event.UpdateEvent{ObjectOld: c, ObjectNew: c}, q)
			h.Create(t.Context(), event.CreateEvent{Object: c}, q)
		}
	}
	h.Delete(t.Context(), event.DeleteEvent{Object: &siskinv1.Canary{}}, q) // of something that is gone
	<-time.After(2 * gather)                                                // of the bubble's time: both may come out
	first, p, _ := q.GetWithPriority()
	if first.Name != "urgent" || p != urgent {
		t.Errorf("%s came first, with priority %d", first.Name, p)
	}
	if time.Since(began) < gather {
		t.Error("it did not wait for company")
	}
	second, _, _ := q.GetWithPriority()
	third, _, _ := q.GetWithPriority()
	if names := []string{second.Name, third.Name}; names[0]+names[1] != "calm" || q.Len() != 0 {
		t.Errorf("then %v, and %d are left: each waits once", names, q.Len())
	}
}

// TestAnswersGoFirst : of two Canaries in a step, the one whose answers are there comes out before the one whose route was accepted.
func TestAnswersGoFirst(t *testing.T) { synctest.Test(t, answersFirst) }

func answersFirst(t *testing.T) {
	confirmed, answered := newSharded(), newSharded()
	for name, c := range map[string]*siskinv1.Canary{"confirmed": confirmed, "answered": answered} {
		c.Namespace, c.Name, c.Status.Phase, c.Status.Step = "shop", name, siskinv1.PhaseProgressing, &siskinv1.StepStatus{Index: 1}
	}
	r := &Reconciler{Client: canarytest.NewClient(t, confirmed, answered)}
	q := priorityqueue.New[reconcile.Request]("test")
	defer q.ShutDown()
	r.gathered(&handler.EnqueueRequestForObject{}).Generic(t.Context(), event.GenericEvent{Object: confirmed}, q)
	r.answered(&handler.EnqueueRequestForObject{}).Generic(t.Context(), event.GenericEvent{Object: answered}, q)
	<-time.After(2 * gather) // of the bubble's time
	if first, p, _ := q.GetWithPriority(); first.Name != "answered" || p != exposed+due {
		t.Errorf("%s came first, with priority %d", first.Name, p)
	}
}

// TestAnswersAreLookedAtTogether : the answers of a check are looked at once, if they come soon after each other; the last one waits for
// nobody, and none waits for long.
func TestAnswersAreLookedAtTogether(t *testing.T) {
	for name, tc := range map[string]struct{ second, looks time.Duration }{
		"at once": {0, gather}, "soon": {gather * 2, gather * 3}, "late": {time.Minute, gatherAnswers},
	} {
		t.Run(name, func(t *testing.T) { synctest.Test(t, func(t *testing.T) { lookedAtTogether(t, tc.second, tc.looks) }) })
	}
}

func lookedAtTogether(t *testing.T, second, looks time.Duration) {
	t.Helper()
	c := newSharded()
	c.Namespace, c.Name, c.Status.Phase, c.Status.Step = "shop", "web", siskinv1.PhaseProgressing, &siskinv1.StepStatus{Index: 1}
	q := priorityqueue.New[reconcile.Request]("test")
	defer q.ShutDown()
	r := &Reconciler{Client: canarytest.NewClient(t, c)}
	h := r.answered(&handler.EnqueueRequestForObject{})
	pool := NewPool(2, func(types.NamespacedName) { h.Generic(t.Context(), event.GenericEvent{Object: c}, q) })
	r.Asker = &Asker{Pool: pool}
	go func() { _ = pool.Start(t.Context()) }()
	began := time.Now()
	for key, after := range map[string]time.Duration{"first": 0, "second": second} {
		pool.Ask(client.ObjectKeyFromObject(c), key, time.Hour, func(ctx context.Context) plan.Answer {
			select {
			case <-ctx.Done(): // the test has ended
			case <-time.After(after):
			}
			return plan.Answer{}
		})
	}
	if q.GetWithPriority(); time.Since(began) != looks {
		t.Errorf("looked at after %s, not %s", time.Since(began), looks)
	}
}

// TestW10OneCanaryIsInOneHandAtATime : on the queue that the controller has, what changes while a worker looks at a Canary waits until
// it is done, and is not given to another worker. A peer runs two loops for one object (W10 in docs/flagger.md).
func TestW10OneCanaryIsInOneHandAtATime(t *testing.T) { synctest.Test(t, inOneHandAtATime) }

func inOneHandAtATime(t *testing.T) {
	c := newSharded()
	c.Namespace, c.Name, c.Status.Phase = "shop", "urgent", siskinv1.PhaseRollingBack
	r := &Reconciler{Client: canarytest.NewClient(t, c)}
	q := priorityqueue.New[reconcile.Request]("test")
	defer q.ShutDown()
	h := r.gathered(&handler.EnqueueRequestForObject{})
	h.Generic(t.Context(), event.GenericEvent{Object: c}, q)
	mine, _, _ := q.GetWithPriority()
	var second reconcile.Request
	got := make(chan struct{})
	go func() { // another worker
		defer close(got)
		second, _, _ = q.GetWithPriority()
		q.Done(second)
	}()
	h.Generic(t.Context(), event.GenericEvent{Object: c}, q)
	h.Update(t.Context(), event.UpdateEvent{ObjectOld: c, ObjectNew: c}, q)
	<-time.After(time.Minute)
	synctest.Wait()
	select {
	case <-got:
		t.Fatalf("two workers have %s at once", second.Name)
	default:
	}
	q.Done(mine)
	<-got
	if second != mine {
		t.Errorf("what changed meanwhile is lost: %s came", second)
	}
}
