package plan

import (
	"reflect"
	"slices"
	"time"
)

// ledger is what the world itself remembers, to hold the decisions against.
type ledger struct {
	// primaryMay run these revisions: deployed first, or passed every step.
	primaryMay map[string]bool
	// instance of a step: when it was stored, and the smallest interval that the spec asked for since.
	stepStored time.Time
	interval   time.Duration
	// checked weights of the rollout.
	checked     map[int32]bool
	rollout     int64
	edited      bool // the steps were edited in this rollout
	drainEdited bool
}

func newLedger() ledger { return ledger{primaryMay: map[string]bool{}, checked: map[int32]bool{}} }

// slack is by how much a step may look shorter because looking takes time.
func (w *simulation) slack() time.Duration { return w.cfg.latency + w.cfg.passTime }

// learn brings the ledger up to date after a decision was stored.
func (w *simulation) learn(s Snapshot, d Decision) {
	l := &w.ledger
	if d.Next.Rollout != l.rollout {
		l.rollout, l.edited = d.Next.Rollout, false
		clear(l.checked)
	}
	if (s.State.Phase == "" || s.State.Phase == Initializing) && s.Target.Found {
		l.primaryMay[s.Target.Revision] = true
	}
	if d.Next.Phase == Promoting && s.State.Phase != Promoting {
		l.primaryMay[d.Next.Candidate] = true
	}
	if d.Next.Phase == RollingBack && d.Next.Candidate != d.Next.Stable {
		delete(l.primaryMay, d.Next.Candidate)
	}
	if !d.Next.StepAt.Equal(s.State.StepAt) || d.Next.Step != s.State.Step {
		l.stepStored, l.interval = w.now, time.Hour*1000
	}
	l.noteInterval(s.Spec)
}

func (l *ledger) noteInterval(z Spec) {
	l.interval = min(l.interval, z.Interval)
	for _, step := range z.Steps {
		l.interval = min(l.interval, step.Interval)
	}
}

// check holds a decision against the invariants of the design.
func (w *simulation) check(s Snapshot, d Decision) {
	if s.Spec.Suspend && !s.Deleting {
		if len(d.Effects)+len(d.Notices) > 0 || !sameState(s.State, d.Next) {
			w.violated("13: suspended, but %d effects, %d notices, %s -> %s", len(d.Effects), len(d.Notices), s.State.Phase, d.Next.Phase)
		}
		return
	}
	if w.cfg.deep {
		w.checkTwice(s, d)
	}
	w.checkNotices(s, d)
	w.checkWake(s, d)
	if s.Deleting {
		w.checkDeletion(s, d)
		return
	}
	w.checkRollback(s, d)
	w.checkSplit(s, d)
	w.checkJudgement(s, d)
	w.checkPromotion(s, d)
	for i, e := range d.Effects {
		w.checkEffect(s, d, i, e)
	}
}

// checkTwice: the same again is the same, and what was stored is not told again.
func (w *simulation) checkTwice(s Snapshot, d Decision) {
	before := s
	before.State.Passed = slices.Clone(s.State.Passed)
	if again := w.decide(s); !reflect.DeepEqual(d, again) {
		w.violated("15: two decisions from one snapshot differ")
	}
	if !sameState(before.State, s.State) {
		w.violated("15: the snapshot was changed")
	}
	then := s
	then.State, then.Route = d.Next, w.observeRoute(d.Next.Split)
	for range 6 {
		next := w.decide(then)
		w.checkNotices(then, next)
		if sameState(next.Next, then.State) {
			if sameState(d.Next, then.State) && s.Route.Confirmed == then.Route.Confirmed && !reflect.DeepEqual(next.Effects, d.Effects) {
				w.violated("15: repeated effects differ: %s, then %s", describeEffects(d.Effects), describeEffects(next.Effects))
			}
			return
		}
		then.State, then.Route = next.Next, w.observeRoute(next.Next.Split)
	}
	w.violated("8: no fixpoint at one instant")
}

