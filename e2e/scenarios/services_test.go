package scenarios

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/e2e/cluster"
	"github.com/siskin-dev/siskin/e2e/fixtures"
	"github.com/siskin-dev/siskin/e2e/load"
	"github.com/siskin-dev/siskin/pkg/canary/target"
)

// edition is a version of an app as one commit has it: its Service, and another one beside it, select the version's pods by a
// label of theirs, and lead to the number on which they listen. Both change with each version.
func edition(a fixtures.App, n int) string {
	a.Version, a.Env = fmt.Sprintf("1.%d.0", n), map[string]string{"ADDR": fmt.Sprintf(":%d", 8080+n)}
	label := fmt.Sprintf("labels: {app: %s, edition: v%d}", a.Name, n)
	workload := strings.NewReplacer("labels: {app: "+a.Name+"}", label, "containerPort: 8080", fmt.Sprintf("containerPort: %d", 8080+n)).
		Replace(a.Deployment())
	service := strings.NewReplacer("selector: {app: "+a.Name+"}", fmt.Sprintf("selector: {app: %s, edition: v%d}", a.Name, n),
		"targetPort: http", fmt.Sprintf("targetPort: %d", 8080+n)).Replace(a.Service())
	// With one node the new pod of a DaemonSet must come before the old one goes.
	workload = strings.Replace(workload, "kind: DaemonSet\nmetadata:\n  name: "+a.Name+"\nspec:\n",
		"kind: DaemonSet\nmetadata:\n  name: "+a.Name+"\nspec:\n  updateStrategy: {rollingUpdate: {maxSurge: 1, maxUnavailable: 0}}\n", 1)
	service += "---\n" + strings.Replace(service, "name: "+a.Name+"\n", "name: "+a.Name+"-too\n", 1)
	if n%2 == 0 {
		return workload + "---\n" + service
	}
	return service + "---\n" + workload
}

// headless is the Service that a StatefulSet names its pods by.
func headless(a fixtures.App) string {
	return strings.ReplaceAll(strings.Replace(a.Service(), "\nspec:\n", "\nspec:\n  clusterIP: None\n", 1), "name: "+a.Name, "name: "+a.Name+"-pods")
}

// overwritten is for how long a Service may lead elsewhere after its author has written it: Siskin has to see that, to
// write back what serves, and the endpoints have to follow, on a machine that does much else.
const overwritten = 8 * time.Second

// clock is how moments of a story are written.
const clock = "15:04:05.000"

// commits are the times at which the story itself wrote a Service: each begin and end.
type commits struct{ begun, ended []time.Time }

// apply applies a manifest that holds a Service, and remembers when.
func (w *commits) apply(s *fixtures.Story, manifest string) {
	s.Helper()
	w.begun = append(w.begun, time.Now())
	s.Apply(manifest)
	w.ended = append(w.ended, time.Now())
}

// near tells whether a request was under way while a Service may have been as its author had just written it.
func (w *commits) near(r load.Sample) bool {
	for i, from := range w.begun {
		if r.At.Before(w.ended[i].Add(overwritten)) && r.At.Add(r.Took).After(from) {
			return true
		}
	}
	return false
}

// String tells when.
func (w *commits) String() string {
	var out []string
	for i, from := range w.begun {
		out = append(out, from.Format(clock)+" to "+w.ended[i].Format(clock))
	}
	return strings.Join(out, ", ")
}

// failOnlyAt checks that requests to a Service fail only where they may: a Service that its author writes is as written
// until Siskin has put back what serves. That never happens by itself. It lasts for milliseconds, and for seconds where the
// machine is overloaded: a gap that is shorter than overwritten, and right after a write, goes unnoticed here.
func failOnlyAt(s *fixtures.Story, who string, g *load.Generator, w *commits) load.Summary {
	s.Helper()
	sum := load.Summarize(g.Samples(), time.Time{})
	if sum.Total == 0 || sum.Failed*4 > sum.Total {
		s.Errorf("%s: %d of %d requests failed: %v", who, sum.Failed, sum.Total, sum.Errors)
	}
	for _, r := range g.Samples() {
		if r.Failed() && !w.near(r) {
			s.Errorf("%s: a request failed at %s, and the Service was written at %s: %d %s",
				who, r.At.Format(clock), w, r.Status, r.Err)
		}
	}
	return sum
}

