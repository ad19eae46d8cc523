package gatewayapi_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	"sigs.k8s.io/gateway-api/pkg/features"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/internal/async"
	"github.com/siskin-dev/siskin/pkg/router"
	"github.com/siskin-dev/siskin/pkg/router/gatewayapi"
	"github.com/siskin-dev/siskin/pkg/router/gatewayapi/gatewayapitest"
	"github.com/siskin-dev/siskin/pkg/router/routertest"
)

// sky is an API server with a Gateway, a router, and a count of the reads of Gateways and classes.
type sky struct {
	client.Client

	router *gatewayapi.Router
	clock  *clocktesting.FakePassiveClock
	reads  int
	refuse func(obj client.Object) error
}

func newSky(t *testing.T, supported ...features.FeatureName) *sky {
	t.Helper()
	c := gatewayapitest.NewClient(t)
	gatewayapitest.Gateway(t, c, namespace, supported...)
	s := &sky{Client: c, clock: clocktesting.NewFakePassiveClock(time.Unix(0, 0))}
	live := interceptor.NewClient(c, interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, obj client.Object, opts ...client.GetOption) error {
			s.reads++
			if s.refuse != nil && s.refuse(obj) != nil {
				return s.refuse(obj)
			}
			return c.Get(ctx, key, obj, opts...)
		},
	})
	s.router = gatewayapi.New(c, live, s.clock)
	return s
}

func (s *sky) controller(t *testing.T, name string) {
	t.Helper()
	var class gatewayv1.GatewayClass
	if err := s.Get(t.Context(), client.ObjectKey{Name: "class-" + namespace}, &class); err != nil {
		t.Fatal(err)
	}
	class.Spec.ControllerName = gatewayv1.GatewayController(name)
	if err := s.Update(t.Context(), &class); err != nil {
		t.Fatal(err)
	}
}

// answered makes a route that a controller has accepted.
func (s *sky) answered(t *testing.T, c *siskinv1.Canary, controller string) {
	t.Helper()
	in := routertest.Intent(c)
	in.Split = router.Split{Primary: 100}
	if _, err := s.router.Apply(t.Context(), in); err != nil {
		t.Fatal(err)
	}
	route := get(t, s)
	route.Status.Parents = gatewayapitest.Accepted(route)
	for i := range route.Status.Parents {
		route.Status.Parents[i].ControllerName = gatewayv1.GatewayController(controller)
	}
	if err := s.Status().Update(t.Context(), route); err != nil {
		t.Fatal(err)
	}
}

func forbidden(kind string) func(client.Object) error {
	return func(obj client.Object) error {
		_, class := obj.(*gatewayv1.GatewayClass)
		if class == (kind == "GatewayClass") {
			return apierrors.NewForbidden(schema.GroupResource{Resource: kind}, obj.GetName(), errors.New("no"))
		}
		return nil
	}
}

