package gateway

import (
	"cmp"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// backend is a port of a Service.
type backend struct {
	namespace, name string
	port            int32
	filters         []gatewayv1.HTTPRouteFilter
	// bad tells that the reference cannot be followed: its share is answered with 500.
	bad bool
}

func (b backend) String() string { return b.namespace + "/" + b.name }

// mirror gets copies of requests.
type mirror struct {
	backend
	share *share
}

// rule is a rule of an HTTPRoute, ready to serve.
type rule struct {
	backends                []backend
	wheel                   *wheel
	mirrors                 []mirror
	filters                 []gatewayv1.HTTPRouteFilter
	request, backendRequest time.Duration
}

// entry is one match of a rule for one host.
type entry struct {
	host string // "": any; "*.example.org": any below
	match
	rule *rule
}

// compiled is a route, ready to serve.
type compiled struct {
	generation int64
	weights    string
	entries    []entry
}

// table is everything that is served, best matches first.
type table struct{ entries []entry }

// newTable merges routes, which come oldest first. What matches more exactly wins, as the Gateway API orders it; among equals the
// older route and the earlier rule.
func newTable(routes []*compiled) *table {
	t := &table{}
	for _, r := range routes {
		t.entries = append(t.entries, r.entries...)
	}
	slices.SortStableFunc(t.entries, func(a, b entry) int {
		return cmp.Or(-cmp.Compare(hostRank(a.host), hostRank(b.host)), a.compare(b.match))
	})
	return t
}

func hostRank(host string) int {
	switch {
	case host == "":
		return 0
	case strings.HasPrefix(host, "*."):
		return len(host)
	}
	return 1000 + len(host)
}

// find returns the rule of a request and the path prefix that it matched, or nil.
func (t *table) find(r *http.Request) (*rule, string) {
	host, _, err := net.SplitHostPort(r.Host)
	if err != nil {
		host = r.Host
	}
	host = strings.ToLower(host)
	for i := range t.entries {
		e := &t.entries[i]
		if hostMatches(e.host, host) && e.matches(r) {
			return e.rule, e.prefix
		}
	}
	return nil, ""
}

func hostMatches(pattern, host string) bool {
	if below, ok := strings.CutPrefix(pattern, "*"); ok {
		return strings.HasSuffix(host, below) && len(host) > len(below)
	}
	return pattern == "" || pattern == host
}

// compile makes a route ready to serve. hosts are those that the listener leaves over; resolve tells whether a reference can be
// followed. What of the last compilation still fits keeps its place in the rotation.
func compile(route *gatewayv1.HTTPRoute, hosts []string, resolve func(gatewayv1.BackendObjectReference) bool, last *compiled) (*compiled, error) {
	out := &compiled{generation: route.Generation, weights: weightsOf(route.Spec.Rules)}
	for i := range route.Spec.Rules {
		spec := &route.Spec.Rules[i]
		field := fmt.Sprintf("rules[%d]", i)
		r, err := compileRule(route.Namespace, spec, resolve)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", field, err)
		}
		r.inherit(last, i)
		matches := spec.Matches
		if len(matches) == 0 {
			matches = []gatewayv1.HTTPRouteMatch{{}}
		}
		for _, m := range matches {
			cm, err := compileMatch(m)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", field, err)
			}
			for _, host := range hosts {
				out.entries = append(out.entries, entry{host: host, match: cm, rule: r})
			}
		}
	}
	return out, nil
}

// rules lists the rules in order.
func (c *compiled) rules() []*rule {
	var out []*rule
	for _, e := range c.entries {
		if len(out) == 0 || out[len(out)-1] != e.rule {
			out = append(out, e.rule)
		}
	}
	return out
}

