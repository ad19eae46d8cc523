package istio

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	utiljson "k8s.io/apimachinery/pkg/util/json"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/router"
	"github.com/siskin-dev/siskin/pkg/router/internal/cookie"
	"github.com/siskin-dev/siskin/pkg/router/internal/owned"
)

// maxRecord is how large the rules may be that are kept in an annotation, in bytes: half of what all annotations of an object can have.
const maxRecord = 128 << 10

// leftRule is a rule that Siskin left in an adopted VirtualService, so that later edits of its author can be told from it.
type leftRule struct {
	// Of is the number of the author's rule that it was made of, in its list; -1: it was added.
	Of int `json:"of"`
	// Digest of what was written, as Istio's types say it.
	Digest string `json:"digest"`
}

// recorded are rules as an annotation keeps them.
func recorded(rules lists, in router.Intent) (string, error) {
	record, err := json.Marshal(rules)
	if err != nil {
		return "", fmt.Errorf("recording the rules of VirtualService %s: %w", in.Apex, err)
	}
	if len(record) > maxRecord {
		return "", invalid("spec.service.name", "the rules of VirtualService %s take %d bytes, and no more than %d can be kept: make them fewer, "+
			"or choose another spec.service.name", in.Apex, len(record), maxRecord)
	}
	return string(record), nil
}

// recordOf reads what recorded wrote; nil if there is nothing that can be read.
func recordOf(annotations map[string]string) lists {
	var out lists
	if utiljson.Unmarshal([]byte(annotations[siskinv1.RulesAnnotation]), &out) != nil {
		return nil
	}
	return out
}

// noted are the annotations by which Siskin knows what the author wants of a VirtualService that is written.
func noted(wish lists, rules map[string][]woven, in router.Intent) (map[string]string, error) {
	record, err := recorded(wish, in)
	if err != nil {
		return nil, err
	}
	left := map[string][]leftRule{}
	for name, all := range rules {
		for _, one := range all {
			digest, err := digestOf(name, one.fields)
			if err != nil {
				return nil, err
			}
			left[name] = append(left[name], leftRule{Of: one.of, Digest: digest})
		}
	}
	note, err := json.Marshal(left)
	if err != nil {
		return nil, fmt.Errorf("recording what is left in VirtualService %s: %w", in.Apex, err)
	}
	return map[string]string{siskinv1.CanaryLabel: in.Owner.Name, siskinv1.RulesAnnotation: record, siskinv1.LeftAnnotation: string(note)}, nil
}

// digestOf one rule of a list. What Istio's types do not know does not count: the cache does not have it.
func digestOf(name string, one fields) (string, error) {
	said, err := plain(lists{name: {one}})
	if err != nil {
		return "", err
	}
	digest, err := owned.Digest(said)
	if err != nil {
		return "", fmt.Errorf("digesting a rule: %w", err)
	}
	return digest, nil
}

// wishes are the rules that the author of a VirtualService wants.
type wishes struct {
	rules lists
	// written tells that they were written since Siskin wrote; edited, that this was done in what Siskin had made of them.
	written, edited bool
}

// wishesOf reads them. What is as Siskin left it means what is recorded; all else was written since, and counts.
func wishesOf(live lists, annotations map[string]string, in router.Intent) (wishes, error) {
	out := wishes{rules: lists{}}
	record := recordOf(annotations)
	var left map[string][]leftRule
	if record == nil || json.Unmarshal([]byte(annotations[siskinv1.LeftAnnotation]), &left) != nil {
		left = nil
	}
	for _, name := range listNames() {
		if err := out.read(name, live[name], record[name], slices.Clone(left[name]), in); err != nil {
			return out, err
		}
	}
	out.edited = out.edited && out.written
	return out, nil
}

// read reads one list.
func (w *wishes) read(name string, live, record []any, left []leftRule, in router.Intent) error {
	w.written = w.written || len(left) != len(live)
	for _, one := range live {
		r, _ := one.(fields)
		w.edited = w.edited || leadsAny(r, in.Primary, in) || leadsAny(r, in.Canary, in)
		digest, err := digestOf(name, r)
		if err != nil {
			return err
		}
		at := slices.IndexFunc(left, func(l leftRule) bool { return l.Digest == digest && l.Of < len(record) })
		if at < 0 {
			w.written = true
			if !added(r, in) {
				w.rules[name] = append(w.rules[name], folded(r, in))
			}
			continue
		}
		if of := left[at].Of; of >= 0 {
			w.rules[name] = append(w.rules[name], record[of])
		}
		left = slices.Delete(left, at, at+1)
	}
	return nil
}

