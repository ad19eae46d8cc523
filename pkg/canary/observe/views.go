package observe

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/canary/plan"
	"github.com/siskin-dev/siskin/pkg/canary/report"
	"github.com/siskin-dev/siskin/pkg/canary/target"
	"github.com/siskin-dev/siskin/pkg/router/service"
)

const (
	// viewQuiet is how long what a Service or the Canary asks of ports must stay as it is before pods that run get it, if
	// it takes something away: the pod template that it belongs to may be on its way, in the same apply.
	viewQuiet = 2 * time.Second
	// viewOverlap is how long a port is served beside the one that took its place, after the data plane has confirmed the
	// route to that.
	viewOverlap = 10 * time.Second
)

// Views are how the Services lead to the pods of each revision. What the author of the apex and the Canary ask for
// belongs to the revision that the target has: to the promoted one while that is it, and not before its promotion else.
type Views struct {
	// Wanted is what is asked for now, for the target's present content.
	Wanted service.View
	// Main and Trial are what the Services of primary and canary serve.
	Main, Trial service.Side
	// Also are ports beside those, by which traffic still comes.
	Also []int32
	// Records are the views of snapshots that have another one, or none, recorded.
	Records map[string]service.View
	// Held tells what is asked for and not served, because the promoted pods do not listen there; "": nothing.
	Held string
	// Again is when to look again; 0: when something changes.
	Again time.Duration
	// Misfits are the revisions to whose pods the primary's Service does not lead as it is. Clashing are those whose pods
	// cannot serve beside those that the primary has: no Service could lead to both, or the old ones go before new ones
	// are ready.
	Misfits, Clashing []string
	// Judged are the revisions of which that was found out.
	Judged []string
	// Unfit tells that the canary's Service does not lead to the pods of the revision on trial, or of the one that comes
	// next.
	Unfit bool
	// Lent tells that the primary's Service selects the canary's pods, Standing that its endpoints are those.
	Lent, Standing bool
	// StandingSince is when that was first seen; zero: it is not so.
	StandingSince time.Time
}

// Made is what the Services are made of.
type Made struct {
	main, trial service.Side
	also        []int32
	records     []string
}

// Made returns what the Services are made of.
func (v *Views) Made() Made {
	return Made{main: v.Main, trial: v.Trial, also: v.Also, records: slices.Sorted(maps.Keys(v.Records))}
}

// Same reports whether the Services are made of the same.
func (m Made) Same(other Made) bool { return reflect.DeepEqual(m, other) }

// viewing is what the views of one world are made of.
type viewing struct {
	o    *Observer
	w    *World
	st   plan.State
	main service.View
	// trial is the revision whose pods the canary's Service is for.
	trial     string
	trialView service.View
}

// views finds out how the Services lead to each revision. Errors: *router.InvalidError, if nobody tells which ports
// there are.
func (o *Observer) views(w *World) error {
	if w.Canary.Spec.TargetRef.Kind == target.Service {
		return nil
	}
	g := &viewing{o: o, w: w, st: report.State(&w.Canary.Status)}
	wanted, err := service.Wanted(w.Canary.Spec.Service, service.AuthorOf(w.Canary, w.Live[w.Apex]), w.template(w.RevisionName))
	w.Views.Wanted = wanted
	if g.st.Stable == "" || g.st.Phase == plan.Initializing {
		if err != nil {
			return err
		}
		g.main, g.trial, g.trialView = wanted, w.RevisionName, wanted
		g.finish()
		return nil
	}
	g.promoted(wanted, err == nil)
	g.onTrial(wanted, err == nil)
	g.finish()
	if err != nil && len(g.main.Ports) == 0 {
		return err
	}
	if err != nil { // what is served goes on
		w.Views.Held = err.Error()
	}
	return nil
}

// promoted finds the view of the promoted revision, and whether what is wanted becomes that.
func (g *viewing) promoted(wanted service.View, known bool) {
	w, stable := g.w, g.st.Stable
	recorded, found := w.recorded(stable)
	switch live := w.Live[w.PrimaryService]; {
	case found:
		g.main = recorded
	case live != nil:
		g.main = service.ViewOf(live, w.Canary.Spec.Service)
	default:
		g.main = wanted
	}
	if !known || w.Sure() != nil || w.Target == nil || wanted.Same(g.main) {
		return
	}
	if w.RevisionName != stable {
		if !found { // it is what a rollback goes back to
			w.record(stable, g.main)
		}
		return
	}
	misfit := wanted.Misfit(g.main, w.template(stable))
	switch left := g.o.quiet.left(w.Canary.UID, wanted.Key(), viewQuiet, g.o.now()); {
	case misfit != "":
		w.Views.Held = held(w, misfit)
	case left > 0 && !wanted.Extends(g.main):
		w.Views.Again = left
	default:
		wanted.Was = g.main.Was
		if wanted.Port != g.main.Port {
			wanted.Was = g.main.Port
		}
		g.main = wanted
		w.record(stable, wanted)
	}
}

