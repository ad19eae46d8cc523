// Package observe reads the world of one Canary from the caches and makes the plan's Snapshot of it. It never writes.
package observe

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/canary/plan"
	"github.com/siskin-dev/siskin/pkg/canary/report"
	"github.com/siskin-dev/siskin/pkg/canary/target"
	"github.com/siskin-dev/siskin/pkg/router"
	"github.com/siskin-dev/siskin/pkg/router/service"
)

// World is what was read. Its objects share maps, slices and pointers with the caches, which are not copied in each
// pass: whoever changes one copies it first.
type World struct {
	Canary *siskinv1.Canary
	// Names of the three Services.
	Apex, PrimaryService, CanaryService string
	// Target is nil if it does not exist; Revision is its present content, RevisionName its name. All three objects are of the kind
	// that the Canary names.
	Target       client.Object
	Revision     target.Revision
	RevisionName string
	// Promoted tells that the target has the content that a deletion gives back; see RestoreTo. It is found out only then.
	Promoted bool
	// Primary and Trial are the clones, nil if they do not exist.
	Primary, Trial client.Object
	// Refused tells why the target cannot be released as it is; nil: it can.
	Refused *target.RefusedError
	// Doubt is why it is not known what the target's pods read, or whether its content is new; nil: it is. RevisionName is the last one
	// that was known then.
	Doubt error
	// Unrecorded names a snapshot that has the target's content but not, or not all of, what its pods read.
	Unrecorded string
	// ConfigAgain is when to look again at what the target's pods read; 0: changes of it are told.
	ConfigAgain time.Duration
	// Lost are the copies of configuration that pods of revisions in use read and that somebody deleted.
	Lost []Lost
	// Snapshots by name.
	Snapshots map[string]*appsv1.ControllerRevision
	// Router of the Canary, what it can do, Intent for the stored split, and what was seen of it.
	Router router.Router
	Caps   router.Capabilities
	// Routers are all that may have adopted something for a Canary that is gone; of others nil.
	Routers []router.Router
	// CapsAgain is when to ask the router again what it can do; 0: the spec asks for nothing that it cannot.
	CapsAgain   time.Duration
	Intent      router.Intent
	Observation router.Observation
	// Problem is what of the routing only an edit can mend, or what failed to be read; it never hides the rest of the world.
	Problem error
	// Live are the three Services that exist, by name.
	Live map[string]*corev1.Service
	// Endpoints are the ready endpoints of the Services of primary and canary, and of a target that is a Service.
	PrimaryEndpoints, CanaryEndpoints, TargetEndpoints int32
	// Scalers are the autoscalers.
	Scalers Scalers
	// Troubles tell why pods are not ready, by the name of their workload; PodsAgain is when to look at pods again, 0:
	// nobody needs to.
	Troubles  map[string]string
	PodsAgain time.Duration
	// Views are how the Services lead to each revision.
	Views Views

	book    *book                    // what was decoded for this Canary
	origins map[string]target.Origin // of what the target's pods read, by kind and name
	include []string                 // prefixes of the labels and annotations that clones get
	// portNames are the ports that the ready endpoints of a Service have, by the name of the Service.
	portNames map[string]map[string]bool
	// standIns counts the ready endpoints of the primary's Service that are the canary's pods.
	standIns int32
	// outdated tells that the endpoints of the canary's Service are not those of its pods.
	outdated bool
	// unheld tells that the target was not held yet.
	unheld bool
}

// Sure returns why Revision may be another content than the one that RevisionName names; nil: it is that one.
func (w *World) Sure() error {
	if w.Refused != nil {
		return w.Refused
	}
	return w.Doubt
}

// Observer reads worlds.
type Observer struct {
	// Client reads from the caches.
	Client client.Reader
	// Routers by provider; Default is the provider of a Canary that names none.
	Routers map[string]router.Router
	Default string
	// Unavailable are providers that this API server has not the CRDs for.
	Unavailable []string
	// Normalize asks the API server how it would write a stored revision today; nil: never asked. It is asked only when another
	// version of the API server, which may set other defaults, wrote the snapshot.
	Normalize func(ctx context.Context, live client.Object, stored target.Revision) (target.Revision, error)
	// ServerVersion is the version of the API server.
	ServerVersion string
	// EndpointIndex is the cache's field index of EndpointSlices by the name of their Service; "": they are found by label.
	EndpointIndex string
	// SnapshotIndex is the cache's field index of snapshots by the name of their Canary; "": they are found by label.
	SnapshotIndex string
	// ServicesKnown tells whether the Services were already found to be as desired.
	ServicesKnown func(w *World) bool
	// Config knows what the pods read; nil: ConfigMaps and Secrets do not belong to revisions.
	Config *ConfigTracker
	// Scalers is where autoscalers are read.
	Scalers ScalerSource
	// Ailing finds out why pods are not ready; nil: nobody does.
	Ailing *Ailing
	// Include are prefixes of the labels and annotations of the target that its clones get; none, or "*": all that are not
	// about the target alone.
	Include []string

	// Guard is told of content that passes share and that one has changed, which none may; nil: nobody looks, which would
	// cost more than what is shared saves. Tests have one.
	Guard Guard

	// Clock tells how long a Service has been as it is; nil: the real one.
	Clock clock.PassiveClock

	names, drifts memo
	books         books
	splits        settled
	changes       changes

	quiet, moved, standing since
	renewed                lately // the endpoints of the canary's Service were not those of its pods
}

