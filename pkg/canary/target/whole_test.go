package target_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/canary/target"
)

// sized is the clone of a target, of whatever kind, with n pods, or off at 0.
func sized(t *testing.T, obj client.Object, revision string, n int32) client.Object {
	t.Helper()
	c := canary()
	c.Spec.TargetRef.Kind = target.KindOf(obj)
	out, err := target.Clone(c, "canary", revision, target.From(obj), n)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestAReplacedCloneIsAsIfItHadBeenApplied(t *testing.T) {
	for kind, obj := range kinds() {
		t.Run(kind, func(t *testing.T) {
			live := sized(t, obj, "r1", 1)
			live.SetUID("live")
			off := sized(t, obj, "r1", 0)
			target.Replace(live, off)
			if target.Observe(live).Replicas != 0 || live.GetUID() != "live" {
				t.Errorf("it is not turned off: %+v", live)
			}
			target.Replace(live, sized(t, obj, "r1", 1))
			if target.Observe(live).Replicas != 1 {
				t.Error("it is not turned on again")
			}
			obj.SetAnnotations(map[string]string{"team": "birds"})
			want := sized(t, obj, "r2", 1)
			target.Replace(live, want)
			if !target.Runs(live, want) || !target.Keeps(live, want) || live.GetAnnotations()[siskinv1.WholeAnnotation] == "" {
				t.Errorf("%+v", live)
			}
			if diff := cmp.Diff(want.GetLabels(), live.GetLabels()); diff != "" {
				t.Error(diff)
			}
		})
	}
	svc := &corev1.Service{}
	target.Replace(svc, &corev1.Service{Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeNodePort}})
	if svc.Spec.Type != "" {
		t.Error("a Service is applied")
	}
}
