package canary_test

import (
	"maps"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
)

// A deletion needs no snapshot: the target gets its pods back with the content that it has, whatever became of what was kept.
func TestADeletionWithoutSnapshots(t *testing.T) {
	for name, tc := range map[string]struct {
		reason string
		begun  bool // a rollout of web:2 has traffic
		target bool // it still exists
		image  string
		policy siskinv1.DeletionPolicy
	}{
		"idle":                    {"the target has what serves", false, true, "web:1", ""},
		"midway":                  {"the target has what git says", true, true, "web:2", ""},
		"idle, without a target":  {"there is nothing to give back", false, false, "", ""},
		"midway, without it":      {"there is nothing to give back", true, false, "", ""},
		"midway, all is left":     {"the target stays at zero", true, true, "web:2", siskinv1.DeletionPolicyOrphan},
		"idle, left, without one": {"the primary serves on", false, false, "", siskinv1.DeletionPolicyOrphan},
	} {
		t.Run(name, func(t *testing.T) {
			play(t, newCanary(func(c *siskinv1.Canary) { c.Spec.DeletionPolicy = tc.policy }), func(s *stage) {
				t := s.t
				s.until(siskinv1.PhaseInitialized)
				if tc.begun {
					s.image("web:2")
					for s.canary().Status.CanaryWeight == 0 {
						s.kubelet()
						s.sleep(s.pass().RequeueAfter)
					}
				}
				if err := s.api.DeleteAllOf(t.Context(), &appsv1.ControllerRevision{}, client.InNamespace("shop")); err != nil {
					t.Fatal(err)
				}
				if !tc.target {
					s.remove(&appsv1.Deployment{}, "web")
				}
				primary := s.deployment("web-primary").Spec
				if err := s.api.Delete(t.Context(), s.canary()); err != nil {
					t.Fatal(err)
				}
				for i := 0; s.api.Get(t.Context(), web, &siskinv1.Canary{}) == nil; i++ {
					if i > 20 {
						t.Fatalf("%s: it never goes: %+v", tc.reason, s.canary().Status)
					}
					s.kubelet()
					s.sleep(s.pass().RequeueAfter)
				}
				if diff := cmp.Diff(primary, s.deployment("web-primary").Spec); diff != "" {
					t.Errorf("the primary is as it was: -was +is\n%s", diff)
				}
				var d appsv1.Deployment
				err := s.api.Get(t.Context(), web, &d)
				if !tc.target {
					if !apierrors.IsNotFound(err) {
						t.Errorf("%s: %v, %+v", tc.reason, err, d.Spec)
					}
					return
				}
				want := int32(2)
				if tc.policy == siskinv1.DeletionPolicyOrphan {
					want = 0
				}
				if err != nil || *d.Spec.Replicas != want || d.Spec.Template.Spec.Containers[0].Image != tc.image {
					t.Errorf("%s: %v, %+v", tc.reason, err, d.Spec)
				}
				var apex corev1.Service
				serves := map[string]string{"app": "web"}
				if want == 0 {
					serves = map[string]string{siskinv1.CloneLabel: "web", siskinv1.RoleLabel: "primary"}
				}
				if s.get("web", &apex); !maps.Equal(apex.Spec.Selector, serves) {
					t.Errorf("the apex selects %v", apex.Spec.Selector)
				}
			})
		})
	}
}

// git goes on saying web:2, which failed. Everybody gets web:1 back, and is told what git says.
func TestADeletionOfAFailedCanaryGivesBackWhatWasPromoted(t *testing.T) {
	play(t, newCanary(), func(s *stage) {
		t := s.t
		s.until(siskinv1.PhaseInitialized)
		s.sick["web-canary"] = true
		s.image("web:2")
		s.until(siskinv1.PhaseFailed)
		s.events.take()
		stable := s.canary().Status.Stable.Revision
		if err := s.api.Delete(t.Context(), s.canary()); err != nil {
			t.Fatal(err)
		}
		for i := 0; s.api.Get(t.Context(), web, &siskinv1.Canary{}) == nil; i++ {
			if i > 30 {
				t.Fatalf("it never goes: %+v", s.canary().Status)
			}
			s.kubelet()
			s.sleep(s.pass().RequeueAfter)
			d := s.deployment("web")
			if image := d.Spec.Template.Spec.Containers[0].Image; *d.Spec.Replicas > 0 && image != "web:1" {
				t.Fatalf("the target has pods of %s", image)
			}
		}
		d := s.deployment("web")
		if d.Spec.Template.Spec.Containers[0].Image != "web:1" || *d.Spec.Replicas != 2 || d.Annotations[siskinv1.RestoredAnnotation] != stable {
			t.Errorf("the target was not given back: %+v, %v", d.Spec, d.Annotations)
		}
		told := s.events.take()
		if reasons(told) != "Terminating" || !strings.HasPrefix(told[0], "Warning") || !strings.Contains(told[0], stable) || !strings.Contains(told[0], "image web:2") {
			t.Errorf("told %v", told)
		}
	})
}

// A namespace that is being deleted takes nothing new: that is no error of anybody's.
func TestANamespaceThatGoesIsNoError(t *testing.T) {
	play(t, newCanary(), func(s *stage) {
		t := s.t
		s.until(siskinv1.PhaseInitialized)
		s.quiet()
		s.image("web:2")
		going := apierrors.NewForbidden(corev1.Resource("services"), "web", errBoom)
		going.ErrStatus.Details.Causes = []metav1.StatusCause{{Type: corev1.NamespaceTerminatingCause}}
		for s.canary().Status.CanaryWeight == 0 {
			s.kubelet()
			s.router.FailNext("Apply", going)
			res := s.pass() // fails the test on an error
			if res.RequeueAfter <= 0 {
				t.Fatalf("nobody looks again: %v", res)
			}
			s.sleep(res.RequeueAfter)
		}
		for range 2 {
			s.router.FailNext("Apply", going)
			s.pass()
		}
		if told := s.events.take(); strings.Contains(reasons(told), "ActionFailed") {
			t.Errorf("told %v", told)
		}
	})
}
