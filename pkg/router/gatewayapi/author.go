package gatewayapi

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	utiljson "k8s.io/apimachinery/pkg/util/json"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/router"
	"github.com/siskin-dev/siskin/pkg/router/internal/owned"
)

// leftRule is a rule that Siskin left in an adopted route, so that later edits of its author can be told from it.
type leftRule struct {
	// Of is the author's rule that it was made of; -1: it was added.
	Of int `json:"of"`
	// Digest of what was written.
	Digest string `json:"digest"`
}

// leftRules is the value of siskin.dev/left on a route.
type leftRules struct {
	Rules []leftRule `json:"rules"`
}

// holder names the Canary that adopted a route; "": none did.
func holder(obj metav1.Object) string { return obj.GetAnnotations()[siskinv1.CanaryLabel] }

// noted are the annotations by which Siskin knows what the author wants of a route that is written.
func noted(wish []any, rules []merged, in router.Intent) (map[string]string, error) {
	record, err := json.Marshal(wish)
	if err != nil {
		return nil, fmt.Errorf("recording the rules of HTTPRoute %s: %w", in.Apex, err)
	}
	if len(record) > maxRecord {
		return nil, invalid("spec.service.name",
			"the rules of HTTPRoute %s take %d bytes, and no more than %d can be kept: make them fewer, or choose another name",
			in.Apex, len(record), maxRecord)
	}
	var left leftRules
	for _, r := range rules {
		digest, err := owned.Digest(r.rule)
		if err != nil {
			return nil, fmt.Errorf("recording what is left in HTTPRoute %s: %w", in.Apex, err)
		}
		left.Rules = append(left.Rules, leftRule{Of: r.of, Digest: digest})
	}
	text, err := json.Marshal(left)
	if err != nil {
		return nil, fmt.Errorf("recording what is left in HTTPRoute %s: %w", in.Apex, err)
	}
	return map[string]string{
		siskinv1.CanaryLabel: in.Owner.Name, siskinv1.RulesAnnotation: string(record), siskinv1.LeftAnnotation: string(text),
	}, nil
}

// record reads what was noted. ok is false if nothing that can be read was.
func record(annotations map[string]string) (wish []any, left []leftRule, ok bool) {
	var l leftRules
	if utiljson.Unmarshal([]byte(annotations[siskinv1.RulesAnnotation]), &wish) != nil ||
		json.Unmarshal([]byte(annotations[siskinv1.LeftAnnotation]), &l) != nil {
		return nil, nil, false
	}
	for _, r := range l.Rules {
		if r.Of < -1 || r.Of >= len(wish) {
			return nil, nil, false
		}
	}
	return wish, l.Rules, true
}

// wishOf are the rules that the author of a route wants. What is as Siskin left it means what is recorded; all else was
// written since, and counts. written tells whether anything was; edited, that it was written over what Siskin had made.
func wishOf(live []any, annotations map[string]string, in router.Intent) (wish []any, written, edited bool) {
	recorded, left, ok := record(annotations)
	if !ok {
		left = nil
	}
	edited = slices.ContainsFunc(live, func(rule any) bool { return paired(rule, in) })
	used := make([]bool, len(left))
	written = len(live) != len(left)
	for _, one := range live {
		digest, err := owned.Digest(one)
		at := -1
		for i, l := range left {
			if !used[i] && err == nil && l.Digest == digest {
				at = i
				break
			}
		}
		switch {
		case at >= 0:
			used[at] = true
			if of := left[at].Of; of >= 0 {
				wish = append(wish, recorded[of])
			}
		case edited && strays(one, in):
			written = true // an edit of a rule that was added
		default:
			written = true
			wish = append(wish, folded(one, in))
		}
	}
	return wish, written, written && edited
}

// paired tells whether a rule leads to both versions.
func paired(one any, in router.Intent) bool {
	rule, _ := one.(fields)
	return refTo(list(rule, "backendRefs"), in, in.Primary) >= 0 && refTo(list(rule, "backendRefs"), in, in.Canary) >= 0
}

// strays tells whether a rule leads to the canary, and not to the primary.
func strays(one any, in router.Intent) bool {
	rule, _ := one.(fields)
	return refTo(list(rule, "backendRefs"), in, in.Primary) < 0 && refTo(list(rule, "backendRefs"), in, in.Canary) >= 0
}

func refTo(refs []any, in router.Intent, name string) int {
	return slices.IndexFunc(refs, func(one any) bool {
		ref, ok := one.(fields)
		return ok && isServiceRef(ref, in, name)
	})
}

// folded is a rule that somebody edited, with the apex in the place of both versions and without what Siskin had added.
func folded(one any, in router.Intent) any {
	if !paired(one, in) {
		return one
	}
	rule := runtime.DeepCopyJSON(one.(fields)) //nolint:forcetypeassert // it is paired
	refs := list(rule, "backendRefs")
	for {
		p, c := refTo(refs, in, in.Primary), refTo(refs, in, in.Canary)
		if p < 0 || c < 0 {
			break
		}
		apex, _ := refs[p].(fields)
		apex["name"], apex["weight"] = in.Apex, weightOf(refs[p])+weightOf(refs[c])
		without(apex, "filters", func(f fields) bool { return givesCookie(f, in) })
		refs = slices.Delete(refs, c, c+1)
	}
	divisor := int64(0)
	for _, ref := range refs {
		divisor = gcd(weightOf(ref), divisor)
	}
	for i, ref := range refs {
		if divisor > 1 {
			refs[i] = weighted(ref, weightOf(ref)/divisor, false)
		}
	}
	rule["backendRefs"] = refs
	without(rule, "filters", func(f fields) bool {
		mirror, _ := f["requestMirror"].(fields)
		to, _ := mirror["backendRef"].(fields)
		return to != nil && isServiceRef(to, in, in.Canary)
	})
	return rule
}

// without takes elements out of a list, and the list if none is left.
func without(of fields, key string, out func(fields) bool) {
	all := list(of, key)
	if len(all) == 0 {
		return
	}
	kept := slices.DeleteFunc(slices.Clone(all), func(one any) bool {
		f, ok := one.(fields)
		return ok && out(f)
	})
	of[key] = kept
	if len(kept) == 0 {
		delete(of, key)
	}
}

// givesCookie tells whether a filter of a backend does nothing but give one of the affinity's cookies.
func givesCookie(f fields, in router.Intent) bool {
	how, _ := f["responseHeaderModifier"].(fields)
	adds := list(how, "add")
	if len(how) != 1 || len(adds) != 1 {
		return false
	}
	add, _ := adds[0].(fields)
	name, _ := add["name"].(string)
	value, _ := add["value"].(string)
	ours := []string{canaryCookie(in), primaryCookie(in)}
	return strings.EqualFold(name, "Set-Cookie") && slices.ContainsFunc(ours, func(cookie string) bool {
		return cookie != "" && strings.HasPrefix(value, cookie+"=")
	})
}