// leadsAny tells whether an entry of a rule's route leads to a Service.
func leadsAny(r fields, service string, in router.Intent) bool {
	return slices.ContainsFunc(list(r, "route"), func(entry any) bool { return leadsTo(entry, service, in) })
}

// added tells whether a rule that somebody edited can only have come from Siskin: it leads to the canary alone, or is for users with one
// of the affinity's cookies.
func added(r fields, in router.Intent) bool {
	primary, canary := leadsAny(r, in.Primary, in), leadsAny(r, in.Canary, in)
	if canary && !primary {
		return true
	}
	a := affinityOf(in)
	return primary && (keeps(r, a.CookieName) || keeps(r, a.PrimaryCookieName))
}

// folded is a rule that somebody edited, with the apex in the place of both versions and without what Siskin had added.
func folded(r fields, in router.Intent) fields {
	if !leadsAny(r, in.Primary, in) {
		return r
	}
	out := copied(r)
	var route []any
	var canary int64
	for _, one := range list(out, "route") {
		entry, _ := one.(fields)
		weight, _ := number(entry, "weight")
		switch {
		case leadsTo(entry, in.Canary, in):
			canary += weight
		case leadsTo(entry, in.Primary, in):
			entry = moved(entry, in.Primary, in.Apex, in)
			dropCookie(entry, in)
			route = append(route, entry)
		default:
			route = append(route, entry)
		}
	}
	for _, one := range route { // what the canary had belongs to the apex
		entry, _ := one.(fields)
		if leadsTo(entry, in.Apex, in) {
			weight, _ := number(entry, "weight")
			entry["weight"] = weight + canary
			canary = 0
		}
	}
	out["route"] = reduced(route)
	mirrors := slices.DeleteFunc(slices.Clone(list(out, "mirrors")), func(one any) bool { return leadsTo(one, in.Canary, in) })
	if len(mirrors) < len(list(out, "mirrors")) {
		out["mirrors"] = mirrors
	}
	if len(mirrors) == 0 {
		delete(out, "mirrors")
	}
	return out
}

// reduced are entries with the smallest whole weights that say the same.
func reduced(route []any) []any {
	divisor := int64(0)
	for _, one := range route {
		entry, _ := one.(fields)
		weight, _ := number(entry, "weight")
		for a, b := weight, divisor; ; a, b = b, a%b {
			if b == 0 {
				divisor = a
				break
			}
		}
	}
	for _, one := range route {
		entry, _ := one.(fields)
		switch weight, _ := number(entry, "weight"); {
		case len(route) == 1:
			delete(entry, "weight")
		case divisor > 1:
			entry["weight"] = weight / divisor
		}
	}
	return route
}

// dropCookie takes out of an entry the header that gives one of the affinity's cookies.
func dropCookie(entry fields, in router.Intent) {
	add := object(entry, "headers", "response", "add")
	for name, v := range add {
		text, _ := v.(string)
		ours := slices.ContainsFunc(cookieNames(affinityOf(in)), func(c string) bool { return c != "" && strings.HasPrefix(text, c+"=") })
		if strings.EqualFold(name, "Set-Cookie") && ours {
			delete(add, name)
		}
	}
	for _, path := range [][]string{{"headers", "response", "add"}, {"headers", "response"}, {"headers"}} {
		parent := object(entry, path[:len(path)-1]...)
		if last := path[len(path)-1]; parent != nil && len(object(entry, path...)) == 0 {
			delete(parent, last)
		}
	}
}

// affinityOf is the intent's or, where it keeps nobody, the one that the Canary may have had before.
func affinityOf(in router.Intent) siskinv1.SessionAffinity {
	switch a := in.Owner.Spec.Analysis.SessionAffinity; {
	case in.Affinity != nil:
		return in.Affinity.SessionAffinity
	case a != nil:
		return *a
	}
	return siskinv1.SessionAffinity{}
}

// keeps tells whether each match of a rule asks for a cookie. The cookie's name is looked for where one begins: a rule may match another
// one whose name, or whose value, ends in the same way.
func keeps(r fields, name string) bool {
	matches := list(r, "match")
	if name == "" || len(matches) == 0 {
		return false
	}
	asked := cookie.Pattern(name, "")
	return !slices.ContainsFunc(matches, func(one any) bool {
		m, _ := one.(fields)
		regex := text(object(m, "headers", "cookie"), "regex")
		return !strings.Contains(regex, cookie.Before+asked) && !strings.Contains(regex, cookie.Between+asked)
	})
}
