package gatewayapi_test

import (
	"regexp"
	"strings"
	"testing"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	"sigs.k8s.io/gateway-api/pkg/features"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/router"
	"github.com/siskin-dev/siskin/pkg/router/gatewayapi"
	"github.com/siskin-dev/siskin/pkg/router/gatewayapi/gatewayapitest"
	"github.com/siskin-dev/siskin/pkg/router/routertest"
)

// dropped are the cookies that the answer to a request has the client drop, and where the request goes.
func dropped(d dialect, spec gatewayv1.HTTPRouteSpec, a ask) (cookies, where string) {
	rule := d.rule(spec, a)
	if rule == nil {
		return "", ""
	}
	var all, to []string
	for _, ref := range rule.BackendRefs {
		if *ref.Weight == 0 {
			continue
		}
		to = append(to, string(ref.Name))
		for _, f := range ref.Filters {
			for _, h := range f.ResponseHeaderModifier.Add {
				if strings.Contains(h.Value, "; Max-Age=0;") {
					all = append(all, strings.SplitAfter(h.Value, "=")[0])
				}
			}
		}
	}
	return strings.Join(all, " "), strings.Join(to, " ")
}

// Whoever still sends a cookie of a rollout that is over, of whatever value, is served by the primary and drops it;
// nobody else notices anything.
func TestCookiesAreDroppedAfterTheRollout(t *testing.T) {
	in := intent(func(s *siskinv1.CanaryService) {
		s.Match = []siskinv1.RequestMatch{{URI: new(prefix("/api"))}, one("header", "X-A", exact("yes"))}
	})
	in.Split, in.Expired = router.Split{Primary: 100}, new(routertest.Affinity().SessionAffinity)
	spec := gatewayapi.Rules(t, in)
	for name, tt := range map[string]struct {
		cookies []string
		path    string
		want    string
	}{
		"no cookie":               {nil, "/api", ""},
		"another cookie":          {[]string{"a=1", "my-finch-canary=1", "x=finch-canary=1"}, "/api", ""},
		"the canary's":            {[]string{"a=1", "finch-canary=0123"}, "/api/x", "finch-canary="},
		"the primary's":           {[]string{"finch-primary=0123", "a=1"}, "/api", "finch-primary="},
		"both, one after another": {[]string{"finch-primary=0123", "finch-canary=1"}, "/api", "finch-canary="},
		"not ours":                {[]string{"finch-canary=1"}, "/web", "nobody"},
	} {
		for kind, d := range map[string]dialect{"full match": {rank: standard}, "Traefik": {search: true, rank: traefik}} {
			d.known = map[string]*regexp.Regexp{}
			cookies, where := dropped(d, spec, ask{path: tt.path, method: "GET", cookies: tt.cookies})
			if tt.want == "nobody" && where != "" || tt.want != "nobody" && (cookies != tt.want || where != "finch-primary") {
				t.Errorf("%s, %s: %q is dropped, and served by %q", name, kind, cookies, where)
			}
		}
	}
}

// It is a courtesy: it takes no room that the route needs, refuses nothing, and is left out where the gateway cannot do
// it.
func TestDroppingCookiesIsNoCondition(t *testing.T) {
	full := func(in *router.Intent) {
		for range 8 {
			in.Owner.Spec.Service.Match = append(in.Owner.Spec.Service.Match, siskinv1.RequestMatch{})
		}
	}
	for name, tt := range map[string]struct {
		edit      func(*router.Intent)
		supported []features.FeatureName
		rules     int
	}{
		"it is possible": {func(*router.Intent) {}, nil, 3},
		"one cookie":     {func(in *router.Intent) { in.Expired.PrimaryCookieName = "" }, nil, 2},
		"many matches":   {full, nil, 3},
		"the service is selected by the cookie": {func(in *router.Intent) {
			in.Owner.Spec.Service.Match = []siskinv1.RequestMatch{one("cookie", "finch-canary", exact("1"))}
		}, nil, 2},
		"the service is selected by the header Cookie": {func(in *router.Intent) {
			in.Owner.Spec.Service.Match = []siskinv1.RequestMatch{one("header", "Cookie", exact("a=1"))}
		}, nil, 1},
		"an audience":           {func(in *router.Intent) { in.Split.Audience, in.Audience = true, routertest.Audience()[:1] }, nil, 2},
		"the gateway cannot":    {func(*router.Intent) {}, []features.FeatureName{features.SupportHTTPRoute}, 1},
		"a share of the canary": {func(in *router.Intent) { in.Split = router.Split{Primary: 90, Canary: 10} }, nil, 1},
	} {
		t.Run(name, func(t *testing.T) {
			h, c := capable(t)
			if tt.supported != nil {
				gatewayapitest.Supports(t, c.Client, namespace, tt.supported...)
			}
			r, in := h.New(c, c), intent(nil)
			in.Split, in.Expired = router.Split{Primary: 100}, new(routertest.Affinity().SessionAffinity)
			tt.edit(&in)
			if _, err := r.Apply(t.Context(), in); err != nil {
				t.Fatal(err)
			}
			if n := len(get(t, c).Spec.Rules); n != tt.rules {
				t.Errorf("%d rules, want %d: %+v", n, tt.rules, get(t, c).Spec.Rules)
			}
			if obs, err := r.Observe(t.Context(), in); err != nil || obs.Evidence != router.EvidenceWritten || obs.Current != in.Split {
				t.Errorf("%+v %v", obs, err)
			}
		})
	}
}

// Such rules lead nobody to the canary when the next rollout begins under a spec that cannot be written, and go with
// the Canary.
func TestDroppingCookiesEnds(t *testing.T) {
	h, c := capable(t)
	r, in := h.New(c, c), intent(nil)
	in.Owner.Spec.Analysis.SessionAffinity = new(routertest.Affinity().SessionAffinity)
	in.Split, in.Expired = router.Split{Primary: 100}, in.Owner.Spec.Analysis.SessionAffinity
	if _, err := r.Apply(t.Context(), in); err != nil {
		t.Fatal(err)
	}
	hosts := in.Owner.Spec.Service.Hosts
	in.Owner.Spec.Service.Hosts = []string{"no host"}
	next := in
	next.Split, next.Expired, next.Affinity = router.Split{Primary: 80, Canary: 20}, nil, routertest.Affinity()
	if _, err := r.Apply(t.Context(), next); err == nil {
		t.Error("the edit is not told")
	}
	if rules := get(t, c).Spec.Rules; len(rules) != 1 || *rules[0].BackendRefs[1].Weight != 20 {
		t.Errorf("rules %+v", rules)
	}
	in.Owner.Spec.Service.Hosts = hosts
	if _, err := r.Apply(t.Context(), in); err != nil {
		t.Fatal(err)
	}
	in.Keep = true
	if err := r.Release(t.Context(), in); err != nil {
		t.Fatal(err)
	}
	if rules := get(t, c).Spec.Rules; len(rules) != 1 || rules[0].BackendRefs[0].Name != "finch" || len(rules[0].BackendRefs[0].Filters) > 0 {
		t.Errorf("left with %+v", rules)
	}
}
