package gatewayapi

import (
	"maps"
	"regexp"
	"regexp/syntax"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/router"
)

// HTTPRoutes know no cookies: a cookie is a regex on the header Cookie, "a=1; b=2". The regexes here are anchored at both ends of the
// header and at both ends of the cookie, so that "a" is neither "ba" nor a part of a value, and so that they mean the same where a
// regex must match the whole header (Envoy) and where it is searched for (Traefik). They use nothing that RE2, PCRE, Go and Rust read
// differently.

const (
	cookieBefore = `(.*;\s*)?`
	cookieAfter  = `(\s*;.*)?`
	cookieAny    = `[^;]*`
	// between two cookies there is a ; and perhaps others.
	cookieBetween = `\s*;(.*;)?\s*`
	// maxCookies is how many cookies one match can have: a regex cannot say "in any order", so that every order is written.
	maxCookies = 4
)

// inCookie is a condition on the value of a cookie. A regex means the whole value.
func inCookie(field string, m siskinv1.StringMatch) (condition, error) {
	switch {
	case given(m) != 1:
		return condition{}, invalid(field, "give exactly one of exact, prefix, suffix, regex")
	case strings.ContainsAny(m.Exact+m.Prefix+m.Suffix, "; \t"):
		return condition{}, invalid(field, "the value of a cookie has neither ; nor blanks")
	case m.Exact != "":
		return condition{kind: kindExact, value: m.Exact}, nil
	case m.Prefix != "":
		return condition{kind: kindRegex, value: regexp.QuoteMeta(m.Prefix) + cookieAny}, nil
	case m.Suffix != "":
		return condition{kind: kindRegex, value: cookieAny + regexp.QuoteMeta(m.Suffix)}, nil
	}
	value, err := within(m.Regex)
	if err != nil {
		return condition{}, invalid(field+".regex", "%q cannot be put into a regex for the header Cookie: %v", m.Regex, err)
	}
	return condition{kind: kindRegex, value: value}, nil
}

// within makes of a regex for a value one that stays within one cookie: what matches any character no longer matches the ; after it.
func within(expr string) (string, error) {
	re, err := syntax.Parse(expr, syntax.Perl)
	if err != nil {
		return "", err //nolint:wrapcheck // the caller tells what it is about
	}
	confine(re)
	return "(" + re.String() + ")", nil
}

func confine(re *syntax.Regexp) {
	if re.Op == syntax.OpAnyChar || re.Op == syntax.OpAnyCharNotNL {
		re.Op, re.Rune = syntax.OpCharClass, []rune{0, utf8.MaxRune}
	}
	if re.Op == syntax.OpCharClass {
		re.Rune = without(re.Rune, ';')
	}
	if re.Op >= syntax.OpBeginLine && re.Op <= syntax.OpEndText {
		re.Op = syntax.OpEmptyMatch // the whole value is meant anyway
	}
	for _, sub := range re.Sub {
		confine(sub)
	}
	if re.Op == syntax.OpConcat {
		re.Sub = slices.DeleteFunc(re.Sub, func(sub *syntax.Regexp) bool { return sub.Op == syntax.OpEmptyMatch })
	}
}

// without takes one character out of the ranges of a class.
func without(ranges []rune, out rune) []rune {
	var kept []rune
	for i := 0; i+1 < len(ranges); i += 2 {
		lo, hi := ranges[i], ranges[i+1]
		if lo > out || hi < out {
			kept = append(kept, lo, hi)
			continue
		}
		if lo < out {
			kept = append(kept, lo, out-1)
		}
		if hi > out {
			kept = append(kept, out+1, hi)
		}
	}
	return kept
}

// cookieHeader is the condition on the header Cookie that all the cookies make.
func cookieHeader(cookies map[string]condition) (condition, error) {
	names := slices.Sorted(maps.Keys(cookies))
	first := cookies[names[0]]
	if len(names) > maxCookies {
		return condition{}, invalid(first.field, "a match can have %d cookies at most, and these are %d: use a header", maxCookies, len(names))
	}
	orders := permutations(names)
	parts := make([]string, 0, len(orders))
	for _, order := range orders {
		one := make([]string, 0, len(order))
		for _, name := range order {
			one = append(one, cookiePattern(name, cookies[name]))
		}
		parts = append(parts, cookieBefore+strings.Join(one, cookieBetween)+cookieAfter)
	}
	value := "^" + parts[0] + "$"
	if len(parts) > 1 {
		value = "^(" + strings.Join(parts, "|") + ")$"
	}
	if len(value) > maxValue {
		return condition{}, invalid(first.field, "the cookies together need a regex of %d characters, and an HTTPRoute takes %d: use fewer or shorter ones", len(value), maxValue)
	}
	return condition{field: first.field, name: "Cookie", kind: kindRegex, value: value}, nil
}

func cookiePattern(name string, c condition) string {
	value := c.value
	if c.kind == kindExact {
		value = regexp.QuoteMeta(value)
	}
	return regexp.QuoteMeta(name) + "=" + value
}

func permutations(names []string) [][]string {
	if len(names) < 2 {
		return [][]string{names}
	}
	var out [][]string
	for i, name := range names {
		rest := slices.Delete(slices.Clone(names), i, i+1)
		for _, p := range permutations(rest) {
			out = append(out, append([]string{name}, p...))
		}
	}
	return out
}

// token is the condition that a user carries one of the affinity's cookies.
func token(name, value string) request {
	return request{cookies: map[string]condition{name: {
		field: "spec.analysis.sessionAffinity", name: name, kind: kindExact, value: value,
	}}}
}

// defaultMaxAge of the cookies, in seconds: a day.
const defaultMaxAge = 86400

// setCookie is the header that gives a user a cookie.
func setCookie(a *router.Affinity, name, value string) string {
	maxAge, path, sameSite := int32(defaultMaxAge), "/", "Lax"
	if a.MaxAge != nil {
		maxAge = *a.MaxAge
	}
	if a.Path != "" {
		path = a.Path
	}
	if a.SameSite != "" {
		sameSite = a.SameSite
	}
	parts := []string{name + "=" + value, "Path=" + path, "Max-Age=" + strconv.Itoa(int(maxAge))}
	if a.Domain != "" {
		parts = append(parts, "Domain="+a.Domain)
	}
	if a.HTTPOnly == nil || *a.HTTPOnly {
		parts = append(parts, "HttpOnly")
	}
	if a.Secure {
		parts = append(parts, "Secure")
	}
	parts = append(parts, "SameSite="+sameSite)
	if a.Partitioned {
		parts = append(parts, "Partitioned")
	}
	return strings.Join(parts, "; ")
}
