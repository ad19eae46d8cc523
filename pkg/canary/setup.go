package canary

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/runtime/schema"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/canary/observe"
	"github.com/siskin-dev/siskin/pkg/canary/target"
	"github.com/siskin-dev/siskin/pkg/router"
	"github.com/siskin-dev/siskin/pkg/router/service"
)

const (
	indexTarget  = "spec.targetRef.name"
	indexService = "services"
	indexScaler  = "spec.autoscalerRef"
	// passTimeout bounds one pass, also one that waits for a cache that does not catch up.
	passTimeout = time.Minute
	minBackoff  = 10 * time.Millisecond
	maxBackoff  = 30 * time.Second
	// IndexEndpoints finds EndpointSlices by the name of their Service.
	IndexEndpoints = "service"
	// IndexSnapshots finds ControllerRevisions by the name of their Canary.
	IndexSnapshots = "canary"
)

// Options of the controller.
type Options struct {
	// Workers is the number of Canaries that are reconciled at once. Default 8: what waits for the API server waits in its order of arrival,
	// what waits for a worker in that of its priority.
	Workers int
	// BackoffBase is how long a Canary whose pass failed is left alone at first; it doubles up to BackoffMax. Defaults 10ms, 30s: the
	// clocks of a rollout run on meanwhile.
	BackoffBase, BackoffMax time.Duration
	// Owns are the kinds that routers generate.
	Owns []client.Object
	// Matters tells whether an update of a generated object wakes its Canary; nil: each does.
	Matters func(before, after client.Object) bool
	// Watches are kinds that routers adopt or read objects of.
	Watches []router.Watch
	// Scalers are the kinds of autoscalers that the API server has.
	Scalers []schema.GroupVersionKind
	// Wakes are Canaries whose answers are there.
	Wakes <-chan event.GenericEvent
}

// SetupWithManager registers the reconciler: what wakes a Canary is a change of its spec, its target, its clones, its Services and
// their endpoints, its routes, and answers.
func (r *Reconciler) SetupWithManager(ctx context.Context, mgr ctrl.Manager, o Options) error {
	err := r.index(ctx, mgr)
	if err != nil {
		return err
	}
	if err := warm(ctx, mgr); err != nil {
		return err
	}
	r.claimIndex = indexClaims
	o = o.withDefaults()
	changed := r.sharded(predicate.Or(predicate.GenerationChangedPredicate{}, predicate.AnnotationChangedPredicate{}, finalized()))
	b := ctrl.NewControllerManagedBy(mgr).For(&siskinv1.Canary{}, builder.WithPredicates(changed)).
		Watches(&siskinv1.Canary{}, r.rivals(), builder.WithPredicates(r.freed())).
		Watches(&siskinv1.Canary{}, r.gathered(&handler.EnqueueRequestForObject{}), builder.WithPredicates(r.asked())).
		Watches(&corev1.Service{}, r.byIndex(indexService, client.Object.GetName), builder.WithPredicates(predicate.ResourceVersionChangedPredicate{})).
		Watches(&corev1.Service{}, r.neighbours(), builder.WithPredicates(foreign())).
		Watches(&discoveryv1.EndpointSlice{},
			r.counting(r.indexed(indexService, func(o client.Object) string { return o.GetLabels()[discoveryv1.LabelServiceName] })),
			builder.WithPredicates(serving())).
		WithOptions(controller.Options{
			MaxConcurrentReconciles: o.Workers, ReconciliationTimeout: passTimeout,
			RateLimiter: r.RateLimiter(o.BackoffBase, o.BackoffMax),
		})
	for _, obj := range target.Workloads() {
		b = b.Watches(obj, r.byIndex(indexTarget, targetOf), builder.WithPredicates(edited())).
			Watches(obj, r.counting(r.indexed(indexTarget, targetOf)), builder.WithPredicates(counted())).
			Watches(obj, r.crowded(), builder.WithPredicates(peopled())).
			Watches(obj, r.leftovers(), builder.WithPredicates(held()))
	}
	if r.Observer.Config != nil {
		b = b.Watches(&corev1.ConfigMap{}, r.readers(), builder.OnlyMetadata, builder.WithPredicates(predicate.ResourceVersionChangedPredicate{}))
	}
	for _, obj := range o.Owns {
		owner := handler.EnqueueRequestForOwner(mgr.GetScheme(), mgr.GetRESTMapper(), &siskinv1.Canary{}, handler.OnlyControllerOwner())
		b = b.Watches(obj, r.gathered(owner), builder.WithPredicates(o.updates()))
	}
	if b, err = r.watchRoutes(ctx, mgr, b, o.Watches); err != nil {
		return err
	}
	if b, err = r.watchScalers(ctx, mgr, b, o.Scalers); err != nil {
		return err
	}
	if o.Wakes != nil {
		b = b.WatchesRawSource(source.Channel(o.Wakes, r.answered(&handler.EnqueueRequestForObject{})))
	}
	if err := b.Complete(r); err != nil {
		return fmt.Errorf("building the Canary controller: %w", err)
	}
	return nil
}

