package plan

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// pausing makes the step that is given pause so long.
func pausing(pause time.Duration) *snap {
	return given(Progressing).but(func(s *Snapshot) { s.Spec.Steps[0].Pause = pause }).atStep(1).agrees()
}

func deadlineIn(after time.Duration) func(Decision) string {
	return func(d Decision) string { return cmp.Diff(noon.Add(after), d.Next.Deadline) }
}

func TestPauses(t *testing.T) {
	bad := Answer{Verdict: Fail, Value: "17 %", Limit: "<= 1 %"}
	paused := func(s *Snapshot) { s.State.Paused, s.State.Deadline = true, noon.Add(20*time.Minute) }
	decideAll(t, map[string]phaseCase{
		"a person pauses": {
			reason: "the step goes on being judged, and the wait has the deadline of gates",
			in:     given(Progressing).atStep(1).asks("pause@1"),
			want:   seen{Phase: Progressing, Step: 1, Canary: 20, Told: []string{"Paused"}},
			more:   deadlineIn(30 * time.Minute),
		},
		"a person pauses what a gate holds": {
			reason: "one wait at a time: the gate is asked again after the pause",
			in:     given(WaitingPromotion).atStep(3).asks("pause@1").but(func(s *Snapshot) { s.State.Halted = true }),
			want:   seen{Phase: WaitingPromotion, Step: 3, Canary: 60, Told: []string{"Paused"}},
			more:   func(d Decision) string { return must(d.Next.Paused && !d.Next.Halted, "%+v", d.Next) },
		},
		"it is paused already": {
			reason: "the deadline is not pushed out by asking again",
			in:     given(Progressing).atStep(1).but(paused).agrees().asks("pause@2"),
			want:   seen{Phase: Progressing, Step: 1, Canary: 20, Told: []string{"RequestRefused"}},
			more:   deadlineIn(20 * time.Minute),
		},
		"nothing can be paused": {
			reason: "the reply says what does stop it",
			in:     promotion().but(func(s *Snapshot) { s.Primary.Updated = 1 }).asks("pause@1"),
			want:   seen{Phase: Promoting, Step: 3, Canary: 60, Told: []string{"RequestRefused"}},
			more:   reply(false, "nothing can be paused in phase Promoting; spec.suspend stops everything"),
		},
		"the threshold was lowered meanwhile": {
			reason: "what failed too often is taken back whatever else is asked for",
			in:     given(Progressing).atStep(1).asks("pause@1").but(func(s *Snapshot) { s.State.FailedChecks = s.Spec.Threshold }),
			want:   seen{Phase: RollingBack, Step: 1, Failed: 1, Told: []string{"RequestRefused", "RollingBack"}, Effects: []Effect{ApplySplit{AllPrimary()}}},
		},
		"a pause ends when the threshold was lowered": {
			reason: "it does not go on",
			in:     given(Progressing).atStep(1).but(paused).asks("resume@1").but(func(s *Snapshot) { s.State.FailedChecks = s.Spec.Threshold }),
			want:   seen{Phase: RollingBack, Step: 1, Failed: 1, Told: []string{"RequestRefused", "RollingBack"}, Effects: []Effect{ApplySplit{AllPrimary()}}},
		},
		"a check passes": {
			reason: "a paused rollout goes no further",
			in:     given(Progressing).atStep(1).but(paused).agrees(),
			want:   seen{Phase: Progressing, Step: 1, Canary: 20},
			more: func(d Decision) string {
				return must(d.Next.CheckAt.Equal(noon.Add(time.Minute)) && d.Next.Attempt == 2, "%+v", d.Next)
			},
		},
		"a check fails": {
			reason: "a pause does not keep a bad version, and the deadline stays where it was told",
			in:     given(Progressing).but(func(s *Snapshot) { s.Spec.Threshold = 2 }).atStep(1).but(paused).says("error-rate", bad),
			want:   seen{Phase: Progressing, Step: 1, Canary: 20, Failed: 1, Told: []string{"CheckFailed"}},
			more:   deadlineIn(20 * time.Minute),
		},
		"its pods die": {
			reason: "the traffic leaves them; it stays paused, no longer than was told",
			in: given(Progressing).but(func(s *Snapshot) { s.Spec.Threshold = 2 }).atStep(1).but(paused).but(func(s *Snapshot) {
				s.Canary, s.State.Passed = dead("r2", 1), []string{"pre-rollout/smoke", "pause/1"}
			}),
			want: seen{Phase: Progressing, Failed: 1, Told: []string{"CheckFailed"}, Effects: []Effect{ApplySplit{AllPrimary()}}},
			more: func(d Decision) string {
				return must(d.Next.Paused && d.Next.Deadline.Equal(noon.Add(20*time.Minute)), "%+v", d.Next) +
					cmp.Diff([]string{"pre-rollout/smoke"}, d.Next.Passed)
			},
		},
		"the deadline passes": {
			reason: "every wait has an end",
			in:     given(Progressing).atStep(1).but(paused).but(func(s *Snapshot) { s.State.Deadline = noon }),
			want:   seen{Phase: RollingBack, Step: 1, Told: []string{"RollingBack"}, Effects: []Effect{ApplySplit{AllPrimary()}}},
			more: func(d Decision) string {
				return cmp.Diff("nobody resumed the rollout before the deadline", d.Next.Cause)
			},
		},
		"paused before the first step": {
			reason: "no weight while paused; nothing is asked either",
			in:     given(Progressing).hook(PreRollout, "smoke").but(paused),
			want:   seen{Phase: Progressing},
			more:   func(d Decision) string { return must(d.Wake == 20*time.Minute, "wakes after %v", d.Wake) },
		},
		"paused, and analysis is skipped": {
			reason: "that is no reason to go on",
			in:     given(Progressing).but(paused).but(func(s *Snapshot) { s.Spec.SkipAnalysis = true }),
			want:   seen{Phase: Progressing},
		},
		"a person resumes": {
			reason: "the next check leads on",
			in:     given(Progressing).atStep(1).but(paused).asks("resume@1").but(func(s *Snapshot) { s.State.CheckAt = noon.Add(10 * time.Second) }),
			want:   seen{Phase: Progressing, Step: 1, Canary: 20, Told: []string{"Resumed"}},
			more:   deadlineIn(10*time.Minute + 10*time.Second),
		},
		"a person resumes before the pause of the step": {
			reason: "a pause that did not begin is not skipped",
			in:     pausing(time.Hour).but(paused).asks("resume@1"),
			want:   seen{Phase: Progressing, Step: 1, Canary: 20, Told: []string{"Resumed"}},
			more:   func(d Decision) string { return cmp.Diff([]string(nil), d.Next.Passed) },
		},
		"nothing is paused": {
			reason: "it is refused in words",
			in:     given(Progressing).atStep(1).asks("resume@1"),
			want:   seen{Phase: Progressing, Step: 1, Canary: 20, Told: []string{"RequestRefused"}},
			more:   reply(false, "nothing is paused"),
		},
	})
}

