package plan

import (
	"fmt"
	"slices"
	"time"
)

// initialize brings the primary up beside the target and moves the traffic to it. The target serves until then.
func initialize(s Snapshot, d *Decision) {
	z := &d.Next
	if !s.Target.Found {
		targetMissing(d)
		return
	}
	if z.Stable == "" && notWhole(s, d) {
		return
	}
	if rev := s.initial(*z); z.Stable != rev || z.Deadline.IsZero() {
		z.Stable, z.StepAt, z.Deadline, z.Overdue = rev, s.Now, s.Now.Add(s.Spec.Deadline), false
	}
	if s.Route.Rejected {
		d.Stalled = "RouteRejected"
	}
	switch {
	case !s.primaryReady(z.Stable), s.scaled() && s.Primary.Replicas != z.Replicas: // its autoscaler takes over what is there
		d.wait("the primary: %s", s.Primary.explain(z.Stable))
	case s.halfway(): // its pods come up while the rest is waited for
		waitForParts(s, d)
	case !s.Services.Complete || !s.Services.Serving:
		d.wait("the Services")
	case !s.settled():
		d.wait("the route: %s", s.routeMessage())
	default:
		d.enter(Initialized, s.Now)
		z.Deadline, z.Overdue = time.Time{}, false
		z.DrainUntil = s.Now.Add(Settle + s.Spec.Drain)
		d.because("the primary serves revision %s", z.Stable)
		d.notify(Notice{
			Reason: "Initialized", Severity: Info, Alert: true, Revision: z.Stable,
			Message: fmt.Sprintf("initialization completed: the primary serves revision %s; the target is now only a template%s", z.Stable, s.unfinished()),
		})
		return
	}
	d.because("initializing: %s", join(d.WaitingFor))
	overdue(s, d, "InitializationTimedOut", s.servesMeanwhile())
	d.wakeAt(s.Now, s.deadline(*z))
}

// notWhole waits while the target cannot become the first revision: nobody knows what the pods of a paused one run, and
// the half of an apply must not be it. It reports whether that is so.
func notWhole(s Snapshot, d *Decision) bool {
	z := &d.Next
	switch {
	case s.unrolled():
		targetPaused(d, "the primary begins with what the target serves, and not all of its pods run its pod template")
		return true
	case s.applying() && !s.left():
		waitForParts(s, d)
		d.because("initializing: %s", join(d.WaitingFor))
		if z.Deadline.IsZero() {
			z.StepAt, z.Deadline = s.Now, s.Now.Add(s.Spec.Deadline)
		}
		return true
	}
	return false
}

// servesMeanwhile says who serves while the primary is being made.
func (s Snapshot) servesMeanwhile() string {
	switch {
	case s.Target.Available > 0:
		return "the target goes on serving"
	case s.Services.Serving && s.Primary.Endpoints > 0:
		return "the primary goes on serving"
	}
	return "neither target nor primary has pods that could serve"
}

// initial is the revision that the primary begins with: the target's, which serves. Where an earlier Canary left everything in place the
// primary serves, with a revision that passed; the target's may be the one that did not, and is released like any other. If the primary
// has no pods that serve when the deadline passes, the target's may be what mends it; a gateway that does not answer is no reason.
func (s Snapshot) initial(z State) string {
	p := s.Primary
	if s.unrolled() && z.Stable != "" {
		return z.Stable
	}
	if p.Found && z.Stable == p.Revision && s.awaited() { // what the target has may be a half
		return z.Stable
	}
	if s.left() && (p.Endpoints > 0 || z.Stable == p.Revision && !z.Overdue) {
		return p.Revision
	}
	return s.Target.Revision
}

// left tells that an earlier Canary left everything in place: the primary serves, and the target has no pods.
func (s Snapshot) left() bool {
	p := s.Primary
	return p.Found && s.Services.Serving && s.Target.Available == 0 && slices.Contains(s.Kept, p.Revision)
}

// unrolled tells that the target is paused before it has rolled out what it says: its pods run something else, or
// nothing.
func (s Snapshot) unrolled() bool {
	t := s.Target
	return t.Paused && !t.Held && (t.Serving < t.Replicas || t.Old > 0)
}

