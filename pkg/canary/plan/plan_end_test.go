package plan

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// promoting is a promotion that began now; the primary has been told.
func promotion() *snap {
	return given(Promoting).atStep(3).but(func(s *Snapshot) { s.Primary = healthy("r2", 2) })
}

func TestPromoting(t *testing.T) {
	decideAll(t, map[string]phaseCase{
		"the primary is on its way": {
			reason: "the canary goes on serving its share",
			in:     promotion().but(func(s *Snapshot) { s.Primary.Available, s.Primary.Endpoints = 1, 1 }),
			want:   seen{Phase: Promoting, Step: 3, Canary: 60},
		},
		"the primary is ready": {
			reason: "both sides run the same, so the traffic may move at once",
			in:     promotion(),
			want:   seen{Phase: Succeeded, Step: 3, Told: []string{"Promoted"}, Effects: []Effect{ApplySplit{AllPrimary()}}},
			more:   func(d Decision) string { return cmp.Diff("r2", d.Next.Stable) },
		},
		"the primary has no pods": {
			reason: "the canary takes all the traffic rather than none",
			in:     promotion().but(func(s *Snapshot) { s.Primary = dead("r2", 2) }),
			want:   seen{Phase: Promoting, Step: 3, Canary: 100, Effects: []Effect{ApplySplit{ToCanary(100)}}},
		},
		"the canary has no pods": {
			reason: "the primary takes all the traffic; what it has of each revision passed",
			in: promotion().but(func(s *Snapshot) {
				s.Canary, s.Primary.Available, s.Primary.Endpoints = dead("r2", 1), 1, 1
			}),
			want: seen{Phase: Promoting, Step: 3, Effects: []Effect{ApplySplit{AllPrimary()}}},
		},
		"the primary gave up": {
			reason: "it goes back to the previous revision while the canary serves",
			in: promotion().but(func(s *Snapshot) {
				s.Primary = dead("r2", 2)
				s.Primary.Stuck, s.State.Split, s.Route.Current = true, ToCanary(100), ToCanary(100)
			}),
			want: seen{Phase: RollingBack, Step: 3, Canary: 100, Told: []string{"RollingBack"}, Effects: []Effect{ApplyPrimary{"r1", 2}}},
			more: func(d Decision) string { return must(d.Next.Reverting, "the primary is not waited for") },
		},
		"the primary gave up on the revision before": {
			reason: "what a controller said of another template does not count",
			in: promotion().but(func(s *Snapshot) {
				s.Primary = dead("r2", 2)
				s.Primary.Stuck, s.Primary.Current, s.Primary.Endpoints = true, false, 1
			}),
			want: seen{Phase: Promoting, Step: 3, Canary: 60},
		},
		"the deadline passes": {
			reason: "every wait has an end",
			in: promotion().but(func(s *Snapshot) {
				s.Primary.Available, s.Primary.Endpoints, s.State.Deadline = 1, 1, noon
			}),
			want: seen{Phase: RollingBack, Step: 3, Canary: 60, Told: []string{"RollingBack"}, Effects: []Effect{ApplyPrimary{"r1", 2}}},
		},
		"in steps": {
			reason: "stepWeightPromotion gives the traffic back slowly",
			in:     promotion().but(func(s *Snapshot) { s.Spec.PromotionStep = 20 }),
			want:   seen{Phase: Finalising, Step: 3, Canary: 40, Told: []string{"Finalising"}, Effects: []Effect{ApplySplit{ToCanary(40)}}},
		},
		"a drifted canary": {
			reason: "somebody's change of the canary is put right",
			in:     promotion().but(func(s *Snapshot) { s.Primary.Updated, s.Canary.Drifted = 1, true }),
			want:   seen{Phase: Promoting, Step: 3, Canary: 60, Effects: []Effect{ApplyCanary{"r2", 1}}},
		},
	})
}

