// Package kubernetestest has the harness of the router kubernetes for the contract of routers.
package kubernetestest

import (
	"context"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/router"
	"github.com/siskin-dev/siskin/pkg/router/kubernetes"
	"github.com/siskin-dev/siskin/pkg/router/routertest"
)

// New returns the harness of the router kubernetes in a namespace of c. It makes the user's apex Service and the
// EndpointSlices of primary and canary. On a real cluster no controller for EndpointSlices may interfere, so their Services
// are left out.
func New(t *testing.T, c client.Client, namespace string) routertest.Harness {
	t.Helper()
	in := routertest.Intent(Canary(namespace))
	apex := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace, Name: in.Apex, Labels: map[string]string{"app": "finch"},
			Annotations: map[string]string{"example.org/owner": "aviary"},
		},
		Spec: corev1.ServiceSpec{
			Selector: map[string]string{"app": "finch", "tier": "web"},
			Ports:    []corev1.ServicePort{{Name: "http", Port: 80}, {Name: "grpc", Port: 9999}},
		},
	}
	if err := c.Create(t.Context(), apex, client.FieldOwner("git")); err != nil {
		t.Fatalf("creating the apex: %v", err)
	}
	for svc, pod := range map[string]string{in.Primary: "finch-primary-1", in.Canary: "finch-canary-1"} {
		if err := routertest.EndpointSlice(t.Context(), c, namespace, svc, pod); err != nil {
			t.Fatalf("creating the endpoints of %s: %v", svc, err)
		}
	}
	return routertest.Harness{
		Client:  c,
		New:     func(c client.Client, live client.Reader) router.Router { return kubernetes.New(c, live) },
		Intent:  in,
		Object:  &corev1.Service{},
		Adopted: true,
		Accept: func(ctx context.Context, in router.Intent) error {
			pod := "finch-primary-1"
			if in.Split.Canary == 100 {
				pod = "finch-canary-1"
			}
			return routertest.EndpointSlice(ctx, c, namespace, in.Apex, pod)
		},
		Revert: func(obj client.Object, _ router.Intent) {
			if svc, ok := obj.(*corev1.Service); ok {
				// As a person does who ends the hold: whatever else a writer leaves out, the admission policy puts back.
				delete(svc.Annotations, siskinv1.ServingAnnotation)
				svc.Spec.Selector = map[string]string{"app": "finch", "tier": "web"}
			}
		},
		Tamper: func(obj client.Object, _ router.Intent) {
			if svc, ok := obj.(*corev1.Service); ok {
				svc.Spec.Selector = map[string]string{"app": "finch", "tier": "web"}
			}
		},
		Reaches: func(obj client.Object, _ router.Intent) bool {
			svc, ok := obj.(*corev1.Service)
			return ok && svc.Spec.Selector[siskinv1.RoleLabel] != siskinv1.RolePrimary
		},
		Spec: func(obj client.Object) any {
			if svc, ok := obj.(*corev1.Service); ok {
				return svc.Spec
			}
			return nil
		},
	}
}

// Canary returns routertest's Canary of this provider.
func Canary(namespace string) *siskinv1.Canary {
	c := routertest.Canary(namespace)
	c.Spec.Provider = kubernetes.Name
	return c
}
