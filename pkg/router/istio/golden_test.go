package istio_test

import (
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	networking "istio.io/api/networking/v1alpha3"
	istiov1 "istio.io/client-go/pkg/apis/networking/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	"sigs.k8s.io/yaml"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/router"
	"github.com/siskin-dev/siskin/pkg/router/istio/istiotest"
	"github.com/siskin-dev/siskin/pkg/router/routertest"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func exact(s string) siskinv1.StringMatch { return siskinv1.StringMatch{Exact: s} }

// TestVirtualServicesAreAsReviewed has all that spec.service and a rollout can ask for in testdata.
func TestVirtualServicesAreAsReviewed(t *testing.T) {
	for name, c := range map[string]struct {
		service func(*siskinv1.CanaryService)
		in      func(*router.Intent)
		users   *istiov1.VirtualService
	}{
		"mesh":        {service: func(s *siskinv1.CanaryService) { s.Gateways, s.Hosts = nil, nil }},
		"gateway":     {service: func(s *siskinv1.CanaryService) { s.Gateways = []string{"infra/public"} }},
		"both":        {in: func(in *router.Intent) { in.Split = router.Split{Primary: 90, Canary: 10} }},
		"delegate":    {service: func(s *siskinv1.CanaryService) { s.Gateways, s.Hosts, s.Delegation = nil, nil, true }},
		"tcp":         {service: func(s *siskinv1.CanaryService) { s.AppProtocol = "tcp" }, in: func(in *router.Intent) { in.Split = router.Split{Primary: 70, Canary: 30} }},
		"tcp-in-mesh": {service: func(s *siskinv1.CanaryService) { s.PortName, s.Gateways = "tcp-birds", nil }},
		"policies": {service: func(s *siskinv1.CanaryService) {
			s.Gateways = nil
			s.Timeout = "15s"
			s.Retries = &siskinv1.Retries{Attempts: 3, PerTryTimeout: "1s500ms", RetryOn: "gateway-error,connect-failure", RetryRemoteLocalities: new(true)}
			s.CorsPolicy = &siskinv1.CorsPolicy{
				AllowOrigin: []string{"*", "https://a.example.org"}, AllowOrigins: []siskinv1.StringMatch{{Suffix: ".example.org"}},
				AllowMethods: []string{"GET"}, AllowHeaders: []string{"x-bird"}, ExposeHeaders: []string{"x-nest"}, MaxAge: "24h", AllowCredentials: true,
			}
			s.Headers = &siskinv1.Headers{
				Request:  &siskinv1.HeaderOperations{Set: map[string]string{"x-a": "1"}, Remove: []string{"x-b"}},
				Response: &siskinv1.HeaderOperations{Add: map[string]string{"x-c": "2"}},
			}
			s.Rewrite = &siskinv1.Rewrite{URI: "/api", Authority: "birds.internal", Type: "ReplaceFullPath"}
			s.Mirror = []gatewayv1.HTTPRequestMirrorFilter{
				{BackendRef: gatewayv1.BackendObjectReference{Name: "tap", Port: new(gatewayv1.PortNumber(80))}, Percent: new(int32(5))},
				{
					BackendRef: gatewayv1.BackendObjectReference{Name: "tap", Namespace: new(gatewayv1.Namespace("other")), Port: new(gatewayv1.PortNumber(80))},
					Fraction:   &gatewayv1.Fraction{Numerator: 1, Denominator: new(int32(8))},
				},
			}
		}, in: func(in *router.Intent) { in.Split = router.Split{Primary: 100, Mirror: 30} }},
		"matches": {service: func(s *siskinv1.CanaryService) {
			s.Gateways = nil
			s.Rewrite = &siskinv1.Rewrite{URI: "/"}
			s.Match = []siskinv1.RequestMatch{
				{
					Name: "everything", URI: &siskinv1.StringMatch{Prefix: "/birds"}, IgnoreURICase: true, Method: new(exact("GET")), Scheme: new(exact("https")),
					Authority: new(exact("birds.example.org")), Port: 8080, SourceLabels: map[string]string{"app": "web"}, SourceNamespace: "web", Gateways: []string{"mesh"},
					Headers: map[string]siskinv1.StringMatch{"X-A": {Prefix: "a"}}, WithoutHeaders: map[string]siskinv1.StringMatch{"X-B": exact("b")},
					QueryParams: map[string]siskinv1.StringMatch{"q": {Regex: "[0-9]+"}}, Cookies: map[string]siskinv1.StringMatch{"kind": {Prefix: "f"}},
				},
				{URI: &siskinv1.StringMatch{Suffix: ".png"}},
			}
		}, in: func(in *router.Intent) {
			in.Split.Audience = true
			in.Audience = []siskinv1.RequestMatch{
				{Headers: map[string]siskinv1.StringMatch{"x-tester": exact("yes")}, SourceLabels: map[string]string{"tier": "front"}},
				{Cookies: map[string]siskinv1.StringMatch{"tester": exact("yes")}},
			}
		}},
		"affinity": {in: func(in *router.Intent) {
			in.Split, in.Affinity = router.Split{Primary: 50, Canary: 50, Mirror: 7}, routertest.Affinity()
		}, service: func(s *siskinv1.CanaryService) { s.Gateways = nil }},
		"expired": {in: func(in *router.Intent) { in.Expired = &routertest.Affinity().SessionAffinity }, service: func(s *siskinv1.CanaryService) { s.Gateways = nil }},
		"adopted": {users: theirs(), in: func(in *router.Intent) {
			in.Split, in.Affinity, in.Audience = router.Split{Primary: 80, Canary: 20, Audience: true, Mirror: 10}, routertest.Affinity(), routertest.Audience()[:1]
		}},
		"adopted-shares": {users: shares(), in: func(in *router.Intent) { in.Split = router.Split{Primary: 67, Canary: 33, Mirror: 100} }},
	} {
		t.Run(name, func(t *testing.T) {
			owner := finch()
			if c.service != nil {
				c.service(&owner.Spec.Service)
			}
			var objects []client.Object
			if c.users != nil {
				objects = append(objects, c.users)
			}
			w := newWorld(t, owner, objects...)
			if c.in != nil {
				c.in(&w.in)
			}
			if err := w.router.Validate(w.in); err != nil {
				t.Fatalf("Validate: %v", err)
			}
			w.apply(t)
			golden(t, name, []byte(istiotest.JSON(t, w.vs(t))))
		})
	}
}

// shares is a user's VirtualService in which the apex has a part of the requests, and copies are made in the old way.
func shares() *istiov1.VirtualService {
	vs := theirs()
	vs.Spec.Http = vs.Spec.Http[1:]
	r := vs.Spec.Http[0]
	r.Route[0].Weight = 75
	r.Route = append(r.Route, &networking.HTTPRouteDestination{Destination: &networking.Destination{Host: "museum"}, Weight: 25})
	r.Mirror = &networking.Destination{Host: "tap"}
	r.MirrorPercentage = &networking.Percent{Value: 12.5}
	return vs
}

func golden(t *testing.T, name string, raw []byte) {
	t.Helper()
	got, err := yaml.JSONToYAML(raw)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join("testdata", name+".yaml")
	if *update {
		if err := os.WriteFile(file, got, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Error(diff)
	}
}
