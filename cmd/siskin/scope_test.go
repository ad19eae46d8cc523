package main

import (
	"context"
	"testing"

	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/canary/canarytest"
)

// mapped is a client that knows which kinds have no namespace.
type mapped struct{ client.Client }

func (mapped) RESTMapper() meta.RESTMapper { //nolint:ireturn // as client.Client has it
	m := meta.NewDefaultRESTMapper(nil)
	m.Add(corev1.SchemeGroupVersion.WithKind("Node"), meta.RESTScopeRoot)
	return m
}

// reads counts what gets through to the cache, and answers reviews.
func reads(t *testing.T, allowed bool, n, asked *int) client.Client {
	t.Helper()
	objects := []client.Object{
		&siskinv1.MetricTemplate{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "errors"}},
		&siskinv1.MetricTemplate{ObjectMeta: metav1.ObjectMeta{Namespace: "pay", Name: "errors"}},
		&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node"}},
	}
	return interceptor.NewClient(canarytest.NewClient(t, objects...), interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, obj client.Object, opts ...client.GetOption) error {
			*n++
			return c.Get(ctx, key, obj, opts...)
		},
		Create: func(ctx context.Context, c client.WithWatch, obj client.Object, opts ...client.CreateOption) error {
			if review, ok := obj.(*authorizationv1.SelfSubjectAccessReview); ok {
				*asked++
				review.Status.Allowed = allowed
				return nil
			}
			return c.Create(ctx, obj, opts...)
		},
	})
}

func TestWhatIsNotWatchedIsForbidden(t *testing.T) {
	for name, tc := range map[string]struct {
		reason     string
		namespaces []string
		allowed    bool
		key        client.ObjectKey
		obj        client.Object
		want       bool
	}{
		"everything":     {"no list means all", nil, true, client.ObjectKey{Namespace: "pay", Name: "errors"}, &siskinv1.MetricTemplate{}, true},
		"watched":        {"it is in the list", []string{"shop"}, true, client.ObjectKey{Namespace: "shop", Name: "errors"}, &siskinv1.MetricTemplate{}, true},
		"not watched":    {"no cache holds it", []string{"shop"}, true, client.ObjectKey{Namespace: "pay", Name: "errors"}, &siskinv1.MetricTemplate{}, false},
		"of the cluster": {"the role allows it", []string{"shop"}, true, client.ObjectKey{Name: "node"}, &corev1.Node{}, true},
		"without right":  {"its cache would never be filled", []string{"shop"}, false, client.ObjectKey{Name: "node"}, &corev1.Node{}, false},
	} {
		t.Run(name, func(t *testing.T) {
			var n, asked int
			c := newScoped(mapped{reads(t, tc.allowed, &n, &asked)}, tc.namespaces)
			for range 3 {
				err := c.Get(t.Context(), tc.key, tc.obj)
				if tc.want && err != nil || !tc.want && !apierrors.IsForbidden(err) {
					t.Errorf("%s: %v", tc.reason, err)
				}
			}
			if !tc.want && n != 0 {
				t.Errorf("%s: it was read all the same", tc.reason)
			}
			if asked > 3 {
				t.Errorf("the right was asked for %d times", asked)
			}
		})
	}
}
