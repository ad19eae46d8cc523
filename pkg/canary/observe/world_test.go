package observe_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	testingclock "k8s.io/utils/clock/testing"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/canary/observe"
	"github.com/siskin-dev/siskin/pkg/canary/plan"
	"github.com/siskin-dev/siskin/pkg/canary/target"
	"github.com/siskin-dev/siskin/pkg/router"
	"github.com/siskin-dev/siskin/pkg/router/routertest"
)

func held(replicas string, actual int32) func(*appsv1.Deployment) {
	return func(d *appsv1.Deployment) {
		d.Annotations = map[string]string{siskinv1.HeldAnnotation: "web"}
		if replicas != "" {
			d.Annotations[siskinv1.ReplicasAnnotation] = replicas
		}
		d.Spec.Replicas = &actual
	}
}

func TestTarget(t *testing.T) {
	remembers := func(n int32) func(*siskinv1.Canary) { return func(c *siskinv1.Canary) { c.Status.Replicas = &n } }
	in := func(phase siskinv1.Phase) func(*siskinv1.Canary) {
		return func(c *siskinv1.Canary) { remembers(4)(c); c.Status.Phase = phase }
	}
	unmarked := func() *appsv1.Deployment {
		return deployment(held("5", 0), func(d *appsv1.Deployment) {
			d.Annotations, d.Generation, d.Status.ObservedGeneration = nil, 2, 2
		})
	}
	drains := func(left time.Duration) func(*siskinv1.Canary) {
		return func(c *siskinv1.Canary) {
			in(siskinv1.PhaseInitialized)(c)
			c.Status.DrainUntil = new(metav1.NewMicroTime(now.Add(left)))
		}
	}
	recorded := func(wish string, n int32) *appsv1.Deployment {
		return deployment(held(wish, n), func(d *appsv1.Deployment) { delete(d.Annotations, siskinv1.HeldAnnotation) })
	}
	for name, tc := range map[string]struct {
		reason string
		target *appsv1.Deployment
		canary func(*siskinv1.Canary)
		want   plan.Target
	}{
		"mark taken away":    {"the zero is Siskin's own: the primary keeps its size, and the target is held again", unmarked(), in(siskinv1.PhaseSucceeded), plan.Target{Found: true, Replicas: 4, Available: 3, Released: true}},
		"zero at the start":  {"nothing was held yet: it is the user's", unmarked(), in(siskinv1.PhaseInitializing), plan.Target{Found: true, Available: 3, Released: true}},
		"none":               {"it does not exist", nil, nil, plan.Target{}},
		"fresh":              {"nothing has been done to it", deployment(), nil, plan.Target{Found: true, Replicas: 3, Available: 3, Released: true}},
		"without replicas":   {"the default is one", deployment(func(d *appsv1.Deployment) { d.Spec.Replicas = nil }), nil, plan.Target{Found: true, Replicas: 1, Available: 3, Released: true}},
		"held":               {"the wish is what was recorded", deployment(held("5", 0)), nil, plan.Target{Found: true, Replicas: 5, Available: 3, Held: true}},
		"held, wish is zero": {"zero is a wish too", deployment(held("0", 0)), remembers(3), plan.Target{Found: true, Available: 3, Held: true}},
		"scaled by a person": {"a number over the zero is the new wish", deployment(held("5", 7)), nil, plan.Target{Found: true, Replicas: 7, Available: 3}},
		"only recorded":      {"without the mark it is not held", deployment(held("5", 0), func(d *appsv1.Deployment) { delete(d.Annotations, siskinv1.HeldAnnotation) }), nil, plan.Target{Found: true, Available: 3, Released: true}},
		"zero before it is held": {
			"the mark was never there: it is the user's", unmarked(), drains(time.Second), plan.Target{Found: true, Available: 3, Released: true},
		},
		"zero while it is written": {
			"the mark may be on its way", unmarked(), drains(-time.Second), plan.Target{Found: true, Available: 3, Released: true},
		},
		"zero later": {
			"by now it was held", unmarked(), drains(-3 * time.Second), plan.Target{Found: true, Replicas: 4, Available: 3, Released: true},
		},
		"created with zero": {
			"nobody has changed it since", deployment(func(d *appsv1.Deployment) { d.Spec.Replicas = new(int32(0)) }),
			in(siskinv1.PhaseSucceeded),
			plan.Target{Found: true, Available: 3, Released: true},
		},
		"zero recorded before it is held": {
			"that is how an app is switched off", recorded("0", 3), drains(time.Second), plan.Target{Found: true, Available: 3, Released: true},
		},
		"a number recorded before": {
			"it is a wish as ever", recorded("5", 3), in(siskinv1.PhaseInitializing), plan.Target{Found: true, Replicas: 5, Available: 3, Released: true},
		},
		"recorded, and not held for long": {
			"the mark was taken away, and a number written", recorded("0", 3), in(siskinv1.PhaseSucceeded),
			plan.Target{Found: true, Replicas: 3, Available: 3, Released: true},
		},
		"record taken away":   {"the zero is Siskin's own, and the primary must keep its size", deployment(held("", 0)), remembers(4), plan.Target{Found: true, Replicas: 4, Available: 3}},
		"record broken":       {"what is stored in status is the wish", deployment(held("many", 0)), remembers(4), plan.Target{Found: true, Replicas: 4, Available: 3}},
		"record is negative":  {"nobody can wish that", deployment(held("-1", 0)), remembers(4), plan.Target{Found: true, Replicas: 4, Available: 3}},
		"record never stored": {"nothing is known", deployment(held("", 0)), nil, plan.Target{Found: true, Available: 3}},
		"stale status": {
			"its pods were counted before the last change", deployment(func(d *appsv1.Deployment) { d.Generation = 2 }), nil,
			plan.Target{Found: true, Replicas: 3, Released: true},
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := canary()
			if tc.canary != nil {
				tc.canary(c)
			}
			p := newPlace(t, c)
			if tc.target != nil {
				p = newPlace(t, c, tc.target)
				tc.want.Revision = target.Name("web", canonical(t, tc.target))
			}
			p.Clock = testingclock.NewFakePassiveClock(now)
			if diff := cmp.Diff(tc.want, sized(p.snapshot(t).Target)); diff != "" {
				t.Errorf("%s: -want +got\n%s", tc.reason, diff)
			}
		})
	}
}

