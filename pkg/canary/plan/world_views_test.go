package plan

import (
	"slices"
	"testing"
	"time"
)

// viewState are the Services of worlds in which pods of different revisions listen on different ports: the primary's
// Service, as it was written and as the data plane has it, leads to one port, of the primary's pods or, lent, of the
// canary's. Beside the app there is another one whose pods have all labels that the user's selectors name.
type viewState struct {
	on              bool
	written, served led
	trial           string // the port that the canary's Service leads to
	writes          int
	standing        time.Time
	recreate        bool // the primary's old pods go before new ones come

	asked   string            // the port that the author of the apex asks for: byNumber, byName or one that nobody has
	view    map[string]string // what was asked for together with each revision
	held    int               // edits alone that do not fit the pods, and are held
	applied int               // those that do
}

// led is where a Service leads.
type led struct {
	port string
	lent bool
}

// What the author of the apex asks for.
const (
	byNumber = "number" // that of the revision's pods
	byName   = "name"   // pods have it whatever its number is, but not those of each revision
	nowhere  = "nowhere"
)

// class of a revision: pods of one class listen on the same number.
func (w *simulation) class(rev string) string {
	if !w.views.on || rev == "" {
		return ""
	}
	return []string{"a", "b", "c"}[int(rev[len(rev)-1])%3]
}

// listens tells whether pods of a revision listen on a port.
func (w *simulation) listens(rev, port string) bool {
	if port == byName {
		return rev != "" && int(rev[len(rev)-1])%5 != 0
	}
	return w.class(rev) == port
}

// port is where a Service leads that is for the pods of a revision.
func (w *simulation) port(rev string) string {
	v := &w.views
	if v.on && v.view[rev] == byName && w.listens(rev, byName) {
		return byName
	}
	return w.class(rev)
}

// viewed notes what is asked for together with a revision of the target.
func (w *simulation) viewed(rev string) {
	if v := &w.views; v.on {
		v.view[rev] = v.asked
	}
}

// editService is an edit of the apex alone. What the promoted pods listen on is applied, anything else is held until
// the pods that it belongs to are promoted.
func (w *simulation) editService() {
	v := &w.views
	if !v.on {
		return
	}
	v.asked = pick(w, byNumber, byName, nowhere)
	w.notef("        the apex Service is edited: it leads to a %s", v.asked)
	w.fit()
	w.poke()
}

// fit gives a revision the port that is asked for since, if its pods listen there. The promoted one is the target's.
func (w *simulation) fit() {
	v, rev := &w.views, w.target.rev
	fits := v.asked == byNumber || v.asked == byName && w.listens(rev, byName)
	if !fits {
		v.held++
		return
	}
	v.applied++
	v.view[rev] = v.asked
}

// both is a port on which the pods of two revisions listen; false: there is none.
func (w *simulation) both(from, to string) (string, bool) {
	switch {
	case w.listens(from, w.port(to)):
		return w.port(to), true
	case w.listens(to, w.port(from)):
		return w.port(from), true
	}
	return w.port(from), false
}

// gap tells whether all pods of the primary go before the first one of a revision comes.
func (w *simulation) gap(rev string) bool { return w.views.recreate && w.primary.rev != rev }

// leads is what the Services would be written to by now.
func (w *simulation) leads(lent bool) (led, string) {
	trial := w.target.rev
	switch {
	case w.canary.endpoints > 0:
		trial = w.canary.rev
	case !w.state.Phase.Idle() && w.state.Candidate != "":
		trial = w.state.Candidate
	}
	if lent {
		return led{w.port(w.canary.rev), true}, w.port(trial)
	}
	rev, to := w.primary.rev, goal(w.state)
	if rev == "" {
		rev = w.target.rev
	}
	if to == "" {
		to = rev
	}
	if rev == to { // it may have pods of the one before
		for _, p := range w.primary.pods {
			if p.rev != to {
				rev = p.rev
			}
		}
	}
	port, ok := w.both(rev, to)
	if !ok && w.primary.rev != "" { // one at a time: the one that the primary is told to run
		port = w.port(w.primary.rev)
	}
	return led{port, false}, w.port(trial)
}

func (w *simulation) serveViews(lent bool) {
	if !w.views.on {
		return
	}
	v := &w.views
	v.written, v.trial = w.leads(lent)
	v.writes++
	n := v.writes
	w.at(w.upTo(w.cfg.lag), func() {
		if v.writes == n && v.served != v.written {
			v.served = v.written
			w.poke()
		}
	})
}

// observeViews is what is seen of the Services.
func (w *simulation) observeViews(s *Snapshot) {
	v := &w.views
	if !v.on || v.writes == 0 {
		return
	}
	want, trial := w.leads(v.written.lent)
	x := &s.Services
	x.Complete = x.Complete && want == v.written && trial == v.trial
	for _, rev := range []string{s.State.Stable, s.State.Candidate, s.State.Previous, s.Target.Revision} {
		if rev == "" {
			continue
		}
		x.Judged = append(x.Judged, rev)
		if !w.listens(rev, v.written.port) {
			x.Misfits = append(x.Misfits, rev)
		}
		if _, ok := w.both(w.primary.rev, rev); !ok || w.gap(rev) {
			x.Clashing = append(x.Clashing, rev)
		}
	}
	x.Unfit = trial != v.trial
	x.Lent, x.Standing = v.written.lent, v.served.lent && w.canary.endpoints > 0
	if v.served.lent {
		s.Primary.Endpoints = w.canary.endpoints
	}
	if !x.Standing {
		v.standing = time.Time{}
	} else if v.standing.IsZero() {
		v.standing = w.now
	}
	x.StandingSince = v.standing
}