// checkNotices: one for each transition, none without.
func (w *simulation) checkNotices(s Snapshot, d Decision) {
	want := 0
	a, b := s.State, d.Next
	switch {
	case a.Phase == Progressing && b.Phase == Promoting: // with the last step's check passed: told when it is done
	case a.Phase != b.Phase && b.Phase != Initializing,
		a.Rollout != b.Rollout,
		a.Step != b.Step && b.Phase != Succeeded,
		a.FailedChecks < b.FailedChecks,
		!a.Halted && b.Halted,
		!a.Overdue && b.Overdue,
		a.StepAt != b.StepAt && b.Phase == Progressing && b.Step > 0,
		newlyUnclear(s, b):
		want = 1
	}
	if a.Phase.Idle() {
		for _, q := range s.endQuestions() {
			if v, ok := s.Answers[q.Key]; ok && v.Verdict != Pass {
				want++
			}
		}
	}
	if len(d.Notices) != want {
		w.violated("14: %d notices instead of %d at %s -> %s: %v", len(d.Notices), want, a.Phase, b.Phase, d.Notices)
	}
	for _, n := range d.Notices {
		if n.Reason == "" || n.Severity == "" || n.Message == "" {
			w.violated("14: a notice lacks something: %+v", n)
		}
	}
}

// newlyUnclear tells whether a check held the step for a reason that the one before did not have.
func newlyUnclear(s Snapshot, b State) bool {
	a := s.State
	done := func(r Result) bool {
		return r.Verdict != Inconclusive || s.Spec.NoData == PolicyPass && a.Step > 0 && !r.Invalid
	}
	if b.FailedChecks > a.FailedChecks || a.Attempt == b.Attempt || !slices.ContainsFunc(b.Results, func(r Result) bool { return !done(r) }) {
		return false
	}
	unclear := func(z State) string {
		for _, r := range z.Results {
			if r.Verdict == Inconclusive {
				return r.Name
			}
		}
		return ""
	}
	return unclear(b) != "" && unclear(a) != unclear(b)
}

// checkWake: what is not idle looks again by itself.
func (w *simulation) checkWake(s Snapshot, d Decision) {
	z := d.Next
	switch {
	case d.Wake < 0:
		w.violated("8: wakes %v ago", -d.Wake)
	case z.Phase.Idle(), d.Wake > 0, z.Overdue, !s.Target.Found && (z.Phase == Initializing || z.Phase == Terminating):
	case z.Phase == Terminating && finishes(d):
	default:
		w.violated("8: %s waits without an end", z.Phase)
	}
}

func finishes(d Decision) bool { return slices.Contains(d.Effects, Effect(Finish{})) }

// checkRollback: what takes a version back comes first, whatever else is wrong.
func (w *simulation) checkRollback(s Snapshot, d Decision) {
	a, b := s.State, d.Next
	trial := a.Phase.OnTrial() || a.Phase == Waiting
	if !trial {
		return
	}
	for _, q := range rollbackQuestions(s) {
		if s.Answers[q.Key].Verdict == Pass && (b.Phase != RollingBack || b.Outcome != Failed) {
			w.violated("4: a rollback hook agreed, but %s -> %s", a.Phase, b.Phase)
		}
		if s.Answers[q.Key].Verdict == Pass {
			return
		}
	}
	judged := b.Phase == Progressing || b.Phase == WaitingPromotion
	if judged && b.FailedChecks > 0 && b.FailedChecks >= s.Spec.Threshold {
		w.violated("4: %d failed checks of %d, but still %s", b.FailedChecks, s.Spec.Threshold, b.Phase)
	}
	if a.Phase != Finalising && s.Target.Found && s.Target.Revision == a.Stable && (b.Phase != RollingBack || b.Outcome != Cancelled) {
		w.violated("12: back at the promoted revision, but %s -> %s", a.Phase, b.Phase)
	}
	if b.Phase == RollingBack && len(d.Notices) == 1 && d.Notices[0].Reason == "RollingBack" && b.Cause == "" {
		w.violated("14: a rollback without a cause")
	}
}

