package observe_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	testingclock "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/canary/observe"
	"github.com/siskin-dev/siskin/pkg/canary/plan"
	"github.com/siskin-dev/siskin/pkg/canary/target"
	"github.com/siskin-dev/siskin/pkg/internal/async"
)

// reads counts what is read, by "kind/name", with "!" for whole objects.
type reads struct {
	client.Reader

	seen []string
	fail error
}

func (r *reads) Get(ctx context.Context, key client.ObjectKey, obj client.Object, opts ...client.GetOption) error {
	kind, mark := fmt.Sprintf("%T", obj), "!"
	if meta, ok := obj.(*metav1.PartialObjectMetadata); ok {
		kind, mark = meta.Kind, ""
	}
	r.seen = append(r.seen, strings.TrimPrefix(kind, "*v1.")+"/"+key.Name+mark)
	if r.fail != nil {
		return r.fail
	}
	return r.Reader.Get(ctx, key, obj, opts...)
}

func (r *reads) take() string {
	out := strings.Join(r.seen, " ")
	r.seen = nil
	return out
}

// tracked is a place whose target reads a ConfigMap "settings" and a Secret "key".
type tracked struct {
	*place

	cache, live *reads
	clock       *testingclock.FakePassiveClock
}

func reader(edits ...func(*appsv1.Deployment)) *appsv1.Deployment {
	return deployment(append([]func(*appsv1.Deployment){func(d *appsv1.Deployment) {
		d.Spec.Template.Spec.Containers[0].EnvFrom = []corev1.EnvFromSource{
			{ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "settings"}}},
			{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "key"}}},
		}
	}}, edits...)...)
}

func settings(value string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "settings", Namespace: "shop", UID: "settings-uid"}, Data: map[string]string{"a": value}}
}

func key(value string) *corev1.Secret {
	return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "key", Namespace: "shop", UID: "key-uid"}, Data: map[string][]byte{"a": []byte(value)}}
}

func newTracked(t *testing.T, c *siskinv1.Canary, objs ...client.Object) *tracked {
	t.Helper()
	p := &tracked{place: newPlace(t, c, objs...), clock: testingclock.NewFakePassiveClock(now)}
	p.cache, p.live = &reads{Reader: p.client}, &reads{Reader: p.client}
	p.Config = &observe.ConfigTracker{Cache: p.cache, Live: p.live, Poll: time.Minute, Clock: p.clock}
	return p
}

func (p *tracked) update(t *testing.T, obj client.Object) {
	t.Helper()
	if err := p.client.Update(t.Context(), obj); err != nil {
		t.Fatal(err)
	}
}

func TestConfigurationIsPartOfTheRevision(t *testing.T) {
	p := newTracked(t, canary(), reader(), settings("1"), key("1"))
	first := p.world(t)
	if first.Refused != nil || len(first.Revision.Config.Copies()) != 2 {
		t.Fatalf("%v, %+v", first.Refused, first.Revision.Config)
	}
	p.update(t, settings("2"))
	second := p.world(t).RevisionName
	if second == first.RevisionName {
		t.Error("a change of a ConfigMap is a new revision")
	}
	p.update(t, settings("1"))
	if again := p.world(t).RevisionName; again != first.RevisionName {
		t.Error("a change back is a return")
	}
	p.update(t, key("2"))
	if stale := p.world(t).RevisionName; stale != first.RevisionName {
		t.Error("a Secret was looked at before it was due")
	}
	p.clock.SetTime(now.Add(time.Minute))
	if third := p.world(t).RevisionName; third == first.RevisionName || third == second {
		t.Error("a change of a Secret is a new revision")
	}
}

