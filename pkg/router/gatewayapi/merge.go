package gatewayapi

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/router"
)

// The rules of a user's route are handled as they stand in the API, so that fields which this version does not know
// stay.
type fields = map[string]any

// maxWeight is the largest weight that a backend can have.
const maxWeight = 1_000_000

// merged is a rule of an adopted route as it is to be written.
type merged struct {
	rule fields
	// of is the author's rule that it is, with the split in it; -1: it stands beside one.
	of int
}

// merge puts an intent into an author's rules. Each rule that leads to the apex leads to primary and canary instead, in
// the same share; what selects requests stands before it as a copy with one condition more. All else stays. none tells
// that no rule leads to the apex. Errors: *router.InvalidError, with the rules that carry the weights alone.
func merge(wish []any, in router.Intent) (out []merged, none bool, err error) {
	out, none, err = mergeAll(wish, in)
	if err == nil {
		return out, none, nil
	}
	in.Split.Audience, in.Split.Mirror, in.Affinity, in.Expired = false, 0, nil, nil
	out, none, again := mergeAll(wish, in)
	return out, none, cmp.Or(again, err)
}

func mergeAll(wish []any, in router.Intent) (out []merged, none bool, err error) {
	room := ruler{}
	room.others, room.otherMatches, room.sharing = occupied(wish, in)
	none = true
	for i, one := range wish {
		rule, ok := one.(fields)
		if !ok || !leads(rule, in) {
			rule, _ = one.(fields)
			out = append(out, merged{rule: rule, of: i})
			continue
		}
		none = false
		beside, to, filters, err := forks(rule, i, in, room)
		if err != nil {
			return nil, false, err
		}
		for _, extra := range beside {
			copied, err := besides(rule, extra, in)
			if err != nil {
				return nil, false, err
			}
			out = append(out, merged{rule: copied, of: -1})
		}
		main := runtime.DeepCopyJSON(rule)
		main["backendRefs"] = lead(list(rule, "backendRefs"), to, in)
		if err := appended(main, filters); err != nil {
			return nil, false, err
		}
		out = append(out, merged{rule: main, of: i})
		room.others, room.otherMatches, room.sharing = room.others+len(beside), room.otherMatches+size(beside), room.sharing-1
	}
	return out, none, nil
}

// forks are the rules that stand before an author's rule, and what the rule itself gets: backends in the place of the
// apex, and filters.
func forks(rule fields, index int, in router.Intent, room ruler) (
	beside []gatewayv1.HTTPRouteRule, to []gatewayv1.HTTPBackendRef, filters []gatewayv1.HTTPRouteFilter, err error,
) {
	if !in.Split.Audience && !in.Sticky() && !in.Expires() {
		return nil, split(in, in.Split.Primary, in.Split.Canary), mirrored(nil, in), nil
	}
	where := fmt.Sprintf("HTTPRoute %s: spec.rules[%d]", in.Apex, index)
	r := ruler{in: in, others: room.others - 1, sharing: room.sharing}
	if r.service, err = selected(rule, where); err != nil {
		return nil, nil, nil, err
	}
	r.otherMatches = room.otherMatches - len(r.service)
	r.in.Owner = in.Owner.DeepCopy()
	r.in.Owner.Spec.Service = siskinv1.CanaryService{}
	if replacesPrefix(rule) {
		r.in.Owner.Spec.Service.Rewrite = &siskinv1.Rewrite{Type: string(gatewayv1.PrefixMatchHTTPPathModifier), URI: "/"}
	}
	all, err := r.all()
	if err != nil {
		return nil, nil, nil, err
	}
	last := len(all) - r.rules(r.service)
	return all[:last], all[last].BackendRefs, all[last].Filters, nil
}

// occupied are the rules of an author, their matches, and how many of them lead to the apex.
func occupied(wish []any, in router.Intent) (rules, matches, leading int) {
	for _, one := range wish {
		rule, _ := one.(fields)
		matches += max(len(list(rule, "matches")), 1)
		if leads(rule, in) {
			leading++
		}
	}
	return len(wish), matches, leading
}

