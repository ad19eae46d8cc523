// Package act carries the plan's effects out. It is the only writer of clones, Services, routes and targets, and it decides
// nothing.
package act

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/canary/observe"
	"github.com/siskin-dev/siskin/pkg/canary/plan"
	"github.com/siskin-dev/siskin/pkg/canary/report"
	"github.com/siskin-dev/siskin/pkg/canary/target"
	"github.com/siskin-dev/siskin/pkg/router"
	"github.com/siskin-dev/siskin/pkg/router/service"
)

// SnapshotLimit is how many snapshots a Canary keeps besides those in use.
const SnapshotLimit = 10

// Actor writes.
type Actor struct {
	// Client writes to the API server and reads from the caches.
	Client client.Client
	// Services writes Services.
	Services *service.Applier
	// ServerVersion is noted on snapshots.
	ServerVersion string
	// Memo remembers which Services were found as desired.
	Memo *ServiceMemo
	// Live reads and writes past the caches, one object by its name: ConfigMaps and Secrets, and who wrote what of a target.
	Live client.Client
	// Expire is told of a ConfigMap or Secret whose content is not what was observed; nil: nobody is.
	Expire func(kind, namespace, name string)
	// Routers are all that there are: what they made for a Canary is left when its policy is Orphan, also by a provider that it had before.
	Routers []router.Router
	// Scalers reads autoscalers from the same caches as the observer, and writes them; nil: Client.
	Scalers client.Client
	// Clock tells when a route that somebody else rewrites is due for the next repair; nil: the real one.
	Clock clock.PassiveClock

	fights fights
}

// Outcome is what Run found worth telling.
type Outcome struct {
	// Adopted are the user's Services that were adopted just now.
	Adopted []string
	// Shared are Services that cannot be adopted because they select other workloads too.
	Shared []string
	// Foreign is the receipt of a route that somebody else had changed and that was put right, or adopted, just now; nil if none was.
	Foreign *router.Receipt
	// Moved tells that traffic was moved just now.
	Moved bool
	// Later is when to come back for what was put off: the repair of a route that somebody rewrites again and again. 0: nothing was.
	Later time.Duration
	// Recopied are copies of configuration that somebody had deleted and that were made again just now.
	Recopied []observe.Lost
}

// Run carries out effects in order. One that fails does not keep the others from being tried, so that nothing blocks a
// rollback; but what cannot be taken back (Abandon, Finish) is done only if all before it succeeded. That nothing can
// be made in a namespace that is being deleted keeps no Canary that is being deleted: all goes with the namespace.
func (a *Actor) Run(ctx context.Context, w *observe.World, effects []plan.Effect) (Outcome, error) {
	var out Outcome
	var errs []error
	if err := a.takeOver(ctx, w); err != nil {
		errs = append(errs, err)
	}
	if err := a.keep(ctx, w); err != nil {
		errs = append(errs, err)
	}
	for _, e := range effects {
		switch e.(type) {
		case plan.Abandon, plan.Finish:
			if len(errs) > 0 {
				return out, errors.Join(errs...)
			}
		}
		if err := a.run(ctx, w, e, &out); err != nil && !goes(w, err) {
			errs = append(errs, err)
		}
	}
	// Last: it reads what may take long to be read, and no rollback waits for that.
	return out, errors.Join(append(errs, a.recopy(ctx, w, &out))...)
}

// goes tells whether an effect failed because a Canary goes together with its namespace.
func goes(w *observe.World, err error) bool {
	return w.Canary.DeletionTimestamp != nil && apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause)
}

