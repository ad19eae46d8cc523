package act_test

import (
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/canary/plan"
)

// A snapshot that an earlier Canary left belongs to the one that uses it, which is written once.
func TestALeftSnapshotIsOwnedAgain(t *testing.T) {
	left := stored(t, "web-left", 1, deployment("web:1"))
	left.OwnerReferences = nil
	spare := stored(t, "web-spare", 1, deployment("web:0"))
	spare.OwnerReferences = nil
	c := canary(func(c *siskinv1.Canary) { c.Status.Stable = &siskinv1.RevisionStatus{Revision: "web-left"} })
	s := newStage(t, c, deployment("web:1"), left, spare)
	for _, want := range []int{1, 0} {
		s.counter.Writes()
		s.must()
		if n := s.counter.Writes(); n != want {
			t.Errorf("%d writes, want %d", n, want)
		}
	}
	var cr appsv1.ControllerRevision
	s.get("web-left", &cr)
	if !metav1.IsControlledBy(&cr, s.canary) {
		t.Errorf("owned by %v", cr.OwnerReferences)
	}
}

// A snapshot of a Canary that was deleted a moment ago is not stored: the garbage collector takes it.
func TestASnapshotThatGoesIsTakenAnew(t *testing.T) {
	s := newStage(t, canary(), deployment("web:1"))
	rev := s.revision()
	going := stored(t, rev, 1, deployment("web:1"))
	going.OwnerReferences[0].UID = "an-earlier-one"
	if err := s.api.Create(t.Context(), going); err != nil {
		t.Fatal(err)
	}
	if s.snapshotOf(s.world()).Target.Stored {
		t.Error("it is not stored for good")
	}
	if err := s.do(plan.TakeSnapshot{Revision: rev}); err == nil || !strings.Contains(err.Error(), "is being deleted") {
		t.Errorf("error %v", err)
	}
	if err := s.api.Delete(t.Context(), going); err != nil {
		t.Fatal(err)
	}
	s.must(plan.TakeSnapshot{Revision: rev})
	if !s.snapshotOf(s.world()).Target.Stored {
		t.Error("it was taken anew")
	}
}
