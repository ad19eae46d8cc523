package act_test

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/canary/plan"
	"github.com/siskin-dev/siskin/pkg/canary/target"
	"github.com/siskin-dev/siskin/pkg/router"
	"github.com/siskin-dev/siskin/pkg/router/routertest"
)

func TestHoldTouchesOnlySizeAndMarks(t *testing.T) {
	s := newStage(t, canary(), deployment("web:1", func(d *appsv1.Deployment) { d.Annotations = map[string]string{"team": "a"} }))
	before := s.deployment("web")
	for range 2 {
		s.must(plan.HoldTarget{Replicas: 3})
		d := s.deployment("web")
		want := map[string]string{"team": "a", siskinv1.HeldAnnotation: "web", siskinv1.ReplicasAnnotation: "3"}
		if diff := cmp.Diff(want, d.Annotations); diff != "" {
			t.Errorf("annotations: -want +got\n%s", diff)
		}
		after := d.DeepCopy()
		after.Spec.Replicas = before.Spec.Replicas
		if diff := cmp.Diff(before.Spec, after.Spec); diff != "" || *d.Spec.Replicas != 0 {
			t.Errorf("%d replicas; the rest of the spec: -was +is\n%s", *d.Spec.Replicas, diff)
		}
		if created := s.world().Target.GetCreationTimestamp(); !created.Equal(&before.CreationTimestamp) || d.UID != before.UID {
			t.Error("it is another object")
		}
	}
	s.must(plan.ReleaseTarget{Replicas: 5})
	d := s.deployment("web")
	if diff := cmp.Diff(map[string]string{"team": "a"}, d.Annotations); diff != "" || *d.Spec.Replicas != 5 {
		t.Errorf("%d replicas; annotations: -want +got\n%s", *d.Spec.Replicas, diff)
	}
	// What is not sent stays another's; a number that is not sent would have no owner and fall back to one.
	sent := func(replicas float64, annotations any) map[string]any {
		return map[string]any{
			"apiVersion": "apps/v1", "kind": "Deployment", "spec": map[string]any{"replicas": replicas},
			"metadata": map[string]any{"name": "web", "namespace": "shop", "uid": "web-uid", "annotations": annotations},
		}
	}
	marks := map[string]any{siskinv1.HeldAnnotation: "web", siskinv1.ReplicasAnnotation: "3"}
	released := sent(5, nil)
	released["metadata"].(map[string]any)["resourceVersion"] = s.patches[2].body["metadata"].(map[string]any)["resourceVersion"]
	first := sent(0, marks) // its author may be writing the number just now
	first["metadata"].(map[string]any)["resourceVersion"] = s.patches[0].body["metadata"].(map[string]any)["resourceVersion"]
	for i, want := range []map[string]any{first, sent(0, marks), released} {
		if diff := cmp.Diff(want, s.patches[i].body); diff != "" {
			t.Errorf("patch %d: -want +got\n%s", i, diff)
		}
	}
}

// The API server refuses an apply whose uid is not the object's, and so does not create one: what is sent must have it.
func TestATargetThatIsGoneIsNotHalfCreated(t *testing.T) {
	for name, effect := range map[string]plan.Effect{"hold": plan.HoldTarget{Replicas: 3}, "release": plan.ReleaseTarget{Replicas: 3}} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t, canary(), deployment("web:1"))
			w := s.world()
			if err := s.api.Delete(t.Context(), s.deployment("web")); err != nil {
				t.Fatal(err)
			}
			if out, err := s.Run(t.Context(), w, []plan.Effect{effect}); err == nil && out.Later == 0 {
				t.Error("a Deployment that was deleted was scaled")
			}
			if len(s.patches) != 1 {
				t.Fatalf("%d patches", len(s.patches))
			}
			meta, _ := s.patches[0].body["metadata"].(map[string]any)
			if meta["uid"] != "web-uid" {
				t.Errorf("the patch has no uid: %v", s.patches[0].body)
			}
			s.counter.Writes()
			s.must(effect)
			if n := s.counter.Writes(); n != 0 {
				t.Errorf("%d writes without a target", n)
			}
		})
	}
}

func TestRestore(t *testing.T) {
	for name, tc := range map[string]struct {
		reason string
		target bool
		owned  bool
	}{
		"the target serves on": {"clients go on using the apex", true, false},
		"the target is gone":   {"what was generated goes with the Canary", false, true},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t, canary(), deployment("web:1"))
			s.must(plan.ApplyServices{Serving: true, Split: plan.AllPrimary()}, plan.ApplySplit{Split: plan.AllPrimary()})
			if !tc.target {
				if err := s.api.Delete(t.Context(), s.deployment("web")); err != nil {
					t.Fatal(err)
				}
			}
			for range 2 {
				s.must(plan.RestoreServices{})
				svc := s.service("web")
				if _, role := svc.Spec.Selector[siskinv1.RoleLabel]; role || metav1.IsControlledBy(svc, s.canary) != tc.owned {
					t.Errorf("%s: apex %+v", tc.reason, svc)
				}
				s.service("web-primary") // it stays until the finalizer goes
				if _, ok := s.router.Split("shop/web"); ok {
					t.Error("the route was not given back")
				}
			}
			if s.Memo.Known(s.world()) {
				t.Error("the Services are not as they were")
			}
		})
	}
}

