package plan

import (
	"math/rand/v2"
	"time"
)

// counts are what the gateway counts. Its chances have a source of their own, so that the worlds of earlier seeds stay
// as they are.
type counts struct {
	on bool
	// taken is the part of the requests that goes elsewhere, and rival who takes it; "": nobody knows.
	taken float64
	rival string
	// astray are the questions to which the answer was that the share is not the one wanted.
	astray map[string]bool
}

// randomCounts lets other routes take requests for some time.
func (w *simulation) randomCounts(seed uint64, end time.Duration) {
	rng := rand.New(rand.NewPCG(seed, 4))
	w.counts = counts{on: rng.IntN(2) == 0, astray: map[string]bool{}}
	for range rng.IntN(3) {
		from := time.Duration(rng.Int64N(int64(end)))
		lasts := time.Duration(rng.Int64N(int64(15 * time.Minute)))
		taken, rival := []float64{0.6, 1}[rng.IntN(2)], "HTTPRoute old"
		if taken == 1 && rng.IntN(2) == 0 {
			rival = ""
		}
		w.at(from, func() { w.counts.taken, w.counts.rival = taken, rival })
		w.at(from+lasts, func() { w.counts.taken, w.counts.rival = 0, "" })
	}
}

// share is what the gateway counted.
func (w *simulation) share(q Question) Answer {
	a := Answer{Verdict: Pass}
	if w.hooks.dark || w.forever == noData {
		return a
	}
	if !w.counts.on {
		w.violated("9: %s is asked of a gateway that does not count", q.Key)
	}
	taken := w.counts.taken
	a.Share = Share{Total: 5000, Canary: 5000 * (1 - taken) * float64(w.state.Split.Canary) / 100, Rival: w.counts.rival}
	w.counts.astray[q.Key] = taken > 0
	return a
}

// goneAstray tells whether the answers say that the share is not the one wanted.
func (w *simulation) goneAstray(s Snapshot) bool {
	for _, q := range s.shareQuestions() {
		if _, ok := s.Answers[q.Key]; ok && w.counts.astray[q.Key] {
			return true
		}
	}
	return false
}

// checkShare: a step of which the canary has not seen its share is told once, and does not pass unless the policy lets
// it; of one that has, nothing is said.
func (w *simulation) checkShare(s Snapshot, d Decision) {
	for _, n := range d.Notices {
		if n.Reason != ReasonRoutingMismatch {
			continue
		}
		if !w.goneAstray(s) {
			w.violated("14: a mismatch is told where there is none: %s", n.Message)
		}
		if _, told := mismatched(s.State.Results); told {
			w.violated("14: a mismatch is told again: %s", n.Message)
		}
	}
	a, b := s.State, d.Next
	_, _, asked := accepted(s, d)
	onward := b.Phase == Promoting && !a.Forced || b.Phase == Progressing && b.Step > 0 && !b.StepAt.Equal(a.StepAt) && b.Rollout == a.Rollout
	if onward && !asked && a.judging() && a.Phase != Finalising && s.Spec.NoData != PolicyPass && w.goneAstray(s) {
		w.violated("9: step %d ends, and the canary has not seen its share", a.Step)
	}
	held := b.Attempt != a.Attempt && b.StepAt.Equal(a.StepAt) && b.Split == a.Split && a.Phase == Progressing && b.Phase == Progressing
	if _, odd := mismatched(b.Results); held && !odd && !asked && !a.Late && !b.EffectiveAt.Equal(s.Now) && w.goneAstray(s) {
		w.violated("14: a mismatch at step %d is not shown", a.Step)
	}
}
