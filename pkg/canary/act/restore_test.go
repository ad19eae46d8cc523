package act_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/canary/plan"
	"github.com/siskin-dev/siskin/pkg/canary/target"
)

// The target says web:2, r1 is web:1.
func TestATargetIsGivenThePromotedContent(t *testing.T) {
	s := newStage(t, canary(), deployment("web:2", func(d *appsv1.Deployment) {
		d.Annotations, d.Spec.Paused = map[string]string{"team": "a"}, true
	}), stored(t, "r1", 1, deployment("web:1")))
	s.must(plan.HoldTarget{Replicas: 3})
	last := ""
	for range 2 {
		s.must(plan.RestoreTarget{Revision: "r1"})
		d := s.deployment("web")
		if got := d.Spec.Template.Spec.Containers[0].Image; got != "web:1" || *d.Spec.Replicas != 0 || d.Spec.Paused {
			t.Errorf("image %s, %d replicas, paused %v", got, *d.Spec.Replicas, d.Spec.Paused)
		}
		if note := d.Annotations[siskinv1.RestoredFromAnnotation]; note == "" || last != "" && note != last {
			t.Errorf("what was written over is noted as %q, and then as %q", last, note)
		}
		last = d.Annotations[siskinv1.RestoredFromAnnotation]
		delete(d.Annotations, siskinv1.RestoredFromAnnotation)
		want := map[string]string{
			"team": "a", siskinv1.HeldAnnotation: "web", siskinv1.ReplicasAnnotation: "3", siskinv1.RestoredAnnotation: "r1", siskinv1.UnpausedAnnotation: "true",
		}
		if diff := cmp.Diff(want, d.Annotations); diff != "" {
			t.Errorf("annotations: -want +got\n%s", diff)
		}
	}
	s.counter.Writes()
	s.must(plan.RestoreTarget{Revision: "r1"})
	if n := s.counter.Writes(); n != 0 {
		t.Errorf("%d writes when it has it", n)
	}
	s.must(plan.ReleaseTarget{Replicas: 3})
	for range 2 {
		s.must(plan.PauseTarget{})
		if d := s.deployment("web"); !d.Spec.Paused || d.Annotations[siskinv1.UnpausedAnnotation] != "" || *d.Spec.Replicas != 3 {
			t.Errorf("paused %v, %d replicas, %v", d.Spec.Paused, *d.Spec.Replicas, d.Annotations)
		}
	}
	s.must(plan.HoldTarget{Replicas: 3}) // by the next Canary
	for _, key := range []string{siskinv1.RestoredAnnotation, siskinv1.RestoredFromAnnotation} {
		if _, is := s.deployment("web").Annotations[key]; is {
			t.Errorf("what an earlier deletion did is still there: %s", key)
		}
	}
	if err := s.do(plan.RestoreTarget{Revision: "r9"}); err == nil {
		t.Error("a snapshot that does not exist was restored")
	}
}

// What kubectl apply applied last counts for what it takes away with the next apply.
func TestKubectlKnowsWhatATargetWasGiven(t *testing.T) {
	for name, tt := range map[string]struct{ applied, want string }{
		"as applied": {
			`{"metadata":{"name":"web"},"spec":{"replicas":3,"template":{"spec":{"containers":[{"name":"web","image":"web:2"}]}}}}`, `"image":"web:1"`,
		},
		"nonsense":    {"nonsense", "nonsense"},
		"not applied": {"", ""},
	} {
		s := newStage(t, canary(), deployment("web:2", func(d *appsv1.Deployment) {
			if tt.applied != "" {
				d.Annotations = map[string]string{corev1.LastAppliedConfigAnnotation: tt.applied}
			}
		}), stored(t, "r1", 1, deployment("web:1")))
		s.must(plan.RestoreTarget{Revision: "r1"})
		got := s.deployment("web").Annotations[corev1.LastAppliedConfigAnnotation]
		if !strings.Contains(got, tt.want) || strings.Contains(got, "web:2") || name == "as applied" && !strings.Contains(got, `"replicas":3`) {
			t.Errorf("%s: %s", name, got)
		}
		s.counter.Writes()
		if s.must(plan.RestoreTarget{Revision: "r1"}); s.counter.Writes() != 0 {
			t.Errorf("%s: it is written again", name)
		}
	}
}