func canonical(t *testing.T, d *appsv1.Deployment) []byte {
	t.Helper()
	raw, err := target.From(d).Canonical()
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestClones(t *testing.T) {
	for name, tc := range map[string]struct {
		reason string
		edit   func(*appsv1.Deployment)
		change func(*plan.Workload)
	}{
		"ready":        {"as it should be", func(*appsv1.Deployment) {}, func(*plan.Workload) {}},
		"stale status": {"its controller has not seen the change", func(d *appsv1.Deployment) { d.Generation = 3 }, func(w *plan.Workload) { w.Current = false }},
		"edited":       {"somebody set another image", image("evil:1"), func(w *plan.Workload) { w.Drifted = true }},
		"going": {"what is being deleted is not mended", func(d *appsv1.Deployment) {
			image("evil:1")(d)
			d.DeletionTimestamp, d.Finalizers = new(metav1.NewTime(now)), []string{"x/y"}
		}, func(*plan.Workload) {}},
		"unknown revision": {"nothing tells how it should look", func(d *appsv1.Deployment) {
			image("evil:1")(d)
			d.Annotations[siskinv1.RevisionAnnotation] = "gone"
		}, func(w *plan.Workload) { w.Revision = "gone" }},
		"gave up": {"its own controller waited long enough", func(d *appsv1.Deployment) {
			d.Status.Conditions = []appsv1.DeploymentCondition{{Type: appsv1.DeploymentProgressing, Status: "False", Reason: "ProgressDeadlineExceeded", Message: "timed out"}}
		}, func(w *plan.Workload) { w.Stuck, w.Message = true, "(timed out)" }},
		"gave up before": {"that was another template", func(d *appsv1.Deployment) {
			d.Generation = 3
			d.Status.Conditions = []appsv1.DeploymentCondition{{Type: appsv1.DeploymentProgressing, Status: "False", Reason: "ProgressDeadlineExceeded", Message: "timed out"}}
		}, func(w *plan.Workload) { w.Current, w.Message = false, "(timed out)" }},
		"quota": {"people want to read why", func(d *appsv1.Deployment) {
			d.Status.Conditions = []appsv1.DeploymentCondition{{Type: appsv1.DeploymentReplicaFailure, Status: "True", Message: "exceeded quota"}}
		}, func(w *plan.Workload) { w.Message = "(exceeded quota)" }},
		"no replicas given": {"the default is one", func(d *appsv1.Deployment) { d.Spec.Replicas = nil }, func(w *plan.Workload) { w.Replicas = 1 }},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t, canary(), snapshot(t, "r1", deployment()), clone("canary", "r1", deployment(), tc.edit))
			want := plan.Workload{Found: true, Revision: "r1", Replicas: 3, Pods: 3, Updated: 3, Available: 3, Current: true}
			tc.change(&want)
			for range 2 { // the second time it is remembered
				if diff := cmp.Diff(want, p.snapshot(t).Canary); diff != "" {
					t.Errorf("%s: -want +got\n%s", tc.reason, diff)
				}
			}
		})
	}
	if got := newPlace(t, canary()).snapshot(t); got.Primary != (plan.Workload{}) {
		t.Errorf("a clone that does not exist: %+v", got.Primary)
	}
}