// checkCrossing: pods behind the primary's Service are not replaced by pods that listen elsewhere. Each request that
// reaches that Service or the apex finds a pod of the revision whose port they lead to.
func (w *simulation) checkCrossing(s Snapshot, e ApplyPrimary) {
	v := w.views
	if !v.on || v.writes == 0 || s.State.Phase == Initializing || w.primary.replicas == 0 || s.Primary.Endpoints == 0 {
		return
	}
	if _, together := w.both(w.primary.rev, e.Revision); together && !w.gap(e.Revision) {
		if e.Revision != w.primary.rev && !v.written.lent && !w.listens(e.Revision, v.written.port) {
			w.violated("19: the primary gets %s, which does not listen on the %s of its Service", e.Revision, v.written.port)
		}
		return
	}
	if !v.served.lent || !w.listens(w.canary.rev, v.served.port) {
		w.violated("19: the primary gets %s while its Service leads to the pods of %s", e.Revision, w.primary.rev)
	}
	if w.now.Sub(v.standing) < Settle+s.Spec.Drain {
		w.violated("19: the primary's pods did not drain before they are replaced")
	}
}

// checkReturn: the Service leads back to pods of the primary that serve, and all of which listen where it leads.
func (w *simulation) checkReturn(s Snapshot, e ApplyServices) {
	if !w.views.on || e.Lent || !w.views.written.lent || w.canary.endpoints == 0 {
		return
	}
	if w.primary.available() == 0 && s.Primary.Replicas > 0 {
		w.violated("19: the Service goes back to a primary without pods")
	}
	back, _ := w.leads(false)
	for _, p := range w.primary.pods {
		if p.ready && !w.listens(p.rev, back.port) {
			w.violated("19: the Service goes back to %s while pods of %s are behind it", back.port, p.rev)
		}
	}
}

// checkStranger: once the apex has left the labels of the target's pods, which are another app's too, it selects them no
// more until the Canary goes: each request to it finds a pod of this app.
func (w *simulation) checkStranger(s Snapshot, e Effect) {
	if s.State.Phase == "" || s.State.Phase == Initializing || !s.Services.Serving {
		return
	}
	back := false
	switch e := e.(type) {
	case ApplyServices:
		back = !e.Serving
	case RestoreServices:
		back = true
	}
	if back {
		w.violated("19: in %s the apex selects the pods of another app that shares its labels", s.State.Phase)
	}
}

// checkEdited is held against a world where nothing happens any more: an edit of the apex alone is served if the
// promoted pods listen there, and only then.
func (w *simulation) checkEdited() {
	v := w.views
	at := w.ctl.up && !w.gone && w.failure == "" && w.spec.Invalid == ""
	if !v.on || v.writes == 0 || !at || !w.state.Phase.Idle() || w.state.Stable != w.target.rev {
		return
	}
	want, _ := w.leads(v.written.lent)
	if v.written != want || v.served != v.written {
		w.violated("19: the Services lead to %v (%v in the data plane) instead of %v", v.written, v.served, want)
	}
	if !v.written.lent && w.primary.only(w.state.Stable) && !w.listens(w.state.Stable, v.served.port) {
		w.violated("19: nothing of %s listens on the %s that the Services lead to", w.state.Stable, v.served.port)
	}
}

// checkStandIn: pods that stand in stay.
func (w *simulation) checkStandIn(s Snapshot, e ApplyCanary) {
	v := w.views
	if v.on && (v.written.lent || v.served.lent) && s.Canary.Endpoints > 0 && (e.Revision != w.canary.rev || e.Replicas < w.canary.replicas) {
		w.violated("views: the canary that stands in gets %s with %d pods", e.Revision, e.Replicas)
	}
}

// viewWorlds is how often the revisions of a random world listen on different ports.
const viewWorlds = 3

// randomViews has revisions listen on different ports, in some worlds, and the apex edited alone.
func (w *simulation) randomViews(seed uint64, end time.Duration) {
	w.views.on = seed%viewWorlds == 0 && !w.service
	if !w.views.on {
		return
	}
	w.views.recreate = seed%(2*viewWorlds) == 0
	w.views.asked, w.views.view = byNumber, map[string]string{}
	for range w.rng.IntN(4) {
		w.at(w.upTo(end), w.editService)
	}
}

// TestWorldsWhosePodsListenElsewhere : the laws of Services have worlds to be held against.
func TestWorldsWhosePodsListenElsewhere(t *testing.T) {
	crossed, recreated, applied, held := 0, 0, 0, 0
	for seed := range uint64(400) {
		seed *= viewWorlds
		w := randomWorld(seed)
		w.seen = func(_ Snapshot, d Decision) {
			if slices.ContainsFunc(d.Effects, func(e Effect) bool { v, ok := e.(ApplyServices); return ok && v.Lent }) {
				crossed++
				if w.views.recreate {
					recreated++
				}
			}
		}
		if live(w) != "" {
			t.Fatalf("seed %d: %s\n%s", seed, w.failure, tail(retell(seed, Decide), 60))
		}
		applied, held = applied+w.views.applied, held+w.views.held
	}
	if recreated < 100 {
		t.Errorf("only %d stand-ins for a primary all of whose pods go at once", recreated)
	}
	if crossed < 100 || applied < 100 || held < 100 {
		t.Errorf("only %d stand-ins, %d edits of a Service that were applied and %d that were held", crossed, applied, held)
	}
}