func TestPausesOfSteps(t *testing.T) {
	running := func(s *Snapshot) { s.State.PausedUntil = noon.Add(90 * time.Second) }
	decideAll(t, map[string]phaseCase{
		"it begins": {
			reason: "when the checks have passed; its end is told",
			in:     pausing(90 * time.Second),
			want:   seen{Phase: Progressing, Step: 1, Canary: 20, Told: []string{"Paused"}},
			more: func(d Decision) string {
				return cmp.Diff(noon.Add(90*time.Second), d.Next.PausedUntil) + cmp.Diff(noon.Add(time.Minute), d.Next.CheckAt) +
					cmp.Diff(noon.Add(90*time.Second+10*time.Minute), d.Next.Deadline)
			},
		},
		"it goes on": {
			reason: "the step goes on being judged, also at the end of the pause",
			in:     pausing(time.Hour).but(func(s *Snapshot) { s.State.PausedUntil = noon.Add(30 * time.Second) }),
			want:   seen{Phase: Progressing, Step: 1, Canary: 20},
			more:   func(d Decision) string { return cmp.Diff(noon.Add(30*time.Second), d.Next.CheckAt) },
		},
		"the spec loses it": {
			reason: "what was told until when holds",
			in:     pausing(0).but(running),
			want:   seen{Phase: Progressing, Step: 1, Canary: 20},
		},
		"it is over": {
			reason: "the next step is taken",
			in:     pausing(time.Hour).but(func(s *Snapshot) { s.State.PausedUntil = noon }),
			want:   seen{Phase: Progressing, Step: 2, Canary: 40, Told: []string{"StepAdvanced"}, Effects: []Effect{ApplySplit{ToCanary(40)}}},
		},
		"gates are asked after it": {
			reason: "an answer of an hour ago would be worth nothing",
			in:     pausing(time.Hour).hook(ConfirmTrafficIncrease, "more"),
			want:   seen{Phase: Progressing, Step: 1, Canary: 20, Told: []string{"Paused"}},
		},
		"a person ends it": {
			reason: "it is not held again",
			in:     pausing(time.Hour).but(running).asks("resume@1"),
			want:   seen{Phase: Progressing, Step: 1, Canary: 20, Told: []string{"Resumed"}},
			more: func(d Decision) string {
				return must(d.Next.PausedUntil.IsZero(), "%v", d.Next.PausedUntil) + cmp.Diff([]string{"pause/1"}, d.Next.Passed)
			},
		},
		"until a person resumes": {
			reason: "it is told as what waits for people",
			in:     pausing(UntilResumed),
			want:   seen{Phase: Progressing, Step: 1, Canary: 20, Told: []string{"Paused"}},
			more: func(d Decision) string {
				return must(d.Next.Paused && d.Notices[0].Alert, "%+v", d.Next) + cmp.Diff([]string{"pause/1"}, d.Next.Passed) +
					cmp.Diff(noon.Add(30*time.Minute), d.Next.Deadline)
			},
		},
		"resumed": {
			reason: "it holds once",
			in:     pausing(UntilResumed).but(func(s *Snapshot) { s.State.Passed = []string{"pause/1"} }),
			want:   seen{Phase: Progressing, Step: 2, Canary: 40, Told: []string{"StepAdvanced"}, Effects: []Effect{ApplySplit{ToCanary(40)}}},
		},
	})
}