func TestEndpointsThatTakeTraffic(t *testing.T) {
	yes, no := new(true), new(false)
	p := newPlace(t, canary(),
		clone("primary", "r1", deployment()), clone("canary", "r1", deployment()),
		endpoints("web-primary", "a",
			discoveryv1.EndpointConditions{},                             // not said: ready
			discoveryv1.EndpointConditions{Ready: yes},                   // ready
			discoveryv1.EndpointConditions{Ready: no},                    // not ready
			discoveryv1.EndpointConditions{Ready: yes, Terminating: no},  // ready
			discoveryv1.EndpointConditions{Ready: yes, Terminating: yes}, // publishNotReadyAddresses, going
			discoveryv1.EndpointConditions{Ready: no, Serving: yes, Terminating: yes},
		),
		endpoints("web-primary", "b", discoveryv1.EndpointConditions{Ready: yes}),
		endpoints("web", "c", discoveryv1.EndpointConditions{Ready: yes}),
	)
	got := p.snapshot(t)
	if got.Primary.Endpoints != 4 || got.Canary.Endpoints != 0 {
		t.Errorf("endpoints of the primary %d, of the canary %d, want 4 and 0", got.Primary.Endpoints, got.Canary.Endpoints)
	}
}

func TestRoute(t *testing.T) {
	serving := func(p *place, z router.Split) { p.router.Revert(app, z) }
	stored := func(canaryShare int32) func(*siskinv1.Canary) {
		return func(c *siskinv1.Canary) {
			c.Status.Split = &siskinv1.SplitStatus{Primary: 100 - canaryShare, Canary: canaryShare}
		}
	}
	for name, tc := range map[string]struct {
		reason string
		canary func(*siskinv1.Canary)
		set    func(*place)
		want   plan.Route
	}{
		"missing": {"nothing was written yet", stored(0), func(*place) {}, plan.Route{Message: "Nothing was written."}},
		"confirmed": {
			"the ceiling of this router is reached", stored(20), func(p *place) { serving(p, router.Split{Primary: 80, Canary: 20}) },
			plan.Route{Known: true, Current: plan.ToCanary(20), Confirmed: true},
		},
		"first": {
			"before the first decision all goes to the primary", func(*siskinv1.Canary) {}, func(p *place) { serving(p, router.Split{Primary: 100}) },
			plan.Route{Known: true, Current: plan.AllPrimary(), Confirmed: true},
		},
		"written only": {
			"the data plane has not answered", stored(20), func(p *place) { p.router.AcceptAfter(9); serving(p, router.Split{Primary: 80, Canary: 20}) },
			plan.Route{Known: true, Current: plan.ToCanary(20), Message: "Nobody has answered yet."},
		},
		"another split": {
			"somebody wrote over it", stored(20), func(p *place) { serving(p, router.Split{Canary: 100}) },
			plan.Route{Known: true, Current: plan.ToCanary(100), Message: "The objects say 0/100."},
		},
		"refused": {
			"a person must act", stored(20), func(p *place) {
				p.router.Refuse("Invalid", "no such Gateway")
				serving(p, router.Split{Primary: 80, Canary: 20})
			},
			plan.Route{Known: true, Current: plan.ToCanary(20), Rejected: true, Message: "no such Gateway"},
		},
		"unreadable": {"it is shown and hides nothing else", stored(20), func(p *place) { p.router.FailNext("Observe", errors.New("boom")) }, plan.Route{Message: "boom"}},
		"invalid": {
			"only an edit helps", stored(20), func(p *place) {
				p.router.FailNext("Observe", &router.InvalidError{Router: "fake", Field: "spec.x", Message: "no"})
			},
			plan.Route{Rejected: true, Message: "spec.x (router fake): no"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := canary(tc.canary)
			p := newPlace(t, c, deployment())
			tc.set(p)
			got := p.snapshot(t)
			if diff := cmp.Diff(tc.want, got.Route); diff != "" {
				t.Errorf("%s: -want +got\n%s", tc.reason, diff)
			}
			if !got.Target.Found {
				t.Error("the rest of the world is hidden")
			}
		})
	}
}

