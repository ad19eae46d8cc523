package canary_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/canary"
	"github.com/siskin-dev/siskin/pkg/router"
)

var errBoom = errors.New("boom")

func TestADecisionThatIsNotStoredHasNoEffect(t *testing.T) {
	for name, tc := range map[string]struct {
		reason string
		err    error
		want   time.Duration // 0: an error
	}{
		"conflict": {"the cache was behind: look again soon", apierrors.NewConflict(siskinv1.GroupVersion.WithResource("canaries").GroupResource(), "web", errBoom), 100 * time.Millisecond},
		"outage":   {"the queue backs off", errBoom, 0},
	} {
		t.Run(name, func(t *testing.T) {
			play(t, newCanary(), func(s *stage) {
				t := s.t
				s.until(siskinv1.PhaseInitialized)
				s.quiet()
				sent, before := len(s.chat.Sent()), s.canary()
				s.image("web:2")
				s.failing = tc.err
				res, err := s.once()
				if res.RequeueAfter != tc.want || (err != nil) != (tc.want == 0) {
					t.Errorf("%s: %v, %v", tc.reason, res, err)
				}
				if n := s.writes.Writes(); n != 0 {
					t.Errorf("%d effects", n)
				}
				if told := s.events.take(); len(told) != 0 || len(s.chat.Sent()) != sent {
					t.Errorf("told %v", told)
				}
				if diff := cmp.Diff(before.Status, s.canary().Status); diff != "" {
					t.Errorf("-was +is\n%s", diff)
				}
				s.pass()
				if told := s.events.take(); reasons(told) != "NewRevision" || s.canary().Status.Phase != siskinv1.PhaseProgressing {
					t.Errorf("it does not go on: %v", told)
				}
			})
		})
	}
}

func TestADecisionOnAnOldCanaryIsNotStored(t *testing.T) {
	play(t, newCanary(), func(s *stage) {
		t := s.t
		s.until(siskinv1.PhaseInitialized)
		s.quiet()
		s.image("web:2")
		s.before = func() { s.edit(func(c *siskinv1.Canary) { c.Spec.Suspend = true }) }
		if res := s.pass(); res.RequeueAfter != 100*time.Millisecond {
			t.Errorf("the Canary was suspended meanwhile: %v", res)
		}
		if n := s.writes.Writes(); n != 0 || s.canary().Status.Phase != siskinv1.PhaseInitialized || len(s.events.take()) != 0 {
			t.Errorf("%d effects, status %+v", n, s.canary().Status)
		}
	})
}

func TestAnEffectThatFailsIsToldOnceAndTriedAgain(t *testing.T) {
	play(t, newCanary(), func(s *stage) {
		t := s.t
		s.until(siskinv1.PhaseInitialized)
		s.image("web:2")
		s.reach(siskinv1.PhaseProgressing)
		s.kubelet()
		s.quiet()
		for range 3 {
			s.router.FailNext("Apply", errBoom)
		}
		var res reconcile.Result
		for s.canary().Status.CanaryWeight == 0 { // the first step is decided, and its split cannot be written
			s.kubelet()
			res = s.pass()
		}
		if res.RequeueAfter != time.Millisecond {
			t.Errorf("the first time it is shown at once: %v", res)
		}
		for range 2 {
			if _, err := s.once(); !errors.Is(err, errBoom) || errors.Is(err, reconcile.TerminalError(nil)) {
				t.Errorf("the queue does not back off: %v", err)
			}
		}
		told := s.events.take()
		if n := strings.Count(reasons(told), "ActionFailed"); n != 1 || !strings.Contains(strings.Join(told, "\n"), "boom") {
			t.Errorf("%d times told: %v", n, told)
		}
		s.sleep(15 * time.Second)
		s.router.FailNext("Apply", errBoom)
		_, _ = s.once()
		if waiting := strings.Join(s.canary().Status.WaitingFor, "; "); !strings.Contains(waiting, "boom") {
			t.Errorf("status waits for %q", waiting)
		}
		s.until(siskinv1.PhaseSucceeded)
		if waiting := s.canary().Status.WaitingFor; len(waiting) != 0 {
			t.Errorf("it is still shown: %v", waiting)
		}
	})
}

