package plan

import "time"

// world returns the effects that make the world as Next says, in an order that never leaves traffic without a server. What is
// already so has no effect, so that repeating a decision repeats only what did not land.
func world(s Snapshot, d *Decision) []Effect {
	z := d.Next
	if z.Stable == "" {
		return nil
	}
	serving := s.servingWanted(z)
	split := serving && s.routeDiffers(z)
	leave := split && s.Route.Known && s.Route.Current.exceeds(z.Split)
	var es []Effect
	if leave { // first of all: no other error may keep traffic at a canary that must not have it
		es = append(es, ApplySplit{z.Split})
	}
	if s.snapshotWanted(z) {
		es = append(es, TakeSnapshot{s.Target.Revision})
	}
	if rev, n, ok := s.primaryWanted(z); ok {
		es = append(es, ApplyPrimary{rev, n})
	}
	if !s.Services.Complete || s.Services.Serving != serving {
		es = append(es, ApplyServices{Serving: serving, Split: z.Split})
	}
	if split && !leave {
		es = append(es, ApplySplit{z.Split})
	}
	if rev, n, ok := s.canaryWanted(z); ok {
		es = append(es, ApplyCanary{rev, n})
	}
	if e, ok := s.scalerWanted(z); ok {
		es = append(es, e)
	}
	if s.holdWanted(z) {
		es = append(es, HoldTarget{s.recorded(z)})
	}
	return es
}

// servingWanted tells whether the apex leaves the target's pods for the primary's. The target's are not the apex's to go back to when
// there are none, as where an earlier Canary left everything in place.
func (s Snapshot) servingWanted(z State) bool {
	return z.Phase != Initializing || s.primaryReady(z.Stable) && s.Spec.Invalid == "" || (s.Services.Serving && (s.Target.Available == 0 || s.Primary.Endpoints > 0))
}

// holdWanted tells that the target, from which the traffic has gone, is still up.
func (s Snapshot) holdWanted(z State) bool {
	scaled := !s.Scaler.Found || s.Scaler.OnPrimary // an autoscaler of pods that are gone would stand still
	return z.Phase != Initializing && s.Target.Found && !s.Target.Held && !s.Now.Before(z.DrainUntil) && scaled
}

// recorded is the number that is noted on the target. Zero is the user's wish to have no pods, and never what an autoscaler made of it.
func (s Snapshot) recorded(z State) int32 {
	if s.scaled() {
		return max(z.Replicas, 1)
	}
	return z.Replicas
}

// scalerWanted returns how the user's autoscaler should be, if it is not.
func (s Snapshot) scalerWanted(z State) (ApplyScaler, bool) {
	e := ApplyScaler{Floor: z.Floor, Canary: s.Spec.CanaryScaled && onCanary(z)}
	if !s.Scaler.Found || z.Phase == Initializing || !s.Primary.Found {
		return e, false
	}
	return e, !s.Scaler.OnPrimary || s.Scaler.Floor != e.Floor || s.Scaler.Canary != e.Canary || s.Scaler.Drifted
}

// onCanary tells whether the canary runs the candidate.
func onCanary(z State) bool {
	return z.Phase == Progressing || z.Phase == WaitingPromotion || z.Phase == Frozen
}

func (s Snapshot) routeDiffers(z State) bool {
	return !s.Route.Known || s.Route.Current != z.Split || s.Route.Drifted
}

// snapshotWanted tells that the target has content that a clone runs or will run, and that is not stored.
func (s Snapshot) snapshotWanted(z State) bool {
	t := s.Target
	return t.Found && !t.Stored && (t.Revision == z.Stable || (t.Revision == z.Candidate && !z.Phase.Idle()))
}

// primaryWanted returns what the primary should run, if it does not.
func (s Snapshot) primaryWanted(z State) (string, int32, bool) {
	rev := z.Stable
	if z.Phase == Promoting || z.Phase == Finalising {
		rev = z.Candidate
	}
	p := s.Primary
	same := p.Found && p.Revision == rev && p.Replicas == z.Replicas && !p.Drifted
	return rev, z.Replicas, !same
}

