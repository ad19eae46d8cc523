package plan

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
