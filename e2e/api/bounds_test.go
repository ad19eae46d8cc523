package api_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"

	"github.com/siskin-dev/siskin/e2e/fixtures"
)

type node = apiextensionsv1.JSONSchemaProps

// whole are valid specs that together have every field.
var whole = map[string][]string{
	"Canary": {`
targetRef: {kind: Deployment, name: finch}
service: {port: 80}
analysis: {interval: 10s, stepWeights: [1]}
`, `
targetRef: {apiVersion: apps/v1, kind: Deployment, name: finch}
autoscalerRef:
  apiVersion: keda.sh/v1alpha1
  kind: ScaledObject
  name: finch
  primaryScalerQueries: {prometheus: up}
  primaryScalerReplicas: {minReplicas: 1, maxReplicas: 100000}
  canary: {minReplicas: 1, maxReplicas: 100000}
provider: gatewayapi
routeRef: {apiVersion: example.org/v1, kind: Route, name: finch}
metricsServer: http://prometheus:9090
progressDeadlineSeconds: 60
skipAnalysis: false
suspend: false
revertOnDeletion: true
deletionPolicy: Restore
service:
  name: finch
  port: 80
  portName: http
  targetPort: http
  appProtocol: http
  portDiscovery: true
  hosts: [finch.example.org]
  gatewayRefs: [{name: public}]
  match:
  - uri: {prefix: /a}
    method: {exact: GET}
    headers: {x: {regex: a.*}}
    queryParams: {q: {exact: b}}
  - uri: {exact: /b}
    method: {prefix: G}
    headers: {x: {exact: c}}
    queryParams: {q: {prefix: d}}
  - uri: {regex: /c.*}
    method: {regex: P.*}
    headers: {x: {prefix: e}}
    queryParams: {q: {regex: f.*}}
  - uri: {suffix: /d}
    method: {suffix: T}
    headers: {x: {suffix: e}}
    queryParams: {q: {suffix: f}}
    cookies: {v: {exact: a}}
  - cookies: {v: {prefix: a}}
    withoutHeaders: {x: {prefix: a}}
    scheme: {prefix: http}
    authority: {prefix: finch}
  - cookies: {v: {suffix: a}}
    withoutHeaders: {x: {suffix: a}}
    scheme: {suffix: http}
    authority: {suffix: finch}
  - cookies: {v: {regex: a.*}}
    withoutHeaders: {x: {regex: a}}
    scheme: {regex: http}
    authority: {regex: finch}
  - name: a
    ignoreUriCase: true
    withoutHeaders: {x: {exact: a}}
    scheme: {exact: http}
    authority: {exact: finch}
    port: 80
    sourceLabels: {app: a}
    sourceNamespace: a
    gateways: [mesh]
  mirror: [{backendRef: {name: audit, port: 80}, percent: 5}]
  rewrite: {uri: /, authority: finch, type: ReplaceFullPath}
  headers:
    request: {set: {a: b}, add: {c: d}, remove: [e]}
    response: {set: {a: b}, add: {c: d}, remove: [e]}
  timeout: 15s
  backendTimeout: 5s
  gateways: [infra/public]
  delegation: false
  trafficPolicy: {tls: {mode: ISTIO_MUTUAL}}
  retries: {attempts: 3, perTryTimeout: 2s, retryOn: gateway-error, retryRemoteLocalities: true}
  corsPolicy:
    allowOrigin: [https://finch.example.org]
    allowOrigins: [{exact: a}, {prefix: b}, {regex: c.*}, {suffix: d}]
    allowMethods: [GET]
    allowHeaders: [x]
    exposeHeaders: [x-total]
    maxAge: 24h
    allowCredentials: true
  apex: {labels: {a: b}, annotations: {c: d}}
  primary: {labels: {a: b}, annotations: {c: d}}
  canary: {labels: {a: b}, annotations: {c: d}}
analysis:
  interval: 10s
  threshold: 1
  maxWeight: 100
  stepWeight: 1
  stepWeightPromotion: 10
  canaryReplicas: 50%
  primaryReadyThreshold: 100
  canaryReadyThreshold: 100
  gateDeadlineSeconds: 60
  noData: Hold
  match:
  - uri: {prefix: /a}
    method: {exact: GET}
    headers: {x: {regex: a.*}}
    queryParams: {q: {exact: b}}
    cookies: {v: {exact: a}}
  - uri: {exact: /b}
    method: {prefix: G}
    headers: {x: {exact: c}}
    queryParams: {q: {prefix: d}}
    cookies: {v: {prefix: a}}
  - uri: {regex: /c.*}
    method: {regex: P.*}
    headers: {x: {prefix: e}}
    queryParams: {q: {regex: f.*}}
    cookies: {v: {regex: a.*}}
  - uri: {suffix: /d}
    method: {suffix: T}
    headers: {x: {suffix: e}}
    queryParams: {q: {suffix: f}}
    cookies: {v: {suffix: a}}
  - name: a
    ignoreUriCase: true
    withoutHeaders: {x: {exact: a}}
    scheme: {exact: http}
    authority: {exact: finch}
    port: 80
    sourceLabels: {app: a}
    sourceNamespace: a
    gateways: [mesh]
  - withoutHeaders: {x: {prefix: a}}
    scheme: {prefix: http}
    authority: {prefix: finch}
  - withoutHeaders: {x: {suffix: a}}
    scheme: {suffix: http}
    authority: {suffix: finch}
  - withoutHeaders: {x: {regex: a}}
    scheme: {regex: http}
    authority: {regex: finch}
  mirror: true
  mirrorWeight: 50
  sessionAffinity:
    cookieName: canary
    primaryCookieName: primary
    maxAge: 60
    domain: example.org
    path: /
    httpOnly: true
    secure: true
    sameSite: None
    partitioned: true
  onFailure: Freeze
  bake: {duration: 1m, threshold: 2}
  metrics:
  - name: m
    interval: 1m
    thresholdRange: {min: 1, max: 2}
    threshold: 1
    query: up
    templateRef: {name: t, namespace: nest}
    templateVariables: {a: b}
  webhooks:
  - name: w
    type: rollout
    url: http://w
    timeout: 5s
    retries: 1
    disableTLS: false
    muteAlert: true
    secretRef: {name: s}
    metadata: {a: b}
  alerts:
  - name: a
    severity: info
    providerRef: {name: p, namespace: nest}
`, `
targetRef: {kind: Deployment, name: finch}
service: {port: 80}
analysis: {interval: 10s, iterations: 3}
`, `
targetRef: {kind: Deployment, name: finch}
service: {port: 80}
analysis: {interval: 10s, steps: [{weight: 10, interval: 30s, pause: {duration: 1m}}]}
`},
	"RouterDefinition": {`
target: {apiVersion: example.org/v1, kind: Route, resource: routes, nameFrom: RouteRef, writes: [/spec/backends]}
weights: {sum: 1000, fields: [{pointer: /spec/backends, value: self}]}
mirror: {part: true, fields: [{pointer: /spec/backends, value: self}]}
audience: {headers: [Exact], cookies: [Exact], fields: [{pointer: /spec/backends, value: self}]}
current: '{"primary": 100, "canary": 0}'
status: {accepted: "true", rejected: "false", message: '"well"'}
settle: 5s
fixtures:
- name: a
  object: {spec: {backends: []}}
  canary: 5
  mirror: 5
  expected: {spec: {backends: []}}
  evidence: Accepted
  match:
  - uri: {prefix: /a}
    method: {exact: GET}
    headers: {x: {regex: a.*}}
    queryParams: {q: {exact: b}}
    cookies: {v: {exact: a}}
  - uri: {exact: /b}
    method: {prefix: G}
    headers: {x: {exact: c}}
    queryParams: {q: {prefix: d}}
    cookies: {v: {prefix: a}}
  - uri: {regex: /c.*}
    method: {regex: P.*}
    headers: {x: {prefix: e}}
    queryParams: {q: {regex: f.*}}
    cookies: {v: {regex: a.*}}
  - uri: {suffix: /d}
    method: {suffix: T}
    headers: {x: {suffix: e}}
    queryParams: {q: {suffix: f}}
    cookies: {v: {suffix: a}}
  - name: a
    ignoreUriCase: true
    withoutHeaders: {x: {exact: a}}
    scheme: {exact: http}
    authority: {exact: finch}
    port: 80
    sourceLabels: {app: a}
    sourceNamespace: a
    gateways: [mesh]
  - withoutHeaders: {x: {prefix: a}}
    scheme: {prefix: http}
    authority: {prefix: finch}
  - withoutHeaders: {x: {suffix: a}}
    scheme: {suffix: http}
    authority: {suffix: finch}
  - withoutHeaders: {x: {regex: a}}
    scheme: {regex: http}
    authority: {regex: finch}
`, `
target: {apiVersion: example.org/v1, kind: Route, resource: routes, writes: [/spec/backends]}
weights: {fields: [{pointer: /spec/backends, value: self}]}
current: '{"primary": 100, "canary": 0}'
settle: 5s
`},
	"MetricTemplate": {`
provider:
  type: prometheus
  address: http://prometheus:9090
  headers: {a: [b]}
  secretRef: {name: s}
  insecureSkipVerify: false
query: up
`},
	"AlertProvider": {`
type: slack
channel: releases
username: siskin
address: https://hooks.example.org/x
proxy: http://proxy:3128
secretRef: {name: s}
`},
	"GitSync": {`
url: https://git.example.org/aviary
ref: {branch: main, tag: v1}
path: ./
interval: 1m
timeout: 1m
secretRef: {name: s}
prune: true
deletionPolicy: MirrorPrune
targetNamespace: shop
serviceAccountName: syncer
suspend: false
`, `
url: https://git.example.org/aviary
ref: {commit: 0123456789abcdef0123456789abcdef01234567}
`},
}

