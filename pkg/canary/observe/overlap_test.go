package observe_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/canary/target"
)

// A Service target whose port number changes: a route has one number for both sides, so that each clone also serves
// that of the other, until a later rollout.
func TestThePortOfAServiceTargetChanges(t *testing.T) {
	at := func(number int32) *corev1.Service {
		s := svc("web", map[string]string{"app": "web"})
		s.Spec.Ports[0].Port = number
		return s
	}
	revision := func(t *testing.T, name string, s *corev1.Service) *appsv1.ControllerRevision {
		t.Helper()
		cr, err := target.Snapshot(canary(ofKind(target.Service)), name, 1, target.From(s))
		if err != nil {
			t.Fatal(err)
		}
		return cr
	}
	clone := func(t *testing.T, role, name string, s *corev1.Service) *corev1.Service {
		t.Helper()
		obj, err := target.Clone(canary(ofKind(target.Service)), role, name, target.From(s), 1)
		if err != nil {
			t.Fatal(err)
		}
		obj.SetUID("uid")
		return obj.(*corev1.Service)
	}
	state := func(stable, candidate, previous string) func(*siskinv1.Canary) {
		return func(c *siskinv1.Canary) {
			ofKind(target.Service)(c)
			c.Spec.Service.Port = 0
			c.Status.Phase, c.Status.Stable = siskinv1.PhaseProgressing, &siskinv1.RevisionStatus{Revision: stable}
			c.Status.Canary = &siskinv1.RevisionStatus{Revision: candidate}
			c.Status.Rollout = &siskinv1.RolloutStatus{ID: 1, Previous: previous}
		}
	}
	for name, tt := range map[string]struct {
		reason  string
		edit    func(*siskinv1.Canary)
		primary string // what it runs
		live    []int32
		want    string
		route   int32
		canary  string
	}{
		"on trial":    {"the route leads by the promoted number", state("r1", "r2", "r1"), "r1", []int32{80}, "80 81", 80, "81 80"},
		"promoted":    {"the route follows, and the other number stays", state("r2", "r2", "r1"), "r2", []int32{81, 80}, "81 80", 81, "81 80"},
		"long ago":    {"nothing leads there any more", state("r2", "r2", "r2"), "r2", []int32{81, 80}, "81", 81, "81"},
		"not there":   {"what cannot be served is not led to", state("r2", "r2", "r1"), "r2", []int32{80}, "81 80", 80, "81 80"},
		"none before": {"the first one", state("r1", "r1", ""), "r1", []int32{80}, "80", 80, ""},
	} {
		t.Run(name, func(t *testing.T) {
			live := clone(t, "primary", tt.primary, at(tt.live[0]))
			for _, extra := range tt.live[1:] {
				live.Spec.Ports = append(live.Spec.Ports, corev1.ServicePort{Name: fmt.Sprintf("tcp-%d", extra), Port: extra})
			}
			objs := []client.Object{at(81), revision(t, "r1", at(80)), revision(t, "r2", at(81)), live}
			w := newPlace(t, canary(tt.edit), objs...).world(t)
			numbers := func(revision string, from *corev1.Service, live client.Object) string {
				var out []string
				for _, p := range w.Managed(revision, target.From(from), live).Service.Ports {
					if p.Name == "" {
						t.Error("of several ports each needs a name")
					}
					out = append(out, strconv.Itoa(int(p.Port)))
				}
				return strings.Join(out, " ")
			}
			content := map[string]*corev1.Service{"r1": at(80), "r2": at(81)}
			if got := numbers(tt.primary, content[tt.primary], live); got != tt.want {
				t.Errorf("the primary serves %s, want %s: %s", got, tt.want, tt.reason)
			}
			if got := numbers("r2", at(81), nil); tt.canary != "" && got != tt.canary {
				t.Errorf("the canary serves %s, want %s", got, tt.canary)
			}
			if w.Intent.Port != tt.route {
				t.Errorf("the route leads to %d, want %d: %s", w.Intent.Port, tt.route, tt.reason)
			}
		})
	}
}
