package plan

import "time"

// The laws of ends: each wait has a deadline in sight, the deadline has an outcome, and no fault that stays keeps a rollout from its end.

// checkDeadline: whatever goes on ends in time, and nothing but what was agreed moves its end.
func (w *simulation) checkDeadline(s Snapshot, d Decision) {
	a, b := s.State, d.Next
	if b.Phase.Idle() {
		return
	}
	due := latest(latest(w.now, b.CheckAt), latest(b.PausedUntil, b.BakeUntil)) // what is not waiting, but under way as it should be
	most := due.Add(max(s.Spec.Deadline, s.Spec.GateDeadline))
	switch ends := b.Deadline; {
	case b.Phase == Initializing && (s.Spec.Invalid != "" || !s.Target.Found || d.Held != ""): // only a person helps, who is told
	case ends.IsZero():
		w.violated("8: %s waits without a deadline", b.Phase)
	case ends.After(most):
		w.violated("8: the deadline of %s is %s, which is after %s", b.Phase, clock(ends), clock(most))
	case w.slides(s, d):
		w.violated("8: the deadline of %s moves from %s to %s", b.Phase, clock(a.Deadline), clock(ends))
	}
	if b.Phase != a.Phase || b.Rollout != a.Rollout || !s.expired(a) {
		return
	}
	switch b.Phase {
	case RollingBack:
		w.violated("8: the deadline of the rollback passed without an outcome")
	case Finalising:
		if b.StepAt.Equal(a.StepAt) {
			w.violated("8: the deadline of giving the traffic back passed without an outcome")
		}
	case Initializing:
		if !b.Overdue && s.Spec.Invalid == "" && s.Target.Found && b.StepAt.Equal(a.StepAt) {
			w.violated("8: nobody is told that the primary does not come up")
		}
	}
}

// slides tells that the deadline moved although nothing happened that makes room.
func (w *simulation) slides(s Snapshot, d Decision) bool {
	a, b := s.State, d.Next
	switch {
	case b.Deadline.Equal(a.Deadline),
		b.Phase != a.Phase, b.Rollout != a.Rollout, b.Request != a.Request, b.Step != a.Step, !b.StepAt.Equal(a.StepAt), // something else began
		s.gathering(),                               // once more for each part, and all parts have a limit
		b.FailedChecks > a.FailedChecks,             // each counts to the threshold
		b.Paused != a.Paused, b.Halted && !a.Halted, // a person or a gate is waited for
		!b.PausedUntil.Equal(a.PausedUntil),                                   // the step's pause began
		!b.EffectiveAt.Equal(a.EffectiveAt) && a.EffectiveAt.Before(a.StepAt): // the split was late; once for a step
		return false
	}
	return true
}

// checkToldLate: a deletion that waits longer than it may is told.
func (w *simulation) checkToldLate(s Snapshot, d Decision) {
	if s.State.Phase == Terminating && len(d.WaitingFor) > 0 && s.expired(d.Next) && !d.Next.Overdue {
		w.violated("8: nobody is told that the target does not come up")
	}
}

// forever is a fault that stays when all others are gone.
type forever string

const (
	refusedRoutes forever = "refused routes"
	brokenRouter  forever = "a router that cannot be written"
	noData        forever = "providers without data"
	noAnswers     forever = "providers that never answer"
	deadPrimary   forever = "a dead primary"
	deadCanary    forever = "a dead canary"
)

// stay chooses what calm leaves broken, in one world of ten.
func (w *simulation) stay() forever {
	if w.rng.IntN(10) > 0 {
		return ""
	}
	return pick(w, refusedRoutes, brokenRouter, noData, noAnswers, deadPrimary, deadCanary)
}

// stays begins the fault that nobody mends.
func (w *simulation) stays(f forever) {
	if f == "" {
		return
	}
	w.notef("        %s for good", f)
	w.forever = f
	switch f {
	case deadPrimary:
		w.primary.die(0)
	case deadCanary:
		w.canary.die(0)
	case refusedRoutes, brokenRouter, noData, noAnswers:
	}
}

// ends is how long a world with a fault that stays may take to bring what goes on to its end.
const ends = 6 * time.Hour

// endure runs a world whose fault stays. It need not come to rest, but everything that was begun must end.
func (w *simulation) endure(calm time.Time) {
	for at := calm.Add(20 * time.Minute); w.failure == "" && !w.gone && !at.After(calm.Add(ends)); at = at.Add(20 * time.Minute) {
		w.run(at)
		if w.ended() {
			return
		}
	}
	if w.failure == "" && !w.gone {
		w.violated("8: with %s the world has not ended after %v: %s", w.forever, ends, w.state.Phase)
	}
}

// ended tells that nothing goes on but what waits for ever by design, which was told.
func (w *simulation) ended() bool {
	z, rev, size := w.state, w.target.rev, w.user.replicas
	if w.scaler.named {
		size = w.primary.replicas
	}
	switch {
	case !w.target.found, z.Overdue:
		return true
	case !z.Phase.Idle() || w.user.deleting:
		return false
	}
	known := rev == z.Stable || rev == z.Rejected
	return known || size == 0 || z.Split != AllPrimary() || z.Reverting
}
