package act

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/canary/observe"
	"github.com/siskin-dev/siskin/pkg/canary/target"
	"github.com/siskin-dev/siskin/pkg/router/service"
)

// changedAgain is how soon a target is looked at again that changed under Siskin's hands.
const changedAgain = 100 * time.Millisecond

// hold marks the target, records the number of pods that the user wants and takes its pods away.
func (a *Actor) hold(ctx context.Context, w *observe.World, replicas int32, out *Outcome) error {
	marks := map[string]string{siskinv1.HeldAnnotation: w.Canary.Name, siskinv1.ReplicasAnnotation: strconv.Itoa(int(replicas))}
	if w.Target != nil && !target.Numbered(w.Target) {
		return a.fence(ctx, w, marks)
	}
	if w.Target == nil {
		return nil
	}
	version := ""
	if w.Target.GetAnnotations()[siskinv1.HeldAnnotation] == "" { // the number may be changing just now
		version = w.Target.GetResourceVersion()
	}
	_, err := a.scale(ctx, w, 0, marks, version)
	switch {
	case apierrors.IsConflict(err) && version != "":
		out.Later = changedAgain
		return nil
	case err != nil:
		return err
	}
	return a.forgetRestore(ctx, w)
}

// forgetRestore takes the note off a target that the deletion of an earlier Canary left on it.
func (a *Actor) forgetRestore(ctx context.Context, w *observe.World) error {
	if w.Target == nil || w.Target.GetAnnotations()[siskinv1.RestoredAnnotation] == "" {
		return nil
	}
	live, err := emptyTarget(w)
	if err != nil {
		return err
	}
	return a.merge(ctx, live, map[string]any{"metadata": map[string]any{"annotations": map[string]any{
		siskinv1.RestoredAnnotation: nil, siskinv1.RestoredFromAnnotation: nil,
	}}})
}

// release gives the target its pods back. Siskin goes on owning a number: a field without an owner would fall back to
// one. Pods start of what was observed, and of nothing that somebody has written since: that is looked at first.
func (a *Actor) release(ctx context.Context, w *observe.World, replicas int32, out *Outcome) error {
	if w.Target == nil {
		return nil
	}
	if !target.Numbered(w.Target) {
		return a.fence(ctx, w, nil)
	}
	live, err := a.scale(ctx, w, replicas, nil, w.Target.GetResourceVersion())
	if apierrors.IsConflict(err) {
		out.Later = changedAgain
		return nil
	}
	if err != nil {
		return err
	}
	return a.forgetRecord(ctx, live)
}

// forgetRecord takes the number off a released target that its author has recorded, and who owns it therefore: it would
// count again for the next Canary.
func (a *Actor) forgetRecord(ctx context.Context, live client.Object) error {
	if _, recorded := live.GetAnnotations()[siskinv1.ReplicasAnnotation]; !recorded {
		return nil
	}
	return a.merge(ctx, live, map[string]any{"metadata": map[string]any{"annotations": map[string]any{
		siskinv1.ReplicasAnnotation: nil,
	}}})
}

// scale applies only the number and Siskin's annotations, and returns the target as it is then. The uid keeps it from creating half a Deployment when the target was
// deleted meanwhile. version is the only one that may be written over; "": any.
func (a *Actor) scale(ctx context.Context, w *observe.World, replicas int32, annotations map[string]string, version string) (client.Object, error) {
	meta := map[string]any{
		"name": w.Target.GetName(), "namespace": w.Target.GetNamespace(), "uid": w.Target.GetUID(), "annotations": annotations,
	}
	if version != "" {
		meta["resourceVersion"] = version
	}
	patch := map[string]any{
		"apiVersion": "apps/v1", "kind": target.KindOf(w.Target), "metadata": meta, "spec": map[string]any{"replicas": replicas},
	}
	data, err := json.Marshal(patch)
	if err != nil {
		return nil, fmt.Errorf("encoding the scale of %s: %w", w.Target.GetName(), err)
	}
	live, err := emptyTarget(w)
	if err != nil {
		return nil, err
	}
	err = a.Client.Patch(ctx, live, client.RawPatch(types.ApplyPatchType, data), client.FieldOwner(siskinv1.FieldManager), client.ForceOwnership)
	if err != nil {
		return nil, fmt.Errorf("scaling target %s to %d: %w", w.Target.GetName(), replicas, err)
	}
	return live, nil
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
	err := a.leave(ctx, w) // first: it may lead to a port that the Service loses
	if released := a.Services.ReleaseApex(ctx, in); released != nil {
		return errors.Join(err, fmt.Errorf("giving Service %s back: %w", w.Apex, released))
	}
	a.Memo.forget(w)
	return err
}

// leave gives the route back, at a port that the apex keeps.
func (a *Actor) leave(ctx context.Context, w *observe.World) error {
	if w.Router == nil {
		return nil
	}
	in := w.Intent
	in.Port = service.PortAfter(w.Canary, w.Live[w.Apex], in.Port)
	if err := w.Router.Release(ctx, in); err != nil {
		return fmt.Errorf("giving the route back: %w", err)
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
	known, isDeps := have.(*serviceDeps)
	return ok && isDeps && known.same(m.deps(w, serving(w)))
}

// remember keeps what was found before the Services were looked at: what has changed since is not known.
func (m *ServiceMemo) remember(w *observe.World, deps *serviceDeps) {
	m.known.Store(w.Canary.UID, deps)
}

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

// serviceDeps are what the Services depend on. They are kept as they are: to write them into one text costs more than to
// compare them, and they are compared in every pass.
type serviceDeps struct {
	serviceVersions
	views observe.Made
}

// serviceVersions are the Canary's spec, the revision, the phase, the labels of the clones' pods, and the Services themselves.
type serviceVersions struct {
	epoch, generation      int64
	revision               string
	phase                  siskinv1.Phase
	serves                 bool
	own                    service.Own
	apex, primary, onTrial string
}

func (d *serviceDeps) same(other *serviceDeps) bool {
	return d.serviceVersions == other.serviceVersions && d.views.Same(other.views)
}

// deps are what the Services depend on in a world.
func (m *ServiceMemo) deps(w *observe.World, serves bool) *serviceDeps {
	m.mu.Lock()
	epoch := m.epochs[w.Canary.Namespace]
	m.mu.Unlock()
	return &serviceDeps{
		serviceVersions: serviceVersions{
			epoch: epoch, generation: w.Canary.Generation, revision: w.RevisionName, phase: w.Canary.Status.Phase,
			serves: serves, own: ownPods(w),
			apex: specOf(w.Live[w.Apex]), primary: specOf(w.Live[w.PrimaryService]), onTrial: specOf(w.Live[w.CanaryService]),
		},
		views: w.Views.Made(),
	}
}

func specOf(svc *corev1.Service) string {
	if svc == nil {
		return "-"
	}
	return svc.ResourceVersion
}
