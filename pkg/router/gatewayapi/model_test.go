package gatewayapi_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/router"
	"github.com/siskin-dev/siskin/pkg/router/gatewayapi"
	"github.com/siskin-dev/siskin/pkg/router/routertest"
)

// ask is one request.
type ask struct {
	path, method   string
	headers, query map[string]string
	cookies        []string // "a=1", in this order
}

func (a ask) String() string {
	return fmt.Sprintf("%s %s?%v headers %v cookies %q", a.method, a.path, a.query, a.headers, strings.Join(a.cookies, "; "))
}

func (a ask) header(name string) (string, bool) {
	if strings.EqualFold(name, "Cookie") {
		return strings.Join(a.cookies, "; "), len(a.cookies) > 0
	}
	v, ok := a.headers[strings.ToLower(name)]
	return v, ok
}

// dialect is how a data plane reads regexes and orders matches.
type dialect struct {
	search bool // a regex is searched for; else it must match all
	rank   func(m gatewayv1.HTTPRouteMatch, rule, rules int) []int
	known  map[string]*regexp.Regexp
}

func (d dialect) regex(pattern string) *regexp.Regexp {
	if d.known[pattern] == nil {
		d.known[pattern] = regexp.MustCompile(pattern)
	}
	return d.known[pattern]
}

// standard is the order of the specification; the path's regex is where most put it.
func standard(m gatewayv1.HTTPRouteMatch, rule, _ int) []int {
	kind := map[gatewayv1.PathMatchType]int{gatewayv1.PathMatchExact: 2, gatewayv1.PathMatchRegularExpression: 1}[*m.Path.Type]
	method := 0
	if m.Method != nil {
		method = 1
	}
	return []int{kind, len(*m.Path.Value), method, len(m.Headers), len(m.QueryParams), -rule}
}

// traefik adds up numbers, as Traefik 3.7 does.
func traefik(m gatewayv1.HTTPRouteMatch, rule, rules int) []int {
	n := 10000 + 100*len(*m.Path.Value)
	switch {
	case *m.Path.Type == gatewayv1.PathMatchExact:
		n = 100000
	case *m.Path.Type == gatewayv1.PathMatchPathPrefix && *m.Path.Value == "/":
		n = 1
	}
	if m.Method != nil {
		n += 1000
	}
	return []int{n + 100*len(m.Headers) + 10*len(m.QueryParams) + rules - rule}
}

func (d dialect) matches(m gatewayv1.HTTPRouteMatch, a ask) bool {
	is := func(regex bool, pattern, value string) bool {
		switch {
		case !regex:
			return pattern == value
		case d.search:
			return d.regex(pattern).MatchString(value)
		}
		return d.regex(`\A(?:` + pattern + `)\z`).MatchString(value)
	}
	switch *m.Path.Type {
	case gatewayv1.PathMatchPathPrefix:
		p := strings.TrimSuffix(*m.Path.Value, "/")
		if a.path != p && !strings.HasPrefix(a.path, p+"/") {
			return false
		}
	default:
		if !is(*m.Path.Type == gatewayv1.PathMatchRegularExpression, *m.Path.Value, a.path) {
			return false
		}
	}
	if m.Method != nil && string(*m.Method) != a.method {
		return false
	}
	for _, h := range m.Headers {
		v, ok := a.header(string(h.Name))
		if !ok || !is(*h.Type == gatewayv1.HeaderMatchRegularExpression, h.Value, v) {
			return false
		}
	}
	for _, q := range m.QueryParams {
		v, ok := a.query[string(q.Name)]
		if !ok || !is(*q.Type == gatewayv1.QueryParamMatchRegularExpression, q.Value, v) {
			return false
		}
	}
	return true
}

// rule returns the rule that takes a request.
func (d dialect) rule(spec gatewayv1.HTTPRouteSpec, a ask) *gatewayv1.HTTPRouteRule {
	var best []int
	var out *gatewayv1.HTTPRouteRule
	for i := range spec.Rules {
		for _, m := range spec.Rules[i].Matches {
			if rank := d.rank(m, i, len(spec.Rules)); d.matches(m, a) && (best == nil || slices.Compare(rank, best) > 0) {
				best, out = rank, &spec.Rules[i]
			}
		}
	}
	return out
}

