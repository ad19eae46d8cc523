package canary_test

import (
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/canary/observe"
)

func (s *stage) stalledBy() string {
	s.t.Helper()
	if c := meta.FindStatusCondition(s.canary().Status.Conditions, siskinv1.ConditionStalled); c != nil {
		return c.Reason + ": " + c.Message
	}
	return ""
}

func (s *stage) put(value string) {
	s.t.Helper()
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "password", Namespace: "shop"}, Data: map[string][]byte{"a": []byte(value)}}
	if err := s.api.Create(s.t.Context(), secret.DeepCopy()); err == nil {
		return
	}
	if err := s.api.Update(s.t.Context(), secret); err != nil {
		s.t.Fatal(err)
	}
}

// A missing Secret is told and waited for; once it is there, an idle Canary looks at it once a minute, and at nothing else.
func TestASecretIsLookedAtOnceAMinute(t *testing.T) {
	play(t, newCanary(), func(s *stage) {
		s.Observer.Config = &observe.ConfigTracker{Cache: s.api, Live: s.api, Poll: time.Minute, Clock: s.clock}
		s.Actor.Live = s.api
		d := s.deployment("web")
		d.Spec.Template.Spec.Containers[0].EnvFrom = []corev1.EnvFromSource{{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "password"}}}}
		if err := s.api.Update(t.Context(), d); err != nil {
			t.Fatal(err)
		}
		s.kubelet()
		res := s.pass()
		for range 3 {
			res = s.pass()
		}
		if why := s.stalledBy(); !strings.HasPrefix(why, "ConfigMissing: Secret password does not exist") || res.RequeueAfter != 10*time.Second {
			t.Fatalf("stalled by %q, again in %s", why, res.RequeueAfter)
		}
		s.put("1")
		s.sleep(10 * time.Second)
		s.reach(siskinv1.PhaseInitialized)
		for range 10 {
			s.kubelet()
			res = s.pass()
			s.sleep(min(res.RequeueAfter, 10*time.Second))
		}
		s.quiet()
		for range 3 {
			if res = s.pass(); res.RequeueAfter <= 0 || res.RequeueAfter > time.Minute {
				t.Fatalf("again in %s", res.RequeueAfter)
			}
			s.sleep(res.RequeueAfter)
		}
		if n := s.writes.Writes(); n != 0 || s.stored != 0 {
			t.Errorf("%d writes, %d of status", n, s.stored)
		}
		s.put("2")
		s.sleep(time.Minute)
		s.pass()
		if phase := s.canary().Status.Phase; phase != siskinv1.PhaseProgressing {
			t.Errorf("a changed Secret is released: %s", phase)
		}
		s.reach(siskinv1.PhaseSucceeded)
	})
}

// What cannot be released is told; what serves goes on.
func TestATargetThatCannotBeReleased(t *testing.T) {
	c := newCanary(func(c *siskinv1.Canary) { c.Spec.TargetRef.Kind = "DaemonSet" })
	play(t, c, func(s *stage) {
		d := &appsv1.DaemonSet{ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "shop"}}
		d.Spec.Selector, d.Spec.Template = newTarget().Spec.Selector, newTarget().Spec.Template
		d.Spec.UpdateStrategy.Type = appsv1.OnDeleteDaemonSetStrategyType
		if err := s.api.Create(t.Context(), d); err != nil {
			t.Fatal(err)
		}
		s.pass()
		s.quiet()
		for range 3 {
			s.pass()
		}
		if why := s.stalledBy(); !strings.HasPrefix(why, "InvalidSpec: DaemonSet web: spec.updateStrategy.type is OnDelete") {
			t.Errorf("stalled by %q", why)
		}
		if n := s.writes.Writes(); n != 0 {
			t.Errorf("%d writes for a target that is left alone", n)
		}
	})
}
