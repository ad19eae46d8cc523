package plan

import (
	"fmt"
	"slices"
	"time"
)

// progress brings the canary up and then takes it step by step.
func progress(s Snapshot, d *Decision) {
	if s.State.Step > 0 && !s.State.Forced {
		check(s, d)
		return
	}
	z := &d.Next
	d.wakeAt(s.Now, s.deadline(*z))
	switch {
	case !s.canaryReady():
		d.because("starting the canary of revision %s", z.Candidate)
		d.wait("the canary: %s", s.Canary.explain(z.Candidate))
	case s.Services.Unfit:
		d.because("waiting for the canary's Service before revision %s gets traffic", z.Candidate)
		d.wait("the Service of the canary")
		d.wake(Settle)
	case !s.settled():
		d.because("waiting for the route before revision %s gets traffic", z.Candidate)
		d.wait("the route: %s", s.routeMessage())
		if s.Route.Rejected {
			d.Stalled = "RouteRejected"
		}
	case s.State.Forced:
		promote(s, d, "the promotion was asked for")
	case s.paused(d):
	case s.gathering() && s.partsThere(): // an apply ended sooner than it might have
		z.CheckAt, z.Deadline = s.Now, s.Now.Add(s.Spec.Deadline)
		d.because("revision %s is complete", z.Candidate)
		d.wake(time.Millisecond)
	case s.gathering():
		gather(s, d)
	case s.Spec.SkipAnalysis:
		promote(s, d, "analysis is skipped")
	case s.Now.Before(z.CheckAt):
		d.because("pre-rollout hooks are asked again")
		d.wakeAt(s.Now, z.CheckAt)
	default:
		prepare(s, d)
	}
}

// prepare asks the pre-rollout hooks and the first gate.
func prepare(s Snapshot, d *Decision) {
	z := &d.Next
	pre := s.preQuestions()
	o := s.verdict(pre)
	if r, failed := o.first(Fail); failed {
		z.Results = o.results
		fail(s, d, r)
		return
	}
	if len(o.pending) > 0 {
		d.because("pre-rollout hooks are being asked")
		d.wait("pre-rollout %s", join(o.pending))
		return
	}
	if _, unclear := o.unclear(); unclear { // traffic needs a yes, even if checks do without data
		inconclusive(s, d, o)
		return
	}
	d.pass(pre...)
	if g := s.verdict(s.increaseGates()); g.worst != Pass {
		halt(s, d, g, ConfirmTrafficIncrease)
		d.wake(s.untilTick(z.StepAt))
		return
	}
	step(s, d)
}

// step goes to the next one.
func step(s Snapshot, d *Decision) {
	z := &d.Next
	n := s.Spec.next(s.State)
	if n == 0 {
		promote(s, d, "all steps passed")
		return
	}
	if why := s.unsure(); why != "" { // before the first step; pre-rollout hooks that passed stay passed
		waitToKnow(d, z.Candidate, why)
		return
	}
	to := s.Spec.Steps[n-1]
	if z.TrafficAt.IsZero() {
		z.TrafficAt = s.Now
	}
	d.enter(Progressing, s.Now) // an edit may have added steps to one that waited for its promotion
	z.Step, z.Attempt, z.Split = n, z.Attempt+1, to.split()
	z.PausedUntil, z.Passed = time.Time{}, unpaused(z.Passed) // an edit may have given this number to another step before
	z.StepAt, z.EffectiveAt, z.Interval, z.CheckAt = s.Now, time.Time{}, to.Interval, s.Now.Add(Settle+to.Interval)
	z.Deadline = z.CheckAt.Add(s.Spec.Deadline)
	z.Halted = false
	d.because("step %d of %d: revision %s has %s", n, len(s.Spec.Steps), z.Candidate, share(z.Split))
	d.notify(Notice{
		Reason: "StepAdvanced", Severity: Info, Revision: z.Candidate,
		Message: fmt.Sprintf("step %d of %d: revision %s gets %s", n, len(s.Spec.Steps), z.Candidate, share(z.Split)),
	})
	d.wakeAt(s.Now, z.StepAt.Add(Settle))
}