// TestServicesThatChangeWithTheirPods : one commit changes a Service's selector and the number that it leads to
// together with the pods, which plain Kubernetes rolls out without a failed request. What is promoted is served all the
// time: by the gateway, by the apex Service and by another one of the user's, while a gate is closed, when the revision
// is promoted, and when another one is taken back.
func TestServicesThatChangeWithTheirPods(t *testing.T) {
	t.Parallel()
	weights := func(a fixtures.App) string { return strings.Replace(a.Canary(brisk), "    targetPort: http\n", "", 1) }
	for name, tt := range map[string]struct {
		kind   string
		canary func(fixtures.App) string
	}{
		"weights": {"", weights},
		"bluegreen": {"", func(a fixtures.App) string {
			return strings.Replace(a.BlueGreen("    {interval: 3s, threshold: 1, iterations: 2}"), ", targetPort: http", "", 1)
		}},
		"daemonset":   {target.DaemonSet, weights},
		"statefulset": {target.StatefulSet, weights},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, _ := story(t, fixtures.App{Name: name, Kind: tt.kind, Replicas: 2, Gateway: fixtures.TestGateway})
			s.App.Host = name + "." + s.NS + ".example.com"
			if tt.kind == target.StatefulSet {
				s.Apply(headless(s.App))
			}
			var w commits
			s.Apply(edition(s.App, 0))
			s.Apply(tt.canary(s.App))
			s.Phase(siskinv1.PhaseInitialized, time.Minute)
			apex, other := s.Pods(20), s.PodsOf(name+"-too", 20)
			users := apex
			if name != "bluegreen" {
				users = s.Users(50)
			}
			w.apply(s, edition(s.App, 1))
			endsAs(s, siskinv1.PhaseSucceeded, 3*time.Minute)
			id := s.Now().Status.Rollout.ID
			w.apply(s, edition(s.App, 2))
			begun(s, id)
			w.apply(s, edition(s.App, 1))
			s.When(time.Minute, func(c *siskinv1.Canary) string {
				if c.Status.Phase != siskinv1.PhaseCancelled {
					return "not cancelled"
				}
				return ""
			})
			if name != "bluegreen" {
				s.NobodyFailed("users", users, time.Time{})
			}
			for who, g := range map[string]*load.Generator{"clients of the apex": apex, "clients of another Service": other} {
				if sum := failOnlyAt(s, who, g, &w); sum.ByVersion["1.1.0"] == 0 {
					t.Errorf("%s: nobody saw the new version: %v", who, sum.ByVersion)
				}
			}
		})
	}
}

// TestServicesBehindAClosedGate : the same commit waits at a closed confirm-rollout; with portDiscovery, which finds
// another port in it. The ports of the promoted pods are served on, the one that the commit takes away too.
func TestServicesBehindAClosedGate(t *testing.T) {
	t.Parallel()
	s, r := story(t, fixtures.App{Name: "waits", Replicas: 2, Gateway: fixtures.TestGateway})
	gate := s.NS + "/confirm-rollout"
	r.Set(gate, fixtures.No)
	s.Apply(edition(s.App, 0))
	s.Apply(strings.Replace(s.App.Canary(gated(s, r, "confirm-rollout")), "    targetPort: http\n", "    portDiscovery: true\n", 1))
	s.Phase(siskinv1.PhaseInitialized, time.Minute)
	users, apex, other := s.Users(50), s.Pods(20), s.PodsOf("waits-too", 20)
	var w commits
	w.apply(s, edition(s.App, 1))
	s.Phase(siskinv1.PhaseWaiting, 30*time.Second)
	asked := len(r.Calls(gate))
	s.When(time.Minute, func(*siskinv1.Canary) string {
		if len(r.Calls(gate)) < asked+2 {
			return "the gate is not asked again"
		}
		return ""
	})
	s.NobodyFailed("users while it waits", users, time.Time{})
	r.Set(gate, fixtures.Yes)
	endsAs(s, siskinv1.PhaseSucceeded, 2*time.Minute)
	if sum := s.NobodyFailed("users", users, time.Time{}); sum.ByVersion["1.1.0"] == 0 {
		t.Errorf("nobody saw the new version: %v", sum.ByVersion)
	}
	failOnlyAt(s, "clients of the apex", apex, &w)
	failOnlyAt(s, "clients of another Service", other, &w)
}

