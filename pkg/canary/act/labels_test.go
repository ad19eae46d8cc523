package act_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/canary/plan"
	"github.com/siskin-dev/siskin/pkg/canary/target"
)

// earlier is a clone that a Siskin before siskin.dev/clone made, with n pods.
func earlier(role, revision, image string, n int32) *appsv1.Deployment {
	d := cloned(canary(), role, revision, target.From(deployment(image)), n)
	delete(d.Spec.Selector.MatchLabels, siskinv1.CloneLabel)
	delete(d.Spec.Template.Labels, siskinv1.CloneLabel)
	d.Status = appsv1.DeploymentStatus{Replicas: n, UpdatedReplicas: n, AvailableReplicas: n}
	return d
}

// status is what the workload's own controller says of its pods.
func (s *stage) status(name string, replicas, updated int32) {
	s.t.Helper()
	d := s.deployment(name)
	d.Status.ObservedGeneration, d.Status.Replicas, d.Status.UpdatedReplicas = d.Generation, replicas, updated
	if err := s.api.Status().Update(s.t.Context(), d); err != nil {
		s.t.Fatal(err)
	}
}

func TestClonesThatExistGetTheirLabelWithTheNextRevision(t *testing.T) {
	s := newStage(t, canary(), deployment("web:2"), stored(t, "r1", 1, deployment("web:1")), stored(t, "r2", 2, deployment("web:2")),
		earlier("primary", "r1", "web:1", 3), earlier("canary", "r2", "web:2", 0))
	label := func(name string) (template, selector string) {
		d := s.deployment(name)
		return d.Spec.Template.Labels[siskinv1.CloneLabel], d.Spec.Selector.MatchLabels[siskinv1.CloneLabel]
	}
	s.must(plan.ApplyPrimary{Revision: "r1", Replicas: 5}, plan.ApplyCanary{Revision: "r2", Replicas: 0})
	if template, _ := label("web-primary"); template != "" || *s.deployment("web-primary").Spec.Replicas != 5 {
		t.Error("scaling would restart the pods")
	}
	if template, _ := label("web-canary"); template != "" {
		t.Error("the canary is written for nothing")
	}
	s.status("web-canary", 0, 0)
	s.must(plan.ApplyCanary{Revision: "r2", Replicas: 1})
	if template, selector := label("web-canary"); template != "web" || selector != "" {
		t.Errorf("a canary without pods starts with the label: template %q, selector %q", template, selector)
	}
	s.must(plan.ApplyPrimary{Revision: "r2", Replicas: 5})
	if template, selector := label("web-primary"); template != "web" || selector != "" {
		t.Errorf("another revision brings the label: template %q, selector %q", template, selector)
	}
}

// The Services of pods that lack the label select as before, and those of pods that have it by nothing else.
func TestServicesFollowTheLabelsOfAllPods(t *testing.T) {
	serving := plan.ApplyServices{Serving: true, Split: plan.AllPrimary()}
	s := newStage(t, canary(), deployment("web:1"), stored(t, "r1", 1, deployment("web:1")), stored(t, "r2", 2, deployment("web:2")),
		earlier("primary", "r1", "web:1", 3), earlier("canary", "r1", "web:1", 0))
	s.status("web-canary", 0, 0)
	s.must(serving) // as an earlier Siskin left them
	check := func(reason string, before bool, names ...string) {
		t.Helper()
		s.must(serving)
		for _, name := range names {
			want := map[string]string{siskinv1.RoleLabel: "primary"}
			if name == "web-canary" {
				want[siskinv1.RoleLabel] = "canary"
			}
			if before {
				want["app"] = "web"
			} else {
				want[siskinv1.CloneLabel] = "web"
			}
			if diff := cmp.Diff(want, s.service(name).Spec.Selector); diff != "" {
				t.Errorf("%s: selector of %s: -want +got\n%s", reason, name, diff)
			}
		}
	}
	check("no pod has it", true, "web", "web-primary", "web-canary")
	s.counter.Writes()
	s.must(serving)
	if n := s.counter.Writes(); n != 0 || !s.Memo.Known(s.world()) {
		t.Errorf("an upgrade writes %d times", n)
	}
	s.must(plan.ApplyPrimary{Revision: "r2", Replicas: 3})
	s.status("web-primary", 4, 2)
	check("two pods lack it", true, "web", "web-primary", "web-canary")
	s.status("web-primary", 3, 3)
	if s.Memo.Known(s.world()) {
		t.Error("nobody looks at the Services again when the last pod is replaced")
	}
	check("all have it", false, "web", "web-primary")
	check("the canary has no pods", true, "web-canary")
	s.must(plan.ApplyPrimary{Revision: "r1", Replicas: 3})
	s.status("web-primary", 4, 1)
	check("the pods before had it too", false, "web", "web-primary")
}

func TestServicesOfNewClonesSelectNothingElse(t *testing.T) {
	admin := deployment("admin:1", func(d *appsv1.Deployment) {
		d.Name, d.UID = "admin", "admin-uid"
		d.Spec.Selector.MatchLabels = map[string]string{"app": "web", "part": "admin"}
		d.Spec.Template.Labels = map[string]string{"app": "web", "part": "admin"}
	})
	s := newStage(t, canary(), deployment("web:1"), admin, stored(t, "r1", 1, deployment("web:1")))
	s.must(plan.ApplyServices{})
	own := map[string]string{siskinv1.CloneLabel: "web"}
	if diff := cmp.Diff(own, s.service("web").Spec.Selector); diff != "" {
		t.Errorf("an apex that is new leads to another app's pods: -want +got\n%s", diff)
	}
	s.must(plan.ApplyPrimary{Revision: "r1", Replicas: 1}, plan.ApplyServices{Serving: true, Split: plan.AllPrimary()})
	own[siskinv1.RoleLabel] = "primary"
	for _, name := range []string{"web", "web-primary"} {
		if diff := cmp.Diff(own, s.service(name).Spec.Selector); diff != "" {
			t.Errorf("%s: -want +got\n%s", name, diff)
		}
	}
	w := s.world()
	if _, err := s.Run(t.Context(), w, []plan.Effect{plan.RestoreServices{}}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{"app": "web"}, s.service("web").Spec.Selector); diff != "" {
		t.Errorf("what is given back leads to the target: -want +got\n%s", diff)
	}
}
