package gatewayapi_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/kube-openapi/pkg/validation/spec"
	"k8s.io/kube-openapi/pkg/validation/strfmt"
	"k8s.io/kube-openapi/pkg/validation/validate"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	"sigs.k8s.io/yaml"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/router"
	"github.com/siskin-dev/siskin/pkg/router/gatewayapi"
	"github.com/siskin-dev/siskin/pkg/router/routertest"
)

// crd is the schema of the HTTPRoutes of the Gateway API's standard channel, as an API server reads it, but for its CEL rules and the keys of
// its lists.
func crd(t *testing.T) *validate.SchemaValidator {
	t.Helper()
	dir, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "sigs.k8s.io/gateway-api").Output()
	if err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(dir)), "config/crd/standard/gateway.networking.k8s.io_httproutes.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var def struct {
		Spec struct {
			Versions []struct {
				Schema struct {
					OpenAPIV3Schema struct {
						Properties struct {
							Spec spec.Schema `json:"spec"`
						} `json:"properties"`
					} `json:"openAPIV3Schema"`
				} `json:"schema"`
			} `json:"versions"`
		} `json:"spec"`
	}
	if err := yaml.Unmarshal(raw, &def); err != nil {
		t.Fatal(err)
	}
	return validate.NewSchemaValidator(&def.Spec.Versions[0].Schema.OpenAPIV3Schema.Properties.Spec, nil, "spec", strfmt.Default)
}

// named are n conditions.
func named(n int, m siskinv1.StringMatch) map[string]siskinv1.StringMatch {
	out := map[string]siskinv1.StringMatch{}
	for i := range n {
		out["x-"+strconv.Itoa(i)] = m
	}
	return out
}

func values(n int, value string) map[string]string {
	out := map[string]string{}
	for i := range n {
		out["X-"+strconv.Itoa(i)] = value
	}
	return out
}

