package act_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/canary/plan"
	"github.com/siskin-dev/siskin/pkg/canary/target"
)

// twice gives the app a variable two times, which the API server creates and does not apply.
func twice(d *appsv1.Deployment) {
	d.Spec.Template.Spec.Containers[0].Env = []corev1.EnvVar{{Name: "MODE", Value: "a"}, {Name: "MODE", Value: "b"}}
}

// unmerged refuses to apply what has a variable two times, as the API server does: without a reason.
func unmerged(body []byte) error {
	if bytes.Count(body, []byte(`"name":"MODE"`)) < 2 {
		return nil
	}
	return &apierrors.StatusError{ErrStatus: metav1.Status{Status: "Failure", Code: 500, Message: "duplicate entries for key"}}
}

func TestWhatCannotBeAppliedIsWrittenAsAWhole(t *testing.T) {
	first, second := deployment("web:1", twice), deployment("web:2")
	s := newStage(t, canary(), deployment("web:3"), stored(t, "r1", 1, first), stored(t, "r2", 2, second))
	s.merge = unmerged
	modes := func() (out []string) {
		for _, e := range s.deployment("web-primary").Spec.Template.Spec.Containers[0].Env {
			out = append(out, e.Value)
		}
		return out
	}
	s.must(plan.ApplyPrimary{Revision: "r1", Replicas: 1})
	if diff := cmp.Diff([]string{"a", "b"}, modes()); diff != "" {
		t.Errorf("created: %s", diff)
	}
	made := s.deployment("web-primary")
	if !metav1.IsControlledBy(made, s.canary) || made.Annotations[siskinv1.WholeAnnotation] == "" {
		t.Errorf("%+v", made.ObjectMeta)
	}
	tried := len(s.patches)
	made.Annotations["deployment.kubernetes.io/revision"], made.Annotations["example.org/theirs"] = "4", "x"
	made.Spec.Template.Annotations = map[string]string{"kubectl.kubernetes.io/restartedAt": "noon"}
	if err := s.api.Update(t.Context(), made); err != nil {
		t.Fatal(err)
	}
	s.must(plan.ApplyPrimary{Revision: "r1", Replicas: 2})
	scaled := s.deployment("web-primary")
	if *scaled.Spec.Replicas != 2 || len(s.patches) != tried || len(modes()) != 2 {
		t.Errorf("scaled to %d with %d applies", *scaled.Spec.Replicas, len(s.patches)-tried)
	}
	if scaled.Annotations["deployment.kubernetes.io/revision"] != "4" || scaled.Spec.Template.Annotations == nil {
		t.Errorf("a change of size restarts pods, or takes away what is Kubernetes': %v %v", scaled.Annotations, scaled.Spec.Template.Annotations)
	}
	s.must(plan.ApplyPrimary{Revision: "r2", Replicas: 2})
	last := s.deployment("web-primary")
	if len(modes()) != 0 || last.Spec.Template.Annotations != nil || last.Annotations[siskinv1.RevisionAnnotation] != "r2" {
		t.Errorf("what the next revision lacks stays: %v, %+v", modes(), last.Spec.Template)
	}
}

// A clone that is there was applied.
func TestALaterRevisionThatCannotBeApplied(t *testing.T) {
	s := newStage(t, canary(), deployment("web:2", twice), stored(t, "r1", 1, deployment("web:1")), stored(t, "r2", 2, deployment("web:2", twice)))
	s.merge = unmerged
	s.must(plan.ApplyCanary{Revision: "r1", Replicas: 1})
	w := s.world()
	other := s.deployment("web-canary") // its controller writes the status meanwhile
	other.Annotations["deployment.kubernetes.io/revision"] = "2"
	if err := s.api.Update(t.Context(), other); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Run(t.Context(), w, []plan.Effect{plan.ApplyCanary{Revision: "r2", Replicas: 1}}); err != nil {
		t.Fatal(err)
	}
	d := s.deployment("web-canary")
	if n := len(d.Spec.Template.Spec.Containers[0].Env); n != 2 || d.Annotations["deployment.kubernetes.io/revision"] != "2" {
		t.Errorf("%d variables, %v", n, d.Annotations)
	}
	if diff := cmp.Diff(d.Spec.Template, cloned(canary(), "canary", "r2", target.From(deployment("web:2", twice)), 1).Spec.Template); diff != "" {
		t.Errorf("-is +want\n%s", diff)
	}
}

