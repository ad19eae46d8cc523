package plan

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// The defects of Flagger 1.44 that a plan can have, by their numbers in the fact sheet.
func TestFlaggersDefects(t *testing.T) {
	decideAll(t, map[string]phaseCase{
		"W1 a fix-forward after a failed promotion": {
			reason: "it must neither replace the pods that serve everybody, nor send everybody to a broken primary",
			in: given(Failed).target("r3").but(func(s *Snapshot) {
				s.State.Split, s.Route.Current, s.State.Reverting, s.State.Rejected = ToCanary(100), ToCanary(100), true, "r2"
				s.Primary = dead("r1", 2)
			}),
			want: seen{Phase: Failed, Canary: 100, Stalled: "PrimaryNotReady"},
		},
		"W1 the primary is back": {
			reason: "the traffic goes to it first; the next decision starts the fix, whose pods wait for the drain",
			in: given(Failed).target("r3").but(func(s *Snapshot) {
				s.State.Split, s.Route.Current, s.State.Reverting, s.State.Rejected = ToCanary(100), ToCanary(100), true, "r2"
			}),
			want: seen{Phase: Progressing, Told: []string{"NewRevision"}, Effects: []Effect{ApplySplit{AllPrimary()}}},
		},
		"W1 reverting after a failed promotion": {
			reason: "the revert is no dead end: the traffic comes back",
			in: given(Failed).target("r1").but(func(s *Snapshot) {
				s.State.Split, s.Route.Current, s.State.Reverting, s.State.Rejected = ToCanary(100), ToCanary(100), true, "r2"
			}),
			want: seen{Phase: Initialized, Told: []string{"TargetReverted"}, Effects: []Effect{ApplySplit{AllPrimary()}}},
		},
		"W2 a revision that comes while another failed": {
			reason: "only the candidate is rejected, so that the newer revision is not lost",
			in: given(RollingBack).target("r3").but(func(s *Snapshot) {
				s.State.Outcome, s.State.Cause = Failed, "bad"
			}),
			want: seen{Phase: Failed, Told: []string{"RolledBack"}},
			more: func(d Decision) string { return cmp.Diff("r2", d.Next.Rejected) },
		},
		"W3 a rollback hook while nothing else works": {
			reason: "no pods, no route and no answers can hold a rollback up",
			in: given(Progressing).atStep(1).hook(RollbackHook, "alarm").says("alarm", Answer{Verdict: Pass, Message: "alarm"}).but(func(s *Snapshot) {
				s.Route, s.Canary, s.Primary.Available = Route{Rejected: true}, dead("r2", 1), 1
			}),
			want: seen{Phase: RollingBack, Step: 1, Told: []string{"RollingBack"}, Effects: []Effect{ApplySplit{AllPrimary()}}},
		},
		"W3 a canary that crashes under traffic": {
			reason: "it loses the traffic at once and counts as a failed check, not after a deadline",
			in:     given(Progressing).atStep(2).but(func(s *Snapshot) { s.Spec.Threshold, s.Canary = 2, dead("r2", 1) }),
			want:   seen{Phase: Progressing, Failed: 1, Told: []string{"CheckFailed"}, Effects: []Effect{ApplySplit{AllPrimary()}}},
		},
		"W3 a canary that crashes for the last time": {
			reason: "the threshold holds for it too",
			in:     given(Progressing).atStep(2).but(func(s *Snapshot) { s.Canary = dead("r2", 1) }),
			want:   seen{Phase: RollingBack, Step: 2, Failed: 1, Told: []string{"RollingBack"}, Effects: []Effect{ApplySplit{AllPrimary()}}},
		},
		"W3 an effect that fails must not come before the rollback": {
			reason: "the split goes first when traffic must leave the canary",
			in: given(RollingBack).but(func(s *Snapshot) {
				s.State.Outcome, s.Route.Current, s.Target.Replicas = Failed, ToCanary(50), 3
			}),
			want: seen{Phase: RollingBack, Effects: []Effect{ApplySplit{AllPrimary()}, ApplyPrimary{"r1", 3}}},
		},
		"W4 a new revision under weight": {
			reason: "the pods that have traffic are not touched before it is gone",
			in:     given(Progressing).atStep(2).target("r3"),
			want:   seen{Phase: Progressing, Told: []string{"NewRevision"}, Effects: []Effect{ApplySplit{AllPrimary()}}},
		},
		"W4 a new revision when the traffic is gone": {
			reason: "the pods drain first",
			in: given(Progressing).target("r3").but(func(s *Snapshot) {
				s.State.Candidate, s.State.DrainUntil = "r3", noon.Add(time.Second)
			}),
			want: seen{Phase: Progressing},
		},
		"W4 a new revision while promoting": {
			reason: "snapshots are promoted, so that it just waits its turn",
			in:     promotion().target("r3"),
			want:   seen{Phase: Succeeded, Step: 3, Told: []string{"Promoted"}, Effects: []Effect{ApplySplit{AllPrimary()}}},
		},
		"W5 the target changes as the last check passes": {
			reason: "what passed is not what the target is now: nothing is promoted",
			in:     given(Progressing).atStep(3).target("r3").agrees(),
			want:   seen{Phase: Progressing, Told: []string{"NewRevision"}, Effects: []Effect{ApplySplit{AllPrimary()}}},
		},
		"W5 the target changed before the primary did": {
			reason: "the primary gets the candidate, not the live target",
			in:     given(Promoting).atStep(3).target("r3").but(func(s *Snapshot) { s.Target.Stored = false }),
			want:   seen{Phase: Promoting, Step: 3, Canary: 60, Effects: []Effect{ApplyPrimary{"r2", 2}}},
		},
		"W6 a promotion in steps whose canary weight is zero": {
			reason: "there is nothing left to give back: it is done",
			in: promotion().but(func(s *Snapshot) {
				s.Spec.PromotionStep, s.State.Split, s.Route.Current = 20, AllPrimary(), AllPrimary()
			}),
			want: seen{Phase: Succeeded, Step: 3, Told: []string{"Promoted"}, Effects: []Effect{ApplyCanary{"r2", 0}}},
		},
		"W7 the target returns midway": {
			reason: "a git revert ends the rollout at once, as cancelled",
			in:     given(Progressing).atStep(2).target("r1"),
			want:   seen{Phase: RollingBack, Step: 2, Told: []string{"Cancelled"}, Effects: []Effect{ApplySplit{AllPrimary()}}},
			more:   func(d Decision) string { return cmp.Diff(Cancelled, d.Next.Outcome) },
		},
		"W7 the target returns while promoting": {
			reason: "the primary goes back first; the canary serves until then",
			in:     promotion().target("r1").but(func(s *Snapshot) { s.Primary.Updated = 1 }),
			want:   seen{Phase: RollingBack, Step: 3, Canary: 60, Told: []string{"Cancelled"}, Effects: []Effect{ApplyPrimary{"r1", 2}}},
		},
		"W8 a mirrored step before the weights": {
			reason: "it is taken once, and the weights follow",
			in:     given(Progressing).steps(Step{Mirror: 100}, Step{Weight: 20}).at(1).agrees(),
			want:   seen{Phase: Progressing, Step: 2, Canary: 20, Told: []string{"StepAdvanced"}, Effects: []Effect{ApplySplit{ToCanary(20)}}},
		},
		"W8 copies that the data plane does not make": {
			reason: "the wait has an end, and the cause is the route",
			in: given(Progressing).steps(Step{Mirror: 100}, Step{Weight: 20}).at(1).but(func(s *Snapshot) {
				s.Route.Confirmed, s.Route.Message, s.State.Deadline = false, "no filter for it", noon
			}),
			want: seen{Phase: RollingBack, Step: 1, Told: []string{"RollingBack"}, Effects: []Effect{ApplySplit{AllPrimary()}}},
			more: func(d Decision) string {
				return cmp.Diff("the route was not confirmed before the deadline: no filter for it", d.Next.Cause)
			},
		},
		"W9 somebody writes the route anew": {
			reason: "the split is put back, and neither step nor checks start over",
			in: given(Progressing).atStep(2).but(func(s *Snapshot) {
				s.Route.Current, s.State.CheckAt = AllPrimary(), noon.Add(30*time.Second)
			}),
			want: seen{Phase: Progressing, Step: 2, Canary: 40, Effects: []Effect{ApplySplit{ToCanary(40)}}},
		},
		"W10 the interval is shortened midway": {
			reason: "the step lasts as long as it was begun for",
			in: given(Progressing).atStep(1).agrees().but(func(s *Snapshot) {
				s.State.CheckAt, s.Spec.Interval, s.Spec.Steps = noon.Add(30*time.Second), time.Second, Ladder(20, 60, time.Second)
			}),
			want: seen{Phase: Progressing, Step: 1, Canary: 20},
			more: func(d Decision) string { return cmp.Diff(noon.Add(30*time.Second), d.Next.CheckAt) },
		},
		"W10 the controller starts in the middle of a step": {
			reason: "what it did not see does not count: the step has its whole interval",
			in: given(Progressing).atStep(1).agrees().but(func(s *Snapshot) {
				s.Since = noon.Add(-time.Second)
			}),
			want: seen{Phase: Progressing, Step: 1, Canary: 20},
			more: func(d Decision) string { return cmp.Diff(noon.Add(time.Minute), d.Next.CheckAt) },
		},
		"W11 deletion in the middle of everything": {
			reason: "nothing else goes on: no check, no step, no new revision, no request",
			in: given(Progressing).atStep(1).target("r3").asks("promote@1").says("error-rate", Answer{Verdict: Fail}).but(func(s *Snapshot) {
				s.Deleting = true
			}),
			want: seen{Phase: Terminating, Step: 1, Told: []string{"Terminating"}, Effects: []Effect{ReleaseTarget{2}, ApplySplit{AllPrimary()}}},
		},
		"W11 deletion without a target": {
			reason: "there is nothing to wait for but that the deletion is told",
			in:     given(Progressing).atStep(1).but(func(s *Snapshot) { s.Deleting, s.Target = true, Target{} }),
			want:   seen{Phase: Terminating, Step: 1, Canary: 20, Told: []string{"Terminating"}, Effects: []Effect{RestoreServices{}}},
		},
		"W12 an edit that cannot be used": {
			reason: "it is told and nothing of it is used: neither step nor split nor check moves",
			in:     given(Progressing).atStep(1).agrees().but(unusableSpec).but(func(s *Snapshot) { s.Spec.Steps = nil }),
			want:   seen{Phase: Progressing, Step: 1, Canary: 20, Stalled: "InvalidSpec"},
		},
		"W13 the present weight is no step any more": {
			reason: "the next larger weight follows, not the rest up to 100",
			in: given(Progressing).atStep(2).agrees().but(func(s *Snapshot) {
				s.Spec.Steps = []Step{{Weight: 10, Interval: time.Minute}, {Weight: 30, Interval: time.Minute}, {Weight: 45, Interval: time.Minute}, {Weight: 50, Interval: time.Minute}}
			}),
			want: seen{Phase: Progressing, Step: 3, Canary: 45, Told: []string{"StepAdvanced"}, Effects: []Effect{ApplySplit{ToCanary(45)}}},
		},
		"W13 the same weight twice": {
			reason: "a weight that is repeated is a step of its own",
			in: given(Progressing).but(func(s *Snapshot) {
				s.Spec.Steps = []Step{{Weight: 10, Interval: time.Minute}, {Weight: 10, Interval: time.Minute}, {Weight: 50, Interval: time.Minute}}
			}).atStep(1).agrees(),
			want: seen{Phase: Progressing, Step: 2, Canary: 10, Told: []string{"StepAdvanced"}},
		},
		"W14 waiting for promotion keeps its weight": {
			reason: "the state shows the traffic that is live, and the gate is asked at each interval",
			in: given(WaitingPromotion).hook(ConfirmPromotion, "promote").atStep(3).but(func(s *Snapshot) { s.State.Halted = true }).
				says("promote", Answer{Verdict: Fail, Message: "closed"}),
			want: seen{Phase: WaitingPromotion, Step: 3, Canary: 60},
			more: func(d Decision) string { return must(d.Wake == time.Minute, "wakes after %v", d.Wake) },
		},
		"W14 an edit adds a step to one that waits for promotion": {
			reason: "the phase says what happens",
			in: given(WaitingPromotion).atStep(3).agrees().but(func(s *Snapshot) {
				s.Spec.Steps = Ladder(20, 80, time.Minute)
			}),
			want: seen{Phase: Progressing, Step: 4, Canary: 80, Told: []string{"StepAdvanced"}, Effects: []Effect{ApplySplit{ToCanary(80)}}},
		},
		"W15 nobody wants pods": {
			reason: "a rollout is not judged on no pods, and not failed for it",
			in: given(Progressing).but(func(s *Snapshot) {
				s.Target.Replicas, s.Primary, s.Canary = 0, healthy("r1", 0), healthy("r2", 0)
			}),
			want: seen{Phase: RollingBack, Told: []string{"Cancelled"}},
		},
		"W16 the canary gave up": {
			reason: "the cause is told and alerts",
			in: given(Progressing).but(func(s *Snapshot) {
				s.Canary = dead("r2", 1)
				s.Canary.Stuck = true
			}),
			want: seen{Phase: RollingBack, Told: []string{"RollingBack"}},
			more: func(d Decision) string {
				n := d.Notices[0]
				return must(n.Alert && n.Severity == Error && d.Next.Cause == "the canary did not become ready: 0 of 1 pods are available CrashLoopBackOff",
					"%+v", n)
			},
		},
		"W16 the canary gave up on the revision before": {
			reason: "what its controller said of other pods does not count",
			in: given(Progressing).but(func(s *Snapshot) {
				s.Canary = dead("r2", 1)
				s.Canary.Stuck, s.Canary.Current = true, false
			}),
			want: seen{Phase: Progressing},
		},
		"W17 the approval of another revision": {
			reason: "gates ask anew for a revision that replaces another",
			in: given(Progressing).atStep(1).target("r3").hook(ConfirmRollout, "approve").but(func(s *Snapshot) {
				s.State.Passed = []string{"confirm-rollout/approve", "pre-rollout/smoke"}
			}),
			want: seen{Phase: Waiting, Told: []string{"WaitingForApproval"}, Effects: []Effect{ApplySplit{AllPrimary()}}},
			more: func(d Decision) string { return cmp.Diff([]string(nil), d.Next.Passed) },
		},
		"W20 one check fails while another is still being asked": {
			reason: "people see all that was measured, if it does not take long",
			in: given(Progressing).but(func(s *Snapshot) { s.Spec.Metrics = []string{"error-rate", "latency"} }).atStep(1).
				says("error-rate", Answer{Verdict: Fail}).but(func(s *Snapshot) {
				for _, q := range s.checks() {
					if q.Name == "latency" {
						delete(s.Answers, q.Key)
					}
				}
			}),
			want: seen{Phase: Progressing, Step: 1, Canary: 20},
			more: func(d Decision) string { return must(d.Wake == Patience, "wakes after %v", d.Wake) },
		},
		"W21 an edit of the autoscaler between rollouts": {
			reason: "it acts at once, not at the next promotion",
			in:     given(Succeeded).target("r1").but(noCanary).scaled(2).but(func(s *Snapshot) { s.Scaler.Drifted = true }),
			want:   seen{Phase: Succeeded, Effects: []Effect{ApplyScaler{}}},
		},
		"W26 skipAnalysis": {
			reason: "it promotes a canary that is ready, and then waits for the primary as always",
			in:     given(Progressing).but(func(s *Snapshot) { s.Spec.SkipAnalysis = true }),
			want:   seen{Phase: Promoting, Effects: []Effect{ApplyPrimary{"r2", 2}}},
		},
		"W27 suspended": {
			reason: "one event for one transition, and none for standing still",
			in:     given(Progressing).atStep(1).agrees().but(func(s *Snapshot) { s.Spec.Suspend = true }),
			want:   seen{Phase: Progressing, Step: 1, Canary: 20},
		},
		"C3 a dead primary": {
			reason: "it does not block the rollout that fixes it",
			in:     given(Progressing).but(func(s *Snapshot) { s.Primary = dead("r1", 2) }),
			want:   seen{Phase: Progressing, Step: 1, Canary: 20, Told: []string{"StepAdvanced"}, Effects: []Effect{ApplySplit{ToCanary(20)}}},
		},
		"C3 a dead primary and a third revision": {
			reason: "the canary is all that serves: its rollout goes on, and the newer revision follows",
			in:     given(Progressing).atStep(1).target("r3").agrees().but(func(s *Snapshot) { s.Primary = dead("r1", 2) }),
			want:   seen{Phase: Progressing, Step: 2, Canary: 40, Told: []string{"StepAdvanced"}, Effects: []Effect{ApplySplit{ToCanary(40)}}},
		},
		"C3 a canary that failed beside a dead primary": {
			reason: "its share is given up for the revision that may fix everything",
			in: given(Failed).target("r3").but(func(s *Snapshot) {
				s.State.Split, s.Route.Current, s.State.Rejected, s.Primary = ToCanary(20), ToCanary(20), "r2", dead("r1", 2)
			}),
			want: seen{
				Phase: Progressing, Told: []string{"NewRevision"}, Effects: []Effect{ApplySplit{AllPrimary()}},
				Stalled: "PrimaryNotReady",
			},
		},
	})
}

