package canary_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/canary"
)

// another is a Canary that is one minute older (or younger) than web.
func another(name string, age time.Duration, edit func(*siskinv1.Canary)) *siskinv1.Canary {
	c := newCanary(edit)
	c.Name, c.UID = name, "other-uid"
	c.CreationTimestamp = metav1.NewTime(noon.Add(-age))
	return c
}

func born(c *siskinv1.Canary) { c.CreationTimestamp = metav1.NewTime(noon) }

// TestW30TwoCanariesThatWantTheSame : the younger one is refused, with the name of the other, and touches nothing.
func TestW30TwoCanariesThatWantTheSame(t *testing.T) {
	same := func(*siskinv1.Canary) {}
	for name, tc := range map[string]struct {
		reason string
		other  *siskinv1.Canary
		want   string // reason of web's conditions; "" : it goes on
	}{
		"same target":     {"two would pull at one Deployment", another("old", time.Minute, func(c *siskinv1.Canary) { c.Spec.Service.Name = "old" }), canary.ReasonTargetConflict},
		"same Services":   {"two would route one Service", another("old", time.Minute, func(c *siskinv1.Canary) { c.Spec.TargetRef.Name = "old"; c.Spec.Service.Name = "web" }), canary.ReasonServiceConflict},
		"a clone":         {"its target is the other one's primary", another("old", time.Minute, func(c *siskinv1.Canary) { c.Spec.TargetRef.Name = "web-primary"; c.Spec.Service.Name = "old" }), canary.ReasonTargetConflict},
		"a side":          {"its apex is the other one's canary Service", another("old", time.Minute, func(c *siskinv1.Canary) { c.Spec.TargetRef.Name = "old"; c.Spec.Service.Name = "web-canary" }), canary.ReasonServiceConflict},
		"another kind":    {"a DaemonSet may have a Deployment's name, its Service not", another("old", time.Minute, func(c *siskinv1.Canary) { c.Spec.TargetRef.Kind = "DaemonSet" }), canary.ReasonServiceConflict},
		"another":         {"they share nothing", another("old", time.Minute, func(c *siskinv1.Canary) { c.Spec.TargetRef.Name = "old" }), ""},
		"younger":         {"whoever was first goes on", another("new", -time.Minute, same), ""},
		"same age, later": {"the name decides", another("zoo", 0, same), ""},
		"same age, first": {"the name decides", another("app", 0, same), canary.ReasonTargetConflict},
		"at work": {"what is at work is not stopped by one that has not begun, whatever their age", another("new", -time.Minute, func(c *siskinv1.Canary) {
			c.Status.Stable = &siskinv1.RevisionStatus{Revision: "new-1"}
		}), canary.ReasonTargetConflict},
		"waits, younger": {"a phase is no work", another("new", -time.Minute, func(c *siskinv1.Canary) { c.Status.Phase = siskinv1.PhaseInitializing }), ""},
	} {
		t.Run(name, func(t *testing.T) {
			play(t, newCanary(born), func(s *stage) {
				t := s.t
				if err := s.api.Create(t.Context(), tc.other); err != nil {
					t.Fatal(err)
				}
				if tc.other.Status.Phase != "" || tc.other.Status.Stable != nil {
					if err := s.api.Status().Update(t.Context(), tc.other); err != nil {
						t.Fatal(err)
					}
				}
				s.quiet()
				for range 3 {
					s.pass()
				}
				c := s.canary()
				stalled := meta.FindStatusCondition(c.Status.Conditions, siskinv1.ConditionStalled)
				if tc.want == "" {
					if stalled != nil || c.Status.Phase == "" {
						t.Errorf("%s: %+v", tc.reason, c.Status)
					}
					return
				}
				if stalled == nil || stalled.Reason != tc.want || !strings.Contains(stalled.Message, "Canary "+tc.other.Name+" ") {
					t.Errorf("%s: %+v", tc.reason, stalled)
				}
				if ready := meta.FindStatusCondition(c.Status.Conditions, siskinv1.ConditionReady); ready == nil || ready.Status != metav1.ConditionFalse {
					t.Errorf("Ready is %+v", ready)
				}
				if told := s.events.take(); reasons(told) != tc.want {
					t.Errorf("told %v", told)
				}
				if s.writes.Writes() != 0 || s.stored != 1 || len(c.Finalizers) != 0 {
					t.Errorf("%s: it touched something: %d writes of status, finalizers %v", tc.reason, s.stored, c.Finalizers)
				}
			})
		})
	}
}

