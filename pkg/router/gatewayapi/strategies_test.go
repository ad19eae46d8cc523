package gatewayapi_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/router"
	"github.com/siskin-dev/siskin/pkg/router/gatewayapi"
	"github.com/siskin-dev/siskin/pkg/router/gatewayapi/gatewayapitest"
	"github.com/siskin-dev/siskin/pkg/router/routertest"
)

// capable is a harness whose Gateway can do everything.
func capable(t *testing.T) (routertest.Harness, *routertest.Counter) {
	t.Helper()
	h := gatewayapitest.New(t, gatewayapitest.NewClient(t), namespace)
	return h, &routertest.Counter{Client: h.Client}
}

// wide is an intent that asks for everything at once.
func wide(in router.Intent) router.Intent {
	in.Split = router.Split{Primary: 70, Canary: 30, Mirror: 5, Audience: true}
	in.Audience, in.Affinity = routertest.Audience(), routertest.Affinity()
	in.Owner.Spec.Analysis.SessionAffinity = new(in.Affinity.SessionAffinity)
	return in
}

// Each golden file is the whole spec of the route of one strategy.
func TestStrategies(t *testing.T) {
	tests := map[string]func(*router.Intent){
		"ab": func(in *router.Intent) {
			in.Split, in.Audience = router.Split{Primary: 100, Audience: true}, routertest.Audience()
		},
		"ab-of-a-service-with-matches": func(in *router.Intent) {
			in.Split, in.Audience = router.Split{Primary: 100, Audience: true}, []siskinv1.RequestMatch{
				{URI: new(prefix("/api/v2")), Cookies: map[string]siskinv1.StringMatch{"a": exact("1"), "b": regex("^x.*$")}},
			}
			svc := &in.Owner.Spec.Service
			svc.Match = []siskinv1.RequestMatch{
				{URI: new(prefix("/api")), Cookies: map[string]siskinv1.StringMatch{"a": exact("1")}}, {URI: new(exact("/apis"))}, {Method: new(exact("GET"))},
			}
			svc.Headers = &siskinv1.Headers{Request: &siskinv1.HeaderOperations{Set: map[string]string{"X-A": "1"}}}
			svc.Timeout = "5s"
		},
		"mirror-all":     func(in *router.Intent) { in.Split = router.Split{Primary: 100, Mirror: 100} },
		"mirror-percent": func(in *router.Intent) { in.Split = router.Split{Primary: 100, Mirror: 30} },
		"affinity": func(in *router.Intent) {
			in.Affinity = routertest.Affinity()
			in.Affinity.PrimaryCookieName, in.Affinity.Domain = "", ""
		},
		"affinity-is-over": func(in *router.Intent) {
			in.Split, in.Expired = router.Split{Primary: 100}, new(routertest.Affinity().SessionAffinity)
		},
		"everything": func(in *router.Intent) { *in = wide(*in) },
		"prefix-rewrite-ab": func(in *router.Intent) {
			in.Split, in.Audience = router.Split{Primary: 100, Audience: true}, routertest.Audience()[:2]
			svc := &in.Owner.Spec.Service
			svc.Match, svc.Rewrite = []siskinv1.RequestMatch{{URI: new(prefix("/api"))}}, &siskinv1.Rewrite{URI: "/", Type: "ReplacePrefixMatch"}
		},
	}
	for name, edit := range tests {
		t.Run(name, func(t *testing.T) {
			h, c := capable(t)
			r, in := h.New(c, c), intent(nil)
			edit(&in)
			if _, err := r.Apply(t.Context(), in); err != nil {
				t.Fatal(err)
			}
			golden(t, name, get(t, c).Spec)
			c.Writes()
			if receipt, err := r.Apply(t.Context(), in); err != nil || c.Writes() != 0 || receipt.Changed {
				t.Errorf("the second Apply writes (%v)", err)
			}
			if obs, err := r.Observe(t.Context(), in); err != nil || obs.Evidence != router.EvidenceWritten || obs.Current != in.Split {
				t.Errorf("%+v %v", obs, err)
			}
		})
	}
}

