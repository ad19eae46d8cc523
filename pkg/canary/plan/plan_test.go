package plan

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestInitializing(t *testing.T) {
	first := func() *snap {
		return given("").target("r1").but(func(s *Snapshot) {
			s.State, s.Primary, s.Canary, s.Services, s.Route = State{}, Workload{}, Workload{}, Services{}, Route{}
			s.Target.Held, s.Target.Available, s.Target.Stored = false, 2, false
		})
	}
	decideAll(t, map[string]phaseCase{
		"a new Canary": {
			reason: "the primary comes up beside the target, which goes on serving",
			in:     first(),
			want: seen{Phase: Initializing, Effects: []Effect{
				TakeSnapshot{"r1"},
				ApplyPrimary{"r1", 2},
				ApplyServices{Serving: false, Split: AllPrimary()},
			}},
		},
		"no target": {
			reason: "only a person can help, and must be told so",
			in:     first().but(func(s *Snapshot) { s.Target = Target{} }),
			want:   seen{Phase: Initializing, Stalled: "TargetNotFound"},
		},
		"the primary is ready": {
			reason: "now the apex may leave the target's pods",
			in: given(Initializing).target("r1").but(func(s *Snapshot) {
				s.Services, s.Route, s.Target.Held, s.Target.Available = Services{Complete: true}, Route{}, false, 2
			}),
			want: seen{Phase: Initializing, Effects: []Effect{ApplyServices{Serving: true, Split: AllPrimary()}, ApplySplit{AllPrimary()}}},
		},
		"the route is refused": {
			reason: "the target goes on serving; a person must act",
			in: given(Initializing).target("r1").but(func(s *Snapshot) {
				s.Route.Confirmed, s.Route.Rejected, s.Route.Message = false, true, "no such gateway"
			}),
			want: seen{Phase: Initializing, Stalled: "RouteRejected"},
		},
		"all is ready": {
			reason: "the target is held only when its pods have drained",
			in:     given(Initializing).target("r1").but(func(s *Snapshot) { s.Target.Held = false }),
			want:   seen{Phase: Initialized, Told: []string{"Initialized"}},
			more: func(d Decision) string {
				return must(d.Next.DrainUntil.Equal(noon.Add(Settle+10*time.Second)), "no drain")
			},
		},
		"the deadline passes": {
			reason: "there is nothing to take back, so it is told, once",
			in: given(Initializing).target("r1").but(func(s *Snapshot) {
				s.Primary, s.State.Deadline = dead("r1", 2), noon
				s.Services.Serving, s.Target.Held, s.Target.Available, s.Route = false, false, 2, Route{}
			}),
			want: seen{Phase: Initializing, Told: []string{"InitializationTimedOut"}, Stalled: "InitializationTimedOut"},
		},
		"the deadline passed before": {
			reason: "what was told once is not told again",
			in: given(Initializing).target("r1").but(func(s *Snapshot) {
				s.Primary, s.State.Deadline, s.State.Overdue = dead("r1", 2), noon, true
				s.Services.Serving, s.Target.Held, s.Target.Available, s.Route = false, false, 2, Route{}
			}),
			want: seen{Phase: Initializing, Stalled: "InitializationTimedOut"},
		},
		"an earlier Canary left the target at zero": {
			reason: "the apex must not go back to a target without pods while the primary changes",
			in:     given(Initializing).but(func(s *Snapshot) { s.State.Stable, s.State.Deadline = "", time.Time{} }),
			want:   seen{Phase: Initializing, Effects: []Effect{ApplyPrimary{"r2", 2}}},
		},
		"a stored phase of a deletion that is no more": {
			reason: "what cannot be must not be a dead end",
			in:     given(Terminating).target("r1"),
			want:   seen{Phase: Initialized, Told: []string{"Initialized"}},
		},
	})
}

