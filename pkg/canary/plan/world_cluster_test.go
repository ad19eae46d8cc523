package plan

import (
	"slices"
	"time"
)

// traits of a revision.
type traits struct {
	neverReady    bool          // its pods never become ready
	primaryFails  bool          // its pods become ready everywhere but in the primary
	diesOnTraffic time.Duration // its canary pods die so long after they got traffic; 0: never
	badMetrics    bool
	badLater      bool    // what it does wrong shows only when it is promoted
	flaky         float64 // share of its checks that fail
	slow          time.Duration
}

func (w *simulation) traits(rev string) *traits {
	t := w.revisions[rev]
	if t == nil {
		t = &traits{}
		w.revisions[rev] = t
	}
	return t
}

// workload behaves like a Deployment: what is applied is observed later, and pods are then replaced one after the other.
type workload struct {
	w               *simulation
	role            string
	found           bool
	rev             string
	replicas        int32
	drifted, held   bool
	paused          bool // by the user; unpaused: Siskin has taken that off
	unpaused        bool
	seen            wanted // what its controller has seen
	obsRev          string
	obsReplicas     int32
	pods            []*pod
	endpoints       int32
	stuck           bool
	done            bool // it was complete once, after which it never reports to be stuck
	syncs           int
	broken          bool // a fault keeps all pods from being ready
	endpointsBroken bool
}

// wanted is what a workload is told.
type wanted struct {
	rev      string
	replicas int32
	paused   bool
}

func (k *workload) wanted() wanted { return wanted{k.rev, k.replicas, k.paused} }

type pod struct {
	rev   string
	ready bool
	gone  bool
}

func (k *workload) apply(rev string, n int32) {
	changed := !k.found || k.rev != rev || k.replicas != n || k.seen != k.wanted()
	k.found, k.rev, k.replicas, k.drifted = true, rev, n, false
	if changed {
		k.w.at(k.w.upTo(k.w.cfg.observe), k.sync)
	}
	k.w.poke()
}

func (k *workload) remove() {
	for _, p := range k.pods {
		p.gone = true
	}
	*k = workload{w: k.w, role: k.role, syncs: k.syncs + 1}
	k.w.poke()
}

// sync is the workload's own controller that sees the change. One that is paused starts pods of nothing but what it
// had.
func (k *workload) sync() {
	if !k.found || (k.seen == k.wanted() && k.obsRev == k.rev && k.obsReplicas == k.replicas && len(k.pods) > 0) {
		return
	}
	if k.seen = k.wanted(); !k.paused || k.obsRev == "" {
		k.obsRev = k.rev
	}
	k.obsReplicas, k.stuck, k.done = k.replicas, false, false
	k.syncs++
	n := k.syncs
	if k.w.cfg.progressDeadline > 0 {
		k.w.at(k.w.cfg.progressDeadline, func() {
			if k.syncs == n && !k.done {
				k.stuck = true
				k.w.poke()
			}
		})
	}
	k.roll()
	k.w.poke()
}

func (k *workload) updated() (n int32) {
	for _, p := range k.pods {
		if p.rev == k.obsRev {
			n++
		}
	}
	return n
}

func (k *workload) available() (n int32) {
	for _, p := range k.pods {
		if p.ready {
			n++
		}
	}
	return n
}

// want is the number of pods that its controller sees to.
func (k *workload) want() int32 {
	if k.w.nodes > 0 && k.obsReplicas > 0 {
		return k.w.nodes
	}
	return k.obsReplicas
}

func (k *workload) complete() bool {
	n := k.want()
	return k.updated() == n && int32(len(k.pods)) == n && k.available() == n
}

// roll makes one round of the rolling update.
func (k *workload) roll() {
	k.unreadyFirst()
	if k.role == "primary" && k.w.views.recreate && !k.only(k.obsRev) {
		for _, p := range k.pods {
			p.gone = true
		}
		k.pods = nil
	}
	keep := k.pods[:0:0]
	available, updated, want := k.available(), k.updated(), k.want()
	for _, p := range k.pods {
		old := p.rev != k.obsRev
		switch {
		case old && (!p.ready || available > want), !old && updated > want:
			p.gone = true
			if p.ready {
				available--
			}
			if !old {
				updated--
			}
		default:
			keep = append(keep, p)
		}
	}
	k.pods = keep
	for k.updated() < want && int32(len(k.pods)) < want+max(k.w.cfg.surge, 1) {
		k.start()
	}
	if k.complete() {
		k.stuck, k.done = false, true
	}
	k.publish()
}

