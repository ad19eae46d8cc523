// Package canary reconciles Canaries: observe, plan, store, act, tell. It decides nothing itself; package plan does.
package canary

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/canary/act"
	"github.com/siskin-dev/siskin/pkg/canary/observe"
	"github.com/siskin-dev/siskin/pkg/canary/plan"
	"github.com/siskin-dev/siskin/pkg/canary/report"
	"github.com/siskin-dev/siskin/pkg/canary/target"
	"github.com/siskin-dev/siskin/pkg/router"
)

const (
	// textDelay is how long a change of texts alone must last before it costs a write of its own.
	textDelay = 15 * time.Second
	// company is how soon a step must end for texts to wait for its decision, which is written anyway.
	company = time.Minute
)

// ableAgain is how soon it is looked again whether the router can do by now what the spec asks for: a gateway that is replaced by one that
// can makes no event of the Canary.
const ableAgain = time.Minute

// lateAgain is how soon a Canary is looked at again that has not begun, while it is being read what its data plane can do.
const lateAgain = time.Second

// goneAgain is how soon a Canary is looked at again whose namespace is being deleted.
const goneAgain = 10 * time.Second

// doubtAgain is how soon it is tried again to find out what the target's content is.
const doubtAgain = 10 * time.Second

// Reconciler reconciles Canaries.
type Reconciler struct {
	Client   client.Client
	Clock    clock.PassiveClock
	Recorder events.EventRecorder
	Observer *observe.Observer
	Actor    *act.Actor
	// Asker answers the plan's questions.
	Asker *Asker
	// Teller tells people.
	Teller *Teller
	// Gauges shows decisions to Prometheus; nil: not at all.
	Gauges *Gauges
	// Drain is how long a side that lost its traffic keeps running.
	Drain time.Duration
	// Settle is how long a target and what its pods read must not have changed before a revision is asked about or gets
	// traffic.
	Settle time.Duration
	// Selector of the Canaries that this controller looks after; nil: all.
	Selector labels.Selector
	// NoCrossNamespaceRefs refuses Canaries that name objects of other namespaces.
	NoCrossNamespaceRefs bool
	// Claims are what the routing of a Canary of this provider needs for itself besides its Services; nil: nothing.
	Claims func(provider string, c *siskinv1.Canary) []router.Claim

	claimIndex string // the cache's field index of Canaries by what they claim; "": all of a namespace are looked through

	problems sync.Map // by uid: the effect that failed last
	wakes    sync.Map // by name: how soon the plan wants to look again, of the pass whose effects failed last
	names    sync.Map // by name: the acquaintance of the Canary that was looked at last
	passes   sync.Map // by uid: when an effect was last carried out that shows only in the next pass

	mu    sync.Mutex
	since map[types.UID]watch
}

// +kubebuilder:rbac:groups=siskin.dev,resources=canaries,verbs=get;list;watch;patch
// +kubebuilder:rbac:groups=siskin.dev,resources=canaries/status,verbs=patch
// +kubebuilder:rbac:groups=siskin.dev,resources=canaries/finalizers,verbs=update
// +kubebuilder:rbac:groups=siskin.dev,resources=metrictemplates;alertproviders,verbs=get;list;watch
// +kubebuilder:rbac:groups=apps,resources=deployments;daemonsets;statefulsets,verbs=get;list;watch;create;patch;update
// +kubebuilder:rbac:groups=apps,resources=controllerrevisions,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups="",resources=services,verbs=get;list;watch;create;patch;update;delete
// +kubebuilder:rbac:groups=autoscaling,resources=horizontalpodautoscalers,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups=keda.sh,resources=scaledobjects,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups="",resources=pods,verbs=get;list;watch
// +kubebuilder:rbac:groups="",resources=configmaps,verbs=get;list;watch;create;patch
// +kubebuilder:rbac:groups="",resources=secrets,verbs=get;create;patch
// +kubebuilder:rbac:groups="",resources=events,verbs=create;patch
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch
// +kubebuilder:rbac:groups=discovery.k8s.io,resources=endpointslices,verbs=get;list;watch