// canaryWanted returns what the canary should run, if it does not. Pods are replaced or taken away only when the data plane has
// confirmed that no traffic reaches them, and they had time to drain (invariants 2 and 5).
func (s Snapshot) canaryWanted(z State) (string, int32, bool) {
	c := s.Canary
	switch {
	case onCanary(z) && c.Found && c.Revision != z.Candidate && c.Replicas > 0 && c.Pods > 0 && c.Available == 0:
		// Pods that never became ready go first: a StatefulSet does not replace them.
		return c.Revision, 0, s.canaryFree(z)
	case onCanary(z), z.Phase == Promoting && c.Found && !z.Direct:
		n, wanted := s.trialWanted(z)
		return z.Candidate, n, wanted
	case z.Phase.Idle(), z.Phase == Waiting, z.Phase == Baking, z.Phase == Promoting && z.Direct:
		return c.Revision, 0, c.Found && c.Replicas > 0 && s.canaryFree(z)
	}
	return "", 0, false
}

// trialWanted returns the size that the canary should have while the candidate is on trial, and whether it is to be written.
func (s Snapshot) trialWanted(z State) (int32, bool) {
	c, n := s.Canary, s.Spec.CanarySize.Of(z.Replicas)
	switch {
	case !c.Found:
		return n, true
	case c.Revision != z.Candidate:
		return n, s.canaryFree(z) || c.Pods == 0 && c.Replicas == 0
	case n < c.Replicas && !s.canaryFree(z), s.Spec.CanaryScaled && c.Replicas > 0:
		n = c.Replicas
	}
	return n, c.Replicas != n || c.Drifted
}

// canaryFree tells that no traffic reaches the canary, which the data plane has confirmed, and that it had time to drain.
func (s Snapshot) canaryFree(z State) bool {
	return z.Split == AllPrimary() && s.State.Split == z.Split && s.settled() && !z.Late && !s.Now.Before(s.drainUntil(z))
}

// terminate gives everything back before the Canary goes: traffic to the primary, the target to full size, Services and routes
// to what they were. Nothing is taken away before what replaces it serves.
func terminate(s Snapshot, d *Decision) {
	z := &d.Next
	if z.Phase != Terminating {
		d.enter(Terminating, s.Now)
		z.StepAt, z.Deadline, z.Overdue = s.Now, s.Now.Add(s.Spec.Deadline), false
		z.DrainUntil = time.Time{}
		d.notify(Notice{Reason: "Terminating", Severity: Info, Message: "the Canary is being deleted: the target is being restored"})
	}
	if s.Spec.Orphan {
		d.because("the Canary goes, all objects stay")
		d.Effects = []Effect{Abandon{}, Finish{}}
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
		d.Effects = append(s.restoreScaler(), RestoreServices{}, Finish{})
	}
}

// led tells that the route still leads to the clones, in its objects or, as far as that can be told, in the data plane. One that does not
// answer before the deadline is waited for no longer.
func (s Snapshot) led(z State) bool {
	return s.Route.Known || s.Route.Leaving && !s.expired(z)
}

// clonesUntil is when the clones have drained. Nobody knows since when they had no traffic that left them while nobody watched.
func (s Snapshot) clonesUntil(z State) time.Time {
	return latest(z.DrainUntil, s.Since.Add(s.Spec.Drain))
}

// notDrained puts off when the clones, which have not lost their traffic yet, may go. It is stored less often the longer that lasts.
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

func restore(s Snapshot, d *Decision) {
	z := &d.Next
	if s.mayLeaveCanary(*z) {
		z.Split = AllPrimary()
	}
	if !s.Target.Released {
		d.Effects = append(d.Effects, ReleaseTarget{z.Replicas})
	}
	if !s.Target.Released || s.Target.Available < z.Replicas {
		if s.Route.Known && s.Route.Current != z.Split { // after the release: a broken router must not keep the target down
			d.Effects = append(d.Effects, ApplySplit{z.Split})
		}
		d.because("waiting for the target: %d of %d pods are available", s.Target.Available, z.Replicas)
		d.wait("the target: %d of %d pods are available", s.Target.Available, z.Replicas)
		overdue(s, d, "RestoreTimedOut", "the primary goes on serving; repair the target, or set deletionPolicy to Orphan")
		if !z.DrainUntil.IsZero() && s.led(*z) { // the target lost pods after the route was given back
			s.notDrained(z)
			d.wake(Settle)
		}
		d.wakeAt(s.Now, s.deadline(*z))
		return
	}
	d.because("the target is at full size: Services and routes are given back")
	d.Effects = append(append(d.Effects, s.restoreScaler()...), RestoreServices{})
	if z.DrainUntil.IsZero() {
		z.DrainUntil = s.Now.Add(Settle + s.Spec.Drain)
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