// check judges the step when its time has come.
func check(s Snapshot, d *Decision) {
	z := &d.Next
	d.because("step %d of %d: revision %s has %s", z.Step, len(s.Spec.Steps), z.Candidate, share(z.Split))
	d.wakeAt(s.Now, s.checkAt(*z))
	d.wakeAt(s.Now, s.deadline(*z))
	if s.Route.Rejected {
		d.Stalled = "RouteRejected"
	}
	if !s.checkDue() {
		if z.Paused || s.Now.Before(z.PausedUntil) {
			sayPaused(d)
		}
		d.Still = z.Halted
		stillInvalid(s, d)
		stillAstray(s, d)
		return
	}
	o := s.judged()
	if r, failed := o.first(Fail); failed && !s.hearOut(o, d) {
		z.Results = o.results
		fail(s, d, r)
		return
	}
	if awaited := s.shareAwaited(); awaited || len(o.pending) > 0 {
		stillInvalid(s, d)
		stillAstray(s, d)
		if awaited {
			o.pending = append(o.pending, "the gateway")
			d.wakeAt(s.Now, s.checkAt(*z).Add(Patience))
		}
		d.wait("answers of %s", join(o.pending))
		return
	}
	if !s.agree(o) {
		inconclusive(s, d, o)
		return
	}
	if warn(s, d, o) {
		return
	}
	passed(s, d, o)
}

// hearOut tells whether the other answers of a failed check are worth a moment, so that people see all that was measured.
func (s Snapshot) hearOut(o outcome, d *Decision) bool {
	until := s.checkAt(s.State).Add(Patience)
	if len(o.pending) == 0 || !s.Now.Before(until) {
		return false
	}
	d.wakeAt(s.Now, until)
	return true
}

// stillInvalid says that a person must act until a check says otherwise, and not only in the moment of each check.
func stillInvalid(s Snapshot, d *Decision) {
	if slices.ContainsFunc(s.State.Results, func(r Result) bool { return r.Verdict == Inconclusive && r.Invalid }) {
		d.Stalled = "AnalysisInvalid"
	}
}

// passed goes on after a check that passed, as far as pods and gates let it.
func passed(s Snapshot, d *Decision, o outcome) {
	z := &d.Next
	if !s.canaryReady() { // what was answered now is old by the time when it is
		z.Results = o.results
		d.wait("the canary: %s", s.Canary.explain(z.Candidate))
		recheck(s, d)
		return
	}
	if s.paused(d) {
		z.Results = o.results
		z.Attempt, z.CheckAt = z.Attempt+1, s.nextPaused(*z)
		d.wakeAt(s.Now, z.CheckAt)
		return
	}
	if why := s.unsure(); why != "" {
		z.Results = o.results
		waitToKnow(d, z.Candidate, why)
		recheck(s, d)
		return
	}
	last := s.Spec.next(s.State) == 0
	qs, gate := s.increaseGates(), ConfirmTrafficIncrease
	if last {
		qs, gate = s.promotionGates(), ConfirmPromotion
	}
	g := s.verdict(qs)
	_, refused := g.first(Fail)
	switch {
	case g.worst == Pass:
		z.Results = o.results
		step(s, d)
	case !refused && len(g.pending) > 0:
		d.wait("%s %s", gate, join(g.pending))
	default:
		z.Results = o.results
		phase := Progressing
		if last {
			phase = WaitingPromotion
		}
		z.Halted = z.Halted && z.Phase == phase
		halt(s, d, g, gate)
		d.enter(phase, s.Now)
		z.Attempt, z.CheckAt = z.Attempt+1, s.Now.Add(s.interval(s.State))
		d.wakeAt(s.Now, z.CheckAt)
	}
}