// unreadyFirst orders the pods so that those which are not ready go first when there are too many, as a ReplicaSet chooses them. Which
// pod goes with its node is chance.
func (k *workload) unreadyFirst() {
	if k.w.nodes > 0 || k.updated() <= k.want() {
		return
	}
	slices.SortStableFunc(k.pods, func(a, b *pod) int {
		switch {
		case a.ready == b.ready:
			return 0
		case b.ready:
			return -1
		}
		return 1
	})
}

func (k *workload) start() {
	p := &pod{rev: k.obsRev}
	k.pods = append(k.pods, p)
	k.warm(p)
}

// warm makes a pod ready after a while, if it ever will be.
func (k *workload) warm(p *pod) {
	t := k.w.traits(p.rev)
	if t.neverReady || k.role == "primary" && t.primaryFails {
		return
	}
	k.w.at(k.w.cfg.start/2+k.w.upTo(k.w.cfg.start/2)+t.slow, func() {
		if p.gone || p.ready || k.broken {
			return
		}
		p.ready = true
		k.roll()
		k.w.poke()
	})
}

// publish lets the Service learn which pods are ready.
func (k *workload) publish() {
	set := func() {
		n := k.available()
		if k.endpointsBroken {
			n = 0
		}
		if n != k.endpoints {
			k.endpoints = n
			k.w.poke()
		}
	}
	if k.w.cfg.lag == 0 {
		set()
		return
	}
	k.w.at(k.w.upTo(k.w.cfg.lag), set)
}

// die takes all pods down; heal brings them back.
func (k *workload) die(but int) {
	for i, p := range k.pods {
		if i >= but {
			p.ready = false
		}
	}
	k.broken = true
	k.publish()
	k.w.poke()
}

func (k *workload) heal() {
	stays := k.role == "primary" && k.w.forever == deadPrimary || k.role == "canary" && k.w.forever == deadCanary
	if !k.broken && !k.endpointsBroken || stays {
		return
	}
	k.broken, k.endpointsBroken = false, false
	for _, p := range k.pods {
		if !p.ready {
			k.warm(p)
		}
	}
	k.publish()
}

func (k *workload) observe() Workload {
	if !k.found {
		return Workload{}
	}
	desired := int32(0)
	if k.w.nodes > 0 && k.replicas > 0 {
		desired = k.w.nodes
	}
	return Workload{
		Found: true, Desired: desired, Revision: k.rev, Replicas: k.replicas, Pods: int32(len(k.pods)), Updated: k.updated(),
		Available: k.available(), Endpoints: k.endpoints, Current: k.obsRev == k.rev && k.obsReplicas == k.replicas,
		Drifted: k.drifted, Stuck: k.stuck,
	}
}

// resize is another controller that writes the number of replicas.
func (k *workload) resize(n int32) {
	if !k.found || k.replicas == n {
		return
	}
	k.replicas = n
	k.w.at(k.w.upTo(k.w.cfg.observe), k.sync)
	k.w.poke()
}

// only tells whether all pods run rev.
func (k *workload) only(rev string) bool {
	for _, p := range k.pods {
		if p.rev != rev {
			return false
		}
	}
	return len(k.pods) > 0
}

// routeState is the route and what the data plane makes of it.
type routeState struct {
	known     bool
	current   Split
	effective Split
	since     time.Time // of effective
	served    bool      // the canary had pods that were reached until then
	writes    int
	rejected  bool
	down      bool // the router cannot be written
	refuses   bool // the data plane refuses what is written
	leaving   bool // it was given back, but the data plane has not followed yet
	left      time.Time
}

// giveRouteBack leads the route away from the clones; the data plane follows, and nobody tells when.
func (w *simulation) giveRouteBack() string {
	r := &w.route
	switch {
	case !r.known:
		return ""
	case r.down:
		return "router is down"
	}
	r.known, r.leaving, r.left = false, true, w.now
	delay := w.upTo(w.cfg.confirm)
	if w.chance(w.cfg.lateRoute) {
		delay = w.between(time.Second, 3*time.Minute)
	}
	w.at(delay, func() { r.leaving, r.left = false, w.now })
	return ""
}

