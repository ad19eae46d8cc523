package service_test

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/siskin-dev/siskin/pkg/router/routertest"
)

// staleClient reads one Service as it was, as a cache that lags does.
type staleClient struct {
	*routertest.Counter
	old *corev1.Service
}

func (s *staleClient) Get(ctx context.Context, key client.ObjectKey, obj client.Object, opts ...client.GetOption) error {
	if svc, ok := obj.(*corev1.Service); ok && key.Name == s.old.Name {
		s.old.DeepCopyInto(svc)
		return nil
	}
	return s.Counter.Get(ctx, key, obj, opts...)
}

// slimClient reads Services as the cache keeps them.
type slimClient struct{ *routertest.Counter }

func (s *slimClient) Get(ctx context.Context, key client.ObjectKey, obj client.Object, opts ...client.GetOption) error {
	err := s.Counter.Get(ctx, key, obj, opts...)
	if svc, ok := obj.(*corev1.Service); ok {
		slim(svc)
	}
	return err
}

func (s *slimClient) List(ctx context.Context, list client.ObjectList, opts ...client.ListOption) error {
	err := s.Counter.List(ctx, list, opts...)
	if all, ok := list.(*corev1.ServiceList); ok {
		for i := range all.Items {
			slim(&all.Items[i])
		}
	}
	return err
}

func slim(svc *corev1.Service) {
	svc.ManagedFields = nil
	delete(svc.Annotations, corev1.LastAppliedConfigAnnotation)
}