// inherit takes the wheels over from the rule in the same place, if its weights are the same: an edit of something else must not
// begin the rotation anew.
func (r *rule) inherit(last *compiled, index int) {
	if last == nil {
		return
	}
	rules := last.rules()
	if index >= len(rules) {
		return
	}
	if before := rules[index]; slices.Equal(before.wheel.weights, r.wheel.weights) {
		r.wheel = before.wheel
	}
}

func compileRule(namespace string, spec *gatewayv1.HTTPRouteRule, resolve func(gatewayv1.BackendObjectReference) bool) (*rule, error) {
	r := &rule{}
	if spec.Retry != nil || spec.SessionPersistence != nil {
		return nil, fmt.Errorf("%w: retry and sessionPersistence", errUnsupported)
	}
	for _, f := range spec.Filters {
		if f.Type == gatewayv1.HTTPRouteFilterRequestMirror && f.RequestMirror != nil {
			r.mirrors = append(r.mirrors, compileMirror(namespace, f.RequestMirror, resolve))
			continue
		}
		if err := supported(f); err != nil {
			return nil, err
		}
		r.filters = append(r.filters, f)
	}
	var weights []int64
	for _, ref := range spec.BackendRefs {
		for _, f := range ref.Filters {
			if err := supported(f); err != nil {
				return nil, err
			}
		}
		b := target(namespace, ref.BackendObjectReference, resolve)
		b.filters = ref.Filters
		r.backends, weights = append(r.backends, b), append(weights, weightOf(ref.BackendRef))
	}
	r.wheel = newWheel(weights)
	if spec.Timeouts != nil {
		var err error
		if r.request, err = timeout(spec.Timeouts.Request); err != nil {
			return nil, err
		}
		if r.backendRequest, err = timeout(spec.Timeouts.BackendRequest); err != nil {
			return nil, err
		}
	}
	return r, nil
}

func compileMirror(namespace string, f *gatewayv1.HTTPRequestMirrorFilter, resolve func(gatewayv1.BackendObjectReference) bool) mirror {
	s := &share{n: 1, m: 1}
	switch {
	case f.Percent != nil:
		s.n, s.m = int64(*f.Percent), 100
	case f.Fraction != nil:
		s.n, s.m = int64(f.Fraction.Numerator), 100
		if f.Fraction.Denominator != nil {
			s.m = int64(*f.Fraction.Denominator)
		}
	}
	return mirror{backend: target(namespace, f.BackendRef, resolve), share: s}
}

func target(namespace string, ref gatewayv1.BackendObjectReference, resolve func(gatewayv1.BackendObjectReference) bool) backend {
	b := backend{namespace: namespace, name: string(ref.Name), bad: !resolve(ref)}
	if ref.Port != nil {
		b.port = *ref.Port
	}
	return b
}

func weightOf(ref gatewayv1.BackendRef) int64 {
	if ref.Weight == nil {
		return 1
	}
	return int64(*ref.Weight)
}

// weightsOf writes the weights and mirrors of all rules: "shop-primary=80 shop-canary=20 mirror:shop-canary=50".
func weightsOf(rules []gatewayv1.HTTPRouteRule) string {
	var out []string
	for _, r := range rules {
		var one []string
		for _, ref := range r.BackendRefs {
			one = append(one, fmt.Sprintf("%s=%d", ref.Name, weightOf(ref.BackendRef)))
		}
		for _, f := range r.Filters {
			if f.RequestMirror != nil {
				m := compileMirror("", f.RequestMirror, func(gatewayv1.BackendObjectReference) bool { return true })
				one = append(one, fmt.Sprintf("mirror:%s=%d", m.name, m.share.n*100/m.share.m))
			}
		}
		out = append(out, strings.Join(one, " "))
	}
	return strings.Join(out, "; ")
}

func timeout(d *gatewayv1.Duration) (time.Duration, error) {
	if d == nil {
		return 0, nil
	}
	t, err := time.ParseDuration(string(*d))
	if err != nil {
		return 0, fmt.Errorf("reading a timeout: %w", err)
	}
	return t, nil
}
