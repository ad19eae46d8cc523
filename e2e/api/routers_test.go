package api_test

import (
	"testing"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/e2e/fixtures"
	"github.com/siskin-dev/siskin/pkg/router/gatewayapi/gatewayapitest"
	"github.com/siskin-dev/siskin/pkg/router/istio/istiotest"
	"github.com/siskin-dev/siskin/pkg/router/kubernetes/kubernetestest"
	"github.com/siskin-dev/siskin/pkg/router/routertest"
)

// TestGatewayAPIContract : the contract of routers, where defaults, validation and server-side apply are real.
func TestGatewayAPIContract(t *testing.T) {
	e := given(t)
	routertest.RunContract(t, func(t *testing.T) routertest.Harness {
		t.Helper()
		ns := e.Namespace(t)
		h := gatewayapitest.New(t, e.API, ns)
		h.Intent.Owner = owner(t, e, h.Intent.Owner)
		return h
	})
}

// TestAdoptedRouteContract : the same for a route that the user made.
func TestAdoptedRouteContract(t *testing.T) {
	e := given(t)
	routertest.RunContract(t, func(t *testing.T) routertest.Harness {
		t.Helper()
		ns := e.Namespace(t)
		h := gatewayapitest.NewAdopted(t, e.API, ns)
		h.Intent.Owner = owner(t, e, h.Intent.Owner)
		return h
	})
}

// TestIstioContract : the same for VirtualServices, with Istio's own CRDs.
func TestIstioContract(t *testing.T) {
	e := given(t)
	routertest.RunContract(t, func(t *testing.T) routertest.Harness {
		t.Helper()
		return istiotest.New(t, e.API, owner(t, e, istiotest.Canary(e.Namespace(t))))
	})
}

// TestAdoptedVirtualServiceContract : the same for a VirtualService that the user made.
func TestAdoptedVirtualServiceContract(t *testing.T) {
	e := given(t)
	routertest.RunContract(t, func(t *testing.T) routertest.Harness {
		t.Helper()
		ns := e.Namespace(t)
		return istiotest.New(t, e.API, owner(t, e, istiotest.Canary(ns)), istiotest.UsersVirtualService(ns))
	})
}

// TestKubernetesContract : the same for the router that switches a Service.
func TestKubernetesContract(t *testing.T) {
	e := given(t)
	routertest.RunContract(t, func(t *testing.T) routertest.Harness {
		t.Helper()
		ns := e.Namespace(t)
		h := kubernetestest.New(t, e.API, ns)
		h.Intent.Owner = owner(t, e, h.Intent.Owner)
		return h
	})
}

// owner is the harness's Canary, but one that exists: the garbage collector deletes what belongs to an owner that does not. It is
// suspended, so that Siskin leaves to the suite what the suite checks.
func owner(t *testing.T, e *fixtures.Env, c *siskinv1.Canary) *siskinv1.Canary {
	t.Helper()
	c.UID = ""
	c.Spec.Suspend = true
	c.Spec.Analysis.Iterations = new(int32(10)) // every provider can do that
	if err := e.API.Create(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	return c
}