func TestW30TheYoungerGoesOnWhenTheOtherIsGone(t *testing.T) {
	play(t, newCanary(born), func(s *stage) {
		t := s.t
		old := another("old", time.Minute, func(*siskinv1.Canary) {})
		if err := s.api.Create(t.Context(), old); err != nil {
			t.Fatal(err)
		}
		s.pass()
		if err := s.api.Delete(t.Context(), old); err != nil {
			t.Fatal(err)
		}
		s.until(siskinv1.PhaseInitialized)
		if c := s.canary(); meta.FindStatusCondition(c.Status.Conditions, siskinv1.ConditionStalled) != nil {
			t.Errorf("conditions %v", c.Status.Conditions)
		}
	})
}

// TestW30ARefusedCanaryGoesWithoutATrace : what there is, is the other one's: nothing of it is given back.
func TestW30ARefusedCanaryGoesWithoutATrace(t *testing.T) {
	play(t, newCanary(born, func(c *siskinv1.Canary) { c.Finalizers = []string{siskinv1.Finalizer} }), func(s *stage) {
		t := s.t
		if err := s.api.Create(t.Context(), another("old", time.Minute, func(*siskinv1.Canary) {})); err != nil {
			t.Fatal(err)
		}
		held := s.deployment("web")
		held.Spec.Replicas, held.Annotations = new(int32(0)), map[string]string{siskinv1.HeldAnnotation: "old", siskinv1.ReplicasAnnotation: "2"}
		if err := s.api.Update(t.Context(), held); err != nil {
			t.Fatal(err)
		}
		before := s.deployment("web")
		if err := s.api.Delete(t.Context(), s.canary()); err != nil {
			t.Fatal(err)
		}
		s.pass()
		var gone siskinv1.Canary
		if err := s.api.Get(t.Context(), web, &gone); !apierrors.IsNotFound(err) {
			t.Errorf("it is still there: %v, %v", gone.Finalizers, err)
		}
		if after := s.deployment("web"); after.ResourceVersion != before.ResourceVersion {
			t.Errorf("the target of the other one was touched: %+v", after.Spec)
		}
		s.pass() // nothing is left to do
	})
}

// TestWhatIsAtWorkIsNotStoppedByOneThatHasBegunNothing : the older one waits for its target, so that the name of its Service can still be edited.
func TestWhatIsAtWorkIsNotStoppedByOneThatHasBegunNothing(t *testing.T) {
	play(t, newCanary(born), func(s *stage) {
		t := s.t
		old := another("old", time.Minute, func(c *siskinv1.Canary) { c.Spec.TargetRef.Name, c.Status.Phase = "old", siskinv1.PhaseInitializing })
		if err := s.api.Create(t.Context(), old); err != nil {
			t.Fatal(err)
		}
		if err := s.api.Status().Update(t.Context(), old); err != nil {
			t.Fatal(err)
		}
		s.onTrial()
		old.Spec.Service.Name = "web"
		if err := s.api.Update(t.Context(), old); err != nil {
			t.Fatal(err)
		}
		s.until(siskinv1.PhaseSucceeded)
	})
}

// onTrial brings the Canary to its first step.
func (s *stage) onTrial() {
	s.t.Helper()
	s.until(siskinv1.PhaseInitialized)
	s.image("web:2")
	for range 100 {
		if s.canary().Status.CanaryWeight == 20 {
			return
		}
		s.kubelet()
		s.sleep(max(s.pass().RequeueAfter, time.Millisecond))
	}
	s.t.Fatalf("it never got traffic: %+v", s.canary().Status)
}

