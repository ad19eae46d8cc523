package observe_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/canary/target"
)

func promoted(revision string) func(*siskinv1.Canary) {
	return func(c *siskinv1.Canary) { c.Status.Stable = &siskinv1.RevisionStatus{Revision: revision} }
}

// defaulted adds what another version of the API server adds.
func defaulted(d *appsv1.Deployment) { d.Spec.Template.Spec.SchedulerName = "default-scheduler" }

func TestRevisionName(t *testing.T) {
	own := func(edits ...func(*appsv1.Deployment)) string {
		return target.Name("web", canonical(t, deployment(edits...)))
	}
	broken := snapshot(t, "old", deployment())
	broken.Data.Raw = []byte(`{"template":7}`)
	for name, tc := range map[string]struct {
		reason    string
		stable    string
		snapshots []*appsv1.ControllerRevision
		server    string // version of the API server that wrote the snapshots; "" is today's
		normalize error
		want      string
		asked     int
	}{
		"the first":          {"it is named by its content", "", nil, "", nil, own(defaulted), 0},
		"stored":             {"it is known by its name", "old", []*appsv1.ControllerRevision{snapshot(t, own(defaulted), deployment(defaulted)), snapshot(t, "old", deployment(image("x")))}, "v1", nil, own(defaulted), 0},
		"another name":       {"names of an older Siskin are as good: the content decides", "old", []*appsv1.ControllerRevision{snapshot(t, "old", deployment(defaulted))}, "v1", nil, "old", 0},
		"another default":    {"an upgrade of Kubernetes is no release", "old", []*appsv1.ControllerRevision{snapshot(t, "old", deployment())}, "v1", nil, "old", 1},
		"same API server":    {"it sets the same defaults: the difference is the user's", "old", []*appsv1.ControllerRevision{snapshot(t, "old", deployment())}, "", nil, own(defaulted), 0},
		"another content":    {"a release", "old", []*appsv1.ControllerRevision{snapshot(t, "old", deployment(image("web:0")))}, "v1", nil, own(defaulted), 1},
		"snapshot missing":   {"nothing to compare with", "old", nil, "v1", nil, own(defaulted), 0},
		"snapshot is broken": {"it equals nothing", "old", []*appsv1.ControllerRevision{broken}, "v1", nil, own(defaulted), 0},
		"only of the stable": {"what was tried before the stable one may be tried again", "r1", []*appsv1.ControllerRevision{snapshot(t, "r1", deployment(image("web:0"))), snapshot(t, "old", deployment())}, "", nil, own(defaulted), 0},
		"refused for good": {
			"a policy that forbids the old content must not keep the new one out", "old",
			[]*appsv1.ControllerRevision{snapshot(t, "old", deployment(image("web:0")))},
			"v1",
			apierrors.NewForbidden(schema.GroupResource{Group: "apps", Resource: "deployments"}, "web", errors.New("policy")), own(defaulted), 1,
		},
		"not answered": {"a guess might start a rollout", "old", []*appsv1.ControllerRevision{snapshot(t, "old", deployment())}, "v1", errors.New("boom"), "old", 1},
	} {
		t.Run(name, func(t *testing.T) {
			objs := []client.Object{deployment(defaulted)}
			for _, s := range tc.snapshots {
				s = s.DeepCopy()
				if tc.server != "" {
					s.Annotations = map[string]string{siskinv1.WrittenByAnnotation: tc.server}
				} else {
					s.Annotations = map[string]string{siskinv1.WrittenByAnnotation: "v2"}
				}
				objs = append(objs, s)
			}
			c := canary()
			if tc.stable != "" {
				promoted(tc.stable)(c)
			}
			c.Status.Phase = siskinv1.PhaseInitialized
			p := newPlace(t, c, objs...)
			asked := 0
			p.ServerVersion = "v2"
			p.Normalize = func(_ context.Context, live client.Object, stored target.Revision) (target.Revision, error) {
				asked++
				d := live.(*appsv1.Deployment).DeepCopy()
				d.Spec.Template = *stored.Template.DeepCopy()
				defaulted(d)
				return target.From(d), tc.normalize
			}
			w, err := p.World(t.Context(), c, p.router, p.router.Capabilities(t.Context(), c))
			if err != nil || w.RevisionName != tc.want {
				t.Errorf("%s: %v, %v, want %s", tc.reason, w, err, tc.want)
			}
			if doubt := tc.normalize != nil && tc.want == "old"; (w.Doubt != nil) != doubt {
				t.Errorf("%s: doubt %v", tc.reason, w.Doubt)
			}
			if asked != tc.asked {
				t.Errorf("%s: the API server was asked %d times, want %d", tc.reason, asked, tc.asked)
			}
		})
	}
}