func TestIdle(t *testing.T) {
	decideAll(t, map[string]phaseCase{
		"a new revision": {
			reason: "a rollout starts",
			in:     given(Succeeded).target("r3").but(func(s *Snapshot) { s.Target.Stored = false }),
			want:   seen{Phase: Progressing, Told: []string{"NewRevision"}, Effects: []Effect{TakeSnapshot{"r3"}, ApplyCanary{"r3", 1}}},
		},
		"a rejected revision": {
			reason: "what failed is not tried again until the target changes",
			in:     given(Failed).but(func(s *Snapshot) { s.State.Rejected, s.Canary = "r2", Workload{} }),
			want:   seen{Phase: Failed},
		},
		"back at the promoted revision": {
			reason: "a failure is over when the target returned, so that the same revision can be tried again",
			in:     given(Failed).target("r1").but(func(s *Snapshot) { s.State.Rejected, s.Canary = "r2", Workload{} }),
			want:   seen{Phase: Initialized, Told: []string{"TargetReverted"}},
		},
		"no target": {
			reason: "the primary goes on serving",
			in:     given(Succeeded).but(func(s *Snapshot) { s.Target, s.Canary = Target{}, Workload{} }),
			want:   seen{Phase: Succeeded, Stalled: "TargetNotFound"},
		},
		"a cancelled rollout": {
			reason: "the canary goes away when it drained",
			in:     given(Cancelled).target("r1"),
			want:   seen{Phase: Cancelled, Effects: []Effect{ApplyCanary{"r2", 0}}},
		},
		"no replicas": {
			reason: "nothing can be judged without pods",
			in:     given(Succeeded).target("r3").but(func(s *Snapshot) { s.Target.Replicas, s.Canary, s.Primary = 0, Workload{}, healthy("r1", 0) }),
			want:   seen{Phase: Succeeded},
		},
		"a new revision while only the canary serves": {
			reason: "the only pods that serve are not given up",
			in: given(Failed).target("r3").routed(ToCanary(100)).but(func(s *Snapshot) {
				s.State.Split, s.State.Reverting, s.Primary = ToCanary(100), true, dead("r1", 2)
			}),
			want: seen{Phase: Failed, Canary: 100, Stalled: "PrimaryNotReady"},
		},
		"the primary is back": {
			reason: "the traffic leaves a canary that was taken back as soon as it can",
			in: given(Failed).routed(ToCanary(100)).but(func(s *Snapshot) {
				s.State.Split, s.State.Reverting, s.State.Rejected = ToCanary(100), true, "r2"
			}),
			want: seen{Phase: Failed, Effects: []Effect{ApplySplit{AllPrimary()}}},
		},
		"a post-rollout hook fails": {
			reason: "it is told and does not change the outcome",
			in:     given(Succeeded).target("r1").but(noCanary).hook(PostRollout, "report").says("report", Answer{Verdict: Fail, Message: "500"}),
			want:   seen{Phase: Succeeded, Told: []string{"PostRolloutHookFailed"}},
			more:   func(d Decision) string { return cmp.Diff([]string{"post-rollout/report"}, d.Next.Passed) },
		},
		"a gate for a new revision": {
			reason: "it waits for approval before anything starts",
			in:     given(Succeeded).target("r3").but(noCanary).hook(ConfirmRollout, "approve"),
			want:   seen{Phase: Waiting, Told: []string{"WaitingForApproval"}},
		},
	})
}

func noCanary(s *Snapshot) { s.Canary = Workload{} }