// What has not changed costs nothing but the look at a Secret that is due.
func TestUnchangedConfigurationIsCheap(t *testing.T) {
	p := newTracked(t, canary(), reader(), settings("1"), key("1"))
	p.world(t)
	if got := p.live.take(); !strings.Contains(got, "ConfigMap/settings!") || !strings.Contains(got, "Secret/key!") {
		t.Errorf("at first all is read: %s", got)
	}
	for range 3 {
		if w := p.world(t); w.ConfigAgain != time.Minute {
			t.Errorf("looking again in %s", w.ConfigAgain)
		}
	}
	if got := p.live.take(); got != "" {
		t.Errorf("nothing was due, and read: %s", got)
	}
	p.clock.SetTime(now.Add(20 * time.Second))
	if w := p.world(t); w.ConfigAgain != 40*time.Second {
		t.Errorf("looking again in %s", w.ConfigAgain)
	}
	p.clock.SetTime(now.Add(time.Minute))
	p.world(t)
	if got := p.live.take(); got != "Secret/key" {
		t.Errorf("only the Secret's metadata was due: %s", got)
	}
	p.world(t)
	if got := p.live.take(); got != "" {
		t.Errorf("it was looked at just now: %s", got)
	}
	p.update(t, key("2"))
	p.clock.SetTime(now.Add(2 * time.Minute))
	p.world(t)
	if got := p.live.take(); got != "Secret/key Secret/key! Secret/key" {
		t.Errorf("a Secret that has changed is read once: %s", got)
	}
	// Another generation of the target may need what is new.
	p.update(t, key("3"))
	p.update(t, reader(image("web:2"), func(d *appsv1.Deployment) { d.Generation = 2 }))
	p.world(t)
	if got := p.live.take(); got != "Secret/key Secret/key!" {
		t.Errorf("a new revision is named by the Secret as it is now: %s", got)
	}
	p.Config.Poll = 0
	p.clock.SetTime(now.Add(time.Hour))
	if w := p.world(t); w.ConfigAgain != 0 || p.live.take() != "" {
		t.Error("without a poll nothing is looked at again")
	}
}

func TestACanaryWithoutConfigurationCostsNothing(t *testing.T) {
	p := newTracked(t, canary(), deployment())
	w := p.world(t)
	if got := p.live.take() + p.cache.take(); got != "" || w.ConfigAgain != 0 || w.Revision.Config != nil {
		t.Errorf("read %q, again in %s, config %v", got, w.ConfigAgain, w.Revision.Config)
	}
	if want := target.Name("web", canonical(t, deployment())); w.RevisionName != want {
		t.Errorf("name %s, want %s as ever", w.RevisionName, want)
	}
}

func TestMissingConfiguration(t *testing.T) {
	optional := func(d *appsv1.Deployment) {
		for i := range d.Spec.Template.Spec.Containers[0].EnvFrom {
			from := &d.Spec.Template.Spec.Containers[0].EnvFrom[i]
			if from.ConfigMapRef != nil {
				from.ConfigMapRef.Optional = new(true)
			}
		}
	}
	for name, tc := range map[string]struct {
		reason string
		target *appsv1.Deployment
		objs   []client.Object
		want   string
		again  time.Duration
	}{
		"all there":          {"nothing is wrong", reader(), []client.Object{settings("1"), key("1")}, "", time.Minute},
		"no ConfigMap":       {"the pods would not start", reader(), []client.Object{key("1")}, "ConfigMap settings does not exist and is read by container web (envFrom): create it, or make the reference optional", time.Minute},
		"no Secret":          {"nobody tells when it comes", reader(), []client.Object{settings("1")}, "Secret key does not exist and is read by container web (envFrom): create it, or make the reference optional", 10 * time.Second},
		"optional ConfigMap": {"the pods start without it", reader(optional), []client.Object{key("1")}, "", time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			p := newTracked(t, canary(), append(tc.objs, tc.target)...)
			w := p.world(t)
			got := ""
			if w.Refused != nil {
				got = w.Refused.Message
				if w.Refused.Reason != target.ReasonConfigMissing {
					t.Errorf("reason %s", w.Refused.Reason)
				}
			}
			if got != tc.want || w.ConfigAgain != tc.again {
				t.Errorf("%s: %q, again in %s", tc.reason, got, w.ConfigAgain)
			}
		})
	}
	p := newTracked(t, canary(), reader(optional), key("1"))
	without := p.world(t)
	if err := p.client.Create(t.Context(), settings("1")); err != nil {
		t.Fatal(err)
	}
	if with := p.world(t).RevisionName; with == without.RevisionName {
		t.Error("an optional one that appears is a new revision")
	}
	clone, err := target.Clone(canary(), "primary", "r", without.Revision, 1)
	if err != nil {
		t.Fatal(err)
	}
	if name := clone.(*appsv1.Deployment).Spec.Template.Spec.Containers[0].EnvFrom[0].ConfigMapRef.Name; name == "settings" {
		t.Error("the primary would get it without a trial")
	}
}

