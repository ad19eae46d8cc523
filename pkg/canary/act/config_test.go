package act_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/canary/observe"
	"github.com/siskin-dev/siskin/pkg/canary/plan"
	"github.com/siskin-dev/siskin/pkg/canary/target"
)

func settings(value string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "settings", Namespace: "shop"}, Data: map[string]string{"a": value}}
}

func password(value string) *corev1.Secret {
	return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "password", Namespace: "shop"}, Data: map[string][]byte{"a": []byte(value)}}
}

// reads lets pods read settings and password.
func reads(d *appsv1.Deployment) {
	d.Spec.Template.Spec.Containers[0].EnvFrom = []corev1.EnvFromSource{
		{ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "settings"}}},
		{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "password"}}},
	}
}

// tracking lets a stage see configuration.
func tracking(s *stage) *stage {
	s.tracker = &observe.ConfigTracker{Cache: s.api, Live: s.api}
	return s
}

func (s *stage) update(obj client.Object) {
	s.t.Helper()
	if err := s.api.Update(s.t.Context(), obj); err != nil {
		s.t.Fatal(err)
	}
}

// copies lists the copies of a Canary, each with the names of its owners.
func (s *stage) copies(canary string) map[string]string {
	s.t.Helper()
	out := map[string]string{}
	var maps corev1.ConfigMapList
	var secrets corev1.SecretList
	for _, list := range []client.ObjectList{&maps, &secrets} {
		if err := s.api.List(s.t.Context(), list, client.MatchingLabels{siskinv1.CanaryLabel: canary}); err != nil {
			s.t.Fatal(err)
		}
	}
	add := func(obj client.Object) {
		var owners []string
		for _, o := range obj.GetOwnerReferences() {
			owners = append(owners, o.Name)
		}
		slices.Sort(owners)
		out[obj.GetAnnotations()[siskinv1.CopyOfAnnotation]+" "+obj.GetName()] = strings.Join(owners, " ")
	}
	for i := range maps.Items {
		add(&maps.Items[i])
	}
	for i := range secrets.Items {
		add(&secrets.Items[i])
	}
	return out
}

func TestASnapshotCopiesWhatItsPodsRead(t *testing.T) {
	s := tracking(newStage(t, canary(), deployment("web:1", reads), settings("1"), password("hunter2")))
	rev := s.revision()
	s.must(plan.TakeSnapshot{Revision: rev}, plan.ApplyPrimary{Revision: rev, Replicas: 1})
	w := s.world()
	if !s.snapshotOf(w).Target.Stored {
		t.Error("all was copied")
	}
	from := s.deployment("web-primary").Spec.Template.Spec.Containers[0].EnvFrom
	var cm corev1.ConfigMap
	s.get(from[0].ConfigMapRef.Name, &cm)
	var secret corev1.Secret
	s.get(from[1].SecretRef.Name, &secret)
	if cm.Data["a"] != "1" || string(secret.Data["a"]) != "hunter2" || !*cm.Immutable || !*secret.Immutable || cm.Name == "settings" || secret.Name == "password" {
		t.Errorf("the primary reads %+v and %+v", cm, secret)
	}
	var cr appsv1.ControllerRevision
	s.get(rev, &cr)
	if strings.Contains(string(cr.Data.Raw), "hunter2") || strings.Contains(string(cr.Data.Raw), "aHVudGVyMg") {
		t.Errorf("the snapshot holds a secret: %s", cr.Data.Raw)
	}
	if s.snapshotOf(w).Primary.Drifted {
		t.Error("the primary is as it should be")
	}
	s.counter.Writes()
	s.must(plan.TakeSnapshot{Revision: rev})
	if got := s.copies("web"); len(got) != 2 {
		t.Errorf("copies %v", got)
	}
}