func TestEvidenceBelowTheCeilingIsNoConfirmation(t *testing.T) {
	for _, ceiling := range []router.Evidence{router.EvidenceNone, router.EvidenceWritten, router.EvidenceAccepted, router.EvidenceServed} {
		for seen := router.EvidenceNone; seen <= router.EvidenceServed; seen++ {
			p := newPlace(t, canary())
			w := p.world(t)
			w.Caps = router.Capabilities{Ceiling: ceiling}
			w.Observation = router.Observation{Known: true, Evidence: seen, Current: w.Intent.Split}
			got := p.Snapshot(w, plan.Spec{}, now, now).Route
			if want := seen >= ceiling && seen > router.EvidenceNone; got.Confirmed != want {
				t.Errorf("ceiling %s, seen %s: confirmed %t", ceiling, seen, got.Confirmed)
			}
			if want := seen == router.EvidenceNone; got.Drifted != want {
				t.Errorf("seen %s although the split is as decided: drifted %t", seen, got.Drifted)
			}
		}
	}
}

// An edit of spec.service.port: the route leads by the port that the Services have until they have the other one.
func TestAPortThatTheServicesHaveNotYet(t *testing.T) {
	c := canary(func(c *siskinv1.Canary) { c.Spec.Service.Port = 8080 })
	p := newPlace(t, c, deployment(), svc("web-primary", nil))
	if w := p.world(t); w.Problem != nil || w.Intent.Port != 80 {
		t.Errorf("port %d: %v", w.Intent.Port, w.Problem)
	}
}

func TestNobodyTellsThePort(t *testing.T) {
	c := canary(func(c *siskinv1.Canary) { c.Spec.Service.Port = 0 })
	p := newPlace(t, c, deployment(), svc("web-primary", nil))
	got := p.snapshot(t)
	if !got.Route.Rejected || !strings.Contains(got.Route.Message, "spec.service.port") || !got.Target.Found {
		t.Errorf("route %+v", got.Route)
	}
	if len(p.router.Calls()) != 0 {
		t.Error("a router without a port cannot be asked")
	}
}

