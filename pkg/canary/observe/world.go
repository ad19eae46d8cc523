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
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/canary/plan"
	"github.com/siskin-dev/siskin/pkg/canary/report"
	"github.com/siskin-dev/siskin/pkg/canary/target"
	"github.com/siskin-dev/siskin/pkg/router"
	"github.com/siskin-dev/siskin/pkg/router/service"
)

// World is what was read.
type World struct {
	Canary *siskinv1.Canary
	// Names of the three Services.
	Apex, PrimaryService, CanaryService string
	// Target is nil if it does not exist; Revision is its present content, RevisionName its name.
	Target       *appsv1.Deployment
	Revision     target.Revision
	RevisionName string
	// Primary and Trial are the clones, nil if they do not exist.
	Primary, Trial *appsv1.Deployment
	// Snapshots by name.
	Snapshots map[string]*appsv1.ControllerRevision
	// Router of the Canary, what it can do, Intent for the stored split, and what was seen of it.
	Router      router.Router
	Caps        router.Capabilities
	Intent      router.Intent
	Observation router.Observation
	// Problem is what of the routing only an edit can mend, or what failed to be read; it never hides the rest of the world.
	Problem error
	// Live are the three Services that exist, by name.
	Live map[string]*corev1.Service
	// Endpoints are the ready endpoints of the Services of primary and canary.
	PrimaryEndpoints, CanaryEndpoints int32
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
	Normalize func(ctx context.Context, live *appsv1.Deployment, stored target.Revision) (target.Revision, error)
	// ServerVersion is the version of the API server.
	ServerVersion string
	// EndpointIndex is the cache's field index of EndpointSlices by the name of their Service; "": they are found by label.
	EndpointIndex string
	// ServicesKnown tells whether the Services were already found to be as desired.
	ServicesKnown func(w *World) bool

	names, drifts memo
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
		known := router.Registry{}
		for n := range o.Routers {
			known[n] = router.Registration{}
		}
		return nil, &router.InvalidError{
			Router: name, Field: "spec.provider",
			Message: fmt.Sprintf("unknown provider %q: use one of %v", name, known.Names()),
		}
	}
	return r, nil
}

// World reads the world of c, whose router r can do caps.
func (o *Observer) World(ctx context.Context, c *siskinv1.Canary, r router.Router, caps router.Capabilities) (*World, error) {
	apex := service.ApexName(c)
	w := &World{
		Canary: c, Router: r, Caps: caps, Apex: apex, PrimaryService: apex + "-primary", CanaryService: apex + "-canary",
		Snapshots: map[string]*appsv1.ControllerRevision{}, Live: map[string]*corev1.Service{},
	}
	name := c.Spec.TargetRef.Name
	var err error
	if w.Target, err = o.deployment(ctx, c.Namespace, name); err != nil {
		return nil, err
	}
	if w.Primary, err = o.deployment(ctx, c.Namespace, target.CloneName(name, siskinv1.RolePrimary)); err != nil {
		return nil, err
	}
	if w.Trial, err = o.deployment(ctx, c.Namespace, target.CloneName(name, siskinv1.RoleCanary)); err != nil {
		return nil, err
	}
	var list appsv1.ControllerRevisionList
	if err := o.Client.List(ctx, &list, client.InNamespace(c.Namespace), client.MatchingLabels{siskinv1.CanaryLabel: c.Name}); err != nil {
		return nil, fmt.Errorf("listing snapshots: %w", err)
	}
	for i := range list.Items {
		w.Snapshots[list.Items[i].Name] = &list.Items[i]
	}
	if err := o.revision(ctx, w); err != nil {
		return nil, err
	}
	return w, o.traffic(ctx, w)
}

// traffic reads Services, endpoints and route.
func (o *Observer) traffic(ctx context.Context, w *World) error {
	for _, name := range []string{w.Apex, w.PrimaryService, w.CanaryService} {
		var svc corev1.Service
		err := o.Client.Get(ctx, types.NamespacedName{Namespace: w.Canary.Namespace, Name: name}, &svc)
		switch {
		case apierrors.IsNotFound(err):
		case err != nil:
			return fmt.Errorf("reading Service %s: %w", name, err)
		default:
			w.Live[name] = &svc
		}
	}
	var err error
	if w.PrimaryEndpoints, err = o.endpoints(ctx, w.Canary.Namespace, w.PrimaryService); err != nil {
		return err
	}
	if w.CanaryEndpoints, err = o.endpoints(ctx, w.Canary.Namespace, w.CanaryService); err != nil {
		return err
	}
	w.Intent = w.IntentOf(report.State(&w.Canary.Status))
	if svc := w.Live[w.PrimaryService]; svc != nil {
		w.Intent.Port, w.Problem = service.TrafficPort(w.Canary.Spec.Service, svc.Spec.Ports)
	}
	if w.Router == nil || w.Problem != nil {
		return nil //nolint:nilerr // it is shown, and keeps nothing else from being decided
	}
	w.Observation, w.Problem = w.Router.Observe(ctx, w.Intent)
	return nil
}