// An admission policy may ask for labels that originals have. Copies have them only then: others look for originals by them.
func TestCopiesAreRefusedWithoutTheLabelsOfTheirOriginals(t *testing.T) {
	for name, strict := range map[string]bool{"nobody asks for a label": false, "a policy asks for a label": true} {
		original := settings("1")
		original.Labels = map[string]string{"team": "birds", "helm.sh/chart": "web"}
		s := tracking(newStage(t, canary(), deployment("web:1", reads), original, password("p")))
		s.refuse = func(obj client.Object) error {
			if cm, ok := obj.(*corev1.ConfigMap); ok && strict && cm.Labels["team"] == "" {
				return apierrors.NewForbidden(schema.GroupResource{Resource: "configmaps"}, cm.Name, errors.New("no team"))
			}
			return nil
		}
		rev := s.revision()
		s.must(plan.TakeSnapshot{Revision: rev}, plan.ApplyPrimary{Revision: rev, Replicas: 1})
		var cm corev1.ConfigMap
		s.get(s.deployment("web-primary").Spec.Template.Spec.Containers[0].EnvFrom[0].ConfigMapRef.Name, &cm)
		want := map[string]string{siskinv1.CanaryLabel: "web"}
		if strict {
			want["team"] = "birds"
		}
		if diff := cmp.Diff(want, cm.Labels); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

// What the target has now is stored under no name but its own, and a snapshot is complete only when all that it refers to was copied.
func TestWhatIsNotKnownIsNotStored(t *testing.T) {
	s := tracking(newStage(t, canary(), deployment("web:1", reads), settings("1"), password("hunter2")))
	w := s.world()
	for name, spoil := range map[string]func(*observe.World){
		"refused":  func(w *observe.World) { w.Refused = &target.RefusedError{Reason: "ConfigMissing"} },
		"in doubt": func(w *observe.World) { w.Doubt = errors.New("boom") },
	} {
		copied := *w
		spoil(&copied)
		_, err := s.Run(t.Context(), &copied, []plan.Effect{plan.TakeSnapshot{Revision: w.RevisionName}, plan.ApplyPrimary{Revision: w.RevisionName, Replicas: 1}})
		if err == nil || len(copied.Snapshots) != 0 || len(s.copies("web")) != 0 {
			t.Errorf("%s: %v, snapshots %v, copies %v", name, err, copied.Snapshots, s.copies("web"))
		}
	}
}

// A copy is shared by the snapshots of one Canary that need it, and by no other Canary.
func TestCopiesBelongToTheSnapshotsThatNeedThem(t *testing.T) {
	s := tracking(newStage(t, canary(), deployment("web:1", reads), settings("1"), password("p")))
	first := s.revision()
	s.must(plan.TakeSnapshot{Revision: first})
	s.update(settings("2"))
	second := s.revision()
	s.must(plan.TakeSnapshot{Revision: second})
	want := map[string]string{}
	for name := range s.copies("web") {
		switch {
		case strings.HasPrefix(name, "password"):
			want[name] = joined(first, second)
		case len(want) < 3:
			want[name] = s.copies("web")[name]
		}
	}
	if diff := cmp.Diff(want, s.copies("web")); diff != "" || len(want) != 3 {
		t.Errorf("-want +got\n%s", diff)
	}

	other := canary(func(c *siskinv1.Canary) { c.Name, c.UID, c.Spec.TargetRef.Name = "api", "api-uid", "api" })
	if err := s.api.Create(t.Context(), other); err != nil {
		t.Fatal(err)
	}
	if err := s.api.Create(t.Context(), deployment("api:1", reads, func(d *appsv1.Deployment) { d.Name, d.UID = "api", "api-target" })); err != nil {
		t.Fatal(err)
	}
	before := s.copies("web")
	s.canary = other
	third := s.revision()
	s.must(plan.TakeSnapshot{Revision: third})
	if diff := cmp.Diff(before, s.copies("web")); diff != "" {
		t.Errorf("another Canary's copies were touched: %s", diff)
	}
	for name, owners := range s.copies("api") {
		if owners != third {
			t.Errorf("%s belongs to %s", name, owners)
		}
	}
}

func joined(names ...string) string {
	slices.Sort(names)
	return strings.Join(names, " ")
}

// A pass that fails midway is repeated, and no pods start on what is not there.
func TestCopiesAreMadeBeforePodsStart(t *testing.T) {
	s := tracking(newStage(t, canary(), deployment("web:1", reads), settings("1"), password("p")))
	s.refuse = func(obj client.Object) error {
		if _, ok := obj.(*corev1.Secret); ok {
			return errBoom
		}
		return nil
	}
	rev := s.revision()
	if err := s.do(plan.TakeSnapshot{Revision: rev}, plan.ApplyPrimary{Revision: rev, Replicas: 1}); !errors.Is(err, errBoom) {
		t.Fatalf("error %v", err)
	}
	if err := s.api.Get(t.Context(), client.ObjectKey{Namespace: "shop", Name: "web-primary"}, &appsv1.Deployment{}); err == nil {
		t.Error("pods were started on a Secret that does not exist")
	}
	if s.snapshotOf(s.world()).Target.Stored {
		t.Error("the snapshot is not complete")
	}
	if err := s.do(plan.ApplyPrimary{Revision: rev, Replicas: 1}); err == nil || !strings.Contains(err.Error(), "not been copied yet") {
		t.Errorf("error %v", err)
	}
	s.refuse = nil
	s.must(plan.TakeSnapshot{Revision: rev}, plan.ApplyPrimary{Revision: rev, Replicas: 1})
	if !s.snapshotOf(s.world()).Target.Stored || len(s.copies("web")) != 2 || len(s.snapshots()) != 1 {
		t.Errorf("copies %v, snapshots %v", s.copies("web"), s.snapshots())
	}
}

func TestConfigurationThatChangesMeanwhileIsNotCopied(t *testing.T) {
	s := tracking(newStage(t, canary(), deployment("web:1", reads), settings("1"), password("p")))
	var expired []string
	s.Expire = func(kind, namespace, name string) { expired = append(expired, kind+" "+namespace+"/"+name) }
	w := s.world()
	s.update(password("q"))
	if _, err := s.Run(t.Context(), w, []plan.Effect{plan.TakeSnapshot{Revision: w.RevisionName}}); err == nil || !strings.Contains(err.Error(), "Secret password: it has changed meanwhile") {
		t.Errorf("error %v", err)
	}
	if diff := cmp.Diff([]string{"Secret shop/password"}, expired); diff != "" || len(s.snapshots()) != 0 {
		t.Errorf("expired %s, snapshots %v", diff, s.snapshots())
	}
}

func TestACopysNameThatIsTaken(t *testing.T) {
	s := tracking(newStage(t, canary(), deployment("web:1", reads), settings("1"), password("p")))
	w := s.world()
	squatter := settings("evil")
	squatter.Name = w.Revision.Config.Items[0].Copy
	if err := s.api.Create(t.Context(), squatter); err != nil {
		t.Fatal(err)
	}
	var invalid *observe.InvalidSpecError
	if err := s.do(plan.TakeSnapshot{Revision: w.RevisionName}); !errors.As(err, &invalid) || !strings.Contains(err.Error(), squatter.Name) {
		t.Errorf("error %v", err)
	}
}

// The first look after the upgrade writes one annotation, restarts nothing, and is made once.
func TestConfigurationIsTakenOver(t *testing.T) {
	d := deployment("web:1", reads)
	raw, err := target.From(d).Canonical()
	if err != nil {
		t.Fatal(err)
	}
	old := target.Name("web", raw)
	promoted := canary(func(c *siskinv1.Canary) { c.Status.Stable = &siskinv1.RevisionStatus{Revision: old} })
	s := tracking(newStage(t, promoted, d, settings("1"), password("hunter2"), stored(t, old, 1, d), cloned(canary(), "primary", old, target.From(d), 3)))
	before := s.deployment("web-primary").Spec
	s.counter.Writes()
	s.must()
	if n := s.counter.Writes(); n != 1 {
		t.Errorf("%d writes", n)
	}
	var cr appsv1.ControllerRevision
	s.get(old, &cr)
	if text := cr.Annotations[siskinv1.ConfigAnnotation]; !strings.Contains(text, `"settings"`) || strings.Contains(text, "copy") || strings.Contains(text, "hunter") {
		t.Errorf("recorded %s", text)
	}
	s.must()
	if n := s.counter.Writes(); n != 0 {
		t.Errorf("%d more writes", n)
	}
	w := s.world()
	if w.RevisionName != old || s.snapshotOf(w).Primary.Drifted || !s.snapshotOf(w).Target.Stored {
		t.Errorf("%s: %+v", w.RevisionName, s.snapshotOf(w).Primary)
	}
	s.must(plan.ApplyPrimary{Revision: old, Replicas: 3})
	if diff := cmp.Diff(before, s.deployment("web-primary").Spec); diff != "" {
		t.Errorf("the primary's pods are restarted: %s", diff)
	}

	s = tracking(newStage(t, canary(func(c *siskinv1.Canary) {
		c.Status.Stable, c.Spec.Suspend = &siskinv1.RevisionStatus{Revision: old}, true
	}), d.DeepCopy(), settings("1"), password("p"), stored(t, old, 1, d)))
	s.counter.Writes()
	s.must()
	if n := s.counter.Writes(); n != 0 {
		t.Errorf("suspended, and %d writes", n)
	}
}

// halfTaken is a stage whose snapshot exists, and of which the ConfigMap's copy could not be made.
func halfTaken(t *testing.T) (*stage, string) {
	t.Helper()
	s := tracking(newStage(t, canary(), deployment("web:1", reads), settings("1"), password("p")))
	s.refuse = func(obj client.Object) error {
		if _, ok := obj.(*corev1.ConfigMap); ok {
			return errBoom
		}
		return nil
	}
	rev := s.revision()
	if err := s.do(plan.TakeSnapshot{Revision: rev}); !errors.Is(err, errBoom) {
		t.Fatalf("error %v", err)
	}
	s.refuse = nil
	s.canary.Status.Phase, s.canary.Status.Canary = siskinv1.PhaseProgressing, &siskinv1.RevisionStatus{Revision: rev}
	return s, rev
}

// While what the pods read is away, a snapshot is not called complete; its copies are those that it refers to.
func TestASnapshotIsNotCompletedWithoutAnOriginal(t *testing.T) {
	s, rev := halfTaken(t)
	if err := s.api.Delete(t.Context(), settings("1")); err != nil {
		t.Fatal(err)
	}
	if err := s.do(plan.TakeSnapshot{Revision: rev}); err == nil || !strings.Contains(err.Error(), "ConfigMap settings does not exist") {
		t.Errorf("error %v", err)
	}
	var cr appsv1.ControllerRevision
	s.get(rev, &cr)
	if target.Complete(&cr) {
		t.Fatal("it is called complete, and its ConfigMap was not copied")
	}
	if err := s.api.Create(t.Context(), settings("1")); err != nil {
		t.Fatal(err)
	}
	w := s.world()
	w.Revision.Config = nil // the stored one says what is copied
	if _, err := s.Run(t.Context(), w, []plan.Effect{plan.TakeSnapshot{Revision: rev}}); err != nil || len(s.copies("web")) != 2 {
		t.Errorf("error %v, copies %v", err, s.copies("web"))
	}
}

// A target that is refused or in doubt keeps its last name: that is not the name of what it has now.
func TestContentIsNotStoredUnderTheLastName(t *testing.T) {
	for name, unsure := range map[string]func(w *observe.World){
		"refused": func(w *observe.World) { w.Refused = &target.RefusedError{Reason: "X", Message: "refused"} },
		"doubt":   func(w *observe.World) { w.Doubt = errBoom },
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t, canary(), deployment("web:2"))
			w := s.world()
			w.RevisionName = "web-last"
			unsure(w)
			for _, e := range []plan.Effect{plan.TakeSnapshot{Revision: "web-last"}, plan.ApplyCanary{Revision: "web-last", Replicas: 1}} {
				if _, err := s.Run(t.Context(), w, []plan.Effect{e}); err == nil {
					t.Errorf("%T: another content has the name web-last", e)
				}
			}
			if n := s.counter.Writes(); n != 0 {
				t.Errorf("%d writes", n)
			}
		})
	}
}

