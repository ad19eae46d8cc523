package gatewayapi

import (
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
	headerName     = regexp.MustCompile("^[A-Za-z0-9!#$%&'*+\\-.^_\x60|~]{1,256}$")
)

// matches translates the requests that the route takes. No match at all means every path, which is spelled out so that the API
// server has nothing to add.
func matches(in []siskinv1.RequestMatch) ([]gatewayv1.HTTPRouteMatch, error) {
	if len(in) == 0 {
		return []gatewayv1.HTTPRouteMatch{{Path: anyPath()}}, nil
	}
	out := make([]gatewayv1.HTTPRouteMatch, 0, len(in))
	for i, m := range in {
		match, err := oneMatch(fmt.Sprintf("spec.service.match[%d]", i), m)
		if err != nil {
			return nil, err
		}
		out = append(out, match)
	}
	return out, nil
}

func oneMatch(field string, m siskinv1.RequestMatch) (gatewayv1.HTTPRouteMatch, error) {
	out := gatewayv1.HTTPRouteMatch{Path: anyPath()}
	var err error
	if m.URI != nil {
		if out.Path, err = path(field+".uri", *m.URI); err != nil {
			return out, err
		}
	}
	if m.Method != nil {
		if out.Method, err = method(field+".method", *m.Method); err != nil {
			return out, err
		}
	}
	for _, key := range slices.Sorted(maps.Keys(m.Headers)) {
		kind, value, err := exactOrRegex(fmt.Sprintf("%s.headers[%s]", field, key), key, m.Headers[key])
		if err != nil {
			return out, err
		}
		out.Headers = append(out.Headers, gatewayv1.HTTPHeaderMatch{
			Type: new(gatewayv1.HeaderMatchType(kind)), Name: gatewayv1.HTTPHeaderName(key), Value: value,
		})
	}
	for _, key := range slices.Sorted(maps.Keys(m.QueryParams)) {
		kind, value, err := exactOrRegex(fmt.Sprintf("%s.queryParams[%s]", field, key), key, m.QueryParams[key])
		if err != nil {
			return out, err
		}
		out.QueryParams = append(out.QueryParams, gatewayv1.HTTPQueryParamMatch{
			Type: new(gatewayv1.QueryParamMatchType(kind)), Name: gatewayv1.HTTPHeaderName(key), Value: value,
		})
	}
	return out, nil
}

func anyPath() *gatewayv1.HTTPPathMatch {
	return &gatewayv1.HTTPPathMatch{Type: new(gatewayv1.PathMatchPathPrefix), Value: new("/")}
}

// kinds of match that are given; a StringMatch needs exactly one.
func given(m siskinv1.StringMatch) int {
	n := 0
	for _, s := range []string{m.Exact, m.Prefix, m.Regex} {
		if s != "" {
			n++
		}
	}
	return n
}

func path(field string, m siskinv1.StringMatch) (*gatewayv1.HTTPPathMatch, error) {
	if given(m) != 1 {
		return nil, invalid(field, "give exactly one of exact, prefix, regex")
	}
	switch {
	case m.Regex != "":
		return &gatewayv1.HTTPPathMatch{Type: new(gatewayv1.PathMatchRegularExpression), Value: new(m.Regex)}, nil
	case m.Exact != "":
		return &gatewayv1.HTTPPathMatch{Type: new(gatewayv1.PathMatchExact), Value: new(m.Exact)}, checkPath(field+".exact", m.Exact)
	default:
		return &gatewayv1.HTTPPathMatch{Type: new(gatewayv1.PathMatchPathPrefix), Value: new(m.Prefix)}, checkPath(field+".prefix", m.Prefix)
	}
}

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

// exactOrRegex is how HTTPRoutes match headers and query parameters.
func exactOrRegex(field, key string, m siskinv1.StringMatch) (kind, value string, err error) {
	switch {
	case !headerName.MatchString(key):
		return "", "", invalid(field, "%q is no name that an HTTPRoute can match", key)
	case given(m) != 1:
		return "", "", invalid(field, "give exactly one of exact, regex")
	case m.Prefix != "":
		return "", "", invalid(field, "an HTTPRoute cannot match by prefix here: use regex: ^%s.*", regexp.QuoteMeta(m.Prefix))
	case m.Exact != "":
		return "Exact", m.Exact, nil
	default:
		return "RegularExpression", m.Regex, nil
	}
}
