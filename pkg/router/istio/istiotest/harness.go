// Package istiotest has the harness of the router istio for the contract of routers, and its API in memory.
package istiotest

import (
	"context"
	"testing"
	"time"

	networking "istio.io/api/networking/v1alpha3"
	istiov1 "istio.io/client-go/pkg/apis/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/router"
	"github.com/siskin-dev/siskin/pkg/router/istio"
	"github.com/siskin-dev/siskin/pkg/router/routertest"
)

// Canary is routertest's, behind an ingress gateway and in the mesh.
func Canary(namespace string) *siskinv1.Canary {
	c := routertest.Canary(namespace)
	c.Spec.Service.GatewayRefs = nil
	c.Spec.Service.Gateways = []string{"infra/public", "mesh"}
	return c
}

// UsersVirtualService is one that a user writes for that Canary: one rule leads to the apex, the other elsewhere.
func UsersVirtualService(namespace string) *istiov1.VirtualService {
	to := func(host string, weight int32) *networking.HTTPRouteDestination {
		return &networking.HTTPRouteDestination{Destination: &networking.Destination{Host: host}, Weight: weight}
	}
	vs := &istiov1.VirtualService{ObjectMeta: metav1.ObjectMeta{
		Namespace: namespace, Name: "finch", Labels: map[string]string{"team": "birds"}, Annotations: map[string]string{"example.org/owner": "aviary"},
	}}
	vs.Spec.Hosts, vs.Spec.Gateways = []string{"finch.example.org"}, []string{"infra/public"}
	vs.Spec.Http = []*networking.HTTPRoute{
		{
			Name:  "old",
			Match: []*networking.HTTPMatchRequest{{Uri: &networking.StringMatch{MatchType: &networking.StringMatch_Prefix{Prefix: "/old"}}}},
			Route: []*networking.HTTPRouteDestination{to("museum.other.svc.cluster.local", 0)},
		},
		{Name: "all", Route: []*networking.HTTPRouteDestination{to("finch."+namespace+".svc.cluster.local", 0)}},
	}
	return vs
}

// New returns the harness of the router for a Canary, in a world with these objects of its author. The data plane confirms by saying
// nothing for a while, so that time is the harness's.
func New(t *testing.T, c client.Client, owner *siskinv1.Canary, objects ...client.Object) routertest.Harness {
	t.Helper()
	clk := clocktesting.NewFakePassiveClock(time.Unix(1_000, 0))
	for _, obj := range objects {
		if err := c.Create(t.Context(), obj, client.FieldOwner("git")); err != nil {
			t.Fatal(err)
		}
	}
	// A foreign writer gives the versions each other's weights, and takes away what else leads to the canary.
	swap := func(obj client.Object, in router.Intent) {
		for _, r := range vsOf(obj).Spec.Http {
			if len(r.Route) == 2 {
				r.Route[0].Weight, r.Route[1].Weight = in.Split.Canary, in.Split.Primary
			}
		}
	}
	return routertest.Harness{
		Client: c,
		New:    func(c client.Client, live client.Reader) router.Router { return istio.New(c, live, clk) },
		Intent: routertest.Intent(owner),
		Object: &istiov1.VirtualService{},
		Accept: func(context.Context, router.Intent) error {
			clk.SetTime(clk.Now().Add(istio.Settle))
			return nil
		},
		Revert: swap,
		Tamper: swap,
		Limit: func(t *testing.T) { // connections, that is
			t.Helper()
			owner.Spec.Service.AppProtocol, owner.Spec.Service.Delegation = "tcp", false
			for _, obj := range objects {
				onlyConnections(t, c, obj)
			}
		},
		Weights: func(obj client.Object, _ router.Intent) [][]int32 {
			var out [][]int32
			for _, r := range vsOf(obj).Spec.Http {
				out = append(out, weights(r.Route))
			}
			for _, r := range vsOf(obj).Spec.Tcp {
				out = append(out, weights(r.Route))
			}
			return out
		},
		Reaches: reaches,
		Adopted: len(objects) > 0, Generates: len(objects) > 0,
		Spec: func(obj client.Object) any { return JSON(t, vsOf(obj)) },
	}
}

// onlyConnections makes a VirtualService of its author's split connections instead of requests.
func onlyConnections(t *testing.T, c client.Client, obj client.Object) {
	t.Helper()
	var vs istiov1.VirtualService
	if err := c.Get(t.Context(), client.ObjectKeyFromObject(obj), &vs); err != nil {
		t.Fatal(err)
	}
	vs.Spec.Http = nil
	vs.Spec.Tcp = []*networking.TCPRoute{{Route: []*networking.RouteDestination{{Destination: &networking.Destination{Host: "finch"}}}}}
	if err := c.Update(t.Context(), &vs, client.FieldOwner("git")); err != nil {
		t.Fatal(err)
	}
}

// reaches reports whether a VirtualService leads any request to the canary.
func reaches(obj client.Object, in router.Intent) bool {
	for _, r := range vsOf(obj).Spec.Http {
		for _, to := range r.Route {
			if is(to.Destination, in) && (to.Weight > 0 || len(r.Route) == 1) {
				return true
			}
		}
		for _, m := range r.Mirrors {
			if is(m.Destination, in) {
				return true
			}
		}
	}
	return false
}

// weights of a route; a lone destination has everything.
func weights[T interface{ GetWeight() int32 }](route []T) []int32 {
	var out []int32
	for _, to := range route {
		out = append(out, to.GetWeight())
	}
	if len(out) == 1 {
		out[0] = 100
	}
	return out
}

// is tells whether a destination is the canary.
func is(to *networking.Destination, in router.Intent) bool {
	return to.GetHost() == in.Canary || to.GetHost() == in.Canary+"."+in.Owner.Namespace+".svc.cluster.local"
}

func vsOf(obj client.Object) *istiov1.VirtualService {
	if vs, ok := obj.(*istiov1.VirtualService); ok {
		return vs
	}
	return &istiov1.VirtualService{}
}

// JSON is the spec as the API server has it.
func JSON(t *testing.T, vs *istiov1.VirtualService) string {
	t.Helper()
	data, err := vs.Spec.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
