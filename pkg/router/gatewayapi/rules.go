package gatewayapi

import (
	"fmt"
	"slices"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/siskin-dev/siskin/pkg/router"
	"github.com/siskin-dev/siskin/pkg/router/internal/cookie"
)

// ruler makes the rules of one route. They are, each only if it is wanted:
//
//  1. the audience goes to the canary;
//  2. users with the cookie of this rollout's canary go to the canary;
//  3. users with the cookie of this step's primary go to the primary;
//  4. users with the cookie of an earlier step's primary are drawn by what is missing for the canary's share, a rule for each step;
//  5. users with a cookie of a rollout that is over are drawn like everybody else, and drop it: only while the primary has all;
//  6. everybody else is drawn by weight.
//
// Whoever is drawn is given a cookie; what reaches the primary is copied to the canary, if a mirror is wanted.
//
// Each begins with spec.service.match and has its filters and timeouts. A gateway does not go by the order of the rules but by how
// much a match says: path, then method, number of headers, number of query parameters; the order decides only between equals. So 1 to 3
// beat 4 because they say more; 2 beats 3 by order, since both add one cookie; 1 has to say at least as much as 3, to which audience
// sees.
type ruler struct {
	in      router.Intent
	service []request
	// base is what all rules have in common.
	base gatewayv1.HTTPRouteRule
	out  []gatewayv1.HTTPRouteRule
	// others are the rules beside these that the route has too, with otherMatches; sharing is among how many the room that is left is
	// to be shared, where it is for what can be left out. 0: one.
	others, otherMatches, sharing int
}

func rules(in router.Intent) ([]gatewayv1.HTTPRouteRule, error) {
	svc := in.Owner.Spec.Service
	r := ruler{in: in}
	var err error
	if r.service, err = requests("spec.service.match", svc.Match); err != nil {
		return nil, err
	}
	if r.base.Filters, err = filters(svc, r.service); err != nil {
		return nil, err
	}
	if err := copied(in, &r.base.Filters); err != nil {
		return nil, err
	}
	if r.base.Timeouts, err = timeouts(svc); err != nil {
		return nil, err
	}
	return r.all()
}

// all makes the rules. Those for everybody else are the last.
func (r *ruler) all() ([]gatewayv1.HTTPRouteRule, error) {
	in := r.in
	if in.Split.Audience {
		if err := r.audience(); err != nil {
			return nil, err
		}
	}
	if in.Sticky() {
		if err := r.sticky(); err != nil {
			return nil, err
		}
	}
	if err := r.add(r.service, split(in, in.Split.Primary, in.Split.Canary), mirrored(r.base.Filters, in)); err != nil {
		return nil, err
	}
	if err := r.limits(); err != nil {
		return nil, err
	}
	r.out = r.expiring()
	return r.redrawn()
}

// audience sends the selected requests to the canary, whatever cookie of the primary they carry. A rule for that cookie would beat a
// match that names fewer headers, such as one by query parameter alone, so that such a match is written once more with the cookie.
func (r *ruler) audience() error {
	var all, twice []request
	for i, m := range r.in.Audience {
		field := fmt.Sprintf("spec.analysis.match[%d]", i)
		a, err := read(field, m)
		if err != nil {
			return err
		}
		if r.prefixRewritten() && !everyPath(a.path) {
			return invalid(field+".uri", "spec.service.rewrite replaces the prefix that was matched, which would be another one here: leave one of the two out")
		}
		before := len(all)
		for _, s := range r.service {
			selected, possible, err := both(s, a, field)
			if err != nil {
				return err
			}
			if !possible {
				continue
			}
			all = append(all, selected)
			if again, outdone := r.withPrimary(selected, s); outdone {
				twice = append(twice, again)
			}
		}
		if len(all) == before {
			return invalid(field, "no request can match it and spec.service.match too")
		}
	}
	return r.add(append(all, twice...), toCanary(r.in), r.base.Filters)
}

