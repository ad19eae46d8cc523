package gateway

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	"sigs.k8s.io/yaml"
)

func must(t *testing.T, host string) *url.URL {
	t.Helper()
	u, err := url.Parse("http://" + host + "/")
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// bench is a Gateway at an API server in memory. Time passes when the test says so.
type bench struct {
	*testing.T
	g     *Gateway
	clock *clocktesting.FakeClock
	log   bytes.Buffer
}

const objects = `
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: siskin-test, generation: 1}
spec: {controllerName: siskin.dev/test-gateway}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: test, namespace: gateway-system, generation: 1}
spec:
  gatewayClassName: siskin-test
  listeners:
  - {name: http, protocol: HTTP, port: 8080, allowedRoutes: {namespaces: {from: All}}}
  - {name: own, protocol: HTTP, port: 8081, hostname: "*.own.org"}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: shop, namespace: aviary, generation: 1, uid: one}
spec:
  parentRefs: [{name: test, namespace: gateway-system, sectionName: http}]
  hostnames: [shop.example.org]
  rules:
  - backendRefs: [{name: shop-primary, port: 80, weight: 100}, {name: shop-canary, port: 80, weight: 0}]
---
apiVersion: v1
kind: Service
metadata: {name: shop-primary, namespace: aviary}
spec: {ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: shop-canary, namespace: aviary}
spec: {ports: [{port: 80}]}
`

func newBench(t *testing.T) *bench {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, gatewayv1.Install} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	b := &bench{T: t, clock: clocktesting.NewFakeClock(time.Unix(1000, 0))}
	g, err := New(Options{Clock: b.clock, Log: &b.log, client: fake.NewClientBuilder().WithScheme(scheme).
		WithStatusSubresource(&gatewayv1.HTTPRoute{}, &gatewayv1.Gateway{}, &gatewayv1.GatewayClass{}).Build()})
	if err != nil {
		t.Fatal(err)
	}
	b.g = g
	for doc := range strings.SplitSeq(objects, "\n---\n") {
		var kind metav1.TypeMeta
		if err := yaml.Unmarshal([]byte(doc), &kind); err != nil {
			t.Fatal(err)
		}
		obj := map[string]client.Object{
			"GatewayClass": &gatewayv1.GatewayClass{}, "Gateway": &gatewayv1.Gateway{}, "HTTPRoute": &gatewayv1.HTTPRoute{}, "Service": &corev1.Service{},
		}[kind.Kind]
		if err := yaml.UnmarshalStrict([]byte(doc), obj); err != nil {
			t.Fatal(err)
		}
		if err := g.c.Create(t.Context(), obj); err != nil {
			t.Fatal(err)
		}
	}
	return b
}

// pass reads the API server and makes one pass.
func (b *bench) pass() time.Duration {
	b.Helper()
	for _, load := range []func(context.Context, client.Client) (client.ObjectList, error){
		b.g.classes.load, b.g.gateways.load, b.g.routes.load, b.g.endpoints.services.load, b.g.endpoints.slices.load,
	} {
		if _, err := load(b.Context(), b.g.c); err != nil {
			b.Fatal(err)
		}
	}
	wake := b.g.pass(b.Context())
	if b.log.Len() > 0 {
		b.Errorf("the gateway says: %s", b.log.String())
	}
	return wake
}

// edit changes the route as its owner would.
func (b *bench) edit(change func(*gatewayv1.HTTPRoute)) *gatewayv1.HTTPRoute {
	b.Helper()
	route := b.read()
	change(route)
	route.Generation++
	if err := b.g.c.Update(b.Context(), route); err != nil {
		b.Fatal(err)
	}
	return route
}

func (b *bench) weigh(primary, canary int32) {
	b.Helper()
	b.edit(func(r *gatewayv1.HTTPRoute) {
		r.Spec.Rules[0].BackendRefs[0].Weight, r.Spec.Rules[0].BackendRefs[1].Weight = &primary, &canary
	})
}

func (b *bench) read() *gatewayv1.HTTPRoute {
	b.Helper()
	var route gatewayv1.HTTPRoute
	if err := b.g.c.Get(b.Context(), client.ObjectKey{Namespace: "aviary", Name: "shop"}, &route); err != nil {
		b.Fatal(err)
	}
	return &route
}

// said is the route's status in short.
func (b *bench) said() string {
	b.Helper()
	var out []string
	for _, p := range b.read().Status.Parents {
		for _, c := range p.Conditions {
			out = append(out, fmt.Sprintf("%s=%s/%s@%d", c.Type, c.Status, c.Reason, c.ObservedGeneration))
		}
	}
	return strings.Join(out, " ")
}

