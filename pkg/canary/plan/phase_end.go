package plan

import (
	"fmt"
	"time"
)

// promote starts to bring the primary to the candidate; the canary goes on serving its share.
func promote(s Snapshot, d *Decision, why string) {
	z := &d.Next
	approved := z.Phase == WaitingPromotion
	d.enter(Promoting, s.Now)
	z.StepAt, z.Deadline, z.Halted = s.Now, s.Now.Add(s.Spec.Deadline), false
	d.because("%s: the primary is being brought to revision %s", why, z.Candidate)
	if approved { // a promotion that follows the last step at once is told when it is done; it is one transition for people
		d.notify(Notice{
			Reason: "Approved", Severity: Info, Alert: true, Revision: z.Candidate,
			Message: fmt.Sprintf("revision %s was approved: promoting it", z.Candidate),
		})
	}
	d.wakeAt(s.Now, z.Deadline)
}

// promoting waits for the primary. A primary that cannot come up is taken back by takenBack.
func promoting(s Snapshot, d *Decision) {
	z := &d.Next
	d.wakeAt(s.Now, s.deadline(*z))
	if !s.primaryReady(z.Candidate) {
		d.because("promoting revision %s", z.Candidate)
		d.wait("the primary: %s", s.Primary.explain(z.Candidate))
		preferReady(s, d)
		return
	}
	if s.standing() {
		d.because("promoting revision %s", z.Candidate)
		d.wait("the primary's Service: it is given back by the canary's pods")
		return
	}
	if s.Spec.PromotionStep > 0 && z.Split.Canary > s.Spec.PromotionStep && !z.Direct {
		d.enter(Finalising, s.Now)
		giveBack(s, d)
		d.notify(Notice{Reason: "Finalising", Severity: Info, Revision: z.Candidate, Message: d.Why})
		return
	}
	succeed(s, d)
}

// preferReady never leaves traffic at a side without a ready pod while the other has one. Both run what passed.
func preferReady(s Snapshot, d *Decision) {
	switch {
	case d.Next.Direct && s.Canary.Endpoints > 0:
	case s.Primary.Endpoints == 0 && s.Canary.Endpoints > 0 && s.Canary.Revision == s.State.Candidate:
		d.Next.Split = ToCanary(100)
	case s.Canary.Endpoints == 0 && s.Primary.Endpoints > 0:
		withdraw(s, d)
	}
}

// finalise gives the traffic back to the promoted primary in steps.
func finalise(s Snapshot, d *Decision) {
	z := &d.Next
	d.because("giving the traffic back to the primary")
	d.wakeAt(s.Now, s.deadline(*z))
	switch {
	case s.Canary.Endpoints == 0 && s.Primary.Endpoints > 0:
		succeed(s, d)
	case !s.primaryReady(z.Candidate):
		if s.expired(*z) {
			rollback(s, d, Failed, fmt.Sprintf("the primary was not ready before the deadline: %s", s.Primary.explain(z.Candidate)), nil)
			return
		}
		d.wait("the primary: %s", s.Primary.explain(z.Candidate))
		preferReady(s, d)
	case s.expired(*z):
		succeed(s, d)
	case !s.checkDue():
		d.wakeAt(s.Now, z.CheckAt)
	case z.Split.Canary > s.Spec.PromotionStep && s.Spec.PromotionStep > 0:
		giveBack(s, d)
	default:
		succeed(s, d)
	}
}

func giveBack(s Snapshot, d *Decision) {
	z := &d.Next
	z.Split = ToCanary(z.Split.Canary - s.Spec.PromotionStep)
	z.StepAt, z.Interval, z.EffectiveAt, z.CheckAt = s.Now, s.Spec.Interval, time.Time{}, s.Now.Add(Settle+s.Spec.Interval)
	z.Deadline = z.CheckAt.Add(s.Spec.Deadline)
	d.because("giving the traffic back to the primary: %d%% left at the canary", z.Split.Canary)
	d.wakeAt(s.Now, z.StepAt.Add(Settle))
}

