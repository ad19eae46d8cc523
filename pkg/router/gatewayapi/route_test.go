package gatewayapi_test

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	"sigs.k8s.io/yaml"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/router"
	"github.com/siskin-dev/siskin/pkg/router/gatewayapi"
	"github.com/siskin-dev/siskin/pkg/router/gatewayapi/gatewayapitest"
	"github.com/siskin-dev/siskin/pkg/router/routertest"
)

var update = flag.Bool("update", false, "rewrite the golden files")

const namespace = "aviary"

func intent(edit func(*siskinv1.CanaryService)) router.Intent {
	canary := gatewayapitest.Canary(namespace)
	if edit != nil {
		edit(&canary.Spec.Service)
	}
	in := routertest.Intent(canary)
	in.Split = router.Split{Primary: 90, Canary: 10}
	return in
}

func newRouter(c client.Client) *gatewayapi.Router {
	return gatewayapi.New(c, c, clocktesting.NewFakePassiveClock(time.Unix(0, 0)))
}

func get(t *testing.T, c client.Client) *gatewayv1.HTTPRoute {
	t.Helper()
	var route gatewayv1.HTTPRoute
	if err := c.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: "finch"}, &route); err != nil {
		t.Fatal(err)
	}
	return &route
}

func exact(s string) siskinv1.StringMatch  { return siskinv1.StringMatch{Exact: s} }
func prefix(s string) siskinv1.StringMatch { return siskinv1.StringMatch{Prefix: s} }
func regex(s string) siskinv1.StringMatch  { return siskinv1.StringMatch{Regex: s} }

func match(edit func(*siskinv1.RequestMatch)) []siskinv1.RequestMatch {
	var m siskinv1.RequestMatch
	edit(&m)
	return []siskinv1.RequestMatch{m}
}

// Each golden file is the whole spec of the route that comes of one spec.service; a second Apply has to write nothing.
func TestRoutes(t *testing.T) {
	tests := map[string]func(*siskinv1.CanaryService){
		"plain": nil,
		"uri": func(s *siskinv1.CanaryService) {
			s.Match = []siskinv1.RequestMatch{{URI: new(exact("/a"))}, {URI: new(prefix("/b/"))}, {URI: new(regex("/c/[0-9]+"))}}
		},
		"method-headers-query": func(s *siskinv1.CanaryService) {
			s.Match = match(func(m *siskinv1.RequestMatch) {
				m.Method = new(exact("POST"))
				m.Headers = map[string]siskinv1.StringMatch{"X-B": regex("^b.*"), "X-A": exact("a"), "Cookie": regex("^(.*?;)?(user=test)(;.*)?$")}
				m.QueryParams = map[string]siskinv1.StringMatch{"v": exact("2"), "q": regex("x+")}
			})
		},
		"headers-rewrite-timeouts": func(s *siskinv1.CanaryService) {
			s.Headers = &siskinv1.Headers{
				Request:  &siskinv1.HeaderOperations{Set: map[string]string{"B": "2", "A": "1"}, Add: map[string]string{"C": "3"}, Remove: []string{"D"}},
				Response: &siskinv1.HeaderOperations{Remove: []string{"Server"}},
			}
			s.Rewrite = &siskinv1.Rewrite{URI: "/v2", Authority: "finch.internal"}
			s.Timeout, s.BackendTimeout = "15s", "5s"
		},
		"prefix-rewrite": func(s *siskinv1.CanaryService) {
			s.Match = match(func(m *siskinv1.RequestMatch) { m.URI = new(prefix("/api")) })
			s.Rewrite = &siskinv1.Rewrite{URI: "/", Type: "ReplacePrefixMatch"}
		},
		"gamma-and-gateway": func(s *siskinv1.CanaryService) {
			s.Hosts = []string{"*"}
			s.GatewayRefs = []gatewayv1.ParentReference{
				{Group: new(gatewayv1.Group(gatewayv1.GroupName)), Kind: new(gatewayv1.Kind("Service")), Name: "finch", Port: new(gatewayv1.PortNumber(80))},
				{Name: "public", Namespace: new(gatewayv1.Namespace("infra")), SectionName: new(gatewayv1.SectionName("https"))},
			}
		},
		"mirror": func(s *siskinv1.CanaryService) {
			s.Mirror = []gatewayv1.HTTPRequestMirrorFilter{
				{BackendRef: gatewayv1.BackendObjectReference{Name: "audit", Port: new(gatewayv1.PortNumber(80))}, Percent: new(int32(5))},
				{
					BackendRef: gatewayv1.BackendObjectReference{Name: "finch-canary", Namespace: new(gatewayv1.Namespace("lab")), Port: new(gatewayv1.PortNumber(80))},
					Fraction:   &gatewayv1.Fraction{Numerator: 1},
				},
			}
		},
		"empty-match": func(s *siskinv1.CanaryService) { s.Match = []siskinv1.RequestMatch{{}} },
	}
	for name, edit := range tests {
		t.Run(name, func(t *testing.T) {
			h, c := capable(t)
			r, in := h.New(c, c), intent(edit)
			if _, err := r.Apply(t.Context(), in); err != nil {
				t.Fatal(err)
			}
			golden(t, name, get(t, c).Spec)
			c.Writes()
			if _, err := r.Apply(t.Context(), in); err != nil || c.Writes() != 0 {
				t.Errorf("the second Apply writes (%v)", err)
			}
			if obs, err := r.Observe(t.Context(), in); err != nil || obs.Evidence != router.EvidenceWritten || obs.Current != in.Split {
				t.Errorf("%+v %v", obs, err)
			}
		})
	}
}