// TestAServiceThatComesLater : the user's own Service of the name of the one that Siskin generated becomes the apex as
// it is. When it is taken out of git, the generated one is back.
func TestAServiceThatComesLater(t *testing.T) {
	t.Parallel()
	s, _ := story(t, fixtures.App{Name: "later", Replicas: 1, Version: "1.0.0"})
	s.Apply(s.App.Deployment())
	s.Apply(s.App.BlueGreen("    {interval: 3s, threshold: 1, iterations: 2}"))
	s.Phase(siskinv1.PhaseInitialized, time.Minute)
	own := strings.NewReplacer("spec:\n", "spec:\n  type: LoadBalancer\n", "name: http", "name: web", "targetPort: http", "targetPort: 8080").Replace(s.App.Service())
	pods := s.Pods(20)
	var w commits
	w.apply(s, own)
	apex := func(check func(*corev1.Service) string) {
		t.Helper()
		cluster.Eventually(s, 30*time.Second, func(ctx context.Context) error {
			var svc corev1.Service
			if err := s.API.Get(ctx, client.ObjectKey{Namespace: s.NS, Name: s.App.Name}, &svc); err != nil {
				return fmt.Errorf("reading the apex: %w", err)
			}
			if why := check(&svc); why != "" {
				return errors.New(why)
			}
			return nil
		})
	}
	apex(func(svc *corev1.Service) string {
		if svc.Spec.Type != corev1.ServiceTypeLoadBalancer || len(svc.OwnerReferences) > 0 || svc.Annotations[siskinv1.ServingAnnotation] != "primary" ||
			svc.Spec.Ports[0].Name != "web" {
			return fmt.Sprintf("%+v", svc)
		}
		return ""
	})
	s.Release("1.1.0")
	endsAs(s, siskinv1.PhaseSucceeded, time.Minute)
	failOnlyAt(s, "clients", pods, &w)
	pods.Stop()
	if err := s.API.Delete(t.Context(), &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: s.NS, Name: s.App.Name}}); err != nil {
		t.Fatal(err)
	}
	apex(func(svc *corev1.Service) string {
		if svc.Labels[siskinv1.CanaryLabel] != s.App.Name || svc.Spec.Selector[siskinv1.RoleLabel] != "primary" {
			return fmt.Sprintf("%+v", svc)
		}
		return ""
	})
}

// TestEditsOfThePort : the port that the route leads by is edited at rest; the old one is served until the route has
// moved.
func TestEditsOfThePort(t *testing.T) {
	t.Parallel()
	s, _ := story(t, fixtures.App{Name: "ports", Replicas: 1, Version: "1.0.0", Gateway: fixtures.TestGateway})
	s.App.Host = "ports." + s.NS + ".example.com"
	s.Apply(s.App.Deployment())
	s.Start(s.App.Canary(brisk))
	users := s.Users(100)
	for _, edit := range []string{`{"service": {"port": 81}}`, `{"service": {"portName": "web"}}`, `{"service": {"targetPort": 8080}}`} {
		s.Patch(edit)
		cluster.Eventually(s, 30*time.Second, func(ctx context.Context) error {
			var route gatewayv1.HTTPRoute
			if err := s.API.Get(ctx, client.ObjectKey{Namespace: s.NS, Name: s.App.Name}, &route); err != nil {
				return fmt.Errorf("reading the route: %w", err)
			}
			if port := *route.Spec.Rules[0].BackendRefs[0].Port; port != 81 {
				return fmt.Errorf("the route leads by port %d", port)
			}
			var svc corev1.Service
			if err := s.API.Get(ctx, client.ObjectKey{Namespace: s.NS, Name: s.App.Name + "-primary"}, &svc); err != nil {
				return fmt.Errorf("reading the primary's Service: %w", err)
			}
			if len(svc.Spec.Ports) != 1 || strings.Contains(edit, "8080") && svc.Spec.Ports[0].TargetPort.IntVal != 8080 {
				return fmt.Errorf("it serves %v", svc.Spec.Ports)
			}
			return nil
		})
		if c := s.Now(); c.Status.Phase != siskinv1.PhaseInitialized {
			t.Errorf("%s: %s", edit, c.Status.Phase)
		}
	}
	s.NobodyFailed("users", users, time.Time{})
}
