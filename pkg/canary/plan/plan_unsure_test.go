package plan

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// What the data plane can do may not be known yet. Nothing of that kind reaches the canary before it is; what does already goes on.
func TestUnknownCapabilities(t *testing.T) {
	const why = "nobody has answered yet"
	unsure := func(steps ...Step) []Step {
		for i := range steps {
			steps[i].Unsure = why
		}
		return steps
	}
	held := func(wake time.Duration, words ...string) func(Decision) string {
		return func(d Decision) string {
			for _, w := range append(words, why) {
				if !strings.Contains(d.Why, w) {
					return "the message lacks " + w + ": " + d.Why
				}
			}
			return cmp.Diff([]any{"CapabilitiesUnknown", wake}, []any{d.Held, d.Wake})
		}
	}
	none := func(s *Snapshot) { s.Canary = Workload{} }
	free := func(d Decision) string { return cmp.Diff("", d.Held) }
	decideAll(t, map[string]phaseCase{
		"a rollout does not begin": {
			reason: "nothing has been exposed, so that nothing is lost",
			in:     given(Initialized).but(none).steps(append(unsure(Step{Mirror: 100}), Step{Weight: 20})...),
			want:   seen{Phase: Initialized},
			more:   held(Relearn, "r2"),
		},
		"nor for a later step": {
			reason: "users would wait in the middle of it",
			in:     given(Succeeded).but(none).steps(append([]Step{{Mirror: 100}}, unsure(Step{Weight: 20})...)...),
			want:   seen{Phase: Succeeded},
			more:   held(Relearn, "r2"),
		},
		"without a new revision": {
			reason: "nothing waits",
			in:     given(Initialized).but(none).target("r1").steps(unsure(Step{Mirror: 100})...),
			want:   seen{Phase: Initialized},
			more:   free,
		},
		"without analysis": {
			reason: "no step is needed",
			in:     given(Initialized).but(none).steps(unsure(Step{Mirror: 100})...).but(func(s *Snapshot) { s.Spec.SkipAnalysis = true }),
			want:   seen{Phase: Progressing, Told: []string{"NewRevision"}, Effects: []Effect{ApplyCanary{"r2", 1}}},
			more:   free,
		},
		"before initialization": {
			reason: "only a route that is written is answered",
			in:     given(Initializing).target("r1").steps(unsure(Step{Mirror: 100})...).but(func(s *Snapshot) { s.Target.Held, s.Target.Available = false, 2 }),
			want:   seen{Phase: Initialized, Told: []string{"Initialized"}},
			more:   free,
		},
		"it became unknown while the canary came up": {
			reason: "the first mirrored request is an exposure",
			in:     given(Progressing).steps(append(unsure(Step{Mirror: 100}), Step{Weight: 20})...),
			want:   seen{Phase: Progressing},
			more:   held(Relearn, "r2"),
		},
		"and stayed so until the deadline": {
			reason: "every wait ends",
			in:     given(Progressing).steps(unsure(Step{Mirror: 100})...).but(func(s *Snapshot) { s.Now = s.State.Deadline }),
			want:   seen{Phase: RollingBack, Told: []string{"RollingBack"}},
			more: func(d Decision) string {
				if !strings.Contains(d.Next.Cause, why) {
					return "the cause is " + d.Next.Cause
				}
				return ""
			},
		},
		"it is mirrored already": {
			reason: "a rollout that is under way is not held up",
			in:     given(Progressing).steps(unsure(Step{Mirror: 100}, Step{Mirror: 100})...).at(1).agrees(),
			want:   seen{Phase: Progressing, Step: 2, Told: []string{"StepAdvanced"}},
			more:   free,
		},
		"users are selected already": {
			reason: "a rollout that is under way is not held up",
			in:     given(Progressing).steps(unsure(Step{Weight: 20, Audience: true}, Step{Weight: 40, Audience: true})...).at(1).agrees(),
			want:   seen{Phase: Progressing, Step: 2, Canary: 40, Told: []string{"StepAdvanced"}, Effects: []Effect{ApplySplit{Split{Primary: 60, Canary: 40, Audience: true}}}},
			more:   free,
		},
		"users are kept already": {
			reason: "a rollout that is under way is not held up",
			in:     given(Progressing).steps(unsure(Step{Weight: 20}, Step{Weight: 40})...).at(1).agrees(),
			want:   seen{Phase: Progressing, Step: 2, Canary: 40, Told: []string{"StepAdvanced"}, Effects: []Effect{ApplySplit{ToCanary(40)}}},
			more:   free,
		},
		"an edit brings an audience": {
			reason: "its first request is an exposure of another kind",
			in:     given(Progressing).steps(append([]Step{{Weight: 20}}, unsure(Step{Weight: 40, Audience: true})...)...).at(1).agrees(),
			want:   seen{Phase: Progressing, Step: 1, Canary: 20},
			more: func(d Decision) string { // users see it: it goes on being judged
				return held(Recheck, "r2")(d) + cmp.Diff(noon.Add(Recheck), d.Next.CheckAt)
			},
		},
		"a rollback": {
			reason: "nothing holds it up",
			in:     given(Progressing).steps(unsure(Step{Mirror: 100}, Step{Mirror: 100})...).at(1).says("error-rate", Answer{Verdict: Fail}),
			want:   seen{Phase: RollingBack, Step: 1, Failed: 1, Told: []string{"RollingBack"}, Effects: []Effect{ApplySplit{AllPrimary()}}},
			more:   free,
		},
		"a promotion that is asked for": {
			reason: "no step is needed",
			in: given(Progressing).steps(unsure(Step{Mirror: 100})...).but(func(s *Snapshot) {
				s.State.Forced = true
			}),
			want: seen{Phase: Promoting, Effects: []Effect{ApplyPrimary{"r2", 2}}},
			more: free,
		},
	})
}
