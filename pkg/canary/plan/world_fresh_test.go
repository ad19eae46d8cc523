package plan

import "time"

// The laws of how old an answer may be.

// answering is by how much an answer may be older because checks and then gates took their time to answer.
const answering = 20 * time.Second

// checkFresh: no step forward on an answer to a question that was asked more than an interval before.
func (w *simulation) checkFresh(s Snapshot, q Question) {
	if old := w.now.Sub(w.hooks.asked[q.Key]); old > s.interval(s.State)+answering && !w.hooks.muted.After(w.hooks.asked[q.Key]) {
		w.violated("3: step %d ends on an answer of %s %s to what was asked %v ago", s.State.Step, q.Kind, q.Name, old)
	}
}

// checkWatched: while users see the canary, the last check is no older than an interval, unless what it needs is missing.
func (w *simulation) checkWatched(s Snapshot) {
	l := &w.ledger
	if asked := w.lastCheck(s); asked.After(l.judgedAt) {
		l.judgedAt = asked
	}
	if !w.mayJudge(s) {
		// A check that is due stays due when it is: an edit that shortens the interval changes only what comes after it, and a controller
		// that starts meanwhile goes by the clock that is stored.
		l.judgedAt, l.allowed = w.now, l.clocked
		l.allowed = max(l.allowed, longest(s.Spec))
		return
	}
	if old := w.now.Sub(l.judgedAt); old > Settle+l.allowed+Recheck+answering {
		w.violated("4: users see revision %s, which was last judged %v ago (interval %v)", s.State.Candidate, old, s.interval(s.State))
	}
}

// mayJudge tells whether a rollout is judged: its step has begun and is carried out, and nobody keeps it from being judged.
func (w *simulation) mayJudge(s Snapshot) bool {
	z := s.State
	judged := (z.Phase == Progressing || z.Phase == WaitingPromotion) && z.Step > 0 && !z.Forced
	answered := !w.hooks.mute && w.forever != noAnswers
	carriedOut := s.settled() && !z.Late && !s.unseen(z, z.StepAt)
	before := w.ledger.judgedAt
	return judged && answered && carriedOut && s.Spec.Invalid == "" && w.ctl.since.Before(before) && z.StepAt.Before(before) && len(s.checks()) > 0
}

// lastCheck is when the questions of the present check were asked, if they were.
func (w *simulation) lastCheck(s Snapshot) time.Time {
	var last time.Time
	for _, q := range s.checks() {
		if at := w.hooks.asked[q.Key]; at.After(last) {
			last = at
		}
	}
	return last
}