// An admission webhook refuses that the target is held, again and again: a bad version goes all the same when its check is due.
func TestAnEffectThatKeepsFailingDelaysNoCheck(t *testing.T) {
	play(t, newCanary(), func(s *stage) {
		t := s.t
		s.until(siskinv1.PhaseInitialized)
		s.image("web:2")
		for s.canary().Status.CanaryWeight == 0 {
			s.kubelet()
			s.sleep(s.pass().RequeueAfter)
		}
		began := s.clock.Now()
		limiter, req := s.RateLimiter(10*time.Millisecond, 30*time.Second), reconcile.Request{NamespacedName: web}
		for range 20 { // it has failed for a long time
			limiter.When(req)
		}
		s.metrics.Answer(99)
		s.Actor.Client = interceptor.NewClient(s.api, interceptor.Funcs{
			Patch: func(ctx context.Context, c client.WithWatch, obj client.Object, p client.Patch, opts ...client.PatchOption) error {
				if d, ok := obj.(*appsv1.Deployment); ok && d.Name == "web" {
					return errBoom
				}
				return c.Patch(ctx, obj, p, opts...)
			},
		})
		d := s.deployment("web")
		d.Spec.Replicas = new(int32(3)) // git wrote it
		if err := s.api.Update(t.Context(), d); err != nil {
			t.Fatal(err)
		}
		failures := 0
		for s.canary().Status.Phase == siskinv1.PhaseProgressing && s.clock.Now().Sub(began) < time.Hour {
			s.kubelet()
			woken := s.woken
			res, err := s.once()
			pause := res.RequeueAfter
			if err != nil {
				failures++
				pause = limiter.When(req)
			}
			if s.woken == woken {
				s.sleep(pause)
			}
		}
		interval, _ := time.ParseDuration(s.canary().Spec.Analysis.Interval)
		if took := s.clock.Now().Sub(began); failures < 2 || s.canary().Status.Phase != siskinv1.PhaseRollingBack || took > interval+5*time.Second {
			t.Errorf("%s after %v and %d failures; its check was due after %v", s.canary().Status.Phase, took, failures, interval)
		}
		if failures > 20 {
			t.Errorf("it was tried %d times within %v", failures, interval)
		}
	})
}

func TestTheBackoffGrowsWhereNothingIsDue(t *testing.T) {
	limiter := new(canary.Reconciler).RateLimiter(10*time.Millisecond, 30*time.Second)
	req := reconcile.Request{NamespacedName: web}
	for want := 10 * time.Millisecond; want < 100*time.Millisecond; want *= 2 {
		if got := limiter.When(req); got != want {
			t.Errorf("a pause of %v instead of %v", got, want)
		}
	}
	if got := limiter.NumRequeues(req); got != 4 {
		t.Errorf("%d failures", got)
	}
	if limiter.Forget(req); limiter.When(req) != 10*time.Millisecond {
		t.Error("success ends it")
	}
}

