package act_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/canary/act"
	"github.com/siskin-dev/siskin/pkg/canary/observe"
	"github.com/siskin-dev/siskin/pkg/canary/plan"
	"github.com/siskin-dev/siskin/pkg/canary/target"
	"github.com/siskin-dev/siskin/pkg/router"
)

var errBoom = errors.New("boom")

func TestASnapshotIsTakenOnce(t *testing.T) {
	s := newStage(t, canary(), deployment("web:1"))
	rev := s.revision()
	s.must(plan.TakeSnapshot{Revision: rev})
	s.must(plan.TakeSnapshot{Revision: rev})
	var cr appsv1.ControllerRevision
	s.get(rev, &cr)
	r, err := target.Read(&cr)
	if err != nil || r.Image() != "web:1" || cr.Revision != 1 || cr.Annotations[siskinv1.WrittenByAnnotation] != "v9" {
		t.Errorf("snapshot of %s, %v: %+v", r.Image(), err, cr.ObjectMeta)
	}
	if diff := cmp.Diff([]string{rev}, s.snapshots()); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

func TestASnapshotOfAnotherContentIsRefused(t *testing.T) {
	s := newStage(t, canary(), deployment("web:1"))
	if err := s.do(plan.TakeSnapshot{Revision: "web-other"}); err == nil || !strings.Contains(err.Error(), "the target has changed") {
		t.Errorf("error %v", err)
	}
	if err := newStage(t, canary()).do(plan.TakeSnapshot{Revision: "web-other"}); err == nil {
		t.Error("there is no target")
	}
	if got := s.snapshots(); len(got) != 0 {
		t.Errorf("snapshots %v", got)
	}
}

func TestOldSnapshotsThatNothingNeedsAreDropped(t *testing.T) {
	objs := []client.Object{deployment("web:new")}
	for i := range 20 {
		objs = append(objs, stored(t, fmt.Sprintf("s%02d", i), int64(i+1), deployment(fmt.Sprintf("web:%d", i))))
	}
	for role, rev := range map[string]string{"primary": "s01", "canary": "s02"} { // clones that run the oldest
		objs = append(objs, cloned(canary(), role, rev, target.From(deployment("x")), 1))
	}
	s := newStage(t, canary(func(c *siskinv1.Canary) {
		c.Status.Stable, c.Status.Canary = &siskinv1.RevisionStatus{Revision: "s03"}, &siskinv1.RevisionStatus{Revision: "s04"}
		c.Status.Rejected = "s05"
	}), objs...)
	rev := s.revision()
	s.must(plan.TakeSnapshot{Revision: rev})
	want := []string{"s01", "s02", "s03", "s04", "s05", rev} // in use, and the newest ten besides
	for i := 10; i < 20; i++ {
		want = append(want, fmt.Sprintf("s%02d", i))
	}
	got := s.snapshots()
	slices.Sort(want)
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	var cr appsv1.ControllerRevision
	if s.get(rev, &cr); cr.Revision != 21 {
		t.Errorf("the new one has number %d", cr.Revision)
	}
}

func TestClonesAreCreatedAndUpdated(t *testing.T) {
	s := newStage(t, canary(), deployment("web:1"))
	first := s.revision()
	s.must(plan.TakeSnapshot{Revision: first}, plan.ApplyPrimary{Revision: first, Replicas: 3}, plan.ApplyCanary{Revision: first, Replicas: 1})
	for role, n := range map[string]int32{"primary": 3, "canary": 1} {
		d := s.deployment("web-" + role)
		if *d.Spec.Replicas != n || d.Spec.Template.Labels[siskinv1.RoleLabel] != role || !metav1.IsControlledBy(d, s.canary) ||
			d.Annotations[siskinv1.RevisionAnnotation] != first {
			t.Errorf("clone %s: %+v", role, d)
		}
	}
	// The target goes on; what runs is the snapshot.
	d := s.deployment("web")
	d.Spec.Template.Spec.Containers[0].Image = "web:2"
	if err := s.api.Update(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	s.must(plan.ApplyPrimary{Revision: first, Replicas: 5})
	if d := s.deployment("web-primary"); *d.Spec.Replicas != 5 || d.Spec.Template.Spec.Containers[0].Image != "web:1" {
		t.Errorf("the primary has %d pods of %s", *d.Spec.Replicas, d.Spec.Template.Spec.Containers[0].Image)
	}
	if err := s.do(plan.ApplyCanary{Revision: "unknown", Replicas: 1}); err == nil || !strings.Contains(err.Error(), "its snapshot does not exist") {
		t.Errorf("a revision that nobody has: %v", err)
	}
}

func TestADeploymentOfSomebodyElseIsLeftAlone(t *testing.T) {
	other := metav1.OwnerReference{APIVersion: "x/v1", Kind: "X", Name: "x", UID: "x", Controller: new(true)}
	for name, tc := range map[string]struct {
		reason string
		edit   func(*appsv1.Deployment)
		ok     bool
	}{
		"the user's":           {"it only happens to have the name", func(*appsv1.Deployment) {}, false},
		"another controller's": {"two would pull at it", func(d *appsv1.Deployment) { d.OwnerReferences = []metav1.OwnerReference{other} }, false},
		"another Canary's":     {"two would pull at it", func(d *appsv1.Deployment) { d.Labels = map[string]string{siskinv1.CanaryLabel: "api"} }, false},
		"orphaned":             {"an earlier Canary of this name left it", func(d *appsv1.Deployment) { d.Labels = map[string]string{siskinv1.CanaryLabel: "web"} }, true},
	} {
		t.Run(name, func(t *testing.T) {
			for _, role := range []string{"primary", "canary"} {
				s := newStage(t, canary(), deployment("web:1"), deployment("other:1", func(d *appsv1.Deployment) { d.Name, d.UID = "web-"+role, "other" }, tc.edit))
				var effect plan.Effect = plan.ApplyPrimary{Revision: s.revision(), Replicas: 1}
				if role == "canary" {
					effect = plan.ApplyCanary{Revision: s.revision(), Replicas: 1}
				}
				err := s.do(effect)
				var invalid *observe.InvalidSpecError
				if refused := errors.As(err, &invalid); refused == tc.ok || (!refused && err != nil) {
					t.Errorf("%s: %v", tc.reason, err)
				}
				if image := s.deployment("web-" + role).Spec.Template.Spec.Containers[0].Image; (image == "web:1") != tc.ok {
					t.Errorf("%s: it runs %s", tc.reason, image)
				}
			}
		})
	}
}

func TestServicesAreWrittenOnceAndRemembered(t *testing.T) {
	s := newStage(t, canary(), deployment("web:1"))
	serving := plan.ApplyServices{Serving: true, Split: plan.AllPrimary()}
	s.must(plan.ApplyServices{})
	if _, ok := s.service("web").Spec.Selector[siskinv1.RoleLabel]; ok {
		t.Error("before the primary is ready the target serves")
	}
	s.must(serving)
	if role := s.service("web").Spec.Selector[siskinv1.RoleLabel]; role != "primary" {
		t.Errorf("the apex selects %q", role)
	}
	s.counter.Writes()
	s.must(serving)
	if n := s.counter.Writes(); n != 0 {
		t.Errorf("%d writes of what is as desired", n)
	}
	if w := s.world(); !s.Memo.Known(w) {
		t.Error("what was just found as desired is known")
	}
	svc := s.service("web-canary")
	svc.Spec.Selector[siskinv1.CloneLabel] = "else"
	if err := s.api.Update(t.Context(), svc); err != nil {
		t.Fatal(err)
	}
	if s.Memo.Known(s.world()) {
		t.Error("somebody changed a Service")
	}
	s.must(serving)
	if of := s.service("web-canary").Spec.Selector[siskinv1.CloneLabel]; of != "web" {
		t.Errorf("the canary's Service selects the pods of %s", of)
	}
	s.must(serving)
	s.Memo.Changed("elsewhere")
	if !s.Memo.Known(s.world()) {
		t.Error("a Service of another namespace changes nothing here")
	}
	s.Memo.Changed(s.canary.Namespace)
	if s.Memo.Known(s.world()) {
		t.Error("a Service beside them has changed")
	}
	s.must(serving)
	s.Memo.Drop(s.canary.UID)
	if s.Memo.Known(s.world()) {
		t.Error("a Canary that is gone is forgotten")
	}
}

// What changes while the Services are looked at may have been missed.
func TestAChangeDuringTheLookIsNotForgotten(t *testing.T) {
	s := newStage(t, canary(), deployment("web:1"))
	serving := plan.ApplyServices{Serving: true, Split: plan.AllPrimary()}
	s.must(serving)
	svc := s.service("web-canary")
	svc.Spec.Selector[siskinv1.CloneLabel] = "else"
	if err := s.api.Update(t.Context(), svc); err != nil {
		t.Fatal(err)
	}
	s.refuse = func(client.Object) error { s.Memo.Changed(s.canary.Namespace); return nil }
	w := s.world()
	if _, err := s.Run(t.Context(), w, []plan.Effect{serving}); err != nil || s.Memo.Known(w) {
		t.Errorf("nobody looks again (%v)", err)
	}
}

func TestAnAdoptedServiceIsTold(t *testing.T) {
	mine := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "shop"}}
	mine.Spec.Selector, mine.Spec.Ports = map[string]string{"app": "web"}, []corev1.ServicePort{{Port: 80}}
	s := newStage(t, canary(), deployment("web:1"), mine)
	serving := plan.ApplyServices{Serving: true, Split: plan.AllPrimary()}
	out, err := s.Run(t.Context(), s.world(), []plan.Effect{serving})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(act.Outcome{Adopted: []string{"web"}}, out); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	if out, err = s.Run(t.Context(), s.world(), []plan.Effect{serving}); err != nil || len(out.Adopted) != 0 {
		t.Errorf("told again: %v, %v", out, err)
	}
}

