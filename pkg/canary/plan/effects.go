package plan

import "slices"

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
	if s.servicesDiffer(z, serving) {
		es = append(es, ApplyServices{Serving: serving, Split: z.Split, Lent: s.lendWanted(z)})
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

// servicesDiffer tells that a Service is not as it should be.
func (s Snapshot) servicesDiffer(z State, serving bool) bool {
	rev := goal(z)
	rolls := s.Primary.Found && s.Primary.Revision != rev && !s.crosses(z) && !s.Services.Lent && slices.Contains(s.Services.Misfits, rev)
	return !s.Services.Complete || s.Services.Serving != serving || s.Services.Lent != s.lendWanted(z) || rolls
}

// servingWanted tells whether the apex leaves the target's pods for the primary's. The target's are not the apex's to go back to when
// there are none, as where an earlier Canary left everything in place.
func (s Snapshot) servingWanted(z State) bool {
	return z.Phase != Initializing || s.primaryReady(z.Stable) && s.Spec.Invalid == "" && !s.halfway() || (s.Services.Serving && (s.Target.Available == 0 || s.Primary.Endpoints > 0))
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
	e := ApplyScaler{Floor: z.Floor, Canary: s.Spec.CanaryScaled && onCanary(z) && !s.Scaler.CanaryUsers}
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
	rev, p := goal(z), s.Primary
	if s.behindServices(z) {
		rev = p.Revision
	}
	same := p.Found && p.Revision == rev && p.Replicas == z.Replicas && !p.Drifted
	return rev, z.Replicas, !same
}

// canaryWanted returns what the canary should run, if it does not. Pods are replaced or taken away only when the data plane has
// confirmed that no traffic reaches them, and they had time to drain (invariants 2 and 5).
func (s Snapshot) canaryWanted(z State) (string, int32, bool) {
	c := s.Canary
	switch {
	case s.standing() || s.crosses(z):
		return s.standInWanted(z)
	case onCanary(z) && c.Found && c.Revision != z.Candidate && c.neverReady():
		// Such pods go first: a StatefulSet does not replace them.
		return c.Revision, 0, s.canaryFree(z)
	case onCanary(z), z.Phase == Promoting && c.Found && !z.Direct:
		n, wanted := s.trialWanted(z)
		return z.Candidate, n, wanted
	case z.Phase.Idle(), z.Phase == Waiting, z.Phase == Baking, z.Phase == Promoting && z.Direct:
		return c.Revision, 0, c.Found && c.Replicas > 0 && s.canaryFree(z)
	}
	return "", 0, false
}

// neverReady reports whether a workload has pods, and none that is available.
func (w Workload) neverReady() bool { return w.Replicas > 0 && w.Pods > 0 && w.Available == 0 }

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
