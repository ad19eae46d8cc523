package plan

import (
	"slices"
	"time"
)

// later is the end of a wait that never ends.
func later() time.Time { return epoch.Add(1e5 * time.Hour) }

// endless makes a mutant whose waits of a kind have no deadline.
func endless(is func(Snapshot, State) bool) func(Snapshot) Decision {
	return after(func(s Snapshot, d *Decision) {
		if is(s, d.Next) {
			d.Next.Deadline = later()
		}
	})
}

// deaf makes a mutant that has deadlines for waits of a kind, and does nothing when they pass.
func deaf(is func(Snapshot) bool) func(Snapshot) Decision {
	return func(s Snapshot) Decision {
		if !is(s) {
			return Decide(s)
		}
		ends := s.State.Deadline
		s.State.Deadline = later()
		d := Decide(s)
		if d.Next.Deadline.Equal(later()) {
			d.Next.Deadline = ends
		}
		return d
	}
}

// unshared are answers without what the gateway counted.
func unshared(answers map[string]Answer) map[string]Answer {
	out := map[string]Answer{}
	for key, a := range answers {
		a.Share = Share{}
		out[key] = a
	}
	return out
}

func mutantsOfWaits() []mutant {
	onStep := func(z State) bool { return z.Phase == Progressing && z.Step > 0 && !z.Halted && !z.Paused }
	unanswered := func(s Snapshot) bool {
		return onStep(s.State) && s.checkDue() && len(s.verdict(s.checks()).pending) > 0
	}
	return []mutant{
		{"the route of a step is waited for without a deadline", endless(func(s Snapshot, z State) bool { return onStep(z) && !s.settled() })},
		{"answers of a step are waited for without a deadline", endless(func(s Snapshot, z State) bool { return onStep(z) && unanswered(s) })},
		{"a rollback waits without a deadline", endless(func(_ Snapshot, z State) bool { return z.Phase == RollingBack })},
		{"the traffic is given back without a deadline", endless(func(_ Snapshot, z State) bool { return z.Phase == Finalising })},
		{"a promotion waits without a deadline", endless(func(_ Snapshot, z State) bool { return z.Phase == Promoting })},
		{"the deadline for the route of a step means nothing", deaf(func(s Snapshot) bool { return onStep(s.State) && !s.settled() })},
		{"the deadline for answers of a step means nothing", deaf(unanswered)},
		{"the deadline of a rollback means nothing", deaf(func(s Snapshot) bool { return s.State.Phase == RollingBack })},
		{"the deadline of giving the traffic back means nothing", deaf(func(s Snapshot) bool { return s.State.Phase == Finalising })},
		{"a deadline is put off again and again", after(func(s Snapshot, d *Decision) {
			if z := d.Next; z.Phase.OnTrial() && z.Phase == s.State.Phase && z.Phase != Frozen && !z.Halted && !z.Paused && z.Deadline.Sub(s.Now) < time.Minute {
				d.Next.Deadline = s.Now.Add(s.Spec.Deadline)
			}
		})},
		{"a step passes that the canary has not had its share of", before(func(s *Snapshot) { s.Answers = unshared(s.Answers) })},
		{"a share that is not the one wanted is told at each check", after(func(s Snapshot, d *Decision) {
			if r, odd := mismatched(d.Next.Results); odd && d.Next.Attempt != s.State.Attempt {
				d.Notices = []Notice{{Reason: ReasonRoutingMismatch, Severity: Warning, Message: r.Message}}
			}
		})},
		{"a share that is not the one wanted is never told", after(func(_ Snapshot, d *Decision) {
			d.Notices = slices.DeleteFunc(d.Notices, func(n Notice) bool { return n.Reason == ReasonRoutingMismatch })
		})},
		{"nobody is told that the primary does not come up", after(func(_ Snapshot, d *Decision) {
			if d.Next.Phase == Initializing && d.Next.Overdue {
				d.Next.Overdue, d.Notices = false, nil
			}
		})},
	}
}
