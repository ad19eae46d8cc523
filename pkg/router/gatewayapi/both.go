package gatewayapi

import (
	"maps"
	"strings"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// both is the request that s and a select together; possible is false if there is none. field is a's, for errors: what cannot be said
// in one match of an HTTPRoute is refused.
func both(s, a request, field string) (out request, possible bool, err error) {
	ok := [5]bool{}
	if out.path, ok[0], err = bothPaths(s.path, a.path, field+".uri"); err != nil {
		return out, false, err
	}
	out.method, ok[1] = a.method, true
	if s.method != nil {
		out.method, ok[1] = s.method, a.method == nil || *a.method == *s.method
	}
	if out.headers, ok[2], err = bothConditions(s.headers, a.headers); err != nil {
		return out, false, err
	}
	if out.query, ok[3], err = bothConditions(s.query, a.query); err != nil {
		return out, false, err
	}
	out.cookies, ok[4], err = bothConditions(s.cookies, a.cookies)
	return out, ok == [5]bool{true, true, true, true, true}, err
}

// bothPaths narrows one path by another. An HTTPRoute's match has one path, so that a regex goes together with every path only.
func bothPaths(s, a *gatewayv1.HTTPPathMatch, field string) (*gatewayv1.HTTPPathMatch, bool, error) {
	switch {
	case everyPath(a):
		return s, true, nil
	case everyPath(s), *s.Type == *a.Type && *s.Value == *a.Value:
		return a, true, nil
	case *s.Type == gatewayv1.PathMatchRegularExpression || *a.Type == gatewayv1.PathMatchRegularExpression:
		return nil, false, invalid(field, "an HTTPRoute matches one path, and spec.service.match has another one: give a regex or suffix in one of the two only")
	case *s.Type == gatewayv1.PathMatchPathPrefix && below(*a.Value, *s.Value):
		return a, true, nil
	case *a.Type == gatewayv1.PathMatchPathPrefix && below(*s.Value, *a.Value):
		return s, true, nil
	}
	return nil, false, nil
}

func everyPath(p *gatewayv1.HTTPPathMatch) bool {
	return p == nil || *p.Type == gatewayv1.PathMatchPathPrefix && *p.Value == "/"
}

// below tells whether a path is in a prefix, which ends with a whole element: /a has /a/b and not /ab.
func below(path, prefix string) bool {
	path, prefix = strings.TrimSuffix(path, "/"), strings.TrimSuffix(prefix, "/")
	return path == prefix || strings.HasPrefix(path, prefix+"/")
}

// bothConditions joins conditions on several names. On the same name they must be the same, or exclude each other.
func bothConditions(s, a map[string]condition) (map[string]condition, bool, error) {
	out := maps.Clone(s)
	if out == nil {
		out = map[string]condition{}
	}
	possible := true
	for key, c := range a {
		have, twice := out[key]
		switch {
		case !twice:
			out[key] = c
		case have.kind == c.kind && have.value == c.value:
		case have.kind == kindExact && c.kind == kindExact:
			possible = false
		default:
			return nil, false, invalid(c.field, "an HTTPRoute can match a name once, and %s matches it too: keep one of them", have.field)
		}
	}
	return out, possible, nil
}