func TestAHeldDaemonSetGetsThePromotedContent(t *testing.T) {
	s := newStage(t, canary(ofKind("DaemonSet")))
	d := daemonSet(map[string]string{"disk": "ssd"})
	cr, err := target.Snapshot(s.canary, "r1", 1, target.From(d))
	if err != nil {
		t.Fatal(err)
	}
	d.Spec.Template.Spec.Containers[0].Image = "web:2"
	for _, obj := range []client.Object{cr, d} {
		if err := s.api.Create(t.Context(), obj); err != nil {
			t.Fatal(err)
		}
	}
	s.must(plan.HoldTarget{Replicas: 1})
	s.must(plan.RestoreTarget{Revision: "r1"})
	s.get("web", d)
	want := map[string]string{"disk": "ssd", siskinv1.HeldAnnotation: "true"}
	if diff := cmp.Diff(want, d.Spec.Template.Spec.NodeSelector); diff != "" || d.Spec.Template.Spec.Containers[0].Image == "web:2" {
		t.Errorf("image %s; its pods start before it is released: %s", d.Spec.Template.Spec.Containers[0].Image, diff)
	}
}

// What the pods of the promoted revision read is what those of the target are to read.
func TestATargetReadsWhatWasPromoted(t *testing.T) {
	for name, tc := range map[string]struct {
		reason string
		change func(*stage)
		copied bool
	}{
		"nothing has changed":    {"the originals are what was promoted", func(*stage) {}, false},
		"both have changed":      {"that was not promoted", func(s *stage) { s.update(settings("2")); s.update(password("2")) }, true},
		"both are gone":          {"its pods could not start", func(s *stage) { s.erase(settings(""), password("")) }, true},
		"the copies are gone":    {"there is no other", func(s *stage) { s.update(settings("2")); s.update(password("2")); s.dropCopies() }, false},
		"they came back as such": {"the content counts", func(s *stage) { s.update(settings("2")); s.update(settings("1")) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := tracking(newStage(t, canary(), deployment("web:1", reads), settings("1"), password("1")))
			r1 := s.revision()
			s.must(plan.TakeSnapshot{Revision: r1})
			tc.change(s)
			d := s.deployment("web")
			d.Spec.Template.Spec.Containers[0].Image = "web:2"
			s.update(d)
			for range 2 {
				s.must(plan.RestoreTarget{Revision: r1})
			}
			spec := s.deployment("web").Spec.Template.Spec
			names := []string{spec.Containers[0].EnvFrom[0].ConfigMapRef.Name, spec.Containers[0].EnvFrom[1].SecretRef.Name}
			if (names[0] != "settings") != tc.copied || (names[1] != "password") != tc.copied || spec.Containers[0].Image != "web:1" {
				t.Errorf("%s: it reads %v, image %s", tc.reason, names, spec.Containers[0].Image)
			}
			for i, obj := range []client.Object{&corev1.ConfigMap{}, &corev1.Secret{}} {
				if s.get(names[i], obj); tc.copied && len(obj.GetOwnerReferences()) > 0 {
					t.Errorf("%s goes with the snapshots", names[i])
				}
			}
		})
	}
}

func (s *stage) erase(objs ...client.Object) {
	s.t.Helper()
	for _, obj := range objs {
		if err := s.api.Delete(s.t.Context(), obj); err != nil {
			s.t.Fatal(err)
		}
	}
}

func (s *stage) dropCopies() {
	s.t.Helper()
	for _, obj := range []client.Object{&corev1.ConfigMap{}, &corev1.Secret{}} {
		if err := s.api.DeleteAllOf(s.t.Context(), obj, client.InNamespace("shop"), client.MatchingLabels{siskinv1.CanaryLabel: "web"}); err != nil {
			s.t.Fatal(err)
		}
	}
}

// going is what the API server says to whoever wants to make something in a namespace that is being deleted.
func going(client.Object) error {
	err := apierrors.NewForbidden(corev1.Resource("services"), "web", errBoom)
	err.ErrStatus.Details.Causes = []metav1.StatusCause{{Type: corev1.NamespaceTerminatingCause, Field: "metadata.namespace"}}
	return err
}

func TestANamespaceThatGoesKeepsNoCanary(t *testing.T) {
	for name, deleted := range map[string]bool{"deleted": true, "not deleted yet": false} {
		s := newStage(t, canary(), deployment("web:1"))
		if deleted {
			s.canary.DeletionTimestamp = new(metav1.Now())
		}
		s.refuse = func(obj client.Object) error {
			if _, ok := obj.(*corev1.Service); ok {
				return going(obj)
			}
			return nil
		}
		err := s.do(plan.ApplyServices{Split: plan.AllPrimary()}, plan.Finish{})
		if (err == nil) != deleted {
			t.Errorf("%s: %v", name, err)
		}
		s.refuse = func(client.Object) error { return errBoom }
		if err := s.do(plan.ApplyServices{Split: plan.AllPrimary()}); err == nil {
			t.Errorf("%s: another error is one", name)
		}
	}
}