// Reconcile makes one decision for one Canary: it reads the world, asks what is due, stores the decision, carries it out and
// tells it. It is level-based: a crash anywhere repeats effects and never skips or advances a step.
func (r *Reconciler) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	var c siskinv1.Canary
	if err := r.Client.Get(ctx, req.NamespacedName, &c); err != nil {
		if apierrors.IsNotFound(err) {
			return r.giveBack(ctx, req.NamespacedName, r.vanished(req.NamespacedName))
		}
		return reconcile.Result{}, fmt.Errorf("reading the Canary: %w", err)
	}
	r.meet(&c)
	if !r.mine(&c) || c.DeletionTimestamp != nil && !controllerutil.ContainsFinalizer(&c, siskinv1.Finalizer) {
		r.leave(req.NamespacedName, &c)
		return reconcile.Result{}, nil
	}
	other, err := r.rival(ctx, &c)
	if err != nil {
		return reconcile.Result{}, err
	}
	if other != nil && (c.DeletionTimestamp == nil || !begun(&c)) {
		result, err := r.refuse(ctx, &c, other)
		return unlessConflict(ctx, result, err)
	}
	if c.DeletionTimestamp == nil && !controllerutil.ContainsFinalizer(&c, siskinv1.Finalizer) {
		return reconcile.Result{}, r.adopt(ctx, &c)
	}
	result, err := r.decide(ctx, &c, other)
	switch {
	case err != nil:
		result.Priority = priority(&c)
	case result.RequeueAfter > 0:
		result.Priority = new(*priority(&c) + due)
	}
	return unlessConflict(ctx, result, err)
}

// unlessConflict looks once more after a conflict, which is no error: the cache was behind, somebody else wrote the Canary. The event of that
// write brings it back too.
func unlessConflict(ctx context.Context, result reconcile.Result, err error) (reconcile.Result, error) {
	if apierrors.IsConflict(err) {
		log.FromContext(ctx).V(1).Info("the Canary changed meanwhile")
		return reconcile.Result{RequeueAfter: 100 * time.Millisecond, Priority: result.Priority}, nil
	}
	return result, err
}

// meet remembers who bears a name. A Canary that was replaced while nobody looked has vanished.
func (r *Reconciler) meet(c *siskinv1.Canary) {
	past, known := r.names.Swap(client.ObjectKeyFromObject(c), acquainted(c))
	if was, ok := past.(acquaintance); known && ok && was.uid != c.UID {
		r.drop(was.uid)
	}
}

// vanished forgets a Canary that is gone, also one that went without its finalizer, and returns what was known of it.
func (r *Reconciler) vanished(who types.NamespacedName) acquaintance {
	past, _ := r.names.LoadAndDelete(who)
	was, known := past.(acquaintance)
	if known {
		r.drop(was.uid)
	}
	r.wakes.Delete(who)
	r.Asker.Forget(who)
	r.Observer.Config.Forget(who)
	r.Gauges.forget(who.Namespace, who.Name)
	return was
}

// drop forgets all that is remembered of a Canary that goes.
func (r *Reconciler) drop(uid types.UID) {
	r.Actor.Forget(uid)
	r.Observer.Forget(uid)
	r.problems.Delete(uid)
	r.passes.Delete(uid)
	r.Teller.forget(uid)
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.since, uid)
}

// adopt adds the finalizer before anything else is done, so that nothing is ever left behind.
func (r *Reconciler) adopt(ctx context.Context, c *siskinv1.Canary) error {
	before := c.DeepCopy()
	controllerutil.AddFinalizer(c, siskinv1.Finalizer)
	err := r.Client.Patch(ctx, c, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{}))
	if client.IgnoreNotFound(err) != nil && !apierrors.IsConflict(err) {
		return fmt.Errorf("adding the finalizer: %w", err)
	}
	return nil
}

