package gatewayapi

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/validation"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/router"
	"github.com/siskin-dev/siskin/pkg/router/internal/owned"
)

// build makes the whole HTTPRoute that the intent asks for, but for its digests. Every default is spelled out.
func build(in router.Intent) (*gatewayv1.HTTPRoute, error) {
	svc := in.Owner.Spec.Service
	route := &gatewayv1.HTTPRoute{ObjectMeta: owned.Meta(in.Owner, in.Apex, svc.Apex)}
	if len(in.Apex) > validation.DNS1123SubdomainMaxLength {
		return nil, invalid("spec.service.name", "%q is longer than %d characters", in.Apex, validation.DNS1123SubdomainMaxLength)
	}
	if in.Port <= 0 {
		return nil, invalid("spec.service.port", "the route needs the port of the Services: set spec.service.port")
	}
	err := elsewhere(svc)
	if err != nil {
		return nil, err
	}
	if route.Spec.ParentRefs, err = parents(svc.GatewayRefs); err != nil {
		return nil, err
	}
	if route.Spec.Hostnames, err = hostnames(svc.Hosts); err != nil {
		return nil, err
	}
	if route.Spec.Rules, err = rules(in); err != nil {
		return nil, err
	}
	return route, nil
}

func parents(refs []gatewayv1.ParentReference) ([]gatewayv1.ParentReference, error) {
	const field = "spec.service.gatewayRefs"
	if len(refs) == 0 {
		return nil, invalid(field, "name the Gateway (or, in a mesh, the Service) that the HTTPRoute attaches to, or write the HTTPRoute yourself")
	}
	if err := listed(field, len(refs), maxParents); err != nil {
		return nil, err
	}
	out := make([]gatewayv1.ParentReference, 0, len(refs))
	for i, ref := range refs {
		ref = defaulted(*ref.DeepCopy())
		if err := section(fmt.Sprintf("%s[%d]", field, i), out, ref); err != nil {
			return nil, err
		}
		out = append(out, ref)
	}
	return out, nil
}

// defaulted fills in what the API server would. A Service is of the core group whatever the Canary's defaulted group says: no
// other group has one that a route could attach to.
func defaulted(ref gatewayv1.ParentReference) gatewayv1.ParentReference {
	if ref.Kind == nil {
		ref.Kind = new(gatewayv1.Kind("Gateway"))
	}
	if *ref.Kind == "Service" {
		ref.Group = new(gatewayv1.Group(""))
	}
	if ref.Group == nil {
		ref.Group = new(gatewayv1.Group(gatewayv1.GroupName))
	}
	return ref
}

// hostnames of the route. "*", all of them, is written by leaving them out.
func hostnames(hosts []string) ([]gatewayv1.Hostname, error) {
	if slices.Contains(hosts, "*") {
		return nil, nil
	}
	if err := listed("spec.service.hosts", len(hosts), maxHostnames); err != nil {
		return nil, err
	}
	var out []gatewayv1.Hostname
	for i, host := range hosts {
		problems := validation.IsDNS1123Subdomain(host)
		if strings.HasPrefix(host, "*") {
			problems = validation.IsWildcardDNS1123Subdomain(host)
		}
		if len(problems) > 0 || len(validation.IsValidIP(nil, host)) == 0 {
			return nil, invalid(fmt.Sprintf("spec.service.hosts[%d]", i), "%q is no host name (no port, no IP address; *.example.org is possible)", host)
		}
		out = append(out, gatewayv1.Hostname(host))
	}
	return out, nil
}

func filters(svc siskinv1.CanaryService, service []request) ([]gatewayv1.HTTPRouteFilter, error) {
	var out []gatewayv1.HTTPRouteFilter
	var headers siskinv1.Headers
	if svc.Headers != nil {
		headers = *svc.Headers
	}
	request, err := headerFilter("spec.service.headers.request", headers.Request)
	if err != nil {
		return nil, err
	}
	response, err := headerFilter("spec.service.headers.response", headers.Response)
	if err != nil {
		return nil, err
	}
	if request != nil {
		out = append(out, gatewayv1.HTTPRouteFilter{Type: gatewayv1.HTTPRouteFilterRequestHeaderModifier, RequestHeaderModifier: request})
	}
	if response != nil {
		out = append(out, gatewayv1.HTTPRouteFilter{Type: gatewayv1.HTTPRouteFilterResponseHeaderModifier, ResponseHeaderModifier: response})
	}
	rewrite, err := rewriteFilter(svc.Rewrite, service)
	if err != nil {
		return nil, err
	}
	if rewrite != nil {
		out = append(out, gatewayv1.HTTPRouteFilter{Type: gatewayv1.HTTPRouteFilterURLRewrite, URLRewrite: rewrite})
	}
	return out, nil
}

func headerFilter(field string, ops *siskinv1.HeaderOperations) (*gatewayv1.HTTPHeaderFilter, error) {
	if ops == nil || len(ops.Set)+len(ops.Add)+len(ops.Remove) == 0 {
		return nil, nil //nolint:nilnil // no header is to be changed
	}
	list := func(m map[string]string) []gatewayv1.HTTPHeader {
		var out []gatewayv1.HTTPHeader
		for _, key := range slices.Sorted(maps.Keys(m)) {
			out = append(out, gatewayv1.HTTPHeader{Name: gatewayv1.HTTPHeaderName(key), Value: m[key]})
		}
		return out
	}
	out := &gatewayv1.HTTPHeaderFilter{Set: list(ops.Set), Add: list(ops.Add), Remove: slices.Clone(ops.Remove)}
	return out, header(field, out)
}