// updates lets updates of generated objects pass that matter.
func (o Options) updates() predicate.Predicate {
	return predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
		return o.Matters == nil || e.ObjectOld == nil || e.ObjectNew == nil || o.Matters(e.ObjectOld, e.ObjectNew)
	}}
}

func (o Options) withDefaults() Options {
	if o.Workers <= 0 {
		o.Workers = 8
	}
	if o.BackoffBase <= 0 {
		o.BackoffBase = minBackoff
	}
	if o.BackoffMax <= 0 {
		o.BackoffMax = maxBackoff
	}
	return o
}

// warm has the caches filled that no watch of the controller fills: a replica that stands by has them when it leads, and not after
// its first reads.
func warm(ctx context.Context, mgr ctrl.Manager) error {
	for _, obj := range []client.Object{&appsv1.ControllerRevision{}, &siskinv1.MetricTemplate{}, &siskinv1.AlertProvider{}} {
		if _, err := mgr.GetCache().GetInformer(ctx, obj, cache.BlockUntilSynced(false)); err != nil {
			return fmt.Errorf("filling the cache of %T: %w", obj, err)
		}
	}
	return nil
}

// neighbours wakes all Canaries of a Service's namespace to look at the Services again.
func (r *Reconciler) neighbours() handler.EventHandler {
	return r.gathered(handler.EnqueueRequestsFromMapFunc(func(ctx context.Context, o client.Object) []reconcile.Request {
		r.Actor.Memo.Changed(o.GetNamespace())
		return r.requests(ctx, client.InNamespace(o.GetNamespace()))
	}))
}

// crowded wakes the Canaries to look at the Services again that they have adopted and that select a workload's pods.
func (r *Reconciler) crowded() handler.EventHandler {
	return r.gathered(handler.EnqueueRequestsFromMapFunc(r.holders))
}

func (r *Reconciler) holders(ctx context.Context, o client.Object) []reconcile.Request {
	where := client.InNamespace(o.GetNamespace())
	var list corev1.ServiceList
	if err := r.Client.List(ctx, &list, where, client.UnsafeDisableDeepCopy, client.DisableReadYourWritesConsistency); err != nil {
		return nil // only a cache that is not there fails
	}
	names := map[string]bool{}
	for i := range list.Items {
		if name := service.HolderOf(&list.Items[i], service.PodLabels(o)); name != "" {
			names[name] = true
		}
	}
	if len(names) == 0 {
		return nil
	}
	r.Actor.Memo.Changed(o.GetNamespace())
	return slices.DeleteFunc(r.requests(ctx, where), func(q reconcile.Request) bool { return !names[q.Name] })
}

// peopled lets workloads pass that come, go, or have pods with other labels, but for clones. Those that are there when Siskin starts
// are seen by the first pass of each Canary.
func peopled() predicate.Predicate {
	users := func(o client.Object) bool { return o.GetLabels()[siskinv1.CanaryLabel] == "" }
	return predicate.Funcs{
		CreateFunc:  func(e event.CreateEvent) bool { return users(e.Object) && !e.IsInInitialList },
		DeleteFunc:  func(e event.DeleteEvent) bool { return users(e.Object) },
		GenericFunc: func(event.GenericEvent) bool { return false },
		UpdateFunc: func(e event.UpdateEvent) bool {
			return users(e.ObjectNew) && !maps.Equal(service.PodLabels(e.ObjectOld), service.PodLabels(e.ObjectNew))
		},
	}
}