// decide makes one pass: observe, plan, store, act, tell. other is a Canary with which one shares its claims that gives all back, or nil.
func (r *Reconciler) decide(ctx context.Context, c *siskinv1.Canary, other *rival) (reconcile.Result, error) {
	now := r.Clock.Now().UTC().Truncate(time.Microsecond)
	route, caps, spec, able := r.spec(ctx, c)
	if caps.Late && c.Status.Stable == nil && c.DeletionTimestamp == nil { // nothing is made yet that could be taken back
		return reconcile.Result{RequeueAfter: lateAgain}, nil
	}
	w, err := r.Observer.World(ctx, c, route, caps)
	if err != nil {
		return reconcile.Result{}, fmt.Errorf("observing: %w", err)
	}
	refuse(&spec, w)
	if err := r.Actor.Check(ctx, w); err != nil && spec.Invalid == "" {
		spec.Invalid, spec.InvalidReason = err.Error(), reasonOf(err)
	}
	if !able {
		w.CapsAgain = ableAgain
	}
	s := r.Observer.Snapshot(w, spec, now, r.watchedSince(c, now))
	s.Told = r.Teller.told(c.UID)
	if other != nil {
		other.spare(w, &s)
	}
	r.Asker.Measurable(ctx, w, &s)
	waiting := r.Asker.Answer(w, &s)
	d := plan.Decide(s)
	d.WaitingFor = append(d.WaitingFor, waiting...)
	r.explain(&d, w)
	return r.carryOut(ctx, c, w, s, d)
}

// carryOut stores a decision, acts on it and tells it.
func (r *Reconciler) carryOut(ctx context.Context, c *siskinv1.Canary, w *observe.World, s plan.Snapshot, d plan.Decision) (reconcile.Result, error) {
	provider := ""
	if w.Router != nil {
		provider = r.Observer.ProviderOf(c)
	}
	cookie, primaryCookie := w.Cookies(d.Next)
	next := report.Status(&c.Status, report.Input{
		Decision: d, Snapshot: s, Generation: c.Generation, Provider: provider, Cookie: cookie, PrimaryCookie: primaryCookie,
		Evidence: w.Observation.Evidence.String(), Describe: describer(w),
	})
	stuck := r.newlyStalled(c, d)
	later, err := r.store(ctx, c, &next, s.Now, d.Next.CheckAt)
	if err != nil {
		return reconcile.Result{}, err
	}
	wake := sooner(d.Wake, later)
	if !c.Spec.Suspend {
		wake = sooner(sooner(sooner(sooner(wake, w.ConfigAgain), w.CapsAgain), w.PodsAgain), w.Views.Again)
		wake = sooner(wake, w.Observation.Again)
		if w.Doubt != nil { // nobody tells when it can be read again
			wake = sooner(wake, doubtAgain)
		}
	}
	r.Gauges.set(c, s, d.Next)
	out, err := r.Actor.Run(ctx, w, d.Effects)
	wake = sooner(wake, out.Later)
	if out.Moved { // what is written there may wake nobody before the data plane answers
		wake = sooner(wake, plan.Settle)
	}
	wake = sooner(wake, r.tell(c, w, d, out))
	wake = sooner(wake, r.untold(c, s.Now))
	if stuck {
		r.Teller.once(c, cmp.Or(d.Stalled, d.Held), d.Why)
	}
	if err != nil {
		return r.failed(ctx, c, err, wake)
	}
	r.problems.Delete(c.UID)
	if slices.Contains(d.Effects, plan.Effect(plan.Finish{})) {
		r.drop(c.UID) // the next pass finds nothing, and does not know the uid
	}
	if acted(d.Effects) {
		wake = sooner(wake, r.again(c.UID, s.Now))
	} else {
		r.passes.Delete(c.UID)
	}
	return reconcile.Result{RequeueAfter: wake}, nil
}