func held(w *World, misfit string) string {
	return fmt.Sprintf("%s: no container of the promoted revision %s listens there, so that Service %s goes on as it was promoted; "+
		"commit the pod template that this belongs to, or set Service %s or spec.service back",
		misfit, w.Canary.Status.Stable.Revision, w.PrimaryService, w.Apex)
}

// onTrial finds the revision that the canary's Service is for, and its view. As long as pods are behind it, it is for
// those.
func (g *viewing) onTrial(wanted service.View, known bool) {
	w := g.w
	g.trial = g.tried()
	recorded, found := w.recorded(g.trial)
	switch {
	case g.trial == g.st.Stable || g.trial == "":
		g.trialView = g.main
	case g.trial == w.RevisionName && known && w.Sure() == nil:
		g.trialView = wanted
		if wanted.Port != g.main.Port {
			g.trialView.Was = g.main.Port
		}
		if w.Snapshots[g.trial] != nil && (found || !wanted.Same(g.main)) && !recorded.Same(wanted) {
			w.record(g.trial, g.trialView)
		}
	case found:
		g.trialView = recorded
	default:
		g.trialView = g.main
	}
}

// tried is the revision that the canary's Service is for.
func (g *viewing) tried() string {
	w, has := g.w, runs(g.w.Trial)
	switch {
	case has != "" && w.CanaryEndpoints > 0:
		return has
	case !g.st.Phase.Idle():
		return g.st.Candidate
	case w.RevisionName != g.st.Stable && w.RevisionName != g.st.Rejected:
		return w.RevisionName
	}
	return has
}

// pods are those of a revision.
func (g *viewing) pods(revision string) service.Pods {
	p := service.Pods{View: g.main, Template: g.w.template(revision)}
	if recorded, found := g.w.recorded(revision); found {
		p.View = recorded
	}
	switch revision {
	case g.st.Stable:
		p.View = g.main
	case g.trial:
		p.View = g.trialView
	}
	return p
}

// finish says what the Services serve. The primary's leads to all the pods that the primary has, and to those that it
// is about to have.
func (g *viewing) finish() {
	w, v := g.w, &g.w.Views
	from, to := g.primary()
	view, both := service.Both(g.pods(from), g.pods(to))
	if !both { // one at a time: the one that the primary is told to run
		view = g.pods(runs(w.Primary)).View
	}
	v.Main = w.side(view, from, to)
	v.Trial = service.Side{View: g.trialView}
	if g.trial != "" {
		v.Trial = w.side(g.trialView, g.trial)
	}
	primary := w.Live[w.PrimaryService]
	for _, revision := range []string{g.st.Stable, g.st.Candidate, g.st.Previous, w.RevisionName} {
		if revision == "" || primary == nil || slices.Contains(v.Judged, revision) {
			continue
		}
		v.Judged = append(v.Judged, revision)
		if !g.pods(revision).ServedBy(primary) {
			v.Misfits = append(v.Misfits, revision)
		}
		if _, both := service.Both(g.pods(runs(w.Primary)), g.pods(revision)); !both || w.gap(revision) {
			v.Clashing = append(v.Clashing, revision)
		}
	}
	v.Unfit = w.outdated || g.trial != "" && !g.pods(g.trial).ServedBy(w.Live[w.CanaryService])
	v.Lent = primary != nil && primary.Spec.Selector[siskinv1.RoleLabel] == siskinv1.RoleCanary
	g.route()
}

// gap reports whether the primary's pods may all be gone before the first one of a revision is ready.
func (w *World) gap(revision string) bool {
	if w.Primary == nil || runs(w.Primary) == revision {
		return false
	}
	var r target.Revision
	switch s := w.Snapshots[revision]; {
	case w.Target != nil && w.RevisionName == revision:
		r = w.Revision
	case s != nil:
		stored, err := w.Read(s)
		if err != nil { // it cannot be applied either
			return false
		}
		r = stored
	default:
		return false
	}
	want := int32(0)
	if w.Target != nil && w.Canary.Spec.AutoscalerRef == nil {
		want = targetOf(w).Replicas
	}
	return w.Managed(revision, r, w.Primary).Workload.Gap(w.Primary, want)
}

// side is what the Services that lead to pods of revisions have to serve.
func (w *World) side(view service.View, revisions ...string) service.Side {
	out := service.Side{View: view}
	for _, revision := range revisions {
		template := w.template(revision)
		out.Labels = append(out.Labels, template.Labels)
		out.Listens = append(out.Listens, service.ListensOf(template))
	}
	return out
}