func TestFinalising(t *testing.T) {
	giving := func() *snap {
		return given(Finalising).atStep(2).but(func(s *Snapshot) { s.Primary, s.Spec.PromotionStep = healthy("r2", 2), 20 })
	}
	decideAll(t, map[string]phaseCase{
		"the interval is over": {
			reason: "the next share goes back",
			in:     giving(),
			want:   seen{Phase: Finalising, Step: 2, Canary: 20, Effects: []Effect{ApplySplit{ToCanary(20)}}},
		},
		"the interval is not over": {
			reason: "waiting changes nothing",
			in:     giving().but(func(s *Snapshot) { s.State.CheckAt = noon.Add(time.Second) }),
			want:   seen{Phase: Finalising, Step: 2, Canary: 40},
		},
		"the last share": {
			reason: "the rollout is done",
			in:     giving().atStep(1),
			want:   seen{Phase: Succeeded, Step: 3, Told: []string{"Promoted"}, Effects: []Effect{ApplySplit{AllPrimary()}}},
		},
		"the canary has no pods": {
			reason: "the primary is promoted and takes the rest",
			in:     giving().but(func(s *Snapshot) { s.Canary = dead("r2", 1) }),
			want:   seen{Phase: Succeeded, Step: 3, Told: []string{"Promoted"}, Effects: []Effect{ApplySplit{AllPrimary()}}},
		},
		"the primary dies": {
			reason: "it gets no more traffic; the canary takes what it had",
			in:     giving().but(func(s *Snapshot) { s.Primary = dead("r2", 2) }),
			want:   seen{Phase: Finalising, Step: 2, Canary: 100, Effects: []Effect{ApplySplit{ToCanary(100)}}},
		},
		"the primary stays dead": {
			reason: "the deadline has an outcome: back to the previous revision, while the canary serves",
			in:     giving().but(func(s *Snapshot) { s.Primary, s.State.Deadline = dead("r2", 2), noon }),
			want:   seen{Phase: RollingBack, Step: 2, Canary: 40, Told: []string{"RollingBack"}, Effects: []Effect{ApplyPrimary{"r1", 2}}},
			more:   func(d Decision) string { return must(d.Next.Reverting, "the primary is not waited for") },
		},
		"the route is never confirmed": {
			reason: "both sides run the same: the rollout need not fail for it",
			in:     giving().but(func(s *Snapshot) { s.Route.Confirmed, s.State.Deadline = false, noon }),
			want:   seen{Phase: Succeeded, Step: 3, Told: []string{"Promoted"}, Effects: []Effect{ApplySplit{AllPrimary()}}},
		},
		"a rollback hook": {
			reason: "a rollback that begins now must bring the primary back first",
			in:     giving().hook(RollbackHook, "alarm").says("alarm", Answer{Verdict: Pass, Message: "alarm"}),
			want:   seen{Phase: RollingBack, Step: 2, Canary: 40, Told: []string{"RollingBack"}, Effects: []Effect{ApplyPrimary{"r1", 2}}},
			more:   func(d Decision) string { return must(d.Next.Reverting, "the primary is not waited for") },
		},
	})
}

