package plan

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// What a hostile reading of the planner found.

func pausing3(weights ...int32) []Step {
	var out []Step
	for _, w := range weights {
		out = append(out, Step{Weight: w, Interval: time.Minute, Pause: UntilResumed})
	}
	return out
}

func TestPausesBelongToTheirSteps(t *testing.T) {
	at20 := func(z *State) {
		z.Step, z.Split, z.StepAt, z.CheckAt = 2, ToCanary(20), noon.Add(-Settle-time.Minute), noon
	}
	decideAll(t, map[string]phaseCase{
		"a step was taken out before it": {
			reason: "the next step has the number of the one whose pause was ended; its own pause is to come",
			in: given(Progressing).but(func(s *Snapshot) {
				s.Spec.Steps = pausing3(20, 50)
				at20(&s.State)
				s.State.Passed = []string{"pre-rollout/a", "pause/1", "pause/2"}
			}).routed(ToCanary(20)).agrees(),
			want: seen{Phase: Progressing, Step: 2, Canary: 50, Told: []string{"StepAdvanced"}, Effects: []Effect{ApplySplit{ToCanary(50)}}},
			more: func(d Decision) string { return cmp.Diff([]string{"pre-rollout/a"}, d.Next.Passed) },
		},
		"a step was put in before it": {
			reason: "the pause is that of the weight that the canary has",
			in: given(Progressing).but(func(s *Snapshot) {
				s.Spec.Steps = []Step{{Weight: 5, Interval: time.Minute}, {Weight: 10, Interval: time.Minute}, pausing3(20)[0], {Weight: 50, Interval: time.Minute}}
				at20(&s.State)
			}).routed(ToCanary(20)).agrees(),
			want: seen{Phase: Progressing, Step: 2, Canary: 20, Told: []string{"Paused"}},
		},
		"its step is gone": {
			reason: "so is its pause",
			in: given(Progressing).but(func(s *Snapshot) {
				s.Spec.Steps = pausing3(10, 50)
				at20(&s.State)
			}).routed(ToCanary(20)).agrees(),
			want: seen{Phase: Progressing, Step: 2, Canary: 50, Told: []string{"StepAdvanced"}, Effects: []Effect{ApplySplit{ToCanary(50)}}},
		},
	})
}

func TestWhatServesIsNotGivenUp(t *testing.T) {
	stranded := func(s *Snapshot) {
		s.State.Split, s.State.Rejected, s.State.Outcome, s.Primary = ToCanary(50), "r2", Failed, dead("r1", 2)
	}
	decideAll(t, map[string]phaseCase{
		"retry": {
			reason: "it is no fix: all traffic would go to a primary without pods",
			in:     given(Failed).but(stranded).routed(ToCanary(50)).asks("retry@1"),
			want:   seen{Phase: Failed, Canary: 50, Stalled: "PrimaryNotReady", Told: []string{"RequestRefused"}},
		},
		"a new revision that must be approved": {
			reason: "nobody would serve until it is, which may be a week",
			in:     given(Failed).but(stranded).routed(ToCanary(50)).target("r3").hook(ConfirmRollout, "change"),
			want:   seen{Phase: Failed, Canary: 50, Stalled: "PrimaryNotReady"},
			more: func(d Decision) string {
				return must(strings.Contains(d.Why, "siskin.dev/request=promote@"), "the way out is not named: %s", d.Why)
			},
		},
	})
}

