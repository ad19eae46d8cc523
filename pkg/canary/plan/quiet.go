package plan

import (
	"fmt"
	"slices"
	"time"
)

// A change often comes in parts: an apply writes a ConfigMap, and then the workload that reads it, or the other way
// round. A revision that is half of a change must not be judged, and a rollout of it must not be told.

// QuietLimit bounds how long a target that changes again and again is waited for: so many times Spec.Quiet.
const QuietLimit = 10

// quietAt is when the target has not changed for Spec.Quiet.
func (s Snapshot) quietAt() time.Time {
	at, most := s.Target.ChangedAt.Add(s.Spec.Quiet), s.Target.RestlessAt.Add(QuietLimit*s.Spec.Quiet)
	if most.Before(at) {
		return most
	}
	return at
}

// applying tells that somebody who applies several objects has not ended.
func (s Snapshot) applying() bool { return s.Now.Before(s.Target.ApplyUntil) }

// partsUntil is when the parts of a change are waited for no longer.
func (s Snapshot) partsUntil() time.Time { return latest(s.quietAt(), s.Target.ApplyUntil) }

// awaited tells that the target's revision may be half of a change.
func (s Snapshot) awaited() bool { return s.Target.Found && s.Now.Before(s.partsUntil()) }

// halfway tells that a Canary that begins must not give its primary traffic yet: what that has may be half of a change.
func (s Snapshot) halfway() bool { return s.awaited() && !s.left() }

// waitForParts says what a Canary that begins waits for.
func waitForParts(s Snapshot, d *Decision) {
	until := s.partsUntil()
	if s.applying() {
		d.wait("the apply of %s, which has not ended, until %s at most", s.Target.Apply, until.UTC().Format("15:04:05Z"))
	} else {
		d.wait("the target, of which nothing must have changed for %s", s.Spec.Quiet)
	}
	d.wakeAt(s.Now, until)
}

// early tells why the rollout of the target's revision does not begin yet; "": it may. A new template begins at once,
// so that its pods come up while the rest is waited for; what would only be asked or told does not.
func (s Snapshot) early(d *Decision) (why string) {
	switch {
	case s.applying():
		d.wakeAt(s.Now, s.Target.ApplyUntil)
		return fmt.Sprintf("waits until the apply of %s ends, until %s at most", s.Target.Apply, s.Target.ApplyUntil.UTC().Format("15:04:05Z"))
	case !s.Now.Before(s.quietAt()):
		return ""
	case s.Target.ConfigOnly, len(s.Spec.hooks(ConfirmRollout)) > 0:
		d.wakeAt(s.Now, s.quietAt())
		return fmt.Sprintf("waits until nothing of it has changed for %s", s.Spec.Quiet)
	}
	return ""
}

// gathering tells that the parts of the revision on trial are waited for. Nobody has been asked about it, and it has
// had no traffic.
func (s Snapshot) gathering() bool {
	z := s.State
	begun := z.Phase == Progressing && z.Step == 0 && z.Attempt == 1 && z.TrafficAt.IsZero() && !z.Forced
	return begun && s.Now.Before(z.CheckAt) || z.approvalUntold()
}

// partsThere reports whether no more parts are waited for.
func (s Snapshot) partsThere() bool {
	here := s.Target.Found && s.Target.Revision == s.State.Candidate
	return !s.Now.Before(s.State.CheckAt) || here && !s.applying() && !s.Now.Before(s.quietAt())
}

// gather waits for the parts of the revision on trial.
func gather(s Snapshot, d *Decision) {
	z := &d.Next
	d.because("revision %s waits until all of its change is there", z.Candidate)
	if s.applying() {
		d.wait("the apply of %s", s.Target.Apply)
	}
	d.wakeAt(s.Now, z.CheckAt)
	d.wakeAt(s.Now, s.quietAt())
}

// complete goes on with the target's revision in the place of one that was a part of the same change. That is the same
// rollout: it has been told, and begins anew.
func complete(s Snapshot, d *Decision) {
	z := &d.Next
	most := z.StartedAt.Add(QuietLimit * s.Spec.Quiet)
	if at := s.quietAt(); at.Before(most) {
		most = at
	}
	z.Candidate, z.Results, z.StepAt = s.Target.Revision, nil, s.Now
	if z.Phase == Progressing {
		z.CheckAt = latest(s.Now, latest(most, s.Target.ApplyUntil))
		z.Deadline = z.CheckAt.Add(s.Spec.Deadline)
	} else { // it is told when it is complete, which must not be at once
		z.CheckAt = latest(s.Now.Add(time.Millisecond), latest(most, s.Target.ApplyUntil))
		z.Deadline = z.CheckAt.Add(s.Spec.GateDeadline)
	}
	d.because("the change goes on: revision %s takes the place of %s, which was a part of it", z.Candidate, s.State.Candidate)
	d.wakeAt(s.Now, z.CheckAt)
	d.wake(time.Millisecond)
}

// postponeTelling puts off telling that a revision waits for approval until it is complete. The one before it gives way
// at once.
func postponeTelling(s Snapshot, d *Decision) {
	d.Notices = slices.DeleteFunc(d.Notices, func(n Notice) bool { return n.Reason == "WaitingForApproval" })
	d.WaitingFor, d.Next.CheckAt = nil, s.partsUntil()
	d.Next.Deadline = d.Next.CheckAt.Add(s.Spec.GateDeadline)
	d.because("revision %s waits until all of its change is there; it replaces %s", d.Next.Candidate, s.State.Candidate)
	d.wakeAt(s.Now, s.quietAt())
	d.wakeAt(s.Now, d.Next.CheckAt)
}

// approvalUntold reports whether a revision waits for approval that nobody has been told of yet.
func (z State) approvalUntold() bool { return z.Phase == Waiting && z.CheckAt.After(z.StepAt) }

// unfinished says so in a notice if an apply did not end in time.
func (s Snapshot) unfinished() string {
	if s.Target.Apply == "" || s.applying() {
		return ""
	}
	return fmt.Sprintf(" (the apply of %s has not ended: what it lacks comes as another revision)", s.Target.Apply)
}