// What cannot be written is known before it is to be written, and its field is named.
func TestImpossibleStrategies(t *testing.T) {
	service := func(ms ...siskinv1.RequestMatch) func(*router.Intent) {
		return func(in *router.Intent) { in.Owner.Spec.Service.Match = ms }
	}
	header := func(name string, m siskinv1.StringMatch) siskinv1.RequestMatch { return one("header", name, m) }
	cookie := func(name string, m siskinv1.StringMatch) siskinv1.RequestMatch { return one("cookie", name, m) }
	path := func(m siskinv1.StringMatch) siskinv1.RequestMatch { return siskinv1.RequestMatch{URI: &m} }
	var many []siskinv1.RequestMatch
	for i := range 8 {
		many = append(many, one("query", "q", exact(strconv.Itoa(i))))
	}
	tests := map[string]struct {
		reason   string
		audience []siskinv1.RequestMatch
		edit     func(*router.Intent)
		field    string
	}{
		"two regexes on one header": {
			"an HTTPRoute can match a header once", []siskinv1.RequestMatch{header("x-a", regex("a.*"))}, service(header("X-A", regex(".*b"))), "spec.analysis.match[0].headers[x-a]",
		},
		"two values of one header": {
			"no request has both", []siskinv1.RequestMatch{header("X-B", exact("a")), header("X-A", exact("a"))}, service(header("X-A", exact("b"))), "spec.analysis.match[1]",
		},
		"a path beside the service's": {
			"no request has both", []siskinv1.RequestMatch{path(prefix("/web"))}, service(path(prefix("/api"))), "spec.analysis.match[0]",
		},
		"a path that only begins like the service's": {
			"a prefix ends with an element", []siskinv1.RequestMatch{path(prefix("/apis"))}, service(path(prefix("/api"))), "spec.analysis.match[0]",
		},
		"a regex within a prefix": {
			"one match has one path", []siskinv1.RequestMatch{path(regex("^/api/.*x$"))}, service(path(prefix("/api"))), "spec.analysis.match[0].uri",
		},
		"another method": {
			"no request has both", []siskinv1.RequestMatch{one("method", "", exact("GET"))}, service(one("method", "", exact("POST"))), "spec.analysis.match[0]",
		},
		"the header Cookie beside cookies": {
			"all cookies are one header", []siskinv1.RequestMatch{merge(header("cookie", regex("a=.*")), cookie("b", exact("1")))}, nil, "spec.analysis.match[0].headers[cookie]",
		},
		"the header Cookie beside session affinity": {
			"the users' cookies are that header", nil, func(in *router.Intent) {
				service(header("Cookie", regex("a=.*")))(in)
				in.Affinity = routertest.Affinity()
			}, "spec.service.match[0].headers[Cookie]",
		},
		"five cookies": {
			"each order is written, and five have 120",
			[]siskinv1.RequestMatch{merge(cookie("a", exact("1")), cookie("b", exact("1")), cookie("c", exact("1")), cookie("d", exact("1")), cookie("e", exact("1")))},
			nil, "spec.analysis.match[0].cookies[a]",
		},
		"four long cookies": {
			"a header's regex has 4096 characters",
			[]siskinv1.RequestMatch{merge(cookie("a", exact(strings.Repeat("x", 150))), cookie("b", exact("1")), cookie("c", exact("1")), cookie("d", exact("1")))},
			nil, "spec.analysis.match[0].cookies[a]",
		},
		"a cookie with a blank":         {"it would never match", []siskinv1.RequestMatch{cookie("a", exact("1 2"))}, nil, "spec.analysis.match[0].cookies[a]"},
		"a cookie's regex that is none": {"it cannot be confined to the cookie", []siskinv1.RequestMatch{cookie("a", regex("(1"))}, nil, "spec.analysis.match[0].cookies[a].regex"},
		"a cookie's name that is none":  {"it would never match", []siskinv1.RequestMatch{cookie("a b", exact("1"))}, nil, "spec.analysis.match[0].cookies[a b]"},
		"a cookie in two ways":          {"which one is meant?", []siskinv1.RequestMatch{cookie("a", siskinv1.StringMatch{Exact: "1", Prefix: "2"})}, nil, "spec.analysis.match[0].cookies[a]"},
		"the service's and the user's":  {"the same name once", []siskinv1.RequestMatch{cookie("a", prefix("1"))}, service(cookie("a", exact("12"))), "spec.analysis.match[0].cookies[a]"},
		"the service's cookie is sticky": {"nobody would have both", nil, func(in *router.Intent) {
			service(cookie("finch-canary", exact("1")))(in)
			in.Affinity = routertest.Affinity()
		}, "spec.analysis.sessionAffinity.cookieName"},
		"the service's cookie, primary's": {"nobody would have both", nil, func(in *router.Intent) {
			service(cookie("finch-primary", exact("1")))(in)
			in.Affinity = routertest.Affinity()
		}, "spec.analysis.sessionAffinity.primaryCookieName"},
		"one name for both versions": {
			"a user would have both", nil, func(in *router.Intent) {
				in.Affinity = routertest.Affinity()
				in.Affinity.PrimaryCookieName = in.Affinity.CookieName
			}, "spec.analysis.sessionAffinity.primaryCookieName",
		},
		"more matches than a route takes": {
			"64 of the audience, and as many with the primary's cookie", many, func(in *router.Intent) {
				var svc []siskinv1.RequestMatch
				for i := range 8 {
					svc = append(svc, path(prefix(fmt.Sprintf("/%d", i))))
				}
				service(svc...)(in)
				in.Affinity = routertest.Affinity()
			}, "spec.analysis.match",
		},
		"more rules than a route takes": {
			"with a rewritten prefix each match is a rule", many, func(in *router.Intent) {
				service(path(prefix("/api")))(in)
				in.Owner.Spec.Service.Rewrite = &siskinv1.Rewrite{URI: "/", Type: "ReplacePrefixMatch"}
				in.Affinity = routertest.Affinity()
			}, "spec.analysis.match",
		},
		"a path and a rewritten prefix": {
			"another prefix would be replaced", []siskinv1.RequestMatch{path(prefix("/api/v2"))}, func(in *router.Intent) {
				service(path(prefix("/api")))(in)
				in.Owner.Spec.Service.Rewrite = &siskinv1.Rewrite{URI: "/", Type: "ReplacePrefixMatch"}
			}, "spec.analysis.match[0].uri",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			h, c := capable(t)
			r, in := h.New(c, c), intent(nil)
			in.Split.Audience, in.Audience = len(tt.audience) > 0, tt.audience
			if tt.edit != nil {
				tt.edit(&in)
			}
			in.Port = 0 // is not known before the Services are there
			err := r.Validate(in)
			refused, ok := errors.AsType[*router.InvalidError](err)
			if !ok || refused.Field != tt.field || refused.Router != gatewayapi.Name {
				t.Errorf("%s: want a refusal of %s, have %v", tt.reason, tt.field, err)
			}
			in.Port = 80
			if _, err := r.Apply(t.Context(), in); err == nil || c.Writes() != 0 {
				t.Errorf("it is written all the same: %v", err)
			}
		})
	}
}

