// Package cookie has what routers share that know no cookies: regexes for the header Cookie, "a=1; b=2", and the header that
// gives a user a cookie.
//
// The regexes are anchored at both ends of the header and at both ends of the cookie, so that "a" is neither "ba" nor a part of a
// value, and so that they mean the same where a regex must match the whole header (Envoy) and where it is searched for (Traefik).
// They use nothing that RE2, PCRE, Go and Rust read differently.
package cookie

import (
	"maps"
	"regexp"
	"regexp/syntax"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
)

const (
	// Before stands before the cookies that are asked for: there may be others.
	Before = `(.*;\s*)?`
	// Between stands between two of them.
	Between = `\s*;(.*;)?\s*`
	// After stands after the last one.
	After = `(\s*;.*)?`
	// Any is any value.
	Any = `[^;]*`
	// Most is how many cookies one header can be asked for: a regex cannot say "in any order", so that every order is written.
	Most = 4
	// defaultMaxAge of a cookie, in seconds: a day.
	defaultMaxAge = 86400
)

// Confine makes of a regex for a value one that stays within one cookie: what matches any character no longer matches the ;
// after it. Errors: expr is no regex of RE2.
func Confine(expr string) (string, error) {
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

// Pattern is the part of a regex that one cookie is; value is a regex itself.
func Pattern(name, value string) string { return regexp.QuoteMeta(name) + "=" + value }

// Header is a regex for the header Cookie that has all these cookies, whose values are regexes, in any order.
func Header(values map[string]string) string {
	names := slices.Sorted(maps.Keys(values))
	orders := permutations(names)
	parts := make([]string, 0, len(orders))
	for _, order := range orders {
		one := make([]string, 0, len(order))
		for _, name := range order {
			one = append(one, Pattern(name, values[name]))
		}
		parts = append(parts, Before+strings.Join(one, Between)+After)
	}
	if len(parts) == 1 {
		return "^" + parts[0] + "$"
	}
	return "^(" + strings.Join(parts, "|") + ")$"
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

// Set is the value of the header Set-Cookie that gives a user a cookie, by default for a day, for all paths, out of reach of scripts.
func Set(a siskinv1.SessionAffinity, name, value string) string {
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

// Drop is the value of the header Set-Cookie that has a client drop a cookie: the same name, domain and path, and no time left.
func Drop(a siskinv1.SessionAffinity, name string) string {
	a.MaxAge = new(int32(0))
	return Set(a, name, "")
}
