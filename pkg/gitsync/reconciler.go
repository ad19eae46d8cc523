// Package gitsync keeps what a path of a git repository declares in the cluster.
//
//	fetch      one commit into memory
//	build      its objects, with kustomize
//	inventory  what to record and what to prune (pure)
//	apply      server-side, after a dry run of everything; prune
//
// It knows nothing of Canaries but the annotations by which they hold a target, and tells them the commit by annotations.
package gitsync

import (
	"context"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/gitsync/build"
	"github.com/siskin-dev/siskin/pkg/gitsync/fetch"
	"github.com/siskin-dev/siskin/pkg/gitsync/inventory"
	"github.com/siskin-dev/siskin/pkg/gitsync/tree"
)

const (
	// minBackoff is the wait after a first failure; it doubles up to the interval.
	minBackoff = 5 * time.Second
	// minDrift and driftIntervals bound how often the cluster is compared with an unchanged commit.
	minDrift       = 5 * time.Minute
	driftIntervals = 10
	// jitter spreads the looks at a repository, so that many GitSyncs do not look at once.
	jitter = 0.05

	// maxCostly is the longest wait after a build that took too much.
	maxCostly = time.Hour

	defaultInterval = time.Minute
	defaultTimeout  = time.Minute
)

// Fetcher reads commits. Errors are of the types of package fetch; others are tried again.
type Fetcher interface {
	// Head asks for the commit that req stands for, without fetching it.
	Head(ctx context.Context, req fetch.Request) (fetch.Revision, error)
	// Fetch reads that commit.
	Fetch(ctx context.Context, req fetch.Request) (*fetch.Snapshot, error)
}

// Builder makes objects of a directory of a commit. Errors are of the types of package build.
type Builder interface {
	Build(ctx context.Context, repo tree.Tree, o build.Options) ([]*unstructured.Unstructured, error)
}

var (
	_ Fetcher              = (*fetch.Git)(nil)
	_ Builder              = (*build.Builder)(nil)
	_ reconcile.Reconciler = (*Reconciler)(nil)
)

// Reconciler syncs GitSyncs. SetupWithManager sets the fields that are not set.
//
// What the commits hold is applied with Client, so with the permissions of the controller, unless the GitSync names a
// ServiceAccount. The install binds the controller to cluster-admin in a ClusterRoleBinding of its own, siskin-gitsync.
type Reconciler struct {
	// Client reads GitSyncs from the cache, and unstructured objects from the API server.
	Client client.Client
	// APIReader reads Secrets and the inventory past the cache.
	APIReader client.Reader
	// ClientFor makes a client that acts as a ServiceAccount.
	ClientFor func(ctx context.Context, namespace, serviceAccount string) (client.Client, error)
	Fetcher   Fetcher
	Builder   Builder
	Recorder  events.EventRecorder
	Clock     clock.Clock
	// Jitter returns numbers from 0 to 1.
	Jitter func() float64

	memory memory
}

// run is one reconcile of one GitSync.
type run struct {
	gs     *siskinv1.GitSync
	before *siskinv1.GitSync // as it was read
	stored *siskinv1.GitSync // as it was patched last
	note   note
	now    time.Time

	revision string // that was found
	snapshot *fetch.Snapshot
	objects  []*unstructured.Unstructured
	want     []inventory.Entry
	done     work
}

// step does one part of a sync. It returns true if nothing is left to do.
type step func(ctx context.Context, s *run) (bool, error)

// +kubebuilder:rbac:groups=siskin.dev,resources=gitsyncs,verbs=get;list;watch;patch;update
// +kubebuilder:rbac:groups=siskin.dev,resources=gitsyncs/status,verbs=get;patch;update
// +kubebuilder:rbac:groups=siskin.dev,resources=gitsyncs/finalizers,verbs=update
// +kubebuilder:rbac:groups="",resources=secrets,verbs=get
// +kubebuilder:rbac:groups="",resources=serviceaccounts,verbs=impersonate
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch

// Reconcile implements reconcile.Reconciler.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	gs := &siskinv1.GitSync{}
	if err := r.Client.Get(ctx, req.NamespacedName, gs); err != nil {
		if apierrors.IsNotFound(err) {
			r.memory.forget(req.NamespacedName)
			return ctrl.Result{}, nil
		}
		return ctrl.Result{}, fmt.Errorf("reading the GitSync: %w", err)
	}
	result, err := r.reconcile(ctx, gs)
	if apierrors.IsConflict(err) { // what was read is old; nothing was stored
		return ctrl.Result{RequeueAfter: time.Second}, nil
	}
	return result, err
}

func (r *Reconciler) reconcile(ctx context.Context, gs *siskinv1.GitSync) (ctrl.Result, error) {
	if !gs.DeletionTimestamp.IsZero() {
		return r.finalize(ctx, gs)
	}
	if err := r.addFinalizer(ctx, gs); err != nil {
		return ctrl.Result{}, err
	}
	s := &run{gs: gs, before: gs.DeepCopy(), stored: gs.DeepCopy(), note: r.memory.get(gs), now: r.Clock.Now()}
	o, err := r.sync(ctx, s)
	if err != nil {
		return ctrl.Result{}, err
	}
	return r.finish(ctx, s, o)
}