func TestServicesOfATargetThatIsGone(t *testing.T) {
	s := newStage(t, canary())
	s.must(plan.ApplyServices{Serving: true, Split: plan.AllPrimary()})
	if n := s.counter.Writes(); n != 0 {
		t.Errorf("%d writes without a target and a primary", n)
	}
	primary := cloned(canary(), "primary", "r1", target.From(deployment("web:1")), 1)
	s = newStage(t, canary(), primary, stored(t, "r1", 1, deployment("web:1")))
	s.must(plan.ApplyServices{Serving: true, Split: plan.AllPrimary()})
	want := map[string]string{siskinv1.CloneLabel: "web", siskinv1.RoleLabel: "primary"}
	if diff := cmp.Diff(want, s.service("web").Spec.Selector); diff != "" {
		t.Errorf("it is known whose pods: -want +got\n%s", diff)
	}
	if err := s.api.Delete(t.Context(), stored(t, "r1", 1, deployment("web:1"))); err != nil {
		t.Fatal(err)
	}
	for role, of := range map[string]string{"primary": "web-primary", "canary": "web-canary"} {
		s.must(plan.ApplyServices{Serving: true, Split: plan.AllPrimary()})
		want[siskinv1.RoleLabel] = role
		if diff := cmp.Diff(want, s.service(of).Spec.Selector); diff != "" {
			t.Errorf("without it the primary does, and no Service selects other apps: -want +got\n%s", diff)
		}
	}
}