// sooner returns the smaller of two durations, of which zero means never.
func sooner(a, b time.Duration) time.Duration {
	if a == 0 || b > 0 && b < a {
		return b
	}
	return a
}

// again returns how soon to look again after an effect that may have written nothing: at once, but once a second while that goes on.
func (r *Reconciler) again(uid types.UID, now time.Time) time.Duration {
	if at, ok := r.passes.Swap(uid, now); ok {
		if before, isTime := at.(time.Time); isTime && now.Sub(before) < time.Second {
			return time.Second
		}
	}
	return time.Millisecond
}

// newlyStalled tells whether a person must act, or a rollout is held, since this pass, and nothing else tells so: neither a notice nor an effect that failed.
func (r *Reconciler) newlyStalled(c *siskinv1.Canary, d plan.Decision) bool {
	_, failed := r.problems.Load(c.UID)
	why := cmp.Or(d.Stalled, d.Held)
	told := failed || slices.ContainsFunc(d.Notices, func(n plan.Notice) bool { return n.Severity != plan.Info })
	if why == "" || told && why != target.ReasonConfigCopyMissing { // no notice and no effect tells of a copy
		return false
	}
	was := meta.FindStatusCondition(c.Status.Conditions, siskinv1.ConditionReady)
	return was == nil || was.Reason != why
}

// watch is how a Canary has been looked after by this process.
type watch struct {
	since     time.Time
	suspended bool // at the last look
}

// watchedSince returns since when this process has been looking after c: since its first look at it (after a start, or after another
// shard gave it away), or since the end of the last suspension. Deadlines that passed meanwhile get a new start.
func (r *Reconciler) watchedSince(c *siskinv1.Canary, now time.Time) time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.since == nil {
		r.since = map[types.UID]watch{}
	}
	w, known := r.since[c.UID]
	if !known || w.suspended {
		w.since = now
	}
	w.suspended = c.Spec.Suspend
	r.since[c.UID] = w
	return w.since
}

// acted tells whether an effect was carried out whose success shows only in the next pass, because it may have written nothing.
func acted(effects []plan.Effect) bool {
	for _, e := range effects {
		if _, ok := e.(plan.ApplyServices); ok {
			return true
		}
	}
	return false
}

// spec returns the router, what it can do, the plan's spec of a Canary, and whether the router is able to do what that asks for. What
// cannot be used is told in the spec: it keeps rollouts from going forward, and neither a rollback nor a deletion from being carried out.
func (r *Reconciler) spec(ctx context.Context, c *siskinv1.Canary) (route router.Router, caps router.Capabilities, spec plan.Spec, able bool) {
	route, unknown := r.Observer.RouterOf(c)
	caps = router.Capabilities{Features: router.Features{}.With(router.Yes, router.FeatureWeights)}
	if unknown == nil {
		caps = route.Capabilities(ctx, c)
	}
	spec, err := observe.Spec(c, caps, r.Drain)
	spec.Quiet = r.Settle
	_, unable := errors.AsType[*observe.UnableError](err)
	if unknown != nil {
		err = unknown
	}
	if err == nil {
		err = route.Validate(observe.Widest(c))
	}
	if err == nil && r.NoCrossNamespaceRefs {
		err = observe.LocalRefs(c)
	}
	if err != nil {
		spec.Invalid, spec.InvalidReason = err.Error(), reasonOf(err)
	}
	waits := len(c.Spec.Service.Mirror) > 0 && caps.Features[router.FeatureMirror] == router.Maybe // the route is without it until that is known
	return route, caps, spec, !unable && !waits || unknown != nil
}

// refuse keeps rollouts of a target that cannot be released from going forward.
func refuse(spec *plan.Spec, w *observe.World) {
	if w.Refused != nil && spec.Invalid == "" {
		spec.Invalid, spec.InvalidReason = w.Refused.Message, w.Refused.Reason
	}
}