// A revision that cannot be told keeps its name: no rollout begins, none ends.
func TestConfigurationThatGoesAwayMovesNothing(t *testing.T) {
	for name, tc := range map[string]struct {
		status siskinv1.CanaryStatus
		want   string
	}{
		"idle":        {siskinv1.CanaryStatus{Phase: siskinv1.PhaseSucceeded}, "r1"},
		"progressing": {siskinv1.CanaryStatus{Phase: siskinv1.PhaseProgressing, Canary: &siskinv1.RevisionStatus{Revision: "r2"}}, "r2"},
		"failed":      {siskinv1.CanaryStatus{Phase: siskinv1.PhaseFailed, Canary: &siskinv1.RevisionStatus{Revision: "r2"}, Rejected: "r2"}, "r2"},
	} {
		t.Run(name, func(t *testing.T) {
			c := canary()
			c.Status = tc.status
			c.Status.Stable = &siskinv1.RevisionStatus{Revision: "r1"}
			p := newTracked(t, c, reader(), key("1"))
			if w := p.world(t); w.RevisionName != tc.want || w.Refused == nil {
				t.Errorf("missing: %s, %v", w.RevisionName, w.Refused)
			}
			p.cache.fail = errors.New("boom")
			if w := p.world(t); w.RevisionName != tc.want || w.Refused != nil || w.Doubt == nil {
				t.Errorf("unreadable: %s, %v, %v", w.RevisionName, w.Refused, w.Doubt)
			}
		})
	}
	p := newTracked(t, canary(), reader(), settings("1"), key("1"))
	known := p.world(t).RevisionName
	p.live.fail = errors.New("boom")
	p.clock.SetTime(now.Add(time.Hour))
	if w := p.world(t); w.RevisionName != known || w.Doubt == nil {
		t.Errorf("%s, %v", w.RevisionName, w.Doubt)
	}
	p = newTracked(t, canary(), reader(), settings("1"), key("1"))
	p.live.fail = errors.New("boom")
	if _, err := p.World(t.Context(), p.canary, p.router, p.router.Capabilities(t.Context(), p.canary)); err == nil {
		t.Error("a first revision was named by what is not known")
	}
	p.canary.DeletionTimestamp = new(metav1.NewTime(now))
	p.world(t) // a deletion waits for no ConfigMap
}

func TestConfigurationThatSiskinMayNotRead(t *testing.T) {
	p := newTracked(t, canary(), reader(), settings("1"), key("1"))
	p.live.fail = apierrors.NewForbidden(corev1.Resource("secrets"), "key", errors.New("no right"))
	w := p.world(t)
	if w.Refused == nil || w.Refused.Reason != target.ReasonConfigForbidden || !strings.Contains(w.Refused.Message, "ConfigMap settings") || w.ConfigAgain != time.Minute {
		t.Errorf("%+v, again in %s", w.Refused, w.ConfigAgain)
	}
}

func TestOptOut(t *testing.T) {
	off := settings("1")
	off.Annotations = map[string]string{siskinv1.ConfigTrackingAnnotation: "disabled"}
	p := newTracked(t, canary(), reader(), off, key("1"))
	first := p.world(t)
	if n := len(first.Revision.Config.Copies()); n != 1 {
		t.Errorf("%d copies, only of the Secret", n)
	}
	again := off.DeepCopy()
	again.Data["a"], again.ResourceVersion = "2", ""
	p.update(t, again)
	if p.world(t).RevisionName != first.RevisionName {
		t.Error("what its author keeps out is no new revision")
	}
	if got := p.live.take(); strings.Contains(got, "ConfigMap/settings!") {
		t.Errorf("its content was read: %s", got)
	}
	p = newTracked(t, canary(), reader(), settings("1"), key("1"))
	p.Config = nil
	if w := p.world(t); w.Revision.Config != nil || w.RevisionName != target.Name("web", canonical(t, reader())) {
		t.Errorf("tracking is off: %+v", w.Revision.Config)
	}
}

