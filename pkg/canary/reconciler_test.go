package canary_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/router"
)

func TestTheFirstPassAddsOnlyTheFinalizer(t *testing.T) {
	play(t, newCanary(), func(s *stage) {
		t := s.t
		s.pass()
		c := s.canary()
		if !slices.Contains(c.Finalizers, siskinv1.Finalizer) || s.writes.Writes() != 1 || s.stored != 0 || c.Status.Phase != "" {
			t.Errorf("finalizers %v, %d writes of status, phase %q", c.Finalizers, s.stored, c.Status.Phase)
		}
		s.pass()
		if c := s.canary(); c.Status.Phase != siskinv1.PhaseInitializing || c.Status.ObservedGeneration != 1 {
			t.Errorf("status %+v", c.Status)
		}
	})
}

func TestInitialisation(t *testing.T) {
	play(t, newCanary(), func(s *stage) {
		t := s.t
		s.until(siskinv1.PhaseInitialized)
		d := s.deployment("web")
		if *d.Spec.Replicas != 0 || d.Annotations[siskinv1.HeldAnnotation] != "web" || d.Annotations[siskinv1.ReplicasAnnotation] != "2" {
			t.Errorf("the target has %d replicas, %v", *d.Spec.Replicas, d.Annotations)
		}
		if p := s.deployment("web-primary"); *p.Spec.Replicas != 2 || p.Spec.Template.Spec.Containers[0].Image != "web:1" {
			t.Errorf("primary %+v", p.Spec)
		}
		var apex corev1.Service
		if s.get("web", &apex); apex.Spec.Selector[siskinv1.RoleLabel] != "primary" {
			t.Errorf("the apex selects %v", apex.Spec.Selector)
		}
		if z, _ := s.router.Split("shop/web"); z != (router.Split{Primary: 100}) {
			t.Errorf("split %v", z)
		}
		if told := s.events.take(); reasons(told) != "Initialized" {
			t.Errorf("told %v", told)
		}
		s.quiet()
		for range 3 {
			if res := s.pass(); res != (reconcile.Result{}) || s.stored > 0 || s.writes.Writes() > 0 {
				t.Errorf("nothing is to be done: %v, %d writes of status", res, s.stored)
			}
		}
	})
}

func TestAGoodRevisionIsPromoted(t *testing.T) {
	play(t, newCanary(), func(s *stage) {
		t := s.t
		s.until(siskinv1.PhaseInitialized)
		s.quiet()
		s.image("web:2")
		s.until(siskinv1.PhaseSucceeded)
		st := s.canary().Status
		if p := s.deployment("web-primary"); *p.Spec.Replicas != 2 || p.Spec.Template.Spec.Containers[0].Image != "web:2" {
			t.Errorf("the primary has %d pods of %s", *p.Spec.Replicas, p.Spec.Template.Spec.Containers[0].Image)
		}
		if d := s.deployment("web-canary"); *d.Spec.Replicas != 0 {
			t.Errorf("the canary keeps %d pods", *d.Spec.Replicas)
		}
		if d := s.deployment("web"); *d.Spec.Replicas != 0 {
			t.Errorf("the target has %d pods", *d.Spec.Replicas)
		}
		var seen []router.Split
		for _, call := range s.router.Calls() {
			if call.Op == "Apply" && (len(seen) == 0 || seen[len(seen)-1] != call.Split) {
				seen = append(seen, call.Split)
			}
		}
		want := []router.Split{{Primary: 100}, {Primary: 80, Canary: 20}, {Primary: 50, Canary: 50}, {Primary: 100}}
		if diff := cmp.Diff(want, seen); diff != "" {
			t.Errorf("splits: -want +got\n%s", diff)
		}
		told := s.events.take()
		if diff := cmp.Diff("NewRevision StepAdvanced StepAdvanced Promoted", reasons(told)); diff != "" {
			t.Errorf("events: -want +got\n%s%v", diff, told)
		}
		if !meta.IsStatusConditionTrue(st.Conditions, siskinv1.ConditionPromoted) || !meta.IsStatusConditionTrue(st.Conditions, siskinv1.ConditionReady) {
			t.Errorf("conditions %v", st.Conditions)
		}
		if len(st.History) != 1 || st.History[0].Outcome != "Succeeded" || st.History[0].Image != "web:2" || st.History[0].Author != "Ann" {
			t.Errorf("history %+v", st.History)
		}
		if st.Stable.Image != "web:2" || st.Stable.Commit != "main@sha1:0123456789abcdef" {
			t.Errorf("stable %+v", st.Stable)
		}
		if n := len(s.metrics.Queries()); n != 2 {
			t.Errorf("%d queries for two steps with one metric", n)
		}
		if s.stored > 8 {
			t.Errorf("%d writes of status for one rollout", s.stored)
		}
	})
}

