package istio

import (
	"maps"
	"regexp"
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"
)

// selector is one match of a rule, as JSON, so that what Siskin does not know of it stays. A rule without a match has one that is empty.
type selector struct {
	match fields
	// cookies that it asks for besides, and that are not in the match yet.
	cookies map[string]value
}

// narrowed asks for what a request is too; possible is false if no request is both. field is that of the request, for errors:
// what Istio cannot say in one match is refused.
func (s selector) narrowed(a request, field string) (out selector, possible bool, err error) {
	var m networking.HTTPMatchRequest
	if err := decode(s.match, &m); err != nil {
		return out, false, invalid(field, "a match of the VirtualService cannot be read: %v", err)
	}
	j := joiner{field: field, possible: true}
	j.join(&m, a.match)
	out.cookies = j.cookies(s.cookies, a.cookies)
	if j.err != nil || !j.possible {
		return out, false, j.err
	}
	said, err := encode(&m)
	if err != nil {
		return out, false, err
	}
	out.match = overlaid(s.match, said)
	return out, true, nil
}

// written is the match with its cookies.
func (s selector) written(field string) (fields, error) {
	if len(s.cookies) == 0 {
		return s.match, nil
	}
	for name := range object(s.match, "headers") {
		if strings.EqualFold(name, "cookie") {
			return nil, invalid(field, "Istio can match the header Cookie once, and the rule matches it already: use cookies there, or leave one of the two out")
		}
	}
	all, err := header(field, s.cookies)
	if err != nil {
		return nil, err
	}
	said, err := encode(all)
	if err != nil {
		return nil, err
	}
	out := copied(s.match)
	within(out, "headers")["cookie"] = said
	return out, nil
}

// overlaid is a match with what is said of it now. Maps by name are laid over each other name by name; a match of a string is a
// value: two kinds of it must not come together.
func overlaid(match, said fields) fields {
	out := copied(match)
	for key, is := range said {
		names, ok := is.(fields)
		byName := slices.Contains([]string{"headers", "queryParams", "withoutHeaders", "sourceLabels"}, key)
		if !ok || !byName {
			out[key] = is
			continue
		}
		maps.Copy(within(out, key), names)
	}
	return out
}

// joiner joins two matches into one that asks for both.
type joiner struct {
	field    string
	possible bool
	err      error
}

func (j *joiner) refuse(part, message string) {
	if j.err == nil {
		j.err = invalid(j.field+part, "%s", message)
	}
}

func (j *joiner) join(m, a *networking.HTTPMatchRequest) {
	j.uri(m, a)
	m.Method = j.strings(m.Method, a.Method, ".method")
	m.Scheme = j.strings(m.Scheme, a.Scheme, ".scheme")
	m.Authority = j.strings(m.Authority, a.Authority, ".authority")
	m.Headers = j.maps(m.Headers, a.Headers, ".headers")
	m.QueryParams = j.maps(m.QueryParams, a.QueryParams, ".queryParams")
	m.WithoutHeaders = j.without(m.WithoutHeaders, a.WithoutHeaders)
	m.SourceLabels = j.labels(m.SourceLabels, a.SourceLabels)
	if m.Port != 0 && a.Port != 0 && m.Port != a.Port || m.SourceNamespace != "" && a.SourceNamespace != "" && m.SourceNamespace != a.SourceNamespace {
		j.possible = false
	}
	m.Port, m.SourceNamespace = max(m.Port, a.Port), max(m.SourceNamespace, a.SourceNamespace)
	switch {
	case len(m.Gateways) == 0:
		m.Gateways = a.Gateways
	case len(a.Gateways) > 0:
		m.Gateways = slices.DeleteFunc(slices.Clone(m.Gateways), func(g string) bool { return !slices.Contains(a.Gateways, g) })
		j.possible = j.possible && len(m.Gateways) > 0
	}
}

// uri joins two paths; case may not count in one of them.
func (j *joiner) uri(m, a *networking.HTTPMatchRequest) {
	switch {
	case a.Uri == nil || everyPath(a.Uri) && m.Uri != nil:
	case m.Uri == nil || everyPath(m.Uri):
		m.Uri, m.IgnoreUriCase = a.Uri, a.IgnoreUriCase
	case m.IgnoreUriCase != a.IgnoreUriCase:
		j.refuse(".ignoreUriCase", "Istio matches one path, and the rule's other path says otherwise: give the same in both")
	case m.IgnoreUriCase:
		m.Uri = j.strings(lower(m.Uri), lower(a.Uri), ".uri")
	default:
		m.Uri = j.strings(m.Uri, a.Uri, ".uri")
	}
}