func TestRollingBack(t *testing.T) {
	back := func() *snap {
		return given(RollingBack).but(func(s *Snapshot) { s.State.Outcome, s.State.Cause = Failed, "bad" })
	}
	serving := func(s *Snapshot) { s.State.Split, s.Route.Current = ToCanary(50), ToCanary(50) }
	decideAll(t, map[string]phaseCase{
		"the route is not confirmed": {
			reason: "the canary keeps its pods",
			in:     back().but(func(s *Snapshot) { s.Route.Confirmed = false }),
			want:   seen{Phase: RollingBack},
		},
		"the route is confirmed": {
			reason: "the rollout ends; its revision is rejected; the canary drains",
			in:     back(),
			want:   seen{Phase: Failed, Told: []string{"RolledBack"}},
			more: func(d Decision) string {
				return must(d.Next.Rejected == "r2" && d.Next.DrainUntil.After(noon), "rejected %q, drain %v", d.Next.Rejected, d.Next.DrainUntil)
			},
		},
		"a state without an outcome": {
			reason: "a state that cannot be must not be a dead end",
			in:     back().but(func(s *Snapshot) { s.State.Outcome = "" }),
			want:   seen{Phase: Failed, Told: []string{"RolledBack"}},
		},
		"the primary is dead": {
			reason: "the traffic stays with who can serve it",
			in:     back().but(serving).but(func(s *Snapshot) { s.Primary = dead("r1", 2) }),
			want:   seen{Phase: RollingBack, Canary: 50},
		},
		"both are dead": {
			reason: "then the primary is the better place",
			in:     back().but(serving).but(func(s *Snapshot) { s.Primary, s.Canary = dead("r1", 2), dead("r2", 1) }),
			want:   seen{Phase: RollingBack, Effects: []Effect{ApplySplit{AllPrimary()}}},
		},
		"the primary is being brought back": {
			reason: "a primary that is not back yet gets no traffic from the canary",
			in:     back().but(serving).but(func(s *Snapshot) { s.State.Reverting, s.Primary.Updated = true, 1 }),
			want:   seen{Phase: RollingBack, Canary: 50},
		},
		"the primary loses its last pod on its way back": {
			reason: "the canary passed everything: it serves all until the primary is back",
			in:     back().but(serving).but(func(s *Snapshot) { s.State.Reverting, s.Primary = true, dead("r1", 2) }),
			want:   seen{Phase: RollingBack, Canary: 100, Effects: []Effect{ApplySplit{ToCanary(100)}}},
		},
		"the primary never comes back": {
			reason: "the deadline has an outcome, which is told as what it is; the canary goes on serving",
			in: back().but(serving).but(func(s *Snapshot) {
				s.State.Split, s.Route.Current = ToCanary(100), ToCanary(100)
				s.State.Reverting, s.Primary, s.State.Deadline = true, dead("r1", 2), noon
			}),
			want: seen{Phase: Failed, Canary: 100, Told: []string{"RolledBack"}},
			more: func(d Decision) string {
				return must(d.Notices[0].Severity == Error, "severity %s", d.Notices[0].Severity)
			},
		},
		"the primary is back but for one pod": {
			reason: "after the deadline the rollback is over; the remark says what is missing",
			in:     back().but(func(s *Snapshot) { s.State.Reverting, s.State.Deadline, s.Primary.Available = true, noon, 1 }),
			want:   seen{Phase: Failed, Told: []string{"RolledBack"}},
		},
		"the primary is not back and has no traffic to take": {
			reason: "the canary was gone, so that the primary has all; it is still waited for",
			in:     back().but(func(s *Snapshot) { s.State.Reverting, s.Primary.Available = true, 1 }),
			want:   seen{Phase: RollingBack},
		},
		"the route is never confirmed": {
			reason: "the rollback is over, but the canary keeps its pods until nobody can reach them",
			in:     back().but(func(s *Snapshot) { s.Route.Confirmed, s.State.Deadline = false, noon }),
			want:   seen{Phase: Failed, Told: []string{"RolledBack"}},
		},
		"cancelled": {
			reason: "a return is no failure: the revision may be tried again",
			in:     back().but(func(s *Snapshot) { s.State.Outcome = Cancelled }),
			want:   seen{Phase: Cancelled, Told: []string{"RolloutCancelled"}},
			more:   func(d Decision) string { return cmp.Diff("", d.Next.Rejected) },
		},
	})
}