// ProviderOf names the provider of a Canary. One that names none keeps the provider that it began with, whatever the controller's
// default becomes: its route would be left behind.
func (o *Observer) ProviderOf(c *siskinv1.Canary) string {
	return cmp.Or(c.Spec.Provider, c.Status.Provider, o.Default)
}

// RouterOf returns the router of a Canary. Errors: *router.InvalidError.
func (o *Observer) RouterOf(c *siskinv1.Canary) (router.Router, error) {
	name := o.ProviderOf(c)
	r, ok := o.Routers[name]
	if !ok && slices.Contains(o.Unavailable, name) {
		return nil, &router.InvalidError{Router: name, Field: "spec.provider", Message: fmt.Sprintf(
			"provider %q needs CRDs that this cluster does not have: install them and restart Siskin, or use another provider", name)}
	}
	if !ok {
		return nil, router.Unknown(name, slices.Sorted(maps.Keys(o.Routers)))
	}
	return r, nil
}

// World reads the world of c, whose router r can do caps.
func (o *Observer) World(ctx context.Context, c *siskinv1.Canary, r router.Router, caps router.Capabilities) (*World, error) {
	apex := service.ApexName(c)
	w := &World{
		Canary: c, Router: r, Caps: caps, Apex: apex, PrimaryService: apex + "-primary", CanaryService: apex + "-canary",
		Snapshots: map[string]*appsv1.ControllerRevision{}, Live: map[string]*corev1.Service{}, include: o.Include,
		portNames: map[string]map[string]bool{}, book: o.books.open(c.UID, o.Guard),
		unheld: o.unheld(c),
	}
	name := c.Spec.TargetRef.Name
	var err error
	if w.Target, err = o.object(ctx, c, name); err != nil {
		return nil, err
	}
	if w.Primary, err = o.object(ctx, c, target.CloneName(name, siskinv1.RolePrimary)); err != nil {
		return nil, err
	}
	if w.Trial, err = o.object(ctx, c, target.CloneName(name, siskinv1.RoleCanary)); err != nil {
		return nil, err
	}
	if err := o.snapshots(ctx, w); err != nil {
		return nil, err
	}
	if err := o.revision(ctx, w); err != nil {
		return nil, err
	}
	o.promoted(ctx, w)
	o.copies(ctx, w)
	o.troubles(w)
	if err := o.scalers(ctx, w); err != nil {
		return nil, err
	}
	return w, o.traffic(ctx, w)
}

func (o *Observer) snapshots(ctx context.Context, w *World) error {
	var list appsv1.ControllerRevisionList
	var by client.ListOption = client.MatchingLabels{siskinv1.CanaryLabel: w.Canary.Name}
	if o.SnapshotIndex != "" {
		by = client.MatchingFields{o.SnapshotIndex: w.Canary.Name}
	}
	// The list does not wait until the cache has seen what was written just now: it would wait for the snapshots of all Canaries.
	// Those that count are waited for by name.
	err := o.Client.List(ctx, &list, client.InNamespace(w.Canary.Namespace), by, client.DisableReadYourWritesConsistency, client.UnsafeDisableDeepCopy)
	if err != nil {
		return fmt.Errorf("listing snapshots: %w", err)
	}
	for i := range list.Items {
		if mine(w.Canary, &list.Items[i]) {
			w.Snapshots[list.Items[i].Name] = &list.Items[i]
		}
	}
	for _, r := range []*siskinv1.RevisionStatus{w.Canary.Status.Stable, w.Canary.Status.Canary} {
		if r == nil || w.Snapshots[r.Revision] != nil {
			continue
		}
		var one appsv1.ControllerRevision
		err := o.Client.Get(ctx, types.NamespacedName{Namespace: w.Canary.Namespace, Name: r.Revision}, &one, client.UnsafeDisableDeepCopy)
		switch {
		case err == nil && one.Labels[siskinv1.CanaryLabel] == w.Canary.Name && mine(w.Canary, &one):
			w.Snapshots[one.Name] = &one
		case client.IgnoreNotFound(err) != nil:
			return fmt.Errorf("reading snapshot %s: %w", r.Revision, err)
		}
	}
	return nil
}