func TestServices(t *testing.T) {
	plain, role := map[string]string{"app": "web"}, map[string]string{"app": "web", siskinv1.RoleLabel: "primary"}
	for name, tc := range map[string]struct {
		reason string
		apex   *corev1.Service
		known  bool
		want   plan.Services
	}{
		"no apex":        {"there is nothing to give back", nil, true, plan.Services{Restored: true}},
		"plain":          {"the target serves", svc("web", plain), true, plan.Services{Complete: true, Restored: true}},
		"with the role":  {"the primary serves", svc("web", role), true, plan.Services{Complete: true, Serving: true}},
		"not as desired": {"something has changed since", svc("web", role), false, plan.Services{Serving: true}},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t, canary(), svc("web-primary", nil), svc("web-canary", nil))
			if tc.apex != nil {
				p = newPlace(t, canary(), svc("web-primary", nil), svc("web-canary", nil), tc.apex)
			}
			p.ServicesKnown = func(*observe.World) bool { return tc.known }
			if diff := cmp.Diff(tc.want, p.snapshot(t).Services); diff != "" {
				t.Errorf("%s: -want +got\n%s", tc.reason, diff)
			}
		})
	}
	p := newPlace(t, canary(), svc("web-primary", nil), svc("web", role))
	p.ServicesKnown = func(*observe.World) bool { return true }
	if p.snapshot(t).Services.Complete {
		t.Error("the Service of the canary is missing")
	}
}

func TestApexName(t *testing.T) {
	w := newPlace(t, canary(func(c *siskinv1.Canary) { c.Spec.Service.Name = "front" })).world(t)
	if w.Apex != "front" || w.PrimaryService != "front-primary" || w.CanaryService != "front-canary" {
		t.Errorf("Services %s, %s, %s", w.Apex, w.PrimaryService, w.CanaryService)
	}
}

func TestSnapshotIsOfItsTime(t *testing.T) {
	c := canary(func(c *siskinv1.Canary) {
		c.DeletionTimestamp, c.Status.Phase = new(metav1.NewTime(now)), siskinv1.PhasePromoting
	})
	p := newPlace(t, c)
	s := p.Snapshot(p.world(t), plan.Spec{Threshold: 7}, now, now.Add(-time.Hour))
	if !s.Now.Equal(now) || !s.Since.Equal(now.Add(-time.Hour)) || !s.Deleting || s.State.Phase != plan.Promoting || s.Spec.Threshold != 7 || s.Answers == nil {
		t.Errorf("snapshot %+v", s)
	}
}

func TestRouterOf(t *testing.T) {
	p := newPlace(t, canary())
	p.Unavailable = []string{"gatewayapi"}
	for provider, want := range map[string]string{
		"": "", "fake": "", "gatewayapi": "needs CRDs that this cluster does not have", "istio": `unknown provider "istio": use one of [fake]`,
	} {
		r, err := p.RouterOf(canary(func(c *siskinv1.Canary) { c.Spec.Provider = provider }))
		if want == "" {
			if err != nil || r != p.router {
				t.Errorf("provider %q: %v", provider, err)
			}
			continue
		}
		var invalid *router.InvalidError
		if !errors.As(err, &invalid) || invalid.Field != "spec.provider" || !strings.Contains(err.Error(), want) {
			t.Errorf("provider %q: error %v, want %q", provider, err, want)
		}
	}
}

func TestAReadThatFailsIsAnError(t *testing.T) {
	boom := errors.New("boom")
	p := newPlace(t, canary())
	counter := &routertest.Counter{Client: p.client}
	counter.Fail(boom)
	p.Client = counter
	if _, err := p.World(t.Context(), p.canary, p.router, p.router.Capabilities(t.Context(), p.canary)); !errors.Is(err, boom) {
		t.Errorf("error %v", err)
	}
}
