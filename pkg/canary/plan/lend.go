package plan

import (
	"slices"
	"time"
)

// The pods of two revisions can be told apart by the Services that lead to them: by labels that a selector names, or by
// the number of the port on which they listen. The primary has one Service. As long as that can lead to the pods of
// both revisions, it does before the first pod is replaced. When it cannot (one port, another number in each), or when
// the pods that there are go before new ones are ready (Recreate, a StatefulSet of one), the canary's pods, which run
// what the primary is about to run, stand in: the primary's Service and the apex lead to them in one write, the primary
// is replaced behind that, and they lead back to it when it is ready.

// goal is the revision that the primary is to run.
func goal(z State) string {
	if z.Phase == Promoting || z.Phase == Finalising {
		return z.Candidate
	}
	return z.Stable
}

// crosses tells that the primary has to run another revision, whose pods cannot serve beside those that it has. Pods
// that serve nobody are nobody's loss; before the first revision serves, the target's own pods do.
func (s Snapshot) crosses(z State) bool {
	p, rev := s.Primary, goal(z)
	return z.Phase != Initializing && p.Found && p.Revision != rev && p.Replicas > 0 && slices.Contains(s.Services.Clashing, rev) && (p.Endpoints > 0 || s.standing())
}

// standing tells that the canary's pods stand in for the primary's, or may still do so in the data plane.
func (s Snapshot) standing() bool { return s.Services.Lent || s.Services.Standing }

// standInSize is how many pods can do the primary's work.
func (s Snapshot) standInSize(z State) int32 {
	return max(s.Spec.CanarySize.Of(z.Replicas), z.Replicas)
}

// standsIn tells that the canary's pods can stand in: they run what the primary is to run, or, while they have traffic,
// what it runs until then.
func (s Snapshot) standsIn(z State) bool {
	c := s.Canary
	return c.Found && (c.Revision == goal(z) || c.Revision == s.Primary.Revision && z.Split.Reaches())
}

// lendWanted tells whether the canary's pods should stand in for the primary's.
func (s Snapshot) lendWanted(z State) bool {
	rev, c := goal(z), s.Canary
	switch {
	case c.Endpoints == 0:
		return false
	case s.crosses(z) && !s.Services.Lent:
		return s.standsIn(z) && c.Ready(c.Revision, s.Spec.CanaryReady) && (c.Replicas >= s.standInSize(z) || s.Spec.CanaryScaled)
	case s.crosses(z):
		return true
	}
	return s.Services.Lent && !s.primaryReady(rev)
}

// standInWanted returns what the canary has to run in order to stand in, and whether that is to be written.
func (s Snapshot) standInWanted(z State) (string, int32, bool) {
	rev, n, c := goal(z), s.standInSize(z), s.Canary
	switch {
	case s.standing(): // it stays as it is
		return "", 0, false
	case !c.Found:
		return rev, n, true
	case !s.standsIn(z):
		return rev, n, s.canaryFree(z) || c.Pods == 0 && c.Replicas == 0
	case s.Spec.CanaryScaled && c.Replicas > 0:
		n = c.Replicas
	}
	return c.Revision, n, c.Replicas < n || c.Drifted
}

// crossAt is when the pods of the primary, which nothing leads to any more, have drained; false: something leads to
// them.
func (s Snapshot) crossAt() (time.Time, bool) {
	return s.Services.StandingSince.Add(Settle + s.Spec.Drain), s.Services.Lent && s.Services.Standing
}

// behindServices tells that the primary has to wait before it is made to run another revision: its Service does not
// lead to the pods of that yet.
func (s Snapshot) behindServices(z State) bool {
	p, rev := s.Primary, goal(z)
	if z.Phase == Initializing || !p.Found || p.Revision == rev || p.Endpoints == 0 && !s.standing() {
		return false
	}
	if len(s.Services.Judged) > 0 && !slices.Contains(s.Services.Judged, rev) {
		return true
	}
	if s.crosses(z) {
		at, lent := s.crossAt()
		return !lent || s.Now.Before(at)
	}
	return !s.Services.Lent && slices.Contains(s.Services.Misfits, rev)
}

// stand sees to it that a canary which stands in, or did until now, drains before it goes.
func stand(s Snapshot, d *Decision) {
	z := &d.Next
	if at, lent := s.crossAt(); lent && s.crosses(*z) {
		d.wakeAt(s.Now, at)
	}
	if s.standing() && z.DrainUntil.Before(s.Now.Add(s.Spec.Drain)) {
		z.DrainUntil = s.Now.Add(2 * (Settle + s.Spec.Drain))
	}
}