// targetPaused holds what would begin, until the user takes the pause off the target.
func targetPaused(d *Decision, why string) {
	d.Held = "TargetPaused"
	d.because("%s: the target is paused (spec.paused), as with kubectl rollout pause; kubectl rollout resume lets it go on", why)
	d.wait("the target, which is paused")
}

// overdue tells once that a deadline passed where there is nothing to take back.
func overdue(s Snapshot, d *Decision, reason, comfort string) {
	z := &d.Next
	if !s.expired(*z) {
		return
	}
	d.Stalled = reason
	d.because("%s after the deadline; %s", d.Why, comfort)
	if !z.Overdue {
		z.Overdue = true
		d.notify(Notice{Reason: reason, Severity: Error, Alert: true, Revision: z.Stable, Message: d.Why})
	}
}

func targetMissing(d *Decision) {
	d.Stalled = "TargetNotFound"
	d.because("the target does not exist: create it, or correct spec.targetRef by re-creating the Canary")
}

// idle waits for a new revision.
func idle(s Snapshot, d *Decision) {
	z := &d.Next
	stranded(s, d)
	behind(s, d)
	told(s, d)
	rev := s.Target.Revision
	switch {
	case !s.Target.Found:
		targetMissing(d)
		d.Why += "; the primary goes on serving"
	case rev == z.Stable && z.Phase == Failed:
		z.Rejected = ""
		z.Step, z.FailedChecks, z.Results = 0, 0, nil
		d.enter(Initialized, s.Now)
		d.because("the target is back at the promoted revision %s", z.Stable)
		d.notify(Notice{
			Reason: "TargetReverted", Severity: Info, Revision: z.Stable,
			Message: fmt.Sprintf("the target is back at the promoted revision %s; nothing to release", z.Stable),
		})
	case rev == z.Stable:
		z.Rejected = "" // it may come again
		d.because("%s", serving(*z))
	case rev == z.Rejected:
		d.because("revision %s was taken back (%s): commit a fix, or revert to %s", rev, z.Cause, z.Stable)
	case z.Replicas == 0:
		d.because("revision %s waits until the target has replicas", rev)
	case s.Target.Paused:
		targetPaused(d, fmt.Sprintf("revision %s waits", rev))
	case s.onlyCanary(*z):
		d.because("revision %s waits until the primary serves again: the canary does now (%s); annotate siskin.dev/request=promote@<token> to bring it to the primary "+
			"without analysis", rev, z.Split)
	case s.Spec.Invalid != "":
		d.because("revision %s waits until the spec can be used: %s", rev, s.Spec.Invalid)
	case s.Spec.Unmeasurable != "":
		d.because("revision %s waits until its metrics can be asked: %s", rev, s.Spec.Unmeasurable)
	case s.Spec.Unchecked:
		d.because("revision %s waits until its metrics have been checked", rev)
		d.wait("the check of the metrics")
	case s.Spec.doubts() != "":
		waitToKnow(d, rev, s.Spec.doubts())
	case len(s.untold()) > 0:
		d.because("revision %s waits until the end of the rollout before is told to %s", rev, join(s.untold()))
		d.wait("post-rollout %s", join(s.untold()))
		d.wakeAt(s.Now, s.tellUntil())
	default:
		if why := s.early(d); why != "" {
			d.because("revision %s %s", rev, why)
			return
		}
		begin(s, d, rev)
	}
}

// onlyCanary tells that a new rollout would take the traffic from pods that serve to a primary that does not. A canary that failed and has
// only a share gives way to a fix, but not to one that would have to wait for its approval first.
func (s Snapshot) onlyCanary(z State) bool {
	if z.Split == AllPrimary() || s.mayLeaveCanary(z) {
		return false
	}
	return z.Split.Canary == 100 || z.Reverting || len(s.Spec.hooks(ConfirmRollout)) > 0
}

// untold are the post-rollout hooks that a new revision waits for: its rollout would leave nobody to tell them how the one before ended.
func (s Snapshot) untold() []string {
	if !s.Now.Before(s.tellUntil()) {
		return nil
	}
	return s.verdict(s.endQuestions()).pending
}

