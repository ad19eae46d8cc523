package canary_test

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/canary"
	"github.com/siskin-dev/siskin/pkg/router"
	"github.com/siskin-dev/siskin/pkg/router/routertest/toy"
)

// tabled is a Canary of the provider toy.
func tabled(c *siskinv1.Canary) {
	c.Spec.Provider = toy.Name
	c.Annotations = map[string]string{toy.TableAnnotation: "birds"}
}

// register wires routers as cmd/siskin does.
func (s *stage) register(registry router.Registry) {
	s.t.Helper()
	mapper := meta.NewDefaultRESTMapper(nil)
	mapper.Add(corev1.SchemeGroupVersion.WithKind("ConfigMap"), meta.RESTScopeNamespace)
	made, err := registry.Make(s.writes, s.writes, mapper)
	if err != nil || len(made.Missing) > 0 {
		s.t.Fatalf("%v, missing %v", err, made.Missing)
	}
	s.Observer.Routers, s.Actor.Routers, s.Claims = made.Routers, made.All, registry.Claims
	if err := s.api.Create(s.t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "birds", Namespace: "shop"}}); err != nil {
		s.t.Fatal(err)
	}
}

// serving makes passes until the Canary is in a phase, with a data plane that takes what is written, and returns the shares that it got.
func (s *stage) serving(phase siskinv1.Phase) []string {
	s.t.Helper()
	var seen []string
	for range 300 {
		s.kubelet()
		if err := toy.Serve(s.t.Context(), s.api, "shop", "birds"); err == nil {
			var split corev1.ConfigMap
			s.get("birds-split", &split)
			if share := split.Data["web-canary"]; len(seen) == 0 || seen[len(seen)-1] != share {
				seen = append(seen, share)
			}
		} else if !apierrors.IsNotFound(err) {
			s.t.Fatal(err)
		}
		res := s.pass()
		if s.canary().Status.Phase == phase {
			return seen
		}
		s.rest(res)
	}
	s.t.Fatalf("never %s: %+v", phase, s.canary().Status)
	return nil
}

// A router is its package and one line of a registry: the engine makes it, drives it, and gives up what it made.
func TestARouterIsOneLineOfARegistry(t *testing.T) {
	play(t, newCanary(tabled, func(c *siskinv1.Canary) { c.Spec.DeletionPolicy = siskinv1.DeletionPolicyOrphan }), func(s *stage) {
		t := s.t
		s.register(router.Registry{toy.Registration()})
		s.serving(siskinv1.PhaseInitialized)
		s.image("web:2")
		if seen := strings.Join(s.serving(siskinv1.PhaseSucceeded), " "); seen != "0 20 50" {
			t.Errorf("shares of the canary: %s", seen)
		}
		c := s.canary()
		if err := s.api.Delete(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		for range 20 {
			s.pass()
		}
		var split corev1.ConfigMap
		if s.get("birds-split", &split); len(split.OwnerReferences) > 0 || split.Data["web-canary"] != "0" {
			t.Errorf("it would go with the Canary, or says something else: %+v", split)
		}
	})
}

// What a router claims is claimed by one Canary, also if neither target nor Services are the same.
func TestTwoCanariesThatRouteByOneObject(t *testing.T) {
	for name, tc := range map[string]struct {
		table, want string
	}{"the same": {"birds", canary.ReasonRouteConflict}, "another": {"fish", ""}} {
		t.Run(name, func(t *testing.T) {
			play(t, newCanary(born, tabled), func(s *stage) {
				t := s.t
				s.register(router.Registry{toy.Registration()})
				other := another("old", time.Minute, func(c *siskinv1.Canary) {
					tabled(c)
					c.Spec.TargetRef.Name, c.Annotations[toy.TableAnnotation] = "old", tc.table
				})
				if err := s.api.Create(t.Context(), other); err != nil {
					t.Fatal(err)
				}
				for range 3 {
					s.pass()
				}
				reason, message := "", ""
				if stalled := meta.FindStatusCondition(s.canary().Status.Conditions, siskinv1.ConditionStalled); stalled != nil {
					reason, message = stalled.Reason, stalled.Message
				}
				told := strings.Contains(message, "Canary old already routes ConfigMap birds") && strings.Contains(message, toy.TableAnnotation)
				if reason != tc.want || told != (tc.want != "") {
					t.Errorf("%s: %s", reason, message)
				}
			})
		})
	}
}