// What its author lets belong to revisions again is recorded once, restarts nothing, and its next change is a release.
func TestTrackingThatIsTurnedOnAgain(t *testing.T) {
	off := settings("1")
	off.Annotations = map[string]string{siskinv1.ConfigTrackingAnnotation: "disabled"}
	s := tracking(newStage(t, canary(), deployment("web:1", reads), off, password("p")))
	rev := s.revision()
	s.must(plan.TakeSnapshot{Revision: rev}, plan.ApplyPrimary{Revision: rev, Replicas: 3})
	before := s.deployment("web-primary").Spec
	s.canary.Status.Phase, s.canary.Status.Stable = siskinv1.PhaseInitialized, &siskinv1.RevisionStatus{Revision: rev}
	s.update(settings("2"))
	for _, want := range []int{1, 0} {
		s.counter.Writes()
		s.must()
		if n := s.counter.Writes(); n != want {
			t.Errorf("%d writes, want %d", n, want)
		}
	}
	w := s.world()
	if w.RevisionName != rev || !s.snapshotOf(w).Target.Stored || s.snapshotOf(w).Primary.Drifted {
		t.Errorf("%s, %+v", w.RevisionName, s.snapshotOf(w))
	}
	s.must(plan.ApplyPrimary{Revision: rev, Replicas: 3})
	if diff := cmp.Diff(before, s.deployment("web-primary").Spec); diff != "" {
		t.Errorf("the primary's pods are restarted: %s", diff)
	}
	s.update(settings("3"))
	if s.revision() == rev {
		t.Error("a change is a release from then on")
	}
}
