package plan

import (
	"reflect"
	"slices"
	"strings"
	"time"
	"unsafe"
)

// ledger is what the world itself remembers, to hold the decisions against.
type ledger struct {
	// primaryMay run these revisions: deployed first, passed every step, or asked for by a person.
	primaryMay map[string]bool
	// instance of a step: when it was stored, the interval and the pause after it that it began with. No edit changes the
	// interval.
	stepStored time.Time
	interval   time.Duration
	pause      time.Duration
	// checked steps of the rollout, by index, since its steps began.
	checked     map[int]bool
	rollout     int64
	edited      bool // the steps were edited in this rollout
	drainEdited bool
	// answered requests, by value; resumed is when a person last ended a pause.
	answered map[string]int
	resumed  time.Time
	// taken tells that the target lost its traffic to the primary at some time.
	taken bool
	// refused is what failed or was gone back from: the target must change before it is released.
	refused string
	// judgedAt is when users who see the canary were last looked after: a check was asked, or could not be. allowed is how long that may
	// last.
	judgedAt time.Time
	allowed  time.Duration
	// clocked is the longest interval of the spec under which the time of the next check was stored.
	clocked time.Duration
	// bakeUntil is when the bake may end well.
	bakeUntil time.Time
}

func newLedger() ledger {
	return ledger{primaryMay: map[string]bool{}, checked: map[int]bool{}, answered: map[string]int{}}
}

// slack is by how much a step may look shorter because looking takes time.
func (w *simulation) slack() time.Duration { return w.cfg.latency + w.cfg.passTime }

// learn brings the ledger up to date after a decision was stored.
func (w *simulation) learn(s Snapshot, d Decision) {
	l := &w.ledger
	a, b := s.State, d.Next
	w.learnParts(a, b)
	if b.Rollout != l.rollout {
		l.rollout, l.edited = b.Rollout, false
		clear(l.checked)
	}
	if b.Step == 0 {
		clear(l.checked)
	}
	if (a.Phase == "" || a.Phase == Initializing) && s.Target.Found {
		l.primaryMay[s.Target.Revision] = true
	}
	if b.Phase == Promoting && a.Phase != Promoting {
		l.primaryMay[b.Candidate] = true
	}
	if b.Phase == RollingBack && b.Candidate != b.Stable {
		delete(l.primaryMay, b.Candidate)
	}
	if !b.StepAt.Equal(a.StepAt) || b.Step != a.Step {
		w.learnStep(s, d)
	}
	if b.Request != a.Request {
		l.answered[b.Request.Value]++
	}
	if verb, _, ok := accepted(s, d); ok && verb == Resume {
		l.resumed = w.now
	}
	switch at := s.Target.Revision; {
	case a.Phase == RollingBack && b.Phase == Failed && at == b.Candidate, b.Direct && b.Rollout != a.Rollout && at != b.Candidate:
		l.refused = at
	case at != l.refused || b.Rollout != a.Rollout:
		l.refused = ""
	}
	if !b.CheckAt.Equal(a.CheckAt) {
		l.clocked = longest(s.Spec)
	}
	if b.Phase == Baking && a.Phase != Baking {
		l.bakeUntil = w.now.Add(s.Spec.Bake)
	}
	l.allowed = max(l.allowed, longest(s.Spec))
}

// learnStep notes what a step, or a wait in it, begins with. What is frozen, resumed or forced goes on in the step that
// it is in.
func (w *simulation) learnStep(s Snapshot, d Decision) {
	l, a, b := &w.ledger, s.State, d.Next
	l.stepStored, l.pause = w.now, 0
	if b.Step == 0 || b.Step > len(s.Spec.Steps) {
		return
	}
	step := s.Spec.Steps[b.Step-1]
	l.pause = step.Pause
	if b.Phase == Progressing && a.Phase != Frozen && !b.Forced {
		l.interval = step.Interval
	}
}

// longest is the longest interval of a spec.
func longest(z Spec) time.Duration {
	most := z.Interval
	for _, step := range z.Steps {
		most = max(most, step.Interval)
	}
	return most
}

