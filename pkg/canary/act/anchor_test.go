package act_test

import (
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	controller "github.com/siskin-dev/siskin/pkg/canary"
	"github.com/siskin-dev/siskin/pkg/canary/plan"
	"github.com/siskin-dev/siskin/pkg/router/service"
)

// anchoredStage is a stage on which all that Siskin makes has the target as an owner too.
func anchoredStage(t *testing.T) (s *stage, revision string) {
	t.Helper()
	s = newStage(t, canary(), deployment("web:1"))
	s.Client = controller.Anchored(s.counter)
	s.Services = service.New(s.Client, s.counter)
	revision = s.revision()
	s.must(plan.TakeSnapshot{Revision: revision}, plan.ApplyPrimary{Revision: revision, Replicas: 3},
		plan.ApplyCanary{Revision: revision, Replicas: 1}, plan.ApplyServices{Serving: true, Split: plan.AllPrimary()})
	for name, obj := range s.generated(revision) {
		if owners := s.owners(name, obj); len(owners) != 2 || owners[1].UID != "web-uid" {
			t.Fatalf("%T %s has owners %v", obj, name, owners)
		}
	}
	return s, revision
}

func (s *stage) generated(revision string) map[string]client.Object {
	return map[string]client.Object{
		"web-primary": &appsv1.Deployment{}, "web-canary": &appsv1.Deployment{}, "web": &corev1.Service{}, revision: &appsv1.ControllerRevision{},
	}
}

func (s *stage) owners(name string, obj client.Object) []metav1.OwnerReference {
	s.t.Helper()
	s.get(name, obj)
	return obj.GetOwnerReferences()
}

// collected is what the garbage collector does of a deletion in the foreground: it takes the reference to the Canary.
func (s *stage) collected(name string, obj client.Object) {
	s.t.Helper()
	obj.SetOwnerReferences(s.owners(name, obj)[1:])
	if err := s.api.Update(s.t.Context(), obj); err != nil {
		s.t.Fatal(err)
	}
}

// At the end of a deletion the clones and snapshots go with the Canary, whatever the garbage collector did to them
// before, and nothing of the apex.
func TestWhatFinishLeavesToTheCollector(t *testing.T) {
	for _, foreground := range []bool{false, true} {
		s, revision := anchoredStage(t)
		if foreground {
			for name, obj := range s.generated(revision) {
				s.collected(name, obj)
			}
		}
		s.must(plan.RestoreServices{}, plan.Finish{})
		for name, obj := range s.generated(revision) {
			owners := s.owners(name, obj)
			if name == "web" {
				if len(owners) != 0 {
					t.Errorf("foreground %t: the apex would go with %v", foreground, owners)
				}
				continue
			}
			if len(owners) != 1 || !metav1.IsControlledBy(obj, s.canary) {
				t.Errorf("foreground %t: %T %s would stay: %v", foreground, obj, name, owners)
			}
		}
	}
}

// What is left behind is left by the target too: it goes with nothing.
func TestWhatIsAbandonedHasNoOwner(t *testing.T) {
	for _, foreground := range []bool{false, true} {
		s, revision := anchoredStage(t)
		if foreground {
			for name, obj := range s.generated(revision) {
				s.collected(name, obj)
			}
		}
		s.must(plan.Abandon{})
		for name, obj := range s.generated(revision) {
			if owners := s.owners(name, obj); len(owners) != 0 {
				t.Errorf("foreground %t: %T %s would go with %v", foreground, obj, name, owners)
			}
		}
	}
}