// TestBounds : every enum, number, length and count of the schema takes its limit and refuses what is beyond, in the field's name.
// The cases are made from the CRDs, so that a field that is added is tested, or reported as missing in whole.
func TestBounds(t *testing.T) {
	e := given(t)
	ns := e.Namespace(t)
	tried := 0
	for kind, schema := range schemas(t) {
		var specs []map[string]any
		for _, text := range whole[kind] {
			specs = append(specs, parsed(t, text))
			if err := try(t, e.API, ns, kind, parsed(t, text)); err != nil {
				t.Fatalf("%s is not valid: %v\n%s", kind, err, text)
			}
		}
		walk(kind, "", schema.Properties["spec"], func(path string, s node) {
			if path == "" || foreign(path) {
				return
			}
			spec := having(specs, path)
			if spec == nil {
				t.Errorf("%s.%s: no spec of whole has it", kind, path)
				return
			}
			for _, c := range limits(path, s) {
				tried++
				if c.good != nil {
					if err := try(t, e.API, ns, kind, with(spec, path, c.good)); err != nil {
						t.Errorf("%s.%s: %s is refused: %v", kind, path, c.what, err)
					}
				}
				if err := try(t, e.API, ns, kind, with(spec, path, c.bad)); err == nil || !about(err, path) {
					t.Errorf("%s.%s: more than %s is not refused: %v", kind, path, c.what, err)
				}
			}
		})
	}
	if tried < 100 {
		t.Errorf("only %d limits: the schema was not read as it should be", tried)
	}
	t.Logf("%d limits", tried)
}

