package apply

import (
	"context"
	"fmt"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/gitsync/inventory"
)

// Pruned tells what a prune did.
type Pruned struct {
	// Deleted were told to go.
	Deleted []inventory.Ref
	// Kept could not be deleted and stay on the inventory; Failures tell why.
	Kept     []inventory.Entry
	Failures []Failure
}

// Prune deletes entries in the reverse order of applying. Objects that no longer carry the labels of the GitSync owner, or
// are annotated siskin.dev/prune: disabled, are let go without being deleted.
func (a *Applier) Prune(ctx context.Context, entries []inventory.Entry, owner types.NamespacedName) Pruned {
	entries = slices.Clone(entries)
	slices.SortStableFunc(entries, func(x, y inventory.Entry) int { return compareKinds(y.Kind, x.Kind) })
	var out Pruned
	for _, e := range entries {
		deleted, err := a.prune(ctx, e, owner)
		switch {
		case err != nil:
			out.Kept = append(out.Kept, e)
			out.Failures = append(out.Failures, Failure{e.Ref, err})
		case deleted:
			out.Deleted = append(out.Deleted, e.Ref)
		}
	}
	return out
}

func (a *Applier) prune(ctx context.Context, e inventory.Entry, owner types.NamespacedName) (bool, error) {
	gk := schema.GroupKind{Group: e.Group, Kind: e.Kind}
	mapping, err := a.Client.RESTMapper().RESTMapping(gk, e.Version)
	if meta.IsNoMatchError(err) {
		mapping, err = a.Client.RESTMapper().RESTMapping(gk) // the version may be gone
	}
	if meta.IsNoMatchError(err) {
		return false, nil // the kind is gone, and its objects with it
	}
	if err != nil {
		return false, fmt.Errorf("looking up kind %s: %w", e.Kind, err)
	}
	live := &unstructured.Unstructured{}
	live.SetGroupVersionKind(mapping.GroupVersionKind)
	err = a.Client.Get(ctx, client.ObjectKey{Namespace: e.Namespace, Name: e.Name}, live)
	if apierrors.IsNotFound(err) || meta.IsNoMatchError(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("reading it: %w", err)
	}
	labels := live.GetLabels()
	mine := labels[siskinv1.GitSyncNameLabel] == owner.Name && labels[siskinv1.GitSyncNamespaceLabel] == owner.Namespace
	if !mine || live.GetAnnotations()[siskinv1.GitSyncPruneAnnotation] == "disabled" || live.GetDeletionTimestamp() != nil {
		return false, nil
	}
	uid := live.GetUID()
	err = a.Client.Delete(ctx, live, client.PropagationPolicy(metav1.DeletePropagationBackground), client.Preconditions{UID: &uid})
	if client.IgnoreNotFound(err) != nil {
		return false, fmt.Errorf("deleting it: %w", err)
	}
	return true, nil
}
