package gitsync

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/gitsync/apply"
	"github.com/siskin-dev/siskin/pkg/gitsync/build"
	"github.com/siskin-dev/siskin/pkg/gitsync/fetch"
	"github.com/siskin-dev/siskin/pkg/gitsync/inventory"
)

// storeError : the status could not be stored, so the run must not go on.
type storeError struct{ err error }

func (e *storeError) Error() string { return e.err.Error() }
func (e *storeError) Unwrap() error { return e.err }

func asStoreError(err error) error {
	e, ok := errors.AsType[*storeError](err)
	if !ok {
		return nil
	}
	return e.err
}

// fetch asks the repository for its head and fetches it, unless the cluster is known to be there, or the commit is known not
// to build. Then nothing is asked of the API server.
func (r *Reconciler) fetch(ctx context.Context, s *run) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout(s.gs))
	defer cancel()
	var head fetch.Revision
	var req fetch.Request
	err := r.withCredentials(ctx, s, func(c fetch.Credentials) (err error) {
		ref := s.gs.Spec.Ref
		req = fetch.Request{URL: s.gs.Spec.URL, Branch: ref.Branch, Tag: ref.Tag, Commit: ref.Commit, Credentials: c}
		head, err = r.Fetcher.Head(ctx, req)
		return err
	})
	if err != nil {
		return false, err
	}
	s.revision = head.String()
	asked := s.gs.Annotations[siskinv1.GitSyncReconcileAnnotation] != s.gs.Status.LastHandledReconcile
	if !asked && s.note.broken == s.revision && (s.note.brokenUntil.IsZero() || s.now.Before(s.note.brokenUntil)) {
		return true, nil
	}
	s.note.broken = ""
	settled := isReady(s.gs) && s.gs.Status.ObservedGeneration == s.gs.Generation && s.gs.Status.LastAppliedRevision == s.revision
	if settled && !asked && s.now.Sub(s.note.checked) < driftPeriod(s.gs) {
		return true, nil
	}
	s.snapshot, err = r.Fetcher.Fetch(ctx, req)
	if err != nil {
		return false, err
	}
	s.revision = s.snapshot.Revision.String() // it may have moved on
	s.gs.Status.LastAttemptedRevision = s.revision
	return false, nil
}

// withCredentials calls f with the credentials of the Secret. They are remembered for a drift period; if the server refuses
// remembered ones, the Secret is read again.
func (r *Reconciler) withCredentials(ctx context.Context, s *run, f func(fetch.Credentials) error) error {
	if s.gs.Spec.SecretRef == nil {
		return f(fetch.Credentials{})
	}
	known := !s.note.credentialsAt.IsZero() && s.now.Sub(s.note.credentialsAt) < driftPeriod(s.gs)
	if known {
		err := f(s.note.credentials)
		if _, refused := errors.AsType[*fetch.AuthError](err); !refused {
			return err
		}
	}
	s.note.credentialsAt = s.now.Add(-2 * driftPeriod(s.gs))
	secret := &corev1.Secret{}
	err := r.APIReader.Get(ctx, client.ObjectKey{Namespace: s.gs.Namespace, Name: s.gs.Spec.SecretRef.Name}, secret)
	if apierrors.IsNotFound(err) {
		return &fetch.SecretError{Msg: "it does not exist; create it, or correct spec.secretRef"}
	}
	if err != nil {
		return fmt.Errorf("reading the Secret: %w", err)
	}
	if len(secret.Data) == 0 {
		return &fetch.SecretError{Msg: "it is empty"}
	}
	s.note.credentials = fetch.NewCredentials(secret.Data)
	if err := f(s.note.credentials); err != nil {
		return err
	}
	s.note.credentialsAt = s.now
	return nil
}

// build makes the objects and gives them their namespaces.
func (r *Reconciler) build(ctx context.Context, s *run) (bool, error) {
	var err error
	s.objects, err = r.Builder.Build(ctx, s.snapshot.Tree, build.Options{Path: s.gs.Spec.Path, TargetNamespace: s.gs.Spec.TargetNamespace})
	if err != nil {
		return false, err
	}
	a, err := r.applier(ctx, s.gs)
	if err != nil {
		return false, err
	}
	namespace := s.gs.Spec.TargetNamespace
	if namespace == "" {
		namespace = s.gs.Namespace
	}
	if failures := a.SetScope(s.objects, namespace); len(failures) > 0 {
		s.gs.Status.Failures = listed(failures)
		return false, &objectsError{siskinv1.GitSyncApplyFailed, "nothing was applied or pruned", failures}
	}
	s.want = apply.Entries(s.objects)
	return false, nil
}

// record stores the inventory that is about to be applied, before the first object is: a crash then leaves nothing in the
// cluster that no inventory knows of.
func (r *Reconciler) record(ctx context.Context, s *run) (bool, error) {
	recorded := recorded(ctx, s.gs)
	intended := inventory.Intended(recorded, s.want)
	if inventory.Equal(recorded, intended) {
		return false, nil
	}
	s.gs.Status.Inventory = stored(intended)
	setApplying(s.gs, s.revision, metav1.NewTime(s.now))
	if err := r.store(ctx, s); err != nil {
		return false, &storeError{err}
	}
	return false, nil
}

