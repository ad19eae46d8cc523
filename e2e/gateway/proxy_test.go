package gateway

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	"sigs.k8s.io/yaml"
)

// pods are Services by name.
type pods map[string][]string

func (p pods) Ready(_, service string, _ int32) ([]string, bool) {
	addrs, ok := p[service]
	return addrs, ok
}

// hits counts the requests of a backend, and remembers the last.
type hits struct {
	n    atomic.Int64
	last atomic.Pointer[http.Request]
	body atomic.Pointer[string]
}

// serve starts a backend that answers with its name.
func serve(t *testing.T, name string, h *hits) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		data, _ := io.ReadAll(r.Body)
		body := string(data)
		h.body.Store(&body)
		h.last.Store(r)
		h.n.Add(1)
		if d, err := time.ParseDuration(r.Header.Get("X-Delay")); err == nil {
			select {
			case <-time.After(d):
			case <-r.Context().Done():
			}
		}
		w.Header().Set("X-Inner", "yes")
		_, _ = fmt.Fprint(w, name)
	}))
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

// given serves the rules (YAML) with two backends.
func given(t *testing.T, rules string) (gate *httptest.Server, primary, canary *hits) {
	t.Helper()
	primary, canary = &hits{}, &hits{}
	p := newProxy(pods{
		"shop-primary": {serve(t, "primary", primary)}, "shop-canary": {serve(t, "canary", canary)}, "empty": nil,
		"dead": {"127.0.0.1:1", serve(t, "alive", &hits{})}, "gone": {"127.0.0.1:1"},
	})
	p.table.Store(newTable([]*compiled{compiledOf(t, rules, nil)}))
	gate = httptest.NewServer(p)
	t.Cleanup(gate.Close)
	return gate, primary, canary
}

func compiledOf(t *testing.T, rules string, last *compiled) *compiled {
	t.Helper()
	route := &gatewayv1.HTTPRoute{ObjectMeta: metav1.ObjectMeta{Namespace: "aviary", Name: "shop"}}
	if err := yaml.UnmarshalStrict([]byte(rules), &route.Spec.Rules); err != nil {
		t.Fatal(err)
	}
	c, err := compile(route, []string{""}, func(ref gatewayv1.BackendObjectReference) bool { return ref.Name != "bad" }, last)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// waitFor waits until ok, for some seconds.
func waitFor(t *testing.T, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(5 * time.Second)
	for !ok() {
		select {
		case <-tick.C:
		case <-limit:
			return
		}
	}
}

type answer struct {
	status int
	body   string
	header http.Header
}

func ask(t *testing.T, gate *httptest.Server, method, path string, header http.Header, body string) answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, gate.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	maps.Copy(req.Header, header)
	resp, err := gate.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{resp.StatusCode, string(data), resp.Header}
}

const split = `
- backendRefs:
  - {name: shop-primary, port: 80, weight: %d}
  - {name: shop-canary, port: 80, weight: %d}
`

// Weights are exact over a round, and interleaved: no run of the rarer one is longer than it must be.
func TestWeights(t *testing.T) {
	for _, tt := range []struct{ primary, canary int }{{100, 0}, {99, 1}, {80, 20}, {50, 50}, {1, 99}, {0, 100}, {2, 1}, {1_000_000, 0}} {
		gate, primary, canary := given(t, fmt.Sprintf(split, tt.primary, tt.canary))
		n := min(tt.primary+tt.canary, 200)
		for range n {
			if a := ask(t, gate, "GET", "/", nil, ""); a.status != http.StatusOK {
				t.Fatalf("%d/%d: %+v", tt.primary, tt.canary, a)
			}
		}
		if got := int(canary.n.Load()); got != n*tt.canary/(tt.primary+tt.canary) || int(primary.n.Load()) != n-got {
			t.Errorf("%d/%d: of %d requests %d went to the canary", tt.primary, tt.canary, n, got)
		}
	}
	for _, weights := range [][]int64{{80, 20}, {1, 2, 3}, {99, 1}, {0, 7, 0}} {
		w, got, total := newWheel(weights), make([]int64, len(weights)), int64(0)
		for _, n := range weights {
			total += n
		}
		for n := int64(1); n <= 10*total; n++ {
			got[w.next()]++
			for i := range weights {
				if off := got[i]*total - n*weights[i]; off > total || off < -total || (n%total == 0 && off != 0) {
					t.Fatalf("%v: after %d picks they are %v", weights, n, got)
				}
			}
		}
	}
}

