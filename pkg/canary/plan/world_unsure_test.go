package plan

import "slices"

// way in which requests reach the canary.
type way int

const (
	noWay way = iota
	byShare
	byAudience
	byMirror
)

// has tells whether requests reach the canary in this way under a split.
func (a way) has(p Split) bool {
	switch a {
	case byShare:
		return p.Canary > 0 && p.Canary < 100
	case byAudience:
		return p.Audience
	case byMirror:
		return p.Mirror > 0
	case noWay:
	}
	return false
}

// doubted is the spec as the controller sees it while something of the data plane cannot be told.
func (w *simulation) doubted() Spec {
	z := w.spec
	if w.doubt == noWay {
		return z
	}
	z.Steps = slices.Clone(z.Steps)
	for i := range z.Steps {
		if w.doubt.has(z.Steps[i].split()) {
			z.Steps[i].Unsure = "the Gateway cannot be read"
		}
	}
	return z
}

// checkDoubt: requests reach the canary in no new way of which it is not known whether the data plane has it.
func (w *simulation) checkDoubt(s Snapshot, d Decision) {
	if w.doubt != noWay && d.Next.Phase == Progressing && w.doubt.has(d.Next.Split) && !w.doubt.has(s.State.Split) {
		w.violated("1: from %v to %v, though nobody knows whether that can be done", s.State.Split, d.Next.Split)
	}
}
