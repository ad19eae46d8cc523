package observe_test

import (
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/canary/plan"
	"github.com/siskin-dev/siskin/pkg/canary/target"
)

// by stamps an object as GitSync does.
func by[T metav1.Object](obj T, commit string) T {
	obj.SetAnnotations(map[string]string{siskinv1.GitRevisionAnnotation: commit, siskinv1.GitAuthorAnnotation: "author of " + commit})
	return obj
}

// atRest is a place in which what the target has and reads, all of commit one, is promoted.
func atRest(t *testing.T) *tracked {
	t.Helper()
	p := newTracked(t, canary(), by(reader(), "one"), by(settings("1"), "one"), by(key("1"), "one"))
	first := p.world(t)
	cr, err := target.Snapshot(p.canary, first.RevisionName, 1, first.Revision)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.client.Create(t.Context(), cr); err != nil {
		t.Fatal(err)
	}
	p.canary.Status.Phase, p.canary.Status.Stable = siskinv1.PhaseInitialized, &siskinv1.RevisionStatus{Revision: first.RevisionName}
	return p
}

// What is told of a revision is the commit of the part that changed last, and what waits for a quiet time is a change
// of configuration alone.
func TestAChangeIsOfThePartThatChanged(t *testing.T) {
	for name, c := range map[string]struct {
		change     func(p *tracked)
		commit     string
		configOnly bool
	}{
		"nothing":     {func(*tracked) {}, "one", false},
		"a ConfigMap": {func(p *tracked) { p.update(t, by(settings("2"), "two")) }, "two", true},
		"a Secret": {func(p *tracked) {
			p.clock.SetTime(now.Add(time.Hour))
			p.update(t, by(key("2"), "two"))
		}, "two", true},
		"the template": {func(p *tracked) {
			p.update(t, by(reader(image("web:2"), func(d *appsv1.Deployment) { d.Generation = 2 }), "three"))
		}, "three", false},
		"both": {func(p *tracked) {
			p.update(t, by(settings("2"), "two"))
			p.update(t, by(reader(image("web:2"), func(d *appsv1.Deployment) { d.Generation = 2 }), "three"))
		}, "three", false},
		"a ConfigMap by hand": {func(p *tracked) { p.update(t, settings("2")) }, "one", true},
	} {
		t.Run(name, func(t *testing.T) {
			p := atRest(t)
			c.change(p)
			w := p.world(t)
			s := p.Snapshot(w, plan.Spec{Quiet: 2 * time.Second}, now, now)
			if got := w.Origin(); got.Commit != c.commit || got.Author != "author of "+c.commit {
				t.Errorf("told is %+v", got)
			}
			if s.Target.ConfigOnly != c.configOnly || !s.Target.ChangedAt.Equal(now) {
				t.Errorf("only the configuration has changed: %v, at %v", s.Target.ConfigOnly, s.Target.ChangedAt)
			}
		})
	}
}