func TestRestoreTellsWhatFailed(t *testing.T) {
	s := newStage(t, canary(), deployment("web:1"))
	s.router.FailNext("Release", errBoom)
	if err := s.do(plan.RestoreServices{}); err == nil {
		t.Error("the route could not be given back")
	}
	w := s.world()
	w.Router = nil // its provider is not known any more: that must not keep the Canary for ever
	if _, err := s.Run(t.Context(), w, []plan.Effect{plan.RestoreServices{}}); err != nil {
		t.Error(err)
	}
}

func TestAbandonTakesTheOwnerOffEverything(t *testing.T) {
	r := target.From(deployment("web:1"))
	tracked := cloned(canary(), "primary", "r1", r, 1)
	tracked.Labels[target.Tracking] = "web" // an earlier Siskin wrote it
	s := newStage(t, canary(func(c *siskinv1.Canary) { c.Spec.DeletionPolicy = siskinv1.DeletionPolicyOrphan }),
		deployment("web:1"), stored(t, "r1", 1, deployment("web:1")),
		tracked, cloned(canary(), "canary", "r1", r, 1))
	s.must(plan.ApplyServices{Serving: true, Split: plan.AllPrimary()})
	s.must(plan.Abandon{}, plan.Finish{})

	if _, is := s.deployment("web-primary").Labels[target.Tracking]; is {
		t.Error("Argo CD would prune what serves")
	}

	if calls := s.router.Calls(); len(calls) == 0 || calls[len(calls)-1].Op != "Orphan" {
		t.Errorf("the route would go with the Canary: %v", calls)
	}
	var cr appsv1.ControllerRevision
	s.get("r1", &cr)
	for _, obj := range []metav1.Object{s.deployment("web-primary"), s.deployment("web-canary"), s.service("web"), s.service("web-primary"), s.service("web-canary"), &cr} {
		if len(obj.GetOwnerReferences()) != 0 {
			t.Errorf("%T %s would go with the Canary: %v", obj, obj.GetName(), obj.GetOwnerReferences())
		}
	}
	if role := s.service("web").Spec.Selector[siskinv1.RoleLabel]; role != "primary" {
		t.Errorf("everything stays as it is, and the apex selects %q", role)
	}
	var c siskinv1.Canary
	if s.get("web", &c); len(c.Finalizers) != 0 {
		t.Errorf("finalizers %v", c.Finalizers)
	}
	s.counter.Writes()
	s.must(plan.Abandon{})
	if n := s.counter.Writes(); n != 0 {
		t.Errorf("%d writes when all is done", n)
	}
}

func TestABlueGreenApexFollowsTheSplit(t *testing.T) {
	s := newStage(t, canary(), deployment("web:1"))
	w := s.world()
	w.Caps = router.Capabilities{} // a router that can only switch
	for share, role := range map[int32]string{0: "primary", 100: "canary"} {
		w.Live = map[string]*corev1.Service{}
		if _, err := s.Run(t.Context(), w, []plan.Effect{plan.ApplyServices{Serving: true, Split: plan.ToCanary(share)}}); err != nil {
			t.Fatal(err)
		}
		if got := s.service("web").Spec.Selector[siskinv1.RoleLabel]; got != role {
			t.Errorf("at %d %% the apex selects %q", share, got)
		}
	}
}

// What a router generated would go with the Canary: one that cannot be asked to leave it keeps the Canary. All routers are asked, also
// those of providers that the Canary had before.
func TestAbandonWithoutAnAnswerKeepsTheCanary(t *testing.T) {
	s := newStage(t, canary(func(c *siskinv1.Canary) { c.Spec.DeletionPolicy = siskinv1.DeletionPolicyOrphan }), deployment("web:1"))
	other := routertest.NewFake(router.Capabilities{})
	other.FailNext("Orphan", errBoom)
	s.Routers = append(s.Routers, other)
	if err := s.do(plan.Abandon{}, plan.Finish{}); !errors.Is(err, errBoom) {
		t.Errorf("abandoned: %v", err)
	}
	var c siskinv1.Canary
	if s.get("web", &c); len(c.Finalizers) == 0 {
		t.Error("the Canary goes, and takes its routes with it")
	}
}
