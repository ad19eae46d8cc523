package canary_test

import (
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/router"
)

// unsure is a router of which it is not known yet whether it mirrors.
func unsure() router.Capabilities {
	c := able()
	c.Features = c.Features.With(router.Maybe, router.FeatureMirror, router.FeatureMirrorPart)
	c.Unsure = "Service shop/web: no controller has answered for it yet"
	c.Vouch = "if it can, annotate the Canary"
	return c
}

func mirrored(c *siskinv1.Canary) { c.Spec.Analysis.Mirror = true }

func (s *stage) mirrors() (n int) {
	for _, c := range s.router.Calls() {
		if c.Op == "Apply" && c.Split.Mirror > 0 {
			n++
		}
	}
	return n
}

// What is not known yet refuses nothing: the Canary is initialized, so that its route can be answered; a rollout waits and says for what,
// writes nothing meanwhile, comes back by itself, and goes on.
func TestARolloutWaitsUntilTheCapabilitiesAreKnown(t *testing.T) {
	play(t, newCanary(mirrored), func(s *stage) {
		s.router.SetCapabilities(unsure())
		s.until(siskinv1.PhaseInitialized)
		if c := s.canary(); !meta.IsStatusConditionTrue(c.Status.Conditions, siskinv1.ConditionReady) {
			s.t.Errorf("nothing waits, and it is not ready: %+v", c.Status.Conditions)
		}
		s.image("web:2")
		s.kubelet()
		s.quiet()
		s.pass()
		ready := meta.FindStatusCondition(s.canary().Status.Conditions, siskinv1.ConditionReady)
		if ready == nil || ready.Status != "False" || ready.Reason != "CapabilitiesUnknown" {
			s.t.Fatalf("%+v", ready)
		}
		for _, word := range []string{"fake", "mirror requests", "Service shop/web: no controller has answered for it yet", "30s", "annotate"} {
			s.says(ready.Message, word)
		}
		if meta.FindStatusCondition(s.canary().Status.Conditions, siskinv1.ConditionStalled) != nil {
			s.t.Error("it goes on by itself, and counts as stalled")
		}
		if told := s.events.take(); reasons(told) != "CapabilitiesUnknown" {
			s.t.Errorf("events %v", told)
		}
		s.quiet()
		for range 5 {
			if res := s.pass(); res.RequeueAfter != 30*time.Second {
				s.t.Errorf("it comes back after %s", res.RequeueAfter)
			}
			s.sleep(30 * time.Second)
		}
		if told := s.events.take(); s.stored > 0 || s.writes.Writes() > 0 || len(told) > 0 {
			s.t.Errorf("waiting costs %d writes of status, events %v", s.stored, told)
		}
		if s.canary().Status.Phase != siskinv1.PhaseInitialized {
			s.t.Errorf("a rollout has begun: %s", s.canary().Status.Phase)
		}
		s.router.SetCapabilities(able())
		s.until(siskinv1.PhaseSucceeded)
		if s.mirrors() == 0 {
			s.t.Error("nothing was mirrored")
		}
	})
}

// When it becomes known that it cannot be done, it is refused as ever.
func TestWhatBecomesKnownToBeImpossibleIsRefused(t *testing.T) {
	play(t, newCanary(mirrored), func(s *stage) {
		s.router.SetCapabilities(unsure())
		s.until(siskinv1.PhaseInitialized)
		s.image("web:2")
		s.pass()
		caps := able()
		caps.Features = caps.Features.With(router.No, router.FeatureMirror, router.FeatureMirrorPart)
		caps.Vouch = "if it can, annotate the Canary"
		s.router.SetCapabilities(caps)
		s.pass()
		s.stalled("InvalidSpec", "spec.analysis.mirror: ", "cannot mirror", "set it to false", "; if it can, annotate")
		if s.mirrors() > 0 {
			s.t.Error("something was mirrored")
		}
	})
}

// A question that cannot be answered just now, as after a restart, holds nothing up that goes on.
func TestWhatGoesOnIsNotHeldUpByAnOpenQuestion(t *testing.T) {
	play(t, newCanary(mirrored), func(s *stage) {
		s.router.SetCapabilities(able())
		s.until(siskinv1.PhaseInitialized)
		s.image("web:2")
		for s.mirrors() == 0 {
			s.kubelet()
			s.sleep(max(s.pass().RequeueAfter, time.Millisecond))
		}
		s.router.SetCapabilities(unsure())
		s.router.Revert("shop/web", router.Split{Primary: 100})
		s.pass()
		if z, _ := s.router.Split("shop/web"); z.Mirror != 100 {
			s.t.Errorf("the mirror is not put back: %s", z)
		}
		s.until(siskinv1.PhaseSucceeded)
	})
}

// (W8) A gateway that is replaced by one that can makes no event of the Canary: it is looked at once a minute, without a write.
func TestAGatewayThatLearnsIsNoticed(t *testing.T) {
	play(t, newCanary(mirrored), func(s *stage) {
		caps := able()
		caps.Features[router.FeatureMirror] = router.No
		s.router.SetCapabilities(able())
		s.until(siskinv1.PhaseInitialized)
		s.router.SetCapabilities(caps)
		s.image("web:2")
		s.kubelet()
		s.pass()
		s.stalled("InvalidSpec", "spec.analysis.mirror: ")
		s.quiet()
		for range 3 {
			if res := s.pass(); res.RequeueAfter != time.Minute {
				s.t.Fatalf("it comes back after %s", res.RequeueAfter)
			}
			s.sleep(time.Minute)
		}
		if s.stored > 0 || s.writes.Writes() > 0 {
			s.t.Error("waiting costs writes")
		}
		s.router.SetCapabilities(able())
		s.until(siskinv1.PhaseSucceeded)
	})
}

func (s *stage) says(text, word string) {
	s.t.Helper()
	if !strings.Contains(text, word) {
		s.t.Errorf("the message lacks %q: %s", word, text)
	}
}

// TestNothingIsMadeBeforeTheGatewayWasAsked : a Canary that has not begun waits for what is being read; one that has
// begun goes on.
func TestNothingIsMadeBeforeTheGatewayWasAsked(t *testing.T) {
	play(t, newCanary(), func(s *stage) {
		caps := able()
		caps.Late = true
		s.router.SetCapabilities(caps)
		s.pass() // the finalizer
		s.quiet()
		if res := s.pass(); res.RequeueAfter != time.Second || s.writes.Writes()+s.stored > 0 {
			t.Errorf("again in %s, %d writes, %d of status", res.RequeueAfter, s.writes.Writes(), s.stored)
		}
		s.router.SetCapabilities(able())
		s.until(siskinv1.PhaseInitialized)
		s.router.SetCapabilities(caps)
		s.image("web:2")
		s.until(siskinv1.PhaseSucceeded)
	})
}
