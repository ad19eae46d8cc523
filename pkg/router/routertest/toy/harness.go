package toy

import (
	"context"
	"fmt"
	"strconv"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/siskin-dev/siskin/pkg/router"
	"github.com/siskin-dev/siskin/pkg/router/routertest"
)

// Serve plays the data plane: it confirms the split of a table as it is now.
func Serve(ctx context.Context, c client.Client, namespace, table string) error {
	var split corev1.ConfigMap
	if err := c.Get(ctx, client.ObjectKey{Namespace: namespace, Name: table + "-split"}, &split); err != nil {
		return fmt.Errorf("reading the split: %w", err)
	}
	split.Annotations[ServedAnnotation] = digestOf(&split)
	if err := c.Update(ctx, &split, client.FieldOwner("data-plane")); err != nil {
		return fmt.Errorf("serving the split: %w", err)
	}
	return nil
}

// New returns the harness of the router in a namespace of c.
func New(t *testing.T, c client.Client, namespace string) routertest.Harness {
	t.Helper()
	const table = "birds"
	owner := routertest.Canary(namespace)
	owner.Spec.Provider = Name
	owner.Annotations = map[string]string{TableAnnotation: table}
	if err := c.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: table}}); err != nil {
		t.Fatalf("creating the table: %v", err)
	}
	swap := func(obj client.Object, in router.Intent) {
		if split, ok := obj.(*corev1.ConfigMap); ok {
			split.Data[in.Primary], split.Data[in.Canary] = split.Data[in.Canary], split.Data[in.Primary]
		}
	}
	return routertest.Harness{
		Client: c, New: Registration().New, Intent: routertest.Intent(owner), Object: &corev1.ConfigMap{}, Name: table + "-split",
		Accept: func(ctx context.Context, in router.Intent) error { return Serve(ctx, c, namespace, Table(in.Owner)) },
		Revert: swap, Tamper: swap,
		Weights: func(obj client.Object, in router.Intent) [][]int32 {
			split, ok := obj.(*corev1.ConfigMap)
			if !ok {
				return nil
			}
			shares := splitOf(split, in)
			return [][]int32{{shares.Primary, shares.Canary}}
		},
		Reaches: func(obj client.Object, in router.Intent) bool {
			split, ok := obj.(*corev1.ConfigMap)
			return ok && split.Data[in.Canary] != strconv.Itoa(0)
		},
	}
}