func reasonOf(err error) string {
	var invalidRoute *router.InvalidError
	if errors.As(err, &invalidRoute) && invalidRoute.Field == "spec.provider" {
		return "UnknownProvider"
	}
	if _, crosses := errors.AsType[*observe.CrossNamespaceError](err); crosses {
		return "CrossNamespaceRef"
	}
	return "InvalidSpec"
}

// failed tells an effect that failed, once per text, shows it in status with the next pass, and has it tried again with backoff (see
// RateLimiter), unless only an edit helps.
//
// What only an edit mends is looked at when the plan asks for it, and once a minute: the rollout's clocks run on, and what is in the
// way may be taken away without an event that Siskin sees.
func (r *Reconciler) failed(ctx context.Context, c *siskinv1.Canary, err error, wake time.Duration) (reconcile.Result, error) {
	if apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) { // the Canary goes with it, which is an event
		log.FromContext(ctx).V(1).Info("the namespace is being deleted: nothing can be made in it any more")
		return reconcile.Result{RequeueAfter: sooner(wake, goneAgain)}, nil
	}
	past, known := r.problems.Swap(c.UID, err)
	before, ok := past.(error)
	if !apierrors.IsConflict(err) && (!ok || before.Error() != err.Error()) { // a conflict ends with the next look
		r.Teller.failure(c, err)
	}
	switch {
	case !known:
		return reconcile.Result{RequeueAfter: time.Millisecond}, nil
	case onlyInvalid(err):
		if wake <= 0 || wake > time.Minute {
			wake = time.Minute
		}
		return reconcile.Result{RequeueAfter: wake}, nil
	}
	if wake > 0 && !apierrors.IsConflict(err) {
		r.wakes.Store(client.ObjectKeyFromObject(c), wake)
	}
	return reconcile.Result{}, fmt.Errorf("acting: %w", err)
}

// onlyInvalid tells whether an edit is the only thing that helps against each of the errors that err joins.
func onlyInvalid(err error) bool {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return invalid(err)
	}
	return !slices.ContainsFunc(joined.Unwrap(), func(e error) bool { return !invalid(e) })
}

// tell sends events and notices of decisions that are stored, and returns how soon it has to be tried again.
func (r *Reconciler) tell(c *siskinv1.Canary, w *observe.World, d plan.Decision, out act.Outcome) time.Duration {
	later := r.Teller.notices(c, d.Next, d.Notices, describer(w))
	r.Teller.dropped(c, d.Dropped)
	r.Teller.services(c, out)
	r.Teller.copies(c, out)
	if text := lost(w); text != "" && d.Stalled != target.ReasonConfigCopyMissing { // the condition has another reason
		r.Teller.once(c, target.ReasonConfigCopyMissing, text)
	}
	if w.Views.Held != "" {
		r.Teller.once(c, "ServiceHeld", w.Views.Held)
	}
	if text := w.Claimed(); text != "" {
		r.Teller.once(c, "NameTaken", text)
	}
	r.Teller.reasserted(c, d.Next.Split, out.Foreign)
	return later
}

// describer tells what is known of a revision.
func describer(w *observe.World) func(string) siskinv1.RevisionStatus {
	return func(name string) siskinv1.RevisionStatus {
		st := siskinv1.RevisionStatus{Revision: name}
		r, ok := w.Revision, w.RevisionName == name && w.Target != nil
		if snapshot := w.Snapshots[name]; !ok && snapshot != nil {
			stored, err := w.Read(snapshot)
			r, ok = stored, err == nil
		}
		if w.RevisionName == name && w.Target != nil {
			r.Origin = w.Origin()
		}
		if ok {
			st.Image, st.Commit, st.Author, st.CommitMessage = r.Image(), r.Origin.Commit, r.Origin.Author, r.Origin.Message
		}
		return st
	}
}

// Wake brings a Canary to the front of the queue; SetupWithManager connects it.
type Wake func(types.NamespacedName)

var _ reconcile.Reconciler = (*Reconciler)(nil)
