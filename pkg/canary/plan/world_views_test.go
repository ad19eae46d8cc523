package plan

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// viewState are the Services of worlds in which pods of different revisions listen on different numbers: the primary's
// Service, as it was written and as the data plane has it, leads to one number, of the primary's pods or, lent, of the
// canary's.
type viewState struct {
	on              bool
	written, served led
	trial           string // the class that the canary's Service leads to
	writes          int
	standing        time.Time
}

type led struct {
	class string
	lent  bool
}

// class of a revision: pods of one class listen on the same number.
func (w *simulation) class(rev string) string {
	if !w.views.on || rev == "" {
		return ""
	}
	return []string{"a", "b", "c"}[int(rev[len(rev)-1])%3]
}

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
		return led{w.class(w.canary.rev), true}, w.class(trial)
	}
	rev := w.primary.rev
	if rev == "" {
		rev = w.target.rev
	}
	return led{w.class(rev), false}, w.class(trial)
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
		if w.class(rev) != v.written.class {
			x.Misfits = append(x.Misfits, rev)
		}
		if w.class(rev) != w.class(w.primary.rev) {
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
// reaches that Service or the apex finds a pod of the revision whose number they lead to.
func (w *simulation) checkCrossing(s Snapshot, e ApplyPrimary) {
	v := w.views
	if !v.on || v.writes == 0 || s.State.Phase == Initializing || w.class(e.Revision) == w.class(w.primary.rev) || w.primary.replicas == 0 || s.Primary.Endpoints == 0 {
		return
	}
	if !v.served.lent || v.served.class != w.class(w.canary.rev) {
		w.violated("views: the primary gets %s while its Service leads to the pods of %s", e.Revision, w.primary.rev)
	}
	if w.now.Sub(v.standing) < Settle+s.Spec.Drain {
		w.violated("views: the primary's pods did not drain before they are replaced")
	}
}

// checkReturn: the Service leads back to pods of the primary that serve, and all of which listen where it leads.
func (w *simulation) checkReturn(s Snapshot, e ApplyServices) {
	if !w.views.on || e.Lent || !w.views.written.lent || w.canary.endpoints == 0 {
		return
	}
	if w.primary.available() == 0 && s.Primary.Replicas > 0 {
		w.violated("views: the Service goes back to a primary without pods")
	}
	for _, p := range w.primary.pods {
		if p.ready && w.class(p.rev) != w.class(w.primary.rev) {
			w.violated("views: the Service goes back while pods of %s are behind it", p.rev)
		}
	}
}

// checkStandIn: pods that stand in stay.
func (w *simulation) checkStandIn(s Snapshot, e ApplyCanary) {
	v := w.views
	if v.on && (v.written.lent || v.served.lent) && s.Canary.Endpoints > 0 && (e.Revision != w.canary.rev || e.Replicas < w.canary.replicas) {
		w.violated("views: the canary that stands in gets %s with %d pods", e.Revision, e.Replicas)
	}
}

// viewedWorld is a random world in which revisions listen on different numbers.
func viewedWorld(seed uint64) *simulation {
	w := randomWorld(seed)
	w.views.on = !w.service
	return w
}

func TestWorldsWhosePodsListenElsewhere(t *testing.T) {
	crossed := 0
	for seed := range uint64(400) {
		w := viewedWorld(seed)
		w.seen = func(_ Snapshot, d Decision) {
			if slices.ContainsFunc(d.Effects, func(e Effect) bool { v, ok := e.(ApplyServices); return ok && v.Lent }) {
				crossed++
			}
		}
		if live(w) != "" {
			again := viewedWorld(seed)
			again.trace = &strings.Builder{}
			t.Fatalf("seed %d: %s\n%s", seed, live(again), tail(again.trace.String(), 60))
		}
	}
	if crossed < 100 {
		t.Errorf("only %d stand-ins", crossed)
	}
}

func TestWorldsCatchWhatBreaksServices(t *testing.T) {
	for name, decide := range map[string]func(Snapshot) Decision{
		"the primary is replaced behind a Service that leads elsewhere": func(s Snapshot) Decision {
			s.Services.Clashing, s.Services.Misfits = nil, nil
			return Decide(s)
		},
		"the Service is given back at once": func(s Snapshot) Decision {
			d := Decide(s)
			d.Effects = slices.Clone(d.Effects)
			for i, e := range d.Effects {
				if v, ok := e.(ApplyServices); ok && s.Services.Lent {
					v.Lent = false
					d.Effects[i] = v
				}
			}
			if s.Services.Lent && s.Services.Standing && len(d.Effects) == 0 {
				d.Effects = append(d.Effects, ApplyServices{Serving: s.Services.Serving, Split: d.Next.Split})
			}
			return d
		},
		"nobody waits for what drains": func(s Snapshot) Decision {
			s.Services.StandingSince = time.Time{}
			return Decide(s)
		},
		"a canary that stands in is taken away": func(s Snapshot) Decision {
			d := Decide(s)
			if s.Services.Lent && s.Canary.Replicas > 0 {
				d.Effects = append(slices.Clone(d.Effects), ApplyCanary{s.Canary.Revision, 0})
			}
			return d
		},
	} {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(400) {
				w := viewedWorld(seed)
				w.decide = decide
				if live(w) != "" {
					return
				}
			}
			t.Error("no world notices")
		})
	}
}
