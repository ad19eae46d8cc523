package act

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"strconv"
	"sync"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/canary/observe"
	"github.com/siskin-dev/siskin/pkg/canary/target"
)

// hold marks the target, records the number of pods that the user wants and takes its pods away.
func (a *Actor) hold(ctx context.Context, w *observe.World, replicas int32) error {
	marks := map[string]string{siskinv1.HeldAnnotation: w.Canary.Name, siskinv1.ReplicasAnnotation: strconv.Itoa(int(replicas))}
	if w.Target != nil && !target.Numbered(w.Target) {
		return a.fence(ctx, w, marks)
	}
	return a.scale(ctx, w, 0, marks)
}

// release gives the target its pods back. Siskin goes on owning a number: a field without an owner would fall back to one.
func (a *Actor) release(ctx context.Context, w *observe.World, replicas int32) error {
	if w.Target != nil && !target.Numbered(w.Target) {
		return a.fence(ctx, w, nil)
	}
	return a.scale(ctx, w, replicas, nil)
}

// scale applies only the number and Siskin's annotations. The uid keeps it from creating half a Deployment when the target was
// deleted meanwhile.
func (a *Actor) scale(ctx context.Context, w *observe.World, replicas int32, annotations map[string]string) error {
	if w.Target == nil {
		return nil
	}
	patch := map[string]any{
		"apiVersion": "apps/v1", "kind": target.KindOf(w.Target),
		"metadata": map[string]any{
			"name": w.Target.GetName(), "namespace": w.Target.GetNamespace(), "uid": w.Target.GetUID(), "annotations": annotations,
		},
		"spec": map[string]any{"replicas": replicas},
	}
	data, err := json.Marshal(patch)
	if err != nil {
		return fmt.Errorf("encoding the scale of %s: %w", w.Target.GetName(), err)
	}
	live, err := emptyTarget(w)
	if err != nil {
		return err
	}
	err = a.Client.Patch(ctx, live, client.RawPatch(types.ApplyPatchType, data), client.FieldOwner(siskinv1.FieldManager), client.ForceOwnership)
	if err != nil {
		return fmt.Errorf("scaling target %s to %d: %w", w.Target.GetName(), replicas, err)
	}
	return nil
}

// emptyTarget is an object that takes the answer to a write of the target.
func emptyTarget(w *observe.World) (client.Object, error) {
	obj, err := target.New(target.KindOf(w.Target))
	if err != nil {
		return nil, err
	}
	obj.SetName(w.Target.GetName())
	obj.SetNamespace(w.Target.GetNamespace())
	return obj, nil
}

// restore gives apex and route back; the Services of primary and canary stay until the finalizer goes.
func (a *Actor) restore(ctx context.Context, w *observe.World) error {
	in := a.serviceInput(w)
	in.Keep = w.Target != nil && w.Target.GetDeletionTimestamp() == nil
	w.Intent.Keep = in.Keep
	if err := a.Services.ReleaseApex(ctx, in); err != nil {
		return fmt.Errorf("giving Service %s back: %w", w.Apex, err)
	}
	a.Memo.forget(w)
	if w.Router == nil {
		return nil
	}
	if err := w.Router.Release(ctx, w.Intent); err != nil {
		return fmt.Errorf("giving the route back: %w", err)
	}
	return nil
}

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
	for _, s := range append(w.Scalers.Leftover, w.Scalers.Copy) {
		if s != nil {
			objs = append(objs, s.DeepCopy())
		}
	}
	var routes gatewayv1.HTTPRouteList
	err := a.Client.List(ctx, &routes, client.InNamespace(w.Canary.Namespace), client.MatchingLabels{siskinv1.CanaryLabel: w.Canary.Name})
	if err == nil { // without the Gateway API there are none
		for i := range routes.Items {
			objs = append(objs, &routes.Items[i])
		}
	}
	for _, obj := range objs {
		if err := a.disown(ctx, w.Canary, obj); err != nil {
			return err
		}
	}
	return nil
}

// untrack takes the label off a clone that an earlier Siskin gave it: Argo CD would prune it as soon as it has no owner.
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

// disown takes the Canary out of an object's owners.
func (a *Actor) disown(ctx context.Context, canary *siskinv1.Canary, obj client.Object) error {
	if !metav1.IsControlledBy(obj, canary) {
		return nil
	}
	before, ok := obj.DeepCopyObject().(client.Object)
	if !ok {
		return fmt.Errorf("copying %T %s", obj, obj.GetName())
	}
	var keep []metav1.OwnerReference
	for _, o := range obj.GetOwnerReferences() {
		if o.UID != canary.UID {
			keep = append(keep, o)
		}
	}
	obj.SetOwnerReferences(keep)
	if err := a.Client.Patch(ctx, obj, client.MergeFrom(before), client.FieldOwner(siskinv1.FieldManager)); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("releasing %T %s: %w", obj, obj.GetName(), err)
	}
	return nil
}

// ServiceMemo remembers, per Canary, for which versions of its objects the Services were found as desired, so that they are
// compared only when something has changed. It is lost with the process, which costs one comparison.
type ServiceMemo struct {
	known sync.Map

	mu     sync.Mutex
	epochs map[string]int64 // by namespace
}

// NewServiceMemo returns an empty memo.
func NewServiceMemo() *ServiceMemo { return &ServiceMemo{} }

// Known tells whether the Services were found as desired and nothing that they depend on has changed since.
func (m *ServiceMemo) Known(w *observe.World) bool {
	have, ok := m.known.Load(w.Canary.UID)
	return ok && have == m.digest(w, serving(w))
}

// remember keeps a digest that was made before the Services were looked at: what has changed since is not known.
func (m *ServiceMemo) remember(w *observe.World, digest string) { m.known.Store(w.Canary.UID, digest) }

func (m *ServiceMemo) forget(w *observe.World) { m.known.Delete(w.Canary.UID) }

// Changed notes that a Service of the namespace which is not Siskin's own has come, gone or changed its selector, or that a workload is
// behind another: it may feed pods that must not be fed, or not feed what it must, so that all Canaries of the namespace look again.
func (m *ServiceMemo) Changed(namespace string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.epochs == nil {
		m.epochs = map[string]int64{}
	}
	m.epochs[namespace]++
}

// Drop forgets a Canary that is gone.
func (m *ServiceMemo) Drop(uid types.UID) { m.known.Delete(uid) }

func serving(w *observe.World) bool {
	svc := w.Live[w.Apex]
	return svc != nil && svc.Spec.Selector[siskinv1.RoleLabel] != ""
}

// digest names what the Services depend on: the Canary's spec, the revision, the phase, the labels of the clones' pods, and the Services
// themselves.
func (m *ServiceMemo) digest(w *observe.World, serves bool) string {
	m.mu.Lock()
	epoch := m.epochs[w.Canary.Namespace]
	m.mu.Unlock()
	return fmt.Sprintf("%d/%d/%s/%s/%t/%v/%s/%s/%s", epoch, w.Canary.Generation, w.RevisionName, w.Canary.Status.Phase, serves, ownPods(w),
		specOf(w.Live[w.Apex]), specOf(w.Live[w.PrimaryService]), specOf(w.Live[w.CanaryService]))
}

func specOf(svc *corev1.Service) string {
	if svc == nil {
		return "-"
	}
	return svc.ResourceVersion
}