// At the limits of the API, what is possible stays possible.
func TestLimitsAreReached(t *testing.T) {
	h, c := capable(t)
	r, in := h.New(c, c), intent(nil)
	for i := range 8 {
		in.Owner.Spec.Service.Match = append(in.Owner.Spec.Service.Match, siskinv1.RequestMatch{URI: new(prefix(fmt.Sprintf("/%d", i)))})
		in.Audience = append(in.Audience, one("header", "X-A", exact(strconv.Itoa(i))))
	}
	in.Split.Audience, in.Affinity = true, routertest.Affinity()
	if _, err := r.Apply(t.Context(), in); err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, rule := range get(t, c).Spec.Rules {
		n += len(rule.Matches)
	}
	if n != 64+4*8 {
		t.Errorf("%d matches", n)
	}
}

// A wrong edit in the middle of any strategy must neither move what it did not mean nor hold up the way back (invariants 4 and 11).
func TestInvalidEditWithEveryRule(t *testing.T) {
	h, c := capable(t)
	r, in := h.New(c, c), wide(intent(nil))
	if _, err := r.Apply(t.Context(), in); err != nil {
		t.Fatal(err)
	}
	before := get(t, c).Spec
	in.Owner.Spec.Service.Hosts = []string{"no host"}
	c.Writes()
	if _, err := r.Apply(t.Context(), in); err == nil || c.Writes() != 0 {
		t.Errorf("the split as it is: %v, or something was written", err)
	}
	if obs, err := r.Observe(t.Context(), in); err != nil || obs.Evidence != router.EvidenceWritten || obs.Current != in.Split {
		t.Errorf("the split as it is: %+v %v", obs, err)
	}
	narrow := in
	narrow.Split = router.Split{Primary: 60, Canary: 40} // without audience and mirror, users stay
	if _, err := r.Apply(t.Context(), narrow); err == nil {
		t.Error("the edit is not told")
	}
	if rules := get(t, c).Spec.Rules; len(rules) != 4 || !h.Reaches(get(t, c), in) || len(rules[3].BackendRefs[1].Filters) != 1 || len(rules[3].Filters) > 0 {
		t.Errorf("rules %+v", rules)
	}
	in.Split, in.Affinity = router.Split{Primary: 100}, nil
	for i := range 3 {
		c.Writes()
		receipt, err := r.Apply(t.Context(), in)
		if _, ok := errors.AsType[*router.InvalidError](err); !ok || receipt.Foreign {
			t.Errorf("%+v %v", receipt, err)
		}
		if n := c.Writes(); i > 0 && n != 0 {
			t.Errorf("Apply %d wrote %d times", i, n)
		}
	}
	if obs, err := r.Observe(t.Context(), in); err != nil || obs.Evidence != router.EvidenceWritten || obs.Current != in.Split {
		t.Errorf("the way back: %+v %v", obs, err)
	}
	after := get(t, c)
	if h.Reaches(after, in) || len(after.Spec.Rules) != 1 || len(after.Spec.Rules[0].BackendRefs[0].Filters) > 0 {
		t.Errorf("something still leads to the canary, or gives cookies: %+v", after.Spec.Rules)
	}
	if diff := cmp.Diff(before.Hostnames, after.Spec.Hostnames); diff != "" {
		t.Error(diff)
	}
}

