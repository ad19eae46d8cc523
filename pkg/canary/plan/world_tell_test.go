package plan

import (
	"slices"
	"time"
)

// people are those who are told notices, and what they are owed.
type people struct {
	// owed are the notices of stored decisions, by key, heard is how often each was told.
	owed  map[string]Notice
	heard map[string]int
	// dropped counts notices for which the state had no room, excused the keys of those that a deletion did not wait for
	// any longer.
	dropped int
	excused map[string]bool
	// told are the numbers of those that this process has told, lost with it.
	told map[int64]bool
	// since is when the first was told of those of which it is not stored yet.
	since time.Time
}

func newPeople() people {
	return people{owed: map[string]Notice{}, heard: map[string]int{}, excused: map[string]bool{}, told: map[int64]bool{}}
}

// owe notes what a decision that was stored has to tell.
func (w *simulation) owe(d Decision) {
	p := &w.people
	p.dropped += d.Dropped
	for _, n := range d.Notices {
		if _, known := p.owed[n.Key()]; known {
			w.violated("14: two transitions are told under one key: %s", n.Key())
		}
		p.owed[n.Key()] = n
	}
}

// tell tells people what the stored state says that they were not told. As the real one it does so after the effects,
// may fail and tries again later, and has its success stored with the next decision, or a while later.
func (w *simulation) tell() {
	for _, n := range w.state.Untold {
		switch {
		case !w.ctl.up && !w.gone, w.people.told[n.Number]:
		case w.chance(w.cfg.crash / 2):
			w.restart("among the notices")
			return
		case w.chance(w.cfg.effectFails):
			w.notef("        telling %s failed", n.Reason)
			w.at(w.between(time.Second, 8*time.Second), w.poke)
		case w.chance(w.cfg.slowAnswer / 4):
			process := w.ctl.process
			w.at(w.upTo(8*time.Second), func() {
				if w.ctl.process == process {
					w.hear(n)
				}
			})
		default:
			w.hear(n)
		}
	}
	if len(w.state.Untold) > 0 {
		w.at(15*time.Second, w.poke)
	}
}

// toldAside tells that nothing but that notices were told would be stored, which goes along with the decision at the
// end of the step, or is written by itself a while later.
func (w *simulation) toldAside(was, is State) bool {
	if w.cfg.loud || len(is.Untold) >= len(was.Untold) {
		return false
	}
	was.Untold = is.Untold
	return sameState(was, is) && w.now.Before(latest(is.CheckAt, w.people.since).Add(15*time.Second))
}

// hear is what people get.
func (w *simulation) hear(n Notice) {
	p := &w.people
	if owed, ok := p.owed[n.Key()]; !ok || owed.Message != n.Message || !owed.At.Equal(n.At) {
		w.violated("14: %s is told, which no stored decision owes under this key", n.Key())
	}
	p.heard[n.Key()]++
	p.told[n.Number] = true
	if p.since.IsZero() {
		p.since = w.now
	}
	w.poke()
}

// checkUntold: a notice stays in the state until it was told, and a Canary goes after it, unless that takes too long.
func (w *simulation) checkUntold(s Snapshot, d Decision) {
	untold := func(n Notice) bool { return !slices.Contains(s.Told, n.Number) }
	has := func(n Notice) bool {
		return slices.ContainsFunc(d.Next.Untold, func(m Notice) bool { return m.Number == n.Number && m.Message == n.Message })
	}
	missing := 0
	for _, n := range slices.Concat(s.State.Untold, d.Notices) {
		if untold(n) && !has(n) {
			missing++
		}
	}
	if missing != d.Dropped || len(d.Next.Untold) > UntoldLimit || d.Dropped > 0 && len(d.Next.Untold) < UntoldLimit {
		w.violated("14: %d notices that were not told are forgotten, %d of them for want of room", missing, d.Dropped)
	}
	if !finishes(d) {
		return
	}
	for _, n := range d.Next.Untold {
		w.people.excused[n.Key()] = true
		if w.now.Sub(d.Next.Since) < Recheck {
			w.violated("14: the Canary goes before %s was told", n.Reason)
		}
	}
}

// checkHeard is held against a world where nothing happens any more: what was decided was told.
func (w *simulation) checkHeard() {
	missing := -w.people.dropped
	for key := range w.people.owed {
		if w.people.heard[key] == 0 && !w.people.excused[key] {
			missing++
		}
	}
	if missing > 0 && w.failure == "" {
		w.violated("14: %d notices of stored decisions were never told", missing)
	}
	if n := len(w.state.Untold); n > 0 && !w.gone && w.ctl.up && w.failure == "" {
		w.violated("14: at the end %d notices are still to be told", n)
	}
}
