package nginx

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/router"
)

// always is the value of a cookie that selects the canary; ingress-nginx knows no other one.
const always = "always"

// simple and pattern are what ingress-nginx takes in the annotations. One with anything else it drops without a word, and a
// header without its value would select other requests.
var (
	simple  = regexp.MustCompile(`^[-._~a-zA-Z0-9/:]+$`)
	pattern = regexp.MustCompile(`^[-._~a-zA-Z0-9/:^$\[\](){}*+?|&=\\]+$`)
)

// audience are the annotations that select requests: one header, by one value or pattern, and one cookie, of which one is enough.
func audience(in router.Intent) (map[string]string, error) {
	if !in.Split.Audience {
		return map[string]string{}, nil
	}
	header, cookie := "", ""
	var values []siskinv1.StringMatch
	field := ""
	for i, m := range in.Audience {
		at := fmt.Sprintf("spec.analysis.match[%d]", i)
		if err := lone(at, m); err != nil {
			return nil, err
		}
		name, isCookie, err := cookieOf(at, m)
		if err != nil {
			return nil, err
		}
		if isCookie {
			if cookie != "" && cookie != name {
				return nil, invalid(at, "one cookie can select requests, and %s does already: leave one of them out", cookie)
			}
			cookie = name
			continue
		}
		name = slices.Collect(maps.Keys(m.Headers))[0]
		if header != "" && !strings.EqualFold(header, name) {
			return nil, invalid(at, "one header can select requests, and %s does already: leave one of them out", header)
		}
		header, field = name, at+".headers["+name+"]"
		values = append(values, m.Headers[name])
	}
	out := map[string]string{}
	if cookie != "" {
		out[noteCookie] = cookie
	}
	if header == "" {
		return out, nil
	}
	if !simple.MatchString(header) {
		return nil, invalid(field, "ingress-nginx takes no header of this name")
	}
	out[noteHeader] = header
	return out, value(out, field, values)
}

// lone refuses an entry that asks for more than one thing, or for what no annotation says.
func lone(at string, m siskinv1.RequestMatch) error {
	for _, part := range []struct {
		name  string
		given bool
	}{
		{"uri", m.URI != nil},
		{"method", m.Method != nil},
		{"queryParams", len(m.QueryParams) > 0},
		{"ignoreUriCase", m.IgnoreURICase},
		{"withoutHeaders", len(m.WithoutHeaders) > 0},
		{"scheme", m.Scheme != nil},
		{"authority", m.Authority != nil},
		{"port", m.Port != 0},
		{"sourceLabels", len(m.SourceLabels) > 0},
		{"sourceNamespace", m.SourceNamespace != ""},
		{"gateways", len(m.Gateways) > 0},
	} {
		if part.given {
			return invalid(at+"."+part.name, "ingress-nginx selects requests by a header or a cookie: leave it out, or use another provider")
		}
	}
	if len(m.Headers)+len(m.Cookies) != 1 {
		return invalid(at, "ingress-nginx selects requests by a header or by a cookie, not by both at once or by two: give one header or one cookie")
	}
	return nil
}

// cookieOf is the name of the cookie that an entry asks for. As Flagger has it, a header "cookie" with an exact value names a cookie.
func cookieOf(at string, m siskinv1.RequestMatch) (name string, is bool, err error) {
	for n, v := range m.Cookies {
		if v.Exact != always {
			return "", true, invalid(at+".cookies["+n+"]", "ingress-nginx selects requests by a cookie whose value is %s: give exact: %s", always, always)
		}
		name, is = n, true
	}
	for n, v := range m.Headers {
		if !strings.EqualFold(n, "cookie") {
			continue
		}
		at += ".headers[" + n + "]"
		if v.Exact == "" {
			return "", true, invalid(at, "ingress-nginx selects requests by the name of a cookie: give it in cookies, with exact: %s", always)
		}
		name, is = strings.TrimSuffix(v.Exact, "="+always), true
	}
	if is && (!simple.MatchString(name) || strings.ContainsAny(name, "/:")) {
		return "", true, invalid(at, "%q is no cookie's name that ingress-nginx takes", name)
	}
	return name, is, nil
}

// value adds the annotation for the values of the header, one of which must be there.
func value(out map[string]string, field string, values []siskinv1.StringMatch) error {
	if len(values) == 1 && simple.MatchString(values[0].Exact) {
		out[noteValue] = values[0].Exact
		return nil
	}
	all := make([]string, 0, len(values))
	for _, v := range values {
		expr := v.Regex
		switch { // a pattern is searched for
		case v.Exact != "":
			expr = "^" + regexp.QuoteMeta(v.Exact) + "$"
		case v.Prefix != "":
			expr = "^" + regexp.QuoteMeta(v.Prefix)
		case v.Suffix != "":
			expr = regexp.QuoteMeta(v.Suffix) + "$"
		case expr == "":
			return invalid(field, "ingress-nginx cannot select requests by an empty value: give another one")
		case len(values) > 1:
			expr = "(" + expr + ")"
		}
		all = append(all, expr)
	}
	out[notePattern] = strings.Join(all, "|")
	if !pattern.MatchString(out[notePattern]) {
		return invalid(field, "ingress-nginx takes letters, digits, and of other characters -._~/:^$[](){}*+?|&=\\ only: choose another value")
	}
	return nil
}
