package observe_test

import (
	"context"
	"errors"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	testingclock "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/canary/observe"
)

// counted counts lists of pods, and how much they may bring.
type counted struct {
	client.Reader

	lists int
	limit int64
	fails bool
}

func (c *counted) List(ctx context.Context, list client.ObjectList, opts ...client.ListOption) error {
	var o client.ListOptions
	o.ApplyOptions(opts)
	c.lists, c.limit = c.lists+1, o.Limit
	if c.fails {
		return errors.New("the API server is busy")
	}
	o.Limit = 0 // the fake refuses it
	return c.Reader.List(ctx, list, &o)
}

func TestPodsAreLookedAtWhenTheyAreMissed(t *testing.T) {
	short := clone(siskinv1.RoleCanary, "r2", deployment(), func(d *appsv1.Deployment) { d.Status.AvailableReplicas = 0 })
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "web-canary-1", Namespace: "shop", Labels: short.Spec.Template.Labels},
		Spec:       *short.Spec.Template.Spec.DeepCopy(),
		Status: corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{{
			Name: "web", State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ErrImagePull"}},
		}}},
	}
	c := canary(func(c *siskinv1.Canary) { c.Status.Phase = siskinv1.PhaseProgressing })
	p := newPlace(t, c, deployment(), short, pod)
	clk := testingclock.NewFakePassiveClock(now)
	live := &counted{Reader: p.client}
	var begun []func(context.Context)
	busy := false
	run := func(who types.NamespacedName, _ string, within time.Duration, look func(context.Context)) bool {
		if who.String() != "shop/web" || within > 5*time.Second {
			t.Errorf("a look for %s within %v", who, within)
		}
		if !busy {
			begun = append(begun, look)
		}
		return !busy
	}
	found := func() { // what is under way ends
		for _, look := range begun {
			look(t.Context())
		}
		begun = nil
	}
	p.Ailing = &observe.Ailing{Live: live, Clock: clk, Run: run}
	look := func(after time.Duration, lists int, text string, again time.Duration) {
		t.Helper()
		clk.SetTime(now.Add(after))
		w := p.world(t)
		s := p.Snapshot(w, p.snapshot(t).Spec, now, now)
		if live.lists != lists || s.Canary.Message != text || w.PodsAgain != again {
			t.Errorf("after %v: %d lists, %q, again in %v; want %d, %q, %v", after, live.lists, s.Canary.Message, w.PodsAgain, lists, text, again)
		}
	}
	const why = "(pod web-canary-1: container web: ErrImagePull)"
	look(0, 0, "", 10*time.Second)
	look(9*time.Second, 0, "", time.Second)
	busy = true
	look(10*time.Second, 0, "", time.Second) // there is no room
	busy = false
	look(10*time.Second, 0, "", 0) // nobody waits for it
	look(11*time.Second, 0, "", 0)
	found()
	look(11*time.Second, 1, why, 29*time.Second)
	look(39*time.Second, 1, why, time.Second)
	live.fails = true
	look(40*time.Second, 1, why, 0)
	found()
	look(41*time.Second, 2, why, 29*time.Second) // what was found stands
	live.fails = false
	look(70*time.Second, 2, why, 0)
	begun = nil // it is lost
	look(99*time.Second, 2, why, 0)
	look(100*time.Second, 2, why, 0)
	found()
	look(101*time.Second, 3, why, 29*time.Second)
	if live.limit == 0 || live.limit > 100 {
		t.Errorf("a look may bring %d pods", live.limit)
	}

	c.Status.Phase = siskinv1.PhaseSucceeded // nobody waits for it
	look(2*time.Minute, 3, "", 0)
	c.Status.Phase = siskinv1.PhaseProgressing

	p = newPlace(t, c, deployment(), pod, clone(siskinv1.RoleCanary, "r2", deployment(), func(d *appsv1.Deployment) {
		d.Status.AvailableReplicas, d.Status.Conditions = 0, []appsv1.DeploymentCondition{{Type: appsv1.DeploymentProgressing, Reason: "ProgressDeadlineExceeded"}}
	}))
	p.Ailing = &observe.Ailing{Live: live, Clock: clk, Run: run}
	live.Reader = p.client
	look(0, 3, "()", 0) // its controller gave up: the rollout ends now
	found()
	look(0, 4, why, 30*time.Second)

	// Where the waiting ends soon, what ends it can say why.
	hasty := canary(func(c *siskinv1.Canary) {
		c.Status.Phase, c.Spec.ProgressDeadlineSeconds = siskinv1.PhaseProgressing, new(int32(6))
	})
	p = newPlace(t, hasty, deployment(), short, pod)
	p.Ailing = &observe.Ailing{Live: live, Clock: clk, Run: run}
	look(0, 4, "", 3*time.Second)
}