// An edit that leaves the weights as they are does not begin the rotation anew.
func TestRotationGoesOn(t *testing.T) {
	first := compiledOf(t, fmt.Sprintf(split, 50, 50), nil)
	first.rules()[0].wheel.next()
	if again := compiledOf(t, fmt.Sprintf(split, 50, 50), first); again.rules()[0].wheel != first.rules()[0].wheel {
		t.Error("the same weights began anew")
	}
	if other := compiledOf(t, fmt.Sprintf(split, 40, 60), first); other.rules()[0].wheel == first.rules()[0].wheel {
		t.Error("other weights went on with the old rotation")
	}
}

func TestNoBackend(t *testing.T) {
	tests := map[string]struct {
		ref    string
		status int
	}{
		"a Service without ready endpoints is 503": {"{name: empty, port: 80}", http.StatusServiceUnavailable},
		"a reference that is not permitted is 500": {"{name: bad, port: 80}", http.StatusInternalServerError},
		"a Service that does not exist is 500":     {"{name: nobody, port: 80}", http.StatusInternalServerError},
		"no weight at all is 500":                  {"{name: shop-primary, port: 80, weight: 0}", http.StatusInternalServerError},
		"an endpoint that is gone is 502":          {"{name: gone, port: 80}", http.StatusBadGateway},
		"the next endpoint is tried":               {"{name: dead, port: 80}", http.StatusOK},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			gate, _, _ := given(t, "- backendRefs: ["+tt.ref+"]")
			for range 2 { // each endpoint comes first once
				if a := ask(t, gate, "GET", "/", nil, ""); a.status != tt.status {
					t.Errorf("%d %s, not %d", a.status, a.body, tt.status)
				}
			}
		})
	}
	gate, primary, _ := given(t, "- matches: [{path: {value: /a}}]\n  backendRefs: [{name: shop-primary, port: 80}]")
	if a := ask(t, gate, "GET", "/b", nil, ""); a.status != http.StatusNotFound || primary.n.Load() != 0 {
		t.Errorf("no rule matches: %+v", a)
	}
}

// Each request belongs to the rule that matches it best, whatever their order.
func TestMatches(t *testing.T) {
	const rules = `
- matches: [{path: {value: /long}}]
  backendRefs: [{name: shop-primary, port: 80}]
- backendRefs: [{name: shop-primary, port: 80}]
- matches:
  - {path: {type: Exact, value: /exact}}
  - {path: {type: RegularExpression, value: "/re/[0-9]+"}}
  - {path: {value: /long/prefix}}
  - {method: POST}
  - {headers: [{name: X-Canary, value: always}]}
  - {headers: [{name: Cookie, type: RegularExpression, value: "^(.*?;)?\\s*(canary=v2)(;.*)?$"}]}
  - {queryParams: [{name: v, value: "2"}]}
  - {queryParams: [{name: w, type: RegularExpression, value: "b.d"}]}
  backendRefs: [{name: shop-canary, port: 80}]
`
	gate, _, _ := given(t, rules)
	for _, tt := range []struct {
		method, path, header, want string
	}{
		{"GET", "/", "", "primary"},
		{"GET", "/exact", "", "canary"},
		{"GET", "/exact/no", "", "primary"},
		{"GET", "/re/12", "", "canary"},
		{"GET", "/re/12x", "", "primary"},
		{"GET", "/long/prefix/x", "", "canary"},
		{"GET", "/long/prefixed", "", "primary"},
		{"GET", "/long", "", "primary"},
		{"POST", "/", "", "canary"},
		{"POST", "/long", "", "primary"}, // the longer path beats the method
		{"GET", "/", "X-Canary: always", "canary"},
		{"GET", "/", "X-Canary: alway", "primary"},
		{"GET", "/", "Cookie: a=b; canary=v2", "canary"},
		{"GET", "/", "Cookie: a=canary=v2", "primary"},
		{"GET", "/?v=2", "", "canary"},
		{"GET", "/?v=22", "", "primary"},
		{"GET", "/?w=bad", "", "canary"},
		{"GET", "/?w=bads", "", "primary"},
	} {
		h := http.Header{}
		if k, v, ok := strings.Cut(tt.header, ": "); ok {
			h.Set(k, v)
		}
		if a := ask(t, gate, tt.method, tt.path, h, ""); a.body != tt.want {
			t.Errorf("%s %s %s: %s, not %s", tt.method, tt.path, tt.header, a.body, tt.want)
		}
	}
}