// serve tells what becomes of a request: all such go to "canary" or "primary", "split" by the weights of the step, "redrawn" by others,
// "" to nobody.
func (d dialect) serve(spec gatewayv1.HTTPRouteSpec, a ask) string {
	switch rule := d.rule(spec, a); {
	case rule == nil:
		return ""
	case len(rule.BackendRefs) == 1:
		return strings.TrimPrefix(string(rule.BackendRefs[0].Name), "finch-")
	case *rule.BackendRefs[0].Weight+*rule.BackendRefs[1].Weight == 100:
		return "split"
	}
	return "redrawn"
}

// selects tells what the user means, without any HTTPRoute.
func selects(m siskinv1.RequestMatch, a ask) bool {
	is := func(m siskinv1.StringMatch, v string) bool {
		switch {
		case m.Exact != "":
			return v == m.Exact
		case m.Prefix != "":
			return strings.HasPrefix(v, m.Prefix)
		case m.Suffix != "":
			return strings.HasSuffix(v, m.Suffix)
		}
		return regexp.MustCompile(`\A(?:` + m.Regex + `)\z`).MatchString(v)
	}
	if m.URI != nil {
		p := strings.TrimSuffix(m.URI.Prefix, "/")
		within := m.URI.Prefix != "" && (a.path == p || strings.HasPrefix(a.path, p+"/"))
		if !within && (m.URI.Prefix != "" || !is(*m.URI, a.path)) {
			return false
		}
	}
	if m.Method != nil && !is(*m.Method, a.method) {
		return false
	}
	for name, want := range m.Headers {
		if v, ok := a.header(name); !ok || !is(want, v) {
			return false
		}
	}
	for name, want := range m.QueryParams {
		if v, ok := a.query[name]; !ok || !is(want, v) {
			return false
		}
	}
	for name, want := range m.Cookies {
		if !slices.ContainsFunc(a.cookies, func(c string) bool {
			n, v, _ := strings.Cut(c, "=")
			return n == name && is(want, v)
		}) {
			return false
		}
	}
	return true
}

func one(kind, name string, m siskinv1.StringMatch) siskinv1.RequestMatch {
	by := map[string]siskinv1.StringMatch{name: m}
	switch kind {
	case "header":
		return siskinv1.RequestMatch{Headers: by}
	case "cookie":
		return siskinv1.RequestMatch{Cookies: by}
	case "query":
		return siskinv1.RequestMatch{QueryParams: by}
	case "method":
		return siskinv1.RequestMatch{Method: &m}
	}
	return siskinv1.RequestMatch{URI: &m}
}

// merge is a match with the parts of several.
func merge(ms ...siskinv1.RequestMatch) siskinv1.RequestMatch {
	out := siskinv1.RequestMatch{
		Headers: map[string]siskinv1.StringMatch{}, Cookies: map[string]siskinv1.StringMatch{}, QueryParams: map[string]siskinv1.StringMatch{},
	}
	for _, m := range ms {
		if m.URI != nil {
			out.URI = m.URI
		}
		if m.Method != nil {
			out.Method = m.Method
		}
		maps.Copy(out.Headers, m.Headers)
		maps.Copy(out.Cookies, m.Cookies)
		maps.Copy(out.QueryParams, m.QueryParams)
	}
	return out
}

// world is a random service, audience and requests from a few values that meet often.
type world struct{ *rand.Rand }

func pick[T any](w world, from ...T) T { return from[w.IntN(len(from))] }

func (w world) string(exact string) siskinv1.StringMatch {
	return pick(w, siskinv1.StringMatch{Exact: exact}, siskinv1.StringMatch{Prefix: exact[:1]}, siskinv1.StringMatch{Suffix: exact[len(exact)-1:]},
		siskinv1.StringMatch{Regex: "^" + exact[:1] + ".*$"}, siskinv1.StringMatch{Regex: ".*" + exact[len(exact)-1:] + "$"})
}

