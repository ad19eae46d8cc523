package gitsync

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"

	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/predicate"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/gitsync/build/child"
	"github.com/siskin-dev/siskin/pkg/gitsync/fetch"
)

// ControllerName is the name of the controller and of the source of its events.
const ControllerName = "siskin-gitsync"

// Options of the controller.
type Options struct {
	// MaxConcurrentReconciles is the number of GitSyncs that are synced at the same time. Default 4.
	MaxConcurrentReconciles int
	// MaxRepositoryBytes bounds the sum of the sizes of all objects of a commit. Default fetch.DefaultLimit, 256 MiB.
	MaxRepositoryBytes int64
	// DisableFileURLs refuses file:// URLs, which read repositories on the controller's own disk.
	DisableFileURLs bool
	// Build limits one build, which runs in a process of its own; zeros are defaults.
	Build child.Limits
}

// SetupWithManager registers the controller. Fields of the Reconciler that are not set get their defaults from the manager.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager, o Options) error {
	r.setDefaults(mgr, o)
	if o.MaxConcurrentReconciles <= 0 {
		o.MaxConcurrentReconciles = 4
	}
	err := ctrl.NewControllerManagedBy(mgr).Named(ControllerName).
		For(&siskinv1.GitSync{}, builder.WithPredicates(wanted())).
		WithOptions(controller.Options{MaxConcurrentReconciles: o.MaxConcurrentReconciles}).
		Complete(r)
	if err != nil {
		return fmt.Errorf("setting up the GitSync controller: %w", err)
	}
	return nil
}

func (r *Reconciler) setDefaults(mgr ctrl.Manager, o Options) {
	if r.Client == nil {
		r.Client = mgr.GetClient()
	}
	if r.APIReader == nil {
		r.APIReader = mgr.GetAPIReader()
	}
	if r.Recorder == nil {
		r.Recorder = mgr.GetEventRecorder(ControllerName)
	}
	if r.Clock == nil {
		r.Clock = clock.RealClock{}
	}
	if r.Jitter == nil {
		r.Jitter = rand.Float64
	}
	if r.Fetcher == nil {
		var opts []fetch.Option
		if o.MaxRepositoryBytes > 0 {
			opts = append(opts, fetch.WithLimit(o.MaxRepositoryBytes))
		}
		if o.DisableFileURLs {
			opts = append(opts, fetch.WithoutLocal())
		}
		r.Fetcher = fetch.New(opts...)
	}
	if r.Builder == nil {
		r.Builder = &child.Builder{Limits: o.Build}
	}
	if r.ClientFor == nil {
		r.ClientFor = impersonate(mgr)
	}
}

// impersonate makes clients that act as a ServiceAccount. They share the manager's HTTP connections' settings and kinds, and
// read from the API server: what is applied is compared with what is there, not with a cache.
func impersonate(mgr ctrl.Manager) func(context.Context, string, string) (client.Client, error) {
	return func(_ context.Context, namespace, serviceAccount string) (client.Client, error) {
		if namespace == "" || serviceAccount == "" {
			return nil, errors.New("impersonating needs a namespace and a ServiceAccount")
		}
		cfg := rest.CopyConfig(mgr.GetConfig())
		cfg.Impersonate = rest.ImpersonationConfig{UserName: fmt.Sprintf("system:serviceaccount:%s:%s", namespace, serviceAccount)}
		c, err := client.New(cfg, client.Options{Scheme: mgr.GetScheme(), Mapper: mgr.GetRESTMapper()})
		if err != nil {
			return nil, fmt.Errorf("making a client for ServiceAccount %s/%s: %w", namespace, serviceAccount, err)
		}
		return c, nil
	}
}

// wanted lets edits of the spec, deletions and requests by annotation through, but not our own writes of the status.
func wanted() predicate.Predicate {
	return predicate.Or(predicate.GenerationChangedPredicate{}, predicate.Funcs{
		UpdateFunc: func(e event.UpdateEvent) bool {
			const key = siskinv1.GitSyncReconcileAnnotation
			return e.ObjectOld.GetAnnotations()[key] != e.ObjectNew.GetAnnotations()[key]
		},
	})
}