// readers wakes the Canaries whose target reads a ConfigMap.
func (r *Reconciler) readers() handler.EventHandler {
	return r.gathered(handler.EnqueueRequestsFromMapFunc(func(_ context.Context, o client.Object) []reconcile.Request {
		var out []reconcile.Request
		for _, who := range r.Observer.Config.Readers(o.GetNamespace(), o.GetName()) {
			out = append(out, reconcile.Request{NamespacedName: who})
		}
		return out
	}))
}

// foreign lets the users' own Services pass when what they select or say to Siskin has changed.
func foreign() predicate.Predicate {
	users := func(o client.Object) bool { return o.GetLabels()[siskinv1.CanaryLabel] == "" }
	return predicate.Funcs{
		CreateFunc:  func(e event.CreateEvent) bool { return users(e.Object) },
		DeleteFunc:  func(e event.DeleteEvent) bool { return users(e.Object) },
		GenericFunc: func(event.GenericEvent) bool { return false },
		UpdateFunc: func(e event.UpdateEvent) bool {
			was, ok := e.ObjectOld.(*corev1.Service)
			is, ok2 := e.ObjectNew.(*corev1.Service)
			return ok && ok2 && users(is) &&
				(!maps.Equal(was.Spec.Selector, is.Spec.Selector) || !maps.Equal(was.Annotations, is.Annotations))
		},
	}
}

// asked lets a person's request pass once more: it goes first, while other changes of a Canary wait for their turn.
func (r *Reconciler) asked() predicate.Predicate {
	return predicate.Funcs{
		CreateFunc: func(event.CreateEvent) bool { return false }, DeleteFunc: func(event.DeleteEvent) bool { return false },
		GenericFunc: func(event.GenericEvent) bool { return false },
		UpdateFunc: func(e event.UpdateEvent) bool {
			c, ok := e.ObjectNew.(*siskinv1.Canary)
			return ok && r.mine(c) && observe.Asked(c) &&
				e.ObjectOld.GetAnnotations()[siskinv1.RequestAnnotation] != c.Annotations[siskinv1.RequestAnnotation]
		},
	}
}

// targetOf is the name of the target that a workload is, or is a clone of.
func targetOf(o client.Object) string {
	name := o.GetName()
	if role := o.GetLabels()[siskinv1.RoleLabel]; role != "" && o.GetLabels()[siskinv1.CanaryLabel] != "" {
		return strings.TrimSuffix(name, "-"+role)
	}
	return name
}

// edited lets a workload pass that comes or goes, and changes of it that somebody made: of its spec, its labels and annotations.
func edited() predicate.Predicate {
	return predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
		was, is := e.ObjectOld, e.ObjectNew
		return !isWorkload(is) || was.GetGeneration() != is.GetGeneration() || !maps.Equal(was.GetAnnotations(), is.GetAnnotations()) ||
			!maps.Equal(was.GetLabels(), is.GetLabels()) || (was.GetDeletionTimestamp() == nil) != (is.GetDeletionTimestamp() == nil)
	}}
}

// counted lets changes of a workload pass that are none of edited, where what a decision counts in its status has changed. Its
// controller writes the status far more often.
func counted() predicate.Predicate {
	return predicate.Funcs{
		CreateFunc:  func(event.CreateEvent) bool { return false },
		DeleteFunc:  func(event.DeleteEvent) bool { return false },
		GenericFunc: func(event.GenericEvent) bool { return false },
		UpdateFunc: func(e event.UpdateEvent) bool {
			return isWorkload(e.ObjectNew) && target.Observe(e.ObjectOld) != target.Observe(e.ObjectNew)
		},
	}
}

// isWorkload reports whether an object is of a kind whose pods are counted.
func isWorkload(o client.Object) bool {
	return slices.Contains([]string{target.Deployment, target.DaemonSet, target.StatefulSet}, target.KindOf(o))
}