func (o *Observer) deployment(ctx context.Context, namespace, name string) (*appsv1.Deployment, error) {
	var d appsv1.Deployment
	err := o.Client.Get(ctx, types.NamespacedName{Namespace: namespace, Name: name}, &d)
	if apierrors.IsNotFound(err) {
		return nil, nil //nolint:nilnil // that it does not exist is an answer here
	}
	if err != nil {
		return nil, fmt.Errorf("reading Deployment %s: %w", name, err)
	}
	return &d, nil
}

func (o *Observer) endpoints(ctx context.Context, namespace, svc string) (int32, error) {
	var list discoveryv1.EndpointSliceList
	var by client.ListOption = client.MatchingLabels{discoveryv1.LabelServiceName: svc}
	if o.EndpointIndex != "" {
		by = client.MatchingFields{o.EndpointIndex: svc}
	}
	err := o.Client.List(ctx, &list, client.InNamespace(namespace), by, client.UnsafeDisableDeepCopy)
	if err != nil {
		return 0, fmt.Errorf("listing the endpoints of Service %s: %w", svc, err)
	}
	var n int32
	for i := range list.Items {
		for _, e := range list.Items[i].Endpoints {
			if ptr.Deref(e.Conditions.Ready, true) && !ptr.Deref(e.Conditions.Terminating, false) {
				n++
			}
		}
	}
	return n, nil
}

// revision finds the name of the target's present content. Content that a snapshot has is no new revision, whatever its name
// would be today; what differs only because the API server writes it differently today is none either.
func (o *Observer) revision(ctx context.Context, w *World) error {
	if w.Target == nil {
		return nil
	}
	w.Revision = target.FromDeployment(w.Target)
	stable := ""
	if w.Canary.Status.Stable != nil {
		stable = w.Canary.Status.Stable.Revision
	}
	_, stored := w.Snapshots[stable]
	version := fmt.Sprintf("%d/%s/%t", w.Target.Generation, stable, stored)
	if name, ok := o.names.get(w.Target.UID, version); ok {
		w.RevisionName = name
		return nil
	}
	sure, err := o.name(ctx, w)
	if err != nil {
		return err
	}
	if sure {
		o.names.set(w.Target.UID, version, w.RevisionName)
	}
	return nil
}

// name compares the target's content with the snapshots. It is not sure of the answer when the API server could not be asked: then
// nothing is begun, and what goes on is not held up.
func (o *Observer) name(ctx context.Context, w *World) (sure bool, err error) {
	canonical, err := w.Revision.Canonical()
	if err != nil {
		return false, err
	}
	w.RevisionName = target.Name(w.Canary.Name, canonical)
	if _, known := w.Snapshots[w.RevisionName]; known || w.Canary.Status.Stable == nil {
		return true, nil
	}
	stored, ok := w.Snapshots[w.Canary.Status.Stable.Revision]
	if !ok {
		return true, nil
	}
	r, err := target.Read(stored)
	if err != nil {
		return true, nil //nolint:nilerr // a snapshot that cannot be read equals nothing
	}
	same, err := equal(r, canonical)
	if err != nil {
		return false, err
	}
	sure = true
	if !same && o.Normalize != nil && stored.Annotations[siskinv1.WrittenByAnnotation] != o.ServerVersion {
		same, sure = o.sameToday(ctx, w, r, canonical)
	}
	if same {
		w.RevisionName = stored.Name
	}
	return sure, nil
}

// sameToday asks the API server how it would write the stored revision today. While it cannot be asked, an idle Canary takes the
// target for the same.
func (o *Observer) sameToday(ctx context.Context, w *World, stored target.Revision, canonical []byte) (same, sure bool) {
	today, err := o.Normalize(ctx, w.Target, stored)
	if err == nil {
		same, err = equal(today, canonical)
	}
	if err != nil {
		log.FromContext(ctx).Error(err, "comparing the target with the promoted revision")
		return plan.Phase(w.Canary.Status.Phase).Idle(), false
	}
	return same, true
}