func golden(t *testing.T, name string, value any) {
	t.Helper()
	have, err := yaml.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join("testdata", name+".yaml")
	if *update {
		if err := os.WriteFile(file, have, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(have)); diff != "" {
		t.Error(diff)
	}
}

func TestRefused(t *testing.T) {
	m := func(edit func(*siskinv1.RequestMatch)) func(*siskinv1.CanaryService) {
		return func(s *siskinv1.CanaryService) { s.Match = match(edit) }
	}
	header := func(key string, v siskinv1.StringMatch) func(*siskinv1.CanaryService) {
		return m(func(r *siskinv1.RequestMatch) { r.Headers = map[string]siskinv1.StringMatch{key: v} })
	}
	uri := func(v siskinv1.StringMatch) func(*siskinv1.CanaryService) {
		return m(func(r *siskinv1.RequestMatch) { r.URI = &v })
	}
	mirror := func(f gatewayv1.HTTPRequestMirrorFilter) func(*siskinv1.CanaryService) {
		return func(s *siskinv1.CanaryService) { s.Mirror = []gatewayv1.HTTPRequestMirrorFilter{f} }
	}
	tests := map[string]struct {
		edit  func(*siskinv1.CanaryService)
		field string
	}{
		"no parent": {func(s *siskinv1.CanaryService) { s.GatewayRefs = nil }, "gatewayRefs"},
		"parent twice": {func(s *siskinv1.CanaryService) {
			s.GatewayRefs = append(s.GatewayRefs, gatewayv1.ParentReference{Name: "public", Kind: new(gatewayv1.Kind("Gateway"))})
		}, "gatewayRefs[1]"},
		"host with port":     {func(s *siskinv1.CanaryService) { s.Hosts = []string{"a.example.org", "b:80"} }, "hosts[1]"},
		"host is an address": {func(s *siskinv1.CanaryService) { s.Hosts = []string{"10.0.0.1"} }, "hosts[0]"},
		"header twice": {m(func(r *siskinv1.RequestMatch) {
			r.Headers = map[string]siskinv1.StringMatch{"X-A": exact("a"), "x-a": exact("b")}
		}), "match[0].headers[x-a]"},
		"header without value":   {header("X-A", siskinv1.StringMatch{}), "match[0].headers[X-A]"},
		"header name":            {header("X A", exact("a")), "match[0].headers[X A]"},
		"query without value":    {m(func(r *siskinv1.RequestMatch) { r.QueryParams = map[string]siskinv1.StringMatch{"q": {}} }), "match[0].queryParams[q]"},
		"method by regex":        {m(func(r *siskinv1.RequestMatch) { r.Method = new(regex("G.*")) }), "match[0].method"},
		"method unknown":         {m(func(r *siskinv1.RequestMatch) { r.Method = new(exact("get")) }), "match[0].method"},
		"path is relative":       {uri(exact("a")), "match[0].uri.exact"},
		"path with //":           {uri(prefix("/a//b")), "match[0].uri.prefix"},
		"path with ..":           {uri(prefix("/a/..")), "match[0].uri.prefix"},
		"path with a blank":      {uri(prefix("/a b")), "match[0].uri.prefix"},
		"two ways at once":       {uri(siskinv1.StringMatch{Exact: "/a", Prefix: "/b"}), "match[0].uri"},
		"match by authority":     {m(func(r *siskinv1.RequestMatch) { r.Authority = new(exact("a")) }), "match[0].authority"},
		"match by scheme":        {m(func(r *siskinv1.RequestMatch) { r.Scheme = new(exact("https")) }), "match[0].scheme"},
		"match by port":          {m(func(r *siskinv1.RequestMatch) { r.Port = 80 }), "match[0].port"},
		"match by gateways":      {m(func(r *siskinv1.RequestMatch) { r.Gateways = []string{"mesh"} }), "match[0].gateways"},
		"match without case":     {m(func(r *siskinv1.RequestMatch) { r.IgnoreURICase = true }), "match[0].ignoreUriCase"},
		"match by source labels": {m(func(r *siskinv1.RequestMatch) { r.SourceLabels = map[string]string{"app": "a"} }), "match[0].sourceLabels"},
		"match by source":        {m(func(r *siskinv1.RequestMatch) { r.SourceNamespace = "a" }), "match[0].sourceNamespace"},
		"match without a header": {m(func(r *siskinv1.RequestMatch) {
			r.WithoutHeaders = map[string]siskinv1.StringMatch{"a": exact("a")}
		}), "match[0].withoutHeaders"},
		"mirror without a port": {mirror(gatewayv1.HTTPRequestMirrorFilter{BackendRef: gatewayv1.BackendObjectReference{Name: "a"}}), "mirror[0].backendRef.port"},
		"mirror to the canary": {mirror(gatewayv1.HTTPRequestMirrorFilter{
			BackendRef: gatewayv1.BackendObjectReference{Name: "finch-canary", Port: new(gatewayv1.PortNumber(80))},
		}), "mirror[0].backendRef.name"},
		"mirror by two measures": {mirror(gatewayv1.HTTPRequestMirrorFilter{
			BackendRef: gatewayv1.BackendObjectReference{Name: "a", Port: new(gatewayv1.PortNumber(80))}, Percent: new(int32(1)), Fraction: &gatewayv1.Fraction{Numerator: 1},
		}), "mirror[0]"},
		"prefix rewrite of a regex": {func(s *siskinv1.CanaryService) {
			uri(regex("/a.*"))(s)
			s.Rewrite = &siskinv1.Rewrite{URI: "/", Type: "ReplacePrefixMatch"}
		}, "rewrite.type"},
		"rewrite to a port":         {func(s *siskinv1.CanaryService) { s.Rewrite = &siskinv1.Rewrite{Authority: "a:80"} }, "rewrite.authority"},
		"attempt outlives all":      {func(s *siskinv1.CanaryService) { s.Timeout, s.BackendTimeout = "1s", "2s" }, "backendTimeout"},
		"a timeout that is none":    {func(s *siskinv1.CanaryService) { s.Timeout = "soon" }, "timeout"},
		"the Services have no port": {nil, "port"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			h, c := capable(t)
			c.Writes()
			in := intent(tt.edit)
			if tt.edit == nil {
				in.Port = 0
			}
			_, err := h.New(c, c).Apply(t.Context(), in)
			refused, ok := errors.AsType[*router.InvalidError](err)
			if !ok || refused.Field != "spec.service."+tt.field || refused.Router != gatewayapi.Name {
				t.Errorf("want a refusal of %s, have %v", tt.field, err)
			}
			if c.Writes() != 0 {
				t.Error("refused, and written")
			}
		})
	}
}

