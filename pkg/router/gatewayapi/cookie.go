package gatewayapi

import (
	"maps"
	"regexp"
	"slices"
	"strings"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/router/internal/cookie"
)

// HTTPRoutes know no cookies: a cookie is a regex on the header Cookie, see package cookie.

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
		return condition{kind: kindRegex, value: regexp.QuoteMeta(m.Prefix) + cookie.Any}, nil
	case m.Suffix != "":
		return condition{kind: kindRegex, value: cookie.Any + regexp.QuoteMeta(m.Suffix)}, nil
	}
	value, err := cookie.Confine(m.Regex)
	if err != nil {
		return condition{}, invalid(field+".regex", "%q cannot be put into a regex for the header Cookie: %v", m.Regex, err)
	}
	return condition{kind: kindRegex, value: value}, nil
}

// cookieHeader is the condition on the header Cookie that all the cookies make.
func cookieHeader(cookies map[string]condition) (condition, error) {
	first := cookies[slices.Min(slices.Collect(maps.Keys(cookies)))]
	if len(cookies) > cookie.Most {
		return condition{}, invalid(first.field, "a match can have %d cookies at most, and these are %d: use a header", cookie.Most, len(cookies))
	}
	values := make(map[string]string, len(cookies))
	for name, c := range cookies {
		values[name] = c.pattern()
	}
	value := cookie.Header(values)
	if len(value) > maxValue {
		return condition{}, invalid(first.field, "the cookies together need a regex of %d characters, and an HTTPRoute takes %d: use fewer or shorter ones",
			len(value), maxValue)
	}
	return condition{field: first.field, name: "Cookie", kind: kindRegex, value: value}, nil
}

// pattern is a regex for what a condition takes.
func (c condition) pattern() string {
	if c.kind == kindExact {
		return regexp.QuoteMeta(c.value)
	}
	return c.value
}

// token is the condition that a user carries one of the affinity's cookies.
func token(name, value string) request {
	return request{cookies: map[string]condition{name: {
		field: "spec.analysis.sessionAffinity", name: name, kind: kindExact, value: value,
	}}}
}