func TestHosts(t *testing.T) {
	tbl := &table{}
	named := map[*rule]string{}
	for host, name := range map[string]string{"": "any", "*.example.org": "wild", "a.example.org": "exact"} {
		r := &rule{}
		named[r] = name
		tbl.entries = append(tbl.entries, entry{host: host, match: match{prefix: "/"}, rule: r})
	}
	tbl = newTable([]*compiled{{entries: tbl.entries}})
	for host, want := range map[string]string{"a.example.org": "exact", "A.example.org:80": "exact", "b.example.org": "wild", "example.org": "any", "x": "any"} {
		got, _ := tbl.find(&http.Request{Host: host, URL: must(t, host)})
		if named[got] != want {
			t.Errorf("%s: %s, not %s", host, named[got], want)
		}
	}
	wild, own := gatewayv1.Hostname("*.example.org"), gatewayv1.Hostname("a.example.org")
	for _, tt := range []struct {
		route    []gatewayv1.Hostname
		listener *gatewayv1.Hostname
		want     []string
	}{
		{nil, nil, []string{""}},
		{[]gatewayv1.Hostname{own}, nil, []string{"a.example.org"}},
		{[]gatewayv1.Hostname{own, "b.org"}, &wild, []string{"a.example.org"}},
		{[]gatewayv1.Hostname{wild}, &own, []string{"a.example.org"}},
		{[]gatewayv1.Hostname{"b.org"}, &own, nil},
	} {
		if diff := cmp.Diff(tt.want, hostsOf(tt.route, tt.listener)); diff != "" {
			t.Errorf("%v at %v: %s", tt.route, tt.listener, diff)
		}
	}
}

func TestHeadersAndRewrites(t *testing.T) {
	const rules = `
- matches: [{path: {value: /api}}]
  filters:
  - {type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: A, value: "1"}], add: [{name: B, value: "2"}], remove: [C]}}
  - {type: ResponseHeaderModifier, responseHeaderModifier: {remove: [X-Inner], set: [{name: D, value: "4"}]}}
  - {type: URLRewrite, urlRewrite: {hostname: inner.example.org, path: {type: ReplacePrefixMatch, replacePrefixMatch: /v2}}}
  backendRefs:
  - name: shop-primary
    port: 80
    filters:
    - {type: ResponseHeaderModifier, responseHeaderModifier: {add: [{name: Set-Cookie, value: canary=v1; Max-Age=9}]}}
    - {type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: E, value: "5"}]}}
- matches: [{path: {value: /full}}]
  filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplaceFullPath, replaceFullPath: /x}}}]
  backendRefs: [{name: shop-canary, port: 80}]
`
	gate, primary, canary := given(t, rules)
	a := ask(t, gate, "GET", "/api/one?q=1", http.Header{"A": {"0"}, "B": {"1"}, "C": {"3"}}, "")
	got := primary.last.Load()
	if got.Header.Get("A") != "1" || strings.Join(got.Header["B"], ",") != "1,2" || got.Header.Get("C") != "" || got.Header.Get("E") != "5" {
		t.Errorf("the backend got %v", got.Header)
	}
	if got.Host != "inner.example.org" || got.URL.String() != "/v2/one?q=1" {
		t.Errorf("the backend got %s%s", got.Host, got.URL)
	}
	if a.header.Get("X-Inner") != "" || a.header.Get("D") != "4" || a.header.Get("Set-Cookie") != "canary=v1; Max-Age=9" {
		t.Errorf("the user got %v", a.header)
	}
	ask(t, gate, "GET", "/full/way", nil, "")
	if got := canary.last.Load(); got.URL.Path != "/x" {
		t.Errorf("the backend got %s", got.URL)
	}
}