func TestTakeOver(t *testing.T) {
	left := func(s *Snapshot) {
		s.State, s.Canary, s.Kept = State{}, Workload{}, []string{"r1", "r2"}
	}
	decideAll(t, map[string]phaseCase{
		"the target has what was taken back": {
			reason: "the primary serves what passed; the target's revision is released like any other",
			in:     given("").but(left),
			want:   seen{Phase: Initializing},
			more:   func(d Decision) string { return cmp.Diff("r1", d.Next.Stable) },
		},
		"its pods are away for a moment": {
			reason: "that does not bring what was taken back to everybody",
			in: given(Initializing).but(left).but(func(s *Snapshot) {
				s.State = State{Phase: Initializing, Stable: "r1", Split: AllPrimary(), Deadline: noon.Add(time.Minute), Replicas: 2}
				s.Primary = dead("r1", 2)
			}),
			want: seen{Phase: Initializing},
			more: func(d Decision) string { return cmp.Diff("r1", d.Next.Stable) },
		},
		"it does not come up": {
			reason: "who serves is told as it is",
			in: given(Initializing).but(left).but(func(s *Snapshot) {
				s.State = State{Phase: Initializing, Stable: "r1", Split: AllPrimary(), Deadline: noon, Replicas: 2}
				s.Primary = dead("r1", 2)
			}),
			want: seen{Phase: Initializing, Stalled: "InitializationTimedOut", Told: []string{"InitializationTimedOut"}},
			more: func(d Decision) string {
				return must(strings.HasSuffix(d.Why, "neither target nor primary has pods that could serve"), "%s", d.Why)
			},
		},
		"its route is not accepted": {
			reason: "that is no reason to bring what was taken back to everybody; and who serves is told",
			in: given(Initializing).but(left).but(func(s *Snapshot) {
				s.State = State{Phase: Initializing, Stable: "r1", Split: AllPrimary(), Deadline: noon, Replicas: 2}
				s.Route.Confirmed = false
			}),
			want: seen{Phase: Initializing, Stalled: "InitializationTimedOut", Told: []string{"InitializationTimedOut"}},
			more: func(d Decision) string {
				return must(d.Next.Stable == "r1" && strings.HasSuffix(d.Why, "the primary goes on serving"), "%s: %s", d.Next.Stable, d.Why)
			},
		},
		"its route is not accepted, long after": {
			reason: "the same",
			in: given(Initializing).but(left).but(func(s *Snapshot) {
				s.State = State{Phase: Initializing, Stable: "r1", Split: AllPrimary(), Deadline: noon, Replicas: 2, Overdue: true}
				s.Route.Confirmed = false
			}),
			want: seen{Phase: Initializing, Stalled: "InitializationTimedOut"},
			more: func(d Decision) string { return cmp.Diff("r1", d.Next.Stable) },
		},
		"it did not come up": {
			reason: "the target's revision may be the fix",
			in: given(Initializing).but(left).but(func(s *Snapshot) {
				s.State = State{Phase: Initializing, Stable: "r1", Split: AllPrimary(), Deadline: noon, Replicas: 2, Overdue: true}
				s.Primary = dead("r1", 2)
			}),
			want: seen{Phase: Initializing, Effects: []Effect{ApplyPrimary{"r2", 2}}},
		},
		"its snapshot is gone": {
			reason: "only what is kept can be gone back to: the target's revision is what there is",
			in:     given("").but(left).but(func(s *Snapshot) { s.Kept = []string{"r2"} }),
			want:   seen{Phase: Initializing, Effects: []Effect{ApplyPrimary{"r2", 2}}},
		},
	})
}

func TestAMatchThatIsTakenOut(t *testing.T) {
	withMatch := Split{Primary: 80, Canary: 20, Audience: true}
	decideAll(t, map[string]phaseCase{
		"in a step": {
			reason: "no route could say which requests are meant; a good version must not fail by that",
			in: given(Progressing).atStep(1).but(func(s *Snapshot) { s.State.Split, s.State.CheckAt = withMatch, noon.Add(time.Minute) }).
				routed(withMatch),
			want: seen{Phase: Progressing, Step: 1, Canary: 20, Effects: []Effect{ApplySplit{ToCanary(20)}}},
		},
		"in an A/B test": {
			reason: "nobody is sent to the canary until a step gives it a share",
			in: given(Progressing).atStep(1).but(func(s *Snapshot) {
				s.State.Split, s.State.CheckAt = Split{Primary: 100, Audience: true}, noon.Add(time.Minute)
			}).routed(Split{Primary: 100, Audience: true}),
			want: seen{Phase: Progressing, Step: 1, Effects: []Effect{ApplySplit{AllPrimary()}}},
		},
		"under a spec that cannot be used": {
			reason: "nothing of such a spec is used",
			in: given(Progressing).atStep(1).but(func(s *Snapshot) {
				s.State.Split, s.State.CheckAt = withMatch, noon.Add(time.Minute)
				unusableSpec(s)
			}).routed(withMatch),
			want: seen{Phase: Progressing, Step: 1, Canary: 20, Stalled: "InvalidSpec"},
		},
	})
}

func TestGoingBackAfterWhatFailed(t *testing.T) {
	begun := Decide(given(Succeeded).but(noCanary).but(func(s *Snapshot) { s.State.Previous = "r0" }).s)
	decideAll(t, map[string]phaseCase{
		"rollback after a version that was taken back": {
			reason: "the revision before is the one that was promoted before",
			in: given(Failed).but(noCanary).asks("rollback@1").but(func(s *Snapshot) {
				s.State.Previous, s.State.Rejected = begun.Next.Previous, "r2"
			}),
			want: seen{Phase: Promoting, Told: []string{"DirectRollout"}, Effects: []Effect{ApplyPrimary{"r0", 2}}},
		},
		"a promotion": {
			reason: "from now on one goes back to what it replaced",
			in:     promotion().but(func(s *Snapshot) { s.State.Previous, s.Primary = "r0", healthy("r2", 2) }),
			want:   seen{Phase: Succeeded, Step: 3, Told: []string{"Promoted"}, Effects: []Effect{ApplySplit{AllPrimary()}}},
			more:   func(d Decision) string { return cmp.Diff("r1", d.Next.Previous) },
		},
	})
}