// A snapshot of a version of Siskin that knew no configuration is what runs, whatever it reads now.
func TestAnUpgradeStartsNoRollout(t *testing.T) {
	old := target.Name("web", canonical(t, reader()))
	for name, status := range map[string]siskinv1.CanaryStatus{
		"idle":        {Phase: siskinv1.PhaseSucceeded, Stable: &siskinv1.RevisionStatus{Revision: old}},
		"progressing": {Phase: siskinv1.PhaseProgressing, Stable: &siskinv1.RevisionStatus{Revision: "r0"}, Canary: &siskinv1.RevisionStatus{Revision: old}},
		"failed":      {Phase: siskinv1.PhaseFailed, Stable: &siskinv1.RevisionStatus{Revision: "r0"}, Rejected: old},
	} {
		t.Run(name, func(t *testing.T) {
			c := canary()
			c.Status = status
			p := newTracked(t, c, reader(), settings("1"), key("1"), snapshot(t, old, reader()), snapshot(t, "r0", reader(image("web:0"))))
			w := p.world(t)
			if w.RevisionName != old || w.Unrecorded != old {
				t.Fatalf("name %s, to be recorded %q", w.RevisionName, w.Unrecorded)
			}
			if s := p.snapshot(t); !s.Target.Stored || s.Primary.Drifted {
				t.Errorf("it is as it was: %+v, %+v", s.Target, s.Primary)
			}
			// What act writes then.
			cr := w.Snapshots[old].DeepCopy()
			cr.Annotations = map[string]string{siskinv1.ConfigAnnotation: `{"items":[` +
				`{"kind":"ConfigMap","name":"settings","hash":"` + w.Revision.Config.Items[0].Hash + `"},{"kind":"Secret","name":"key","hash":"` + w.Revision.Config.Items[1].Hash + `"}]}`}
			p.update(t, cr)
			if w := p.world(t); w.RevisionName != old || w.Unrecorded != "" {
				t.Errorf("name %s, to be recorded %q", w.RevisionName, w.Unrecorded)
			}
			p.update(t, settings("2"))
			if w := p.world(t); w.RevisionName == old {
				t.Error("from then on a change is noticed")
			}
			p.update(t, settings("1"))
			if w := p.world(t); w.RevisionName != old {
				t.Error("and a change back is a return")
			}
		})
	}
}

// Turning tracking off, or on again, is no release; neither is an annotation.
func TestSwitchingTrackingStartsNoRollout(t *testing.T) {
	c := canary()
	p := newTracked(t, c, reader(), settings("1"), key("1"))
	w := p.world(t)
	cr, err := target.Snapshot(c, w.RevisionName, 1, w.Revision)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.client.Create(t.Context(), cr); err != nil {
		t.Fatal(err)
	}
	promoted(w.RevisionName)(c)
	config := p.Config
	p.Config = nil
	if off := p.world(t); off.RevisionName != w.RevisionName {
		t.Errorf("off: %s", off.RevisionName)
	}
	p.Config = config
	quiet := settings("2")
	quiet.Annotations = map[string]string{siskinv1.ConfigTrackingAnnotation: "disabled"}
	p.update(t, quiet)
	if out := p.world(t); out.RevisionName != w.RevisionName {
		t.Errorf("opted out: %s", out.RevisionName)
	}
}

func TestASnapshotWithoutItsCopiesIsNotStored(t *testing.T) {
	p := newTracked(t, canary(), reader(), settings("1"), key("1"))
	w := p.world(t)
	cr, err := target.Snapshot(canary(), w.RevisionName, 1, w.Revision)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.client.Create(t.Context(), cr); err != nil {
		t.Fatal(err)
	}
	if p.snapshot(t).Target.Stored {
		t.Error("its copies may be missing")
	}
	cr.Annotations = map[string]string{siskinv1.CopiedAnnotation: "true"}
	p.update(t, cr)
	if !p.snapshot(t).Target.Stored {
		t.Error("all is copied")
	}
}

