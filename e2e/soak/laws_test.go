package soak

import (
	"fmt"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/e2e/fixtures"
)

// story is a made-up history: each line is a change, with the second in which it was seen.
type tale struct {
	changes    []fixtures.Change
	generation int64
}

func (h *tale) at(second float64, obj client.Object) *tale {
	at := time.Unix(1000, 0).Add(time.Duration(second * float64(time.Second)))
	h.changes = append(h.changes, fixtures.Change{At: at, Version: uint64(len(h.changes)), Object: obj})
	return h
}

func (h *tale) gone(second float64, obj client.Object) *tale {
	h.at(second, obj)
	h.changes[len(h.changes)-1].Deleted = true
	return h
}

// route states weights; accepted tells whether the gateway has taken it.
func (h *tale) route(second float64, primary, canary int32, accepted bool) *tale {
	h.generation++
	r := &gatewayv1.HTTPRoute{ObjectMeta: metav1.ObjectMeta{Name: "shop", Generation: h.generation}}
	ref := func(name string, weight int32) gatewayv1.HTTPBackendRef {
		return gatewayv1.HTTPBackendRef{BackendRef: gatewayv1.BackendRef{
			BackendObjectReference: gatewayv1.BackendObjectReference{Name: gatewayv1.ObjectName(name)}, Weight: &weight,
		}}
	}
	r.Spec.Rules = []gatewayv1.HTTPRouteRule{{BackendRefs: []gatewayv1.HTTPBackendRef{ref("shop-primary", primary), ref("shop-canary", canary)}}}
	if accepted {
		c := func(kind string) metav1.Condition {
			return metav1.Condition{Type: kind, Status: metav1.ConditionTrue, ObservedGeneration: h.generation}
		}
		r.Status.Parents = []gatewayv1.RouteParentStatus{{Conditions: []metav1.Condition{c("Accepted"), c("ResolvedRefs")}}}
	}
	return h.at(second, r)
}

func (h *tale) ready(second float64, n int) *tale {
	return h.at(second, &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{discoveryv1.LabelServiceName: "shop-canary"}}, Endpoints: make([]discoveryv1.Endpoint, n),
	})
}

func (h *tale) scale(second float64, name string, replicas int32, revision string) *tale {
	return h.at(second, deployment(name, replicas, revision))
}

func deployment(name string, replicas int32, revision string) *appsv1.Deployment {
	d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{siskinv1.RevisionAnnotation: revision}}}
	d.Spec.Replicas = &replicas
	return d
}

func canary() *siskinv1.Canary { return &siskinv1.Canary{ObjectMeta: metav1.ObjectMeta{Name: "shop"}} }

// named is a Canary with a UID, owned its primary.
func named(uid types.UID) *siskinv1.Canary {
	c := canary()
	c.UID = uid
	return c
}

func owned(uid types.UID, replicas int32) *appsv1.Deployment {
	d := deployment("shop-primary", replicas, "a")
	d.OwnerReferences = []metav1.OwnerReference{{UID: uid, Controller: new(true)}}
	return d
}

// good is a rollout up to a weight of 50 %, with everything as it should be.
func good() *tale {
	return (&tale{}).at(0, canary()).scale(0, "shop-primary", 2, "a").route(0, 100, 0, true).
		scale(1, "shop-canary", 2, "b").ready(2, 2).route(3, 50, 50, true)
}

func TestLaws(t *testing.T) {
	tests := map[string]struct {
		tale *tale
		want string
	}{
		"a rollout that ends well": {good().route(10, 100, 0, true).scale(15, "shop-canary", 0, "b").ready(16, 0), ""},
		"traffic before ready": {
			(&tale{}).at(0, canary()).route(0, 100, 0, true).scale(1, "shop-canary", 2, "b").route(3, 50, 50, true), "without a ready pod",
		},
		"traffic in the moment in which the pods go":   {good().ready(4, 0).route(4.5, 40, 60, true).ready(5, 1), ""},
		"scaled to zero under traffic":                 {good().scale(20, "shop-canary", 0, "b"), "scaled to zero with 50 %"},
		"deleted under traffic":                        {good().gone(20, deployment("shop-canary", 2, "b")), "scaled to zero with 50 %"},
		"scaled to zero before the data plane says so": {good().route(10, 100, 0, false).scale(16, "shop-canary", 0, "b"), "before the data plane confirmed"},
		"scaled to zero without a drain":               {good().route(10, 100, 0, true).scale(11, "shop-canary", 0, "b"), "1s after it lost its traffic"},
		"an edit of the route does not undo the confirmation": {
			good().route(10, 100, 0, true).route(14, 100, 0, false).scale(16, "shop-canary", 0, "b"), "",
		},
		"another revision under traffic":   {good().scale(5, "shop-canary", 2, "c"), "replaced with 50 %"},
		"another revision after the drain": {good().route(6, 100, 0, true).scale(12, "shop-canary", 2, "c"), ""},
		"weights that do not sum to 100":   {good().route(5, 60, 50, true), "sum to 110"},
		"traffic left with nobody":         {good().ready(5, 0).route(20, 100, 0, true), "stayed for 15s"},
		"the primary below its size":       {good().scale(6, "shop-primary", 1, "a"), "from 2 to 1"},
		"a primary of the Canary that is there": {
			(&tale{}).at(0, named("new")).at(1, owned("new", 2)).at(5, owned("new", 0)), "from 2 to 0",
		},
		"a primary that a Canary which is gone has left": {
			(&tale{}).at(0, named("old")).at(1, owned("old", 2)).gone(10, named("old")).at(11, named("new")).gone(20, owned("old", 2)).at(21, owned("new", 2)), "",
		},
		"a primary that goes with its Canary": {
			good().route(10, 100, 0, true).at(20, func() client.Object {
				c := canary()
				c.DeletionTimestamp = &metav1.Time{Time: time.Unix(1020, 0)}
				return c
			}()).gone(30, deployment("shop-primary", 2, "a")), "",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got := strings.Join(Laws{App: "shop", Size: 2}.Check(tt.tale.changes), "\n")
			if tt.want == "" && got != "" || !strings.Contains(got, tt.want) {
				t.Errorf("want %q, found %q", tt.want, got)
			}
		})
	}
	t.Run("what others write is not Siskin's breach", func(t *testing.T) {
		h := good().ready(4, 0).route(5, 100, 0, true).route(6, 50, 50, true).route(7, 100, 0, true)
		if got := (Laws{App: "shop", Size: 2}).Check(h.changes); len(got) != 1 {
			t.Errorf("found %q", got)
		}
		if got := (Laws{App: "shop", Size: 2, Foreign: map[int64]bool{4: true}}).Check(h.changes); len(got) != 0 {
			t.Errorf("found %q", got)
		}
	})
	t.Run("who is hindered has time", func(t *testing.T) {
		h := good().ready(5, 0).route(20, 100, 0, true)
		span := Span{time.Unix(1010, 0), time.Unix(1011, 0)}
		if got := (Laws{App: "shop", Size: 2, Hindered: []Span{span}}).Check(h.changes); len(got) != 0 {
			t.Errorf("found %q", fmt.Sprint(got))
		}
	})
}