// Mirrors get exactly their percentage, with the body, and what they answer, or whether they do, is nobody's concern.
func TestMirror(t *testing.T) {
	const rules = `
- filters: [{type: RequestMirror, requestMirror: {backendRef: {name: %s, port: 80}, percent: %d}}]
  backendRefs: [{name: shop-primary, port: 80}]
`
	for _, percent := range []int{0, 25, 100} {
		gate, primary, canary := given(t, fmt.Sprintf(rules, "shop-canary", percent))
		for range 100 {
			if a := ask(t, gate, "POST", "/pay", http.Header{"X-A": {"b"}}, "the body"); a.body != "primary" {
				t.Fatalf("the user sees %+v", a)
			}
		}
		waitFor(t, func() bool { return int(canary.n.Load()) >= percent })
		if n := int(canary.n.Load()); n != percent {
			t.Errorf("%d copies at %d %%", n, percent)
		}
		if percent > 0 && (*canary.body.Load() != "the body" || *primary.body.Load() != "the body" || canary.last.Load().Header.Get("X-A") != "b") {
			t.Errorf("%d %%: the copy's body is %q, the original's %q", percent, *canary.body.Load(), *primary.body.Load())
		}
	}
	gate, _, _ := given(t, fmt.Sprintf(rules, "gone", 100))
	if a := ask(t, gate, "GET", "/", nil, ""); a.status != http.StatusOK {
		t.Errorf("a mirror that is down is felt: %+v", a)
	}
	for _, of := range [][2]int64{{3, 10}, {1, 1}, {0, 5}, {99, 100}} {
		s, got := &share{n: of[0], m: of[1]}, int64(0)
		for n := int64(1); n <= 1000; n++ {
			if s.next() {
				got++
			}
			if got != n*s.n/s.m {
				t.Fatalf("%d/%d: of %d it lets %d through", s.n, s.m, n, got)
			}
		}
	}
}

func TestTimeouts(t *testing.T) {
	for _, kind := range []string{"request", "backendRequest"} {
		gate, _, _ := given(t, "- backendRefs: [{name: shop-primary, port: 80}]\n  timeouts: {"+kind+": 100ms}")
		if a := ask(t, gate, "GET", "/", http.Header{"X-Delay": {"3s"}}, ""); a.status != http.StatusGatewayTimeout || a.header.Get(BackendHeader) != "aviary/shop-primary" {
			t.Errorf("%s: %+v", kind, a)
		}
		if a := ask(t, gate, "GET", "/", nil, ""); a.status != http.StatusOK {
			t.Errorf("%s: %+v", kind, a)
		}
	}
}

// What the gateway does not know it refuses.
func TestUnsupported(t *testing.T) {
	for _, rules := range []string{
		"- filters: [{type: RequestRedirect, requestRedirect: {hostname: x}}]",
		"- filters: [{type: CORS, cors: {}}]",
		"- retry: {attempts: 2}",
		"- backendRefs: [{name: a, port: 80, filters: [{type: RequestMirror, requestMirror: {backendRef: {name: b, port: 80}}}]}]",
		"- matches: [{path: {type: RegularExpression, value: '('}}]",
	} {
		route := &gatewayv1.HTTPRoute{}
		if err := yaml.Unmarshal([]byte(rules), &route.Spec.Rules); err != nil {
			t.Fatal(err)
		}
		if _, err := compile(route, []string{""}, func(gatewayv1.BackendObjectReference) bool { return true }, nil); err == nil {
			t.Errorf("%s was taken", rules)
		}
	}
}