func TestCapabilities(t *testing.T) {
	const traefik = "traefik.io/gateway-controller"
	all := router.Capabilities{Features: router.Every(router.Yes), Ceiling: router.EvidenceAccepted}
	at := func(l router.Level, some ...router.Feature) router.Capabilities {
		c := all
		c.Features = c.Features.With(l, some...)
		return c
	}
	but := func(some ...router.Feature) router.Capabilities { return at(router.No, some...) }
	noMirror := but(router.FeatureMirror, router.FeatureMirrorPart)
	little := but(router.FeatureMirror, router.FeatureMirrorPart, router.FeatureAffinity, router.FeatureMatchQuery, router.FeatureMatchMethod)
	unsure := func(why string, sure ...router.Feature) router.Capabilities {
		c := at(router.Maybe, router.FeatureMirror, router.FeatureMirrorPart, router.FeatureAffinity, router.FeatureMatchQuery, router.FeatureMatchMethod)
		c.Features, c.Unsure = c.Features.With(router.Yes, sure...), why
		return c
	}
	both := but(router.FeatureMirrorPart, router.FeatureAffinity, router.FeatureMatchQuery)
	both.Features = both.Features.With(router.Maybe, router.FeatureMirror, router.FeatureMatchMethod)
	both.Unsure = "Service aviary/finch: no controller has answered for it yet"
	down := func(s *sky, kind string) {
		s.refuse = func(obj client.Object) error {
			if _, class := obj.(*gatewayv1.GatewayClass); class == (kind == "GatewayClass") {
				return apierrors.NewServiceUnavailable("down")
			}
			return nil
		}
	}
	vouch := func(c *siskinv1.Canary, names string) {
		c.Annotations = map[string]string{siskinv1.FeaturesAnnotation: names}
	}
	mesh := func(c *siskinv1.Canary) {
		c.Spec.Service.GatewayRefs = []gatewayv1.ParentReference{{Group: new(gatewayv1.Group("")), Kind: new(gatewayv1.Kind("Service")), Name: "finch"}}
	}
	tests := map[string]struct {
		reason string
		says   []features.FeatureName
		given  func(t *testing.T, s *sky, c *siskinv1.Canary)
		want   router.Capabilities
		of     string
	}{
		"a class that says all": {"what it says counts", []features.FeatureName{
			"HTTPRouteRequestMirror", "HTTPRouteRequestPercentageMirror", "HTTPRouteQueryParamMatching", "HTTPRouteMethodMatching",
			"HTTPRouteBackendRequestHeaderModification", "HTTPRouteResponseHeaderModification",
		}, nil, all, "Gateway aviary/public of example.org/gateway-controller"},
		"a class that says as Traefik": {"it answers 500 to a route that mirrors, and accepts it", []features.FeatureName{
			"HTTPRoute", "HTTPRouteQueryParamMatching", "HTTPRouteMethodMatching", "HTTPRouteBackendRequestHeaderModification", "HTTPRouteResponseHeaderModification",
		}, func(t *testing.T, s *sky, _ *siskinv1.Canary) { t.Helper(); s.controller(t, traefik) }, noMirror, traefik},
		"a class that says little": {"what is not said cannot be done", []features.FeatureName{"HTTPRoute", "HTTPRouteResponseHeaderModification"}, nil, little, ""},
		"a percentage without a mirror": {"nothing is to be copied", []features.FeatureName{
			"HTTPRouteRequestPercentageMirror", "HTTPRouteQueryParamMatching", "HTTPRouteMethodMatching",
			"HTTPRouteBackendRequestHeaderModification", "HTTPRouteResponseHeaderModification",
		}, nil, noMirror, ""},
		"a silent class of Envoy Gateway": {"its conformance report counts", nil, func(t *testing.T, s *sky, _ *siskinv1.Canary) {
			t.Helper()
			s.controller(t, "gateway.envoyproxy.io/gatewayclass-controller")
		}, all, ""},
		"a silent class of NGINX": {"its conformance report counts", nil, func(t *testing.T, s *sky, _ *siskinv1.Canary) {
			t.Helper()
			s.controller(t, "gateway.nginx.org/nginx-gateway-controller")
		}, but(router.FeatureAffinity), ""},
		"a silent class of nobody": {"to mirror where that is not known costs users their answers", nil, nil, noMirror, ""},
		"no Gateway": {"it may come later", nil, func(t *testing.T, s *sky, _ *siskinv1.Canary) {
			t.Helper()
			if err := s.Delete(t.Context(), &gatewayv1.Gateway{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "public"}}); err != nil {
				t.Fatal(err)
			}
		}, unsure("Gateway aviary/public: it does not exist"), "Gateway aviary/public (it does not exist)"},
		"a Gateway that cannot be read now": {"a passing failure says nothing about it", nil, func(_ *testing.T, s *sky, _ *siskinv1.Canary) {
			down(s, "Gateway")
		}, unsure("Gateway aviary/public: it could not be read"), "it could not be read"},
		"a class that cannot be read now": {"a passing failure says nothing about it", nil, func(_ *testing.T, s *sky, _ *siskinv1.Canary) {
			down(s, "GatewayClass")
		}, unsure("Gateway aviary/public: its GatewayClass class-aviary could not be read"), "could not be read"},
		"a class that cannot be read now, of Envoy Gateway": {"what its report says it does, it does", nil, func(t *testing.T, s *sky, c *siskinv1.Canary) {
			t.Helper()
			down(s, "GatewayClass")
			s.answered(t, c, "gateway.envoyproxy.io/gatewayclass-controller")
		}, all, "gateway.envoyproxy.io"},
		"a class that cannot be read now, of Traefik": {"its class may say that it has learned to mirror", nil, func(t *testing.T, s *sky, c *siskinv1.Canary) {
			t.Helper()
			down(s, "GatewayClass")
			s.answered(t, c, traefik)
		}, unsure("Gateway aviary/public of "+traefik+": its GatewayClass class-aviary could not be read", router.FeatureAffinity, router.FeatureMatchQuery, router.FeatureMatchMethod), traefik},
		"a class that may not be read, of Traefik": {"nothing more will be known", nil, func(t *testing.T, s *sky, c *siskinv1.Canary) {
			t.Helper()
			s.refuse = forbidden("GatewayClass")
			s.answered(t, c, traefik)
		}, noMirror, traefik},
		"a class that may not be read, of nobody": {"nothing more will be known", nil, func(t *testing.T, s *sky, c *siskinv1.Canary) {
			t.Helper()
			s.refuse = forbidden("GatewayClass")
			s.answered(t, c, "example.org/gateway-controller")
		}, noMirror, "example.org/gateway-controller"},
		"a class that may not be read, of nobody, vouched for": {"a person knows", nil, func(t *testing.T, s *sky, c *siskinv1.Canary) {
			t.Helper()
			s.refuse = forbidden("GatewayClass")
			vouch(c, "HTTPRouteRequestMirror")
			s.answered(t, c, "example.org/gateway-controller")
		}, but(router.FeatureMirrorPart), "example.org/gateway-controller"},
		"a mesh that has not answered, vouched for": {"a person knows", nil, func(_ *testing.T, _ *sky, c *siskinv1.Canary) {
			mesh(c)
			vouch(c, "HTTPRouteRequestMirror, HTTPRouteRequestPercentageMirror")
		}, unsure("Service aviary/finch: no controller has answered for it yet", router.FeatureMirror, router.FeatureMirrorPart), "Service aviary/finch"},
		"a class that says little, vouched for": {"the class knows better", []features.FeatureName{"HTTPRoute"}, func(_ *testing.T, _ *sky, c *siskinv1.Canary) {
			vouch(c, "HTTPRouteRequestMirror")
		}, little, ""},
		"a class that may not be read": {"a Siskin of one namespace has no such right", nil, func(_ *testing.T, s *sky, _ *siskinv1.Canary) {
			s.refuse = forbidden("GatewayClass")
		}, unsure("Gateway aviary/public: Siskin may not read its GatewayClass class-aviary, and no controller has answered for the Gateway yet"), "Gateway aviary/public (Siskin may not read"},
		"a class that may not be read, of Istio": {"the answer to the route names the controller", nil, func(t *testing.T, s *sky, c *siskinv1.Canary) {
			t.Helper()
			s.refuse = forbidden("GatewayClass")
			s.answered(t, c, "istio.io/gateway-controller")
		}, all, "istio.io/gateway-controller"},
		"a mesh": {
			"a Service has no class", nil, func(_ *testing.T, _ *sky, c *siskinv1.Canary) { mesh(c) },
			unsure("Service aviary/finch: no controller has answered for it yet"), "Service aviary/finch (no controller has answered for it yet)",
		},
		"a mesh of Linkerd": {"the answer to the route names the controller", nil, func(t *testing.T, s *sky, c *siskinv1.Canary) {
			t.Helper()
			mesh(c)
			s.answered(t, c, "linkerd.io/policy-controller")
		}, but(router.FeatureMirror, router.FeatureMirrorPart, router.FeatureAffinity), "linkerd.io/policy-controller"},
		"a Gateway and a mesh": {"both carry the traffic, so that the lesser counts", []features.FeatureName{
			"HTTPRouteRequestMirror", "HTTPRouteResponseHeaderModification", "HTTPRouteMethodMatching",
		}, func(_ *testing.T, _ *sky, c *siskinv1.Canary) {
			gateways := c.Spec.Service.GatewayRefs
			mesh(c)
			c.Spec.Service.GatewayRefs = append(c.Spec.Service.GatewayRefs, gateways...)
		}, both, " and Gateway aviary/public"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s, c := newSky(t, tt.says...), gatewayapitest.Canary(namespace)
			if tt.given != nil {
				tt.given(t, s, c)
			}
			have := s.router.Capabilities(t.Context(), c)
			if !strings.Contains(have.Of, tt.of) {
				t.Errorf("it is of %q, not of %q", have.Of, tt.of)
			}
			if strings.Contains(have.Of, "()") {
				t.Errorf("it is of %q", have.Of)
			}
			if vouched := strings.Contains(have.Vouch, siskinv1.FeaturesAnnotation); vouched != (len(tt.says) == 0) && name != "a Gateway and a mesh" {
				t.Errorf("vouching is offered: %q", have.Vouch)
			}
			have.Of, have.Vouch = "", ""
			if have != tt.want {
				t.Errorf("%s:\nhave %+v\nwant %+v", tt.reason, have, tt.want)
			}
		})
	}
}