func TestDeletion(t *testing.T) {
	gone := func(p Phase) *snap { return given(p).but(func(s *Snapshot) { s.Deleting = true }) }
	served := func(s *Snapshot) {
		s.Target.Held, s.Target.Released, s.Target.Available, s.Target.Serving = false, true, 2, 2
		s.Kept = []string{"r2", "r1"}
	}
	decideAll(t, map[string]phaseCase{
		"midway": {
			reason: "the target comes back first, and the canary loses its traffic",
			in:     gone(Progressing).atStep(1),
			want:   seen{Phase: Terminating, Step: 1, Told: []string{"Terminating"}, Effects: []Effect{ReleaseTarget{2}, ApplySplit{AllPrimary()}}},
		},
		"suspended": {
			reason: "a suspended Canary can be deleted",
			in:     gone(Succeeded).but(func(s *Snapshot) { s.Spec.Suspend = true }),
			want:   seen{Phase: Terminating, Told: []string{"Terminating"}, Effects: []Effect{ReleaseTarget{2}}},
		},
		"the target is at full size": {
			reason: "now the Services may go back to it",
			in:     gone(Terminating).but(served).but(func(s *Snapshot) { s.Canary = Workload{} }),
			want:   seen{Phase: Terminating, Effects: []Effect{RestoreServices{}}},
		},
		"the canary has just lost its traffic": {
			reason: "the apex would select its pods, but requests under way are served first",
			in:     gone(Terminating).but(served).but(func(s *Snapshot) { s.State.StepAt = noon }),
			want:   seen{Phase: Terminating},
		},
		"the canary has drained": {
			reason: "its pods go before the apex, which would select them, is given back",
			in:     gone(Terminating).but(served).but(func(s *Snapshot) { s.State.StepAt = noon.Add(-time.Minute) }),
			want:   seen{Phase: Terminating, Effects: []Effect{ApplyCanary{"r2", 0}}},
		},
		"the canary does not get rid of its pods": {
			reason: "a deletion ends all the same",
			in: gone(Terminating).but(served).but(func(s *Snapshot) {
				s.State.StepAt, s.State.Deadline, s.State.Overdue = noon.Add(-time.Hour), noon.Add(-time.Minute), true
			}),
			want: seen{Phase: Terminating, Effects: []Effect{ApplyCanary{"r2", 0}, RestoreServices{}}, Stalled: "RestoreTimedOut"},
		},
		"the primary had begun with the revision on trial": {
			reason: "the apex would select its pods",
			in:     gone(Terminating).but(served).but(func(s *Snapshot) { s.Primary.Revision = "r2" }),
			want:   seen{Phase: Terminating, Effects: []Effect{ApplyPrimary{"r1", 2}}},
		},
		"the clones drain": {
			reason: "requests under way are served",
			in: gone(Terminating).but(served).but(func(s *Snapshot) {
				s.Services, s.State.DrainUntil = Services{Complete: true, Restored: true}, noon.Add(time.Second)
			}),
			want: seen{Phase: Terminating, Effects: []Effect{RestoreServices{}}},
		},
		"drained": {
			reason: "the Canary may go",
			in: gone(Terminating).but(served).but(func(s *Snapshot) {
				s.Services, s.State.DrainUntil, s.Route = Services{Complete: true, Restored: true}, noon, Route{}
			}),
			want: seen{Phase: Terminating, Effects: []Effect{RestoreServices{}, Finish{}}},
		},
		"a gateway that does not follow": {
			reason: "nobody waits for it longer than for anything else",
			in: gone(Terminating).but(served).but(func(s *Snapshot) {
				s.Services, s.State.DrainUntil, s.Route = Services{Complete: true, Restored: true}, noon, Route{Leaving: true}
				s.State.Deadline = noon
			}),
			want: seen{Phase: Terminating, Effects: []Effect{RestoreServices{}, Finish{}}},
		},
		"the target came up after the deadline": {
			reason: "nothing is in the way any more",
			in:     gone(Terminating).but(served).but(func(s *Snapshot) { s.Canary = Workload{}; s.State.Deadline, s.State.Overdue = noon, true }),
			want:   seen{Phase: Terminating, Effects: []Effect{RestoreServices{}}},
		},
		"the route could not be given back until now": {
			reason: "the gateway leads to the clones until then: they have not drained",
			in: gone(Terminating).but(served).but(func(s *Snapshot) {
				s.Services, s.State.DrainUntil = Services{Complete: true, Restored: true}, noon
			}),
			want: seen{Phase: Terminating, Effects: []Effect{RestoreServices{}}},
		},
		"the target does not come up": {
			reason: "the primary goes on serving, and a person is told",
			in: gone(Terminating).but(func(s *Snapshot) {
				s.Target.Held, s.Target.Released, s.State.Deadline = false, true, noon
			}),
			want: seen{Phase: Terminating, Told: []string{"RestoreTimedOut"}, Stalled: "RestoreTimedOut"},
		},
		"orphan": {
			reason: "everything stays as it is",
			in:     gone(Succeeded).but(func(s *Snapshot) { s.Spec.Orphan = true }),
			want:   seen{Phase: Terminating, Told: []string{"Terminating"}, Effects: []Effect{Abandon{}}},
		},
		"the target is gone": {
			reason: "there is nothing to give the traffic back to",
			in:     gone(Succeeded).but(func(s *Snapshot) { s.Target = Target{} }),
			want:   seen{Phase: Terminating, Told: []string{"Terminating"}, Effects: []Effect{RestoreServices{}}},
		},
	})
}