// What somebody else's rules lead to the canary is never told too low.
func TestForeignRules(t *testing.T) {
	toCanary := func(refs []gatewayv1.HTTPBackendRef) []gatewayv1.HTTPBackendRef { return refs[1:] }
	tests := map[string]struct {
		edit func(spec *gatewayv1.HTTPRouteSpec)
		want router.Split
	}{
		"a rule for the canary alone": {func(spec *gatewayv1.HTTPRouteSpec) {
			rule := *spec.Rules[0].DeepCopy()
			rule.BackendRefs = toCanary(rule.BackendRefs)
			rule.BackendRefs[0].Weight = new(int32(1))
			spec.Rules = append(spec.Rules, rule)
		}, router.Split{Primary: 100, Audience: true}},
		"nothing but the canary": {func(spec *gatewayv1.HTTPRouteSpec) {
			spec.Rules[0].BackendRefs = toCanary(spec.Rules[0].BackendRefs)
			spec.Rules[0].BackendRefs[0].Weight = new(int32(1))
		}, router.Split{Canary: 100, Audience: true}},
		"a mirror": {func(spec *gatewayv1.HTTPRouteSpec) {
			spec.Rules[0].Filters = append(spec.Rules[0].Filters, gatewayv1.HTTPRouteFilter{
				Type: gatewayv1.HTTPRouteFilterRequestMirror, RequestMirror: &gatewayv1.HTTPRequestMirrorFilter{
					BackendRef: spec.Rules[0].BackendRefs[1].BackendObjectReference, Fraction: &gatewayv1.Fraction{Numerator: 1, Denominator: new(int32(1000))},
				},
			})
		}, router.Split{Primary: 100, Mirror: 1}},
		"a mirror to somebody else": {func(spec *gatewayv1.HTTPRouteSpec) {
			ref := spec.Rules[0].BackendRefs[1].BackendObjectReference
			ref.Name = "other"
			spec.Rules[0].Filters = append(spec.Rules[0].Filters, gatewayv1.HTTPRouteFilter{
				Type: gatewayv1.HTTPRouteFilterRequestMirror, RequestMirror: &gatewayv1.HTTPRequestMirrorFilter{BackendRef: ref},
			})
		}, router.Split{Primary: 100}},
		"the primary alone": {func(spec *gatewayv1.HTTPRouteSpec) {
			spec.Rules[0].BackendRefs = spec.Rules[0].BackendRefs[:1]
		}, router.Split{Primary: 100}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			h, c := capable(t)
			r, in := h.New(c, c), intent(nil)
			in.Split = router.Split{Primary: 100}
			if _, err := r.Apply(t.Context(), in); err != nil {
				t.Fatal(err)
			}
			route := get(t, c)
			tt.edit(&route.Spec)
			if err := c.Update(t.Context(), route, client.FieldOwner("ann")); err != nil {
				t.Fatal(err)
			}
			obs, err := r.Observe(t.Context(), in)
			if err != nil || !obs.Known || obs.Evidence != router.EvidenceNone || obs.Current != tt.want {
				t.Errorf("%+v %v", obs, err)
			}
			receipt, err := r.Apply(t.Context(), in)
			if err != nil || !receipt.Foreign || receipt.By != "ann" || receipt.Object != "HTTPRoute finch" {
				t.Errorf("%+v %v", receipt, err)
			}
		})
	}
}