func TestForeignRoute(t *testing.T) {
	theirs := &gatewayv1.HTTPRoute{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "finch"}}
	c := &routertest.Counter{Client: gatewayapitest.NewClient(t, theirs)}
	r, in := newRouter(c), intent(nil)
	_, err := r.Apply(t.Context(), in)
	if refused, ok := errors.AsType[*router.InvalidError](err); !ok || !strings.Contains(refused.Message, "rename the route") {
		t.Errorf("Apply: %v", err)
	}
	if obs, err := r.Observe(t.Context(), in); err != nil || obs.Known || obs.Reason != gatewayapi.ReasonForeignRoute {
		t.Errorf("Observe: %+v %v", obs, err)
	}
	if err := r.Release(t.Context(), in); err != nil || c.Writes() != 0 {
		t.Errorf("Release: %v", err)
	}
	get(t, c)
}

func TestRouteOfAnEarlierCanary(t *testing.T) {
	c := gatewayapitest.NewClient(t)
	r, in := newRouter(c), intent(nil)
	if _, err := r.Apply(t.Context(), in); err != nil {
		t.Fatal(err)
	}
	in.Owner.UID = "a-new-one"
	if _, err := r.Apply(t.Context(), in); !errors.Is(err, router.ErrNotFound) {
		t.Errorf("want a wait, have %v", err)
	}
}