// checkSplit: traffic goes only to who can take it, and only when it may.
func (w *simulation) checkSplit(s Snapshot, d Decision) {
	a, b := s.State.Split, d.Next.Split
	if b.Primary < 0 || b.Canary < 0 || b.Primary+b.Canary != 100 {
		w.violated("1: split %v", b)
	}
	switch {
	case s.State.Phase == "" || a == b:
	case b.Canary > a.Canary:
		w.checkRaise(s, d)
	case s.Primary.Endpoints == 0 && s.Canary.Endpoints > 0 && d.Next.Replicas > 0 && !mayGiveUp(s, d):
		w.violated("5: traffic goes to a primary without pods while the canary serves (%s -> %s)", s.State.Phase, d.Next.Phase)
	case s.State.Reverting && s.Canary.Endpoints > 0 && !s.Primary.Ready(s.State.Stable, s.Spec.PrimaryReady):
		w.violated("7: the canary stops serving before the primary is back")
	}
	if d.Next.Phase == RollingBack && d.Next.Reverting && b.Primary > a.Primary && s.Canary.Endpoints > 0 &&
		!s.Primary.Ready(s.State.Stable, s.Spec.PrimaryReady) {
		w.violated("7: traffic goes to a primary that is not back yet")
	}
}

// mayGiveUp: a canary that failed and carries only a share gives way to the rollout that may fix everything (invariant 6).
func mayGiveUp(s Snapshot, d Decision) bool {
	return s.State.Phase.Idle() && d.Next.Rollout > s.State.Rollout && s.State.Split.Canary < 100 && !s.State.Reverting
}

func (w *simulation) checkRaise(s Snapshot, d Decision) {
	z := d.Next
	if !w.canary.only(s.State.Candidate) || s.Canary.Endpoints == 0 {
		w.violated("1: %d%% go to a canary that does not run %s or has no endpoint", z.Split.Canary, s.State.Candidate)
	}
	switch z.Phase {
	case Promoting, Finalising, RollingBack:
		if s.Primary.Endpoints > 0 {
			w.violated("1: the canary gets more in %s though the primary serves", z.Phase)
		}
		return
	case Progressing:
	default:
		w.violated("1: the canary gets more in %s", z.Phase)
	}
	if !s.Canary.Ready(s.State.Candidate, s.Spec.CanaryReady) {
		w.violated("1: %d%% go to a canary that is not ready", z.Split.Canary)
	}
	if n := s.Spec.next(s.State); n == 0 || s.Spec.Steps[n-1].Weight != z.Split.Canary {
		w.violated("1: from %d to %d%% is not one step", s.State.Split.Canary, z.Split.Canary)
	}
	for _, h := range s.Spec.hooks(PreRollout) {
		if w.hooks.passed[string(h.Type)+"/"+h.Name] != s.State.Rollout {
			w.violated("1: traffic before pre-rollout hook %s passed", h.Name)
		}
	}
	w.checkGates(s, ConfirmTrafficIncrease, s.increaseGates(), w.ledger.stepStored)
}

// checkGates: each gate agreed, and was asked for this very step.
func (w *simulation) checkGates(s Snapshot, t HookType, qs []Question, since time.Time) {
	if len(qs) != len(s.Spec.hooks(t)) {
		w.violated("2: only %d gates are asked", len(qs))
	}
	for _, q := range qs {
		if s.Answers[q.Key].Verdict != Pass || w.hooks.asked[q.Key].Before(since) {
			w.violated("2: gate %s did not agree to this step (asked %v, step of %v)", q.Name, clock(w.hooks.asked[q.Key]), clock(since))
		}
	}
}

func sameState(a, b State) bool {
	if !slices.Equal(a.Passed, b.Passed) || !slices.Equal(a.Results, b.Results) {
		return false
	}
	a.Passed, a.Results, b.Passed, b.Results = nil, nil, nil, nil
	return reflect.DeepEqual(a, b)
}
