package plan

import "slices"

// mutantsOfNotices lose notices, or tell one transition as if it were two.
func mutantsOfNotices() []mutant {
	all := func(s Snapshot) Snapshot {
		s.Told = nil
		for _, n := range s.State.Untold {
			s.Told = append(s.Told, n.Number)
		}
		return s
	}
	return []mutant{
		{"a notice is not stored", after(func(_ Snapshot, d *Decision) { d.Next.Untold = nil })},
		{"a notice counts as told when it is stored", func(s Snapshot) Decision { return Decide(all(s)) }},
		{"a new notice takes the place of those before", after(func(_ Snapshot, d *Decision) {
			if len(d.Notices) > 0 {
				d.Next.Untold = d.Notices
			}
		})},
		{"what is told again has another number", after(func(s Snapshot, d *Decision) {
			d.Next.Untold = slices.Clone(d.Next.Untold)
			for i := range d.Next.Untold {
				if n := &d.Next.Untold[i]; n.At.Before(s.Now) {
					d.Next.LastNotice++
					n.Number = d.Next.LastNotice
				}
			}
		})},
		{"the numbers begin anew with each rollout", before(func(s *Snapshot) {
			if s.State.Phase.Idle() {
				s.State.LastNotice = 0
			}
		})},
		{"the Canary goes before its last notices are told", func(s Snapshot) Decision {
			d := Decide(s)
			if hasty := Decide(all(s)); finishes(hasty) && s.State.Phase == Terminating {
				d.Effects = hasty.Effects
			}
			return d
		}},
	}
}