// withPrimary is what is selected of s together with the cookie of the primary; outdone tells that the rule for that cookie names more
// headers.
func (r *ruler) withPrimary(selected, s request) (out request, outdone bool) {
	if !r.in.Sticky() || r.in.Affinity.PrimaryCookieName == "" {
		return out, false
	}
	kept, _, err := both(s, r.primaryToken(), "")
	if err != nil || selected.size() >= kept.size() {
		return out, false // an error is told where the rule for the cookie is made
	}
	kept = request{cookies: map[string]condition{r.in.Affinity.PrimaryCookieName: {kind: kindRegex, value: cookie.Any}}} // of any step
	out, possible, err := both(selected, kept, "")
	return out, possible && err == nil
}

// sticky keeps users at the version that answered them first in this rollout (canary) or in this step (primary).
func (r *ruler) sticky() error {
	const field = "spec.analysis.sessionAffinity"
	a := r.in.Affinity
	if a.PrimaryCookieName == a.CookieName {
		return invalid(field+".primaryCookieName", "it must differ from cookieName")
	}
	users, err := r.narrowed(token(a.CookieName, a.Token), field)
	if err != nil {
		return err
	}
	if len(users) < len(r.service) {
		return invalid(field+".cookieName", "spec.service.match selects by the same cookie: use another name")
	}
	if err := r.add(users, toCanary(r.in), r.base.Filters); err != nil || a.PrimaryCookieName == "" {
		return err
	}
	if users, err = r.narrowed(r.primaryToken(), field); err != nil {
		return err
	}
	if len(users) < len(r.service) {
		return invalid(field+".primaryCookieName", "spec.service.match selects by the same cookie: use another name")
	}
	return r.add(users, toPrimary(r.in), mirrored(r.base.Filters, r.in))
}

// redrawn adds the rules for users of earlier steps before the last one, newest first, as many as the route can hold: users of steps before
// those are drawn like newcomers.
func (r *ruler) redrawn() ([]gatewayv1.HTTPRouteRule, error) {
	if !r.in.Sticky() || r.in.Affinity.PrimaryCookieName == "" {
		return r.out, nil
	}
	all := ruler{in: r.in, service: r.service, base: r.base}
	for _, draw := range r.in.Affinity.Earlier {
		users, err := r.narrowed(token(r.in.Affinity.PrimaryCookieName, draw.PrimaryToken), "spec.analysis.sessionAffinity")
		if err != nil {
			return nil, err
		}
		more := ruler{in: r.in, service: r.service, base: r.base}
		missing := min(max(r.in.Split.Canary-draw.Canary, 0), r.in.Split.Canary)
		if err := more.add(users, split(r.in, r.in.Split.Primary, missing), mirrored(r.base.Filters, r.in)); err != nil {
			return nil, err
		}
		all.out = append(all.out, more.out...)
		if !r.roomFor(append(slices.Clone(all.out), r.out...)) {
			all.out = all.out[:len(all.out)-len(more.out)]
			break
		}
	}
	last := len(r.out) - r.rules(r.service)
	return slices.Concat(r.out[:last], all.out, r.out[last:]), nil
}

func (r *ruler) primaryToken() request {
	return token(r.in.Affinity.PrimaryCookieName, r.in.Affinity.PrimaryToken)
}

// narrowed are the service's matches, each narrowed by a; those that cannot be are left out.
func (r *ruler) narrowed(a request, field string) ([]request, error) {
	var out []request
	for _, s := range r.service {
		m, possible, err := both(s, a, field)
		if err != nil {
			return nil, err
		}
		if possible {
			out = append(out, m)
		}
	}
	return out, nil
}

// add adds rules for requests: one, or more if one cannot hold them all.
func (r *ruler) add(all []request, to []gatewayv1.HTTPBackendRef, filters []gatewayv1.HTTPRouteFilter) error {
	matches := make([]gatewayv1.HTTPRouteMatch, 0, len(all))
	for _, one := range all {
		m, err := one.match()
		if err != nil {
			return err
		}
		matches = append(matches, m)
	}
	for chunk := range slices.Chunk(matches, r.most()) {
		rule := *r.base.DeepCopy()
		rule.Matches, rule.BackendRefs, rule.Filters = chunk, to, filters
		r.out = append(r.out, *rule.DeepCopy())
	}
	return nil
}