func TestQuestionsOfOneRolloutAreNeverTheSame(t *testing.T) {
	w := newWorld(1, plain(), exactly())
	w.spec.Threshold = 3
	w.has(ConfirmTrafficIncrease, "more")
	w.hooks.open["more"] = true
	w.traits("r2").diesOnTraffic = 70 * time.Second
	at := map[string]time.Time{}
	w.decide = func(s Snapshot) Decision {
		for key, asked := range w.hooks.asked {
			if first, ok := at[key]; ok && !first.Equal(asked) {
				t.Errorf("%s was asked at %s and at %s", key, clock(first), clock(asked))
			}
			at[key] = asked
		}
		for _, q := range Ask(s) {
			if began := s.State.StepAt; s.State.Step > 0 && q.Kind == AskMetric && at[q.Key].Before(began) {
				t.Errorf("%s of %s answers a step of %s", q.Key, clock(at[q.Key]), clock(began))
			}
		}
		return Decide(s)
	}
	w.deploy("r1", 2)
	w.release()
	w.run(epoch.Add(time.Hour))
	if w.state.Phase != Failed || len(at) < 5 {
		t.Errorf("ends in %s after %d questions", w.state.Phase, len(at))
	}
}

func TestAPrimaryThatIsDeadForEverDoesNotBlockItsFix(t *testing.T) {
	for seed := uint64(1); seed <= 300; seed++ {
		w := newWorld(seed, plain(), exactly())
		w.spec = w.randomSpec()
		for i := range w.spec.Steps { // nobody is there to resume it
			w.spec.Steps[i].Pause = max(w.spec.Steps[i].Pause, 0)
		}
		for _, g := range gates(w.spec.Hooks) {
			w.hooks.open[g] = true
		}
		w.deploy("r1", 2)
		w.at(w.between(20*time.Second, time.Minute), func() {
			w.traits("r1").neverReady = true
			w.primary.die(0)
			w.primary.broken = false
		})
		w.at(w.between(time.Minute, 2*time.Minute), func() { w.push("r2") })
		w.run(epoch.Add(rests))
		if w.checkRest(); w.failure != "" || w.state.Stable != "r2" {
			t.Fatalf("seed=%d: ends in %s with %s promoted: %s", seed, w.state.Phase, w.state.Stable, w.failure)
		}
	}
}