// What the API server would refuse is refused before anything is written, with the field; what it takes is not. So each limit is tried from
// both sides, and what passes is held against the schema of the CRD.
func TestTheLimitsOfAnHTTPRoute(t *testing.T) {
	long := func(n int) string { return strings.Repeat("a", n) }
	service := func(m siskinv1.RequestMatch) func(*router.Intent) {
		return func(in *router.Intent) { in.Owner.Spec.Service.Match = []siskinv1.RequestMatch{m} }
	}
	audience := func(s, a siskinv1.RequestMatch) func(*router.Intent) {
		return func(in *router.Intent) {
			service(s)(in)
			in.Split.Audience, in.Audience = true, []siskinv1.RequestMatch{a}
		}
	}
	sticky := func(s siskinv1.RequestMatch) func(*router.Intent) {
		return func(in *router.Intent) {
			service(s)(in)
			in.Affinity = routertest.Affinity()
		}
	}
	headers := func(n int) siskinv1.RequestMatch { return siskinv1.RequestMatch{Headers: named(n, exact("1"))} }
	query := func(n int) siskinv1.RequestMatch { return siskinv1.RequestMatch{QueryParams: named(n, exact("1"))} }
	path := func(m siskinv1.StringMatch) siskinv1.RequestMatch { return siskinv1.RequestMatch{URI: &m} }
	ops := func(o siskinv1.HeaderOperations) func(*router.Intent) {
		return func(in *router.Intent) { in.Owner.Spec.Service.Headers = &siskinv1.Headers{Response: &o} }
	}
	parent := func(refs ...string) func(*router.Intent) { // "name/section"
		return func(in *router.Intent) {
			in.Owner.Spec.Service.GatewayRefs = nil
			for _, r := range refs {
				name, section, _ := strings.Cut(r, "/")
				ref := gatewayv1.ParentReference{Name: gatewayv1.ObjectName(name)}
				if section != "" {
					ref.SectionName = new(gatewayv1.SectionName(section))
				}
				in.Owner.Spec.Service.GatewayRefs = append(in.Owner.Spec.Service.GatewayRefs, ref)
			}
		}
	}
	many := func(n int) (out []string) {
		for i := range n {
			out = append(out, fmt.Sprintf("p%d", i))
		}
		return out
	}
	hosts := func(n int) func(*router.Intent) {
		return func(in *router.Intent) { in.Owner.Spec.Service.Hosts = many(n) }
	}
	timeout := func(s string) func(*router.Intent) {
		return func(in *router.Intent) { in.Owner.Spec.Service.Timeout = s }
	}
	rewrite := func(n int) func(*router.Intent) {
		return func(in *router.Intent) { in.Owner.Spec.Service.Rewrite = &siskinv1.Rewrite{URI: "/" + long(n-1)} }
	}
	tests := map[string]struct {
		within, beyond func(*router.Intent)
		field          string
	}{
		"headers of a match":              {service(headers(16)), service(headers(17)), "spec.service.match[0].headers"},
		"headers of both matches":         {audience(headers(8), one("header", "A", exact("1"))), audience(headers(16), one("header", "A", exact("1"))), "spec.analysis.match[0].headers"},
		"headers and cookies":             {audience(headers(15), one("cookie", "a", exact("1"))), audience(headers(16), one("cookie", "a", exact("1"))), "spec.analysis.match[0].cookies"},
		"headers and kept users":          {sticky(headers(15)), sticky(headers(16)), "spec.analysis.sessionAffinity"},
		"query parameters of a match":     {service(query(16)), service(query(17)), "spec.service.match[0].queryParams"},
		"query parameters of both":        {audience(query(15), one("query", "q", exact("1"))), audience(query(16), one("query", "q", exact("1"))), "spec.analysis.match[0].queryParams"},
		"a header's value":                {service(one("header", "A", exact(long(4096)))), service(one("header", "A", exact(long(4097)))), "spec.service.match[0].headers[A]"},
		"a header's regex that is made":   {service(one("header", "A", prefix(strings.Repeat("+", 2046)))), service(one("header", "A", prefix(strings.Repeat("+", 2047)))), "spec.service.match[0].headers[A]"},
		"a query parameter's value":       {service(one("query", "q", exact(long(1024)))), service(one("query", "q", exact(long(1025)))), "spec.service.match[0].queryParams[q]"},
		"a query parameter's regex":       {service(one("query", "q", prefix(strings.Repeat("+", 510)))), service(one("query", "q", prefix(strings.Repeat("+", 511)))), "spec.service.match[0].queryParams[q]"},
		"a path":                          {service(path(exact("/" + long(1023)))), service(path(exact("/" + long(1024)))), "spec.service.match[0].uri"},
		"a path's regex":                  {service(path(regex(long(1024)))), service(path(regex(long(1025)))), "spec.service.match[0].uri"},
		"a path's regex that is made":     {service(path(siskinv1.StringMatch{Suffix: strings.Repeat("+", 510)})), service(path(siskinv1.StringMatch{Suffix: strings.Repeat("+", 511)})), "spec.service.match[0].uri"},
		"a header that is set":            {ops(siskinv1.HeaderOperations{Set: values(1, long(4096))}), ops(siskinv1.HeaderOperations{Set: values(1, long(4097))}), "spec.service.headers.response.set[X-0]"},
		"a header that is set to nothing": {ops(siskinv1.HeaderOperations{Set: values(1, "1")}), ops(siskinv1.HeaderOperations{Set: values(1, "")}), "spec.service.headers.response.set[X-0]"},
		"headers that are added":          {ops(siskinv1.HeaderOperations{Add: values(16, "1")}), ops(siskinv1.HeaderOperations{Add: values(17, "1")}), "spec.service.headers.response.add"},
		"a header's name": {
			ops(siskinv1.HeaderOperations{Add: map[string]string{"X-A": "1"}}), ops(siskinv1.HeaderOperations{Add: map[string]string{"X A": "1"}}), "spec.service.headers.response.add[X A]",
		},
		"headers that are removed": {ops(siskinv1.HeaderOperations{Remove: many(16)}), ops(siskinv1.HeaderOperations{Remove: many(17)}), "spec.service.headers.response.remove"},
		"a header that is removed twice": {
			ops(siskinv1.HeaderOperations{Remove: []string{"A", "B"}}), ops(siskinv1.HeaderOperations{Remove: []string{"A", "A"}}), "spec.service.headers.response.remove[1]",
		},
		"a path that is written":  {rewrite(1024), rewrite(1025), "spec.service.rewrite.uri"},
		"parents":                 {parent(many(32)...), parent(many(33)...), "spec.service.gatewayRefs"},
		"sections of one parent":  {parent("a/x", "a/y"), parent("a/x", "a"), "spec.service.gatewayRefs[1]"},
		"no sections of a parent": {parent("a", "b/x"), parent("a", "b", "a/y"), "spec.service.gatewayRefs[2]"},
		"hosts":                   {hosts(16), hosts(17), "spec.service.hosts"},
		"the digits of a timeout": {timeout("99999ms"), timeout("100000ms"), "spec.service.timeout"},
		"a timeout with a point":  {timeout("1s500ms"), timeout("1.5s"), "spec.service.timeout"},
	}
	server := crd(t)
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			h, c := capable(t)
			r, in := h.New(c, c), intent(nil)
			tt.within(&in)
			if err := r.Validate(in); err != nil {
				t.Fatalf("within the limit: %v", err)
			}
			route := gatewayapi.Rules(t, in)
			obj, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&route)
			if err != nil {
				t.Fatal(err)
			}
			if err := server.Validate(obj).AsError(); err != nil {
				t.Errorf("within the limit, the API server: %v", err)
			}
			in = intent(nil)
			tt.beyond(&in)
			err = r.Validate(in)
			refused, ok := errors.AsType[*router.InvalidError](err)
			if !ok || refused.Field != tt.field {
				t.Errorf("beyond the limit: want a refusal of %s, have %v", tt.field, err)
			}
			if ok && !strings.ContainsAny(refused.Message, ":") {
				t.Errorf("it does not say what to do: %s", refused.Message)
			}
		})
	}
}