func TestSuspendedDoesNothing(t *testing.T) {
	for _, p := range []Phase{"", Initializing, Succeeded, Waiting, Progressing, Promoting, RollingBack} {
		s := given(p).target("r3").hook(RollbackHook, "alarm").s
		s.Spec.Suspend = true
		d := Decide(s)
		if qs := Ask(s); len(qs) > 0 || len(d.Effects)+len(d.Notices) > 0 || !sameState(d.Next, s.State) {
			t.Errorf("%s: %d questions, effects %v, notices %v", p, len(qs), d.Effects, d.Notices)
		}
	}
}

func TestTheClockRunsFromTheConfirmedSplit(t *testing.T) {
	begun := func(ago time.Duration) *snap {
		return given(Progressing).atStep(1).but(func(s *Snapshot) {
			s.State.StepAt, s.State.CheckAt = noon.Add(-ago), noon.Add(-ago+Settle+time.Minute)
			s.State.Deadline = s.State.CheckAt.Add(10 * time.Minute)
		})
	}
	for name, c := range map[string]struct {
		in      *snap
		late    bool
		checkIn time.Duration
	}{
		"confirmed at once: nothing is stored":               {in: begun(30 * time.Second), checkIn: 31 * time.Second},
		"not confirmed after Settle: late":                   {in: begun(30 * time.Second).but(func(s *Snapshot) { s.Route.Confirmed = false }), late: true, checkIn: 31 * time.Second},
		"confirmed late: the interval begins now":            {in: begun(30 * time.Second).but(func(s *Snapshot) { s.State.Late = true }), checkIn: time.Minute},
		"the controller started since: it saw nothing":       {in: begun(30 * time.Second).but(func(s *Snapshot) { s.Since = noon }), checkIn: time.Minute},
		"the controller started when the check was due":      {in: begun(2 * time.Minute).but(func(s *Snapshot) { s.Since = noon }), checkIn: time.Minute},
		"the controller started again, but it was seen once": {in: begun(30 * time.Second).but(func(s *Snapshot) { s.Since, s.State.EffectiveAt = noon, noon.Add(-time.Second) }), checkIn: 31 * time.Second},
		"it was seen once, and somebody changed it since": {in: begun(5 * time.Second).but(func(s *Snapshot) {
			s.Since, s.State.EffectiveAt, s.Route.Confirmed = noon.Add(-time.Second), noon.Add(-time.Second), false
		}), late: true, checkIn: 56 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			d := Decide(c.in.s)
			if d.Next.Late != c.late || d.Next.CheckAt.Sub(noon) != c.checkIn || d.Next.Step != 1 {
				t.Errorf("late %v, check in %v instead of %v, step %d", d.Next.Late, d.Next.CheckAt.Sub(noon), c.checkIn, d.Next.Step)
			}
		})
	}
	for name, c := range map[string]struct {
		unsettled, settled time.Duration // ago
		wake               time.Duration
	}{
		"never seen unconfirmed, looked late: in time": {0, 0, 31 * time.Second},
		"seen unconfirmed before it was due: in time":  {29500 * time.Millisecond, 20 * time.Second, 31 * time.Second},
		"seen unconfirmed when it was due: late":       {29 * time.Second, 25 * time.Second, 35 * time.Second},
	} {
		in := begun(30 * time.Second).but(func(s *Snapshot) {
			if c.settled > 0 {
				s.Unsettled, s.Settled = noon.Add(-c.unsettled), noon.Add(-c.settled)
			}
		}).s
		if d := Decide(in); d.Wake != c.wake || !sameState(d.Next, in.State) {
			t.Errorf("%s: the check is in %v instead of %v; stored: %v", name, d.Wake, c.wake, !sameState(d.Next, in.State))
		}
	}
	z := Decide(begun(30 * time.Second).s).Next
	if !sameState(z, begun(30*time.Second).s.State) {
		t.Error("a step that just waits changes the state")
	}
}