func TestSplit(t *testing.T) {
	s := newStage(t, canary(), deployment("web:1"))
	s.must(plan.ApplySplit{Split: plan.ToCanary(20)})
	if z, _ := s.router.Split("shop/web"); z != (router.Split{Primary: 80, Canary: 20}) {
		t.Errorf("split %v", z)
	}
	s.router.FailNext("Apply", errBoom)
	if err := s.do(plan.ApplySplit{Split: plan.AllPrimary()}); !errors.Is(err, errBoom) || !strings.Contains(err.Error(), "100/0") {
		t.Errorf("error %v", err)
	}
	s.router.Fight("shop/web", "argocd-controller", router.Split{Canary: 100}, 1)
	s.must(plan.ApplySplit{Split: plan.AllPrimary()})
	out, err := s.Run(t.Context(), s.world(), []plan.Effect{plan.ApplySplit{Split: plan.AllPrimary()}})
	if err != nil || out.Foreign == nil || out.Foreign.By != "argocd-controller" {
		t.Errorf("somebody else's write is not told: %+v %v", out, err)
	}
	w := s.world()
	w.Router, w.Problem = nil, errBoom
	if _, err := s.Run(t.Context(), w, []plan.Effect{plan.ApplySplit{Split: plan.AllPrimary()}}); !errors.Is(err, errBoom) {
		t.Errorf("a provider that is not known: %v", err)
	}
}