// An idle Canary costs nothing: what is behind a Gateway is read once, and again after minutes; what cannot be read is not asked for in
// every pass.
func TestWhatIsBehindAGatewayIsRemembered(t *testing.T) {
	s, c := newSky(t, features.SupportHTTPRouteRequestMirror), gatewayapitest.Canary(namespace)
	ask := func(wantReads int, wantMirror bool, when string) {
		t.Helper()
		for range 3 {
			if have := s.router.Capabilities(t.Context(), c).Features.Can(router.FeatureMirror); have != wantMirror {
				t.Errorf("%s: mirror %v", when, have)
			}
		}
		if s.reads != wantReads {
			t.Errorf("%s: %d reads, not %d", when, s.reads, wantReads)
		}
		s.reads = 0
	}
	ask(2, true, "at first")
	s.clock.SetTime(s.clock.Now().Add(4 * time.Minute))
	ask(0, true, "after 4 minutes")
	gatewayapitest.Supports(t, s, namespace, features.SupportHTTPRoute)
	s.clock.SetTime(s.clock.Now().Add(time.Minute))
	ask(2, false, "after 5 minutes, with another version of the gateway")
	gatewayapitest.Supports(t, s, namespace, features.SupportHTTPRouteRequestMirror)
	s.clock.SetTime(s.clock.Now().Add(5 * time.Minute))
	ask(2, true, "after 10 minutes")

	s.refuse = func(client.Object) error { return apierrors.NewServiceUnavailable("down") }
	s.clock.SetTime(s.clock.Now().Add(5 * time.Minute))
	ask(1, true, "in an outage, what was known stays known")
	s.clock.SetTime(s.clock.Now().Add(29 * time.Second))
	ask(0, true, "in an outage, 29 s later")
	s.clock.SetTime(s.clock.Now().Add(time.Second))
	ask(1, true, "in an outage, 30 s later")
	s.refuse = forbidden("GatewayClass")
	s.clock.SetTime(s.clock.Now().Add(30 * time.Second))
	ask(2, true, "without the right")
	s.clock.SetTime(s.clock.Now().Add(4 * time.Minute))
	ask(0, true, "without the right, minutes later")
}

