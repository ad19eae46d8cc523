package plan

// unsure returns why it is not known whether the data plane can do what the rollout's next step asks for, and what does not reach the canary
// in that way yet; "": the step can begin. What users see already goes on, so that a question that is asked anew holds nothing up.
func (s Snapshot) unsure() string {
	n := s.Spec.next(s.State)
	if n == 0 || s.State.Split.does(s.Spec.Steps[n-1]) {
		return ""
	}
	return s.Spec.Steps[n-1].Unsure
}

// doubts returns why it is not known whether the data plane can do what a step of a rollout that would begin now asks for; "": it can do all.
func (z Spec) doubts() string {
	if z.SkipAnalysis {
		return ""
	}
	for _, step := range z.Steps {
		if step.Unsure != "" {
			return step.Unsure
		}
	}
	return ""
}

// does tells whether requests reach the canary already in each of the ways that a step asks for.
func (p Split) does(t Step) bool {
	shared := func(w int32) bool { return w > 0 && w < 100 }
	return (t.Mirror == 0 || p.Mirror > 0) && (!t.Audience || p.Audience) && (!shared(t.Weight) || shared(p.Canary))
}

// waitToKnow holds a rollout until it is known what the data plane can do. Nobody tells when that is, so that it is asked again.
func waitToKnow(d *Decision, revision, why string) {
	d.Held = "CapabilitiesUnknown"
	d.because("revision %s waits: %s", revision, why)
	d.wait("the router's capabilities")
	d.wake(Relearn)
}