func TestARolloutIsNotHeldUpByAServerThatDoesNotAnswer(t *testing.T) {
	c := canary(promoted("old"))
	c.Status.Phase = siskinv1.PhaseProgressing
	p := newPlace(t, c, deployment(defaulted), snapshot(t, "old", deployment()))
	p.ServerVersion = "v2"
	asked := 0
	p.Normalize = func(_ context.Context, _ client.Object, stored target.Revision) (target.Revision, error) {
		asked++
		return stored, errors.New("boom")
	}
	for range 2 {
		w, err := p.World(t.Context(), c, p.router, p.router.Capabilities(t.Context(), c))
		if err != nil || w.RevisionName == "old" {
			t.Errorf("%v, %v", w, err)
		}
	}
	if asked != 2 {
		t.Errorf("what was not answered was asked %d times instead of again", asked)
	}
}

// An upgraded API server writes another default into the target: neither the revision that was taken back nor the one on trial becomes a
// new one by that. While the server cannot be asked, the target has the name that it had.
func TestAnUpgradeOfKubernetesReleasesNothing(t *testing.T) {
	own := target.Name("web", canonical(t, deployment(defaulted, image("web:2"))))
	failed := func(c *siskinv1.Canary) {
		c.Status.Phase, c.Status.Rejected = siskinv1.PhaseFailed, "r2"
		c.Status.Canary = &siskinv1.RevisionStatus{Revision: "r2"}
	}
	onTrial := func(c *siskinv1.Canary) {
		c.Status.Phase = siskinv1.PhaseProgressing
		c.Status.Canary = &siskinv1.RevisionStatus{Revision: "r2"}
	}
	goneBack := func(c *siskinv1.Canary) { c.Status.Phase, c.Status.Rejected = siskinv1.PhaseSucceeded, "r2" }
	boom := errors.New("boom")
	for name, tc := range map[string]struct {
		status func(*siskinv1.Canary)
		stored string // image of r2
		fails  error
		want   string
		asked  int // in two looks
	}{
		"taken back":             {failed, "web:2", nil, "r2", 2},
		"gone back from":         {goneBack, "web:2", nil, "r2", 2},
		"on trial":               {onTrial, "web:2", nil, "r2", 2},
		"another content":        {onTrial, "web:1.9", nil, own, 2},
		"not answered, rejected": {failed, "web:2", boom, "r2", 4},
		"not answered, on trial": {onTrial, "web:2", boom, "r2", 4},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t, canary(promoted("r1"), tc.status), deployment(defaulted, image("web:2")),
				snapshot(t, "r1", deployment()), snapshot(t, "r2", deployment(image(tc.stored))))
			asked := 0
			p.ServerVersion = "v2"
			p.Normalize = func(_ context.Context, live client.Object, stored target.Revision) (target.Revision, error) {
				asked++
				d := live.(*appsv1.Deployment).DeepCopy()
				d.Spec.Template = *stored.Template.DeepCopy()
				defaulted(d)
				return target.From(d), tc.fails
			}
			for range 2 {
				if w := p.world(t); w.RevisionName != tc.want || (w.Doubt != nil) != (tc.fails != nil) {
					t.Errorf("the target is taken for %s instead of %s, doubt %v", w.RevisionName, tc.want, w.Doubt)
				}
			}
			if asked != tc.asked {
				t.Errorf("the API server was asked %d times, want %d", asked, tc.asked)
			}
		})
	}
}

