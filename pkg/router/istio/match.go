package istio

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/router/internal/cookie"
)

// request is what one entry of a match selects. Cookies are kept apart until they are written, because all of them are one header.
type request struct {
	match   *networking.HTTPMatchRequest
	cookies map[string]value
}

// value of a cookie.
type value struct {
	// exact tells that text is the value itself, and not a regex for it.
	exact bool
	text  string
}

func (v value) pattern() string {
	if v.exact {
		return regexp.QuoteMeta(v.text)
	}
	return v.text
}

// headerName is what Envoy takes as one.
var headerName = regexp.MustCompile("^[A-Za-z0-9!#$%&'*+\\-.^_\x60|~]{1,256}$")

// requests reads the entries of a match. No entry at all means every request.
func requests(field string, in []siskinv1.RequestMatch) ([]request, error) {
	if len(in) == 0 {
		return []request{{match: &networking.HTTPMatchRequest{}}}, nil
	}
	out := make([]request, 0, len(in))
	for i, m := range in {
		r, err := read(fmt.Sprintf("%s[%d]", field, i), m)
		if err != nil {
			return nil, err
		}
		out = append(out, r)
	}
	return out, nil
}

// read reads one entry.
func read(field string, m siskinv1.RequestMatch) (request, error) {
	out := request{match: &networking.HTTPMatchRequest{
		Name: m.Name, IgnoreUriCase: m.IgnoreURICase, Port: uint32(m.Port), //nolint:gosec // the API server checks its range
		SourceLabels: maps.Clone(m.SourceLabels), SourceNamespace: m.SourceNamespace, Gateways: slices.Clone(m.Gateways),
	}}
	for _, part := range []struct {
		name string
		from *siskinv1.StringMatch
		into **networking.StringMatch
	}{
		{"uri", m.URI, &out.match.Uri},
		{"method", m.Method, &out.match.Method},
		{"scheme", m.Scheme, &out.match.Scheme},
		{"authority", m.Authority, &out.match.Authority},
	} {
		if part.from == nil {
			continue
		}
		var err error
		if *part.into, err = stringMatch(field+"."+part.name, *part.from); err != nil {
			return out, err
		}
	}
	if m.URI != nil && m.URI.Regex == "" && m.URI.Suffix == "" && !strings.HasPrefix(m.URI.Exact+m.URI.Prefix, "/") {
		return out, invalid(field+".uri", "%q is no path: it must begin with /", m.URI.Exact+m.URI.Prefix)
	}
	for _, part := range []struct {
		name string
		from map[string]siskinv1.StringMatch
		into *map[string]*networking.StringMatch
		key  func(string) string
	}{
		{"headers", m.Headers, &out.match.Headers, strings.ToLower},
		{"withoutHeaders", m.WithoutHeaders, &out.match.WithoutHeaders, strings.ToLower},
		{"queryParams", m.QueryParams, &out.match.QueryParams, strings.Clone},
	} {
		var err error
		if *part.into, err = stringMatches(field+"."+part.name, part.from, part.key); err != nil {
			return out, err
		}
	}
	var err error
	if out.cookies, err = cookiesOf(field, m); err != nil {
		return out, err
	}
	return out, nil
}

func stringMatches(field string, from map[string]siskinv1.StringMatch, key func(string) string) (map[string]*networking.StringMatch, error) {
	var out map[string]*networking.StringMatch
	for _, name := range slices.Sorted(maps.Keys(from)) {
		at := fmt.Sprintf("%s[%s]", field, name)
		if !headerName.MatchString(name) {
			return nil, invalid(at, "%q is no name that Istio can match: correct it", name)
		}
		if _, twice := out[key(name)]; twice {
			return nil, invalid(at, "it is named twice, and case does not count: remove one")
		}
		m, err := stringMatch(at, from[name])
		if err != nil {
			return nil, err
		}
		if out == nil {
			out = map[string]*networking.StringMatch{}
		}
		out[key(name)] = m
	}
	return out, nil
}

// stringMatch says a match in Istio's words. Regexes are RE2 and match the whole.
func stringMatch(field string, m siskinv1.StringMatch) (*networking.StringMatch, error) {
	if given(m) != 1 {
		return nil, invalid(field, "give exactly one of exact, prefix, suffix, regex")
	}
	switch {
	case m.Exact != "":
		return &networking.StringMatch{MatchType: &networking.StringMatch_Exact{Exact: m.Exact}}, nil
	case m.Prefix != "":
		return &networking.StringMatch{MatchType: &networking.StringMatch_Prefix{Prefix: m.Prefix}}, nil
	case m.Suffix != "":
		return regexMatch(".*" + regexp.QuoteMeta(m.Suffix)), nil
	}
	if _, err := regexp.Compile(m.Regex); err != nil {
		return nil, invalid(field+".regex", "%q is no regex of RE2: %v", m.Regex, err)
	}
	return regexMatch(m.Regex), nil
}

func regexMatch(expr string) *networking.StringMatch {
	return &networking.StringMatch{MatchType: &networking.StringMatch_Regex{Regex: expr}}
}

// given counts the kinds of match that are given; a StringMatch needs exactly one.
func given(m siskinv1.StringMatch) int {
	n := 0
	for _, s := range []string{m.Exact, m.Prefix, m.Suffix, m.Regex} {
		if s != "" {
			n++
		}
	}
	return n
}

// cookiesOf reads the cookies of an entry. A regex means the whole value.
func cookiesOf(field string, m siskinv1.RequestMatch) (map[string]value, error) {
	if len(m.Cookies) == 0 {
		return nil, nil //nolint:nilnil // no cookie is asked for
	}
	out := make(map[string]value, len(m.Cookies))
	for _, name := range slices.Sorted(maps.Keys(m.Cookies)) {
		at := fmt.Sprintf("%s.cookies[%s]", field, name)
		c := m.Cookies[name]
		switch {
		case !headerName.MatchString(name):
			return nil, invalid(at, "%q is no name of a cookie: correct it", name)
		case given(c) != 1:
			return nil, invalid(at, "give exactly one of exact, prefix, suffix, regex")
		case strings.ContainsAny(c.Exact+c.Prefix+c.Suffix, "; \t"):
			return nil, invalid(at, "the value of a cookie has neither ; nor blanks")
		case c.Exact != "":
			out[name] = value{exact: true, text: c.Exact}
		case c.Prefix != "":
			out[name] = value{text: regexp.QuoteMeta(c.Prefix) + cookie.Any}
		case c.Suffix != "":
			out[name] = value{text: cookie.Any + regexp.QuoteMeta(c.Suffix)}
		default:
			confined, err := cookie.Confine(c.Regex)
			if err != nil {
				return nil, invalid(at+".regex", "%q cannot be put into a regex for the header Cookie: %v", c.Regex, err)
			}
			out[name] = value{text: confined}
		}
	}
	return out, nil
}

// header is the condition on the header Cookie that cookies make.
func header(field string, cookies map[string]value) (*networking.StringMatch, error) {
	if len(cookies) > cookie.Most {
		return nil, invalid(field, "a match can have %d cookies at most, and these are %d: use a header", cookie.Most, len(cookies))
	}
	patterns := make(map[string]string, len(cookies))
	for name, v := range cookies {
		patterns[name] = v.pattern()
	}
	return regexMatch(cookie.Header(patterns)), nil
}