// limit is a value at a limit, and one beyond.
type limit struct {
	what      string
	good, bad any
}

func limits(path string, s node) []limit {
	var out []limit
	if s.Minimum != nil {
		out = append(out, limit{fmt.Sprintf("minimum %v", *s.Minimum), int64(*s.Minimum), int64(*s.Minimum) - 1})
	}
	if s.Maximum != nil {
		out = append(out, limit{fmt.Sprintf("maximum %v", *s.Maximum), int64(*s.Maximum), int64(*s.Maximum) + 1})
	}
	for _, v := range s.Enum {
		var good string
		if json.Unmarshal(v.Raw, &good) == nil && good != "kubernetes" {
			out = append(out, limit{"enum " + good, good, "nonsense"})
		}
	}
	if s.MaxLength != nil && len(s.Enum) == 0 {
		var good any
		if s.Pattern == "" && len(s.XValidations) == 0 {
			good = strings.Repeat("a", int(*s.MaxLength))
		}
		out = append(out, limit{fmt.Sprintf("maxLength %d", *s.MaxLength), good, strings.Repeat("a", int(*s.MaxLength)+1)})
	}
	if s.MinLength != nil {
		out = append(out, limit{fmt.Sprintf("minLength %d", *s.MinLength), nil, ""})
	}
	if s.MinItems != nil {
		out = append(out, limit{fmt.Sprintf("minItems %d", *s.MinItems), nil, []any{}})
	}
	if s.MaxItems != nil {
		out = append(out, limit{what: fmt.Sprintf("maxItems %d", *s.MaxItems), bad: many(int(*s.MaxItems) + 1)})
	}
	if s.MaxProperties != nil {
		bad := map[string]any{}
		for i := range *s.MaxProperties + 1 {
			bad[fmt.Sprintf("k%d", i)] = example(path)
		}
		out = append(out, limit{what: fmt.Sprintf("maxProperties %d", *s.MaxProperties), bad: bad})
	}
	return out
}

