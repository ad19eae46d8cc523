package plan

import "slices"

// mutantsOfFixes are plans in which a dead primary keeps its own fix away.
func mutantsOfFixes() []mutant {
	stay := func(does func(Snapshot, State) bool) func(Snapshot) Decision {
		return after(func(s Snapshot, d *Decision) {
			if s.Primary.Endpoints > 0 || d.Next.Request != s.State.Request || !does(s, d.Next) {
				return
			}
			*d = Decision{Next: s.State, Wake: Recheck, Why: "waiting for the primary"}
		})
	}
	return []mutant{
		{"a dead primary keeps the canary from its first step", stay(func(s Snapshot, z State) bool {
			return s.State.Phase == Progressing && s.State.Step == 0 && z.Step == 1
		})},
		{"a dead primary keeps the canary from its next step", stay(func(s Snapshot, z State) bool {
			return s.State.Phase == Progressing && s.State.Step > 0 && z.Step > s.State.Step
		})},
		{"a dead primary keeps a fix from being tried", stay(func(s Snapshot, z State) bool {
			return s.State.Phase.Idle() && z.Rollout > s.State.Rollout
		})},
		{"a dead primary keeps a fix from being promoted", stay(func(s Snapshot, z State) bool {
			return !s.State.Phase.Idle() && s.State.Phase != Promoting && z.Phase == Promoting
		})},
	}
}

// mutantsOfDoubts are plans that mishandle what nobody knows of the data plane.
func mutantsOfDoubts() []mutant {
	held := func(d *Decision) bool { return d.Held == "CapabilitiesUnknown" }
	return []mutant{
		{"what nobody knows of the data plane is taken for granted", before(func(s *Snapshot) {
			s.Spec.Steps = slices.Clone(s.Spec.Steps)
			for i := range s.Spec.Steps {
				s.Spec.Steps[i].Unsure = ""
			}
		})},
		{"what nobody knows of the data plane is not asked again before the rollout", after(func(s Snapshot, d *Decision) {
			if held(d) && s.State.Phase.Idle() {
				d.Wake = 0
			}
		})},
		{"what nobody knows of the data plane is waited for without a deadline", endless(func(s Snapshot, z State) bool {
			return z.Phase == Progressing && s.unsure() != ""
		})},
	}
}

// mutantsOfEnds are plans that let go too early of what still serves.
func mutantsOfEnds() []mutant {
	deleting := func(change func(*Snapshot)) func(Snapshot) Decision {
		return before(func(s *Snapshot) {
			if s.Deleting {
				change(s)
			}
		})
	}
	return []mutant{
		{"at a deletion the clones go while their route could not be given back", deleting(func(s *Snapshot) {
			s.Route.Known = s.Route.Known && !s.Services.Restored
		})},
		{"at a deletion the clones go while the gateway still leads to them", deleting(func(s *Snapshot) { s.Route.Leaving = false })},
		{"the floor falls when the traffic comes back", before(func(s *Snapshot) { s.Scaler.Window = 0 })},
		{"the floor stays for ever", after(func(s Snapshot, d *Decision) {
			if d.Next.Phase.Idle() {
				d.Next.Floor = max(d.Next.Floor, s.State.Floor)
			}
		})},
		{"the audience stays when the spec selects nothing any more", before(func(s *Snapshot) {
			if s.State.Split.Audience && len(s.Spec.Steps) > 0 {
				s.Spec.Steps = slices.Clone(s.Spec.Steps)
				s.Spec.Steps[len(s.Spec.Steps)-1].Audience = true
			}
		})},
		{"what was taken back counts as the revision before", after(func(s Snapshot, d *Decision) {
			if d.Next.Rollout > s.State.Rollout {
				d.Next.Previous = d.Next.Stable
			}
		})},
		{"a retry takes the traffic from all that serves", func(s Snapshot) Decision {
			z := s.State
			if verb, _, err := ParseRequest(s.Request); err == nil && verb == Retry && z.Phase.Idle() && z.Split.Canary > 0 && z.Split.Canary < 100 {
				p := s.Primary
				p.Endpoints = max(p.Endpoints, 1)
				s.Primary = p
			}
			return Decide(s)
		}},
	}
}