func TestASpecThatCannotBeUsed(t *testing.T) {
	for name, tc := range map[string]struct {
		reason string
		spoil  func(*siskinv1.Canary)
		want   string
	}{
		"interval": {"it is shown, and not half-used", func(c *siskinv1.Canary) { c.Spec.Analysis.Interval = "soon" }, "InvalidSpec"},
		"provider": {"it is never a silent default", func(c *siskinv1.Canary) { c.Spec.Provider = "istio" }, "UnknownProvider"},
	} {
		t.Run(name, func(t *testing.T) {
			play(t, newCanary(), func(s *stage) {
				t := s.t
				s.until(siskinv1.PhaseInitialized)
				good := s.canary().Spec
				s.quiet()
				s.edit(tc.spoil)
				s.image("web:2")
				s.pass()
				for range 3 {
					if res := s.pass(); res != (reconcile.Result{}) {
						t.Errorf("only an edit helps, and still %v", res)
					}
				}
				c := s.canary()
				stalled := meta.FindStatusCondition(c.Status.Conditions, siskinv1.ConditionStalled)
				if stalled == nil || stalled.Reason != tc.want || c.Status.ObservedGeneration != c.Generation || c.Status.Phase != siskinv1.PhaseInitialized {
					t.Errorf("%s: %+v", tc.reason, c.Status)
				}
				if told := s.events.take(); reasons(told) != tc.want || !strings.HasPrefix(told[0], "Warning") {
					t.Errorf("told %v", told)
				}
				if s.stored != 1 || s.writes.Writes() != 0 {
					t.Errorf("%d writes of status", s.stored)
				}
				s.edit(func(c *siskinv1.Canary) { c.Spec = good })
				s.until(siskinv1.PhaseSucceeded)
				if c := s.canary(); meta.FindStatusCondition(c.Status.Conditions, siskinv1.ConditionStalled) != nil {
					t.Errorf("conditions %v", c.Status.Conditions)
				}
			})
		})
	}
}

func TestWhatOnlyAnEditOfTheRoutingMendsKeepsItsClocks(t *testing.T) {
	play(t, newCanary(), func(s *stage) {
		t := s.t
		s.pass()
		s.quiet()
		invalid := &router.InvalidError{Router: "fake", Field: "spec.service.gatewayRefs", Message: "give one"}
		for range 40 {
			s.router.FailNext("Apply", invalid)
		}
		for range 10 {
			s.kubelet()
			res, err := s.once()
			if err != nil || res.RequeueAfter <= 0 || res.RequeueAfter > time.Minute {
				t.Errorf("nobody looks again in time: %v, %v", res, err)
			}
		}
		c := s.canary()
		stalled := meta.FindStatusCondition(c.Status.Conditions, siskinv1.ConditionStalled)
		if stalled == nil || stalled.Reason != "InvalidSpec" || !strings.Contains(stalled.Message, "gatewayRefs") {
			t.Errorf("status %+v", c.Status)
		}
		if told := s.events.take(); reasons(told) != "ActionFailed" {
			t.Errorf("told %v", told)
		}
	})
}

func TestATextAloneWaitsForCompany(t *testing.T) {
	play(t, newCanary(), func(s *stage) {
		t := s.t
		s.sick["web-primary"] = true
		for range 6 {
			s.kubelet()
			s.pass()
		}
		s.sleep(time.Minute)
		s.pass() // all texts are settled now
		s.quiet()
		before := s.canary().Status.Message
		d := s.deployment("web-primary") // one of two pods is ready: only a text says so
		d.Status.AvailableReplicas = 1
		if err := s.api.Status().Update(t.Context(), d); err != nil {
			t.Fatal(err)
		}
		if res := s.pass(); s.stored != 0 || res.RequeueAfter != 15*time.Second {
			t.Errorf("%d writes at once, then after %s", s.stored, res.RequeueAfter)
		}
		s.sleep(14 * time.Second)
		if res := s.pass(); s.stored != 0 || res.RequeueAfter != time.Second {
			t.Errorf("%d writes after 14 s, then after %s", s.stored, res.RequeueAfter)
		}
		s.sleep(time.Second)
		s.pass()
		if after := s.canary().Status.Message; s.stored != 1 || after == before || !strings.Contains(after, "1 of 2 pods") {
			t.Errorf("%d writes; %q after %q", s.stored, after, before)
		}
		s.pass()
		if s.stored != 1 {
			t.Errorf("%d writes of one text", s.stored)
		}
	})
}