// sync runs the steps and names the outcome. It returns an error only if the status could not be stored.
func (r *Reconciler) sync(ctx context.Context, s *run) (outcome, error) {
	if s.gs.Spec.Suspend {
		return outcome{reason: siskinv1.GitSyncSuspended, message: "suspended; the cluster stays at " + orNothing(short(s.gs.Status.LastAppliedRevision))}, nil
	}
	for _, step := range []step{r.fetch, r.build, r.record, r.apply, r.prune} {
		done, err := step(ctx, s)
		if storing := asStoreError(err); storing != nil {
			return outcome{}, storing
		}
		if err != nil {
			o, final := judge(s.gs, s.revision, err)
			s.note.failures++
			if final || o.slow {
				s.note.broken, s.note.brokenReason, s.note.brokenUntil = s.revision, o, time.Time{}
			}
			if o.slow {
				s.note.brokenUntil = s.now.Add(costly(s.gs, s.note.failures))
			}
			return o, nil
		}
		if done {
			break
		}
	}
	if s.note.broken != "" && s.note.broken == s.revision {
		return s.note.brokenReason, nil
	}
	s.note.failures = 0
	message := "applied " + byWhom(s.gs.Status.LastAppliedRevision, s.gs.Status.Commit)
	if len(s.note.kept) > 0 {
		message += fmt.Sprintf("; but the pod template of %s (a Service's selector and ports), which the deletion of its Canary set back to what was promoted: commit what is to run, or take the annotation %s off it to apply git's",
			list(s.note.kept), siskinv1.RestoredFromAnnotation)
	}
	return outcome{reason: siskinv1.GitSyncSynced, message: message}, nil
}

func orNothing(revision string) string {
	if revision == "" {
		return "nothing"
	}
	return revision
}

// finish stores the status if it changed, tells the transition and says when to look again.
func (r *Reconciler) finish(ctx context.Context, s *run, o outcome) (ctrl.Result, error) {
	s.gs.Status.LastHandledReconcile = s.gs.Annotations[siskinv1.GitSyncReconcileAnnotation]
	setConditions(s.gs, o, metav1.NewTime(s.now))
	if err := r.store(ctx, s); err != nil {
		return ctrl.Result{}, err
	}
	r.memory.put(s.gs, s.note)
	if e, ok := transition(s.before, s.gs, o, s.done); ok {
		e.send(r.Recorder, s.gs)
		log.FromContext(ctx).Info("Reported", "reason", o.reason, "message", o.message, "revision", s.revision)
	}
	switch {
	case o.stalled, o.reason == siskinv1.GitSyncSuspended:
		return ctrl.Result{}, nil // an edit wakes us
	case o.ok(), s.note.broken != "" && s.note.broken == s.revision:
		return ctrl.Result{RequeueAfter: r.spread(interval(s.gs))}, nil
	default:
		return ctrl.Result{RequeueAfter: r.spread(backoff(s.gs, s.note.failures))}, nil
	}
}

// store patches the status if it differs from what is stored. The lock keeps a reconcile that read an old inventory from
// overwriting a newer one.
func (r *Reconciler) store(ctx context.Context, s *run) error {
	patch := client.MergeFromWithOptions(s.stored, client.MergeFromWithOptimisticLock{})
	data, err := client.MergeFrom(s.stored).Data(s.gs)
	if err != nil {
		return fmt.Errorf("comparing the status: %w", err)
	}
	if string(data) == "{}" {
		return nil
	}
	if err := r.Client.Status().Patch(ctx, s.gs, patch); err != nil {
		return fmt.Errorf("storing the status: %w", err)
	}
	s.stored = s.gs.DeepCopy()
	return nil
}

func (r *Reconciler) addFinalizer(ctx context.Context, gs *siskinv1.GitSync) error {
	base := gs.DeepCopy()
	if !controllerutil.AddFinalizer(gs, siskinv1.GitSyncFinalizer) {
		return nil
	}
	if err := r.Client.Patch(ctx, gs, client.MergeFromWithOptions(base, client.MergeFromWithOptimisticLock{})); err != nil {
		return fmt.Errorf("adding the finalizer: %w", err)
	}
	return nil
}

func (r *Reconciler) spread(d time.Duration) time.Duration {
	return d + time.Duration(float64(d)*jitter*(2*r.Jitter()-1))
}

func interval(gs *siskinv1.GitSync) time.Duration {
	if d := gs.Spec.Interval.Duration; d > 0 {
		return d
	}
	return defaultInterval
}

func timeout(gs *siskinv1.GitSync) time.Duration {
	if d := gs.Spec.Timeout.Duration; d > 0 {
		return d
	}
	return defaultTimeout
}

// driftPeriod is the time after which an unchanged commit is compared with the cluster again.
func driftPeriod(gs *siskinv1.GitSync) time.Duration {
	return max(driftIntervals*interval(gs), minDrift)
}

// costly is how long a commit whose build took too much is not built again. It doubles with each failure, up to an hour. A new
// commit and a request are built at once.
func costly(gs *siskinv1.GitSync, failures int) time.Duration {
	d := max(interval(gs), time.Minute)
	for range failures - 1 {
		if d *= 2; d >= maxCostly {
			return max(maxCostly, interval(gs))
		}
	}
	return d
}

func backoff(gs *siskinv1.GitSync, failures int) time.Duration {
	d, most := minBackoff, max(interval(gs), minBackoff)
	for range failures - 1 {
		if d *= 2; d >= most {
			return most
		}
	}
	return min(d, most)
}
