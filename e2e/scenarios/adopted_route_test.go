package scenarios

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/e2e/cluster"
	"github.com/siskin-dev/siskin/e2e/fixtures"
)

// usersRoute is the manifest of a route that the user keeps: one rule is none of Siskin's business.
func usersRoute(s *fixtures.Story, note string) string {
	return fmt.Sprintf(`apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata:
  name: %[1]s
  namespace: %[4]s
  labels: {example.org/team: finches}
spec:
  parentRefs: [{name: test, namespace: gateway-system}]
  hostnames: [%[2]s]
  rules:
  - name: admin
    matches: [{path: {value: /admin}}]
    backendRefs: [{name: %[1]s-admin, port: 80}]
  - name: main
    filters: [{type: ResponseHeaderModifier, responseHeaderModifier: {set: [{name: x-note, value: %[3]s}]}}]
    backendRefs: [{name: %[1]s, port: 80}]
---
apiVersion: v1
kind: Service
metadata: {name: %[1]s-admin, namespace: %[4]s}
spec: {ports: [{port: 80}]}
`, s.App.Name, s.App.Host, note, s.NS)
}

// kubectlApply is what most users do.
func kubectlApply(s *fixtures.Story, manifest string) {
	s.Helper()
	file := filepath.Join(s.TempDir(), "manifest.yaml")
	if err := os.WriteFile(file, []byte(manifest), 0o600); err != nil {
		s.Fatal(err)
	}
	if out, err := s.Kubectl(s.Context(), "-n", s.NS, "apply", "-f", file); err != nil {
		s.Fatalf("%v: %s", err, out)
	}
}

// routeWhen waits until the route of the app is as it should be.
func routeWhen(s *fixtures.Story, check func(*gatewayv1.HTTPRoute) string) {
	s.Helper()
	cluster.Eventually(s, 30*time.Second, func(ctx context.Context) error {
		var route gatewayv1.HTTPRoute
		if err := s.API.Get(ctx, client.ObjectKey{Namespace: s.NS, Name: s.App.Name}, &route); err != nil {
			return fmt.Errorf("reading the route: %w", err)
		}
		if why := check(&route); why != "" {
			return errors.New(why)
		}
		return nil
	})
}

// splitBy tells what is wrong with a user's route that is to carry a split.
func splitBy(note string, ok func(canary int32) bool) func(*gatewayv1.HTTPRoute) string {
	return func(route *gatewayv1.HTTPRoute) string {
		if len(route.Spec.Rules) != 2 || len(route.OwnerReferences) > 0 || route.Labels["example.org/team"] != "finches" {
			return fmt.Sprintf("not the user's: %+v", route)
		}
		main := route.Spec.Rules[1]
		if len(main.BackendRefs) != 2 || !ok(*main.BackendRefs[1].Weight) || main.Filters[0].ResponseHeaderModifier.Set[0].Value != note {
			return fmt.Sprintf("%+v", main)
		}
		return ""
	}
}

// TestARouteThatComesLater : the user's own route of the name of the one that Siskin generated carries the split as it
// is, also when it is applied again in the middle of a rollout. When it is deleted, the generated one is back. Nobody
// notices.
func TestARouteThatComesLater(t *testing.T) {
	t.Parallel()
	s, _ := story(t, fixtures.App{Name: "guest", Replicas: 1, Version: "1.0.0", Gateway: fixtures.TestGateway})
	s.App.Host = "guest." + s.NS + ".example.com"
	s.Apply(s.App.Deployment())
	s.Start(s.App.Canary(brisk))
	users := s.Users(100)
	none := func(canary int32) bool { return canary == 0 }
	kubectlApply(s, usersRoute(s, "one"))
	routeWhen(s, splitBy("one", none))
	s.Release("1.1.0")
	routeWhen(s, splitBy("one", func(canary int32) bool { return canary > 0 }))
	s.Apply(usersRoute(s, "two"))
	routeWhen(s, splitBy("two", func(int32) bool { return true }))
	endsAs(s, siskinv1.PhaseSucceeded, time.Minute)
	routeWhen(s, splitBy("two", none))
	if told, err := s.EventsOf(t.Context(), "RouteReasserted"); err != nil || len(told) > 0 {
		t.Errorf("it was taken for a fight: %v %v", told, err)
	}
	if told := s.OneEvent("RouteAdopted"); told.Type != "Normal" {
		t.Errorf("told: %v", told)
	}
	if told := s.OneEvent("RouteMerged"); told.Type != "Normal" || !strings.Contains(told.Note, "was written by") {
		t.Errorf("told: %v", told)
	}
	if err := s.API.Delete(t.Context(), &gatewayv1.HTTPRoute{ObjectMeta: metav1.ObjectMeta{Namespace: s.NS, Name: s.App.Name}}); err != nil {
		t.Fatal(err)
	}
	routeWhen(s, func(route *gatewayv1.HTTPRoute) string {
		if route.Labels[siskinv1.CanaryLabel] != s.App.Name || len(route.Spec.Rules) != 1 || metav1.GetControllerOf(route) == nil {
			return fmt.Sprintf("not generated again: %+v", route)
		}
		return ""
	})
	id := s.Now().Status.Rollout.ID
	s.Release("1.2.0")
	begun(s, id)
	endsAs(s, siskinv1.PhaseSucceeded, time.Minute)
	users.Stop()
	var bridge gatewayv1.HTTPRoute
	if err := s.API.Get(t.Context(), client.ObjectKey{Namespace: s.NS, Name: s.App.Name + "-bridge"}, &bridge); !apierrors.IsNotFound(err) {
		t.Errorf("the bridge is still there: %v", err)
	}
	if sum := s.NobodyFailed("users", users, time.Time{}); sum.ByVersion["1.2.0"] == 0 {
		t.Errorf("nobody saw the last version: %v", sum.ByVersion)
	}
}

