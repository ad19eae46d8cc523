package observe_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/canary/observe"
	"github.com/siskin-dev/siskin/pkg/canary/target"
)

// promotedWithCopies is a place whose Canary has promoted what its target reads, with copies of it.
func promotedWithCopies(t *testing.T) (p *tracked, settingsCopy, keyCopy string) {
	t.Helper()
	p = newTracked(t, canary(), reader(), settings("1"), key("1"))
	w := p.world(t)
	cr, err := target.Snapshot(p.canary, w.RevisionName, 1, w.Revision)
	if err != nil {
		t.Fatal(err)
	}
	cr.UID, cr.Annotations = "snapshot-uid", map[string]string{siskinv1.CopiedAnnotation: "true"}
	items := w.Revision.Config.Copies()
	for _, obj := range []client.Object{cr, renamed(settings("1"), items[0].Copy), renamed(key("1"), items[1].Copy)} {
		if err := p.client.Create(t.Context(), obj); err != nil {
			t.Fatal(err)
		}
	}
	promoted(w.RevisionName)(p.canary)
	p.world(t)
	p.cache.take()
	p.live.take()
	return p, items[0].Copy, items[1].Copy
}

// renamed is obj under another name, as another object.
func renamed[T client.Object](obj T, name string) T {
	obj.SetName(name)
	obj.SetUID(types.UID(name + "-uid"))
	return obj
}

func (p *tracked) remove(t *testing.T, obj client.Object, name string) {
	t.Helper()
	obj.SetName(name)
	obj.SetNamespace("shop")
	if err := p.client.Delete(t.Context(), obj); err != nil {
		t.Fatal(err)
	}
}

// lost lists what is lost, with "!" where the original still has the content.
func lost(w *observe.World) string {
	var out []string
	for _, l := range w.Lost {
		text := l.Copy
		if l.Found {
			text += "!"
		}
		out = append(out, text)
	}
	return strings.Join(out, " ")
}

func TestCopiesThatAreThereCostNothing(t *testing.T) {
	p, _, copied := promotedWithCopies(t)
	for range 3 {
		if w := p.world(t); len(w.Lost) > 0 || w.ConfigAgain != time.Minute {
			t.Errorf("lost %s, again in %s", lost(w), w.ConfigAgain)
		}
	}
	if got := p.live.take(); got != "" {
		t.Errorf("read %s", got)
	}
	p.clock.SetTime(now.Add(time.Minute))
	p.world(t)
	if got := p.live.take(); got != "Secret/key Secret/"+copied {
		t.Errorf("the metadata of two Secrets was due: %s", got)
	}
	// A pass that comes a little early looks at both, so that they stay together.
	p.clock.SetTime(now.Add(2*time.Minute - time.Second))
	p.world(t)
	if got := p.live.take(); got != "Secret/"+copied {
		t.Errorf("read %s", got)
	}
	p.Config.Poll = 0
	p.clock.SetTime(now.Add(time.Hour))
	if w := p.world(t); w.ConfigAgain != 0 || p.live.take() != "" {
		t.Errorf("nothing is polled, again in %s", w.ConfigAgain)
	}
}

func TestACopyThatIsGone(t *testing.T) {
	p, settingsCopy, keyCopy := promotedWithCopies(t)
	p.remove(t, &corev1.ConfigMap{}, settingsCopy)
	if got := lost(p.world(t)); got != settingsCopy+"!" {
		t.Errorf("lost %q", got)
	}
	p.remove(t, &corev1.Secret{}, keyCopy)
	if got := lost(p.world(t)); got != settingsCopy+"!" {
		t.Errorf("lost %q: a Secret is looked at when it is due", got)
	}
	p.clock.SetTime(now.Add(time.Minute))
	if got := lost(p.world(t)); got != settingsCopy+"! "+keyCopy+"!" {
		t.Errorf("lost %q", got)
	}
	p.update(t, settings("2"))
	w := p.world(t)
	if got := lost(w); got != settingsCopy+" "+keyCopy+"!" {
		t.Errorf("lost %q, and the ConfigMap has another content", got)
	}
	if text := w.Lost[0].String(); !strings.Contains(text, settingsCopy) || !strings.Contains(text, p.canary.Status.Stable.Revision) {
		t.Errorf("it does not say what is lost: %s", text)
	}
	p.remove(t, &corev1.ConfigMap{}, "settings")
	p.remove(t, &corev1.Secret{}, "key")
	p.clock.SetTime(now.Add(2 * time.Minute))
	if got := lost(p.world(t)); got != settingsCopy+" "+keyCopy {
		t.Errorf("lost %q, and there are no originals", got)
	}
	off := settings("1")
	off.Annotations = map[string]string{siskinv1.ConfigTrackingAnnotation: "disabled"}
	if err := p.client.Create(t.Context(), off); err != nil {
		t.Fatal(err)
	}
	p.live.take()
	for range 2 {
		if got := lost(p.world(t)); got != settingsCopy+"! "+keyCopy {
			t.Errorf("lost %q: what its author keeps out of revisions has the content all the same", got)
		}
	}
	if n := strings.Count(p.live.take(), "ConfigMap/settings!"); n != 1 {
		t.Errorf("it was read %d times", n)
	}
	if err := p.client.Create(t.Context(), renamed(settings("1"), settingsCopy)); err != nil {
		t.Fatal(err)
	}
	if got := lost(p.world(t)); got != keyCopy {
		t.Errorf("lost %q, and the ConfigMap is back", got)
	}
}

