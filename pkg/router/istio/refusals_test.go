package istio_test

import (
	"errors"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/router"
	"github.com/siskin-dev/siskin/pkg/router/routertest"
)

// What cannot be written is refused with its field and a way out, before anything is written; a rollback of what was written before goes
// through all the same.
func TestRefusals(t *testing.T) {
	type service = siskinv1.CanaryService
	match := func(m siskinv1.RequestMatch) func(*service) {
		return func(s *service) { s.Match = []siskinv1.RequestMatch{m} }
	}
	uri := func(m siskinv1.StringMatch) siskinv1.RequestMatch { return siskinv1.RequestMatch{URI: &m} }
	for name, c := range map[string]struct {
		service     func(*service)
		in          func(*router.Intent)
		field, says string
	}{
		"Gateways of another API": {service: func(s *service) { s.GatewayRefs = []gatewayv1.ParentReference{{Name: "public"}} }, field: "spec.service.gatewayRefs", says: "spec.service.gateways"},
		"every host of the mesh":  {service: func(s *service) { s.Hosts = []string{"*"} }, field: "spec.service.hosts[0]", says: "leave mesh out"},
		"no host":                 {service: func(s *service) { s.Hosts = []string{"a:80"} }, field: "spec.service.hosts[0]", says: "no host name"},
		"no gateway":              {service: func(s *service) { s.Gateways = []string{"mesh", "a/b/c"} }, field: "spec.service.gateways[1]", says: "namespace/name"},
		"a delegate with hosts":   {service: func(s *service) { s.Delegation, s.Gateways = true, nil }, field: "spec.service.hosts", says: "set delegation to false"},
		"a delegate with gateways": {
			service: func(s *service) { s.Delegation, s.Hosts = true, nil }, field: "spec.service.gateways", says: "set delegation to false",
		},
		"a timeout of nothing":      {service: func(s *service) { s.Timeout = "0s" }, field: "spec.service.timeout", says: "1ms or more"},
		"the timeout of an attempt": {service: func(s *service) { s.BackendTimeout = "1s" }, field: "spec.service.backendTimeout", says: "perTryTimeout"},
		"retries without attempts":  {service: func(s *service) { s.Retries = &siskinv1.Retries{RetryOn: "5xx"} }, field: "spec.service.retries.attempts", says: "give how many"},
		"an origin in two ways": {
			service: func(s *service) {
				s.CorsPolicy = &siskinv1.CorsPolicy{AllowOrigins: []siskinv1.StringMatch{{Exact: "a", Prefix: "b"}}}
			}, field: "spec.service.corsPolicy.allowOrigins[0]", says: "exactly one",
		},
		"a header without a name": {
			service: func(s *service) {
				s.Headers = &siskinv1.Headers{Request: &siskinv1.HeaderOperations{Remove: []string{"a b"}}}
			},
			field: "spec.service.headers.request", says: "no name of a header",
		},
		"a prefix that is none": {
			service: func(s *service) {
				s.Rewrite, s.Match = &siskinv1.Rewrite{URI: "/", Type: "ReplacePrefixMatch"}, []siskinv1.RequestMatch{uri(exact("/a"))}
			}, field: "spec.service.rewrite.type", says: "give uri.prefix",
		},
		"a copy to the canary": {
			service: func(s *service) {
				s.Mirror = []gatewayv1.HTTPRequestMirrorFilter{{BackendRef: gatewayv1.BackendObjectReference{Name: "finch-canary", Port: new(gatewayv1.PortNumber(80))}}}
			}, field: "spec.service.mirror[0].backendRef.name", says: "analysis.mirror",
		},
		"a copy to no port": {
			service: func(s *service) {
				s.Mirror = []gatewayv1.HTTPRequestMirrorFilter{{BackendRef: gatewayv1.BackendObjectReference{Name: "tap"}}}
			}, field: "spec.service.mirror[0].backendRef.port", says: "give one",
		},
		"a policy that Istio does not know": {service: func(s *service) { s.TrafficPolicy = policy(`{"loadbalancer":{}}`) }, field: "spec.service.trafficPolicy", says: "loadbalancer"},
		"a policy of another type":          {service: func(s *service) { s.TrafficPolicy = policy(`{"tls":"off"}`) }, field: "spec.service.trafficPolicy", says: "DestinationRule"},
		"no path":                           {service: match(uri(siskinv1.StringMatch{Prefix: "a"})), field: "spec.service.match[0].uri", says: "begin with /"},
		"no regex":                          {service: match(uri(siskinv1.StringMatch{Regex: "("})), field: "spec.service.match[0].uri.regex", says: "RE2"},
		"one header twice": {
			service: match(siskinv1.RequestMatch{Headers: map[string]siskinv1.StringMatch{"X-A": exact("1"), "x-a": exact("2")}}),
			field:   "spec.service.match[0].headers[x-a]", says: "remove one",
		},
		"cookies and their header": {
			service: match(siskinv1.RequestMatch{
				Headers: map[string]siskinv1.StringMatch{"cookie": exact("a=1")}, Cookies: map[string]siskinv1.StringMatch{"b": exact("2")},
			}), field: "spec.service.match[0]", says: "use cookies",
		},
		"a cookie with a blank": {
			service: match(siskinv1.RequestMatch{Cookies: map[string]siskinv1.StringMatch{"b": exact("2 3")}}),
			field:   "spec.service.match[0].cookies[b]", says: "blanks",
		},
		"two paths by regex": {
			service: match(uri(siskinv1.StringMatch{Regex: "/a.*"})),
			in: func(in *router.Intent) {
				in.Split.Audience, in.Audience = true, []siskinv1.RequestMatch{uri(siskinv1.StringMatch{Suffix: "b"})}
			}, field: "spec.analysis.match[0].uri", says: "leave one of the two out",
		},
		"an audience that cannot be": {
			service: match(uri(exact("/a"))),
			in: func(in *router.Intent) {
				in.Split.Audience, in.Audience = true, []siskinv1.RequestMatch{uri(exact("/a")), uri(exact("/b"))}
			}, field: "spec.analysis.match[1]", says: "no request can match it",
		},
		"another path under a rewrite": {
			service: func(s *service) {
				s.Match, s.Rewrite = []siskinv1.RequestMatch{uri(siskinv1.StringMatch{Prefix: "/a/"})}, &siskinv1.Rewrite{URI: "/"}
			},
			in: func(in *router.Intent) {
				in.Split.Audience, in.Audience = true, []siskinv1.RequestMatch{uri(siskinv1.StringMatch{Prefix: "/a/b"})}
			}, field: "spec.analysis.match[0].uri", says: "rewrite",
		},
		"one cookie for both": {
			in: func(in *router.Intent) {
				in.Split, in.Affinity = router.Split{Primary: 50, Canary: 50}, routertest.Affinity()
				in.Affinity.PrimaryCookieName = in.Affinity.CookieName
			}, field: "spec.analysis.sessionAffinity.primaryCookieName", says: "differ",
		},
		"users by a header that is taken": {
			service: match(siskinv1.RequestMatch{Headers: map[string]siskinv1.StringMatch{"Cookie": {Prefix: "a"}}}),
			in: func(in *router.Intent) {
				in.Split, in.Affinity = router.Split{Primary: 50, Canary: 50}, routertest.Affinity()
			}, field: "spec.analysis.sessionAffinity.cookieName", says: "use cookies",
		},
		"a match of connections": {
			service: func(s *service) { s.AppProtocol, s.Match = "tcp", []siskinv1.RequestMatch{uri(exact("/"))} },
			field:   "spec.service.match", says: "another appProtocol",
		},
		"copies of connections": {
			in: func(in *router.Intent) {
				in.PrimaryPorts, in.Split.Mirror = []corev1.ServicePort{{Port: 80, Name: "tcp"}}, 100
			}, field: "spec.analysis.mirror", says: "use HTTP",
		},
		"no port": {in: func(in *router.Intent) { in.Port = 0 }, field: "spec.service.port", says: "set spec.service.port"},
	} {
		t.Run(name, func(t *testing.T) {
			owner := finch()
			w := newWorld(t, owner)
			good := w.in
			good.Owner, good.Split = owner.DeepCopy(), router.Split{Primary: 60, Canary: 40}
			if _, err := w.router.Apply(t.Context(), good); err != nil {
				t.Fatal(err)
			}
			if c.service != nil {
				c.service(&owner.Spec.Service)
			}
			if c.in != nil {
				c.in(&w.in)
			}
			errs := map[string]error{"Validate": w.router.Validate(w.in)}
			_, errs["Apply"] = w.router.Apply(t.Context(), w.in)
			if name == "no port" {
				delete(errs, "Validate") // it is not known yet
			}
			for call, err := range errs {
				refused, ok := errors.AsType[*router.InvalidError](err)
				if !ok || refused.Field != c.field || !strings.Contains(refused.Message, c.says) || refused.Router != "istio" {
					t.Errorf("%s: %v", call, err)
				}
			}
			w.in.Split, w.in.Affinity = router.Split{Primary: 100}, nil
			w.in.PrimaryPorts = nil
			_, err := w.router.Apply(t.Context(), w.in)
			if _, ok := errors.AsType[*router.InvalidError](err); err != nil && !ok {
				t.Fatal(err)
			}
			obs, err := w.router.Observe(t.Context(), w.in)
			if err != nil || obs.Current != w.in.Split || obs.Evidence < router.EvidenceWritten || w.Reaches(w.vs(t), w.in) {
				t.Errorf("the rollback: %+v %v", obs, err)
			}
		})
	}
}
