package istio

import (
	"strings"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/router"
	"github.com/siskin-dev/siskin/pkg/router/internal/cookie"
)

// rule is one that leads to the apex, before a rollout: Siskin's own, made of spec.service, or a user's.
type rule struct {
	fields

	// selects are the matches of a rule for HTTP, one at least.
	selects []selector
}

// ruleOf reads a user's rule.
func ruleOf(raw fields) rule {
	out := rule{fields: raw}
	for _, one := range list(raw, "match") {
		if m, ok := one.(fields); ok {
			out.selects = append(out.selects, selector{match: m})
		}
	}
	if len(out.selects) == 0 {
		out.selects = []selector{{match: fields{}}}
	}
	return out
}

// narrowed are the matches of a rule, each narrowed by a request; those that cannot be are left out.
func (r rule) narrowed(a request, field string) ([]selector, error) {
	var out []selector
	for _, s := range r.selects {
		m, possible, err := s.narrowed(a, field)
		if err != nil {
			return nil, err
		}
		if possible {
			out = append(out, m)
		}
	}
	return out, nil
}

// with is the rule with other matches and another route.
func (r rule) with(selects []selector, route []any, field string) (fields, error) {
	out := copied(r.fields)
	out["route"] = route
	delete(out, "match")
	all := make([]any, 0, len(selects))
	for _, s := range selects {
		m, err := s.written(field)
		if err != nil {
			return nil, err
		}
		if len(m) > 0 {
			all = append(all, m)
		}
	}
	if len(all) == len(selects) {
		out["match"] = all
	}
	return out, nil
}

// apexEntries are the numbers of the entries of a rule's route that lead to the apex.
func (r rule) apexEntries(in router.Intent) []int {
	var out []int
	for i, entry := range list(r.fields, "route") {
		if leadsTo(entry, in.Apex, in) {
			out = append(out, i)
		}
	}
	return out
}

// only is a route to one version, for those who are sent there whatever the weights are.
func (r rule) only(service string, in router.Intent) []any {
	var out []any
	at := r.apexEntries(in)
	for _, i := range at {
		entry := moved(list(r.fields, "route")[i].(fields), in.Apex, service, in) //nolint:forcetypeassert // it leads to the apex
		if len(at) == 1 {
			delete(entry, "weight") // a lone entry has everything
		}
		out = append(out, entry)
	}
	return out
}

// share is a part of the requests with the header that gives its users a cookie, if there is one.
type share struct {
	weight    int32
	setCookie string
}

// divided is the rule's route with both versions in the place of the apex. Both are always there: a missing one would make the first step
// of a rollout a change of structure. Where other entries have weights too, all are made larger, so that no share is rounded.
func (r rule) divided(primary, canary share, in router.Intent) ([]any, error) {
	entries := list(r.fields, "route")
	at := r.apexEntries(in)
	var out []any
	for i, one := range entries {
		entry, _ := one.(fields)
		weight, _ := number(entry, "weight")
		if len(entries) == 1 {
			weight = 1
		}
		if len(at) == 0 || i != at[0] {
			kept := copied(entry)
			if weight > 0 {
				kept["weight"] = weight * total
			}
			out = append(out, kept)
			continue
		}
		at = at[1:]
		for _, side := range []struct {
			service string
			share
		}{{in.Primary, primary}, {in.Canary, canary}} {
			half := moved(entry, in.Apex, side.service, in)
			half["weight"] = weight * int64(side.weight)
			if side.setCookie != "" {
				if err := addCookie(half, side.setCookie); err != nil {
					return nil, err
				}
			}
			out = append(out, half)
		}
	}
	return out, nil
}

// total is what the shares of both versions sum to.
const total = 100

// addCookie adds a header Set-Cookie to the answers of one entry of a route; those that the app sets stay.
func addCookie(entry fields, setCookie string) error {
	add := within(entry, "headers", "response", "add")
	for name := range add {
		if strings.EqualFold(name, "Set-Cookie") {
			return invalid("spec.analysis.sessionAffinity", "a destination of the VirtualService adds Set-Cookie already, and Istio adds a header once: "+
				"let the rule or the app set that cookie")
		}
	}
	add["Set-Cookie"] = setCookie
	return nil
}

// token is the condition that a user carries one of the affinity's cookies.
func token(name string, v value) request {
	return request{match: nothing(), cookies: map[string]value{name: v}}
}

// tokens are the headers that give users their cookies; empty where nobody is kept.
func tokens(in router.Intent) (primary, canary string) {
	if !in.Sticky() {
		return "", ""
	}
	a := in.Affinity
	if a.PrimaryCookieName != "" {
		primary = cookie.Set(a.SessionAffinity, a.PrimaryCookieName, a.PrimaryToken)
	}
	return primary, cookie.Set(a.SessionAffinity, a.CookieName, a.Token)
}

// cookieNames are the names of the cookies of an affinity.
func cookieNames(a siskinv1.SessionAffinity) []string {
	out := []string{a.CookieName}
	if a.PrimaryCookieName != "" {
		out = append(out, a.PrimaryCookieName)
	}
	return out
}