func (a *Actor) run(ctx context.Context, w *observe.World, effect plan.Effect, out *Outcome) error {
	switch e := effect.(type) {
	case plan.TakeSnapshot:
		return a.snapshot(ctx, w, e.Revision)
	case plan.ApplyPrimary:
		return a.clone(ctx, w, siskinv1.RolePrimary, e.Revision, e.Replicas)
	case plan.ApplyCanary:
		return a.clone(ctx, w, siskinv1.RoleCanary, e.Revision, e.Replicas)
	case plan.ApplyServices:
		return a.services(ctx, w, e, out)
	case plan.ApplySplit:
		return a.split(ctx, w, router.Split(e.Split), out)
	case plan.HoldTarget:
		return a.hold(ctx, w, e.Replicas, out)
	case plan.RestoreTarget:
		return a.restoreTarget(ctx, w, e.Revision)
	case plan.PauseTarget:
		return a.pauseTarget(ctx, w)
	case plan.ReleaseTarget:
		return a.release(ctx, w, e.Replicas, out)
	case plan.RestoreServices:
		return a.restore(ctx, w)
	case plan.ApplyScaler:
		return a.applyScaler(ctx, w, e)
	case plan.RestoreScaler:
		return a.restoreScaler(ctx, w)
	case plan.Abandon:
		return a.abandon(ctx, w)
	case plan.Finish:
		return a.finish(ctx, w)
	}
	return fmt.Errorf("unknown effect %T", effect)
}

// content returns the content of a revision: from its snapshot, or from the target while that still has it.
func content(w *observe.World, name string) (target.Revision, error) {
	if s, ok := w.Snapshots[name]; ok {
		r, err := w.Read(s)
		if err == nil && len(r.Config.Copies()) > 0 && !target.Complete(s) {
			err = fmt.Errorf("revision %s: what its pods read has not been copied yet", name)
		}
		return r, err
	}
	if w.Target != nil && w.RevisionName == name && w.Sure() == nil && len(w.Revision.Config.Copies()) == 0 {
		return w.Revision, nil
	}
	return target.Revision{}, fmt.Errorf("revision %s: its snapshot does not exist", name)
}

// snapshot stores the target's present content with copies of what its pods read, and drops the oldest snapshots that nothing needs.
func (a *Actor) snapshot(ctx context.Context, w *observe.World, name string) error {
	if err := w.Sure(); err != nil { // the name is the last one that was known, the content is another
		return fmt.Errorf("taking snapshot %s: %w", name, err)
	}
	if w.Target == nil || w.RevisionName != name {
		return fmt.Errorf("taking snapshot %s: the target has changed meanwhile", name)
	}
	cr, err := a.stored(ctx, w, name)
	if err != nil {
		return err
	}
	if err := a.copyConfig(ctx, w, cr); err != nil {
		return err
	}
	w.Snapshots[name] = cr
	return a.collect(ctx, w, name)
}

// stored returns the snapshot of the target's content: the one that is there, else a new one.
func (a *Actor) stored(ctx context.Context, w *observe.World, name string) (*appsv1.ControllerRevision, error) {
	if have := w.Snapshots[name]; have != nil {
		return have.DeepCopy(), nil // it was taken, but not all that it refers to was copied
	}
	var number int64
	for _, s := range w.Snapshots {
		number = max(number, s.Revision)
	}
	r := w.Revision
	r.Origin = w.Origin()
	cr, err := target.Snapshot(w.Canary, name, number+1, r)
	if err != nil {
		return nil, err
	}
	if _, err := a.originals(ctx, w, w.Revision.Config); err != nil { // what has changed meanwhile is not named
		return nil, err
	}
	if cr.Annotations, err = a.notes(w, r); err != nil {
		return nil, err
	}
	err = a.Client.Create(ctx, cr, client.FieldOwner(siskinv1.FieldManager))
	if apierrors.IsAlreadyExists(err) {
		return a.another(ctx, w, name)
	}
	if err != nil {
		return nil, fmt.Errorf("creating snapshot %s: %w", name, err)
	}
	return cr, nil
}

