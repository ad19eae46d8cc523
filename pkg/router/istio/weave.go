package istio

import (
	"fmt"

	networking "istio.io/api/networking/v1alpha3"

	"github.com/siskin-dev/siskin/pkg/router"
	"github.com/siskin-dev/siskin/pkg/router/internal/cookie"
)

const affinityField = "spec.analysis.sessionAffinity"

// woven is a rule that is to be written.
type woven struct {
	fields

	// of is the number of the rule, in its list, that it was made of; -1: it was added.
	of int
}

// weaver makes of each rule for HTTP that leads to the apex those of a rollout. They stand in its place, each only if it is wanted:
//
//  1. the audience goes to the canary;
//  2. users with the cookie of this rollout's canary go to the canary;
//  3. users with the cookie of this step's primary go to the primary;
//  4. users with the cookie of an earlier step's primary are drawn by what is missing for the canary's share, a rule for each step;
//  5. users with a cookie of a rollout that is over are drawn like everybody else, and drop it: only while the primary has all;
//  6. everybody else is drawn by weight.
//
// Whoever is drawn is given a cookie; what reaches the primary is copied to the canary, if a mirror is wanted. All else of the rule
// stays. Istio takes the first rule of the list that matches, so that their order is all there is to it; rules of others stay where
// they are.
type weaver struct {
	in router.Intent
	// audience is what analysis.match selects; met tells which entries a request can meet together with some rule.
	audience []request
	met      []bool
	out      []woven
}

// weave makes the rules of a rollout. found is false if none of them leads to the apex.
func weave(wish map[string][]rule, in router.Intent) (out map[string][]woven, found bool, err error) {
	w := weaver{in: in}
	if in.Split.Audience {
		if w.audience, err = requests("spec.analysis.match", in.Audience); err != nil {
			return nil, false, err
		}
		w.met = make([]bool, len(w.audience))
	}
	out = map[string][]woven{}
	for _, name := range listNames() {
		w.out = nil
		for i, r := range wish[name] {
			switch {
			case len(r.apexEntries(in)) == 0:
				w.out = append(w.out, woven{r.fields, i})
				continue
			case name == listHTTP:
				err = w.http(r, i)
			default:
				err = w.stream(r, i, name)
			}
			if err != nil {
				return nil, false, err
			}
			found = true
		}
		out[name] = w.out
	}
	for i, met := range w.met {
		if found && !met {
			return nil, false, invalid(fmt.Sprintf("spec.analysis.match[%d]", i), "no request can match it and a rule that leads to Service %s too", in.Apex)
		}
	}
	return out, found, nil
}

func (w *weaver) http(r rule, of int) error {
	copies, err := mirrored(r, w.in)
	if err != nil {
		return err
	}
	for i, a := range w.audience {
		field := fmt.Sprintf("spec.analysis.match[%d]", i)
		if a.match.Uri != nil && !everyPath(a.match.Uri) && rewritesPrefix(r) {
			return invalid(field+".uri", "the rule's rewrite replaces what was matched, which would be another path here: leave one of the two out")
		}
		met, err := w.add(r, a, r.only(w.in.Canary, w.in), field)
		if err != nil {
			return err
		}
		w.met[i] = w.met[i] || met
	}
	if w.in.Sticky() {
		if err := w.kept(r, copies); err != nil {
			return err
		}
	}
	if w.in.Expires() {
		w.expiring(copies)
	}
	main, err := w.main(copies, r.selects, w.in.Split.Primary, w.in.Split.Canary)
	if err != nil {
		return err
	}
	w.out = append(w.out, woven{main, of})
	return nil
}

// add adds a rule for requests that are taken out of r; met is false if there are none.
func (w *weaver) add(r rule, a request, route []any, field string) (met bool, err error) {
	selects, err := r.narrowed(a, field)
	if err != nil || len(selects) == 0 {
		return false, err
	}
	one, err := r.with(selects, route, field)
	if err != nil {
		return false, err
	}
	w.out = append(w.out, woven{one, -1})
	return true, nil
}

// kept adds the rules for users who stay at a version, and for those who are drawn anew.
func (w *weaver) kept(r, copies rule) error {
	a := w.in.Affinity
	if a.PrimaryCookieName == a.CookieName {
		return invalid(affinityField+".primaryCookieName", "it must differ from cookieName")
	}
	if _, err := w.add(r, token(a.CookieName, value{true, a.Token}), r.only(w.in.Canary, w.in), affinityField+".cookieName"); err != nil {
		return err
	}
	if a.PrimaryCookieName == "" {
		return nil
	}
	const field = affinityField + ".primaryCookieName"
	if _, err := w.add(copies, token(a.PrimaryCookieName, value{true, a.PrimaryToken}), r.only(w.in.Primary, w.in), field); err != nil {
		return err
	}
	for _, draw := range a.Earlier {
		missing := min(max(w.in.Split.Canary-draw.Canary, 0), w.in.Split.Canary)
		route, err := w.route(r, w.in.Split.Primary, missing)
		if err != nil {
			return err
		}
		if _, err := w.add(copies, token(a.PrimaryCookieName, value{true, draw.PrimaryToken}), route, field); err != nil {
			return err
		}
	}
	return nil
}

// expiring adds rules for users who still send a cookie of a rollout that is over: they are served like all others, and the answer
// has them drop it, so that each of them meets such a rule once. It is a courtesy: where it cannot be said it is left out.
func (w *weaver) expiring(r rule) {
	for _, name := range cookieNames(*w.in.Expired) {
		drop := cookie.Drop(*w.in.Expired, name)
		route, err := r.divided(share{total, drop}, share{0, drop}, w.in)
		if err != nil {
			continue
		}
		_, _ = w.add(r, token(name, value{text: cookie.Any}), route, "")
	}
}

// main is the rule for everybody else.
func (w *weaver) main(r rule, selects []selector, primary, canary int32) (fields, error) {
	route, err := w.route(r, primary, canary)
	if err != nil {
		return nil, err
	}
	return r.with(selects, route, "spec.service.match")
}

func (w *weaver) route(r rule, primary, canary int32) ([]any, error) {
	toPrimary, toCanary := tokens(w.in)
	return r.divided(share{primary, toPrimary}, share{canary, toCanary}, w.in)
}

// stream makes the one rule of a rollout of a rule for TCP or TLS, which knows connections and no requests.
func (w *weaver) stream(r rule, of int, name string) error {
	what := ""
	switch {
	case w.in.Split.Audience:
		what = "match"
	case w.in.Split.Mirror > 0:
		what = "mirror"
	case w.in.Sticky():
		what = "sessionAffinity"
	}
	if what != "" {
		return invalid("spec.analysis."+what, "Service %s is reached by a rule for %s, which knows connections and no requests: leave it out, or use HTTP", w.in.Apex, name)
	}
	route, err := r.divided(share{weight: w.in.Split.Primary}, share{weight: w.in.Split.Canary}, w.in)
	if err != nil {
		return err
	}
	one := copied(r.fields)
	one["route"] = route
	for i := range w.met {
		w.met[i] = true
	}
	w.out = append(w.out, woven{one, of})
	return nil
}

// rewritesPrefix tells whether a rule replaces the part of the path that was matched.
func rewritesPrefix(r rule) bool { return text(object(r.fields, "rewrite"), "uri") != "" }

func nothing() *networking.HTTPMatchRequest { return &networking.HTTPMatchRequest{} }