func TestAnEffectThatFailsStopsOnlyWhatCannotBeTakenBack(t *testing.T) {
	s := newStage(t, canary(), deployment("web:1"))
	rev := s.revision()
	s.router.FailNext("Apply", errBoom)
	s.refuse = func(obj client.Object) error {
		if obj.GetName() == "web-primary" {
			return errors.New("quota")
		}
		return nil
	}
	err := s.do(plan.ApplySplit{Split: plan.AllPrimary()}, plan.ApplyPrimary{Revision: rev, Replicas: 1}, plan.ApplyCanary{Revision: rev, Replicas: 1},
		plan.Abandon{}, plan.Finish{})
	if !errors.Is(err, errBoom) || !strings.Contains(err.Error(), "quota") {
		t.Errorf("not all that failed is told: %v", err)
	}
	if d := s.deployment("web-canary"); !metav1.IsControlledBy(d, s.canary) {
		t.Error("it was abandoned although something failed before")
	}
	var c siskinv1.Canary
	if s.get("web", &c); !slices.Contains(c.Finalizers, siskinv1.Finalizer) {
		t.Error("the Canary was let go although something failed before")
	}
}

func TestFinish(t *testing.T) {
	s := newStage(t, canary(), deployment("web:1"))
	s.must(plan.ApplyServices{Serving: true, Split: plan.AllPrimary()})
	s.must(plan.RestoreServices{}, plan.Finish{})
	var c siskinv1.Canary
	if s.get("web", &c); len(c.Finalizers) != 0 {
		t.Errorf("finalizers %v", c.Finalizers)
	}
	for _, name := range []string{"web-primary", "web-canary"} {
		if err := s.api.Get(t.Context(), client.ObjectKey{Namespace: "shop", Name: name}, &corev1.Service{}); !apierrors.IsNotFound(err) {
			t.Errorf("Service %s is still there: %v", name, err)
		}
	}
	s.get("web", s.canary)
	s.counter.Writes()
	s.must(plan.Finish{})
	if n := s.counter.Writes(); n != 0 {
		t.Errorf("%d writes when all is done", n)
	}
}

func TestFinishLosesAgainstANewerCanary(t *testing.T) {
	s := newStage(t, canary(), deployment("web:1"))
	var c siskinv1.Canary
	s.get("web", &c)
	c.Finalizers = append(c.Finalizers, "other/finalizer")
	if err := s.api.Update(t.Context(), &c); err != nil {
		t.Fatal(err)
	}
	if err := s.do(plan.Finish{}); !apierrors.IsConflict(err) {
		t.Errorf("a list of finalizers that is out of date was written: %v", err)
	}
	s.get("web", s.canary)
	s.must(plan.Finish{})
	if s.get("web", &c); !slices.Equal(c.Finalizers, []string{"other/finalizer"}) {
		t.Errorf("finalizers %v", c.Finalizers)
	}
}

func TestFinishOfACanaryThatIsGone(t *testing.T) {
	s := newStage(t, canary())
	w := s.world()
	w.Canary = w.Canary.DeepCopy()
	var c siskinv1.Canary
	s.get("web", &c)
	c.Finalizers = nil
	if err := s.api.Update(t.Context(), &c); err != nil {
		t.Fatal(err)
	}
	if err := s.api.Delete(t.Context(), &c); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Run(t.Context(), w, []plan.Effect{plan.Finish{}}); err != nil {
		t.Errorf("it has nothing left to do: %v", err)
	}
}