// selected reads the matches of an author's rule. One that this version cannot read to the end must not be copied: the
// copy would select more.
func selected(rule fields, where string) ([]request, error) {
	all := list(rule, "matches")
	if len(all) == 0 {
		return []request{{}}, nil
	}
	out := make([]request, 0, len(all))
	for i, one := range all {
		field := fmt.Sprintf("%s.matches[%d]", where, i)
		var m gatewayv1.HTTPRouteMatch
		if err := typed(one, &m); err != nil || !known(one, m) {
			return nil, invalid("spec.analysis", "%s has fields that this version of Siskin does not know, so that no "+
				"requests can be selected beside it: use weights, or delete the route from git and describe it in spec.service", field)
		}
		out = append(out, requested(m, field))
	}
	return out, nil
}

// requested is what a match selects.
func requested(m gatewayv1.HTTPRouteMatch, field string) request {
	fillMatch(&m)
	out := request{path: m.Path, method: m.Method, headers: map[string]condition{}, query: map[string]condition{}}
	for _, h := range m.Headers {
		name := string(h.Name)
		if _, twice := out.headers[strings.ToLower(name)]; !twice { // the first counts
			out.headers[strings.ToLower(name)] = condition{
				field: field + ".headers[" + name + "]", name: name, kind: string(*h.Type), value: h.Value,
			}
		}
	}
	for _, q := range m.QueryParams {
		name := string(q.Name)
		if _, twice := out.query[name]; !twice {
			out.query[name] = condition{
				field: field + ".queryParams[" + name + "]", name: name, kind: string(*q.Type), value: q.Value,
			}
		}
	}
	return out
}

// known tells whether nothing of what is written is lost in what was read of it.
func known(written, read any) bool {
	a, errA := json.Marshal(written)
	b, errB := json.Marshal(read)
	return errA == nil && errB == nil && string(a) == string(canonical(b))
}

// canonical has the keys of JSON sorted.
func canonical(raw []byte) []byte {
	var v any
	if utiljson.Unmarshal(raw, &v) != nil {
		return nil
	}
	out, err := json.Marshal(v)
	if err != nil {
		return nil
	}
	return out
}

// besides is a copy of an author's rule for other requests.
func besides(rule fields, other gatewayv1.HTTPRouteRule, in router.Intent) (fields, error) {
	out := runtime.DeepCopyJSON(rule)
	delete(out, "name") // no two rules have one name
	matches := make([]any, 0, len(other.Matches))
	for _, m := range other.Matches {
		raw, err := untyped(m)
		if err != nil {
			return nil, err
		}
		matches = append(matches, raw)
	}
	out["matches"], out["backendRefs"] = matches, lead(list(rule, "backendRefs"), other.BackendRefs, in)
	return out, appended(out, other.Filters)
}

// appended adds filters to a rule or a backend.
func appended(to fields, filters []gatewayv1.HTTPRouteFilter) error {
	if len(filters) == 0 {
		return nil
	}
	all := slices.Clone(list(to, "filters"))
	for _, f := range filters {
		raw, err := untyped(f)
		if err != nil {
			return err
		}
		all = append(all, raw)
	}
	to["filters"] = all
	return nil
}

// lead has to stand in the place of the apex, each with its part of the apex's share.
func lead(refs []any, to []gatewayv1.HTTPBackendRef, in router.Intent) []any {
	var sum int64
	for _, ref := range to {
		sum += weight(&ref)
	}
	alone, times := len(refs) == 1, int64(1)
	for _, ref := range refs {
		for _, part := range to {
			if share := weightOf(ref) * weight(&part); toApex(ref, in) && !alone && sum > 0 {
				times = lcm(times, sum/gcd(sum, share))
			}
		}
	}
	var out []any
	for _, one := range refs {
		ref, ok := one.(fields)
		if !ok || !toApex(one, in) || weightOf(one) == 0 {
			out = append(out, weighted(one, weightOf(one)*times, times == 1))
			continue
		}
		for _, part := range to {
			share := weight(&part)
			if !alone && sum > 0 {
				share = weightOf(one) * times * share / sum
			}
			next := runtime.DeepCopyJSON(ref)
			next["name"] = string(part.Name)
			if appended(next, part.Filters) != nil {
				continue // of filters that were made here none cannot be written
			}
			out = append(out, weighted(next, share, false))
		}
	}
	return within1e6(out)
}

