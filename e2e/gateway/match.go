package gateway

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// errUnsupported : the route asks for what this gateway cannot do.
var errUnsupported = errors.New("not supported by the test gateway")

// match selects requests. Regular expressions are Go's and match whole values.
type match struct {
	exact, prefix string
	path          *regexp.Regexp
	method        string
	headers       []valueMatch
	query         []valueMatch
}

type valueMatch struct {
	name, exact string
	regex       *regexp.Regexp
}

func (v valueMatch) matches(value string) bool {
	if v.regex != nil {
		return v.regex.MatchString(value)
	}
	return value == v.exact
}

func compileMatch(spec gatewayv1.HTTPRouteMatch) (match, error) {
	m := match{prefix: "/"}
	if spec.Method != nil {
		m.method = string(*spec.Method)
	}
	m, err := compilePath(m, spec.Path)
	if err != nil {
		return m, err
	}
	for _, h := range spec.Headers {
		v := valueMatch{name: string(h.Name), exact: h.Value}
		if h.Type != nil && *h.Type == gatewayv1.HeaderMatchRegularExpression {
			re, err := whole(h.Value)
			if err != nil {
				return m, err
			}
			v.regex = re
		}
		m.headers = append(m.headers, v)
	}
	for _, q := range spec.QueryParams {
		v := valueMatch{name: string(q.Name), exact: q.Value}
		if q.Type != nil && *q.Type == gatewayv1.QueryParamMatchRegularExpression {
			re, err := whole(q.Value)
			if err != nil {
				return m, err
			}
			v.regex = re
		}
		m.query = append(m.query, v)
	}
	return m, nil
}

// compilePath takes a path over; nil is any.
func compilePath(m match, spec *gatewayv1.HTTPPathMatch) (match, error) {
	if spec == nil {
		return m, nil
	}
	kind, value := gatewayv1.PathMatchPathPrefix, "/"
	if spec.Type != nil {
		kind = *spec.Type
	}
	if spec.Value != nil {
		value = *spec.Value
	}
	switch kind {
	case gatewayv1.PathMatchExact:
		m.exact, m.prefix = value, ""
	case gatewayv1.PathMatchPathPrefix:
		m.prefix = value
	case gatewayv1.PathMatchRegularExpression:
		re, err := whole(value)
		if err != nil {
			return m, err
		}
		m.path, m.prefix = re, ""
	default:
		return m, fmt.Errorf("%w: path match %s", errUnsupported, kind)
	}
	return m, nil
}

func whole(expression string) (*regexp.Regexp, error) {
	re, err := regexp.Compile("^(?:" + expression + ")$")
	if err != nil {
		return nil, fmt.Errorf("reading a regular expression: %w", err)
	}
	return re, nil
}

func (m match) matches(r *http.Request) bool {
	if m.method != "" && m.method != r.Method {
		return false
	}
	if !m.matchesPath(r.URL.Path) {
		return false
	}
	for _, h := range m.headers {
		values := r.Header.Values(h.name)
		if len(values) == 0 || !h.matches(strings.Join(values, ",")) {
			return false
		}
	}
	if len(m.query) == 0 {
		return true
	}
	params := r.URL.Query()
	for _, q := range m.query {
		if values := params[q.name]; len(values) == 0 || !q.matches(values[0]) {
			return false
		}
	}
	return true
}

func (m match) matchesPath(path string) bool {
	switch {
	case m.path != nil:
		return m.path.MatchString(path)
	case m.exact != "":
		return path == m.exact
	}
	prefix := strings.TrimSuffix(m.prefix, "/")
	return path == prefix || strings.HasPrefix(path, prefix+"/") || prefix == ""
}

// compare orders matches as the Gateway API does: the better one is first. A regular expression ranks between "/" and any longer prefix.
func (m match) compare(o match) int {
	return -cmp.Or(cmp.Compare(m.pathRank(), o.pathRank()), cmp.Compare(m.methodRank(), o.methodRank()),
		cmp.Compare(len(m.headers), len(o.headers)), cmp.Compare(len(m.query), len(o.query)))
}

func (m match) pathRank() int {
	switch {
	case m.exact != "":
		return 1 << 20
	case m.path != nil:
		return 2
	case m.prefix == "/":
		return 1
	}
	return 2 + len(m.prefix)
}

func (m match) methodRank() int {
	if m.method != "" {
		return 1
	}
	return 0
}