// A read that hangs holds a pass up for 2 s and not for ever.
func TestAGatewayThatHangs(t *testing.T) {
	s := newSky(t)
	hang := interceptor.NewClient(gatewayapitest.NewClient(t), interceptor.Funcs{
		Get: func(ctx context.Context, _ client.WithWatch, _ client.ObjectKey, _ client.Object, _ ...client.GetOption) error {
			if deadline, ok := ctx.Deadline(); !ok || time.Until(deadline) > 2*time.Second {
				t.Error("the read has no bound")
			}
			return context.DeadlineExceeded
		},
	})
	r := gatewayapi.New(s, hang, s.clock)
	if caps := r.Capabilities(t.Context(), gatewayapitest.Canary(namespace)); caps.Features[router.FeatureMirror] != router.Maybe || !caps.Features.Can(router.FeatureWeights) || !strings.Contains(caps.Of, "could not be read") {
		t.Errorf("%+v", caps)
	}
}

// TestNoPassWaitsForAGateway : what cannot be read at once is told to be late, or is as it was; who asked is woken.
func TestNoPassWaitsForAGateway(t *testing.T) {
	for name, known := range map[string]bool{"for the first time": false, "again": true} {
		for _, takes := range []time.Duration{time.Second, time.Hour} {
			t.Run(fmt.Sprintf("%s, %s", name, takes), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					c := gatewayapitest.NewClient(t)
					gatewayapitest.Gateway(t, c, namespace, features.SupportHTTPRouteQueryParamMatching)
					slow := time.Duration(0)
					live := interceptor.NewClient(c, interceptor.Funcs{
						Get: func(
							ctx context.Context, c client.WithWatch, key client.ObjectKey, obj client.Object, opts ...client.GetOption,
						) error {
							select {
							case <-ctx.Done():
								return ctx.Err()
							case <-time.After(slow):
								return c.Get(ctx, key, obj, opts...)
							}
						},
					})
					var woken atomic.Int32
					reads := async.NewReads(0, clock.RealClock{}, func(types.NamespacedName) { woken.Add(1) })
					ctx, cancel := context.WithCancel(t.Context())
					ended := make(chan error)
					go func() { ended <- reads.Start(ctx) }()
					t.Cleanup(func() { cancel(); t.Logf("ended: %v", <-ended) })
					r := gatewayapi.New(c, live, clock.RealClock{})
					r.ReadBeside(reads)
					ask := func() router.Capabilities {
						began := time.Now()
						defer func() {
							if took := time.Since(began); took > async.Patience {
								t.Errorf("it takes %s", took)
							}
						}()
						return r.Capabilities(t.Context(), gatewayapitest.Canary(namespace))
					}
					if known {
						ask()
						<-time.After(6 * time.Minute)
						synctest.Wait()
					}
					slow = takes / 2 // Gateway and GatewayClass
					for range 2 {
						caps := ask()
						if caps.Late == known || caps.Features[router.FeatureMirror] != map[bool]router.Level{true: router.No, false: router.Maybe}[known] {
							t.Errorf("known: %t, %+v", known, caps)
						}
					}
					<-time.After(3 * time.Second)
					synctest.Wait()
					if n := woken.Load(); n != 1 {
						t.Errorf("woken %d times", n)
					}
					caps := ask()
					if caps.Late || (caps.Features[router.FeatureMirror] == router.No) != (known || takes == time.Second) {
						t.Errorf("afterwards: %+v", caps)
					}
				})
			})
		}
	}
}