// mine tells whether a snapshot will stay: those of an earlier Canary of the same name go with that one. One that nobody owns is left
// over, and can be used.
func mine(c *siskinv1.Canary, snapshot *appsv1.ControllerRevision) bool {
	owner := metav1.GetControllerOf(snapshot)
	return owner == nil || owner.UID == c.UID
}

// traffic reads Services, endpoints and route.
func (o *Observer) traffic(ctx context.Context, w *World) error {
	if err := o.services(ctx, w); err != nil {
		return err
	}
	w.Intent = w.IntentOf(report.State(&w.Canary.Status))
	if svc := w.Live[w.PrimaryService]; svc != nil && w.Canary.Spec.TargetRef.Kind == target.Service {
		w.Intent.Port, w.Problem = w.trafficPort(svc)
	}
	// A data plane may hear of the route before it hears of the endpoints.
	w.outdated = o.renewed.so(w.Canary.UID, w.outdated, plan.Settle, o.now())
	if err := o.views(w); err != nil && w.Live[w.PrimaryService] != nil {
		w.Problem = err
	}
	w.Views.Standing = w.standIns > 0 && (!w.Views.Lent || w.standIns == w.PrimaryEndpoints)
	if w.Views.Standing {
		w.Views.StandingSince = o.standing.since(w.Canary.UID, "", o.now())
	} else {
		o.standing.forget(w.Canary.UID)
	}
	w.Intent.PrimaryPorts, w.Intent.CanaryPorts, w.Intent.Lent = w.Views.Main.View.Ports, w.Views.Trial.View.Ports, w.Views.Lent
	if w.Router == nil || w.Problem != nil {
		return nil //nolint:nilerr // it is shown, and keeps nothing else from being decided
	}
	w.Observation, w.Problem = w.Router.Observe(ctx, w.Intent)
	o.overlap(w)
	return nil
}

// services reads the Services and counts their endpoints.
func (o *Observer) services(ctx context.Context, w *World) error {
	for _, name := range []string{w.Apex, w.PrimaryService, w.CanaryService} {
		var svc corev1.Service
		err := o.Client.Get(ctx, types.NamespacedName{Namespace: w.Canary.Namespace, Name: name}, &svc, client.UnsafeDisableDeepCopy)
		switch {
		case apierrors.IsNotFound(err):
		case err != nil:
			return fmt.Errorf("reading Service %s: %w", name, err)
		default:
			w.Live[name] = &svc
		}
	}
	var err error
	if w.PrimaryEndpoints, err = o.endpoints(ctx, w, w.PrimaryService, siskinv1.RolePrimary); err != nil {
		return err
	}
	if w.CanaryEndpoints, err = o.endpoints(ctx, w, w.CanaryService, siskinv1.RoleCanary); err != nil {
		return err
	}
	if _, ok := w.Target.(*corev1.Service); ok {
		if w.TargetEndpoints, err = o.endpoints(ctx, w, w.Target.GetName(), ""); err != nil {
			return err
		}
	}
	return nil
}

// object reads an object of the kind of the Canary's target; nil: it does not exist.
func (o *Observer) object(ctx context.Context, c *siskinv1.Canary, name string) (client.Object, error) {
	obj, err := target.New(c.Spec.TargetRef.Kind)
	if err != nil {
		return nil, err
	}
	err = o.Client.Get(ctx, types.NamespacedName{Namespace: c.Namespace, Name: name}, obj, client.UnsafeDisableDeepCopy)
	if apierrors.IsNotFound(err) {
		return nil, nil //nolint:nilnil // that it does not exist is an answer here
	}
	if err != nil {
		return nil, fmt.Errorf("reading %s %s: %w", c.Spec.TargetRef.Kind, name, err)
	}
	return obj, nil
}

// endpoints counts the ready endpoints of a Service that leads to the clone of a role, and notes what ports they have.
// Pods that are not the clone's do not count: the Service of a clone from before siskin.dev/clone may select them too.
// Those of the canary count that stand in for the primary's.
func (o *Observer) endpoints(ctx context.Context, w *World, svc, role string) (int32, error) {
	var list discoveryv1.EndpointSliceList
	var by client.ListOption = client.MatchingLabels{discoveryv1.LabelServiceName: svc}
	if o.EndpointIndex != "" {
		by = client.MatchingFields{o.EndpointIndex: svc}
	}
	err := o.Client.List(ctx, &list, client.InNamespace(w.Canary.Namespace), by, client.UnsafeDisableDeepCopy, client.DisableReadYourWritesConsistency)
	if err != nil {
		return 0, fmt.Errorf("listing the endpoints of Service %s: %w", svc, err)
	}
	var n int32
	names := map[string]bool{}
	for i := range list.Items {
		ready := false
		w.outdated = w.outdated || o.outdated(ctx, w, role, &list.Items[i])
		for _, e := range list.Items[i].Endpoints {
			if !Ready(e) {
				continue
			}
			if w.counts(e, role) {
				n++
				ready = true
			}
		}
		for _, p := range list.Items[i].Ports {
			if ready {
				names[ptr.Deref(p.Name, "")] = true
			}
		}
	}
	w.portNames[svc] = names
	return n, nil
}