// apply brings the objects into the cluster.
func (r *Reconciler) apply(ctx context.Context, s *run) (bool, error) {
	a, err := r.applier(ctx, s.gs)
	if err != nil {
		return false, err
	}
	c := s.snapshot.Commit
	stamp := apply.Stamp{Revision: s.revision, Author: c.Author, Message: c.Message, URL: s.gs.Spec.URL}
	result := a.Apply(ctx, s.objects, key(s.gs), stamp, timeout(s.gs))
	s.done.changes = result.Changes
	s.note.kept = s.done.kept()
	s.gs.Status.Failures = listed(result.Failures)
	if len(result.Failures) == 0 {
		return false, nil
	}
	what := "nothing was applied or pruned"
	if result.Wrote {
		what = "applied in part, nothing was pruned"
	}
	return false, &objectsError{siskinv1.GitSyncApplyFailed, what, result.Failures}
}

// prune deletes what left git, and settles inventory and revision.
func (r *Reconciler) prune(ctx context.Context, s *run) (bool, error) {
	a, err := r.applier(ctx, s.gs)
	if err != nil {
		return false, err
	}
	var p apply.Pruned
	if s.gs.Spec.Prune == nil || *s.gs.Spec.Prune {
		p = a.Prune(ctx, inventory.Prunable(recorded(ctx, s.gs), s.want), key(s.gs))
	}
	s.done.pruned = p.Deleted
	s.gs.Status.Inventory = stored(inventory.Settled(s.want, p.Kept))
	s.gs.Status.Failures = listed(p.Failures)
	if len(p.Failures) > 0 {
		return false, &objectsError{siskinv1.GitSyncPruneFailed, "all was applied, but not all could be pruned", p.Failures}
	}
	st := &s.gs.Status
	if st.LastAppliedRevision != s.revision || len(s.done.changed())+len(p.Deleted) > 0 {
		now := metav1.NewTime(s.now)
		st.LastAppliedTime = &now
	}
	st.LastAppliedRevision, st.Revision = s.revision, short(s.revision)
	c := s.snapshot.Commit
	st.Commit = &siskinv1.GitCommit{SHA: c.SHA, Author: c.Author, Email: c.Email, Message: c.Message, Time: metav1.NewTime(c.Time.UTC())}
	s.note.checked = s.now
	return false, nil
}

// applier acts as the GitSync's ServiceAccount, or as the controller.
func (r *Reconciler) applier(ctx context.Context, gs *siskinv1.GitSync) (*apply.Applier, error) {
	c := r.Client
	if gs.Spec.ServiceAccountName != "" {
		var err error
		if c, err = r.ClientFor(ctx, gs.Namespace, gs.Spec.ServiceAccountName); err != nil {
			return nil, fmt.Errorf("acting as ServiceAccount %s: %w", gs.Spec.ServiceAccountName, err)
		}
	}
	return &apply.Applier{Client: c, Clock: r.Clock, Claimed: r.claimed}, nil
}

// claimed tells whether a GitSync exists and answers for an object.
func (r *Reconciler) claimed(ctx context.Context, owner types.NamespacedName, ref inventory.Ref) (bool, error) {
	other := &siskinv1.GitSync{}
	if err := r.Client.Get(ctx, owner, other); err != nil {
		if apierrors.IsNotFound(err) {
			return false, nil
		}
		return false, fmt.Errorf("reading GitSync %s: %w", owner, err)
	}
	for _, e := range recorded(ctx, other) {
		if e.Ref == ref {
			return true, nil
		}
	}
	return false, nil
}

func key(gs *siskinv1.GitSync) types.NamespacedName {
	return types.NamespacedName{Namespace: gs.Namespace, Name: gs.Name}
}

// recorded reads the inventory.
func recorded(ctx context.Context, gs *siskinv1.GitSync) []inventory.Entry {
	if gs.Status.Inventory == nil {
		return nil
	}
	out := make([]inventory.Entry, 0, len(gs.Status.Inventory.Entries))
	for _, e := range gs.Status.Inventory.Entries {
		ref, err := inventory.Parse(e.ID)
		if err != nil {
			log.FromContext(ctx).Error(err, "Left out an entry of the inventory", "id", e.ID)
			continue
		}
		out = append(out, inventory.Entry{Ref: ref, Version: e.V})
	}
	return out
}

func stored(entries []inventory.Entry) *siskinv1.GitInventory {
	out := &siskinv1.GitInventory{}
	for _, e := range entries {
		out.Entries = append(out.Entries, siskinv1.GitInventoryEntry{ID: e.String(), V: e.Version})
	}
	return out
}

// listed writes failures into the status, the first few of them.
func listed(failures []apply.Failure) []siskinv1.GitSyncFailure {
	const most = 20
	var out []siskinv1.GitSyncFailure
	for _, f := range failures[:min(len(failures), most)] {
		out = append(out, siskinv1.GitSyncFailure{Object: apply.Describe(f.Ref), Message: f.Message()})
	}
	return out
}
