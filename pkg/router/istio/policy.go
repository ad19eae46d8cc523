package istio

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
	networking "istio.io/api/networking/v1alpha3"
	"k8s.io/utils/ptr"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/router"
)

// policyOf is what spec.service says of all requests, whichever version gets them.
func policyOf(in router.Intent) (*networking.HTTPRoute, error) {
	svc := in.Owner.Spec.Service
	out := &networking.HTTPRoute{}
	var err error
	if out.Timeout, err = duration("spec.service.timeout", svc.Timeout); err != nil {
		return nil, err
	}
	if svc.BackendTimeout != "" {
		return nil, invalid("spec.service.backendTimeout", "Istio times one attempt by spec.service.retries.perTryTimeout: give that")
	}
	if out.Retries, err = retries(svc.Retries); err != nil {
		return nil, err
	}
	if out.CorsPolicy, err = cors(svc.CorsPolicy); err != nil {
		return nil, err
	}
	if out.Headers, err = headers(svc.Headers); err != nil {
		return nil, err
	}
	if out.Rewrite, err = rewrite(svc); err != nil {
		return nil, err
	}
	out.Mirrors, err = mirrors(in)
	return out, err
}

func duration(field, value string) (*durationpb.Duration, error) {
	if value == "" {
		return nil, nil //nolint:nilnil // the default
	}
	d, err := time.ParseDuration(value)
	if err != nil || d < time.Millisecond {
		return nil, invalid(field, "%q is no duration that Istio takes, such as 15s: give 1ms or more", value)
	}
	return durationpb.New(d), nil
}

func retries(in *siskinv1.Retries) (*networking.HTTPRetry, error) {
	if in == nil {
		return nil, nil //nolint:nilnil // the default
	}
	every, err := duration("spec.service.retries.perTryTimeout", in.PerTryTimeout)
	if err != nil {
		return nil, err
	}
	if in.Attempts == 0 && (in.PerTryTimeout != "" || in.RetryOn != "") {
		return nil, invalid("spec.service.retries.attempts", "without attempts nothing is tried again: give how many, or leave the rest of retries out")
	}
	out := &networking.HTTPRetry{Attempts: in.Attempts, PerTryTimeout: every, RetryOn: in.RetryOn}
	if in.RetryRemoteLocalities != nil {
		out.RetryRemoteLocalities = wrapperspb.Bool(*in.RetryRemoteLocalities)
	}
	return out, nil
}

func cors(in *siskinv1.CorsPolicy) (*networking.CorsPolicy, error) {
	const field = "spec.service.corsPolicy"
	if in == nil {
		return nil, nil //nolint:nilnil // the default
	}
	age, err := duration(field+".maxAge", in.MaxAge)
	if err != nil {
		return nil, err
	}
	out := &networking.CorsPolicy{
		AllowMethods: in.AllowMethods, AllowHeaders: in.AllowHeaders, ExposeHeaders: in.ExposeHeaders, MaxAge: age,
		AllowCredentials: wrapperspb.Bool(in.AllowCredentials),
	}
	for _, origin := range in.AllowOrigin {
		m := &networking.StringMatch{MatchType: &networking.StringMatch_Exact{Exact: origin}}
		if origin == "*" {
			m = regexMatch(".*")
		}
		out.AllowOrigins = append(out.AllowOrigins, m)
	}
	for i, origin := range in.AllowOrigins {
		m, err := stringMatch(fmt.Sprintf("%s.allowOrigins[%d]", field, i), origin)
		if err != nil {
			return nil, err
		}
		out.AllowOrigins = append(out.AllowOrigins, m)
	}
	return out, nil
}