// succeed ends a rollout well: both sides run the same revision now, so that moving the traffic back cannot fail anybody.
func succeed(s Snapshot, d *Decision) {
	z := &d.Next
	d.enter(Succeeded, s.Now)
	if z.Candidate != z.Stable { // what was taken back does not count: a person who goes back means what served before this
		z.Previous = z.Stable
	}
	z.Stable = z.Candidate
	if !z.Direct {
		z.Step, z.Rejected, z.Cause = len(s.Spec.Steps), "", ""
	}
	z.Halted, z.Overdue, z.Paused, z.PausedUntil = false, false, false, time.Time{}
	z.CheckAt, z.Deadline = time.Time{}, time.Time{}
	withdraw(s, d)
	if s.Spec.Bake > 0 && !z.Direct && !s.Spec.SkipAnalysis && z.Previous != z.Stable {
		startBake(s, d)
	}
	d.because("%s", serving(*z))
	d.notify(Notice{
		Reason: "Promoted", Severity: Info, Alert: true, Revision: z.Stable,
		Message: fmt.Sprintf("promotion completed: the primary serves revision %s", z.Stable),
	})
	d.wakeAt(s.Now, z.DrainUntil)
}

// unwanted ends a rollout that a rollback hook or the target itself takes back; it returns true if it did. Not even a request of a
// person comes before that.
func unwanted(s Snapshot, d *Decision) bool {
	z := &d.Next
	if !z.Phase.OnTrial() && z.Phase != Waiting {
		return false
	}
	if r, ok := s.rollbackAsked(); ok {
		rollback(s, d, Failed, askedFor(r), &r)
		return true
	}
	if len(s.Spec.hooks(RollbackHook)) > 0 {
		d.wake(s.untilTick(z.StartedAt))
	}
	if z.Phase == Finalising {
		return false
	}
	if why := s.pointless(*z); why != "" {
		rollback(s, d, Cancelled, why, nil)
		return true
	}
	return false
}

// takenBack ends or restarts the rollout if something else demands it; it returns true if it did.
func takenBack(s Snapshot, d *Decision) bool {
	z := &d.Next
	if !z.Phase.OnTrial() && z.Phase != Waiting || z.Phase == Finalising {
		return false
	}
	if why := s.spent(*z); why != "" {
		giveUp(s, d, why, nil)
		return true
	}
	if why := s.hopeless(); why != "" {
		rollback(s, d, Failed, why, nil)
		return true
	}
	if z.Phase == Promoting {
		return false
	}
	if s.superseded(*z) {
		supersede(s, d)
		return true
	}
	return lostPods(s, d)
}

// supersede starts the newer revision in the place of the one on trial, or, while the spec cannot be used, only takes that back.
func supersede(s Snapshot, d *Decision) {
	if s.Spec.Invalid != "" {
		rollback(s, d, Cancelled, fmt.Sprintf("revision %s takes its place as soon as the spec can be used", s.Target.Revision), nil)
		return
	}
	if s.gathering() {
		complete(s, d)
		return
	}
	begin(s, d, s.Target.Revision)
	if d.Next.Phase == Waiting && s.Now.Before(s.partsUntil()) {
		postponeTelling(s, d)
	}
}

// pointless tells why nobody wants the rollout any more.
func (s Snapshot) pointless(z State) string {
	switch {
	case z.Direct:
	case s.Target.Found && s.Target.Revision == z.Stable:
		return fmt.Sprintf("the target returned to the promoted revision %s", z.Stable)
	case z.Replicas == 0 && z.Split == AllPrimary() && z.Phase != Promoting:
		return "the target was scaled to zero: nothing can be judged"
	}
	return ""
}

// spent tells why no more checks may fail: an edit may have lowered the threshold.
func (s Snapshot) spent(z State) string {
	if z.Phase == Promoting || z.Phase == Frozen || z.Forced || z.FailedChecks == 0 || z.FailedChecks < s.Spec.Threshold {
		return ""
	}
	return fmt.Sprintf("%d failed checks reach the threshold of %d", z.FailedChecks, s.Spec.Threshold)
}

// superseded tells that a newer revision takes the rollout's place. It waits while the canary is all that serves, and
// while the target is paused.
func (s Snapshot) superseded(z State) bool {
	return s.Target.Found && !s.Target.Paused && s.Target.Revision != z.Candidate && (z.Split == AllPrimary() || s.mayLeaveCanary(z))
}