// served are the weights that requests meet.
func (b *bench) served() string {
	if st := b.g.stages[client.ObjectKey{Namespace: "aviary", Name: "shop"}]; st != nil && st.programmed != nil {
		return fmt.Sprintf("%d: %s", st.programmed.generation, st.programmed.weights)
	}
	return ""
}

func (b *bench) expect(what, served, said string) {
	b.Helper()
	if diff := cmp.Diff(served, b.served()); diff != "" {
		b.Errorf("%s: served: %s", what, diff)
	}
	if diff := cmp.Diff(said, b.said()); diff != "" {
		b.Errorf("%s: said: %s", what, diff)
	}
}

func good(generation int) string {
	return fmt.Sprintf("Accepted=True/Accepted@%[1]d ResolvedRefs=True/ResolvedRefs@%[1]d", generation)
}

const (
	first  = "1: shop-primary=100 shop-canary=0"
	second = "2: shop-primary=80 shop-canary=20"
)

func TestAccepts(t *testing.T) {
	b := newBench(t)
	b.pass()
	b.expect("at first", first, good(1))
	b.weigh(80, 20)
	b.pass()
	b.expect("after an edit", second, good(2))
	version := b.read().ResourceVersion
	b.pass()
	if b.read().ResourceVersion != version {
		t.Error("a pass without news has written")
	}
	var class gatewayv1.GatewayClass
	if err := b.g.c.Get(t.Context(), client.ObjectKey{Name: "siskin-test"}, &class); err != nil || len(class.Status.SupportedFeatures) == 0 {
		t.Errorf("%v: the class supports %v", err, class.Status.SupportedFeatures)
	}
	var gw gatewayv1.Gateway
	if err := b.g.c.Get(t.Context(), client.ObjectKey{Namespace: "gateway-system", Name: "test"}, &gw); err != nil || len(gw.Status.Listeners) != 2 ||
		gw.Status.Listeners[0].AttachedRoutes != 1 || gw.Status.Listeners[1].AttachedRoutes != 0 {
		t.Errorf("%v: the Gateway says %+v", err, gw.Status.Listeners)
	}
}

func TestJudges(t *testing.T) {
	tests := map[string]struct {
		change func(*gatewayv1.HTTPRoute)
		want   string
	}{
		"no such listener": {
			func(r *gatewayv1.HTTPRoute) { *r.Spec.ParentRefs[0].SectionName = "tls" },
			"Accepted=False/NoMatchingParent@2 ResolvedRefs=True/ResolvedRefs@2",
		},
		"not allowed": {
			func(r *gatewayv1.HTTPRoute) { *r.Spec.ParentRefs[0].SectionName = "own" },
			"Accepted=False/NotAllowedByListeners@2 ResolvedRefs=True/ResolvedRefs@2",
		},
		"unsupported": {
			func(r *gatewayv1.HTTPRoute) { r.Spec.Rules[0].Filters = []gatewayv1.HTTPRouteFilter{{Type: "CORS"}} },
			"Accepted=False/UnsupportedValue@2 ResolvedRefs=True/ResolvedRefs@2",
		},
		"no such Service": {
			func(r *gatewayv1.HTTPRoute) { r.Spec.Rules[0].BackendRefs[1].Name = "nobody" },
			"Accepted=True/Accepted@2 ResolvedRefs=False/BackendNotFound@2",
		},
		"another namespace's": {
			func(r *gatewayv1.HTTPRoute) {
				r.Spec.Rules[0].BackendRefs[1].Namespace = new(gatewayv1.Namespace("elsewhere"))
			},
			"Accepted=True/Accepted@2 ResolvedRefs=False/RefNotPermitted@2",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			b.pass()
			b.edit(tt.change)
			b.pass()
			if got := b.said(); got != tt.want {
				t.Errorf("it says %s, not %s", got, tt.want)
			}
		})
	}
	t.Run("another gateway's", func(t *testing.T) {
		b := newBench(t)
		b.edit(func(r *gatewayv1.HTTPRoute) { r.Spec.ParentRefs[0].Name = "other" })
		b.pass()
		b.expect("another gateway's", "", "")
	})
	t.Run("what others said stays", func(t *testing.T) {
		b := newBench(t)
		route := b.read()
		route.Status.Parents = []gatewayv1.RouteParentStatus{{ControllerName: "example.org/other", ParentRef: gatewayv1.ParentReference{Name: "other"}}}
		if err := b.g.c.Status().Update(t.Context(), route); err != nil {
			t.Fatal(err)
		}
		b.pass()
		if ps := b.read().Status.Parents; len(ps) != 2 || ps[0].ControllerName != "example.org/other" {
			t.Errorf("the status is %+v", ps)
		}
	})
}

