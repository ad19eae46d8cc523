package canary_test

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
)

// TestAppsThatShareLabelsNeverReachEachOther : the pods of web have the labels that admin's have too, but one. Through
// good and bad rollouts of both at once, and a deletion, no Service of one app selects a pod of the other, whatever
// its selectors were in git, and the apex and the primary's Service find pods of their own.
func TestAppsThatShareLabelsNeverReachEachOther(t *testing.T) {
	play(t, newCanary(), func(s *stage) {
		second := newCanary(func(c *siskinv1.Canary) {
			c.Name, c.UID, c.Spec.TargetRef.Name = "admin", "admin-uid", "admin"
		})
		target := newTarget()
		target.Name = "admin"
		target.Labels["part"], target.Spec.Selector.MatchLabels["part"] = "admin", "admin"
		target.Spec.Template.Labels["part"] = "admin"
		s.create(target)
		s.create(second)
		began := map[string]bool{}
		both := func(done func(web, admin siskinv1.Phase) bool) {
			t.Helper()
			for range 200 {
				wake := s.clock.Now()
				s.kubelet()
				for _, name := range []string{"web", "admin"} {
					s.strangers(began)
					at := reconcile.Request{NamespacedName: types.NamespacedName{Namespace: "shop", Name: name}}
					if _, err := s.Reconcile(t.Context(), at); err != nil {
						t.Fatal(err)
					}
					synctest.Wait()
					s.strangers(began)
				}
				if done(s.phase("web"), s.phase("admin")) {
					return
				}
				s.clock.SetTime(wake.Add(5 * time.Second))
			}
			t.Fatalf("never: web is %s, admin is %s", s.phase("web"), s.phase("admin"))
		}
		both(func(web, admin siskinv1.Phase) bool {
			return web == siskinv1.PhaseInitialized && admin == siskinv1.PhaseInitialized
		})
		began["web"], began["admin"] = true, true
		s.image("web:2")
		s.imageOf("admin", "admin:2")
		both(func(web, admin siskinv1.Phase) bool {
			return web == siskinv1.PhaseSucceeded && admin == siskinv1.PhaseSucceeded
		})
		s.metrics.Answer(7)
		s.image("web:3")
		s.imageOf("admin", "admin:3")
		both(func(web, admin siskinv1.Phase) bool {
			return web == siskinv1.PhaseFailed && admin == siskinv1.PhaseFailed
		})
		delete(began, "web") // its apex goes back to what the target's selector says
		if err := s.api.Delete(t.Context(), s.canary()); err != nil {
			t.Fatal(err)
		}
		both(func(web, _ siskinv1.Phase) bool { return web == "" })
	})
}

// strangers holds the Services of all apps against the pods of all. began are the apps whose own pods serve.
func (s *stage) strangers(began map[string]bool) {
	s.t.Helper()
	var services corev1.ServiceList
	var pods appsv1.DeploymentList
	if err := errors.Join(s.api.List(s.t.Context(), &services), s.api.List(s.t.Context(), &pods)); err != nil {
		s.t.Fatal(err)
	}
	for i := range services.Items {
		svc, own := &services.Items[i], 0
		app, _, _ := strings.Cut(svc.Name, "-")
		for j := range pods.Items {
			d := &pods.Items[j]
			of, _, _ := strings.Cut(d.Name, "-")
			switch selected := labels.SelectorFromSet(svc.Spec.Selector).Matches(labels.Set(d.Spec.Template.Labels)); {
			case !selected || *d.Spec.Replicas == 0:
			case of == app:
				own++
			case began[app]:
				s.t.Errorf("Service %s (%v) selects the pods of %s", svc.Name, svc.Spec.Selector, d.Name)
			}
		}
		if began[app] && own == 0 && !strings.HasSuffix(svc.Name, "-canary") {
			s.t.Errorf("Service %s (%v) finds no pod", svc.Name, svc.Spec.Selector)
		}
	}
}

// phase of a Canary; "": it is gone.
func (s *stage) phase(name string) siskinv1.Phase {
	var c siskinv1.Canary
	if err := s.api.Get(s.t.Context(), types.NamespacedName{Namespace: "shop", Name: name}, &c); err != nil {
		return ""
	}
	return c.Status.Phase
}

func (s *stage) imageOf(name, image string) {
	s.t.Helper()
	d := s.deployment(name)
	d.Spec.Template.Spec.Containers[0].Image = image
	if err := s.api.Update(s.t.Context(), d); err != nil {
		s.t.Fatal(err)
	}
}