func (w *simulation) observeRoute(desired Split) Route {
	r := w.route
	return Route{
		Known: r.known, Current: r.current, Confirmed: r.known && !r.rejected && r.effective == r.current && r.current == desired,
		Rejected: r.rejected, Leaving: r.leaving, Message: "not accepted",
	}
}

// write changes the route; the data plane follows.
func (w *simulation) write(s Split) {
	r := &w.route
	if r.known && r.current == s {
		return
	}
	r.known, r.current, r.rejected, r.leaving = true, s, false, false
	r.writes++
	n := r.writes
	w.poke()
	delay := w.upTo(w.cfg.confirm)
	if w.chance(w.cfg.lateRoute) {
		delay = w.between(time.Second, 3*time.Minute)
	}
	w.at(delay, func() { w.accept(n) })
}

func (w *simulation) accept(n int) {
	r := &w.route
	if r.writes != n || !r.known {
		return
	}
	if r.refuses || w.forever == refusedRoutes {
		r.rejected = true
		w.poke()
		return
	}
	r.rejected = false
	if r.effective != r.current {
		r.served = r.effective.Reaches() && len(w.canary.pods) > 0
		r.effective, r.since = r.current, w.now
		w.traffic()
	}
	w.poke()
}

// traffic lets a canary die of it.
func (w *simulation) traffic() {
	k := w.canary
	after := w.traits(k.rev).diesOnTraffic
	if !w.route.effective.Reaches() || after == 0 {
		return
	}
	rev := k.rev
	w.at(after, func() {
		if w.route.effective.Reaches() && k.rev == rev {
			w.notef("        canary pods of %s die of their traffic", rev)
			k.die(0)
			w.at(20*time.Second, k.heal)
		}
	})
}

// apply carries one effect out.
func (w *simulation) apply(e Effect) string {
	if w.chance(w.cfg.effectFails) {
		return "conflict"
	}
	switch e := e.(type) {
	case TakeSnapshot:
		if !w.target.found || w.target.rev != e.Revision {
			return "the target has moved on"
		}
		if !w.stored[e.Revision] {
			w.poke()
		}
		w.stored[e.Revision] = true
	case ApplyPrimary:
		if !w.stored[e.Revision] {
			return "no snapshot of " + e.Revision
		}
		w.primary.apply(e.Revision, e.Replicas)
	case ApplyCanary:
		if !w.stored[e.Revision] {
			return "no snapshot of " + e.Revision
		}
		w.canary.apply(e.Revision, e.Replicas)
	case ApplyServices:
		w.services = Services{Complete: true, Serving: e.Serving}
		w.serveViews(e.Lent)
		w.ledger.taken = w.ledger.taken || e.Serving
		w.poke()
	case ApplySplit:
		if w.route.down || w.forever == brokenRouter {
			return "router is down"
		}
		w.write(e.Split)
	case HoldTarget:
		if w.target.found {
			w.target.held, w.user.replicas = true, e.Replicas
			w.target.apply(w.target.rev, 0)
		}
	case RestoreTarget:
		if !w.stored[e.Revision] {
			return "no snapshot of " + e.Revision
		}
		if t := w.target; t.found {
			t.unpaused, t.paused = t.unpaused || t.paused, false
			t.apply(e.Revision, t.replicas)
		}
	case PauseTarget:
		if w.target.found && w.target.unpaused {
			w.target.unpaused = false
			w.target.pause(true)
		}
	case ReleaseTarget:
		if w.target.found {
			w.target.held, w.user.replicas = false, e.Replicas
			w.target.apply(w.target.rev, e.Replicas)
		}
	case RestoreServices:
		if !w.services.Restored || w.route.known && !w.route.down {
			w.poke()
		}
		w.services = Services{Complete: true, Restored: true}
		return w.giveRouteBack()
	case ApplyScaler:
		w.applyScaler(e)
	case RestoreScaler:
		w.scaler.onPrimary, w.scaler.floor, w.scaler.canary, w.scaler.drifted = false, 0, false, false
		w.poke()
	case Abandon:
		w.orphan = true
	case Finish:
		w.gone = true
	}
	return ""
}
