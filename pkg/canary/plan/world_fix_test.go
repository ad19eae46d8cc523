package plan

// checkDeadPrimary: a rollout that goes on while the primary serves goes on in the same way while it does not. It may be the fix.
func (w *simulation) checkDeadPrimary(s Snapshot, d Decision) {
	a := s.State
	dead := s.Primary.Found && !s.Primary.Ready(a.Stable, 100)
	if !dead || a.Phase == Initializing || a.Phase == "" || a.Phase.ending() && a.Phase != Baking || s.Spec.Invalid != "" || a.Direct && !a.Phase.Idle() {
		return
	}
	alive := s
	p := &alive.Primary
	size := p.size()
	p.Revision, p.Current, p.Stuck, p.Pods, p.Updated, p.Available, p.Endpoints = a.Stable, true, false, size, size, size, size
	want := w.decide(alive).Next
	begins, onward := want.Rollout > a.Rollout, want.Rollout == a.Rollout && (want.Step > a.Step || want.Phase == Promoting)
	approved := a.Phase == Waiting && want.Phase == Progressing
	if begins && a.Split != AllPrimary() || !begins && !onward && !approved { // what only the canary serves stays there
		return
	}
	if b := d.Next; b.Phase != want.Phase || b.Step != want.Step || b.Split != want.Split || b.Rollout != want.Rollout {
		w.violated("6: a primary that is not ready keeps %s at step %d, %v from going to %s, step %d, %v", a.Phase, b.Step, b.Split, want.Phase, want.Step, want.Split)
	}
}
