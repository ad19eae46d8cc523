package observe_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	testingclock "k8s.io/utils/clock/testing"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
)

// listens gives the pods of a Deployment a port with a number.
func listens(number int32) func(*appsv1.Deployment) {
	return func(d *appsv1.Deployment) {
		d.Spec.Template.Spec.Containers[0].Ports = []corev1.ContainerPort{{Name: "http", ContainerPort: number}}
	}
}

// leads is a Service that leads to a number.
func leads(name string, target int) *corev1.Service {
	s := svc(name, map[string]string{"app": "web"})
	s.Spec.Ports[0].TargetPort = intstr.FromInt(target)
	return s
}

// The apex's author leads it to another number, without and with the pods that listen there.
func TestPortsBelongToARevision(t *testing.T) {
	stable := func(c *siskinv1.Canary) {
		c.Status.Phase, c.Status.Stable = siskinv1.PhaseInitialized, &siskinv1.RevisionStatus{Revision: "r1"}
	}
	target := func(t *testing.T, p *place) (main, trial int, held string, records int) {
		t.Helper()
		w := p.world(t)
		return w.Views.Main.View.Ports[0].TargetPort.IntValue(), w.Views.Trial.View.Ports[0].TargetPort.IntValue(), w.Views.Held, len(w.Views.Records)
	}
	v1 := deployment(listens(8080))
	t.Run("alone", func(t *testing.T) {
		p := newPlace(t, canary(stable), v1, snapshot(t, "r1", v1), clone("primary", "r1", v1), leads("web", 8081), leads("web-primary", 8080))
		if main, _, held, records := target(t, p); main != 8080 || records != 0 || !strings.Contains(held, "port 80 leads to 8081") {
			t.Errorf("%d, %d records, held %q", main, records, held)
		}
	})
	t.Run("with its pods", func(t *testing.T) {
		p := newPlace(t, canary(stable), deployment(listens(8081)), snapshot(t, "r1", v1), clone("primary", "r1", v1), leads("web", 8081), leads("web-primary", 8080))
		if main, trial, held, records := target(t, p); main != 8080 || trial != 8081 || held != "" || records != 1 {
			t.Errorf("%d, %d, %d records, held %q", main, trial, records, held)
		}
		s := p.snapshot(t).Services
		if len(s.Clashing) != 1 || len(s.Misfits) != 1 || s.Clashing[0] == "r1" || !s.Unfit {
			t.Errorf("%+v", s)
		}
	})
	t.Run("that nobody declares", func(t *testing.T) {
		plain := deployment()
		p := newPlace(t, canary(stable), plain, snapshot(t, "r1", plain), clone("primary", "r1", plain), leads("web", 8081), leads("web-primary", 8080))
		clk := testingclock.NewFakePassiveClock(now)
		p.Clock = clk
		if main, _, held, _ := target(t, p); main != 8080 || held != "" {
			t.Errorf("%d, held %q: its pods may be on their way", main, held)
		}
		clk.SetTime(now.Add(2 * time.Second))
		if main, _, held, records := target(t, p); main != 8081 || held != "" || records != 1 {
			t.Errorf("%d, held %q, %d records", main, held, records)
		}
	})
	t.Run("quietly, with a protocol", func(t *testing.T) { // each pass reads the Service anew, and it is the same wish
		plain := deployment()
		apex := leads("web", 8081)
		apex.Spec.Ports[0].AppProtocol = new("http")
		p := newPlace(t, canary(stable), plain, snapshot(t, "r1", plain), clone("primary", "r1", plain), apex, leads("web-primary", 8080))
		clk := testingclock.NewFakePassiveClock(now)
		p.Clock = clk
		target(t, p)
		clk.SetTime(now.Add(2 * time.Second))
		if main, _, held, records := target(t, p); main != 8081 || held != "" || records != 1 {
			t.Errorf("%d, held %q, %d records", main, held, records)
		}
	})
}

// TestWhosePodsGoBeforeOthersCome : what counts is how the revision that comes manages its pods, with the edits since.
func TestWhosePodsGoBeforeOthersCome(t *testing.T) {
	stable := func(c *siskinv1.Canary) {
		c.Status.Phase = siskinv1.PhaseProgressing
		c.Status.Stable, c.Status.Canary = &siskinv1.RevisionStatus{Revision: "r1"}, &siskinv1.RevisionStatus{Revision: "r2"}
	}
	recreate := func(d *appsv1.Deployment) { d.Spec.Strategy.Type = appsv1.RecreateDeploymentStrategyType }
	for name, tc := range map[string]struct {
		first, second, now func(*appsv1.Deployment)
		want               []string
	}{
		"with the new one":  {image("web:1"), recreate, image("web:3"), []string{"r2"}},
		"with the old one":  {recreate, image("web:2"), image("web:3"), nil},
		"with all":          {recreate, recreate, recreate, []string{"r2", "r3"}},
		"with the next one": {image("web:1"), image("web:2"), recreate, []string{"r3"}},
		"with none":         {image("web:1"), image("web:2"), image("web:3"), nil},
	} {
		t.Run(name, func(t *testing.T) {
			v1, v2 := deployment(image("web:1"), tc.first), deployment(image("web:2"), tc.second)
			p := newPlace(t, canary(stable), deployment(image("web:3"), tc.now), snapshot(t, "r1", v1), snapshot(t, "r2", v2),
				clone("primary", "r1", v1), svc("web", nil), svc("web-primary", nil))
			s := p.snapshot(t)
			got := s.Services.Clashing
			for i := range got {
				if got[i] == s.Target.Revision {
					got[i] = "r3"
				}
			}
			if !slices.Equal(got, tc.want) {
				t.Errorf("%v, want %v", got, tc.want)
			}
		})
	}
}
