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