// TestTextsOfAStepGoAlongWithItsDecision : a step of 30 s costs one write of the status, whatever its texts do meanwhile.
func TestTextsOfAStepGoAlongWithItsDecision(t *testing.T) {
	play(t, newCanary(func(c *siskinv1.Canary) { c.Spec.Analysis.Interval = "30s" }), func(s *stage) {
		t := s.t
		s.until(siskinv1.PhaseInitialized)
		s.image("web:2")
		for s.canary().Status.CanaryWeight == 0 {
			s.kubelet()
			if res := s.pass(); res.RequeueAfter > 0 {
				s.sleep(res.RequeueAfter)
			}
		}
		s.pass() // the route is confirmed
		s.quiet()
		before := s.canary().Status.Step.EndsAt.Time
		for s.clock.Now().Before(before.Add(-time.Second)) {
			res := s.pass()
			if res.RequeueAfter <= 0 {
				t.Fatalf("nobody looks again before the step ends: %v", res)
			}
			s.sleep(min(res.RequeueAfter, time.Second))
		}
		if s.stored != 0 {
			t.Errorf("%d writes during a step: %+v", s.stored, s.canary().Status)
		}
		s.until(siskinv1.PhaseSucceeded)
	})
}

func TestATextThatPassesIsNeverWritten(t *testing.T) {
	play(t, newCanary(), func(s *stage) {
		t := s.t
		s.sick["web-primary"] = true
		for range 6 {
			s.kubelet()
			s.pass()
		}
		s.sleep(time.Minute)
		s.pass()
		s.quiet()
		for range 5 {
			d := s.deployment("web-primary")
			d.Status.AvailableReplicas = 1
			if err := s.api.Status().Update(t.Context(), d); err != nil {
				t.Fatal(err)
			}
			s.pass()
			s.sleep(10 * time.Second)
			s.kubelet()
			s.pass()
		}
		if s.stored != 0 {
			t.Errorf("%d writes of texts that came and went", s.stored)
		}
	})
}

func TestSuspension(t *testing.T) {
	play(t, newCanary(func(c *siskinv1.Canary) { c.Spec.ProgressDeadlineSeconds = new(int32(60)) }), func(s *stage) {
		t := s.t
		s.until(siskinv1.PhaseInitialized)
		s.sick["web-canary"] = true
		s.image("web:2")
		s.reach(siskinv1.PhaseProgressing)
		s.pass()
		s.edit(func(c *siskinv1.Canary) { c.Spec.Suspend = true })
		s.quiet()
		s.image("web:3")
		s.router.Revert("shop/web", router.Split{Primary: 40, Canary: 60})
		for range 3 {
			s.kubelet()
			if res := s.pass(); res.RequeueAfter != 0 {
				t.Errorf("it wakes up after %s", res.RequeueAfter)
			}
			s.sleep(time.Hour)
		}
		if n := s.writes.Writes(); n != 0 || s.stored != 1 || len(s.events.take()) != 0 {
			t.Errorf("%d effects, %d writes of status", n, s.stored)
		}
		if z, _ := s.router.Split("shop/web"); z != (router.Split{Primary: 40, Canary: 60}) {
			t.Errorf("traffic moved to %v", z)
		}
		c := s.canary()
		if ready := meta.FindStatusCondition(c.Status.Conditions, siskinv1.ConditionReady); ready.Reason != "Suspended" {
			t.Errorf("Ready %+v", ready)
		}
		// The deadline passed while nobody could act: it starts anew.
		s.image("web:2")
		s.edit(func(c *siskinv1.Canary) { c.Spec.Suspend = false })
		s.pass()
		if phase := s.canary().Status.Phase; phase != siskinv1.PhaseProgressing {
			t.Errorf("phase %s", phase)
		}
		s.sleep(59 * time.Second)
		s.pass()
		if phase := s.canary().Status.Phase; phase != siskinv1.PhaseProgressing {
			t.Errorf("phase %s after 59 s of 60", phase)
		}
		s.sleep(time.Second)
		s.until(siskinv1.PhaseFailed)
	})
}