// another returns the snapshot that somebody else, or a pass that the cache does not show yet, took.
func (a *Actor) another(ctx context.Context, w *observe.World, name string) (*appsv1.ControllerRevision, error) {
	var cr appsv1.ControllerRevision
	if err := a.Live.Get(ctx, client.ObjectKey{Namespace: w.Canary.Namespace, Name: name}, &cr); err != nil {
		return nil, fmt.Errorf("reading snapshot %s: %w", name, err)
	}
	switch owner := metav1.GetControllerOf(&cr); {
	case cr.Labels[siskinv1.CanaryLabel] != w.Canary.Name:
		return nil, &observe.InvalidSpecError{Field: "spec.targetRef", Message: fmt.Sprintf(
			"ControllerRevision %s exists and is not Siskin's: rename or delete it", name)}
	case owner == nil:
		return &cr, a.own(ctx, w.Canary, &cr)
	case owner.UID != w.Canary.UID:
		return nil, fmt.Errorf("taking snapshot %s: that of %s %s, which is gone, is being deleted", name, owner.Kind, owner.Name)
	}
	return &cr, nil
}

// collect deletes the oldest snapshots over the limit that no clone and no status names.
func (a *Actor) collect(ctx context.Context, w *observe.World, fresh string) error {
	st := w.Canary.Status
	used := []string{fresh, st.Rejected}
	if st.Rollout != nil {
		used = append(used, st.Rollout.Previous) // a bake or a person may go back to it
	}
	for _, r := range []*siskinv1.RevisionStatus{st.Stable, st.Canary} {
		if r != nil {
			used = append(used, r.Revision)
		}
	}
	for _, clone := range []client.Object{w.Primary, w.Trial} {
		if clone != nil {
			used = append(used, clone.GetAnnotations()[siskinv1.RevisionAnnotation])
		}
	}
	var spare []*appsv1.ControllerRevision
	for name, s := range w.Snapshots {
		if !slices.Contains(used, name) {
			spare = append(spare, s)
		}
	}
	slices.SortFunc(spare, func(x, y *appsv1.ControllerRevision) int { return int(x.Revision - y.Revision) })
	for len(spare) > SnapshotLimit {
		if err := a.Client.Delete(ctx, spare[0]); client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("deleting snapshot %s: %w", spare[0].Name, err)
		}
		spare = spare[1:]
	}
	return nil
}

func (a *Actor) clone(ctx context.Context, w *observe.World, role, name string, replicas int32) error {
	r, err := content(w, name)
	if err != nil {
		return err
	}
	kind := w.Canary.Spec.TargetRef.Kind
	live := w.Primary
	if role == siskinv1.RoleCanary {
		live = w.Trial
	}
	r = w.Managed(name, r, live)
	made := func(n int32) (client.Object, error) { return cloneOver(w.Canary, live, role, name, r, n) }
	want, err := made(replicas)
	if err != nil {
		return err
	}
	if live != nil && !metav1.IsControlledBy(live, w.Canary) && live.GetLabels()[siskinv1.CanaryLabel] != w.Canary.Name {
		return &observe.InvalidSpecError{Field: "spec.targetRef", Message: fmt.Sprintf(
			"%s %s exists and is not Siskin's: rename or delete it", kind, want.GetName())}
	}
	if live != nil && scaled(w, role) {
		return a.applyScaled(ctx, live, replicas, made)
	}
	return a.write(ctx, want, live, "")
}

func (a *Actor) services(ctx context.Context, w *observe.World, e plan.ApplyServices, out *Outcome) error {
	if w.Canary.Spec.TargetRef.Kind == target.Service {
		return a.turnedOff(ctx, w)
	}
	in := a.serviceInput(w)
	if w.Target == nil && w.Primary == nil {
		return nil
	}
	if err := a.recordViews(ctx, w); err != nil {
		return err
	}
	in.Main, in.Trial, in.Also, in.Lent = w.Views.Main, w.Views.Trial, w.Views.Also, e.Lent
	if e.Serving && w.Router != nil {
		in.Serving = service.ServingRole(w.Caps, router.Split(e.Split))
	}
	deps := a.Memo.deps(w, e.Serving)
	res, err := a.Services.Apply(ctx, in)
	out.Adopted, out.Shared = append(out.Adopted, res.Adopted...), append(out.Shared, res.Shared...)
	if err != nil {
		return fmt.Errorf("applying the Services: %w", err)
	}
	if w.Intent.Port == 0 {
		w.Intent.Port = res.Port
	}
	a.Memo.remember(w, deps)
	return nil
}