func (w world) match(parts int) siskinv1.RequestMatch {
	var ms []siskinv1.RequestMatch
	for range w.IntN(parts + 1) {
		ms = append(ms, pick(w,
			one("header", pick(w, "x-a", "X-B"), w.string(pick(w, "yes", "no"))),
			one("cookie", pick(w, "a", "b"), w.string(pick(w, "yes", "no"))),
			one("query", pick(w, "q", "r"), w.string(pick(w, "yes", "no"))),
			one("method", "", exact(pick(w, "GET", "POST"))),
			one("path", "", pick(w, prefix("/"), prefix("/api"), prefix("/api/v2"), exact("/api/v2/x"), exact("/api"), siskinv1.StringMatch{Suffix: "x"})),
		))
	}
	return merge(ms...)
}

func (w world) ask(affinity *router.Affinity) ask {
	a := ask{path: pick(w, "/", "/api", "/apis", "/api/v2", "/api/v2/x"), method: pick(w, "GET", "POST"), headers: map[string]string{}, query: map[string]string{}}
	for _, name := range []string{"x-a", "x-b"} {
		if v := pick(w, "", "yes", "no"); v != "" {
			a.headers[name] = v
		}
	}
	for _, name := range []string{"q", "r"} {
		if v := pick(w, "", "yes", "no"); v != "" {
			a.query[name] = v
		}
	}
	jar := []string{
		"a=yes", "a=no", "b=yes", "b=no", "ba=yes", "a-b=yes", "x=a=yes", affinity.CookieName + "=" + affinity.Token, affinity.CookieName + "=" + affinity.Token + "x",
		"my" + affinity.CookieName + "=" + affinity.Token, affinity.CookieName + "=old", affinity.PrimaryCookieName + "=" + affinity.PrimaryToken,
		affinity.PrimaryCookieName + "=old", affinity.PrimaryCookieName + "=" + affinity.Earlier[0].PrimaryToken, "x=" + affinity.CookieName + "=" + affinity.Token,
	}
	w.Shuffle(len(jar), func(i, j int) { jar[i], jar[j] = jar[j], jar[i] })
	a.cookies = jar[:w.IntN(6)]
	return a
}

// W23 : whatever spec.service.match and analysis.match are, and whatever a request carries: the audience goes to the canary; users of the
// canary go there, those of the primary to the primary; all others are drawn; and nobody else is served. In the order and the regexes
// of the standard and of Traefik.
func TestW23EveryRequestGoesWhereItShould(t *testing.T) {
	dialects := map[string]dialect{"full match": {rank: standard}, "search": {search: true, rank: standard}, "Traefik": {search: true, rank: traefik}}
	for name, d := range dialects {
		d.known = map[string]*regexp.Regexp{}
		dialects[name] = d
	}
	refusals, asked := 0, 0
	served := map[string]int{}
	for seed := range uint64(1500) {
		w := world{rand.New(rand.NewPCG(seed, 7))}
		in := intent(nil)
		for range w.IntN(3) {
			in.Owner.Spec.Service.Match = append(in.Owner.Spec.Service.Match, w.match(2))
		}
		for range 1 + w.IntN(3) {
			in.Audience = append(in.Audience, w.match(3))
		}
		in.Split.Audience = w.IntN(4) > 0
		if w.IntN(4) > 0 {
			in.Affinity = routertest.Affinity()
		}
		if err := newRouter(nil).Validate(in); err != nil {
			refusals++
			continue
		}
		spec := gatewayapi.Rules(t, in)
		for range 60 {
			a := w.ask(routertest.Affinity())
			want := wanted(in, a)
			for name, d := range dialects {
				if have := d.serve(spec, a); have != want {
					t.Fatalf("seed %d, %s: %s is served by %q, not %q\nservice %+v\naudience %v %+v\nrules %+v", seed, name, a, have, want,
						in.Owner.Spec.Service.Match, in.Split.Audience, in.Audience, spec.Rules)
				}
			}
			asked++
			served[want]++
		}
	}
	if refusals > 500 || served["canary"] < 1000 || served["primary"] < 1000 || served["split"] < 1000 || served["redrawn"] < 1000 || served[""] < 1000 {
		t.Errorf("%d refusals, %d requests, served %v: this proves too little", refusals, asked, served)
	}
	t.Logf("%d refusals, %d requests, served %v", refusals, asked, served)
}