// An autoscaler may change the number of pods between the look and the write.
func TestAScaledCloneIsWrittenAsAWhole(t *testing.T) {
	s := newStage(t, scaledCanary(), autoscaler("web", func(h *autoscalingv2.HorizontalPodAutoscaler) {
		h.Spec.ScaleTargetRef.Name = "web-primary"
		h.Annotations = map[string]string{siskinv1.ScalesAnnotation: "web-primary"}
	}), deployment("web:2", twice), stored(t, "r1", 1, deployment("web:1")), stored(t, "r2", 2, deployment("web:2", twice)))
	s.merge = unmerged
	s.must(plan.ApplyPrimary{Revision: "r1", Replicas: 2})
	w := s.scaledWorld()
	d := s.deployment("web-primary")
	d.Spec.Replicas = new(int32(5))
	if err := s.api.Update(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Run(t.Context(), w, []plan.Effect{plan.ApplyPrimary{Revision: "r2", Replicas: 2}}); err != nil {
		t.Fatal(err)
	}
	d = s.deployment("web-primary")
	if n := len(d.Spec.Template.Spec.Containers[0].Env); n != 2 || *d.Spec.Replicas != 5 {
		t.Errorf("%d variables, %d replicas", n, *d.Spec.Replicas)
	}
}

func TestWhatIsRefusedForItsContentIsToldAsTheAPIServerSaysIt(t *testing.T) {
	s := newStage(t, canary(), deployment("web:1"), stored(t, "r1", 1, deployment("web:1")))
	s.merge = func([]byte) error {
		return apierrors.NewInvalid(appsv1.SchemeGroupVersion.WithKind("Deployment").GroupKind(), "web-primary", nil)
	}
	s.refuse = func(obj client.Object) error {
		if obj.GetName() != "web-primary" {
			return nil
		}
		return apierrors.NewForbidden(appsv1.Resource("deployments"), "web-primary", nil)
	}
	err := s.do(plan.ApplyPrimary{Revision: "r1", Replicas: 1})
	if err == nil || !strings.Contains(err.Error(), "forbidden") {
		t.Errorf("%v", err)
	}
}

func TestClonesHaveTheMetadataOfTheTarget(t *testing.T) {
	team := func(d *appsv1.Deployment) {
		d.Annotations = map[string]string{"example.org/team": "birds", "deployment.kubernetes.io/revision": "7"}
		d.Spec.MinReadySeconds = 5
	}
	s := newStage(t, canary(), deployment("web:1", team), stored(t, "r1", 1, deployment("web:1")), stored(t, "r0", 0, deployment("web:0")))
	name := s.revision()
	s.must(plan.TakeSnapshot{Revision: name}, plan.ApplyPrimary{Revision: name, Replicas: 1}, plan.ApplyCanary{Revision: "r0", Replicas: 1})
	for _, role := range []string{"primary", "canary"} {
		d := s.deployment("web-" + role)
		if d.Annotations["example.org/team"] != "birds" || d.Annotations["deployment.kubernetes.io/revision"] != "" {
			t.Errorf("%s, which may be of a snapshot from before: %v", role, d.Annotations)
		}
	}
	if n := s.deployment("web-primary").Spec.MinReadySeconds; n != 5 {
		t.Errorf("minReadySeconds %d", n)
	}
	if n := s.deployment("web-canary").Spec.MinReadySeconds; n != 0 {
		t.Errorf("another revision has its own minReadySeconds, not %d", n)
	}
}
