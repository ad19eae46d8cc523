package observe_test

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
)

// A canary whose pods were replaced gets no traffic before the endpoints of its Service are those pods: beside load two
// gateway users in 900 got to pods of the revision before, at a port on which those did not listen.
func TestEndpointsThatAreNotThePodsYet(t *testing.T) {
	pod := func(name string, going bool) *corev1.Pod {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "shop"}}
		if going {
			p.Finalizers, p.DeletionTimestamp = []string{"example.org/drain"}, &metav1.Time{Time: now}
		}
		return p
	}
	slice := func(number int32, pods ...string) *discoveryv1.EndpointSlice {
		s := endpoints("web-canary", "web-canary-x")
		s.Ports = []discoveryv1.EndpointPort{{Name: new("http"), Port: &number}}
		for _, name := range pods {
			s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{
				Addresses: []string{"10.0.0.1"}, TargetRef: &corev1.ObjectReference{Kind: "Pod", Name: name},
			})
		}
		return s
	}
	progressing := func(c *siskinv1.Canary) {
		c.CreationTimestamp = metav1.Time{Time: now.Add(-time.Hour)}
		c.Status.Phase, c.Status.Stable = siskinv1.PhaseProgressing, &siskinv1.RevisionStatus{Revision: "r1"}
		c.Status.Canary = &siskinv1.RevisionStatus{Revision: "r2"}
	}
	for name, tt := range map[string]struct {
		reason string
		edit   func(*siskinv1.Canary)
		slice  *discoveryv1.EndpointSlice
		unfit  bool
	}{
		"as they are":    {"the canary may have traffic", progressing, slice(8081, "web-canary-new"), false},
		"another number": {"the Service was written just now", progressing, slice(8080, "web-canary-new"), true},
		"a pod that goes": {
			"it is of the revision before", progressing, slice(8081, "web-canary-new", "web-canary-old"), true,
		},
		"a pod that nobody knows": {"it is new, and the next slice tells", progressing, slice(8081, "web-canary-newer"), false},
		"under traffic": {"a step goes on", func(c *siskinv1.Canary) {
			progressing(c)
			c.Status.CanaryWeight, c.Status.Split = 20, &siskinv1.SplitStatus{Canary: 20, Primary: 80}
		}, slice(8081, "web-canary-old"), false},
	} {
		t.Run(name, func(t *testing.T) {
			v1, v2 := deployment(listens(8080)), deployment(listens(8081), image("web:2"))
			p := newPlace(t, canary(tt.edit), v2, snapshot(t, "r1", v1), snapshot(t, "r2", v2), clone("primary", "r1", v1), clone("canary", "r2", v2),
				leads("web", 8081), leads("web-primary", 8080), leads("web-canary", 8081), tt.slice,
				pod("web-canary-new", false), pod("web-canary-old", true))
			if got := p.snapshot(t).Services.Unfit; got != tt.unfit {
				t.Errorf("%t: %s", got, tt.reason)
			}
		})
	}
}
