package observe_test

import (
	"testing"

	appsv1 "k8s.io/api/apps/v1"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/canary/plan"
)

// TestZeroOfATargetThatIsHeld : a zero over Siskin's own says nothing. The record does, which GitSync writes, or a person.
func TestZeroOfATargetThatIsHeld(t *testing.T) {
	for recorded, want := range map[string]int32{"3": 3, "0": 0} {
		target := deployment(func(d *appsv1.Deployment) {
			d.Spec.Replicas = new(int32(0))
			d.Annotations = map[string]string{siskinv1.HeldAnnotation: "web", siskinv1.ReplicasAnnotation: recorded}
		})
		c := canary(promoted("r1"))
		c.Status.Phase, c.Status.Replicas, c.Status.Split = siskinv1.PhaseSucceeded, new(int32(3)), &siskinv1.SplitStatus{Primary: 100}
		primary := clone(siskinv1.RolePrimary, "r1", deployment(), func(d *appsv1.Deployment) { d.Spec.Replicas = new(int32(3)) })
		p := newPlace(t, c, target, primary, snapshot(t, "r1", deployment()))
		s := p.Snapshot(p.world(t), plan.Spec{Interval: 1}, now, now)
		if s.Target.Replicas != want || !s.Target.Held {
			t.Errorf("recorded %s: the user wants %d, want %d", recorded, s.Target.Replicas, want)
		}
		scaled := int32(3)
		for _, e := range plan.Decide(s).Effects {
			if a, ok := e.(plan.ApplyPrimary); ok {
				scaled = a.Replicas
			}
		}
		if scaled != want {
			t.Errorf("recorded %s: the primary gets %d pods, want %d", recorded, scaled, want)
		}
	}
}