// rollbackAsked returns the rollback hook that agreed, if one did.
func (s Snapshot) rollbackAsked() (Result, bool) {
	o := s.verdict(rollbackQuestions(s))
	return o.first(Pass)
}

// hopeless tells why waiting longer makes no sense.
func (s Snapshot) hopeless() string {
	z := s.State
	switch {
	case z.Phase == Promoting && s.Primary.gaveUp(z.Candidate):
		return fmt.Sprintf("the primary did not become ready: %s", s.Primary.explain(z.Candidate))
	case z.Phase != Promoting && s.Canary.gaveUp(z.Candidate):
		return fmt.Sprintf("the canary did not become ready: %s", s.Canary.explain(z.Candidate))
	case !s.expired(z):
		return ""
	case z.Phase == Frozen:
		return "nobody decided before the deadline: " + z.Cause
	case z.Paused:
		return "nobody resumed the rollout before the deadline"
	case z.Phase == Waiting, z.Halted:
		return "the gate did not agree before its deadline"
	case z.Phase == Promoting:
		return fmt.Sprintf("the primary was not ready before the deadline: %s", s.Primary.explain(z.Candidate))
	}
	return s.overdue()
}

// overdue tells what was waited for until the deadline, where nobody was asked to decide.
func (s Snapshot) overdue() string {
	z := s.State
	switch {
	case s.Spec.Invalid != "":
		return "the spec could not be used until the deadline: " + s.Spec.Invalid
	case !s.canaryReady():
		return fmt.Sprintf("the canary was not ready before the deadline: %s", s.Canary.explain(z.Candidate))
	case !s.settled():
		return fmt.Sprintf("the route was not confirmed before the deadline: %s", s.routeMessage())
	case z.judging() && s.Now.Before(s.checkAt(z)):
		return "the route was not confirmed long enough at a time for a check before the deadline: something changes it again and again"
	}
	if why := s.unsure(); why != "" {
		return "it was not known before the deadline what the router can do: " + why
	}
	for _, r := range z.Results {
		if r.Verdict == Inconclusive {
			return fmt.Sprintf("no verdict before the deadline: %s", describe(r))
		}
	}
	return "no verdict before the deadline: answers are missing, or the canary was not ready when they came"
}

// lostPods takes the traffic away from a canary without a ready pod: it counts as a failed check, and the steps start anew.
func lostPods(s Snapshot, d *Decision) bool {
	z := &d.Next
	if !z.Split.Reaches() || s.Canary.Endpoints > 0 {
		return false
	}
	r := lost("canary pods", s.Canary.explain(z.Candidate))
	z.Results = []Result{r}
	if z.Phase == Frozen {
		rollback(s, d, Failed, describe(r), &r)
		return true
	}
	fail(s, d, r)
	if z.Phase == RollingBack {
		return true
	}
	withdraw(s, d)
	d.enter(Progressing, s.Now)
	z.Step, z.StepAt, z.Interval, z.Halted, z.PausedUntil, z.Passed = 0, s.Now, 0, false, time.Time{}, unpaused(z.Passed)
	z.Restarts++
	if !z.Paused { // a person was told until when a pause may last
		z.Deadline = s.Now.Add(s.Spec.Deadline)
	}
	return true
}

// rollback starts to take the candidate back, and ends it at once if it has no traffic.
func rollback(s Snapshot, d *Decision, outcome Phase, cause string, r *Result) {
	z := &d.Next
	z.Reverting = z.Phase == Promoting || z.Phase == Finalising || z.Phase == Baking
	if z.Phase == Baking {
		z.Stable, z.Floor = z.Previous, s.floor()
	}
	d.enter(RollingBack, s.Now)
	z.Outcome, z.Cause = outcome, cause
	z.StepAt, z.Deadline = s.Now, s.Now.Add(s.Spec.Deadline)
	z.Halted, z.Overdue, z.Paused, z.PausedUntil, z.BakeUntil = false, false, false, time.Time{}, time.Time{}
	d.WaitingFor = nil
	n := Notice{
		Reason: "RollingBack", Severity: Error, Alert: true, Revision: z.Candidate, Result: r,
		Message: fmt.Sprintf("rolling back revision %s: %s", z.Candidate, cause),
	}
	if outcome == Cancelled {
		n.Reason, n.Severity = "Cancelled", Info
		n.Message = fmt.Sprintf("rollout of revision %s cancelled: %s", z.Candidate, cause)
	}
	d.because("%s", n.Message)
	d.notify(n)
	d.wakeAt(s.Now, z.Deadline)
	leaveCanary(s, d)
}