// A wrong edit in the middle of a rollout must not hold up the way back (invariant 4): the weights move, the rest stays.
func TestInvalidEditDoesNotBlockRollback(t *testing.T) {
	c := &routertest.Counter{Client: gatewayapitest.NewClient(t)}
	r, in := newRouter(c), intent(nil)
	if _, err := r.Apply(t.Context(), in); err != nil {
		t.Fatal(err)
	}
	before := get(t, c).Spec
	in.Owner.Spec.Service.Hosts = []string{"no host"}
	in.Split = router.Split{Primary: 100}
	for i := range 3 {
		c.Writes()
		_, err := r.Apply(t.Context(), in)
		if _, ok := errors.AsType[*router.InvalidError](err); !ok {
			t.Error("the edit is not refused")
		}
		if n := c.Writes(); i > 0 && n != 0 {
			t.Errorf("Apply %d wrote %d times", i, n)
		}
	}
	obs, err := r.Observe(t.Context(), in)
	if err != nil || obs.Evidence != router.EvidenceWritten || obs.Current != in.Split {
		t.Errorf("%+v %v", obs, err)
	}
	after := get(t, c).Spec
	if diff := cmp.Diff(before.Hostnames, after.Hostnames); diff != "" {
		t.Error(diff)
	}
	in.Owner.Spec.Service.Hosts = nil // The edit is mended: all hosts.
	if _, err := r.Apply(t.Context(), in); err != nil || len(get(t, c).Spec.Hostnames) != 0 {
		t.Errorf("%v %v", err, get(t, c).Spec.Hostnames)
	}
}

// Whatever somebody else writes, what the canary may get is never told too low, and never as 0 if it is not.
func TestForeignWeights(t *testing.T) {
	w := func(n int32) *int32 { return &n }
	tests := map[string]struct {
		primary, canary *int32
		want            router.Split
		unknown         bool
	}{
		"twice as much":   {primary: w(200), canary: w(200), want: router.Split{Primary: 50, Canary: 50}},
		"almost nothing":  {primary: w(1000000), canary: w(1), want: router.Split{Primary: 99, Canary: 1}},
		"almost all":      {primary: w(1), canary: w(1000000), want: router.Split{Primary: 1, Canary: 99}},
		"no weight is 1":  {want: router.Split{Primary: 50, Canary: 50}},
		"nothing at all":  {primary: w(0), canary: w(0), unknown: true},
		"only the canary": {primary: w(0), canary: w(7), want: router.Split{Canary: 100}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			c := gatewayapitest.NewClient(t)
			r, in := newRouter(c), intent(nil)
			if _, err := r.Apply(t.Context(), in); err != nil {
				t.Fatal(err)
			}
			route := get(t, c)
			refs := route.Spec.Rules[0].BackendRefs
			refs[0].Weight, refs[1].Weight = tt.primary, tt.canary
			if err := c.Update(t.Context(), route); err != nil {
				t.Fatal(err)
			}
			obs, err := r.Observe(t.Context(), in)
			if err != nil || obs.Evidence != router.EvidenceNone || obs.Known == tt.unknown || obs.Current != tt.want {
				t.Errorf("%+v %v", obs, err)
			}
		})
	}
}