func TestStepsThatBeginAnewAreCounted(t *testing.T) {
	b := given(Progressing).but(func(s *Snapshot) { s.Spec.Threshold = 3 }).atStep(3).but(func(s *Snapshot) { s.Canary = dead("r2", 1) })
	if d := Decide(b.s); d.Next.Restarts != 1 || d.Next.Step != 0 {
		t.Errorf("%d restarts, step %d: users of the step before are told apart by that", d.Next.Restarts, d.Next.Step)
	}
}

func TestAPrimaryThatDidNotComeBack(t *testing.T) {
	in := given(RollingBack).but(noCanary).but(func(s *Snapshot) {
		s.State.Reverting, s.State.Outcome, s.State.Cause, s.State.Deadline = true, Failed, "bad", noon
		s.Primary = Workload{Found: true, Revision: "r1", Replicas: 2, Pods: 3, Updated: 1, Available: 2, Endpoints: 2, Current: true, Message: "ImagePullBackOff"}
	})
	d := Decide(in.s)
	n := d.Notices[0]
	if n.Severity != Error || !n.Alert || !strings.HasPrefix(n.Message, "the primary could not be brought back to revision r1 before the deadline") {
		t.Errorf("told: %s %s", n.Severity, n.Message)
	}
	in.s.State = d.Next
	idle := Decide(in.s)
	if idle.Stalled != "PrimaryNotReady" || len(idle.WaitingFor) != 1 || !strings.Contains(idle.WaitingFor[0], "ImagePullBackOff") {
		t.Errorf("afterwards: stalled %q, waits for %v", idle.Stalled, idle.WaitingFor)
	}
	in.s.Primary = healthy("r1", 2)
	if done := Decide(in.s); done.Stalled != "" || len(done.WaitingFor) != 0 {
		t.Errorf("when it is back: stalled %q, waits for %v", done.Stalled, done.WaitingFor)
	}
}

// Somebody, or an autoscaler, may size the primary after a rollout that was taken back: that is nothing to be told.
func TestAPrimaryThatIsScaledIsNotBehind(t *testing.T) {
	in := given(Failed).but(noCanary).but(func(s *Snapshot) {
		s.State.Rejected = "r2"
		s.Primary.Replicas, s.Target.Replicas, s.State.Replicas = 4, 4, 4
	})
	if d := Decide(in.s); d.Stalled != "" || len(d.WaitingFor) > 0 {
		t.Errorf("stalled %q, waits for %v", d.Stalled, d.WaitingFor)
	}
}

func TestForeignTrafficDrains(t *testing.T) {
	waiting := func(s *Snapshot) {
		s.Spec.Steps = []Step{{Interval: time.Minute}, {Weight: 50, Interval: time.Minute}}
		s.State.Step, s.State.CheckAt, s.Route = 1, noon.Add(time.Minute), Route{Known: true, Current: ToCanary(50)}
	}
	decideAll(t, map[string]phaseCase{
		"somebody sent traffic to a canary that has none": {
			reason: "its requests are under way when the route is put right",
			in:     given(Progressing).but(waiting).but(func(s *Snapshot) { s.State.DrainUntil = noon.Add(-time.Minute) }),
			want:   seen{Phase: Progressing, Step: 1, Effects: []Effect{ApplySplit{AllPrimary()}}},
			more: func(d Decision) string {
				return must(d.Next.DrainUntil.Equal(noon.Add(Settle+plain().Drain)), "drains until %s", d.Next.DrainUntil)
			},
		},
		"again and again": {
			reason: "not each look is worth a write",
			in:     given(Progressing).but(waiting).but(func(s *Snapshot) { s.State.DrainUntil = noon.Add(plain().Drain) }),
			want:   seen{Phase: Progressing, Step: 1, Effects: []Effect{ApplySplit{AllPrimary()}}},
			more: func(d Decision) string {
				return must(d.Next.DrainUntil.Equal(noon.Add(plain().Drain)), "drains until %s", d.Next.DrainUntil)
			},
		},
	})
}