func headers(in *siskinv1.Headers) (*networking.Headers, error) {
	if in == nil {
		return nil, nil //nolint:nilnil // no header is to be changed
	}
	out := &networking.Headers{}
	for _, part := range []struct {
		name string
		from *siskinv1.HeaderOperations
		into **networking.Headers_HeaderOperations
	}{{"request", in.Request, &out.Request}, {"response", in.Response, &out.Response}} {
		if part.from == nil {
			continue
		}
		field := "spec.service.headers." + part.name
		for _, name := range slices.Concat(slices.Sorted(maps.Keys(part.from.Set)), slices.Sorted(maps.Keys(part.from.Add)), part.from.Remove) {
			if !headerName.MatchString(strings.TrimPrefix(name, ":")) {
				return nil, invalid(field, "%q is no name of a header: correct it", name)
			}
		}
		*part.into = &networking.Headers_HeaderOperations{Set: part.from.Set, Add: part.from.Add, Remove: part.from.Remove}
	}
	return out, nil
}

// rewrite changes the request. Without a type it is what Istio does: it replaces what uri.prefix or uri.exact matched.
func rewrite(svc siskinv1.CanaryService) (*networking.HTTPRewrite, error) {
	rw := svc.Rewrite
	if rw == nil || rw.URI == "" && rw.Authority == "" {
		return nil, nil //nolint:nilnil // no rewrite is wanted
	}
	out := &networking.HTTPRewrite{Authority: rw.Authority}
	switch {
	case rw.URI == "":
	case rw.Type == string(gatewayv1.FullPathHTTPPathModifier):
		out.UriRegexRewrite = &networking.RegexRewrite{Match: "^.*$", Rewrite: strings.ReplaceAll(rw.URI, `\`, `\\`)}
	case rw.Type == string(gatewayv1.PrefixMatchHTTPPathModifier) && slices.ContainsFunc(svc.Match, func(m siskinv1.RequestMatch) bool {
		return m.URI != nil && m.URI.Prefix == ""
	}):
		return nil, invalid("spec.service.rewrite.type", "ReplacePrefixMatch replaces a prefix: give uri.prefix in each entry of spec.service.match")
	default:
		out.Uri = rw.URI
	}
	return out, nil
}

// mirrors are the copies of all requests that spec.service.mirror asks for.
func mirrors(in router.Intent) ([]*networking.HTTPMirrorPolicy, error) {
	var out []*networking.HTTPMirrorPolicy
	for i, m := range in.Owner.Spec.Service.Mirror {
		field := fmt.Sprintf("spec.service.mirror[%d]", i)
		ref := m.BackendRef
		namespace := string(ptr.Deref(ref.Namespace, gatewayv1.Namespace(in.Owner.Namespace)))
		switch {
		case ptr.Deref(ref.Kind, "Service") != "Service" || ptr.Deref(ref.Group, "") != "":
			return nil, invalid(field+".backendRef.kind", "Istio copies to Services: give a Service")
		case ref.Port == nil:
			return nil, invalid(field+".backendRef.port", "a reference to a Service needs its port: give one")
		case m.Percent != nil && m.Fraction != nil:
			return nil, invalid(field, "give percent or fraction, not both")
		case string(ref.Name) == in.Canary && namespace == in.Owner.Namespace:
			return nil, invalid(field+".backendRef.name", "%s is the Service of the canary: use spec.analysis.mirror, or another backend", in.Canary)
		}
		to := &networking.Destination{Host: string(ref.Name), Port: &networking.PortSelector{Number: uint32(*ref.Port)}} //nolint:gosec // a port
		if namespace != in.Owner.Namespace {
			to.Host += "." + namespace + ".svc.cluster.local"
		}
		percent := &networking.Percent{Value: 100}
		switch {
		case m.Percent != nil:
			percent.Value = float64(*m.Percent)
		case m.Fraction != nil:
			percent.Value = 100 * float64(m.Fraction.Numerator) / float64(max(ptr.Deref(m.Fraction.Denominator, 100), 1))
		}
		out = append(out, &networking.HTTPMirrorPolicy{Destination: to, Percentage: percent})
	}
	return out, nil
}