// most is how many matches a rule can have; rules how many rules requests need.
func (r *ruler) most() int {
	if r.prefixRewritten() {
		return 1 // the API takes no more with ReplacePrefixMatch
	}
	return maxRuleMatches
}

func (r *ruler) rules(all []request) int { return (len(all) + r.most() - 1) / r.most() }

func (r *ruler) prefixRewritten() bool {
	rw := r.in.Owner.Spec.Service.Rewrite
	return rw != nil && rw.URI != "" && rw.Type == string(gatewayv1.PrefixMatchHTTPPathModifier)
}

// limits refuses what the API server would.
func (r *ruler) limits() error {
	if r.fits(r.out) {
		return nil
	}
	beside := "spec.service.match"
	if r.others > 0 {
		beside = "the rules of HTTPRoute " + r.in.Apex
	}
	return invalid("spec.analysis.match", "together with %s it makes %d rules with %d matches, and an HTTPRoute takes %d rules with %d: give fewer entries",
		beside, len(r.out)+r.others, size(r.out)+r.otherMatches, maxRules, maxTotalMatches)
}

func (r *ruler) fits(rules []gatewayv1.HTTPRouteRule) bool {
	return len(rules)+r.others <= maxRules && size(rules)+r.otherMatches <= maxTotalMatches
}

// roomFor tells whether rules fit of which some can be left out.
func (r *ruler) roomFor(rules []gatewayv1.HTTPRouteRule) bool {
	among := max(r.sharing, 1)
	return len(rules) <= (maxRules-r.others)/among && size(rules) <= (maxTotalMatches-r.otherMatches)/among
}

// size is the number of matches of all rules.
func size(rules []gatewayv1.HTTPRouteRule) int {
	total := 0
	for _, rule := range rules {
		total += len(rule.Matches)
	}
	return total
}

// split are both backends with their weights in words: a missing weight would mean 1, and a missing backend would make the first step of
// a rollout a change of structure. Whoever is drawn is given the cookie of his version.
func split(in router.Intent, toPrimary, toCanary int32) []gatewayv1.HTTPBackendRef {
	primary, canary := backend(in, in.Primary, toPrimary), backend(in, in.Canary, toCanary)
	if in.Sticky() {
		canary.Filters = cookieFilter(cookie.Set(in.Affinity.SessionAffinity, in.Affinity.CookieName, in.Affinity.Token))
		if in.Affinity.PrimaryCookieName != "" {
			primary.Filters = cookieFilter(cookie.Set(in.Affinity.SessionAffinity, in.Affinity.PrimaryCookieName, in.Affinity.PrimaryToken))
		}
	}
	return []gatewayv1.HTTPBackendRef{primary, canary}
}

func toCanary(in router.Intent) []gatewayv1.HTTPBackendRef {
	return []gatewayv1.HTTPBackendRef{backend(in, in.Canary, 100)}
}

func toPrimary(in router.Intent) []gatewayv1.HTTPBackendRef {
	return []gatewayv1.HTTPBackendRef{backend(in, in.Primary, 100)}
}

func backend(in router.Intent, service string, weight int32) gatewayv1.HTTPBackendRef {
	return gatewayv1.HTTPBackendRef{BackendRef: gatewayv1.BackendRef{BackendObjectReference: object(in, service), Weight: &weight}}
}

func object(in router.Intent, service string) gatewayv1.BackendObjectReference {
	return gatewayv1.BackendObjectReference{
		Group: new(gatewayv1.Group("")), Kind: new(gatewayv1.Kind("Service")), Name: gatewayv1.ObjectName(service), Port: new(in.Port),
	}
}

// cookieFilter adds a header Set-Cookie to the answers; those that the app sets stay.
func cookieFilter(setCookie string) []gatewayv1.HTTPRouteFilter {
	return []gatewayv1.HTTPRouteFilter{{
		Type: gatewayv1.HTTPRouteFilterResponseHeaderModifier,
		ResponseHeaderModifier: &gatewayv1.HTTPHeaderFilter{
			Add: []gatewayv1.HTTPHeader{{Name: "Set-Cookie", Value: setCookie}},
		},
	}}
}