// tellUntil is when telling the end of a rollout holds nothing up any more.
func (s Snapshot) tellUntil() time.Time { return latest(s.State.Since, s.Since).Add(s.Spec.Deadline) }

// stranded is a rollout that ended while only the canary could serve: the traffic leaves it as soon as the primary is back.
func stranded(s Snapshot, d *Decision) {
	z := &d.Next
	if z.Split == AllPrimary() {
		return
	}
	leaveCanary(s, d)
	if z.Split == AllPrimary() {
		z.Reverting = false
		return
	}
	d.Stalled = "PrimaryNotReady"
	d.wait("the primary: %s", s.Primary.explain(z.Stable))
}

// behind shows that the primary, after a promotion that was taken back, still runs pods of the revision that was.
func behind(s Snapshot, d *Decision) {
	p, z := s.Primary, d.Next
	if z.Split != AllPrimary() || z.Phase != Failed && z.Phase != Cancelled || !p.Found || p.Replicas == 0 {
		return
	}
	if p.Revision != z.Stable || p.Current && p.Pods > p.Updated { // pods that are missing are not of it: somebody may be scaling
		d.Stalled = "PrimaryNotReady"
		d.wait("the primary: %s", p.explain(z.Stable))
	}
}

func serving(z State) string {
	if z.Phase == Cancelled {
		return fmt.Sprintf("the rollout of %s was cancelled: %s", z.Candidate, z.Cause)
	}
	return fmt.Sprintf("the primary serves revision %s", z.Stable)
}

// told remembers which post-rollout hooks were told the end of the rollout.
func told(s Snapshot, d *Decision) {
	for _, q := range s.endQuestions() {
		a, ok := s.Answers[q.Key]
		if !ok {
			continue
		}
		d.pass(q)
		said := "failed"
		if a.Verdict == Inconclusive {
			said = "said neither yes nor no"
		}
		if a.Verdict != Pass {
			d.notify(Notice{
				Reason: "PostRolloutHookFailed", Severity: Warning, Revision: d.Next.Candidate,
				Message: fmt.Sprintf("post-rollout hook %s %s: %s", q.Name, said, a.Message),
			})
		}
	}
}

// begin starts the rollout of rev, which may replace one that goes on: its traffic goes back to the primary first, and all
// gates ask anew.
func begin(s Snapshot, d *Decision, rev string) {
	z := &d.Next
	superseded := ""
	if !z.Phase.Idle() && z.Phase != Baking && z.Candidate != rev {
		superseded = fmt.Sprintf("; it replaces %s", z.Candidate)
	}
	z.Rollout++
	z.Candidate, z.StartedAt, z.StepAt, z.CheckAt = rev, s.Now, s.Now, s.Now
	z.Cause, z.Rejected = "", ""
	superseded += s.unfinished()
	floor := z.Floor
	*z = z.fresh()
	withdraw(s, d)
	if gates := s.Spec.hooks(ConfirmRollout); len(gates) > 0 {
		d.enter(Waiting, s.Now)
		z.Deadline, z.Floor = s.Now.Add(s.Spec.GateDeadline), floor // the rollout before may have been one a moment ago
		awaitApproval(s, d, superseded)
		return
	}
	z.CheckAt = latest(s.Now, s.partsUntil())
	z.Deadline, z.Floor = z.CheckAt.Add(s.Spec.Deadline), s.floor()
	d.enter(Progressing, s.Now)
	d.because("new revision %s: the canary is being started", rev)
	d.notify(Notice{
		Reason: "NewRevision", Severity: Info, Alert: true, Revision: rev,
		Message: fmt.Sprintf("new revision %s detected%s: starting the canary", rev, superseded),
	})
	d.wakeAt(s.Now, z.Deadline)
}