// TestARouteThatWasThereFirst : a route that the user had before carries releases, one of which is taken back, and is
// at the end what it was. Nobody notices any of it.
func TestARouteThatWasThereFirst(t *testing.T) {
	t.Parallel()
	s, _ := story(t, fixtures.App{Name: "host", Replicas: 1, Version: "1.0.0", Gateway: fixtures.TestGateway})
	s.App.Host = "host." + s.NS + ".example.com"
	s.Apply(s.App.Deployment())
	s.Apply(s.App.Service())
	kubectlApply(s, usersRoute(s, "mine"))
	users := s.Users(100)
	before := asWritten(s)
	canary := strings.NewReplacer("    hosts: ["+s.App.Host+"]\n", "", "    gatewayRefs: [{name: test, namespace: gateway-system}]", "").Replace(s.App.Canary(brisk))
	if strings.Contains(canary, "gatewayRefs") || strings.Contains(canary, "hosts") {
		t.Fatalf("the route is to say it: %s", canary)
	}
	s.Start(canary)
	s.Release("1.1.0")
	endsAs(s, siskinv1.PhaseSucceeded, time.Minute)
	id := s.Now().Status.Rollout.ID
	s.Release("1.2.0")
	begun(s, id)
	routeWhen(s, splitBy("mine", func(canary int32) bool { return canary > 0 }))
	s.Release("1.1.0")
	s.When(time.Minute, func(c *siskinv1.Canary) string {
		if c.Status.Phase != siskinv1.PhaseCancelled {
			return "not cancelled"
		}
		return ""
	})
	routeWhen(s, splitBy("mine", func(canary int32) bool { return canary == 0 }))
	if err := s.API.Delete(t.Context(), s.Now()); err != nil {
		t.Fatal(err)
	}
	cluster.Eventually(s, time.Minute, func(ctx context.Context) error {
		var c siskinv1.Canary
		err := s.API.Get(ctx, client.ObjectKey{Namespace: s.NS, Name: s.App.Name}, &c)
		if !apierrors.IsNotFound(err) {
			return fmt.Errorf("the Canary is still there: %w", err)
		}
		return nil
	})
	if diff := cmp.Diff(before, asWritten(s)); diff != "" {
		t.Errorf("the route was not restored: -before +after\n%s", diff)
	}
	users.Stop()
	if sum := s.NobodyFailed("users", users, time.Time{}); sum.ByVersion["1.1.0"] == 0 || sum.ByVersion["1.2.0"] == 0 {
		t.Errorf("versions: %v", sum.ByVersion)
	}
}

// asWritten is the route as JSON, without what the API server alone writes.
func asWritten(s *fixtures.Story) string {
	s.Helper()
	raw, err := s.Kubectl(s.Context(), "-n", s.NS, "get", "httproute", s.App.Name, "-o", "json")
	if err != nil {
		s.Fatalf("%v: %s", err, raw)
	}
	var route map[string]any
	if err := json.Unmarshal([]byte(raw), &route); err != nil {
		s.Fatal(err)
	}
	delete(route, "status")
	meta, _ := route["metadata"].(map[string]any)
	for _, field := range []string{"generation", "resourceVersion", "managedFields"} {
		delete(meta, field)
	}
	out, err := json.MarshalIndent(route, "", " ")
	if err != nil {
		s.Fatal(err)
	}
	return string(out)
}
