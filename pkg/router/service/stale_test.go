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
