package plan

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// terminate gives everything back before the Canary goes: traffic to the primary, the promoted revision and its full
// size to the target, Services and routes to what they were. Nothing is taken away before what replaces it serves, and
// nobody gets what was not promoted.
func terminate(s Snapshot, d *Decision) {
	z := &d.Next
	if z.Phase != Terminating {
		beginEnd(s, d)
	}
	if s.Spec.Orphan {
		d.because("the Canary goes, all objects stay")
		d.Effects = append(s.pauseTarget(), Abandon{}, Finish{})
		return
	}
	z.Replicas = s.replicas()
	if s.Target.Released { // an autoscaler may go on changing the primary
		z.Replicas = s.Target.Replicas
	}
	switch {
	case !s.Target.Found || z.Stable == "", z.DrainUntil.IsZero() && s.untouched():
		d.because("nothing has to be restored")
		d.Effects = append(s.restoreScaler(), RestoreServices{}, Finish{})
	case z.DrainUntil.IsZero() || !s.Services.Restored || s.led(*z):
		restore(s, d)
	case s.Now.Before(s.clonesUntil(*z)):
		d.because("the target serves; the clones are draining")
		d.Effects = append(s.restoreScaler(), RestoreServices{}) // the apex may have been the target's already, the route not
		d.wakeAt(s.Now, s.clonesUntil(*z))
	default:
		d.because("the target serves again")
		d.Effects = append(append(s.restoreScaler(), RestoreServices{}), append(s.pauseTarget(), Finish{})...)
	}
}

// led tells that the route still leads to the clones, in its objects or, as far as that can be told, in the data plane.
// One that does not answer before the deadline is waited for no longer.
func (s Snapshot) led(z State) bool {
	return s.Route.Known || s.Route.Leaving && !s.expired(z)
}

// clonesUntil is when the clones have drained. Nobody knows since when they had no traffic that left them while nobody
// watched.
func (s Snapshot) clonesUntil(z State) time.Time {
	return latest(z.DrainUntil, s.Since.Add(s.Spec.Drain))
}

// notDrained puts off when the clones, which have not lost their traffic yet, may go. It is stored less often the
// longer that lasts.
func (s Snapshot) notDrained(z *State) {
	if s.Now.Add(Settle + s.Spec.Drain).After(z.DrainUntil) {
		z.DrainUntil = s.Now.Add(s.Spec.Drain + min(max(2*Settle, s.Now.Sub(z.StepAt)/4), Recheck))
	}
}

// untouched tells that the target serves as it did before Siskin came, however well: nothing was taken from it yet.
func (s Snapshot) untouched() bool {
	return s.Target.Released && s.Services.Restored && !s.Route.Known
}

// restoreScaler gives the autoscaler back, if it was not: again and again, until that succeeds.
func (s Snapshot) restoreScaler() []Effect {
	if s.Scaler.Found && !s.Scaler.Restored {
		return []Effect{RestoreScaler{}}
	}
	return nil
}

// pauseTarget puts the pause back, last of all: a target that is paused is taken for one that does not get on.
func (s Snapshot) pauseTarget() []Effect {
	if s.Target.Found && s.Target.Unpaused {
		return []Effect{PauseTarget{}}
	}
	return nil
}

// beginEnd begins a deletion. What the primary has passed and got counts as promoted, though some traffic was still at
// the canary.
func beginEnd(s Snapshot, d *Decision) {
	z := &d.Next
	if z.Phase == Finalising {
		z.Stable = z.Candidate
	}
	n := Notice{Reason: "Terminating", Severity: Info, Message: "the Canary is being deleted: the target is being restored"}
	if s.Target.Found && z.Stable != "" && !s.Target.Promoted && !s.Spec.Orphan && !s.untouched() {
		n.Severity, n.Alert, n.Revision = Warning, true, s.Target.Revision
		n.Message = fmt.Sprintf("the Canary is being deleted: the target is given the promoted revision %s in the place of what it says now, which is not promoted; "+
			"whoever applies that again brings it to everybody: commit what is to run", z.Stable)
	}
	d.enter(Terminating, s.Now)
	z.StepAt, z.Deadline, z.Overdue, z.DrainUntil = s.Now, s.Now.Add(s.Spec.Deadline), false, time.Time{}
	d.notify(n)
}