func TestFreeze(t *testing.T) {
	bad := Answer{Verdict: Fail, Value: "17 %", Limit: "<= 1 %"}
	freezes := func(s *Snapshot) { s.Spec.Freeze = true }
	cold := func() *snap {
		return given(Frozen).atStep(2).but(func(s *Snapshot) { s.State.Cause, s.State.FailedChecks = "bad", 1 })
	}
	decideAll(t, map[string]phaseCase{
		"the threshold is reached": {
			reason: "everything stays where it is until a person decides",
			in:     given(Progressing).atStep(2).but(freezes).says("error-rate", bad),
			want:   seen{Phase: Frozen, Step: 2, Canary: 40, Failed: 1, Told: []string{"Frozen"}, Stalled: "Frozen"},
			more:   deadlineIn(30 * time.Minute),
		},
		"the threshold is lowered": {
			reason: "the same, by an edit",
			in:     given(Progressing).atStep(2).but(freezes).but(func(s *Snapshot) { s.State.FailedChecks = 3 }),
			want:   seen{Phase: Frozen, Step: 2, Canary: 40, Failed: 3, Told: []string{"Frozen"}, Stalled: "Frozen"},
		},
		"the canary cannot serve": {
			reason: "nothing to look at: it is taken back",
			in:     given(Progressing).atStep(2).but(freezes).but(func(s *Snapshot) { s.Canary = dead("r2", 1) }),
			want:   seen{Phase: RollingBack, Step: 2, Failed: 1, Told: []string{"RollingBack"}, Effects: []Effect{ApplySplit{AllPrimary()}}},
		},
		"nobody decides yet": {
			reason: "waiting changes nothing",
			in:     cold(),
			want:   seen{Phase: Frozen, Step: 2, Canary: 40, Failed: 1, Stalled: "Frozen"},
			more:   func(d Decision) string { return must(d.Wake == 10*time.Minute, "wakes after %v", d.Wake) },
		},
		"nobody decided": {
			reason: "the deadline has an outcome, which names the first cause",
			in:     cold().but(func(s *Snapshot) { s.State.Deadline = noon }),
			want:   seen{Phase: RollingBack, Step: 2, Failed: 1, Told: []string{"RollingBack"}, Effects: []Effect{ApplySplit{AllPrimary()}}},
			more:   func(d Decision) string { return cmp.Diff("nobody decided before the deadline: bad", d.Next.Cause) },
		},
		"the pods die": {
			reason: "frozen or not, traffic needs pods",
			in:     cold().but(func(s *Snapshot) { s.Canary = dead("r2", 1) }),
			want:   seen{Phase: RollingBack, Step: 2, Failed: 1, Told: []string{"RollingBack"}, Effects: []Effect{ApplySplit{AllPrimary()}}},
		},
		"the pods give up": {
			reason: "the same without traffic",
			in: cold().but(func(s *Snapshot) {
				s.Canary = dead("r2", 1)
				s.Canary.Stuck, s.State.Split, s.Route.Current = true, AllPrimary(), AllPrimary()
			}),
			want: seen{Phase: RollingBack, Step: 2, Failed: 1, Told: []string{"RollingBack"}},
		},
		"a fix is committed": {
			reason: "that is a decision too",
			in:     cold().target("r3"),
			want:   seen{Phase: Progressing, Told: []string{"NewRevision"}, Effects: []Effect{ApplySplit{AllPrimary()}}},
		},
		"the target returns": {
			reason: "that is one as well",
			in:     cold().target("r1"),
			want:   seen{Phase: RollingBack, Step: 2, Failed: 1, Told: []string{"Cancelled"}, Effects: []Effect{ApplySplit{AllPrimary()}}},
		},
		"a person resumes": {
			reason: "it goes on where it stands, with nothing counted, and its step is judged anew",
			in:     cold().asks("resume@1"),
			want:   seen{Phase: Progressing, Step: 2, Canary: 40, Told: []string{"Resumed"}},
			more: func(d Decision) string {
				return cmp.Diff(noon.Add(Settle+time.Minute), d.Next.CheckAt) + cmp.Diff("", d.Next.Cause) +
					cmp.Diff(noon.Add(Settle+11*time.Minute), d.Next.Deadline)
			},
		},
		"frozen before the first step": {
			reason: "the hooks before it are asked again",
			in:     given(Frozen).hook(PreRollout, "smoke").asks("resume@1"),
			want:   seen{Phase: Progressing, Told: []string{"Resumed"}},
			more:   func(d Decision) string { return must(d.Next.Attempt == 2, "attempt %d", d.Next.Attempt) },
		},
		"somebody moves its traffic": {
			reason: "it stays where it was frozen",
			in:     cold().but(func(s *Snapshot) { s.Route.Current = AllPrimary() }),
			want:   seen{Phase: Frozen, Step: 2, Canary: 40, Failed: 1, Effects: []Effect{ApplySplit{ToCanary(40)}}, Stalled: "Frozen"},
		},
	})
}

