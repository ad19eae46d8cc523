package canary_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

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

// configured is a play whose app reads the ConfigMap "settings" and the Secret "password", initialized and quiet.
func configured(t *testing.T, story func(*stage)) {
	t.Helper()
	play(t, newCanary(), func(s *stage) {
		tracker := &observe.ConfigTracker{Cache: s.api, Live: s.api, Poll: time.Minute, Clock: s.clock}
		s.Observer.Config, s.Actor.Live, s.Actor.Expire = tracker, s.api, tracker.Expire
		d := s.deployment("web")
		d.Spec.Template.Spec.Containers[0].EnvFrom = []corev1.EnvFromSource{
			{ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "settings"}}},
			{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "password"}}},
		}
		if err := s.api.Update(t.Context(), d); err != nil {
			t.Fatal(err)
		}
		s.set("1")
		s.put("1")
		s.reach(siskinv1.PhaseInitialized)
		for range 10 {
			s.kubelet()
			s.sleep(min(s.pass().RequeueAfter, 10*time.Second))
		}
		s.quiet()
		story(s)
	})
}

// set writes the ConfigMap, as git would.
func (s *stage) set(value string) {
	s.t.Helper()
	cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "settings", Namespace: "shop"}, Data: map[string]string{"a": value}}
	if err := s.api.Create(s.t.Context(), cm.DeepCopy()); err == nil {
		return
	}
	if err := s.api.Update(s.t.Context(), cm); err != nil {
		s.t.Fatal(err)
	}
}

// copies are the names of the copies that the primary reads.
func (s *stage) copies() (settings, password string) {
	s.t.Helper()
	from := s.deployment("web-primary").Spec.Template.Spec.Containers[0].EnvFrom
	return from[0].ConfigMapRef.Name, from[1].SecretRef.Name
}

// remove deletes an object by its name.
func (s *stage) remove(obj client.Object, name string) {
	s.t.Helper()
	obj.SetName(name)
	obj.SetNamespace("shop")
	if err := s.api.Delete(s.t.Context(), obj); err != nil {
		s.t.Fatal(err)
	}
}

// A copy that somebody deletes is made again from its original: a ConfigMap's at once, a Secret's within a minute. It is told once.
func TestADeletedCopyIsMadeAgain(t *testing.T) {
	configured(t, func(s *stage) {
		t := s.t
		settings, password := s.copies()
		stable := s.canary().Status.Stable.Revision
		s.remove(&corev1.ConfigMap{}, settings)
		s.pass()
		var cm corev1.ConfigMap
		if s.get(settings, &cm); cm.Data["a"] != "1" || !*cm.Immutable || len(cm.OwnerReferences) != 1 || cm.OwnerReferences[0].Name != stable || cm.Labels[siskinv1.CanaryLabel] != "web" {
			t.Errorf("made again as %+v", cm)
		}
		told := s.events.take()
		if reasons(told) != "ConfigCopyRestored" || !strings.Contains(told[0], "ConfigMap "+settings+" (of settings)") || !strings.Contains(told[0], stable) {
			t.Errorf("told %v", told)
		}
		s.remove(&corev1.Secret{}, password)
		res := s.pass()
		if err := s.api.Get(t.Context(), client.ObjectKey{Namespace: "shop", Name: password}, &corev1.Secret{}); err == nil || res.RequeueAfter > time.Minute || res.RequeueAfter <= 0 {
			t.Errorf("a Secret is looked at once a minute (%v), again in %s", err, res.RequeueAfter)
		}
		s.sleep(time.Minute)
		s.pass()
		var secret corev1.Secret
		if s.get(password, &secret); string(secret.Data["a"]) != "1" || !*secret.Immutable {
			t.Errorf("made again as %+v", secret)
		}
		if told := s.events.take(); reasons(told) != "ConfigCopyRestored" || !strings.Contains(told[0], "Secret "+password) {
			t.Errorf("told %v", told)
		}
		for range 5 {
			s.sleep(s.pass().RequeueAfter)
		}
		if n := s.writes.Writes(); n != 0 || s.stored != 0 || s.stalledBy() != "" || len(s.events.take()) != 0 {
			t.Errorf("%d writes, %d of status, stalled by %q", n, s.stored, s.stalledBy())
		}
		if rollout := s.canary().Status.Rollout; rollout != nil {
			t.Errorf("a rollout began: %+v", rollout)
		}
	})
}