func TestABadRevisionIsTakenBack(t *testing.T) {
	play(t, newCanary(), func(s *stage) {
		t := s.t
		s.until(siskinv1.PhaseInitialized)
		s.quiet()
		sent := len(s.chat.Sent())
		s.metrics.Answer(17)
		s.image("web:2")
		s.until(siskinv1.PhaseFailed)
		if p := s.deployment("web-primary"); p.Spec.Template.Spec.Containers[0].Image != "web:1" {
			t.Errorf("the primary runs %s", p.Spec.Template.Spec.Containers[0].Image)
		}
		if d := s.deployment("web-canary"); *d.Spec.Replicas != 0 {
			t.Errorf("the canary keeps %d pods", *d.Spec.Replicas)
		}
		if z, _ := s.router.Split("shop/web"); z != (router.Split{Primary: 100}) {
			t.Errorf("split %v", z)
		}
		told := s.events.take()
		if diff := cmp.Diff("NewRevision StepAdvanced RollingBack RolledBack", reasons(told)); diff != "" {
			t.Fatalf("events: -want +got\n%s%v", diff, told)
		}
		for _, part := range []string{"Warning", "error-rate", "17", "<= 1", s.canary().Status.Rejected, "image web:2", "commit main@0123456789ab", "by Ann"} {
			if !strings.Contains(told[2], part) {
				t.Errorf("%q does not name %s", told[2], part)
			}
		}
		var titles []string
		for _, m := range s.chat.Sent()[sent:] {
			titles = append(titles, m.Title)
		}
		if diff := cmp.Diff([]string{"shop/web: New revision", "shop/web: Rolling back", "shop/web: Rolled back"}, titles); diff != "" {
			t.Errorf("notices: -want +got\n%s", diff)
		}
		st := s.canary().Status
		if len(st.History) != 1 || st.History[0].Outcome != "Failed" || !strings.Contains(st.History[0].Cause, "17") {
			t.Errorf("history %+v", st.History)
		}
		// A revert is no rollout.
		s.quiet()
		s.image("web:1")
		s.until(siskinv1.PhaseInitialized)
		if told := s.events.take(); reasons(told) != "TargetReverted" {
			t.Errorf("told %v", told)
		}
	})
}

func TestAReplacedRolloutKeepsItsName(t *testing.T) {
	play(t, newCanary(), func(s *stage) {
		t := s.t
		s.until(siskinv1.PhaseInitialized)
		s.image("web:2")
		s.reach(siskinv1.PhaseProgressing)
		s.image("web:3")
		s.pass()
		st := s.canary().Status
		if len(st.History) != 1 || st.History[0].Outcome != "Superseded" || st.History[0].Image != "web:2" || st.Canary.Image != "web:3" {
			t.Errorf("history %+v, canary %+v", st.History, st.Canary)
		}
	})
}

func TestADeletedCanaryGivesEverythingBack(t *testing.T) {
	play(t, newCanary(), func(s *stage) {
		t := s.t
		s.until(siskinv1.PhaseInitialized)
		s.quiet()
		s.kubelet() // its controller has seen that the target is held
		if err := s.api.Delete(t.Context(), s.canary()); err != nil {
			t.Fatal(err)
		}
		s.pass()
		if d := s.deployment("web"); *d.Spec.Replicas != 2 {
			t.Errorf("the target has %d pods", *d.Spec.Replicas)
		}
		var apex corev1.Service
		if s.get("web", &apex); apex.Spec.Selector[siskinv1.RoleLabel] != "primary" {
			t.Errorf("the target has no ready pods, and the apex selects %v", apex.Spec.Selector)
		}
		gone := func() bool {
			return s.api.Get(t.Context(), web, &siskinv1.Canary{}) != nil
		}
		for i := 0; !gone(); i++ {
			if i > 20 {
				t.Fatalf("it never goes: %+v", s.canary().Status)
			}
			s.kubelet()
			s.sleep(s.pass().RequeueAfter)
		}
		if s.get("web", &apex); apex.Spec.Selector[siskinv1.RoleLabel] != "" {
			t.Errorf("the apex selects %v", apex.Spec.Selector)
		}
		if _, ok := s.router.Split("shop/web"); ok {
			t.Error("the route is still there")
		}
		if told := s.events.take(); reasons(told) != "Terminating" {
			t.Errorf("told %v", told)
		}
		if res := s.pass(); res != (reconcile.Result{}) {
			t.Errorf("a Canary that is gone: %v", res)
		}
	})
}

func TestADeletedCanaryIsNotHeldUpByItsSpec(t *testing.T) {
	for name, spoil := range map[string]func(*siskinv1.Canary){
		"interval": func(c *siskinv1.Canary) { c.Spec.Analysis.Interval = "soon" },
		"provider": func(c *siskinv1.Canary) { c.Spec.Provider = "istio" },
	} {
		t.Run(name, func(t *testing.T) {
			play(t, newCanary(), func(s *stage) {
				t := s.t
				s.until(siskinv1.PhaseInitialized)
				s.edit(spoil)
				if err := s.api.Delete(t.Context(), s.canary()); err != nil {
					t.Fatal(err)
				}
				for range 20 {
					s.kubelet()
					s.sleep(s.pass().RequeueAfter)
					if client.IgnoreNotFound(s.api.Get(t.Context(), web, &siskinv1.Canary{})) == nil && s.api.Get(t.Context(), web, &siskinv1.Canary{}) != nil {
						return
					}
				}
				t.Errorf("it never goes: %+v", s.canary().Status)
			})
		})
	}
}