func TestFaults(t *testing.T) {
	under := func(t *testing.T, f Fault) *bench {
		b := newBench(t)
		b.pass()
		b.g.faults.set("aviary/shop", f)
		b.weigh(80, 20)
		return b
	}
	t.Run("late", func(t *testing.T) {
		b := under(t, Fault{Kind: Late, Delay: 5 * time.Second})
		if wake := b.pass(); wake != 5*time.Second {
			t.Errorf("it looks again after %s", wake)
		}
		b.expect("before", first, good(1))
		b.clock.Step(5 * time.Second)
		b.pass()
		b.expect("after", second, good(2))
	})
	t.Run("accepted but not programmed", func(t *testing.T) {
		b := under(t, Fault{Kind: Unprogrammed, Delay: 5 * time.Second})
		b.pass()
		b.expect("before", first, good(2))
		b.clock.Step(5 * time.Second)
		b.pass()
		b.expect("after", second, good(2))
	})
	t.Run("refused", func(t *testing.T) {
		b := under(t, Fault{Kind: Refused, Reason: "IncompatibleFilters"})
		b.pass()
		b.expect("under it", first, "Accepted=False/IncompatibleFilters@2 ResolvedRefs=True/ResolvedRefs@2")
		b.g.faults.set("aviary/shop", Fault{})
		b.pass()
		b.expect("after", second, good(2))
	})
	t.Run("partial", func(t *testing.T) {
		b := under(t, Fault{Kind: Partial})
		b.pass()
		b.expect("under it", first, good(1)+" PartiallyInvalid=True/UnsupportedValue@2")
		b.g.faults.set("aviary/shop", Fault{})
		b.pass()
		b.expect("after", second, good(2))
	})
	t.Run("reverted", func(t *testing.T) {
		b := newBench(t)
		b.pass()
		b.g.faults.set("", Fault{Kind: Reverted, Times: 2})
		b.pass()
		reverted := 0
		for range 4 {
			b.weigh(80, 20)
			b.pass()
			if weightsOf(b.read().Spec.Rules) == "shop-primary=100 shop-canary=0" {
				reverted++
			}
		}
		if reverted != 2 {
			t.Errorf("the writer has reverted %d times, not 2", reverted)
		}
		n := 0
		for _, e := range b.g.faults.log("aviary/shop") {
			if e.What == "reverted" {
				n++
			}
		}
		if n != 2 {
			t.Errorf("%d of 2 reverts were recorded", n)
		}
	})
	t.Run("a route that is deleted carries nothing", func(t *testing.T) {
		b := newBench(t)
		b.pass()
		if err := b.g.c.Delete(t.Context(), b.read()); err != nil {
			t.Fatal(err)
		}
		b.pass()
		if len(b.g.proxy.table.Load().entries) != 0 || b.served() != "" {
			t.Error("it is still served")
		}
	})
}

// The control API does what the methods of Control say; a gateway that is down refuses connections and comes back.
func TestControl(t *testing.T) {
	b := newBench(t)
	b.g.door.addr = "127.0.0.1:0"
	if err := b.g.door.open(); err != nil {
		t.Fatal(err)
	}
	defer b.g.door.shut()
	api := httptest.NewServer(b.g.control(t.Context()))
	defer api.Close()
	c := &Control{URL: api.URL}
	b.pass()
	events, err := c.Events(t.Context(), "aviary/shop")
	if err != nil || len(events) != 2 || events[0].What != "programmed" || events[1].What != "accepted" {
		t.Errorf("%v: %+v", err, events)
	}
	if err := c.Set(t.Context(), "aviary/shop", Fault{Kind: Late, Delay: time.Second}); err != nil || b.g.faults.of("aviary/shop").Delay != time.Second {
		t.Errorf("%v: the fault is %+v", err, b.g.faults.of("aviary/shop"))
	}
	if err := c.Clear(t.Context(), "aviary/shop"); err != nil || b.g.faults.of("aviary/shop").Kind != "" {
		t.Errorf("%v: the fault is %+v", err, b.g.faults.of("aviary/shop"))
	}
	users := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	entrance := "http://" + b.g.door.bound.String() // which stays, also when the door opens again
	visit := func() error {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, entrance, nil)
		if err != nil {
			return err
		}
		resp, err := users.Do(req)
		if err != nil {
			return err
		}
		return resp.Body.Close()
	}
	if err := visit(); err != nil {
		t.Fatal(err)
	}
	if err := c.Down(t.Context(), time.Minute); err != nil {
		t.Fatal(err)
	}
	if visit() == nil {
		t.Error("the gateway is not down")
	}
	for deadline := time.Now().Add(5 * time.Second); visit() != nil; {
		if b.clock.Step(time.Minute); time.Now().After(deadline) {
			t.Fatal("the gateway has not come back")
		}
	}
}
