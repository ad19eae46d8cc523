package plan

import (
	"maps"
	"strings"
)

// mutantsOfHooks take a webhook that gave no answer for one that gave one.
func mutantsOfHooks() []mutant {
	taken := func(t HookType, as Verdict) func(Snapshot) Decision {
		return before(func(s *Snapshot) {
			s.Answers = maps.Clone(s.Answers)
			for k, a := range s.Answers {
				if a.Verdict == Inconclusive && strings.Contains(k, "/"+string(t)+"/") {
					a.Verdict = as
					s.Answers[k] = a
				}
			}
		})
	}
	return []mutant{
		{"a rollback hook that gives no answer takes the version back", taken(RollbackHook, Pass)},
		{"a rollout gate that gives no answer is open", taken(ConfirmRollout, Pass)},
		{"a gate of a step that gives no answer is open", taken(ConfirmTrafficIncrease, Pass)},
		{"a gate of the promotion that gives no answer is open", taken(ConfirmPromotion, Pass)},
		{"a pre-rollout hook that gives no answer lets traffic in", taken(PreRollout, Pass)},
		{"a pre-rollout hook that gives no answer is a failed check", taken(PreRollout, Fail)},
		{"a rollout hook that gives no answer is a failed check", taken(RolloutHook, Fail)},
	}
}