func wanted(in router.Intent, a ask) string {
	all := func(ms []siskinv1.RequestMatch) bool {
		return slices.ContainsFunc(ms, func(m siskinv1.RequestMatch) bool { return selects(m, a) })
	}
	has := func(name, value string) bool { return slices.Contains(a.cookies, name+"="+value) }
	switch {
	case len(in.Owner.Spec.Service.Match) > 0 && !all(in.Owner.Spec.Service.Match):
		return ""
	case in.Split.Audience && all(in.Audience):
		return "canary"
	case in.Affinity != nil && has(in.Affinity.CookieName, in.Affinity.Token):
		return "canary"
	case in.Affinity != nil && has(in.Affinity.PrimaryCookieName, in.Affinity.PrimaryToken):
		return "primary"
	case in.Affinity != nil && has(in.Affinity.PrimaryCookieName, in.Affinity.Earlier[0].PrimaryToken):
		return "redrawn"
	}
	return "split"
}

// T7 : the canary's share of users is that of the step, however often they come and however many steps there were; not 1-0.9*0.8*0.5.
func TestTheShareOfUsersIsThatOfTheStep(t *testing.T) {
	const users = 4000
	random := rand.New(rand.NewPCG(1, 2))
	d := dialect{search: true, rank: traefik, known: map[string]*regexp.Regexp{}}
	in := intent(nil)
	in.Affinity = routertest.Affinity()
	in.Affinity.Earlier = nil
	type user struct {
		cookies map[string]string
		canary  bool
		came    int // step in which he came last
	}
	all := make([]user, users)
	for i := range all {
		all[i].cookies = map[string]string{}
	}
	for step, weight := range []int32{10, 20, 20, 50, 80} {
		in.Split = router.Split{Primary: 100 - weight, Canary: weight}
		in.Affinity = new(*in.Affinity)
		in.Affinity.PrimaryToken = fmt.Sprintf("step-%d", step)
		spec := gatewayapi.Rules(t, in)
		seen, canary := 0, 0
		for i := range all {
			u := &all[i]
			if random.IntN(3) == 0 {
				continue // he does not come in this step
			}
			for range 3 {
				a := ask{path: "/", method: "GET"}
				for name, value := range u.cookies {
					a.cookies = append(a.cookies, name+"="+value)
				}
				refs := d.rule(spec, a).BackendRefs
				ref := refs[0]
				if len(refs) == 2 && random.Int32N(*refs[0].Weight+*refs[1].Weight) >= *refs[0].Weight {
					ref = refs[1]
				}
				isCanary := strings.HasSuffix(string(ref.Name), "-canary")
				if u.canary && !isCanary || u.came == step+1 && u.canary != isCanary {
					t.Fatalf("step %d: user %d with %v is sent to %s", step, i, u.cookies, ref.Name)
				}
				u.canary, u.came = isCanary, step+1
				for _, f := range ref.Filters {
					pair, _, _ := strings.Cut(f.ResponseHeaderModifier.Add[0].Value, ";")
					name, value, _ := strings.Cut(pair, "=")
					u.cookies[name] = value
				}
			}
			seen++
			if u.canary {
				canary++
			}
		}
		if share := 100 * float64(canary) / float64(seen); share < float64(weight)-3 || share > float64(weight)+3 {
			t.Errorf("at %d%% the canary has %.1f%% of %d users", weight, share, seen)
		}
		in.Affinity.Earlier = append([]router.Draw{{PrimaryToken: in.Affinity.PrimaryToken, Canary: weight}}, in.Affinity.Earlier...)
	}
}

// A hundred steps are more than a route can hold: the newest are kept, and what matters more is never left out for them.
func TestManySteps(t *testing.T) {
	in := wide(intent(nil))
	for i := range 99 {
		in.Affinity.Earlier = append(in.Affinity.Earlier, router.Draw{PrimaryToken: fmt.Sprintf("step-%d", 99-i), Canary: int32(99 - i)})
	}
	h, c := capable(t)
	if _, err := h.New(c, c).Apply(t.Context(), in); err != nil {
		t.Fatal(err)
	}
	rules := get(t, c).Spec.Rules
	if len(rules) != 16 || len(rules[15].Matches[0].Headers) > 0 || !strings.Contains(rules[3].Matches[0].Headers[0].Value, "0101") {
		t.Errorf("%d rules: %+v", len(rules), rules)
	}
	for _, rule := range rules {
		for _, ref := range rule.BackendRefs {
			if *ref.Weight < 0 {
				t.Errorf("weight %d", *ref.Weight)
			}
		}
	}
}