func TestWhoReadsAConfigMap(t *testing.T) {
	p := newTracked(t, canary(), reader(), settings("1"), key("1"))
	p.world(t)
	who := types.NamespacedName{Namespace: "shop", Name: "web"}
	if diff := cmp.Diff([]types.NamespacedName{who}, p.Config.Readers("shop", "settings")); diff != "" {
		t.Error(diff)
	}
	for _, other := range [][2]string{{"shop", "key"}, {"shop", "other"}, {"home", "settings"}} {
		if got := p.Config.Readers(other[0], other[1]); len(got) > 0 {
			t.Errorf("%v is read by %v", other, got)
		}
	}
	p.update(t, deployment(func(d *appsv1.Deployment) { d.Generation = 2 }))
	p.world(t)
	if got := p.Config.Readers("shop", "settings"); len(got) > 0 {
		t.Errorf("nobody reads it any more: %v", got)
	}
	p.update(t, reader(func(d *appsv1.Deployment) { d.Generation = 3 }))
	p.world(t)
	p.Config.Forget(who)
	if got := p.Config.Readers("shop", "settings"); len(got) > 0 {
		t.Errorf("%v is gone", got)
	}
	var none *observe.ConfigTracker
	none.Forget(who)
	none.Expire("ConfigMap", "shop", "settings")
	if none.Readers("shop", "settings") != nil {
		t.Error("nothing is tracked")
	}
}

func TestWhatWasFoundToBeStaleIsReadAgain(t *testing.T) {
	p := newTracked(t, canary(), reader(), settings("1"), key("1"))
	before := p.world(t).RevisionName
	p.update(t, key("2"))
	p.Config.Expire("Secret", "shop", "key")
	if p.world(t).RevisionName == before {
		t.Error("the Secret was not read again")
	}
}

// A person went back to r1: r2, which the target still says, must change before it is released. Siskin starts anew while the target's
// ConfigMap is away.
func TestARejectedRevisionIsNotForgottenByARestart(t *testing.T) {
	for name, status := range map[string]func(*siskinv1.CanaryStatus){
		"gone back":    func(s *siskinv1.CanaryStatus) { s.Phase = siskinv1.PhaseSucceeded },
		"going back":   func(s *siskinv1.CanaryStatus) { s.Phase = siskinv1.PhasePromoting },
		"it failed":    func(s *siskinv1.CanaryStatus) { s.Phase = siskinv1.PhaseFailed },
		"taken back":   func(s *siskinv1.CanaryStatus) { s.Phase = siskinv1.PhaseRollingBack },
		"was canceled": func(s *siskinv1.CanaryStatus) { s.Phase = siskinv1.PhaseCancelled },
	} {
		t.Run(name, func(t *testing.T) {
			r2 := reader(image("web:2"))
			c := canary(promoted("r1"))
			c.Status.Rejected, c.Status.Replicas = "r2", new(int32(3))
			c.Status.Split = &siskinv1.SplitStatus{Primary: 100}
			c.Status.Rollout = &siskinv1.RolloutStatus{ID: 2, Previous: "r2", Direct: true}
			c.Status.Canary = &siskinv1.RevisionStatus{Revision: "r1"}
			status(&c.Status)
			p := newTracked(t, c, r2, snapshot(t, "r1", reader(image("web:1"))), snapshot(t, "r2", r2))
			w := p.world(t)
			if w.Refused == nil {
				t.Fatal("the ConfigMap is missing")
			}
			s := p.Snapshot(w, plan.Spec{Interval: 1, Invalid: "x", InvalidReason: "ConfigMissing"}, now, now)
			if d := plan.Decide(s); s.Target.Revision != "r2" || d.Next.Rejected != "r2" {
				t.Errorf("the target is taken for %q, rejected is %q: r2 would be released by itself when the ConfigMap is back", s.Target.Revision, d.Next.Rejected)
			}
		})
	}
}

// hanging never answers, as an API server does that waits for the key that Secrets are encrypted with.
type hanging struct{ client.Reader }

