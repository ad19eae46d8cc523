package gatewayapi

import (
	"regexp"
	"slices"
	"strings"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/router"
	"github.com/siskin-dev/siskin/pkg/router/internal/cookie"
)

// What a rule is, is told by its backends alone: what somebody else wrote has no other sign. A rule with both backends is a split; one
// with the canary alone selects the audience or users of the canary, one with the primary alone users of the primary.

// adjust makes rules that were written for another intent, and perhaps for another spec.service, carry out this one: weights are moved,
// and what the split no longer asks for is taken out. It tells whether the rules carry the split then.
func adjust(spec *gatewayv1.HTTPRouteSpec, in router.Intent) bool {
	found := false
	var rules []gatewayv1.HTTPRouteRule
	for _, rule := range spec.Rules {
		stays, carries := adjusted(&rule, in)
		if stays {
			rules = append(rules, rule)
		}
		found = found || carries
	}
	spec.Rules = rules
	return found
}

// adjusted adjusts one rule. It tells whether the rule stays, and whether it carries the split for those whom no other rule selects.
func adjusted(rule *gatewayv1.HTTPRouteRule, in router.Intent) (stays, carries bool) {
	primary, canary := pair(rule, in)
	if primary == nil && canary == nil {
		return true, false
	}
	if primary == nil {
		return wanted(rule, in), false
	}
	if drops(rule) && !in.Expires() {
		return false, false
	}
	rule.Filters = mirrored(rule.Filters, in)
	if drops(rule) {
		return true, false
	}
	if keeps(rule, primaryCookie(in), "") { // of this step, or of an earlier one
		return in.Sticky() && (canary != nil || keeps(rule, primaryCookie(in), in.Affinity.PrimaryToken)), false
	}
	if canary == nil {
		return true, in.Split.Canary == 0
	}
	primary.Weight, canary.Weight = &in.Split.Primary, &in.Split.Canary
	if !in.Sticky() {
		primary.Filters, canary.Filters = nil, nil
	}
	return true, true
}

// wanted tells whether a rule that leads to the canary alone is to stay.
func wanted(rule *gatewayv1.HTTPRouteRule, in router.Intent) bool {
	if keeps(rule, canaryCookie(in), "") {
		return in.Sticky() && keeps(rule, in.Affinity.CookieName, in.Affinity.Token)
	}
	return in.Split.Audience
}

func canaryCookie(in router.Intent) string { return cookies(in).CookieName }

func primaryCookie(in router.Intent) string { return cookies(in).PrimaryCookieName }

// cookies are those of the intent or, where it keeps nobody, those that the Canary may have used before.
func cookies(in router.Intent) siskinv1.SessionAffinity {
	switch a := in.Owner.Spec.Analysis.SessionAffinity; {
	case in.Affinity != nil:
		return in.Affinity.SessionAffinity
	case a != nil:
		return *a
	}
	return siskinv1.SessionAffinity{}
}

// keeps tells whether each match of a rule asks for a cookie, with this value or ("") with any. The cookie's name is looked for where one
// begins: an audience may be selected by a cookie whose name, or whose value, ends in the same way.
func keeps(rule *gatewayv1.HTTPRouteRule, name, value string) bool {
	if name == "" || len(rule.Matches) == 0 {
		return false
	}
	asked := cookie.Pattern(name, regexp.QuoteMeta(value))
	return !slices.ContainsFunc(rule.Matches, func(m gatewayv1.HTTPRouteMatch) bool {
		return !slices.ContainsFunc(m.Headers, func(h gatewayv1.HTTPHeaderMatch) bool {
			return strings.EqualFold(string(h.Name), "Cookie") &&
				(strings.Contains(h.Value, cookie.Before+asked) || strings.Contains(h.Value, cookie.Between+asked))
		})
	})
}

// pair finds the two backends of a rule.
func pair(rule *gatewayv1.HTTPRouteRule, in router.Intent) (primary, canary *gatewayv1.HTTPBackendRef) {
	for i := range rule.BackendRefs {
		switch ref := &rule.BackendRefs[i]; string(ref.Name) {
		case in.Primary:
			primary = ref
		case in.Canary:
			canary = ref
		}
	}
	return primary, canary
}

// current is the split that rules state which are not those of the intent. Foreign weights are turned into percent so that a backend
// that gets anything never counts as 0. When rules disagree, the largest share of the canary counts, and so does each way that leads
// requests to it: what carries traffic must not be scaled away.
func current(spec gatewayv1.HTTPRouteSpec, in router.Intent) (router.Split, bool) {
	canary, known := int64(0), false
	var out router.Split
	var selects []*gatewayv1.HTTPRouteRule
	for i := range spec.Rules {
		rule := &spec.Rules[i]
		p, c := pair(rule, in)
		switch {
		case p != nil && c != nil:
			if share, ok := shareOf(weight(p), weight(c)); ok {
				canary, known = max(canary, share), true
			}
			out.Mirror = max(out.Mirror, mirrorOf(rule, in))
		case p != nil:
			known = known || weight(p) > 0
			out.Mirror = max(out.Mirror, mirrorOf(rule, in))
		case c != nil && weight(c) > 0:
			selects = append(selects, rule)
		}
	}
	if !known && len(selects) == 0 {
		return router.Split{}, false
	}
	if !known {
		canary = 100
	}
	out.Primary, out.Canary = int32(100-canary), int32(canary)
	// Users who stay at a canary that has a share are a part of that share; at a canary without one they are an audience.
	out.Audience = slices.ContainsFunc(selects, func(rule *gatewayv1.HTTPRouteRule) bool {
		return canary == 0 || !keeps(rule, canaryCookie(in), "")
	})
	return out, true
}

// shareOf is the canary's share in percent, rounded up and never up to all of it.
func shareOf(primary, canary int64) (int64, bool) {
	if primary+canary == 0 {
		return 0, false
	}
	share := (canary*100 + primary + canary - 1) / (primary + canary)
	if primary > 0 {
		share = min(share, 99)
	}
	return share, true
}

func weight(ref *gatewayv1.HTTPBackendRef) int64 {
	if ref.Weight == nil {
		return 1
	}
	return int64(*ref.Weight)
}

// mirrorOf is the percentage that a rule copies to the canary, rounded up.
func mirrorOf(rule *gatewayv1.HTTPRouteRule, in router.Intent) int32 {
	most := int32(0)
	for _, f := range rule.Filters {
		switch m := f.RequestMirror; {
		case !mirrorsTo(f, in):
		case m.Percent != nil:
			most = max(most, *m.Percent)
		case m.Fraction != nil:
			of := int32(100)
			if m.Fraction.Denominator != nil {
				of = max(*m.Fraction.Denominator, 1)
			}
			most = max(most, int32((int64(m.Fraction.Numerator)*100+int64(of)-1)/int64(of))) //nolint:gosec // a percentage
		default:
			most = 100
		}
	}
	return most
}
