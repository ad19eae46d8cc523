package gatewayapi

import (
	"cmp"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
)

// What the API server refuses in a path; told here, so that the Canary's author reads it and not the controller's log.
var (
	pathCharacters = regexp.MustCompile(`^(?:[-A-Za-z0-9/._~!$&'()*+,;=:@]|%[0-9a-fA-F]{2})+$`)
	pathForbidden  = regexp.MustCompile(`//|/\./|/\.\./|%2[fF]|/\.\.?$`)
)

const (
	kindExact = "Exact"
	kindRegex = "RegularExpression"
)

// request is what one entry of a match selects, before it is written as an HTTPRoute's match. Nil path and method are any.
type request struct {
	path   *gatewayv1.HTTPPathMatch
	method *gatewayv1.HTTPMethod
	// headers (names in lower case), query parameters and cookies, by name. They are kept apart until they are written, because all
	// cookies are one header.
	headers, query, cookies map[string]condition
}

// size is the number of headers that it names.
func (r request) size() int { return len(r.headers) + min(len(r.cookies), 1) }

// condition on one string.
type condition struct {
	// field of the Canary that it comes from, for errors.
	field string
	// name as it was written.
	name string
	// kind is kindExact or kindRegex.
	kind, value string
}

// requests reads the entries of a match. No entry at all means every request.
func requests(field string, in []siskinv1.RequestMatch) ([]request, error) {
	if len(in) == 0 {
		return []request{{}}, nil
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

func read(field string, m siskinv1.RequestMatch) (request, error) {
	var out request
	err := unsayable(field, m)
	if err != nil {
		return out, err
	}
	if m.URI != nil {
		if out.path, err = path(field+".uri", *m.URI); err != nil {
			return out, err
		}
	}
	if m.Method != nil {
		if out.method, err = method(field+".method", *m.Method); err != nil {
			return out, err
		}
	}
	if out.headers, err = conditions(field+".headers", m.Headers, strings.ToLower, inHeader); err != nil {
		return out, err
	}
	if out.query, err = conditions(field+".queryParams", m.QueryParams, strings.Clone, inQuery); err != nil {
		return out, err
	}
	out.cookies, err = conditions(field+".cookies", m.Cookies, strings.Clone, inCookie)
	return out, err
}

// unsayable refuses what other routers select requests by and an HTTPRoute cannot. To leave it out would select more
// requests.
func unsayable(field string, m siskinv1.RequestMatch) error {
	for _, part := range []struct {
		name, instead string
		given         bool
	}{
		{"ignoreUriCase", "give uri.regex, which can begin with (?i)", m.IgnoreURICase},
		{"withoutHeaders", "it selects by what a request has: select the requests that do have the header, or leave it out", len(m.WithoutHeaders) > 0},
		{"scheme", "attach it to the listener of that protocol by spec.service.gatewayRefs[].sectionName", m.Scheme != nil},
		{"authority", "give the host in spec.service.hosts", m.Authority != nil},
		{"port", "attach it to the listener of that port by spec.service.gatewayRefs[].port", m.Port != 0},
		{"sourceLabels", "it does not know the client's pod: let the client send a header, and give headers", len(m.SourceLabels) > 0},
		{"sourceNamespace", "it does not know the client's pod: let the client send a header, and give headers", m.SourceNamespace != ""},
		{"gateways", "name the Gateways in spec.service.gatewayRefs", len(m.Gateways) > 0},
	} {
		if part.given {
			return invalid(field+"."+part.name, "an HTTPRoute cannot match by it: %s", part.instead)
		}
	}
	return nil
}

// conditions reads a map of matches by name; key makes the name that counts.
func conditions(field string, in map[string]siskinv1.StringMatch, key func(string) string,
	kind func(field string, m siskinv1.StringMatch) (condition, error),
) (map[string]condition, error) {
	out := map[string]condition{}
	for _, name := range slices.Sorted(maps.Keys(in)) {
		at := fmt.Sprintf("%s[%s]", field, name)
		if !headerName.MatchString(name) {
			return nil, invalid(at, "%q is no name that an HTTPRoute can match", name)
		}
		c, err := kind(at, in[name])
		if err != nil {
			return nil, err
		}
		c.field, c.name = at, name
		if _, twice := out[key(name)]; twice {
			return nil, invalid(at, "it is named twice, and case does not count: remove one")
		}
		out[key(name)] = c
	}
	return out, nil
}

func inHeader(field string, m siskinv1.StringMatch) (condition, error) {
	return inString(field, m, maxValue)
}

func inQuery(field string, m siskinv1.StringMatch) (condition, error) {
	return inString(field, m, maxQuery)
}

// inString is how HTTPRoutes match headers and query parameters: as a whole, or by a regex. The regexes made here mean the same
// where a regex must match the whole value and where it is searched for.
func inString(field string, m siskinv1.StringMatch, most int) (condition, error) {
	c, err := inWords(field, m)
	if err != nil {
		return c, err
	}
	return c, fitting(field, c.value, most)
}

func inWords(field string, m siskinv1.StringMatch) (condition, error) {
	switch {
	case given(m) != 1:
		return condition{}, invalid(field, "give exactly one of exact, prefix, suffix, regex")
	case m.Exact != "":
		return condition{kind: kindExact, value: m.Exact}, nil
	case m.Prefix != "":
		return condition{kind: kindRegex, value: "^" + regexp.QuoteMeta(m.Prefix) + ".*$"}, nil
	case m.Suffix != "":
		return condition{kind: kindRegex, value: "^.*" + regexp.QuoteMeta(m.Suffix) + "$"}, nil
	default:
		return condition{kind: kindRegex, value: m.Regex}, nil
	}
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

func path(field string, m siskinv1.StringMatch) (*gatewayv1.HTTPPathMatch, error) {
	out, err := inPath(field, m)
	if err != nil {
		return nil, err
	}
	return out, fitting(field, *out.Value, maxPath)
}

func inPath(field string, m siskinv1.StringMatch) (*gatewayv1.HTTPPathMatch, error) {
	switch {
	case given(m) != 1:
		return nil, invalid(field, "give exactly one of exact, prefix, suffix, regex")
	case m.Regex != "":
		return pathMatch(gatewayv1.PathMatchRegularExpression, m.Regex), nil
	case m.Suffix != "":
		return pathMatch(gatewayv1.PathMatchRegularExpression, "^.*"+regexp.QuoteMeta(m.Suffix)+"$"), nil
	case m.Exact != "":
		return pathMatch(gatewayv1.PathMatchExact, m.Exact), checkPath(field+".exact", m.Exact)
	default:
		return pathMatch(gatewayv1.PathMatchPathPrefix, m.Prefix), checkPath(field+".prefix", m.Prefix)
	}
}

func pathMatch(kind gatewayv1.PathMatchType, value string) *gatewayv1.HTTPPathMatch {
	return &gatewayv1.HTTPPathMatch{Type: &kind, Value: &value}
}

func anyPath() *gatewayv1.HTTPPathMatch { return pathMatch(gatewayv1.PathMatchPathPrefix, "/") }

func checkPath(field, value string) error {
	switch {
	case !strings.HasPrefix(value, "/"):
		return invalid(field, "%q must begin with /", value)
	case pathForbidden.MatchString(value) || !pathCharacters.MatchString(value):
		return invalid(field, "%q is no plain path: remove //, /./, /../, an encoded / and characters that a path cannot have", value)
	}
	return nil
}

func method(field string, m siskinv1.StringMatch) (*gatewayv1.HTTPMethod, error) {
	known := []string{"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"}
	if given(m) != 1 || !slices.Contains(known, m.Exact) {
		return nil, invalid(field, "an HTTPRoute matches a method exactly: give exact, one of %s", strings.Join(known, ", "))
	}
	return new(gatewayv1.HTTPMethod(m.Exact)), nil
}

// match writes a request as an HTTPRoute's match. No path is spelled out as every path, so that the API server has nothing to add.
func (r request) match() (gatewayv1.HTTPRouteMatch, error) {
	out := gatewayv1.HTTPRouteMatch{Path: cmp.Or(r.path, anyPath()), Method: r.method}
	headers := maps.Clone(r.headers)
	if len(r.cookies) > 0 {
		if raw, twice := headers["cookie"]; twice {
			return out, invalid(raw.field, "an HTTPRoute can match the header Cookie once, and cookies are matched already (%s): use cookies here too",
				r.cookies[slices.Min(slices.Collect(maps.Keys(r.cookies)))].field)
		}
		all, err := cookieHeader(r.cookies)
		if err != nil {
			return out, err
		}
		if headers == nil {
			headers = map[string]condition{}
		}
		headers["cookie"] = all
	}
	if err := cmp.Or(counted("headers", headers), counted("query parameters", r.query)); err != nil {
		return out, err
	}
	for _, key := range slices.Sorted(maps.Keys(headers)) {
		h := headers[key]
		out.Headers = append(out.Headers, gatewayv1.HTTPHeaderMatch{
			Type: new(gatewayv1.HeaderMatchType(h.kind)), Name: gatewayv1.HTTPHeaderName(h.name), Value: h.value,
		})
	}
	for _, key := range slices.Sorted(maps.Keys(r.query)) {
		q := r.query[key]
		out.QueryParams = append(out.QueryParams, gatewayv1.HTTPQueryParamMatch{
			Type: new(gatewayv1.QueryParamMatchType(q.kind)), Name: gatewayv1.HTTPHeaderName(q.name), Value: q.value,
		})
	}
	return out, nil
}
