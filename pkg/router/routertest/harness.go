package routertest

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/router"
)

// Canary returns a Canary of the Deployment "finch".
func Canary(namespace string) *siskinv1.Canary {
	return &siskinv1.Canary{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "finch", UID: types.UID("c0ffee00-0000-4000-8000-000000000001")},
		Spec: siskinv1.CanarySpec{
			TargetRef: siskinv1.TargetRef{APIVersion: "apps/v1", Kind: "Deployment", Name: "finch"},
			Service: siskinv1.CanaryService{
				Port:  80,
				Hosts: []string{"finch.example.org"},
			},
		},
	}
}

// Intent of that Canary.
func Intent(owner *siskinv1.Canary) router.Intent {
	return router.Intent{Owner: owner, Apex: "finch", Primary: "finch-primary", Canary: "finch-canary", Port: 80}
}

// EndpointSlice makes or replaces the one slice of a Service, with these pods ready. Without pods it is empty.
func EndpointSlice(ctx context.Context, c client.Client, namespace, svc string, pods ...string) error {
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace, Name: svc + "-abcde",
			Labels: map[string]string{discoveryv1.LabelServiceName: svc},
		},
		AddressType: discoveryv1.AddressTypeIPv4,
	}
	for i, pod := range pods {
		slice.Endpoints = append(slice.Endpoints, discoveryv1.Endpoint{
			Addresses:  []string{fmt.Sprintf("10.0.%d.%d", len(pod), i+1)},
			Conditions: discoveryv1.EndpointConditions{Ready: new(true)},
			TargetRef:  &corev1.ObjectReference{Kind: "Pod", Namespace: namespace, Name: pod},
		})
	}
	if err := c.Delete(ctx, slice.DeepCopy()); err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("replacing EndpointSlice %s: %w", slice.Name, err)
	}
	if err := c.Create(ctx, slice); err != nil {
		return fmt.Errorf("creating EndpointSlice %s: %w", slice.Name, err)
	}
	return nil
}