// TestARefusedCanaryThatHasBegunGivesBackWhatItHas : both have begun, as an earlier Siskin let them. What the other one holds stays with it.
func TestARefusedCanaryThatHasBegunGivesBackWhatItHas(t *testing.T) {
	for name, tc := range map[string]struct {
		reason string
		other  func(*siskinv1.Canary)
		holds  func(*stage) client.Object // what the other one has
	}{
		"same name of the Service": {"all is its own", func(c *siskinv1.Canary) { c.Spec.TargetRef.Name, c.Spec.Service.Name = "old", "web" }, nil},
		"the Service is the other's": {"the target is its own", func(c *siskinv1.Canary) { c.Spec.TargetRef.Name, c.Spec.Service.Name = "old", "web" }, func(s *stage) client.Object {
			var apex corev1.Service
			s.get("web", &apex)
			apex.OwnerReferences[0].Name, apex.OwnerReferences[0].UID = "old", "other-uid"
			return &apex
		}},
		"the target is the other's": {"nothing is to be given back", func(c *siskinv1.Canary) { c.Spec.Service.Name = "old" }, func(s *stage) client.Object {
			held := s.deployment("web")
			held.Annotations[siskinv1.HeldAnnotation] = "old"
			return held
		}},
	} {
		t.Run(name, func(t *testing.T) {
			play(t, newCanary(born), func(s *stage) {
				t := s.t
				s.onTrial()
				old := another("old", time.Minute, func(c *siskinv1.Canary) { c.Status.Stable = &siskinv1.RevisionStatus{Revision: "old-1"} })
				tc.other(old)
				if err := s.api.Create(t.Context(), old); err != nil {
					t.Fatal(err)
				}
				if err := s.api.Status().Update(t.Context(), old); err != nil {
					t.Fatal(err)
				}
				var held client.Object
				if tc.holds != nil {
					held = tc.holds(s)
					if err := s.api.Update(t.Context(), held); err != nil {
						t.Fatal(err)
					}
				}
				s.pass()
				if stalled := meta.FindStatusCondition(s.canary().Status.Conditions, siskinv1.ConditionStalled); stalled == nil {
					t.Fatal("the story needs a Canary that is refused")
				}
				if err := s.api.Delete(t.Context(), s.canary()); err != nil {
					t.Fatal(err)
				}
				s.gone()
				if kept, ok := held.(*appsv1.Deployment); ok {
					if now := s.deployment("web"); now.Annotations[siskinv1.HeldAnnotation] != "old" || *now.Spec.Replicas != *kept.Spec.Replicas {
						t.Errorf("%s: the target was taken from the other one: %v, %d pods", tc.reason, now.Annotations, *now.Spec.Replicas)
					}
					return
				}
				if now := s.deployment("web"); *now.Spec.Replicas != 2 || now.Annotations[siskinv1.HeldAnnotation] != "" {
					t.Errorf("%s: the target has %d pods, %v", tc.reason, *now.Spec.Replicas, now.Annotations)
				}
				var apex corev1.Service
				s.get("web", &apex)
				if role := apex.Spec.Selector[siskinv1.RoleLabel]; (role == "") != (held == nil) {
					t.Errorf("%s: Service web selects the role %q", tc.reason, role)
				}
			})
		})
	}
}

// gone makes passes, with pods that come up in between, until the Canary is gone.
func (s *stage) gone() {
	s.t.Helper()
	for range 100 {
		s.kubelet()
		res := s.pass()
		if err := s.api.Get(s.t.Context(), web, &siskinv1.Canary{}); apierrors.IsNotFound(err) {
			return
		}
		s.sleep(max(res.RequeueAfter, time.Millisecond))
	}
	s.t.Fatalf("it is still there: %+v", s.canary().Status)
}