// many is a list that is too long; with does the rest.
type many int

// example is a value of a map.
func example(path string) any {
	switch {
	case strings.Contains(path, ".match[]") && !strings.HasSuffix(path, ".sourceLabels"):
		return map[string]any{"exact": "a"}
	case path == "provider.headers":
		return []any{"a"}
	}
	return "a"
}

// about tells whether an error is about a field, in whichever item of a list.
func about(err error, path string) bool {
	at, _, _ := strings.Cut(path, ".<key>")
	pattern := strings.ReplaceAll(regexp.QuoteMeta("spec."+at), `\[\]`, `\[\d+\]`)
	return regexp.MustCompile(pattern).MatchString(err.Error())
}

// walk visits a schema and all below.
func walk(kind, path string, s node, visit func(string, node)) {
	visit(path, s)
	join := func(name string) string { return strings.TrimPrefix(path+"."+name, ".") }
	for name, below := range s.Properties {
		walk(kind, join(name), below, visit)
	}
	if s.Items != nil && s.Items.Schema != nil {
		walk(kind, path+"[]", *s.Items.Schema, visit)
	}
	if s.AdditionalProperties != nil && s.AdditionalProperties.Schema != nil {
		walk(kind, path+".<key>", *s.AdditionalProperties.Schema, visit)
	}
}

// foreign are fields of types of the Gateway API.
func foreign(path string) bool {
	return strings.Contains(path, "gatewayRefs[]") || strings.Contains(path, "mirror[]")
}

func schemas(t *testing.T) map[string]node {
	t.Helper()
	root, err := fixtures.Root()
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(root, "kustomize/crd/siskin.dev_*.yaml"))
	if err != nil || len(files) < 4 {
		t.Fatalf("%d CRDs: %v", len(files), err)
	}
	out := map[string]node{}
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		var crd apiextensionsv1.CustomResourceDefinition
		if err := yaml.Unmarshal(data, &crd); err != nil {
			t.Fatal(err)
		}
		out[crd.Spec.Names.Kind] = *crd.Spec.Versions[0].Schema.OpenAPIV3Schema
	}
	return out
}

// having returns the first spec that has a field.
func having(specs []map[string]any, path string) map[string]any {
	for _, spec := range specs {
		found := false
		edit(runtime.DeepCopyJSON(spec), strings.Split(path, "."), func(v any) any { found = true; return v })
		if found {
			return spec
		}
	}
	return nil
}

// with returns a copy of spec with another value in a field.
func with(spec map[string]any, path string, value any) map[string]any {
	out := runtime.DeepCopyJSON(spec)
	edit(out, strings.Split(path, "."), func(old any) any {
		n, ok := value.(many)
		if !ok {
			return value
		}
		list, _ := old.([]any)
		for i := len(list); i < int(n); i++ {
			list = append(list, renamed(list[0], i))
		}
		return list
	})
	return out
}

// renamed copies an item of a list so that it is no duplicate.
func renamed(item any, i int) any {
	switch v := item.(type) {
	case map[string]any:
		c := runtime.DeepCopyJSON(v)
		if _, ok := c["name"]; ok {
			c["name"] = fmt.Sprintf("n%d", i)
		}
		return c
	case string:
		return fmt.Sprintf("%s%d", v, i)
	}
	return item
}

// edit changes the first value at a path, where "x[]" means the first item of x that has the rest and "<key>" any key.
func edit(at any, path []string, change func(any) any) bool {
	m, ok := at.(map[string]any)
	if !ok {
		return false
	}
	name, isList := strings.CutSuffix(path[0], "[]")
	if name == "<key>" {
		for key := range m {
			name = key
		}
	}
	value, ok := m[name]
	if !ok {
		return false
	}
	list, _ := value.([]any)
	if isList {
		for i := range list {
			if len(path) == 1 {
				list[i] = change(list[i])
				return true
			}
			if edit(list[i], path[1:], change) {
				return true
			}
		}
		return false
	}
	if len(path) == 1 {
		m[name] = change(value)
		return true
	}
	return edit(value, path[1:], change)
}