// What else is told of a suspended Canary does not make its deadlines run: here its spec cannot be used meanwhile.
func TestSuspensionOfAnUnusableSpec(t *testing.T) {
	play(t, newCanary(func(c *siskinv1.Canary) { c.Spec.ProgressDeadlineSeconds = new(int32(60)) }), func(s *stage) {
		s.until(siskinv1.PhaseInitialized)
		s.sick["web-canary"] = true
		s.image("web:2")
		s.reach(siskinv1.PhaseProgressing)
		steps := s.canary().Spec.Analysis.StepWeights
		s.edit(func(c *siskinv1.Canary) { c.Spec.Suspend, c.Spec.Analysis.StepWeights = true, []int32{50, 20} })
		for range 3 {
			s.pass()
			s.sleep(time.Hour)
		}
		s.edit(func(c *siskinv1.Canary) { c.Spec.Suspend, c.Spec.Analysis.StepWeights = false, steps })
		s.pass()
		s.sleep(59 * time.Second)
		s.pass()
		if c := s.canary(); c.Status.Phase != siskinv1.PhaseProgressing {
			s.t.Errorf("phase %s: %s", c.Status.Phase, c.Status.Message)
		}
		s.sleep(time.Second)
		s.until(siskinv1.PhaseFailed)
	})
}

func TestARestartGivesDeadlinesANewStart(t *testing.T) {
	play(t, newCanary(func(c *siskinv1.Canary) { c.Spec.ProgressDeadlineSeconds = new(int32(60)) }), func(s *stage) {
		t := s.t
		s.until(siskinv1.PhaseInitialized)
		s.sick["web-canary"] = true
		s.image("web:2")
		s.reach(siskinv1.PhaseProgressing)
		s.sleep(time.Hour) // the controller was down
		old := s.Reconciler
		s.Reconciler = &canary.Reconciler{
			Client: old.Client, Clock: old.Clock, Recorder: old.Recorder, Observer: old.Observer, Actor: old.Actor, Asker: old.Asker, Teller: old.Teller,
			Drain: old.Drain,
		}
		s.pass()
		if phase := s.canary().Status.Phase; phase != siskinv1.PhaseProgressing {
			t.Errorf("phase %s", phase)
		}
		s.until(siskinv1.PhaseFailed)
	})
}

func TestATargetThatIsMissingIsToldOnce(t *testing.T) {
	play(t, newCanary(), func(s *stage) {
		t := s.t
		if err := s.api.Delete(t.Context(), s.deployment("web")); err != nil {
			t.Fatal(err)
		}
		for range 4 {
			s.pass()
		}
		if told := s.events.take(); reasons(told) != "TargetNotFound" {
			t.Errorf("told %v", told)
		}
	})
}

func TestAReadThatFailsIsRetried(t *testing.T) {
	play(t, newCanary(), func(s *stage) {
		t := s.t
		s.pass()
		s.writes.Fail(errBoom)
		if _, err := s.once(); !errors.Is(err, errBoom) {
			t.Errorf("error %v", err)
		}
	})
}

func TestAnUnusableEditEndsTheRolloutAtItsDeadline(t *testing.T) {
	play(t, newCanary(), func(s *stage) {
		t := s.t
		s.until(siskinv1.PhaseInitialized)
		s.image("web:2")
		s.reach(siskinv1.PhaseProgressing)
		s.pass()
		s.edit(func(c *siskinv1.Canary) { c.Spec.Analysis.Interval = "nonsense" })
		res, err := s.once()
		if err != nil || res.RequeueAfter <= 0 {
			t.Errorf("nobody looks again at the deadline: %v, %v", res, err)
		}
		if c := s.canary(); c.Status.Phase != siskinv1.PhaseProgressing || !meta.IsStatusConditionTrue(c.Status.Conditions, siskinv1.ConditionStalled) {
			t.Errorf("%s, %v", c.Status.Phase, c.Status.Conditions)
		}
		s.sleep(res.RequeueAfter)
		s.until(siskinv1.PhaseFailed)
		if c := s.canary(); c.Status.CanaryWeight != 0 {
			t.Errorf("%d%% of the traffic is left at the canary", c.Status.CanaryWeight)
		}
	})
}