// TestW12ReferencesToOtherNamespaces : a Canary that was valid when it was made is edited to name another namespace. That is shown, a
// rollout does not begin, and nothing of the other namespace is read.
func TestW12ReferencesToOtherNamespaces(t *testing.T) {
	template := func(namespace string) func(*siskinv1.Canary) {
		return func(c *siskinv1.Canary) {
			m := &c.Spec.Analysis.Metrics[0]
			m.Query, m.TemplateRef = "", &siskinv1.NamespacedRef{Namespace: namespace, Name: "errors"}
		}
	}
	provider := func(namespace string) func(*siskinv1.Canary) {
		return func(c *siskinv1.Canary) { c.Spec.Analysis.Alerts[0].ProviderRef.Namespace = namespace }
	}
	for name, tc := range map[string]struct {
		edit  func(*siskinv1.Canary)
		want  string // field
		right func(*siskinv1.Canary)
	}{
		"MetricTemplate": {template("other"), "spec.analysis.metrics[0].templateRef", template("shop")},
		"AlertProvider":  {provider("other"), "spec.analysis.alerts[0].providerRef", provider("shop")},
	} {
		t.Run(name, func(t *testing.T) {
			play(t, newCanary(), func(s *stage) {
				t := s.t
				s.wire(true)
				for _, ns := range []string{"shop", "other"} {
					mt := &siskinv1.MetricTemplate{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "errors"}}
					mt.Spec.Provider.Type, mt.Spec.Provider.SecretRef, mt.Spec.Query = "prometheus", &siskinv1.SecretRef{Name: "token"}, "errors"
					chat := &siskinv1.AlertProvider{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "chat"}}
					chat.Spec = siskinv1.AlertProviderSpec{Type: "slack", Address: "http://chat"}
					key := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "token"}, Data: map[string][]byte{"token": []byte("t")}}
					for _, obj := range []client.Object{mt, chat, key} {
						if err := client.IgnoreAlreadyExists(s.api.Create(t.Context(), obj)); err != nil {
							t.Fatal(err)
						}
					}
				}
				s.until(siskinv1.PhaseInitialized)
				s.image("web:2")
				for s.canary().Status.CanaryWeight == 0 { // it is used while it goes on, which is when a peer does not look any more
					s.kubelet()
					if res := s.pass(); res.RequeueAfter > 0 {
						s.sleep(res.RequeueAfter)
					}
				}
				s.edit(tc.edit)
				for range 20 {
					s.kubelet()
					s.pass()
					s.sleep(10 * time.Second)
				}
				c := s.canary()
				stalled := meta.FindStatusCondition(c.Status.Conditions, siskinv1.ConditionStalled)
				if stalled == nil || stalled.Reason != "CrossNamespaceRef" || !strings.Contains(stalled.Message, tc.want) {
					t.Errorf("conditions %+v", c.Status.Conditions)
				}
				if c.Status.CanaryWeight != 20 || c.Status.Phase != siskinv1.PhaseProgressing {
					t.Errorf("it went on: %s at %d %%", c.Status.Phase, c.Status.CanaryWeight)
				}
				s.reach(siskinv1.PhaseFailed) // at the deadline, which people are told
				s.pass()
				if i := slices.IndexFunc(s.read, func(read string) bool { return strings.HasPrefix(read, "other/") }); i >= 0 {
					t.Errorf("something of the other namespace was read: %s", s.read[i])
				}
				s.edit(tc.right)
				s.image("web:3")
				s.until(siskinv1.PhaseSucceeded)
			})
		})
	}
}

// TestACanaryOfAnotherShardIsLeftAlone : it is handed over by a label, with its clocks.
func TestACanaryOfAnotherShardIsLeftAlone(t *testing.T) {
	play(t, newCanary(func(c *siskinv1.Canary) { c.Labels = map[string]string{"shard": "a"} }), func(s *stage) {
		t := s.t
		s.shard(t, "shard=a")
		s.until(siskinv1.PhaseInitialized)
		s.image("web:2")
		for s.canary().Status.CanaryWeight == 0 {
			s.kubelet()
			if res := s.pass(); res.RequeueAfter > 0 {
				s.sleep(res.RequeueAfter)
			}
		}
		ends := s.canary().Status.Step.EndsAt.Time
		s.edit(func(c *siskinv1.Canary) { c.Labels["shard"] = "b" })
		s.quiet()
		before := s.canary()
		for range 5 {
			s.sleep(time.Minute)
			if res := s.pass(); res != (reconcile.Result{}) {
				t.Errorf("it wants to be looked at again: %v", res)
			}
		}
		if after := s.canary(); after.ResourceVersion != before.ResourceVersion || s.writes.Writes() != 0 || len(s.events.take()) != 0 {
			t.Error("it was touched")
		}
		if !s.clock.Now().After(ends) {
			t.Fatal("the story needs a step that is over")
		}
		s.shard(t, "shard=b") // the other controller
		s.pass()
		c := s.canary()
		if c.Status.Rollout.ID != 1 || c.Status.CanaryWeight > 50 || c.Status.Phase != siskinv1.PhaseProgressing {
			t.Errorf("rollout %d is %s at %d %%", c.Status.Rollout.ID, c.Status.Phase, c.Status.CanaryWeight)
		}
		s.until(siskinv1.PhaseSucceeded)
		if n := s.canary().Status.Rollout.ID; n != 1 {
			t.Errorf("it was released %d times", n)
		}
		var d appsv1.Deployment
		s.get("web-primary", &d)
		if d.Spec.Template.Spec.Containers[0].Image != "web:2" {
			t.Errorf("the primary runs %s", d.Spec.Template.Spec.Containers[0].Image)
		}
	})
}