// The target has r3 already when the rollout of r2 ends.
func TestTheEndOfARolloutIsToldBeforeTheNextBegins(t *testing.T) {
	end := func() *snap {
		return given(Succeeded).target("r3").hook(PostRollout, "tell").but(noCanary).but(func(s *Snapshot) {
			s.State.Stable, s.Primary = "r2", healthy("r2", 2)
		})
	}
	begun := seen{Phase: Progressing, Told: []string{"NewRevision"}, Effects: []Effect{ApplyCanary{"r3", 1}}}
	decideAll(t, map[string]phaseCase{
		"it is being told": {
			reason: "who is told asks for the Canary, which must not speak of another rollout",
			in:     end(),
			want:   seen{Phase: Succeeded},
			more: func(d Decision) string {
				return must(d.Wake == 10*time.Minute, "wakes after %v", d.Wake) + cmp.Diff([]string{"post-rollout webhook tell"}, d.WaitingFor)
			},
		},
		"it was told":          {reason: "the next may begin", in: end().agrees(), want: begun},
		"it was told long ago": {reason: "it is told once", in: end().but(func(s *Snapshot) { s.State.Passed = []string{"post-rollout/tell"} }), want: begun},
		"it could not be told": {
			reason: "no is an answer too", in: end().says("tell", Answer{Verdict: Fail, Message: "500"}),
			want: seen{Phase: Progressing, Told: []string{"PostRolloutHookFailed", "NewRevision"}, Effects: begun.Effects},
		},
		"nobody answers": {
			reason: "every wait has an end",
			in:     end().but(func(s *Snapshot) { s.State.Since = noon.Add(-s.Spec.Deadline) }),
			want:   begun,
		},
		"the bake is ended by it": {
			reason: "the rollout before has ended by that",
			in: end().but(func(s *Snapshot) {
				s.State.Phase, s.State.BakeUntil, s.Kept = Baking, noon.Add(time.Minute), []string{"r1", "r2"}
			}),
			want: seen{Phase: Succeeded, Told: []string{"Baked"}},
			more: func(d Decision) string {
				return must(d.Wake == time.Millisecond && d.Next.BakeUntil.IsZero(), "%+v", d)
			},
		},
		"a person asks": {
			reason: "a person waits for nobody",
			in:     end().but(func(s *Snapshot) { s.Request, s.State.Rejected, s.State.Phase = "retry@1", "r3", Failed }),
			want:   seen{Phase: Progressing, Told: []string{"NewRevision"}, Effects: begun.Effects},
		},
	})
}