func everyPath(m *networking.StringMatch) bool { return m.GetPrefix() == "/" }

// lower writes a path in lower case; regexes do not know the other.
func lower(m *networking.StringMatch) *networking.StringMatch {
	switch t := m.GetMatchType().(type) {
	case *networking.StringMatch_Exact:
		return &networking.StringMatch{MatchType: &networking.StringMatch_Exact{Exact: strings.ToLower(t.Exact)}}
	case *networking.StringMatch_Prefix:
		return &networking.StringMatch{MatchType: &networking.StringMatch_Prefix{Prefix: strings.ToLower(t.Prefix)}}
	}
	return m
}

// strings joins two conditions on one string.
func (j *joiner) strings(s, a *networking.StringMatch, part string) *networking.StringMatch {
	switch {
	case s == nil:
		return a
	case a == nil || same(s, a):
		return s
	case isExact(s):
		j.possible = j.possible && j.takes(a, s.GetExact(), part)
		return s
	case isExact(a):
		j.possible = j.possible && j.takes(s, a.GetExact(), part)
		return a
	case s.GetPrefix() != "" && a.GetPrefix() != "":
		if strings.HasPrefix(s.GetPrefix(), a.GetPrefix()) {
			return s
		}
		j.possible = j.possible && strings.HasPrefix(a.GetPrefix(), s.GetPrefix())
		return a
	}
	j.refuse(part, "Istio matches one string once, and the rule matches it already, one of the two by a regex or suffix: leave one of the two out")
	return s
}

func isExact(m *networking.StringMatch) bool {
	_, ok := m.GetMatchType().(*networking.StringMatch_Exact)
	return ok
}

func same(s, a *networking.StringMatch) bool {
	return isExact(s) == isExact(a) && s.GetExact() == a.GetExact() && s.GetPrefix() == a.GetPrefix() && s.GetRegex() == a.GetRegex()
}

// takes tells whether a condition takes a string.
func (j *joiner) takes(m *networking.StringMatch, s, part string) bool {
	switch t := m.GetMatchType().(type) {
	case *networking.StringMatch_Exact:
		return t.Exact == s
	case *networking.StringMatch_Prefix:
		return strings.HasPrefix(s, t.Prefix)
	case *networking.StringMatch_Regex:
		re, err := regexp.Compile("^(?:" + t.Regex + ")$")
		if err != nil {
			j.refuse(part, "the rule matches it by a regex that cannot be read: correct that")
			return false
		}
		return re.MatchString(s)
	}
	return true // present, whatever it is
}

func (j *joiner) maps(s, a map[string]*networking.StringMatch, part string) map[string]*networking.StringMatch {
	out := maps.Clone(s)
	for _, name := range slices.Sorted(maps.Keys(a)) {
		if out == nil {
			out = map[string]*networking.StringMatch{}
		}
		out[name] = j.strings(out[name], a[name], part+"["+name+"]")
	}
	return out
}

// without joins what requests must not have: of one name there can be one condition.
func (j *joiner) without(s, a map[string]*networking.StringMatch) map[string]*networking.StringMatch {
	out := maps.Clone(s)
	for _, name := range slices.Sorted(maps.Keys(a)) {
		if out == nil {
			out = map[string]*networking.StringMatch{}
		}
		if have, twice := out[name]; twice && !same(have, a[name]) {
			j.refuse(".withoutHeaders["+name+"]", "Istio excludes by a header once, and the rule does so already: leave one of the two out")
		}
		out[name] = a[name]
	}
	return out
}

func (j *joiner) labels(s, a map[string]string) map[string]string {
	out := maps.Clone(s)
	for name, v := range a {
		if out == nil {
			out = map[string]string{}
		}
		if have, twice := out[name]; twice && have != v {
			j.possible = false
		}
		out[name] = v
	}
	return out
}

// cookies joins conditions on cookies.
func (j *joiner) cookies(s, a map[string]value) map[string]value {
	out := maps.Clone(s)
	for _, name := range slices.Sorted(maps.Keys(a)) {
		if out == nil {
			out = map[string]value{}
		}
		have, twice := out[name]
		switch v := a[name]; {
		case !twice:
			out[name] = v
		case have == v:
		case have.exact && v.exact:
			j.possible = false
		default:
			j.refuse(".cookies["+name+"]", "the rule matches this cookie already, one of the two by a regex: leave one of the two out, or use another name")
		}
	}
	return out
}