// turnedOff makes the canary of a target that is a Service, leading nowhere: routes need it before there is anything on trial.
func (a *Actor) turnedOff(ctx context.Context, w *observe.World) error {
	if w.Trial != nil || w.Canary.Status.Stable == nil {
		return nil
	}
	return a.clone(ctx, w, siskinv1.RoleCanary, w.Canary.Status.Stable.Revision, 0)
}

// serviceInput describes the pods: those of the target, or of the primary when the target is gone. A Service without their labels
// would select the pods of all apps that have a role.
func (a *Actor) serviceInput(w *observe.World) service.In {
	in := service.In{Canary: w.Canary, Apex: w.Apex, PrimaryName: w.PrimaryService, CanaryName: w.CanaryService}
	r := w.Revision
	if w.Target == nil && w.Primary != nil {
		stored, err := content(w, w.Primary.GetAnnotations()[siskinv1.RevisionAnnotation])
		if err != nil { // its snapshot is gone too
			stored = target.From(w.Primary)
			delete(stored.Template.Labels, siskinv1.RoleLabel)
			delete(stored.Template.Labels, siskinv1.CloneLabel)
		}
		r = stored
	}
	in.PodLabels, in.Template = r.Template.Labels, r.Template
	in.Selector, in.Own = r.SelectorLabels(), ownPods(w)
	return in
}

func (a *Actor) split(ctx context.Context, w *observe.World, split router.Split, out *Outcome) error {
	if w.Router == nil {
		return w.Problem
	}
	in := w.IntentOf(report.State(&w.Canary.Status)) // what was stored just now: tokens are new in each step
	in.Split = split
	now, uid, wish := a.now(), w.Canary.UID, wishOf(w.Canary, in)
	if out.Later = a.fights.truce(uid, wish, now); out.Later > 0 {
		return nil
	}
	receipt, err := w.Router.Apply(ctx, in)
	if _, invalid := errors.AsType[*router.InvalidError](err); err == nil || invalid { // the weights move with an invalid spec too
		a.fights.wrote(uid, wish, receipt, now)
	}
	out.Moved = out.Moved || receipt.Changed
	if receipt.Foreign || receipt.Adopted {
		out.Foreign = &receipt
	}
	if err != nil {
		return fmt.Errorf("moving traffic to %s: %w", split, err)
	}
	return nil
}

func (a *Actor) now() time.Time {
	if a.Clock == nil {
		return clock.RealClock{}.Now()
	}
	return a.Clock.Now()
}

// leaveToCollector takes the target out of the owners of what goes with the Canary.
func (a *Actor) leaveToCollector(ctx context.Context, w *observe.World) error {
	var objs []client.Object
	for _, clone := range []client.Object{w.Primary, w.Trial} {
		if clone != nil {
			objs = append(objs, clone)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(w.Snapshots)) {
		objs = append(objs, w.Snapshots[name])
	}
	for _, obj := range objs {
		if err := a.collectable(ctx, w.Canary, obj); err != nil {
			return err
		}
	}
	return nil
}

func (a *Actor) finish(ctx context.Context, w *observe.World) error {
	if w.Canary.Spec.DeletionPolicy != siskinv1.DeletionPolicyOrphan {
		if err := a.Services.Release(ctx, a.serviceInput(w)); err != nil {
			return fmt.Errorf("giving the Services back: %w", err)
		}
		if err := a.restoreScaler(ctx, w); err != nil { // again, if it failed before
			return err
		}
		if err := a.leaveToCollector(ctx, w); err != nil {
			return err
		}
	}
	c := w.Canary.DeepCopy()
	if !controllerutil.RemoveFinalizer(c, siskinv1.Finalizer) {
		return nil
	}
	err := a.Client.Patch(ctx, c, client.MergeFromWithOptions(w.Canary, client.MergeFromWithOptimisticLock{}))
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("removing the finalizer: %w", err)
	}
	return nil
}