// primary are the revisions that the primary's pods have, and are about to have.
func (g *viewing) primary() (from, to string) {
	from, to = runs(g.w.Primary), g.st.Stable
	other := g.st.Stable
	switch {
	case g.st.Phase == plan.Promoting || g.st.Phase == plan.Finalising:
		to = g.st.Candidate
	case g.st.Reverting:
		other = g.st.Candidate
	}
	if to == "" { // before the first one
		to, other = g.w.RevisionName, g.w.RevisionName
	}
	if from == "" || from == to { // it was told to run the other one, but may have pods of the one before
		from = other
	}
	return from, to
}

// runs is the revision that a clone was told to run.
func runs(clone client.Object) string {
	if clone == nil {
		return ""
	}
	return clone.GetAnnotations()[siskinv1.RevisionAnnotation]
}

// route finds the port that the route leads to: the one that is wanted as soon as it has endpoints, until then the one
// before.
func (g *viewing) route() {
	w := g.w
	primary := w.Live[w.PrimaryService]
	if primary == nil {
		return
	}
	view := w.Views.Main.View
	switch {
	case w.serves(w.PrimaryService, view.Port, w.PrimaryEndpoints) && w.serves(w.CanaryService, view.Port, w.CanaryEndpoints):
		w.Intent.Port = view.Port
	case view.Was != 0 && has(primary, view.Was):
		w.Intent.Port = view.Was
	case has(primary, view.Port):
		w.Intent.Port = view.Port
	default:
		w.Intent.Port = service.ViewOf(primary, w.Canary.Spec.Service).Port
	}
	if w.Intent.Port != view.Port {
		w.Views.Also = append(w.Views.Also, w.Intent.Port)
	}
}

// serves tells whether a Service has a port, and those of its endpoints that are ready have it too.
func (w *World) serves(name string, port, ready int32) bool {
	svc := w.Live[name]
	if svc == nil {
		return false
	}
	i := slices.IndexFunc(svc.Spec.Ports, func(p corev1.ServicePort) bool { return p.Port == port })
	return i >= 0 && (ready == 0 || w.portNames[name][svc.Spec.Ports[i].Name])
}

func has(svc *corev1.Service, port int32) bool {
	return slices.ContainsFunc(svc.Spec.Ports, func(p corev1.ServicePort) bool { return p.Port == port })
}

// overlap keeps the port that the route led to before, until the data plane has confirmed the route to the other one
// for a while.
func (o *Observer) overlap(w *World) {
	was, primary := w.Views.Main.View.Was, w.Live[w.PrimaryService]
	if was == 0 || was == w.Views.Main.View.Port || primary == nil || slices.Contains(w.Views.Also, was) || w.Views.Main.View.Has(was) {
		return
	}
	moved := w.Intent.Port == w.Views.Main.View.Port && routeOf(w).Confirmed
	left := o.moved.left(w.Canary.UID, fmt.Sprint(w.Intent.Port, moved), viewOverlap, o.now())
	if !has(primary, was) && moved || moved && left == 0 {
		return
	}
	w.Views.Also = append(w.Views.Also, was)
	if moved {
		w.Views.Again = sooner(w.Views.Again, left)
	}
}

func sooner(a, b time.Duration) time.Duration {
	if a == 0 || b > 0 && b < a {
		return b
	}
	return a
}

func (w *World) record(revision string, v service.View) {
	if w.Snapshots[revision] == nil {
		return
	}
	if w.Views.Records == nil {
		w.Views.Records = map[string]service.View{}
	}
	w.Views.Records[revision] = v
}

// template is the pod template of a revision; an empty one, if nobody knows it.
func (w *World) template(revision string) corev1.PodTemplateSpec {
	if w.Target != nil && revision == w.RevisionName {
		return w.Revision.Template
	}
	if s := w.Snapshots[revision]; s != nil {
		if r, err := w.Read(s); err == nil {
			return r.Template
		}
	}
	return corev1.PodTemplateSpec{}
}

// since remembers for how long a value has been the same, per Canary. It is lost with the process, which costs one more
// wait. The zero value is ready for use.
type since struct {
	mu  sync.Mutex
	all map[types.UID]sinceValue
}

type sinceValue struct {
	value string
	at    time.Time
}

// left is how much of d is missing until value has been the same for so long; 0: nothing.
func (m *since) left(uid types.UID, value string, d time.Duration, now time.Time) time.Duration {
	return max(m.since(uid, value, now).Add(d).Sub(now), 0)
}

// since is when value was first seen.
func (m *since) since(uid types.UID, value string, now time.Time) time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	have, ok := m.all[uid]
	if !ok || have.value != value {
		have = sinceValue{value: value, at: now}
		if m.all == nil {
			m.all = map[types.UID]sinceValue{}
		}
		m.all[uid] = have
	}
	return have.at
}

func (m *since) forget(uid types.UID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.all, uid)
}

func (o *Observer) now() time.Time {
	if o.Clock == nil {
		return clock.RealClock{}.Now()
	}
	return o.Clock.Now()
}
