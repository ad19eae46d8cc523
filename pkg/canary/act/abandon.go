package act

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/canary/observe"
	"github.com/siskin-dev/siskin/pkg/canary/report"
	"github.com/siskin-dev/siskin/pkg/canary/target"
)

// abandon takes the owner off everything that would go with the Canary.
func (a *Actor) abandon(ctx context.Context, w *observe.World) error {
	var objs []client.Object
	for _, clone := range []client.Object{w.Primary, w.Trial} {
		if clone != nil {
			if err := a.untrack(ctx, w.Canary, clone); err != nil {
				return err
			}
			objs = append(objs, clone)
		}
	}
	for _, svc := range w.Live {
		objs = append(objs, svc)
	}
	for _, s := range w.Snapshots {
		objs = append(objs, s)
	}
	for _, s := range slices.Concat(w.Scalers.Leftover, w.Scalers.Claimed, []*unstructured.Unstructured{w.Scalers.Copy}) {
		if s != nil {
			objs = append(objs, s.DeepCopy())
		}
	}
	in := w.IntentOf(report.State(&w.Canary.Status))
	for _, r := range a.Routers {
		if err := r.Orphan(ctx, in); err != nil {
			return fmt.Errorf("giving the route up: %w", err)
		}
	}
	for _, obj := range objs {
		if err := a.disown(ctx, w.Canary, obj); err != nil {
			return err
		}
	}
	return nil
}

// untrack takes the label off a clone that an earlier Siskin gave it: Argo CD would prune it as soon as it has no
// owner.
func (a *Actor) untrack(ctx context.Context, canary *siskinv1.Canary, clone client.Object) error {
	if _, ok := clone.GetLabels()[target.Tracking]; !ok || !metav1.IsControlledBy(clone, canary) {
		return nil
	}
	before, ok := clone.DeepCopyObject().(client.Object)
	if !ok {
		return fmt.Errorf("copying %T %s", clone, clone.GetName())
	}
	kept := maps.Clone(clone.GetLabels())
	delete(kept, target.Tracking)
	clone.SetLabels(kept)
	if err := a.Client.Patch(ctx, clone, client.MergeFrom(before), client.FieldOwner(siskinv1.FieldManager)); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("taking label %s off %s: %w", target.Tracking, clone.GetName(), err)
	}
	return nil
}

// disown takes the Canary, and the target beside it, out of an object's owners.
func (a *Actor) disown(ctx context.Context, canary *siskinv1.Canary, obj client.Object) error {
	if !metav1.IsControlledBy(obj, canary) && obj.GetLabels()[siskinv1.CanaryLabel] != canary.Name {
		return nil
	}
	return a.reown(ctx, canary, obj, nil)
}

// collectable leaves an object to the garbage collector: it goes with the Canary, and with nothing else.
func (a *Actor) collectable(ctx context.Context, canary *siskinv1.Canary, obj client.Object) error {
	owners := obj.GetOwnerReferences()
	if obj.GetLabels()[siskinv1.CanaryLabel] != canary.Name || len(owners) == 1 && metav1.IsControlledBy(obj, canary) {
		return nil
	}
	mine := *metav1.NewControllerRef(canary, siskinv1.GroupVersion.WithKind("Canary"))
	return a.reown(ctx, canary, obj, []metav1.OwnerReference{mine})
}

// reown gives an object other owners in the place of the Canary and its target.
func (a *Actor) reown(ctx context.Context, canary *siskinv1.Canary, obj client.Object, owners []metav1.OwnerReference) error {
	before, ok := obj.DeepCopyObject().(client.Object)
	if !ok {
		return fmt.Errorf("copying %T %s", obj, obj.GetName())
	}
	after, ok := obj.DeepCopyObject().(client.Object)
	if !ok {
		return fmt.Errorf("copying %T %s", obj, obj.GetName())
	}
	ref := canary.Spec.TargetRef
	for _, o := range obj.GetOwnerReferences() {
		beside := o.Controller == nil && o.Kind == ref.Kind && o.Name == ref.Name
		if o.UID != canary.UID && !beside {
			owners = append(owners, o)
		}
	}
	after.SetOwnerReferences(owners)
	if equality.Semantic.DeepEqual(before.GetOwnerReferences(), owners) {
		return nil
	}
	err := a.Client.Patch(ctx, after, client.MergeFrom(before), client.FieldOwner(siskinv1.FieldManager))
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("changing the owners of %T %s: %w", obj, obj.GetName(), err)
	}
	return nil
}