// weighted is a backend with another weight; same: with its own.
func weighted(one any, weight int64, same bool) any {
	ref, ok := one.(fields)
	if !ok || same {
		return one
	}
	out := runtime.DeepCopyJSON(ref)
	out["weight"] = weight
	return out
}

// within1e6 keeps the proportions of weights that are larger than a backend can have. What gets anything still does.
func within1e6(refs []any) []any {
	largest := int64(0)
	for _, ref := range refs {
		largest = max(largest, weightOf(ref))
	}
	if largest <= maxWeight {
		return refs
	}
	for i, ref := range refs {
		if w := weightOf(ref); w > 0 {
			refs[i] = weighted(ref, max(w*maxWeight/largest, 1), false)
		}
	}
	return refs
}

func gcd(a, b int64) int64 {
	for b != 0 {
		a, b = b, a%b
	}
	return max(a, 1)
}

func lcm(a, b int64) int64 { return a / gcd(a, b) * b }

// leads tells whether a rule leads anybody to the apex.
func leads(rule fields, in router.Intent) bool {
	return slices.ContainsFunc(list(rule, "backendRefs"), func(ref any) bool {
		return toApex(ref, in) && weightOf(ref) > 0
	})
}

// toApex tells whether a backend is the apex, by the port whose traffic is split.
func toApex(one any, in router.Intent) bool {
	ref, ok := one.(fields)
	if !ok || !isServiceRef(ref, in, in.Apex) {
		return false
	}
	port, _ := ref["port"].(int64)
	return in.Port == 0 || port == int64(in.Port)
}

func isServiceRef(ref fields, in router.Intent, name string) bool {
	text := func(key, otherwise string) string {
		s, ok := ref[key].(string)
		if !ok {
			return otherwise
		}
		return s
	}
	return text("name", "") == name && text("group", "") == "" && text("kind", "Service") == "Service" &&
		text("namespace", in.Owner.Namespace) == in.Owner.Namespace
}

// weightOf is the weight of a backend.
func weightOf(one any) int64 {
	ref, _ := one.(fields)
	if w, ok := ref["weight"].(int64); ok {
		return w
	}
	return 1
}

// replacesPrefix tells whether a rule rewrites the prefix that it matched, which it then can have one of.
func replacesPrefix(rule fields) bool {
	return slices.ContainsFunc(list(rule, "filters"), func(one any) bool {
		f, _ := one.(fields)
		for _, kind := range []string{"urlRewrite", "requestRedirect"} {
			how, _ := f[kind].(fields)
			if path, _ := how["path"].(fields); path["type"] == string(gatewayv1.PrefixMatchHTTPPathModifier) {
				return true
			}
		}
		return false
	})
}

func list(in fields, key string) []any {
	out, _ := in[key].([]any)
	return out
}

// typed reads what is known of a part of a route.
func typed(raw, into any) error {
	text, err := json.Marshal(raw)
	if err == nil {
		err = json.Unmarshal(text, into)
	}
	if err != nil {
		return fmt.Errorf("reading a part of an HTTPRoute: %w", err)
	}
	return nil
}

// untyped is typed the other way.
func untyped(part any) (any, error) {
	text, err := json.Marshal(part)
	var out any
	if err == nil {
		err = utiljson.Unmarshal(text, &out)
	}
	if err != nil {
		return nil, fmt.Errorf("writing a part of an HTTPRoute: %w", err)
	}
	return out, nil
}