func (hanging) Get(ctx context.Context, _ client.ObjectKey, _ client.Object, _ ...client.GetOption) error {
	<-ctx.Done()
	return ctx.Err()
}

// The rest of the world is seen, and a rollback goes on, while configuration cannot be read.
func TestConfigurationThatCannotBeReadHoldsNothingUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newTracked(t, canary(), reader(), settings("1"), key("1"))
		known := p.world(t).RevisionName
		p.clock.SetTime(now.Add(2 * time.Minute)) // the Secret is due to be looked at
		p.Config.Live = hanging{p.client}
		began := time.Now()
		w := p.world(t)
		if took := time.Since(began); took > 10*time.Second { // of the bubble's time
			t.Errorf("it took %s", took)
		}
		if w.Doubt == nil || w.RevisionName != known {
			t.Errorf("revision %s, doubt %v", w.RevisionName, w.Doubt)
		}
	})
}

// late answers each read of whole objects, or of a Secret's metadata, only after a while.
type late struct {
	client.Reader

	takes time.Duration
}

func (r *late) Get(ctx context.Context, key client.ObjectKey, obj client.Object, opts ...client.GetOption) error {
	if r.takes > 0 {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(r.takes):
		}
	}
	return r.Reader.Get(ctx, key, obj, opts...)
}

// TestNoPassWaitsForConfiguration : a pass goes on with what is known while the API server takes long; the Canary is
// looked at again when it has answered, and sees what is there then, however often that happens.
func TestNoPassWaitsForConfiguration(t *testing.T) {
	change := map[string]func(*testing.T, *tracked){
		"a Secret that is due": func(t *testing.T, p *tracked) {
			t.Helper()
			p.update(t, key("2"))
			p.clock.SetTime(now.Add(2 * time.Minute))
		},
		"a ConfigMap that has changed": func(t *testing.T, p *tracked) { t.Helper(); p.update(t, settings("2")) },
		"both":                         func(t *testing.T, p *tracked) { t.Helper(); p.update(t, key("2")); p.update(t, settings("2")) },
		"a target that has changed": func(t *testing.T, p *tracked) {
			t.Helper()
			p.update(t, key("2")) // which is looked at because of that
			d := reader(image("web:2"))
			d.Generation = 2
			p.update(t, d)
		},
	}
	for name, change := range change {
		for _, takes := range []time.Duration{2 * time.Second, time.Hour} {
			t.Run(fmt.Sprintf("%s, %s", name, takes), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					p := newTracked(t, canary(), reader(), settings("1"), key("1"))
					known := p.world(t).RevisionName
					var woken atomic.Int32
					slow := &late{Reader: p.client, takes: takes}
					p.Config.Live = slow
					p.Config.Reads = async.NewReads(4, clock.RealClock{}, func(types.NamespacedName) { woken.Add(1) })
					ctx, cancel := context.WithCancel(t.Context())
					ended := make(chan error)
					go func() { ended <- p.Config.Reads.Start(ctx) }()
					t.Cleanup(func() { cancel(); t.Logf("ended: %v", <-ended) })
					change(t, p)
					if name == "both" {
						p.clock.SetTime(now.Add(2 * time.Minute))
					}
					var w *observe.World
					for range 4 { // each read that it needs
						began := time.Now()
						w = p.world(t)
						if took := time.Since(began); took > 2*async.Patience {
							t.Errorf("it took %s", took)
						}
						if w.Doubt == nil {
							break
						}
						if w.RevisionName != known || !errors.Is(w.Doubt, async.ErrSlow) {
							t.Errorf("revision %s, doubt %v", w.RevisionName, w.Doubt)
						}
						before := woken.Load()
						<-time.After(6 * time.Second)
						synctest.Wait()
						p.clock.SetTime(p.clock.Now().Add(6 * time.Second))
						if woken.Load() == before {
							t.Error("nobody is woken")
						}
					}
					if answers := takes < time.Hour; (w.Doubt == nil) != answers || (w.RevisionName != known) != answers {
						t.Errorf("revision %s, doubt %v", w.RevisionName, w.Doubt)
					}
				})
			})
		}
	}
}
