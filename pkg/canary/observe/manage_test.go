package observe_test

import (
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/canary/target"
)

func ready(seconds int32) func(*appsv1.Deployment) {
	return func(d *appsv1.Deployment) { d.Spec.MinReadySeconds = seconds }
}

func team(name string) func(*appsv1.Deployment) {
	return func(d *appsv1.Deployment) { d.Annotations = map[string]string{"team": name} }
}

// How pods are managed belongs to the revision, with the edits since; the metadata is always that of the target.
func TestWhoseMetadataAndManagementAClone(t *testing.T) {
	stable := &siskinv1.RevisionStatus{Revision: "r1"}
	gone := metav1.Now()
	for name, tc := range map[string]struct {
		objs     []client.Object
		revision string
		team     string
		ready    int32
	}{
		"an edit at rest": {[]client.Object{deployment(ready(5), team("new"))}, "r1", "new", 5},
		"the clone of another revision, edited before": {
			[]client.Object{deployment(image("web:2"), ready(7), team("new")), clone("primary", "r1", deployment(ready(5)))}, "r1", "new", 5,
		},
		"back from another revision": {
			[]client.Object{deployment(image("web:2"), ready(7), team("new")), clone("primary", "r2", deployment(ready(7)))}, "r1", "new", 1,
		},
		"without the target": {[]client.Object{clone("primary", "r1", deployment(ready(5), team("old")))}, "r1", "old", 5},
		"a target that goes": {
			[]client.Object{deployment(ready(7), team("new"), func(d *appsv1.Deployment) {
				d.DeletionTimestamp, d.Finalizers = &gone, []string{"foregroundDeletion"}
			}), clone("primary", "r1", deployment(ready(5), team("old")))}, "r1", "old", 5,
		},
		"with nothing": {nil, "r1", "first", 1},
	} {
		t.Run(name, func(t *testing.T) {
			first := deployment(ready(1), team("first"))
			c := canary(func(c *siskinv1.Canary) { c.Status.Phase, c.Status.Stable = siskinv1.PhaseSucceeded, stable })
			p := newPlace(t, c, append(tc.objs, snapshot(t, "r1", first))...)
			w := p.world(t)
			got := w.Managed(tc.revision, target.From(first), w.Primary).Workload
			if got.MinReadySeconds != tc.ready || got.Annotations["team"] != tc.team {
				t.Errorf("minReadySeconds %d, team %s", got.MinReadySeconds, got.Annotations["team"])
			}
		})
	}
}

func TestAnEditAtRestIsADriftOfThePrimary(t *testing.T) {
	for name, tc := range map[string]struct {
		include []string
		edit    func(*appsv1.Deployment)
		want    bool
	}{
		"nothing":               {nil, func(*appsv1.Deployment) {}, false},
		"an annotation":         {nil, team("new"), true},
		"that is not included":  {[]string{"app"}, team("new"), false},
		"a label":               {nil, func(d *appsv1.Deployment) { d.Labels = map[string]string{"team": "new"} }, true},
		"minReadySeconds":       {nil, ready(3), true},
		"with another revision": {nil, func(d *appsv1.Deployment) { ready(3)(d); image("web:2")(d) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			c := canary(func(c *siskinv1.Canary) {
				c.Status.Phase, c.Status.Stable = siskinv1.PhaseSucceeded, &siskinv1.RevisionStatus{Revision: "r1"}
			})
			p := newPlace(t, c, deployment(), snapshot(t, "r1", deployment()), clone("primary", "r1", deployment()))
			p.Include = tc.include
			if s := p.snapshot(t); s.Primary.Drifted || s.Target.Revision != "r1" {
				t.Fatalf("drifted before: %+v", s.Primary)
			}
			edited := deployment(tc.edit)
			edited.Generation = 2
			if err := p.client.Update(t.Context(), edited); err != nil {
				t.Fatal(err)
			}
			s := p.snapshot(t)
			if s.Primary.Drifted != tc.want {
				t.Errorf("drifted: %t", s.Primary.Drifted)
			}
			if again := p.snapshot(t); again.Primary.Drifted != tc.want {
				t.Error("it is forgotten")
			}
		})
	}
}