func rewriteFilter(rw *siskinv1.Rewrite, service []request) (*gatewayv1.HTTPURLRewriteFilter, error) {
	if rw == nil || (rw.URI == "" && rw.Authority == "") {
		return nil, nil //nolint:nilnil // no rewrite is wanted
	}
	if err := fitting("spec.service.rewrite.uri", rw.URI, maxPath); err != nil {
		return nil, err
	}
	out := &gatewayv1.HTTPURLRewriteFilter{}
	if rw.Authority != "" {
		if problems := validation.IsDNS1123Subdomain(rw.Authority); len(problems) > 0 {
			return nil, invalid("spec.service.rewrite.authority", "%q is no host name: an HTTPRoute rewrites the host without a port", rw.Authority)
		}
		out.Hostname = new(gatewayv1.PreciseHostname(rw.Authority))
	}
	switch {
	case rw.URI == "":
		return out, nil
	case rw.Type == string(gatewayv1.PrefixMatchHTTPPathModifier):
		if len(service) != 1 || (service[0].path != nil && *service[0].path.Type != gatewayv1.PathMatchPathPrefix) {
			return nil, invalid("spec.service.rewrite.type", "ReplacePrefixMatch needs exactly one spec.service.match, with uri.prefix")
		}
		out.Path = &gatewayv1.HTTPPathModifier{Type: gatewayv1.PrefixMatchHTTPPathModifier, ReplacePrefixMatch: &rw.URI}
	default:
		out.Path = &gatewayv1.HTTPPathModifier{Type: gatewayv1.FullPathHTTPPathModifier, ReplaceFullPath: &rw.URI}
	}
	return out, nil
}

func timeouts(svc siskinv1.CanaryService) (*gatewayv1.HTTPRouteTimeouts, error) {
	if svc.Timeout == "" && svc.BackendTimeout == "" {
		return nil, nil //nolint:nilnil // the router's own timeouts are wanted
	}
	out := &gatewayv1.HTTPRouteTimeouts{}
	total, err := duration("spec.service.timeout", svc.Timeout, &out.Request)
	if err != nil {
		return nil, err
	}
	attempt, err := duration("spec.service.backendTimeout", svc.BackendTimeout, &out.BackendRequest)
	if err != nil {
		return nil, err
	}
	if total > 0 && attempt > total {
		return nil, invalid("spec.service.backendTimeout", "%s is longer than the timeout of the whole request, %s", svc.BackendTimeout, svc.Timeout)
	}
	return out, nil
}

func duration(field, value string, into **gatewayv1.Duration) (time.Duration, error) {
	if value == "" {
		return 0, nil
	}
	d, err := time.ParseDuration(value)
	if err != nil || !timeoutValue.MatchString(value) {
		return 0, invalid(field, "%q is no duration such as 15s or 1m30s: give whole numbers of five digits at most", value)
	}
	*into = new(gatewayv1.Duration(value))
	return d, nil
}

// same compares two specs with the API's defaults filled in. The lists of an HTTPRoute are atomic and Siskin's as a whole; but
// hostnames that Siskin does not set may be somebody else's. Fields that this version does not know are not compared.
func same(live, want gatewayv1.HTTPRouteSpec) bool {
	l, w := filled(live), filled(want)
	return equality.Semantic.DeepEqual(l.ParentRefs, w.ParentRefs) &&
		(len(w.Hostnames) == 0 || equality.Semantic.DeepEqual(l.Hostnames, w.Hostnames)) &&
		equality.Semantic.DeepEqual(l.Rules, w.Rules)
}

func filled(spec gatewayv1.HTTPRouteSpec) gatewayv1.HTTPRouteSpec {
	out := *spec.DeepCopy()
	for i := range out.ParentRefs {
		out.ParentRefs[i] = defaulted(out.ParentRefs[i])
	}
	for i := range out.Rules {
		rule := &out.Rules[i]
		if len(rule.Matches) == 0 {
			rule.Matches = []gatewayv1.HTTPRouteMatch{{}}
		}
		for j := range rule.Matches {
			fillMatch(&rule.Matches[j])
		}
		for j := range rule.Filters {
			if m := rule.Filters[j].RequestMirror; m != nil {
				fillMirror(m)
			}
		}
		for j := range rule.BackendRefs {
			ref := &rule.BackendRefs[j].BackendRef
			ref.Group = cmp.Or(ref.Group, new(gatewayv1.Group("")))
			ref.Kind = cmp.Or(ref.Kind, new(gatewayv1.Kind("Service")))
			ref.Weight = cmp.Or(ref.Weight, new(int32(1)))
		}
	}
	return out
}

func fillMatch(m *gatewayv1.HTTPRouteMatch) {
	m.Path = cmp.Or(m.Path, anyPath())
	m.Path.Type = cmp.Or(m.Path.Type, new(gatewayv1.PathMatchPathPrefix))
	m.Path.Value = cmp.Or(m.Path.Value, new("/"))
	for i := range m.Headers {
		m.Headers[i].Type = cmp.Or(m.Headers[i].Type, new(gatewayv1.HeaderMatchExact))
	}
	for i := range m.QueryParams {
		m.QueryParams[i].Type = cmp.Or(m.QueryParams[i].Type, new(gatewayv1.QueryParamMatchExact))
	}
}

func invalid(field, format string, args ...any) error {
	return &router.InvalidError{Router: Name, Field: field, Message: fmt.Sprintf(format, args...)}
}