// halt holds the step at a closed gate; it is told once, and the wait gets the gate's deadline.
func halt(s Snapshot, d *Decision, g outcome, t HookType) {
	z := &d.Next
	for _, p := range g.pending {
		d.wait("%s %s", t, p)
	}
	r, no := g.first(Fail)
	if !no {
		r, no = g.first(Inconclusive)
	}
	if !no {
		return
	}
	d.wait("%s %s: %s", t, r.Name, r.Message)
	d.because("gate %s holds revision %s at %d%%: %s", r.Name, z.Candidate, z.Split.Canary, r.Message)
	if z.Halted {
		return
	}
	z.Halted, z.Deadline = true, s.Now.Add(s.Spec.GateDeadline)
	d.notify(Notice{
		Reason: "WaitingForApproval", Severity: Warning, Alert: true, Revision: z.Candidate, Result: &r,
		Message: fmt.Sprintf("revision %s waits at %d%% for approval by %s (%s): %s", z.Candidate, z.Split.Canary, r.Name, t, r.Message),
	})
}

// inconclusive applies the policy for a check that says neither yes nor no.
func inconclusive(s Snapshot, d *Decision, o outcome) {
	d.Next.Results = o.results
	r, _ := o.unclear()
	if s.Spec.NoData == PolicyFail && !r.Invalid {
		fail(s, d, r)
		return
	}
	hold(s, d, r)
}

// hold repeats a check that said neither yes nor no, until the deadline.
func hold(s Snapshot, d *Decision, r Result) {
	z := &d.Next
	d.because("step %d holds: %s", z.Step, describe(r))
	d.wait("%s", describe(r))
	if r.Invalid {
		d.Stalled = "AnalysisInvalid"
	}
	reason := "CheckInconclusive"
	if r.Kind == string(AskShare) {
		reason = ReasonRoutingMismatch
		astray(d, r)
	}
	if !toldUnclear(s.State.Results, r) {
		d.notify(Notice{
			Reason: reason, Severity: Warning, Alert: reason == ReasonRoutingMismatch, Revision: z.Candidate, Result: &r,
			Message: fmt.Sprintf("step %d holds at %d%%: %s; rolled back at %s if that lasts", z.Step, z.Split.Canary, describe(r),
				s.deadline(*z).UTC().Format("15:04:05Z")),
		})
	}
	recheck(s, d)
}

// recheck asks everything anew soon, but not after the deadline: it is what is told then that counts.
func recheck(s Snapshot, d *Decision) {
	z := &d.Next
	next := s.Now.Add(min(s.interval(s.State), Recheck))
	if end := s.deadline(*z); s.Now.Before(end) && end.Before(next) {
		next = end
	}
	z.Attempt, z.CheckAt = z.Attempt+1, next
	d.wakeAt(s.Now, z.CheckAt)
}

// toldUnclear tells whether the same was already said after the check before.
func toldUnclear(before []Result, r Result) bool {
	for _, b := range before {
		if b.Name == r.Name && b.Verdict == Inconclusive {
			return true
		}
	}
	return false
}

// fail counts a failed check and rolls back at the threshold.
func fail(s Snapshot, d *Decision, r Result) {
	z := &d.Next
	z.FailedChecks++
	if z.FailedChecks >= s.Spec.Threshold {
		giveUp(s, d, describe(r), &r)
		return
	}
	z.Attempt, z.CheckAt = z.Attempt+1, s.Now.Add(s.interval(s.State))
	s.allow(z)
	d.because("check %d of at most %d failed: %s", z.FailedChecks, s.Spec.Threshold, describe(r))
	d.notify(Notice{
		Reason: "CheckFailed", Severity: Warning, Revision: z.Candidate, Result: &r,
		Message: fmt.Sprintf("check failed (%d of %d before rollback) at %d%%: %s", z.FailedChecks, s.Spec.Threshold, z.Split.Canary, describe(r)),
	})
	d.wakeAt(s.Now, z.CheckAt)
}