// Foreign additions inside the rules change where requests go: they are seen, and taken out.
func TestForeignFilterIsDrift(t *testing.T) {
	c := gatewayapitest.NewClient(t)
	r, in := newRouter(c), intent(nil)
	if _, err := r.Apply(t.Context(), in); err != nil {
		t.Fatal(err)
	}
	route := get(t, c)
	route.Spec.Rules[0].Timeouts = &gatewayv1.HTTPRouteTimeouts{Request: new(gatewayv1.Duration("1s"))}
	if err := c.Update(t.Context(), route, client.FieldOwner("somebody-else")); err != nil {
		t.Fatal(err)
	}
	if obs, err := r.Observe(t.Context(), in); err != nil || obs.Evidence != router.EvidenceNone || obs.Reason != gatewayapi.ReasonSpecDiffers {
		t.Errorf("%+v %v", obs, err)
	}
	if _, err := r.Apply(t.Context(), in); err != nil || get(t, c).Spec.Rules[0].Timeouts != nil {
		t.Errorf("not repaired: %v", err)
	}
}

func TestReleaseDeletes(t *testing.T) {
	c := gatewayapitest.NewClient(t)
	r, in := newRouter(c), intent(nil)
	if _, err := r.Apply(t.Context(), in); err != nil {
		t.Fatal(err)
	}
	if err := r.Release(t.Context(), in); err != nil {
		t.Fatal(err)
	}
	err := c.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: "finch"}, &gatewayv1.HTTPRoute{})
	if !apierrors.IsNotFound(err) {
		t.Errorf("the route is left: %v", err)
	}
}

func TestReleaseKeepsTheRouteForTheTarget(t *testing.T) {
	c := gatewayapitest.NewClient(t)
	r, in := newRouter(c), intent(nil)
	if _, err := r.Apply(t.Context(), in); err != nil {
		t.Fatal(err)
	}
	in.Keep = true
	for range 2 { // idempotent
		if err := r.Release(t.Context(), in); err != nil {
			t.Fatal(err)
		}
	}
	route := get(t, c)
	if len(route.OwnerReferences) > 0 {
		t.Errorf("still owned: %v", route.OwnerReferences)
	}
	if refs := route.Spec.Rules[0].BackendRefs; len(refs) != 1 || string(refs[0].Name) != in.Apex || *refs[0].Weight != 1 {
		t.Errorf("backends: %+v", refs)
	}
	if obs, err := r.Observe(t.Context(), in); err != nil || obs.Known || !obs.Leaving || obs.Message == "" {
		t.Errorf("no gateway has answered, which may still lead to the clones: %+v, %v", obs, err)
	}
	route.Status.Parents = gatewayapitest.Accepted(route)
	if err := c.Status().Update(t.Context(), route); err != nil {
		t.Fatal(err)
	}
	if obs, err := r.Observe(t.Context(), in); err != nil || obs.Known || obs.Leaving {
		t.Errorf("the gateway follows: %+v, %v", obs, err)
	}
	in.Keep = false
	if _, err := r.Apply(t.Context(), in); err != nil {
		t.Fatal(err)
	}
	if refs := get(t, c).Spec.Rules[0].BackendRefs; len(refs) != 2 {
		t.Errorf("a Canary of the same name does not take the route back: %+v", refs)
	}
}

// W30 : two Canaries with one apex do not pull at one route: the second is refused by name, and takes nothing away when it goes.
func TestW30TwoCanariesWithOneRoute(t *testing.T) {
	c := &routertest.Counter{Client: gatewayapitest.NewClient(t)}
	r, in := newRouter(c), intent(nil)
	if _, err := r.Apply(t.Context(), in); err != nil {
		t.Fatal(err)
	}
	second := intent(nil)
	second.Owner.Name, second.Owner.UID, second.Split = "wren", "another", router.Split{Canary: 100}
	c.Writes()
	_, err := r.Apply(t.Context(), second)
	if refused, ok := errors.AsType[*router.InvalidError](err); !ok || refused.Field != "spec.service.name" {
		t.Errorf("Apply: %v", err)
	}
	if obs, err := r.Observe(t.Context(), second); err != nil || obs.Known {
		t.Errorf("Observe: %+v %v", obs, err)
	}
	if err := r.Release(t.Context(), second); err != nil || c.Writes() != 0 {
		t.Errorf("Release: %v, or something was written", err)
	}
}