// counts reports whether an endpoint is one of the clone of a role, and notes those that stand in for the primary's.
func (w *World) counts(e discoveryv1.Endpoint, role string) bool {
	ref := w.Canary.Spec.TargetRef
	stands := role == siskinv1.RolePrimary && e.TargetRef != nil && e.TargetRef.Kind == "Pod" &&
		target.MadeBy(target.CloneName(ref.Name, siskinv1.RoleCanary), e.TargetRef)
	if stands {
		w.standIns++
	}
	return stands || ref.Kind == target.Service || target.MadeBy(target.CloneName(ref.Name, role), e.TargetRef)
}

// Ready reports whether an endpoint gets traffic and is to go on getting it.
func Ready(e discoveryv1.Endpoint) bool {
	return ptr.Deref(e.Conditions.Ready, true) && !ptr.Deref(e.Conditions.Terminating, false)
}

// Snapshot makes the plan's input of the world. since is when this controller began to watch.
func (o *Observer) Snapshot(w *World, spec plan.Spec, now, since time.Time) plan.Snapshot {
	s := plan.Snapshot{
		Now: now, Since: since, Spec: spec, State: report.State(&w.Canary.Status), Deleting: w.Canary.DeletionTimestamp != nil,
		Primary: o.workload(w, w.Primary, siskinv1.RolePrimary, w.PrimaryEndpoints),
		Canary:  o.workload(w, w.Trial, siskinv1.RoleCanary, w.CanaryEndpoints),
		Answers: map[string]plan.Answer{},
	}
	if w.Target != nil {
		s.Target = targetOf(w)
	}
	o.changed(w, &s)
	s.Request, s.RequestedBy = requestOf(w.Canary)
	s.Kept = w.kept(s.Request != "" && s.Request != s.State.Request.Value)
	s.Route = routeOf(w)
	s.Counted = w.Observation.Counted && w.Canary.Spec.Analysis.SessionAffinity == nil // users who are kept are no draws
	looked := o.splits.look(w.Canary.UID, s.Route, s.State.Split, now)
	s.Unsettled, s.Settled = looked.unsettled, looked.since
	s.Services = o.servicesOf(w)
	s.Scaler = scalerOf(w, s.State)
	follow(w, &s)
	return s
}

func routeOf(w *World) plan.Route {
	obs := w.Observation
	r := plan.Route{
		Known: obs.Known, Current: plan.Split(obs.Current), Leaving: obs.Leaving, Rejected: obs.Rejected, Message: obs.Message,
		Drifted: obs.Known && obs.Evidence == router.EvidenceNone && obs.Current == w.Intent.Split,
	}
	if w.Router != nil {
		r.Confirmed = obs.Known && obs.Evidence >= max(w.Caps.Ceiling, router.EvidenceWritten)
	}
	if _, invalid := errors.AsType[*router.InvalidError](w.Problem); invalid {
		r.Rejected = true
	}
	if w.Problem != nil {
		r.Confirmed, r.Message = false, w.Problem.Error()
	}
	return r
}

func (o *Observer) servicesOf(w *World) plan.Services {
	if w.Canary.Spec.TargetRef.Kind == target.Service { // its clones are the Services; there is no apex to move
		begun := w.Canary.Status.Phase != "" && w.Canary.Status.Phase != siskinv1.PhaseInitializing
		return plan.Services{Complete: w.Trial != nil, Serving: begun || w.PrimaryEndpoints > 0, Restored: true}
	}
	v := w.Views
	s := plan.Services{
		Misfits: v.Misfits, Clashing: v.Clashing, Judged: v.Judged, Unfit: v.Unfit, Lent: v.Lent, Standing: v.Standing, StandingSince: v.StandingSince,
	}
	apex := w.Live[w.Apex]
	if apex != nil {
		_, role := apex.Spec.Selector[siskinv1.RoleLabel]
		s.Serving, s.Restored = role, !role
	}
	if apex == nil {
		s.Restored = true
	}
	s.Complete = apex != nil && w.Live[w.PrimaryService] != nil && w.Live[w.CanaryService] != nil && len(v.Records) == 0 &&
		o.ServicesKnown != nil && o.ServicesKnown(w)
	return s
}
