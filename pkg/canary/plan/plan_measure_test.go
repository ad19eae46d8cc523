package plan

import (
	"strings"
	"testing"
	"time"
)

// TestWhatCannotBeMeasuredKeepsARolloutFromBeginning : and nothing else: what goes on goes on, and so does what a person
// asks for without an analysis.
func TestWhatCannotBeMeasuredKeepsARolloutFromBeginning(t *testing.T) {
	for name, tc := range map[string]struct {
		spec    func(*Spec)
		phase   Phase // in which the metrics turn out to be wrong
		want    Phase
		stalled string
		why     string
	}{
		"wrong":           {func(z *Spec) { z.Unmeasurable = "metric m0: no limit" }, Initialized, Initialized, "AnalysisInvalid", "no limit"},
		"not known yet":   {func(z *Spec) { z.Unchecked = true }, Initialized, Initialized, "", "waits until its metrics have been checked"},
		"in a rollout":    {func(z *Spec) { z.Unmeasurable = "metric m0: no limit" }, Progressing, Succeeded, "AnalysisInvalid", "the next rollout waits"},
		"nothing is said": {func(*Spec) {}, Initialized, Succeeded, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(1, plain(), exactly())
			w.deploy("r1", 2)
			w.run(epoch.Add(time.Minute))
			var last Decision
			w.seen = func(s Snapshot, d Decision) {
				if last = d; s.State.Phase == Progressing && tc.phase == Progressing {
					tc.spec(&w.spec)
				}
			}
			if tc.phase == Initialized {
				tc.spec(&w.spec)
			}
			w.push("r2")
			w.run(epoch.Add(30 * time.Minute))
			if w.failure != "" || w.state.Phase != tc.want || last.Stalled != tc.stalled || !strings.Contains(last.Why, tc.why) {
				t.Errorf("%s, %s: stalled %q, %s", w.failure, w.state.Phase, last.Stalled, last.Why)
			}
		})
	}
}