// serving lets a change of an EndpointSlice pass that changes which endpoints are ready, or their ports. Most changes
// are of other conditions or of metadata.
func serving() predicate.Predicate {
	return predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
		was, ok := e.ObjectOld.(*discoveryv1.EndpointSlice)
		is, ok2 := e.ObjectNew.(*discoveryv1.EndpointSlice)
		return !ok || !ok2 || was.Labels[discoveryv1.LabelServiceName] != is.Labels[discoveryv1.LabelServiceName] ||
			!slices.Equal(readyPods(was), readyPods(is)) || !equality.Semantic.DeepEqual(was.Ports, is.Ports)
	}}
}

// readyPods are the names of the pods behind the ready endpoints of a slice, sorted; "" stands for an endpoint that is
// no pod.
func readyPods(slice *discoveryv1.EndpointSlice) []string {
	var out []string
	for _, e := range slice.Endpoints {
		switch {
		case !observe.Ready(e):
		case e.TargetRef == nil:
			out = append(out, "")
		default:
			out = append(out, e.TargetRef.Name)
		}
	}
	slices.Sort(out)
	return out
}

// finalized lets the first change of the finalizers pass, which changes no generation.
func finalized() predicate.Predicate {
	return predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
		return !slices.Equal(e.ObjectOld.GetFinalizers(), e.ObjectNew.GetFinalizers()) ||
			(e.ObjectOld.GetDeletionTimestamp() == nil) != (e.ObjectNew.GetDeletionTimestamp() == nil)
	}}
}

func (r *Reconciler) index(ctx context.Context, mgr ctrl.Manager) error {
	indexer := mgr.GetFieldIndexer()
	for field, keys := range map[string]func(*siskinv1.Canary) []string{
		indexTarget: func(c *siskinv1.Canary) []string { return []string{c.Spec.TargetRef.Name} },
		indexService: func(c *siskinv1.Canary) []string {
			apex := service.ApexName(c)
			return []string{apex, apex + "-primary", apex + "-canary"}
		},
		indexScaler: scalerKeys,
		indexClaims: r.claimKeys,
	} {
		err := indexer.IndexField(ctx, &siskinv1.Canary{}, field, func(o client.Object) []string {
			c, ok := o.(*siskinv1.Canary)
			if !ok {
				return nil
			}
			return keys(c)
		})
		if err != nil {
			return fmt.Errorf("indexing Canaries by %s: %w", field, err)
		}
	}
	err := indexer.IndexField(ctx, &appsv1.ControllerRevision{}, IndexSnapshots, func(o client.Object) []string {
		return []string{o.GetLabels()[siskinv1.CanaryLabel]}
	})
	if err != nil {
		return fmt.Errorf("indexing snapshots by Canary: %w", err)
	}
	err = indexer.IndexField(ctx, &discoveryv1.EndpointSlice{}, IndexEndpoints, func(o client.Object) []string {
		return []string{o.GetLabels()[discoveryv1.LabelServiceName]}
	})
	if err != nil {
		return fmt.Errorf("indexing EndpointSlices by Service: %w", err)
	}
	return nil
}

// byIndex wakes the Canaries whose index holds what key says of an object.
func (r *Reconciler) byIndex(field string, key func(client.Object) string) handler.EventHandler {
	return r.gathered(r.indexed(field, key))
}

func (r *Reconciler) indexed(field string, key func(client.Object) string) handler.EventHandler {
	return handler.EnqueueRequestsFromMapFunc(func(ctx context.Context, o client.Object) []reconcile.Request {
		return r.requests(ctx, client.InNamespace(o.GetNamespace()), client.MatchingFields{field: key(o)})
	})
}

// requests lists the Canaries of this shard in the cache.
func (r *Reconciler) requests(ctx context.Context, which ...client.ListOption) []reconcile.Request {
	var list siskinv1.CanaryList
	// An event waits for nobody's write.
	which = append(which, client.UnsafeDisableDeepCopy, client.DisableReadYourWritesConsistency)
	if err := r.Client.List(ctx, &list, which...); err != nil {
		return nil // only a cache that is not there fails; it starts with all Canaries anyway
	}
	out := make([]reconcile.Request, 0, len(list.Items))
	for i := range list.Items {
		if !r.mine(&list.Items[i]) {
			continue
		}
		out = append(out, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&list.Items[i])})
	}
	return out
}