// check holds a decision against the invariants of the design.
func (w *simulation) check(s Snapshot, d Decision) {
	if s.Spec.Suspend && !s.Deleting {
		then := d.Next
		then.Untold = s.State.Untold // what was decided before may be told
		if len(d.Effects)+len(d.Notices) > 0 || !sameState(s.State, then) {
			w.violated("13: suspended, but %d effects, %d notices, %s -> %s", len(d.Effects), len(d.Notices), s.State.Phase, d.Next.Phase)
		}
		return
	}
	if w.cfg.deep {
		w.checkTwice(s, d)
	}
	w.checkNotices(s, d)
	w.checkUntold(s, d)
	w.checkWake(s, d)
	if s.Deleting {
		w.checkToldLate(s, d)
		w.checkDeletion(s, d)
		return
	}
	w.checkRequest(s, d)
	w.checkPausedTarget(s, d)
	w.checkRollback(s, d)
	w.checkLostPods(s, d)
	w.checkWaits(s, d)
	w.checkDeadline(s, d)
	w.checkDeadPrimary(s, d)
	w.checkSplit(s, d)
	w.checkDoubt(s, d)
	w.checkPrevious(s, d)
	w.checkJudgement(s, d)
	w.checkShare(s, d)
	w.checkWatched(s)
	w.checkPromotion(s, d)
	w.checkBake(s, d)
	w.checkUnusable(s, d)
	w.checkFloor(s, d)
	w.checkParts(d)
	w.checkFirstPart(s, d)
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
	store := func(z State) {
		then.State, then.Route = z, w.observeRoute(z.Split)
		then.Unsettled, then.Settled = w.remembered(then.Route, z.Split)
	}
	store(d.Next)
	for range 6 {
		next := w.decide(then)
		w.checkNotices(then, next)
		if sameState(next.Next, then.State) {
			if sameState(d.Next, then.State) && s.Route.Confirmed == then.Route.Confirmed && !reflect.DeepEqual(next.Effects, d.Effects) {
				w.violated("15: repeated effects differ: %s, then %s", describeEffects(d.Effects), describeEffects(next.Effects))
			}
			return
		}
		store(next.Next)
	}
	w.violated("8: no fixpoint at one instant")
}