// rollBack goes on until the primary has all the traffic.
func rollBack(s Snapshot, d *Decision) {
	z := &d.Next
	d.because("rolling back revision %s: %s", z.Candidate, z.Cause)
	d.wakeAt(s.Now, s.deadline(*z))
	leaveCanary(s, d)
	if z.Reverting && z.Split != AllPrimary() {
		preferReady(s, d)
	}
	late := s.expired(*z)
	switch {
	case z.Split != AllPrimary() && !late:
		d.wait("the primary: %s", s.Primary.explain(z.Stable))
	case z.Split == AllPrimary() && z.Split == s.State.Split && s.settled() && s.reverted() && !s.standing():
		end(s, d, "")
	case late && s.settled():
		end(s, d, fmt.Sprintf(" (not ready: %s)", s.Primary.explain(z.Stable)))
	case late:
		end(s, d, fmt.Sprintf(" (not confirmed: %s; the canary keeps running until it is)", s.routeMessage()))
	case !s.reverted():
		d.wait("the primary: %s", s.Primary.explain(z.Stable))
	default:
		d.wait("the route: %s", s.routeMessage())
	}
}

// reverted tells that a primary whose promotion was taken back runs the stable revision again.
func (s Snapshot) reverted() bool {
	return !s.State.Reverting || s.primaryReady(s.State.Stable)
}

// leaveCanary moves the traffic to the primary, unless only the canary could serve it.
func leaveCanary(s Snapshot, d *Decision) {
	if s.mayLeaveCanary(d.Next) {
		withdraw(s, d)
	}
}

// mayLeaveCanary tells whether the primary can take all the traffic, or nothing is lost if it cannot. A primary that was being
// promoted must be back on the stable revision first.
func (s Snapshot) mayLeaveCanary(z State) bool {
	back := s.Primary.Endpoints > 0 || z.Replicas == 0
	if z.Reverting {
		back = s.primaryReady(z.Stable)
	}
	return back || s.Canary.Endpoints == 0
}

// end of a rollout that was taken back or cancelled.
func end(s Snapshot, d *Decision, remark string) {
	z := &d.Next
	outcome := z.Outcome
	if outcome == "" {
		outcome = Failed
	}
	d.enter(outcome, s.Now)
	z.DrainUntil = s.Now.Add(Settle + s.Spec.Drain)
	z.Reverting = z.Reverting && z.Split != AllPrimary()
	if outcome == Failed && (!z.Direct || s.Target.Found && s.Target.Revision == z.Candidate) {
		z.Rejected = z.Candidate
	}
	d.because("revision %s was taken back: %s%s", z.Candidate, z.Cause, remark)
	if z.Split == AllPrimary() {
		z.CheckAt, z.Deadline = time.Time{}, time.Time{}
	}
	n := Notice{
		Reason: "RolledBack", Severity: Warning, Alert: true, Revision: z.Candidate,
		Message: fmt.Sprintf("rollback completed: the primary serves revision %s%s; commit a fix or revert", z.Stable, remark),
	}
	if outcome == Cancelled {
		n.Reason, n.Severity, n.Alert = "RolloutCancelled", Info, false
		n.Message = fmt.Sprintf("the primary serves revision %s%s", z.Stable, remark)
	}
	switch {
	case z.Split == AllPrimary() && s.State.Reverting && !s.reverted():
		n.Severity, n.Alert = Error, true
		n.Message = fmt.Sprintf("the primary could not be brought back to revision %s before the deadline (%s); repair it, or commit a fix",
			z.Stable, s.Primary.explain(z.Stable))
	case z.Split != AllPrimary():
		n.Severity, n.Alert = Error, true
		n.Message = fmt.Sprintf("revision %s goes on serving %s: the primary cannot take the traffic (%s); repair it, or fix the target and annotate "+
			"siskin.dev/request=promote@<token>", z.Candidate, share(z.Split), s.Primary.explain(z.Stable))
	}
	d.notify(n)
	d.wakeAt(s.Now, z.DrainUntil)
}