func equal(r target.Revision, canonical []byte) (bool, error) {
	c, err := r.Canonical()
	return string(c) == string(canonical), err
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
	s.Request, s.RequestedBy = w.Canary.Annotations[siskinv1.RequestAnnotation], w.Canary.Annotations[siskinv1.RequestedByAnnotation]
	s.Kept = slices.Sorted(maps.Keys(w.Snapshots))
	s.Route = routeOf(w)
	s.Services = o.servicesOf(w)
	return s
}

// targetOf reads what the user wants of the target. A number that git or a person wrote over the held zero is the new wish.
func targetOf(w *World) plan.Target {
	replicas := ptr.Deref(w.Target.Spec.Replicas, 1)
	_, marked := w.Target.Annotations[siskinv1.HeldAnnotation]
	recorded, err := parseReplicas(w.Target.Annotations[siskinv1.ReplicasAnnotation])
	t := plan.Target{Found: true, Revision: w.RevisionName, Replicas: replicas, Available: w.Target.Status.AvailableReplicas}
	switch {
	case !marked && replicas == 0 && lost(w.Canary): // somebody took the mark away: the zero is still Siskin's
		t.Replicas = *w.Canary.Status.Replicas
	case !marked || replicas != 0:
	case err == nil:
		t.Replicas, t.Held = recorded, true
	case w.Canary.Status.Replicas != nil: // somebody took the record away: the zero is still Siskin's, and nobody's wish
		t.Replicas = *w.Canary.Status.Replicas
	}
	if t.Available > 0 && w.Target.Status.ObservedGeneration < w.Target.Generation {
		t.Available = 0
	}
	t.Released = !marked
	_, t.Stored = w.Snapshots[w.RevisionName]
	return t
}

// lost tells that a target without a mark is one that Siskin held.
func lost(c *siskinv1.Canary) bool {
	st := c.Status
	held := st.Phase != "" && st.Phase != siskinv1.PhaseInitializing && st.Phase != siskinv1.PhaseTerminating
	return held && c.DeletionTimestamp == nil && st.Replicas != nil && *st.Replicas > 0
}

func routeOf(w *World) plan.Route {
	obs := w.Observation
	r := plan.Route{
		Known: obs.Known, Current: plan.Split(obs.Current), Rejected: obs.Rejected, Message: obs.Message,
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
	var s plan.Services
	apex := w.Live[w.Apex]
	if apex != nil {
		_, role := apex.Spec.Selector[siskinv1.RoleLabel]
		s.Serving, s.Restored = role, !role
	}
	if apex == nil {
		s.Restored = true
	}
	s.Complete = apex != nil && w.Live[w.PrimaryService] != nil && w.Live[w.CanaryService] != nil && o.ServicesKnown != nil && o.ServicesKnown(w)
	return s
}

func (o *Observer) workload(w *World, d *appsv1.Deployment, role string, endpoints int32) plan.Workload {
	if d == nil {
		return plan.Workload{}
	}
	out := plan.Workload{
		Found: true, Revision: d.Annotations[siskinv1.RevisionAnnotation], Replicas: ptr.Deref(d.Spec.Replicas, 1),
		Pods: d.Status.Replicas, Updated: d.Status.UpdatedReplicas, Available: d.Status.AvailableReplicas, Endpoints: endpoints,
		Current: d.Status.ObservedGeneration >= d.Generation,
	}
	for _, c := range d.Status.Conditions {
		switch {
		case c.Type == appsv1.DeploymentProgressing && c.Reason == "ProgressDeadlineExceeded":
			out.Stuck, out.Message = out.Current, "("+c.Message+")"
		case c.Type == appsv1.DeploymentReplicaFailure && c.Status == corev1.ConditionTrue:
			out.Message = "(" + c.Message + ")"
		}
	}
	out.Drifted = o.drifted(w, d, role)
	return out
}

// drifted tells whether somebody changed the pod template of a clone.
func (o *Observer) drifted(w *World, d *appsv1.Deployment, role string) bool {
	revision := d.Annotations[siskinv1.RevisionAnnotation]
	snapshot, ok := w.Snapshots[revision]
	if !ok || d.DeletionTimestamp != nil {
		return false
	}
	version := fmt.Sprintf("%d/%s", d.Generation, revision)
	if drifted, ok := o.drifts.get(d.UID, version); ok {
		return drifted != ""
	}
	r, err := target.Read(snapshot)
	if err != nil {
		return false
	}
	drifted := ""
	if !target.Runs(d, target.Clone(w.Canary, role, revision, r, ptr.Deref(d.Spec.Replicas, 1))) {
		drifted = "drifted"
	}
	o.drifts.set(d.UID, version, drifted)
	return drifted != ""
}