// checkNotices: one for each transition, none without.
func (w *simulation) checkNotices(s Snapshot, d Decision) {
	want := 0
	a, b := s.State, d.Next
	answered := b.Request != a.Request
	switch {
	case answered && b.Request.Accepted: // one for the request and what it led to
	case b.approvalUntold(): // told when all of its change is there
	case a.approvalUntold() && b.Phase == Waiting:
		want = 1
	case a.Phase == Progressing && b.Phase == Promoting: // with the last step's check passed: told when it is done
	case a.Phase != b.Phase && b.Phase != Initializing,
		a.Rollout != b.Rollout,
		a.Step != b.Step && b.Phase != Succeeded,
		a.FailedChecks < b.FailedChecks,
		!a.Halted && b.Halted,
		!a.Paused && b.Paused,
		a.PausedUntil.IsZero() && !b.PausedUntil.IsZero(),
		!a.Overdue && b.Overdue,
		a.StepAt != b.StepAt && b.Phase == Progressing && b.Step > 0,
		newlyUnclear(s, b), newlyAstray(a, b):
		want = 1
	}
	if answered {
		want++
	}
	if obeyed := answered && b.Request.Accepted; a.Phase.Idle() && !obeyed {
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
	if b.Phase == Baking || b.FailedChecks > a.FailedChecks || a.Attempt == b.Attempt ||
		!slices.ContainsFunc(b.Results, func(r Result) bool { return !done(r) }) {
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

// newlyAstray tells whether a step that goes on all the same has not had its share.
func newlyAstray(a, b State) bool {
	_, was := mismatched(a.Results)
	_, is := mismatched(b.Results)
	return is && !was && a.Attempt == b.Attempt && a.FailedChecks == b.FailedChecks
}

// checkWake: what is not idle looks again by itself.
func (w *simulation) checkWake(s Snapshot, d Decision) {
	z := d.Next
	switch {
	case d.Wake < 0:
		w.violated("8: wakes %v ago", -d.Wake)
	case d.Held == "TargetPaused": // to take the pause off is an event
	case d.Held != "" && d.Wake == 0:
		w.violated("8: %s is held, and nobody looks again", z.Phase)
	case z.Phase.Idle(), d.Wake > 0, z.Overdue, !s.Target.Found && (z.Phase == Initializing || z.Phase == Terminating):
	case z.Phase == Terminating && finishes(d):
	case z.Phase == Initializing && s.Spec.Invalid != "": // only an edit helps, which wakes
	default:
		w.violated("8: %s waits without an end", z.Phase)
	}
}

func finishes(d Decision) bool { return slices.Contains(d.Effects, Effect(Finish{})) }

// checkRollback: what takes a version back comes first, whatever else is wrong.
func (w *simulation) checkRollback(s Snapshot, d Decision) {
	a, b := s.State, d.Next
	if a.Phase != RollingBack && b.Phase == RollingBack && strings.HasPrefix(b.Cause, "rollback hook ") {
		w.checkAlarm(s)
	}
	if !a.Phase.OnTrial() && a.Phase != Waiting {
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
	if judged && !b.Forced && b.FailedChecks > 0 && b.FailedChecks >= s.Spec.Threshold {
		w.violated("4: %d failed checks of %d, but still %s", b.FailedChecks, s.Spec.Threshold, b.Phase)
	}
	if a.Phase != Finalising && !a.Direct && s.Target.Found && s.Target.Revision == a.Stable && (b.Phase != RollingBack || b.Outcome != Cancelled) {
		w.violated("12: back at the promoted revision, but %s -> %s", a.Phase, b.Phase)
	}
	if b.Phase == RollingBack && len(d.Notices) == 1 && d.Notices[0].Reason == "RollingBack" && b.Cause == "" {
		w.violated("14: a rollback without a cause")
	}
}

// checkAlarm: a rollback hook takes a version back by saying yes, and by nothing else.
func (w *simulation) checkAlarm(s Snapshot) {
	if !slices.ContainsFunc(rollbackQuestions(s), func(q Question) bool { return s.Answers[q.Key].Verdict == Pass }) {
		w.violated("4: taken back by a rollback hook that did not say yes")
	}
}

// checkLostPods: a canary without a ready pod keeps nothing that reaches it.
func (w *simulation) checkLostPods(s Snapshot, d Decision) {
	a, b := s.State, d.Next
	trial := a.Phase == Progressing || a.Phase == WaitingPromotion || a.Phase == Frozen
	if trial && a.Split.Reaches() && s.Canary.Endpoints == 0 && b.Split != AllPrimary() && b.Request == a.Request {
		w.violated("5: %v stays at a canary without a ready pod (%s -> %s)", b.Split, a.Phase, b.Phase)
	}
}

// checkSplit: traffic goes only to who can take it, and only when it may.
func (w *simulation) checkSplit(s Snapshot, d Decision) {
	a, b := s.State.Split, d.Next.Split
	if b.Primary < 0 || b.Canary < 0 || b.Primary+b.Canary != 100 || b.Mirror < 0 || b.Mirror > 100 {
		w.violated("1: split %v", b)
	}
	back := b.Canary < a.Canary || a.Audience && !b.Audience && b.Canary < 100
	unselected := a.Audience && !b.Audience && a.Canary == b.Canary && !s.Spec.selects() // by an edit: no route could say who is meant
	if b.Audience && !s.Spec.selects() && s.Spec.Invalid == "" && s.State.Phase == d.Next.Phase && s.State.Request == d.Next.Request {
		w.violated("11: %v stays, but nothing selects requests any more: no route can say that", b)
	}
	switch {
	case s.State.Phase == "" || a == b || unselected:
	case b.exceeds(a):
		w.checkRaise(s, d)
	case back && s.Primary.Endpoints == 0 && s.Canary.Endpoints > 0 && s.replicas() > 0 && !mayGiveUp(s, d):
		w.violated("5: traffic goes to a primary without pods while the canary serves (%s -> %s)", s.State.Phase, d.Next.Phase)
	case back && s.State.Reverting && s.Canary.Endpoints > 0 && !serves(s, s.State.Stable):
		w.violated("7: the canary stops serving before the primary is back")
	}
	if !unselected && d.Next.Phase == RollingBack && d.Next.Reverting && back && s.Canary.Endpoints > 0 && !serves(s, d.Next.Stable) {
		w.violated("7: traffic goes to a primary that is not back yet")
	}
}

// serves tells whether the primary serves rev at its size; under an autoscaler that is the size that it had.
func serves(s Snapshot, rev string) bool {
	p := s.Primary
	if s.Scaler.OnPrimary && s.State.Floor > 0 {
		p.Replicas = min(p.Replicas, s.State.Floor)
	}
	return p.Ready(rev, s.Spec.PrimaryReady)
}

// mayGiveUp: a canary that failed and carries only a share gives way to the rollout that may fix everything (invariant 6).
func mayGiveUp(s Snapshot, d Decision) bool {
	return s.State.Phase.Idle() && d.Next.Rollout > s.State.Rollout && s.State.Split.Canary < 100 && !s.State.Reverting &&
		d.Next.Phase != Waiting && d.Next.Request == s.State.Request
}

// checkRaise: more reaches the canary, be it a share, the audience or copies.
func (w *simulation) checkRaise(s Snapshot, d Decision) {
	a, z := s.State, d.Next
	if !w.canary.only(a.Candidate) || s.Canary.Endpoints == 0 {
		w.violated("1: %v goes to a canary that does not run %s or has no endpoint", z.Split, a.Candidate)
	}
	switch z.Phase {
	case Promoting, Finalising, RollingBack:
		if s.Primary.Endpoints > 0 || z.Split != ToCanary(100) || z.Direct {
			w.violated("1: the canary gets more in %s though the primary serves, or it is not what passed", z.Phase)
		}
		return
	case Progressing:
	default:
		w.violated("1: the canary gets more in %s", z.Phase)
	}
	if a.Paused || a.Phase == Frozen || a.PausedUntil.After(w.now) {
		w.violated("8: the canary gets more while the rollout is paused or frozen")
	}
	if z.Forced {
		w.violated("1: a forced promotion gives the canary traffic")
	}
	if !s.Canary.Ready(a.Candidate, s.Spec.CanaryReady) && !s.Scaler.OnPrimary {
		w.violated("1: %v goes to a canary that is not ready", z.Split)
	}
	n := s.Spec.next(a)
	if n == 0 || s.Spec.Steps[n-1].split() != z.Split {
		w.violated("1: from %v to %v is not one step", a.Split, z.Split)
		return
	}
	for _, h := range s.Spec.hooks(PreRollout) {
		if w.hooks.passed[string(h.Type)+"/"+h.Name] != a.Rollout {
			w.violated("1: traffic before pre-rollout hook %s passed", h.Name)
		}
	}
	if z.Split.Canary > a.Split.Canary || z.Split.Audience && !a.Split.Audience {
		w.checkGates(s, ConfirmTrafficIncrease, s.increaseGates(), w.ledger.stepStored)
	}
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
	same := func(x, y Notice) bool { return x.Number == y.Number }
	if !slices.Equal(a.Passed, b.Passed) || !slices.Equal(a.Results, b.Results) || !slices.EqualFunc(a.Untold, b.Untold, same) {
		return false
	}
	a.Passed, a.Results, b.Passed, b.Results = nil, nil, nil, nil
	a.Untold, b.Untold = nil, nil
	type memory = [unsafe.Sizeof(State{})]byte
	if *(*memory)(unsafe.Pointer(&a)) == *(*memory)(unsafe.Pointer(&b)) { // mostly: a quarter of the time of a world is saved
		return true
	}
	return reflect.DeepEqual(a, b)
}
