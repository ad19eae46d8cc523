package canary

import (
	"context"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/router"
)

// watchRoutes wakes the Canaries whose routing depends on objects that they do not own, such as a user's own route.
func (r *Reconciler) watchRoutes(ctx context.Context, mgr ctrl.Manager, b *builder.Builder, watches []router.Watch) (*builder.Builder, error) {
	for i, w := range watches {
		field := fmt.Sprintf("routing%d", i)
		err := mgr.GetFieldIndexer().IndexField(ctx, &siskinv1.Canary{}, field, func(o client.Object) []string {
			c, ok := o.(*siskinv1.Canary)
			if !ok {
				return nil
			}
			return names(w.Of(c))
		})
		if err != nil {
			return nil, fmt.Errorf("indexing Canaries by the %T that they route by: %w", w.Object, err)
		}
		b = b.Watches(w.Object, r.routers(field), builder.WithPredicates(theirs(), predicate.ResourceVersionChangedPredicate{}))
	}
	return b, nil
}

// routers wakes the Canaries, of any namespace, whose index holds an object.
func (r *Reconciler) routers(field string) handler.EventHandler {
	return r.gathered(handler.EnqueueRequestsFromMapFunc(func(ctx context.Context, o client.Object) []reconcile.Request {
		return r.requests(ctx, client.MatchingFields{field: client.ObjectKeyFromObject(o).String()})
	}))
}

// theirs lets objects pass that no Canary generated: a change of those wakes their owner, if it matters.
func theirs() predicate.Predicate {
	return predicate.NewPredicateFuncs(func(o client.Object) bool {
		ref := metav1.GetControllerOf(o)
		return ref == nil || ref.Kind != "Canary" || ref.APIVersion != siskinv1.GroupVersion.String()
	})
}

func names(objects []types.NamespacedName) []string {
	out := make([]string, 0, len(objects))
	for _, o := range objects {
		out = append(out, o.String())
	}
	return out
}