func TestBake(t *testing.T) {
	bad := Answer{Verdict: Fail, Value: "17 %", Limit: "<= 1 %"}
	none := Answer{Verdict: Inconclusive, Message: "no data"}
	baking := func() *snap { return given(Baking).but(promoted) }
	decideAll(t, map[string]phaseCase{
		"it begins": {
			reason: "promoted is not proven: the primary is judged for a while",
			in:     promotion().but(func(s *Snapshot) { s.Spec.Bake, s.Spec.BakeThreshold = 90*time.Second, 1 }),
			want:   seen{Phase: Baking, Step: 3, Told: []string{"Promoted"}, Effects: []Effect{ApplySplit{AllPrimary()}}},
			more: func(d Decision) string {
				return cmp.Diff(noon.Add(90*time.Second), d.Next.BakeUntil) + cmp.Diff(noon.Add(time.Minute), d.Next.CheckAt) + cmp.Diff("r2", d.Next.Stable)
			},
		},
		"a check is not due": {
			reason: "waiting changes nothing",
			in:     baking().but(func(s *Snapshot) { s.State.CheckAt = noon.Add(time.Second) }),
			want:   seen{Phase: Baking},
			more:   func(d Decision) string { return must(d.Wake == time.Second, "wakes after %v", d.Wake) },
		},
		"a check passes": {
			reason: "the next one follows",
			in:     baking().agrees(),
			want:   seen{Phase: Baking},
			more:   func(d Decision) string { return cmp.Diff(noon.Add(time.Minute), d.Next.CheckAt) },
		},
		"the last one passes": {
			reason: "now it is proven",
			in:     baking().but(func(s *Snapshot) { s.State.BakeUntil = noon }).agrees(),
			want:   seen{Phase: Succeeded, Told: []string{"Baked"}},
		},
		"answers are missing": {
			reason: "a check is judged when it is complete",
			in:     baking(),
			want:   seen{Phase: Baking},
		},
		"a check fails": {
			reason: "the primary returns to the previous revision, and the one that failed is rejected",
			in:     baking().says("error-rate", bad),
			want:   seen{Phase: RollingBack, Failed: 1, Told: []string{"RollingBack"}, Effects: []Effect{ApplyPrimary{"r1", 2}}},
			more: func(d Decision) string {
				return must(d.Next.Reverting && d.Next.Stable == "r1" && d.Next.Candidate == "r2", "%+v", d.Next) +
					cmp.Diff("after the promotion metric error-rate is 17 % (limit <= 1 %)", d.Next.Cause)
			},
		},
		"one failed check is forgiven": {
			reason: "it has a threshold of its own",
			in:     baking().but(func(s *Snapshot) { s.Spec.BakeThreshold = 2 }).says("error-rate", bad),
			want:   seen{Phase: Baking, Failed: 1, Told: []string{"CheckFailed"}},
		},
		"no data": {
			reason: "missing data is not a bad release",
			in:     baking().says("error-rate", none),
			want:   seen{Phase: Baking},
		},
		"no data under PolicyFail": {
			reason: "the policy holds here too",
			in:     baking().but(func(s *Snapshot) { s.Spec.NoData = PolicyFail }).says("error-rate", none),
			want:   seen{Phase: RollingBack, Failed: 1, Told: []string{"RollingBack"}, Effects: []Effect{ApplyPrimary{"r1", 2}}},
		},
		"no data until the deadline": {
			reason: "it ends, and the notice says without what",
			in: baking().but(func(s *Snapshot) {
				s.State.BakeUntil, s.State.Deadline = noon.Add(-time.Minute), noon
			}).says("error-rate", none),
			want: seen{Phase: Succeeded, Told: []string{"Baked"}},
			more: func(d Decision) string { return must(d.Notices[0].Severity == Warning, "%+v", d.Notices[0]) },
		},
		"the primary has no pods": {
			reason: "that is a failed check, whatever metrics say",
			in:     baking().agrees().but(func(s *Snapshot) { s.Primary = dead("r2", 2) }),
			want:   seen{Phase: RollingBack, Failed: 1, Told: []string{"RollingBack"}, Effects: []Effect{ApplyPrimary{"r1", 2}}},
		},
		"the previous revision is gone": {
			reason: "there is nothing to return to: it ends, loudly",
			in:     baking().says("error-rate", bad).but(func(s *Snapshot) { s.Kept = []string{"r2"} }),
			want:   seen{Phase: Succeeded, Failed: 1, Told: []string{"BakeFailed"}},
			more: func(d Decision) string {
				return must(d.Notices[0].Severity == Error && d.Notices[0].Alert, "%+v", d.Notices[0])
			},
		},
		"a rollback hook": {
			reason: "it is asked for as long as there is something to take back",
			in:     baking().hook(RollbackHook, "alarm").says("alarm", Answer{Verdict: Pass, Message: "alarm"}),
			want:   seen{Phase: RollingBack, Told: []string{"RollingBack"}, Effects: []Effect{ApplyPrimary{"r1", 2}}},
		},
		"a rollback hook that says no": {
			reason: "it is asked again after an interval",
			in:     baking().hook(RollbackHook, "alarm").agrees().but(func(s *Snapshot) { s.State.CheckAt = noon.Add(time.Hour) }),
			want:   seen{Phase: Baking},
			more:   func(d Decision) string { return must(d.Wake == time.Minute, "wakes after %v", d.Wake) },
		},
		"a new revision": {
			reason: "its rollout starts; what was promoted before this one stays what a person goes back to until it is promoted",
			in:     baking().target("r3"),
			want:   seen{Phase: Progressing, Told: []string{"NewRevision"}, Effects: []Effect{ApplyCanary{"r3", 1}}},
			more: func(d Decision) string {
				return cmp.Diff("new revision r3 detected: starting the canary", d.Notices[0].Message) + cmp.Diff("r1", d.Next.Previous)
			},
		},
		"a new revision under a spec that cannot be used": {
			reason: "the bake goes on, nothing new begins",
			in:     baking().target("r3").but(unusableSpec).agrees(),
			want:   seen{Phase: Baking, Stalled: "InvalidSpec"},
		},
		"it was taken back": {
			reason: "the primary serves the previous revision",
			in: given(RollingBack).but(noCanary).but(func(s *Snapshot) {
				s.State.Outcome, s.State.Cause, s.State.Reverting, s.State.Previous = Failed, "after the promotion bad", true, "r1"
			}),
			want: seen{Phase: Failed, Told: []string{"RolledBack"}},
			more: func(d Decision) string { return cmp.Diff("r2", d.Next.Rejected) },
		},
	})
}
