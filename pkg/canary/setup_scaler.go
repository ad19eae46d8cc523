package canary

import (
	"context"
	"fmt"
	"maps"
	"strings"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/canary/scaler"
	"github.com/siskin-dev/siskin/pkg/canary/target"
)

// IndexScales finds autoscalers by what scaler.Keys says.
const IndexScales = "scales"

// scalerKeys are the autoscalers of a Canary: the one that its spec names and the canary's own.
func scalerKeys(c *siskinv1.Canary) []string {
	ref := c.Spec.AutoscalerRef
	if ref == nil {
		return nil
	}
	return []string{ref.Kind + "/" + ref.Name, ref.Kind + "/" + scaler.CopyName(ref.Name)}
}

// watchScalers wakes the Canaries whose autoscalers change, and those whose target an autoscaler is marked to scale.
func (r *Reconciler) watchScalers(ctx context.Context, mgr ctrl.Manager, b *builder.Builder, kinds []schema.GroupVersionKind) (*builder.Builder, error) {
	for _, gvk := range kinds {
		obj := &unstructured.Unstructured{}
		obj.SetGroupVersionKind(gvk)
		err := mgr.GetFieldIndexer().IndexField(ctx, obj, IndexScales, func(o client.Object) []string { return scaler.Keys(o) })
		if err != nil {
			return nil, fmt.Errorf("indexing autoscalers by what they scale: %w", err)
		}
		wakes := handler.EnqueueRequestsFromMapFunc(func(ctx context.Context, o client.Object) []reconcile.Request {
			where := client.InNamespace(o.GetNamespace())
			out := r.requests(ctx, where, client.MatchingFields{indexScaler: gvk.Kind + "/" + o.GetName()})
			if name, ok := strings.CutSuffix(o.GetAnnotations()[siskinv1.ScalesAnnotation], target.CloneName("", siskinv1.RolePrimary)); ok {
				out = append(out, r.requests(ctx, where, client.MatchingFields{indexTarget: name})...)
			}
			return out
		})
		b = b.Watches(obj, r.gathered(wakes), builder.WithPredicates(respecified()))
	}
	return b, nil
}

// respecified lets changes of an autoscaler pass that people or tools make. Its own controller writes its status all the time, and the
// API server does not count generations of a HorizontalPodAutoscaler.
func respecified() predicate.Predicate {
	return predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
		was, ok := e.ObjectOld.(*unstructured.Unstructured)
		is, ok2 := e.ObjectNew.(*unstructured.Unstructured)
		if !ok || !ok2 {
			return true
		}
		return !maps.Equal(was.GetAnnotations(), is.GetAnnotations()) || !equality.Semantic.DeepEqual(was.Object["spec"], is.Object["spec"])
	}}
}