// When the original has moved on, nothing can be made of it: that is told, with what helps, and the name gets no other content. A
// rollout of the new content goes on meanwhile, and a return of the old one brings the copy back.
func TestADeletedCopyThatCannotBeMadeAgain(t *testing.T) {
	configured(t, func(s *stage) {
		t := s.t
		settings, _ := s.copies()
		stable := s.canary().Status.Stable.Revision
		s.metrics.Answer(17) // the new content is bad
		s.set("2")
		s.reach(siskinv1.PhaseProgressing)
		s.quiet()
		s.remove(&corev1.ConfigMap{}, settings)
		s.edit(func(c *siskinv1.Canary) { c.Annotations = map[string]string{siskinv1.RequestAnnotation: "nonsense"} }) // told in the same pass
		s.pass()
		want := "ConfigCopyMissing: ConfigMap " + settings + ", the copy of settings that the pods of revision " + stable +
			" read, was deleted, and none of them can start without it: release another revision, or bring the content back that ConfigMap settings had then"
		if why := s.stalledBy(); why != want {
			t.Errorf("stalled by %q, want %q", why, want)
		}
		told := s.events.take()
		slices.Sort(told) // the event of a notice is written while the pass goes on
		slices.Reverse(told)
		if reasons(told) != "RequestRefused ConfigCopyMissing" || !strings.HasPrefix(told[1], "Warning") || !strings.Contains(told[1], settings) {
			t.Errorf("told %v", told)
		}
		s.reach(siskinv1.PhaseFailed)
		for range 5 {
			s.kubelet()
			s.sleep(min(s.pass().RequeueAfter, 20*time.Second))
		}
		if err := s.api.Get(t.Context(), client.ObjectKey{Namespace: "shop", Name: settings}, &corev1.ConfigMap{}); err == nil {
			t.Error("another content has the name")
		}
		if why := s.stalledBy(); why != want {
			t.Errorf("stalled by %q, want %q", why, want)
		}
		if n := strings.Count(reasons(s.events.take()), "ConfigCopyMissing"); n != 0 {
			t.Errorf("told %d times more", n)
		}
		s.set("1")
		s.pass()
		var cm corev1.ConfigMap
		if s.get(settings, &cm); cm.Data["a"] != "1" {
			t.Errorf("brought back as %v", cm.Data)
		}
		s.pass()
		if why := s.stalledBy(); why != "" || s.canary().Status.Phase != siskinv1.PhaseInitialized {
			t.Errorf("%s, stalled by %q", s.canary().Status.Phase, why)
		}
	})
}

// Beside another reason why a person must act it is told too, once.
func TestADeletedCopyBesideAnotherReason(t *testing.T) {
	configured(t, func(s *stage) {
		t := s.t
		settings, _ := s.copies()
		s.set("2")
		s.edit(func(c *siskinv1.Canary) { c.Spec.Analysis.Interval = "soon" })
		s.pass()
		s.quiet()
		s.remove(&corev1.ConfigMap{}, settings)
		for range 3 {
			s.pass()
			s.sleep(20 * time.Second)
		}
		if told := s.events.take(); reasons(told) != "ConfigCopyMissing" {
			t.Errorf("told %v", told)
		}
		if waits := strings.Join(s.canary().Status.WaitingFor, "; "); !strings.HasPrefix(s.stalledBy(), "InvalidSpec") || !strings.Contains(waits, settings) {
			t.Errorf("stalled by %q, waits for %q", s.stalledBy(), waits)
		}
	})
}

// A suspended Canary writes nothing, and says so.
func TestADeletedCopyOfASuspendedCanary(t *testing.T) {
	configured(t, func(s *stage) {
		t := s.t
		settings, _ := s.copies()
		s.edit(func(c *siskinv1.Canary) { c.Spec.Suspend = true })
		s.pass()
		s.quiet()
		s.remove(&corev1.ConfigMap{}, settings)
		s.pass()
		s.sleep(15 * time.Second)
		s.pass()
		if waits := strings.Join(s.canary().Status.WaitingFor, "; "); !strings.Contains(waits, settings) || !strings.HasSuffix(waits, "it is made again when spec.suspend is false") {
			t.Errorf("waits for %q", waits)
		}
		ready := meta.FindStatusCondition(s.canary().Status.Conditions, siskinv1.ConditionReady)
		if told := s.events.take(); reasons(told) != "ConfigCopyMissing" || ready.Reason != "Suspended" || s.writes.Writes() != 0 {
			t.Errorf("told %v, %+v", told, ready)
		}
		s.edit(func(c *siskinv1.Canary) { c.Spec.Suspend = false })
		s.pass()
		s.get(settings, &corev1.ConfigMap{})
		if why := s.stalledBy(); why != "" {
			t.Errorf("stalled by %q", why)
		}
	})
}

// What keeps a copy from being made is told like any other effect that fails.
func TestACopyThatCannotBeWritten(t *testing.T) {
	configured(t, func(s *stage) {
		t := s.t
		settings, _ := s.copies()
		s.remove(&corev1.ConfigMap{}, settings)
		s.Actor.Live = interceptor.NewClient(s.api, interceptor.Funcs{Create: func(context.Context, client.WithWatch, client.Object, ...client.CreateOption) error { return errBoom }})
		if res := s.pass(); res.RequeueAfter != time.Millisecond {
			t.Errorf("again in %s", res.RequeueAfter)
		}
		if _, err := s.once(); !errors.Is(err, errBoom) {
			t.Errorf("error %v", err)
		}
		s.sleep(15 * time.Second)
		_, _ = s.once()
		if told := s.events.take(); reasons(told) != "ActionFailed" {
			t.Errorf("told %v", told)
		}
		if waits := strings.Join(s.canary().Status.WaitingFor, "; "); !strings.Contains(waits, "copying ConfigMap settings: boom") {
			t.Errorf("waits for %q", waits)
		}
		s.Actor.Live = s.api
		s.pass()
		s.get(settings, &corev1.ConfigMap{})
	})
}
