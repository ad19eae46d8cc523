package plan

// mutantsOfTargets are plans that mistake what a target runs.
func mutantsOfTargets() []mutant {
	deleting := func(change func(*Target)) func(Snapshot) Decision {
		return before(func(s *Snapshot) {
			if s.Deleting {
				change(&s.Target)
			}
		})
	}
	return []mutant{
		{"at a deletion everybody gets what the target says", deleting(func(t *Target) { t.Promoted = true })},
		{"at a deletion the pods that the target had count", deleting(func(t *Target) { t.Serving, t.Old = t.Available, 0 })},
		{"at a deletion the pods that the target had may stay", deleting(func(t *Target) { t.Old = 0 })},
		{"at a deletion a target is scaled before its controller has seen what it got", deleting(func(t *Target) { t.Current = true })},
		{"at a deletion a paused target is given back as it is", deleting(func(t *Target) { t.Paused = false })},
		{"after a deletion a paused target is not paused any more", deleting(func(t *Target) { t.Unpaused = false })},
		{"at a deletion the canary's pods stay behind the apex", before(func(s *Snapshot) {
			if s.Deleting {
				s.Canary = Workload{}
			}
		})},
		{"at a deletion the primary keeps what it had begun with", before(func(s *Snapshot) {
			if s.Deleting && s.State.Phase == Terminating {
				s.Primary.Revision, s.Primary.Updated = s.State.Stable, s.Primary.Pods
			}
		})},
		{"what the primary passed and got is not promoted", func(s Snapshot) Decision {
			if s.Deleting && s.State.Phase == Finalising {
				s.State.Phase = Promoting
			}
			return Decide(s)
		}},
		{"a paused target is released", before(func(s *Snapshot) {
			if !s.Deleting {
				s.Target.Paused = false
			}
		})},
		{"nobody is told that a paused target waits", after(func(_ Snapshot, d *Decision) {
			if d.Held == "TargetPaused" {
				d.Held = ""
			}
		})},
		{"the primary begins with what a paused target has not rolled out", before(func(s *Snapshot) {
			if s.Target.Paused && s.State.Phase == Initializing {
				s.Target.Serving, s.Target.Old = s.Target.Replicas, 0
			}
		})},
		{"an edit of the steps changes the interval of the present step", before(func(s *Snapshot) {
			if i := s.State.Step; i > 0 && i <= len(s.Spec.Steps) {
				s.State.Interval = s.Spec.Steps[i-1].Interval
			}
		})},
	}
}
