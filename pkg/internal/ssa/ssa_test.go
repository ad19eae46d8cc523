package ssa_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/internal/ssa"
	"github.com/siskin-dev/siskin/pkg/router/routertest"
)

func configMap(data map[string]string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "shop"}, Data: data}
}

func TestApplyOwnsWhatItNamesAndNoMore(t *testing.T) {
	c := routertest.NewClient(t)
	if err := c.Create(t.Context(), configMap(map[string]string{"theirs": "1"}), client.FieldOwner("git")); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		reason     string
		data, want map[string]string
	}{
		{"what others own stays", map[string]string{"a": "1", "b": "1"}, map[string]string{"theirs": "1", "a": "1", "b": "1"}},
		{"what is not named any more goes", map[string]string{"a": "2"}, map[string]string{"theirs": "1", "a": "2"}},
		{"what others own is taken over", map[string]string{"a": "2", "theirs": "2"}, map[string]string{"theirs": "2", "a": "2"}},
	} {
		live := &corev1.ConfigMap{}
		if err := ssa.Apply(t.Context(), c, configMap(step.data), live); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(step.want, live.Data); diff != "" {
			t.Errorf("%s: -want +got\n%s", step.reason, diff)
		}
	}
}

func TestApplySendsOnlyWhatMayBeApplied(t *testing.T) {
	var sent map[string]any
	c := interceptor.NewClient(routertest.NewClient(t), interceptor.Funcs{
		Patch: func(_ context.Context, _ client.WithWatch, obj client.Object, p client.Patch, opts ...client.PatchOption) error {
			var o client.PatchOptions
			o.ApplyOptions(opts)
			if p.Type() != types.ApplyPatchType || o.FieldManager != siskinv1.FieldManager || o.Force == nil || !*o.Force {
				t.Errorf("patch of type %s, options %+v", p.Type(), o)
			}
			data, err := p.Data(obj)
			if err != nil {
				return err
			}
			return json.Unmarshal(data, &sent)
		},
	})
	svc := &corev1.Service{ObjectMeta: metav1.ObjectMeta{
		Name: "web", Namespace: "shop", UID: "u", ResourceVersion: "7", Generation: 3, CreationTimestamp: metav1.NewTime(time.Unix(1, 0)),
		ManagedFields: []metav1.ManagedFieldsEntry{{Manager: "x"}}, Labels: map[string]string{"a": "b"},
	}}
	svc.Spec.Selector = map[string]string{"app": "web"}
	svc.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "10.0.0.1"}}
	before := svc.DeepCopy()
	if err := ssa.Apply(t.Context(), c, svc, &corev1.Service{}); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"apiVersion": "v1", "kind": "Service", "spec": map[string]any{"selector": map[string]any{"app": "web"}},
		"metadata": map[string]any{"name": "web", "namespace": "shop", "labels": map[string]any{"a": "b"}},
	}
	if diff := cmp.Diff(want, sent); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	if diff := cmp.Diff(before, svc); diff != "" {
		t.Errorf("what was given was changed: %s", diff)
	}
}

func TestErrorsNameTheObject(t *testing.T) {
	boom := errors.New("boom")
	counter := &routertest.Counter{Client: routertest.NewClient(t)}
	counter.Fail(boom)
	err := ssa.Apply(t.Context(), counter, configMap(nil), &corev1.ConfigMap{})
	if !errors.Is(err, boom) || !strings.Contains(err.Error(), "ConfigMap shop/web") {
		t.Errorf("error %v", err)
	}
	unknown := &metav1.PartialObjectMetadata{}
	if err := ssa.Apply(t.Context(), counter, unknown, unknown); err == nil {
		t.Error("an object of no kind was applied")
	}
}