func TestWaiting(t *testing.T) {
	closed := Answer{Verdict: Fail, Message: "closed"}
	decideAll(t, map[string]phaseCase{
		"the gate is closed": {
			reason: "nothing is stored while a gate is polled",
			in:     given(Waiting).but(noCanary).hook(ConfirmRollout, "approve").says("approve", closed),
			want:   seen{Phase: Waiting},
			more:   func(d Decision) string { return must(d.Wake == time.Minute, "wakes after %v", d.Wake) },
		},
		"one of two gates agrees": {
			reason: "a gate that agreed is not asked again",
			in:     given(Waiting).but(noCanary).hook(ConfirmRollout, "approve").hook(ConfirmRollout, "freeze").says("freeze", closed),
			want:   seen{Phase: Waiting},
			more:   func(d Decision) string { return cmp.Diff([]string{"confirm-rollout/approve"}, d.Next.Passed) },
		},
		"all agree": {
			reason: "the canary is started",
			in:     given(Waiting).but(noCanary).hook(ConfirmRollout, "approve").agrees(),
			want:   seen{Phase: Progressing, Told: []string{"Approved"}, Effects: []Effect{ApplyCanary{"r2", 1}}},
		},
		"the deadline passes": {
			reason: "every wait has an end",
			in:     given(Waiting).but(noCanary).hook(ConfirmRollout, "approve").but(func(s *Snapshot) { s.State.Deadline = noon }),
			want:   seen{Phase: RollingBack, Told: []string{"RollingBack"}},
		},
		"a newer revision": {
			reason: "the approval of one revision is not one of another",
			in:     given(Waiting).but(noCanary).target("r3").hook(ConfirmRollout, "approve").agrees(),
			want:   seen{Phase: Waiting, Told: []string{"WaitingForApproval"}},
		},
		"the target is scaled to zero": {
			reason: "a rollout without pods is no failure of the revision",
			in: given(Waiting).but(noCanary).hook(ConfirmRollout, "approve").but(func(s *Snapshot) {
				s.Target.Replicas, s.Primary = 0, healthy("r1", 0)
			}),
			want: seen{Phase: RollingBack, Told: []string{"Cancelled"}},
		},
	})
}