// A cache that is behind loses nothing; what cannot be read is looked at again, and holds nothing up.
func TestACopyThatCannotBeLookedAt(t *testing.T) {
	p, settingsCopy, _ := promotedWithCopies(t)
	empty := newTracked(t, canary(), settings("1"))
	p.Config.Cache = empty.client
	if w := p.world(t); len(w.Lost) > 0 {
		t.Errorf("lost %s, and it is there", lost(w))
	}
	if got := p.live.take(); !strings.Contains(got, "ConfigMap/"+settingsCopy) {
		t.Errorf("the API server knows, and was asked for %q", got)
	}
	p.live.fail = errors.New("boom")
	if w := p.world(t); len(w.Lost) > 0 || w.ConfigAgain != 10*time.Second {
		t.Errorf("lost %s, again in %s", lost(w), w.ConfigAgain)
	}
	p.live.fail = nil
	p.Config.Cache = p.cache
	p.cache.fail = errors.New("boom")
	if w := p.world(t); len(w.Lost) > 0 || w.ConfigAgain != 10*time.Second {
		t.Errorf("lost %s, again in %s", lost(w), w.ConfigAgain)
	}
}

// Only what pods read now, or may read at any moment, is looked after.
func TestWhoseCopiesAreLookedAfter(t *testing.T) {
	other := &siskinv1.RevisionStatus{Revision: "other"}
	for name, tc := range map[string]struct {
		reason string
		status func(stable string) siskinv1.CanaryStatus
		clone  int32 // pods of the canary that runs it
		want   bool
	}{
		"stable": {"it serves", func(r string) siskinv1.CanaryStatus {
			return siskinv1.CanaryStatus{Phase: siskinv1.PhaseSucceeded, Stable: &siskinv1.RevisionStatus{Revision: r}}
		}, 0, true},
		"on trial": {"its pods are judged", func(r string) siskinv1.CanaryStatus {
			return siskinv1.CanaryStatus{Phase: siskinv1.PhaseProgressing, Stable: other, Canary: &siskinv1.RevisionStatus{Revision: r}}
		}, 0, true},
		"failed": {"nothing runs it", func(r string) siskinv1.CanaryStatus {
			return siskinv1.CanaryStatus{Phase: siskinv1.PhaseFailed, Stable: other, Canary: &siskinv1.RevisionStatus{Revision: r}}
		}, 0, false},
		"failed, and only the canary serves": {"it still runs", func(r string) siskinv1.CanaryStatus {
			return siskinv1.CanaryStatus{Phase: siskinv1.PhaseFailed, Stable: other, Canary: &siskinv1.RevisionStatus{Revision: r}}
		}, 3, true},
		"before the bake": {"the bake may go back to it", func(r string) siskinv1.CanaryStatus {
			return siskinv1.CanaryStatus{Phase: siskinv1.PhaseBaking, Stable: other, Canary: other, Rollout: &siskinv1.RolloutStatus{Previous: r}}
		}, 0, true},
		"previous": {"it is kept, and read by nobody", func(r string) siskinv1.CanaryStatus {
			return siskinv1.CanaryStatus{Phase: siskinv1.PhaseSucceeded, Stable: other, Canary: other, Rollout: &siskinv1.RolloutStatus{Previous: r}}
		}, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			p, settingsCopy, _ := promotedWithCopies(t)
			revision := p.canary.Status.Stable.Revision
			p.canary.Status = tc.status(revision)
			p.remove(t, &corev1.ConfigMap{}, settingsCopy)
			if tc.clone > 0 {
				d := clone(siskinv1.RoleCanary, revision, reader(), func(d *appsv1.Deployment) { d.Spec.Replicas = &tc.clone })
				if err := p.client.Create(t.Context(), d); err != nil {
					t.Fatal(err)
				}
			}
			if got := len(p.world(t).Lost) > 0; got != tc.want {
				t.Errorf("%s: looked after %t", tc.reason, got)
			}
			now := p.canary.CreationTimestamp
			if p.canary.DeletionTimestamp = &now; len(p.world(t).Lost) > 0 {
				t.Error("a Canary that goes writes no copies")
			}
			p.canary.DeletionTimestamp = nil
			if p.Config = nil; len(p.world(t).Lost) > 0 {
				t.Error("tracking is off")
			}
		})
	}
}

// Two Canaries that read one ConfigMap are woken by their own copies, not by the other's.
func TestWhoIsWokenByACopy(t *testing.T) {
	p, settingsCopy, keyCopy := promotedWithCopies(t)
	web, api := types.NamespacedName{Namespace: "shop", Name: "web"}, types.NamespacedName{Namespace: "shop", Name: "api"}
	other := canary(func(c *siskinv1.Canary) { c.Name, c.UID = "api", "api-uid" })
	second := *p.place
	second.canary = other
	second.world(t)
	if diff := cmp.Diff([]types.NamespacedName{web}, p.Config.Readers("shop", settingsCopy)); diff != "" {
		t.Error(diff)
	}
	if got := p.Config.Readers("shop", "settings"); len(got) != 2 {
		t.Errorf("the original wakes %v", got)
	}
	if got := p.Config.Readers("shop", keyCopy); len(got) != 0 {
		t.Errorf("nobody watches Secrets: %v", got)
	}
	p.Config.Forget(web)
	if got := p.Config.Readers("shop", settingsCopy); len(got) != 0 {
		t.Errorf("%v are gone", got)
	}
	if diff := cmp.Diff([]types.NamespacedName{api}, p.Config.Readers("shop", "settings")); diff != "" {
		t.Error(diff)
	}
}
