package plan

import (
	"slices"
	"time"
)

// The laws of targets that are paused and of what a deletion gives back.

// pause is the user's spec.paused.
func (k *workload) pause(on bool) {
	if !k.found || k.paused == on {
		return
	}
	k.paused = on
	k.w.at(k.w.upTo(k.w.cfg.observe), k.sync)
	k.w.poke()
}

// serving is the number of available pods that are known to run what the workload says.
func (k *workload) serving() int32 {
	if k.seen != k.wanted() {
		return 0
	}
	return max(k.available()-k.old(), 0)
}

func (k *workload) old() (n int32) {
	for _, p := range k.pods {
		if p.rev != k.rev {
			n++
		}
	}
	return n
}

// pauseTarget has the user pause the target for a while, and perhaps push a revision meanwhile.
func (w *simulation) pauseTarget(lasts time.Duration) {
	if w.nodes > 0 || w.service {
		return
	}
	w.notef("        target is paused for %v", lasts)
	w.target.pause(true)
	if w.rng.IntN(2) == 0 {
		w.at(w.upTo(lasts), func() { w.push(pick(w, "r2", "r3", "r4", "r5")) })
	}
	if w.rng.IntN(4) == 0 {
		w.at(w.upTo(lasts), func() { w.notef("        the Canary is deleted"); w.user.deleting = true; w.poke() })
	}
	w.at(lasts, func() {
		w.notef("        target is paused no longer")
		w.target.unpaused = false
		w.target.pause(false)
	})
}

// pauseAtFirst has the target paused, with a new revision that its pods do not run, while the Canary begins.
func (w *simulation) pauseAtFirst(at time.Duration) {
	if w.nodes > 0 || w.service {
		return
	}
	w.at(at, func() {
		w.notef("        target is paused before it is rolled out")
		w.target.pause(true)
		w.push("r2")
	})
	w.at(at+2*time.Minute, func() { w.target.pause(false) })
}

// restored is the revision that a deletion gives back: the promoted one. What the primary has passed and got counts as
// promoted.
func (w *simulation) restored() string {
	if w.state.Phase == Finalising {
		return w.state.Candidate
	}
	return w.state.Stable
}

// checkPausedTarget: a revision of a paused target waits, unless a person asks for one.
func (w *simulation) checkPausedTarget(s Snapshot, d Decision) {
	a, b := s.State, d.Next
	asked := b.Request != a.Request && b.Request.Accepted
	switch {
	case !s.Target.Paused:
	case b.Rollout != a.Rollout && !asked:
		w.violated("17: the rollout of %s begins while the target is paused", b.Candidate)
	case b.Phase.Idle() && !a.Split.Reaches() && s.Target.Revision != b.Stable && s.Target.Revision != b.Rejected && b.Replicas > 0 &&
		s.Spec.Invalid == "" && b.Phase == a.Phase && d.Held == "" && d.Stalled == "":
		w.violated("17: revision %s waits while the target is paused, and nobody is told", s.Target.Revision)
	case a.Stable == "" && b.Stable != "" && !w.target.only(b.Stable) && w.target.replicas > 0:
		w.violated("17: the primary begins with %s, which the paused target has not rolled out", b.Stable)
	}
}

// checkGivenBack: what everybody gets at the end was promoted, and all of it is there before the clones go.
func (w *simulation) checkGivenBack(s Snapshot, d Decision) {
	if !s.Target.Found || s.State.Stable == "" || s.Spec.Orphan {
		return
	}
	want, t := w.restored(), w.target
	untouched := s.Target.Released && s.Services.Restored && !s.Route.Known
	given := !s.State.DrainUntil.IsZero() && s.State.Phase == Terminating // what is applied after that is the user's own doing
	for i, e := range d.Effects {
		switch e := e.(type) {
		case RestoreTarget:
			if e.Revision != want {
				w.violated("18: at a deletion the target is given %s instead of %s", e.Revision, want)
			}
		case ReleaseTarget:
			if t.rev != want || t.obsRev != want {
				w.violated("18: at a deletion the target gets pods of %s (seen %s) instead of %s", t.rev, t.obsRev, want)
			}
		case RestoreServices:
			if untouched || given {
				continue
			}
			w.checkBehindApex(s, want)
			size := s.Target.Replicas
			if w.nodes > 0 && size > 0 {
				size = w.nodes
			}
			if size > 0 && !t.only(want) || int32(len(t.pods)) < size && !w.service {
				w.violated("18: at a deletion the traffic goes to a target of which not all pods run %s", want)
			}
		case Finish:
			if t.unpaused && !slices.Contains(d.Effects[:i], Effect(PauseTarget{})) {
				w.violated("18: after a deletion the target is not paused any more")
			}
		}
	}
}

// checkBehindApex: the apex, as its author wrote it, selects the pods of all clones. None of them runs what was not
// promoted when it is given back, unless only they can serve, or the time for that is over.
func (w *simulation) checkBehindApex(s Snapshot, want string) {
	if !slices.Contains(s.Kept, want) { // nobody can make them run anything else
		return
	}
	if s.expired(s.State) || s.standing() || s.crosses(s.State) || s.State.Split != AllPrimary() {
		return
	}
	for _, k := range []*workload{w.primary, w.canary} {
		for _, p := range k.pods {
			if p.ready && p.rev != want {
				w.violated("18: at a deletion the apex is given back with pods of the %s behind it that run %s", k.role, p.rev)
			}
		}
	}
}