func TestProgressing(t *testing.T) {
	bad := Answer{Verdict: Fail, Value: "17 %", Limit: "<= 1 %"}
	none := Answer{Verdict: Inconclusive, Message: "no data"}
	smoke := func() *snap { return given(Progressing).hook(PreRollout, "smoke") }
	decideAll(t, map[string]phaseCase{
		"the canary is not ready": {
			reason: "no weight before ready pods",
			in:     given(Progressing).but(func(s *Snapshot) { s.Canary = dead("r2", 1) }),
			want:   seen{Phase: Progressing},
		},
		"the canary is ready": {
			reason: "the first step is taken",
			in:     given(Progressing),
			want:   seen{Phase: Progressing, Step: 1, Canary: 20, Told: []string{"StepAdvanced"}, Effects: []Effect{ApplySplit{ToCanary(20)}}},
		},
		"the canary has no pods left of a rollout before": {
			reason: "ready at zero replicas is not ready",
			in:     given(Progressing).but(func(s *Snapshot) { s.Canary = healthy("r2", 0) }),
			want:   seen{Phase: Progressing, Effects: []Effect{ApplyCanary{"r2", 1}}},
		},
		"the route is refused": {
			reason: "a canary gets no traffic before the data plane confirms the old split",
			in:     given(Progressing).but(func(s *Snapshot) { s.Route.Confirmed, s.Route.Rejected = false, true }),
			want:   seen{Phase: Progressing, Stalled: "RouteRejected"},
		},
		"a pre-rollout hook fails": {
			reason: "it counts as a failed check",
			in:     smoke().but(func(s *Snapshot) { s.Spec.Threshold = 2 }).says("smoke", bad),
			want:   seen{Phase: Progressing, Failed: 1, Told: []string{"CheckFailed"}},
		},
		"a pre-rollout hook is silent": {
			reason: "traffic waits for its answer",
			in:     smoke(),
			want:   seen{Phase: Progressing},
		},
		"a pre-rollout hook is down": {
			reason: "it is asked again, and is no failure",
			in:     smoke().says("smoke", none),
			want:   seen{Phase: Progressing, Told: []string{"CheckInconclusive"}},
			more: func(d Decision) string {
				return must(d.Next.Attempt == 2 && d.Wake == Recheck, "attempt %d, wakes after %v", d.Next.Attempt, d.Wake)
			},
		},
		"a pre-rollout hook is to be asked again later": {
			reason: "between two attempts nothing happens",
			in:     smoke().but(func(s *Snapshot) { s.State.Attempt, s.State.CheckAt = 2, noon.Add(time.Second) }),
			want:   seen{Phase: Progressing},
			more:   func(d Decision) string { return must(d.Wake == time.Second, "wakes after %v", d.Wake) },
		},
		"the first gate is closed": {
			reason: "it is told once and gets a deadline of its own",
			in:     given(Progressing).hook(ConfirmTrafficIncrease, "more").says("more", bad),
			want:   seen{Phase: Progressing, Told: []string{"WaitingForApproval"}},
			more: func(d Decision) string {
				return must(d.Next.Halted && d.Next.Deadline.Equal(noon.Add(30*time.Minute)), "deadline %v", d.Next.Deadline)
			},
		},
		"the step goes on": {
			reason: "waiting changes nothing",
			in:     given(Progressing).atStep(1).but(func(s *Snapshot) { s.Now = noon.Add(-time.Second) }),
			want:   seen{Phase: Progressing, Step: 1, Canary: 20},
		},
		"the checks pass": {
			reason: "the next step is taken",
			in:     given(Progressing).atStep(1).agrees(),
			want:   seen{Phase: Progressing, Step: 2, Canary: 40, Told: []string{"StepAdvanced"}, Effects: []Effect{ApplySplit{ToCanary(40)}}},
		},
		"answers are missing": {
			reason: "a check is judged when it is complete",
			in:     given(Progressing).atStep(1),
			want:   seen{Phase: Progressing, Step: 1, Canary: 20},
		},
		"a check fails": {
			reason: "the threshold is one",
			in:     given(Progressing).atStep(1).says("error-rate", bad),
			want: seen{
				Phase: RollingBack, Step: 1, Failed: 1, Told: []string{"RollingBack"},
				Effects: []Effect{ApplySplit{AllPrimary()}},
			},
			more: func(d Decision) string {
				return cmp.Diff("metric error-rate is 17 % (limit <= 1 %)", d.Next.Cause)
			},
		},
		"no data": {
			reason: "missing data is not a bad release",
			in:     given(Progressing).atStep(1).says("error-rate", none),
			want:   seen{Phase: Progressing, Step: 1, Canary: 20, Told: []string{"CheckInconclusive"}},
		},
		"no data again": {
			reason: "the same is told once",
			in: given(Progressing).atStep(1).says("error-rate", none).but(func(s *Snapshot) {
				s.State.Results = []Result{{Name: "error-rate", Kind: "metric", Answer: none}}
			}),
			want: seen{Phase: Progressing, Step: 1, Canary: 20},
		},
		"no data until the deadline": {
			reason: "the deadline has an outcome, which names the check",
			in: given(Progressing).atStep(1).but(func(s *Snapshot) {
				s.State.Deadline = noon
				s.State.Results = []Result{{Name: "error-rate", Kind: "metric", Answer: none}}
			}),
			want: seen{Phase: RollingBack, Step: 1, Told: []string{"RollingBack"}, Effects: []Effect{ApplySplit{AllPrimary()}}},
			more: func(d Decision) string {
				return cmp.Diff("no verdict before the deadline: metric error-rate: no data", d.Next.Cause)
			},
		},
		"an invalid metric under PolicyPass": {
			reason: "what only an edit helps is no lack of data",
			in: given(Progressing).atStep(1).but(func(s *Snapshot) { s.Spec.NoData = PolicyPass }).
				says("error-rate", Answer{Verdict: Inconclusive, Invalid: true, Message: "no such template"}),
			want: seen{Phase: Progressing, Step: 1, Canary: 20, Told: []string{"CheckInconclusive"}, Stalled: "AnalysisInvalid"},
		},
		"no data under PolicyPass before a gate": {
			reason: "the gate is asked although the check said nothing",
			in: given(Progressing).atStep(1).hook(ConfirmTrafficIncrease, "more").but(func(s *Snapshot) { s.Spec.NoData = PolicyPass }).
				says("error-rate", none),
			want: seen{Phase: Progressing, Step: 2, Canary: 40, Told: []string{"StepAdvanced"}, Effects: []Effect{ApplySplit{ToCanary(40)}}},
		},
		"the canary lost some pods": {
			reason: "a step ends only with a ready canary",
			in: given(Progressing).but(func(s *Snapshot) {
				s.Spec.CanarySize, s.Canary = Size{Percent: 100}, healthy("r2", 2)
				s.Canary.Available = 1
			}).atStep(1).agrees(),
			want: seen{Phase: Progressing, Step: 1, Canary: 20},
		},
		"a gate does not answer": {
			reason: "a silent gate is waited for",
			in: given(Progressing).hook(ConfirmTrafficIncrease, "more").atStep(1).agrees().but(func(s *Snapshot) {
				for _, q := range s.increaseGates() {
					delete(s.Answers, q.Key)
				}
			}),
			want: seen{Phase: Progressing, Step: 1, Canary: 20},
		},
		"a gate times out": {
			reason: "a gate that says neither yes nor no is asked again",
			in:     given(Progressing).hook(ConfirmTrafficIncrease, "more").atStep(1).says("more", none),
			want:   seen{Phase: Progressing, Step: 1, Canary: 20, Told: []string{"WaitingForApproval"}},
			more:   func(d Decision) string { return must(d.Next.Attempt == 2, "attempt %d", d.Next.Attempt) },
		},
		"the gate stays closed until its deadline": {
			reason: "a gate has a deadline too",
			in:     given(Progressing).atStep(1).but(func(s *Snapshot) { s.State.Halted, s.State.Deadline = true, noon }),
			want:   seen{Phase: RollingBack, Step: 1, Told: []string{"RollingBack"}, Effects: []Effect{ApplySplit{AllPrimary()}}},
			more:   func(d Decision) string { return cmp.Diff("the gate did not agree before its deadline", d.Next.Cause) },
		},
		"the last gate is closed": {
			reason: "it has a phase of its own, so that people see what is waited for",
			in:     given(Progressing).hook(ConfirmPromotion, "promote").atStep(3).says("promote", bad),
			want:   seen{Phase: WaitingPromotion, Step: 3, Canary: 60, Told: []string{"WaitingForApproval"}},
		},
		"the last step passes": {
			reason: "the candidate is promoted, the canary goes on serving",
			in:     given(Progressing).atStep(3).agrees(),
			want:   seen{Phase: Promoting, Step: 3, Canary: 60, Effects: []Effect{ApplyPrimary{"r2", 2}}},
		},
		"the route was never confirmed": {
			reason: "the cause is the route",
			in: given(Progressing).atStep(1).but(func(s *Snapshot) {
				s.State.Deadline, s.Route.Confirmed, s.Route.Message = noon, false, "gateway is gone"
			}),
			want: seen{Phase: RollingBack, Step: 1, Told: []string{"RollingBack"}, Effects: []Effect{ApplySplit{AllPrimary()}}},
			more: func(d Decision) string {
				return cmp.Diff("the route was not confirmed before the deadline: gateway is gone", d.Next.Cause)
			},
		},
		"a deadline that passed while nobody watched": {
			reason: "a controller that was down must look before it judges",
			in:     given(Progressing).atStep(1).but(func(s *Snapshot) { s.State.Deadline, s.Since = noon.Add(-time.Hour), noon }),
			want:   seen{Phase: Progressing, Step: 1, Canary: 20},
		},
		"the threshold is lowered": {
			reason: "the threshold is looked at in every decision",
			in:     given(Progressing).atStep(1).but(func(s *Snapshot) { s.State.FailedChecks = 2 }),
			want: seen{
				Phase: RollingBack, Step: 1, Failed: 2, Told: []string{"RollingBack"},
				Effects: []Effect{ApplySplit{AllPrimary()}},
			},
		},
	})
}

func must(ok bool, format string, args ...any) string {
	if ok {
		return ""
	}
	return fmt.Sprintf(format, args...)
}
