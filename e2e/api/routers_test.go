package api_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/siskin-dev/siskin/pkg/router/routertest"
)

// TestGatewayAPIContract : the contract of routers, where defaults, validation and server-side apply are real.
func TestGatewayAPIContract(t *testing.T) {
	e := given(t)
	routertest.RunContract(t, func(t *testing.T) routertest.Harness {
		t.Helper()
		return routertest.GatewayAPI(e.API, e.Namespace(t))
	})
}

// TestKubernetesContract : the same for the router that switches a Service. The harness plays the controller of EndpointSlices; the
// real one must not take its slice of the apex away, so that the apex gets no slices of its own: nothing here has pods.
func TestKubernetesContract(t *testing.T) {
	e := given(t)
	routertest.RunContract(t, func(t *testing.T) routertest.Harness {
		t.Helper()
		ns := e.Namespace(t)
		t.Cleanup(func() {
			if t.Failed() {
				var svc corev1.Service
				t.Log(e.API.Get(t.Context(), client.ObjectKey{Namespace: ns, Name: "finch"}, &svc), svc)
			}
		})
		return routertest.Kubernetes(t, e.API, ns)
	})
}