// restore waits until the target serves the promoted revision at full size, and gives Services and route back then.
func restore(s Snapshot, d *Decision) {
	z := &d.Next
	if z.Split != AllPrimary() && s.mayLeaveCanary(*z) {
		z.Split, z.StepAt = AllPrimary(), s.Now
	}
	clones := cmp.Or(s.revertPrimary(*z, d), s.clearCanary(*z, d)) // while the target comes up
	if why := s.restoreTarget(*z, d); why != "" {
		d.Effects = append(d.Effects, s.leaveClones(*z)...) // after the release: a broken router must not keep the target down
		d.because("waiting for the target: %s", why)
		d.wait("the target: %s", why)
		overdue(s, d, "RestoreTimedOut", s.comfort(*z)+"; mend what keeps the target's pods from that, or set deletionPolicy to Orphan")
		if !z.DrainUntil.IsZero() && s.led(*z) { // the target lost pods after the route was given back
			s.notDrained(z)
			d.wake(Settle)
		}
		d.wakeAt(s.Now, s.deadline(*z))
		return
	}
	if why := clones; why != "" && !s.expired(*z) {
		d.Effects = append(d.Effects, s.leaveClones(*z)...)
		d.because("waiting for the clones: %s", why)
		d.wait("the clones: %s", why)
		d.wakeAt(s.Now, s.deadline(*z))
		return
	}
	d.because("the target is at full size: Services and routes are given back")
	d.Effects = append(append(d.Effects, s.restoreScaler()...), RestoreServices{})
	if z.DrainUntil.IsZero() {
		z.DrainUntil = s.Now.Add(Settle + s.Spec.Drain)
		if clones != "" { // they have had their time
			overdue(s, d, "RestoreTimedOut", "pods of the clones get requests until they are gone: "+clones+"; mend what is in their way")
		}
	} else { // they were given back before, which did not help yet
		overdue(s, d, "RestoreTimedOut", "the clones go on serving; mend what is in the way, or set deletionPolicy to Orphan")
	}
	s.notDrained(z)
	if s.Services.Restored && s.led(*z) {
		d.wait("the route: %s", s.routeMessage())
	}
	d.wakeAt(s.Now, z.DrainUntil)
	d.wake(Settle)
}

// revertPrimary brings a primary that had begun with what was not promoted back, and says what of that is still to be
// done. What the author of the Services selects by are labels that all clones have: when they are given back, each pod of
// a clone gets a share of all requests. The deadline of the deletion ends it: nothing that is broken keeps anybody from
// going.
func (s Snapshot) revertPrimary(z State, d *Decision) string {
	p := s.Primary
	switch {
	case !z.DrainUntil.IsZero(), s.standing(), s.crosses(z), !p.Found, !slices.Contains(s.Kept, z.Stable):
		return ""
	case p.Revision != z.Stable && !s.behindServices(z):
		d.Effects = append(d.Effects, ApplyPrimary{z.Stable, p.Replicas})
		return fmt.Sprintf("the primary is brought back to revision %s", z.Stable)
	case !p.Current || p.Pods > p.Updated:
		return "the primary: " + p.explain(z.Stable)
	}
	return ""
}

// clearCanary takes the canary's pods away before the Services are given back, if they run what was not promoted: first
// their traffic, as at each rollback. It says what of that is still to be done. See revertPrimary.
func (s Snapshot) clearCanary(z State, d *Decision) string {
	c := s.Canary
	switch {
	case !z.DrainUntil.IsZero(), s.standing(), s.crosses(z), z.Split != AllPrimary():
		return ""
	case !c.Found, c.Revision == z.Stable && c.Pods == c.Updated, c.Replicas == 0 && c.Pods == 0 && c.Endpoints == 0:
		return ""
	case !slices.Contains(s.Kept, c.Revision): // it cannot be written any more
		return ""
	case s.Route.Known && !s.settled():
		d.wake(Settle)
		return "the route: " + s.routeMessage()
	}
	free := latest(z.StepAt.Add(Settle+s.Spec.Drain), latest(s.Settled, s.Since).Add(s.Spec.Drain))
	if s.Now.Before(free) {
		d.wakeAt(s.Now, free)
		return "the canary is draining"
	}
	if c.Replicas > 0 {
		d.Effects = append(d.Effects, ApplyCanary{c.Revision, 0})
	}
	return "the canary's pods go"
}

// leaveClones moves the traffic as it is to be until the Services are given back.
func (s Snapshot) leaveClones(z State) []Effect {
	if s.Route.Known && s.Route.Current != z.Split {
		return []Effect{ApplySplit{z.Split}}
	}
	return nil
}

// comfort says who serves while the target does not.
func (s Snapshot) comfort(z State) string {
	if z.Split == AllPrimary() {
		return "the primary goes on serving"
	}
	return "the canary goes on serving"
}

// restoreTarget brings the target to the promoted revision and its full size, and says what of that is still missing.
// The content goes first, and its controller must have seen it: what is scaled up before that may start pods of what it
// had.
func (s Snapshot) restoreTarget(z State, d *Decision) string {
	t := s.Target
	full := t.Released && t.Serving >= z.Replicas && t.Old == 0
	switch {
	case !t.Promoted, t.Paused && !full: // a paused Deployment starts no pods but those that it had
		d.Effects = append(d.Effects, RestoreTarget{z.Stable})
		d.wake(Recheck)
		return fmt.Sprintf("it is given revision %s", z.Stable)
	case !t.Current && !t.Released:
		return "its controller has not seen the change yet"
	case !t.Released:
		d.Effects = append(d.Effects, ReleaseTarget{z.Replicas})
	case full:
		return ""
	}
	if t.Serving >= z.Replicas {
		return fmt.Sprintf("%d pods of what it had before are still there", t.Old)
	}
	text := fmt.Sprintf("%d of %d pods are available", t.Serving, z.Replicas)
	if t.Message != "" {
		text += " " + t.Message
	}
	return text
}