func TestTheNameIsFoundOutOncePerGeneration(t *testing.T) {
	p := newPlace(t, canary(promoted("old")), deployment(defaulted), snapshot(t, "old", deployment()))
	asked := 0
	p.ServerVersion = "v2"
	p.Normalize = func(_ context.Context, _ client.Object, stored target.Revision) (target.Revision, error) {
		asked++
		return stored, nil
	}
	first := p.world(t).RevisionName
	if again := p.world(t).RevisionName; again != first || asked != 1 {
		t.Errorf("%s after %s, asked %d times", again, first, asked)
	}
	d := deployment(image("web:2"), func(d *appsv1.Deployment) { d.Generation = 2 })
	if err := p.client.Update(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	second := p.world(t).RevisionName
	if second == first || asked != 2 {
		t.Errorf("another generation is called %s too, asked %d times", second, asked)
	}
	// The same target beside another promoted revision may have another name.
	p.canary.Status.Stable.Revision = "other"
	p.world(t)
	if err := p.client.Create(t.Context(), snapshot(t, "other", d)); err != nil {
		t.Fatal(err)
	}
	if name := p.world(t).RevisionName; name != "other" {
		t.Errorf("the content of the promoted revision is called %s", name)
	}
}

func TestARevisionThatIsStored(t *testing.T) {
	p := newPlace(t, canary(), deployment())
	if s := p.snapshot(t); s.Target.Stored {
		t.Error("no snapshot exists")
	}
	if err := p.client.Create(t.Context(), snapshot(t, p.world(t).RevisionName, deployment())); err != nil {
		t.Fatal(err)
	}
	if s := p.snapshot(t); !s.Target.Stored {
		t.Error("a snapshot exists")
	}
}

func TestDriftIsJudgedOncePerGeneration(t *testing.T) {
	p := newPlace(t, canary(), snapshot(t, "r1", deployment()), clone("primary", "r1", deployment()))
	if p.snapshot(t).Primary.Drifted {
		t.Fatal("nothing happened")
	}
	d := clone("primary", "r1", deployment(), image("evil:1"), func(d *appsv1.Deployment) { d.Generation = 3 })
	if err := p.client.Update(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	if !p.snapshot(t).Primary.Drifted {
		t.Error("a new generation is judged anew")
	}
}

// An upgraded API server that would not write the promoted content today has answered; one that fails has not, and that is shown.
func TestADryRunThatIsRefusedIsAnAnswer(t *testing.T) {
	kind := schema.GroupKind{Group: "apps", Kind: "Deployment"}
	for name, tc := range map[string]struct {
		err   error
		same  bool
		asked int
	}{
		"forbidden": {apierrors.NewForbidden(schema.GroupResource{Group: "apps", Resource: "deployments"}, "web", errors.New("policy")), false, 1},
		"invalid":   {apierrors.NewInvalid(kind, "web", nil), false, 1},
		"failed":    {apierrors.NewInternalError(errors.New("webhook")), true, 2},
	} {
		t.Run(name, func(t *testing.T) {
			c := canary(promoted("old"))
			c.Status.Phase = siskinv1.PhaseSucceeded
			p := newPlace(t, c, deployment(defaulted), snapshot(t, "old", deployment()))
			asked := 0
			p.ServerVersion = "v2"
			p.Normalize = func(_ context.Context, _ client.Object, stored target.Revision) (target.Revision, error) {
				asked++
				return stored, fmt.Errorf("asking: %w", tc.err)
			}
			for range 2 {
				if w := p.world(t); (w.RevisionName == "old") != tc.same || (w.Doubt != nil) != tc.same {
					t.Errorf("%s, doubt %v", w.RevisionName, w.Doubt)
				}
			}
			if asked != tc.asked {
				t.Errorf("asked %d times, want %d", asked, tc.asked)
			}
		})
	}
}
