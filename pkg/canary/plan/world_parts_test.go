package plan

import (
	"fmt"
	"time"
)

// Changes that come in parts: an apply of a ConfigMap and of the workload that reads it is seen by halves.

// partsState is what an apply that is under way leaves to see, and what the controller remembers of the target.
type partsState struct {
	applies    int
	half       map[string]int // revisions that are halves of an apply that goes on, by its number
	whole      map[string]int
	configOnly bool
	mark       string
	until      time.Time
	// of the controller's process
	rev                   string
	changedAt, restlessAt time.Time
	// rollouts that were begun for an apply, if nothing but the apply led to them
	begun map[int]int
	at    time.Time // when the last apply began
}

func newPartsState() partsState {
	return partsState{half: map[string]int{}, whole: map[string]int{}, begun: map[int]int{}}
}

// look is a look of the controller at the target.
func (p *partsState) look(rev string, now time.Time, quiet time.Duration) {
	if rev == p.rev {
		return
	}
	if !now.Before(p.changedAt.Add(quiet)) {
		p.restlessAt = now
	}
	p.rev, p.changedAt = rev, now
}

// forget is what a process loses.
func (p *partsState) forget() { p.rev, p.changedAt, p.restlessAt = "", time.Time{}, time.Time{} }

// seeParts fills in what the controller sees of changes in parts.
func (w *simulation) seeParts(t *Target) {
	if !t.Found {
		return
	}
	p := &w.parts
	p.look(t.Revision, w.now, w.spec.Quiet)
	t.ChangedAt, t.RestlessAt, t.ConfigOnly = p.changedAt, p.restlessAt, p.configOnly
	t.Apply, t.ApplyUntil = p.mark, p.until
}

// applyLimit is how long an apply that does not end is waited for.
const applyLimit = 2 * time.Minute

// applyInParts is an apply of two objects: rev is what it leads to. A marked one may take long. After applyLimit nobody
// takes its mark away.
func (w *simulation) applyInParts(rev string, configFirst, marked bool, gap time.Duration) {
	if !w.target.found {
		return
	}
	p := &w.parts
	p.applies++
	p.at = w.now
	n, half := p.applies, fmt.Sprintf("h%d", p.applies)
	t := *w.traits(rev)
	w.revisions[half] = &t
	clear(p.half) // of two applies at once nobody could tell what belongs together
	p.half[half] = n
	if marked {
		p.mark, p.until = fmt.Sprintf("apply %d", n), w.now.Add(applyLimit)
		w.at(applyLimit, func() { delete(p.half, half) }) // from then on it is taken for what is wanted
	}
	w.notef("        an apply of %s begins", rev)
	p.configOnly = configFirst
	w.change(half)
	w.at(gap, func() {
		_, alone := p.half[half]
		delete(p.half, half)
		if p.mark == fmt.Sprintf("apply %d", n) && gap < applyLimit { // who comes later is not who made the mark
			p.mark, p.until = "", time.Time{}
		}
		if w.target.found {
			p.configOnly = !configFirst && w.state.Candidate == half
			clear(p.whole)
			p.whole[half], p.whole[rev] = n, n
			if !alone || w.target.paused || w.ctl.since.After(w.now.Add(-gap)) || !w.ctl.up || w.spec.Suspend || w.spec.Invalid != "" || w.state.Phase == RollingBack {
				delete(p.begun, n)
				clear(p.whole) // nobody was there to put the two together
			}
			w.change(rev)
		}
	})
}

// someApply is an apply in parts that the quiet time, or its mark, covers.
func (w *simulation) someApply() {
	rev := fmt.Sprintf("r%d", 1+w.rng.IntN(5))
	marked := w.rng.IntN(2) == 0
	switch {
	case marked && w.rng.IntN(4) == 0:
		w.applyInParts(rev, true, true, w.between(applyLimit, 10*time.Minute))
	case marked:
		w.applyInParts(rev, true, true, w.between(100*time.Millisecond, 30*time.Second))
	case w.spec.Quiet > 0:
		w.applyInParts(rev, w.rng.IntN(2) == 0, false, w.between(50*time.Millisecond, w.spec.Quiet-time.Second/2))
	}
}

// learnParts counts the rollouts of each apply: one apply, one rollout, told once.
func (w *simulation) learnParts(a, b State) {
	p := &w.parts
	if b.Request != a.Request && b.Request.Accepted {
		clear(p.half) // somebody wants what is there, half or not
	}
	n := p.whole[b.Candidate] + p.half[b.Candidate]
	if b.Rollout == a.Rollout || b.Direct || b.Request != a.Request || n == 0 {
		return
	}
	alone := a.Forced || w.ctl.since.After(p.at) && a.Phase != Waiting // nobody knows whether the process before has asked anybody
	if p.begun[n]++; p.begun[n] > 1 && !a.Phase.Idle() && !alone {
		w.violated("16: apply %d begins another rollout, with %s", n, b.Candidate)
	}
}

// checkParts: half of an apply gets no traffic.
func (w *simulation) checkParts(d Decision) {
	b := d.Next
	if _, half := w.parts.half[b.Candidate]; !half || b.Forced || b.Direct {
		return
	}
	if on := b.Phase.OnTrial(); on && (b.Step > 0 && b.Split.Reaches() || b.Phase == Promoting) {
		w.violated("16: %s, half of an apply, is at step %d in %s", b.Candidate, b.Step, b.Phase)
	}
}

// checkFirstPart: half of an apply does not become the first revision that gets traffic.
func (w *simulation) checkFirstPart(s Snapshot, d Decision) {
	a, b := s.State, d.Next
	_, half := w.parts.half[b.Stable]
	if !half || a.Phase != "" && a.Phase != Initializing || b.Phase == Terminating {
		return
	}
	if b.Phase == Initialized {
		w.violated("16: the Canary begins with %s, half of an apply", b.Stable)
	}
	for _, e := range d.Effects {
		if v, ok := e.(ApplyServices); ok && v.Serving && !s.Services.Serving {
			w.violated("16: the first traffic goes to %s, half of an apply", b.Stable)
		}
	}
	if a.Stable == "" && s.applying() {
		w.violated("16: the primary begins with %s while an apply goes on", b.Stable)
	}
}

// applyAtFirst has an apply in parts while the Canary begins.
func (w *simulation) applyAtFirst() {
	w.at(w.upTo(15*time.Second), w.someApply)
}

// checkAskedParts: a question is about what somebody wants, not about half of it.
func (w *simulation) checkAskedParts(s Snapshot, q Question) {
	_, half := w.parts.half[s.State.Candidate]
	if half && (q.Type == ConfirmRollout || q.Type == PreRollout || q.Type == ConfirmTrafficIncrease) && !s.State.Forced {
		w.violated("16: %s is asked about %s, half of an apply", q.Name, s.State.Candidate)
	}
}