// awaitApproval tells once that a revision waits for its gates.
func awaitApproval(s Snapshot, d *Decision, superseded string) {
	z, gates := &d.Next, s.Spec.hooks(ConfirmRollout)
	d.because("revision %s waits for approval by %s", z.Candidate, names(gates))
	d.wait("confirm-rollout %s", names(gates))
	d.notify(Notice{
		Reason: "WaitingForApproval", Severity: Warning, Alert: true, Revision: z.Candidate,
		Message: fmt.Sprintf("new revision %s%s waits for approval by %s", z.Candidate, superseded, names(gates)),
	})
	d.wake(s.Spec.Interval)
}

// fresh is the state without what was of the rollout before.
func (z State) fresh() State {
	z.TrafficAt, z.EffectiveAt, z.PausedUntil, z.BakeUntil = time.Time{}, time.Time{}, time.Time{}, time.Time{}
	z.Step, z.Interval, z.Attempt, z.FailedChecks = 0, 0, 1, 0
	z.Passed, z.Results = nil, nil
	z.Halted, z.Overdue, z.Reverting, z.Paused, z.Forced, z.Direct = false, false, false, false, false, false
	z.Floor, z.Restarts = 0, 0
	return z
}

// floor is the number of pods below which an autoscaler must not take the primary while a rollout lasts: its size before.
func (s Snapshot) floor() int32 {
	if !s.Scaler.Found {
		return s.State.Floor
	}
	return max(s.State.Floor, s.replicas())
}

// releaseFloor lets the autoscaler size the primary freely again, when what it measured while the canary had a share of the traffic counts no
// longer: else it would take pods away in the moment in which all the traffic comes back.
func releaseFloor(s Snapshot, d *Decision) {
	z := &d.Next
	resting := z.Phase.Idle() || z.Phase == Waiting || z.Phase == Baking
	if !resting || z.Floor == 0 || z.Split != AllPrimary() {
		return
	}
	until := latest(z.Since, z.DrainUntil).Add(s.Scaler.Window + Recheck)
	if s.Now.Before(until) && s.scaled() && !s.Target.Off {
		d.wakeAt(s.Now, until)
		return
	}
	z.Floor = 0
}

// withdraw gives all traffic to the primary. What lost its traffic keeps running until it is drained.
func withdraw(s Snapshot, d *Decision) {
	if d.Next.Split != AllPrimary() {
		d.Next.Split = AllPrimary()
		d.Next.DrainUntil = s.Now.Add(Settle + s.Spec.Drain)
	}
}

// waitForRollout asks the confirm-rollout gates until all agree.
func waitForRollout(s Snapshot, d *Decision) {
	z := &d.Next
	switch {
	case s.gathering() && !s.partsThere():
		gather(s, d)
		return
	case s.State.approvalUntold():
		z.StepAt, z.CheckAt, z.Deadline = s.Now, s.Now, s.Now.Add(s.Spec.GateDeadline)
		awaitApproval(s, d, s.unfinished())
		return
	}
	qs := s.gates(ConfirmRollout)
	for _, q := range qs {
		switch a := s.Answers[q.Key]; {
		case a.Verdict == Pass:
			d.pass(q)
		case a.Message != "":
			d.wait("confirm-rollout %s: %s", q.Name, a.Message)
		case s.Said[q.Name] != "":
			d.wait("confirm-rollout %s: %s", q.Name, s.Said[q.Name])
		default:
			d.wait("confirm-rollout %s", q.Name)
		}
	}
	if len(d.WaitingFor) > 0 {
		d.because("revision %s waits for approval: %s", z.Candidate, join(d.WaitingFor))
		d.wake(s.untilTick(z.StepAt))
		d.wakeAt(s.Now, s.deadline(*z))
		return
	}
	d.enter(Progressing, s.Now)
	z.StepAt, z.CheckAt, z.Deadline, z.Floor = s.Now, s.Now, s.Now.Add(s.Spec.Deadline), s.floor()
	d.because("revision %s was approved: the canary is being started", z.Candidate)
	d.notify(Notice{
		Reason: "Approved", Severity: Info, Alert: true, Revision: z.Candidate,
		Message: fmt.Sprintf("revision %s was approved: starting the canary", z.Candidate),
	})
	d.wakeAt(s.Now, z.Deadline)
}