// A Canary that goes leaves one rule per match of its service, and nothing of a rollout.
func TestReleaseKeepsTheRouteWithEveryRule(t *testing.T) {
	h, c := capable(t)
	r, in := h.New(c, c), wide(intent(func(s *siskinv1.CanaryService) {
		s.Match = match(func(m *siskinv1.RequestMatch) { m.URI = new(prefix("/api")) })
		s.Headers = &siskinv1.Headers{Request: &siskinv1.HeaderOperations{Set: map[string]string{"A": "1"}}}
	}))
	in.Audience = in.Audience[:3]
	if _, err := r.Apply(t.Context(), in); err != nil {
		t.Fatal(err)
	}
	in.Keep = true
	for range 2 {
		if err := r.Release(t.Context(), in); err != nil {
			t.Fatal(err)
		}
	}
	route := get(t, c)
	rules := route.Spec.Rules
	if len(rules) != 1 || len(rules[0].BackendRefs) != 1 || string(rules[0].BackendRefs[0].Name) != in.Apex || len(rules[0].BackendRefs[0].Filters) != 0 ||
		len(rules[0].Filters) != 1 || *rules[0].Matches[0].Path.Value != "/api" || len(rules[0].Matches[0].Headers) != 0 {
		t.Errorf("rules %+v", rules)
	}
	in.Keep = false
	if receipt, err := r.Apply(t.Context(), in); err != nil || receipt.Foreign {
		t.Errorf("a Canary that takes it back: %+v %v", receipt, err)
	}
}

// A route that this version finds as an earlier one left it is not written again, and not taken for somebody else's.
func TestRouteOfAnEarlierVersion(t *testing.T) {
	h, c := capable(t)
	r, in := h.New(c, c), intent(nil)
	if _, err := r.Apply(t.Context(), in); err != nil {
		t.Fatal(err)
	}
	route := get(t, c)
	delete(route.Annotations, siskinv1.WrittenAnnotation)
	if err := c.Update(t.Context(), route, client.FieldOwner(siskinv1.FieldManager)); err != nil {
		t.Fatal(err)
	}
	if receipt, err := r.Apply(t.Context(), in); err != nil || receipt.Changed {
		t.Errorf("an upgrade writes: %+v %v", receipt, err)
	}
	in.Split = router.Split{Primary: 100}
	if receipt, err := r.Apply(t.Context(), in); err != nil || !receipt.Changed || receipt.Foreign {
		t.Errorf("the next split: %+v %v", receipt, err)
	}
}

// Hostnames that Siskin does not set may be somebody else's, such as external-dns's.
func TestForeignHostnamesAreNobodysSplit(t *testing.T) {
	h, c := capable(t)
	r, in := h.New(c, c), intent(func(s *siskinv1.CanaryService) { s.Hosts = []string{"*"} })
	if _, err := r.Apply(t.Context(), in); err != nil {
		t.Fatal(err)
	}
	route := get(t, c)
	route.Spec.Hostnames = []gatewayv1.Hostname{"finch.example.net"}
	if err := c.Update(t.Context(), route, client.FieldOwner("ann")); err != nil {
		t.Fatal(err)
	}
	if receipt, err := r.Apply(t.Context(), in); err != nil || receipt.Changed {
		t.Errorf("%+v %v", receipt, err)
	}
	in.Split = router.Split{Primary: 100}
	if receipt, err := r.Apply(t.Context(), in); err != nil || !receipt.Changed || receipt.Foreign || len(get(t, c).Spec.Hostnames) != 1 {
		t.Errorf("%+v %v", receipt, err)
	}
}

// Older CRDs drop fields that they do not know, and say nothing: it is told, and not taken for somebody's change.
func TestWhatTheAPIServerDropsIsTold(t *testing.T) {
	h, _ := capable(t)
	base, ok := h.Client.(client.WithWatch)
	if !ok {
		t.Fatal("no client to put something before")
	}
	c := interceptor.NewClient(base, interceptor.Funcs{
		Patch: func(ctx context.Context, c client.WithWatch, obj client.Object, p client.Patch, opts ...client.PatchOption) error {
			if err := c.Patch(ctx, obj, p, opts...); err != nil {
				return err
			}
			route, ok := obj.(*gatewayv1.HTTPRoute)
			if !ok {
				return nil
			}
			if err := c.Get(ctx, client.ObjectKeyFromObject(route), route); err != nil {
				return err
			}
			for i := range route.Spec.Rules {
				route.Spec.Rules[i].Timeouts = nil
			}
			return c.Update(ctx, route, client.FieldOwner(siskinv1.FieldManager))
		},
	})
	r, in := h.New(c, c), intent(func(s *siskinv1.CanaryService) { s.Timeout = "5s" })
	for range 2 {
		receipt, err := r.Apply(t.Context(), in)
		if refused, ok := errors.AsType[*router.InvalidError](err); !ok || receipt.Foreign || !strings.Contains(refused.Message, "CRDs") {
			t.Errorf("%+v %v", receipt, err)
		}
	}
	in.Owner.Spec.Service.Timeout = ""
	if receipt, err := r.Apply(t.Context(), in); err != nil {
		t.Errorf("%+v %v", receipt, err)
	}
}
