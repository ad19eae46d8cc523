package plan

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// asks lets jane write a request.
func (b *snap) asks(value string) *snap {
	b.s.Request, b.s.RequestedBy, b.s.Kept = value, "jane", []string{"r0", "r1", "r2"}
	return b
}

// reply compares the answer to the request; the text is part of it.
func reply(accepted bool, message string) func(Decision) string {
	return func(d Decision) string {
		want := Reply{Value: d.Next.Request.Value, By: "jane", Message: message, Accepted: accepted, At: noon}
		return cmp.Diff(want, d.Next.Request)
	}
}

func TestParseRequest(t *testing.T) {
	for _, c := range []struct{ value, verb, revision, wrong string }{
		{"promote@1", "promote", "", ""},
		{"abort", "abort", "", ""},
		{" retry @x y@z", "retry", "", ""},
		{"promote/r2@1", "promote", "r2", ""},
		{"abort/r2@1", "abort", "r2", ""},
		{"retry/r2@1", "retry", "r2", ""},
		{"rollback@1", "rollback", "", ""},
		{"rollback/r1@1", "rollback", "r1", ""},
		{"pause/r2@1", "", "", "pause takes no revision: write pause@<token>"},
		{"resume/@1", "", "", "resume takes no revision: write resume@<token>"},
		{"rollback/@1", "", "", "the revision is missing: write rollback/<revision>@<token>, or rollback@<token> for the previous one"},
		{"promote/@1", "", "", "the revision is missing: write promote/<revision>@<token>, or promote@<token> for the one on trial"},
		{"Abort@1", "", "", `"Abort" is no request: write one of promote, abort, retry, pause, resume, rollback, with @ and a new token each time`},
		{"@1", "", "", `"" is no request: write one of promote, abort, retry, pause, resume, rollback, with @ and a new token each time`},
	} {
		verb, revision, err := ParseRequest(c.value)
		wrong := ""
		if err != nil {
			wrong = err.Error()
		}
		if string(verb) != c.verb || revision != c.revision || wrong != c.wrong {
			t.Errorf("%q: %s %s, %s", c.value, verb, revision, wrong)
		}
	}
}

func TestRequestsOfNobody(t *testing.T) {
	for name, in := range map[string]*snap{
		"nothing":               given(Progressing).atStep(1).asks(""),
		"what was answered":     given(Progressing).atStep(1).asks(" abort@1 ").but(func(s *Snapshot) { s.State.Request = Reply{Value: "abort@1"} }),
		"while suspended":       given(Progressing).atStep(1).asks("abort@1").but(func(s *Snapshot) { s.Spec.Suspend = true }),
		"while it goes":         given(Terminating).asks("abort@1").but(func(s *Snapshot) { s.Deleting = true }),
		"while it is unwelcome": given(Progressing).atStep(1).asks("promote@1").target("r1"),
	} {
		if d := Decide(in.s); d.Next.Request != in.s.State.Request {
			t.Errorf("%s: answered %+v", name, d.Next.Request)
		}
	}
}

func TestPromote(t *testing.T) {
	skipped := "jane asked for the promotion of revision r2: what is left of the analysis is skipped"
	decideAll(t, map[string]phaseCase{
		"midway": {
			reason: "the share stays until the primary is ready; the promotion follows in the next decision",
			in:     given(Progressing).atStep(1).asks("promote@1"),
			want:   seen{Phase: Progressing, Step: 1, Canary: 20, Told: []string{"PromotionRequested"}},
			more:   reply(true, skipped),
		},
		"forced, and the canary is ready": {
			reason: "neither steps nor checks nor gates are waited for",
			in:     given(Progressing).atStep(1).hook(ConfirmPromotion, "promote").but(func(s *Snapshot) { s.State.Forced = true }),
			want:   seen{Phase: Promoting, Step: 1, Canary: 20, Effects: []Effect{ApplyPrimary{"r2", 2}}},
		},
		"forced, but the canary is not ready": {
			reason: "what cannot start is not promoted",
			in:     given(Progressing).but(func(s *Snapshot) { s.State.Forced, s.Canary = true, dead("r2", 1) }),
			want:   seen{Phase: Progressing},
		},
		"forced, but the canary never gets ready": {
			reason: "the wait has its deadline",
			in: given(Progressing).but(func(s *Snapshot) {
				s.State.Forced, s.Canary, s.State.Deadline = true, dead("r2", 1), noon
			}),
			want: seen{Phase: RollingBack, Told: []string{"RollingBack"}},
		},
		"before the gate agreed": {
			reason: "the canary is started without it",
			in:     given(Waiting).but(noCanary).hook(ConfirmRollout, "approve").asks("promote@1"),
			want:   seen{Phase: Progressing, Told: []string{"PromotionRequested"}, Effects: []Effect{ApplyCanary{"r2", 1}}},
		},
		"while paused": {
			reason: "that ends the pause",
			in:     given(Progressing).atStep(1).asks("promote@1").but(func(s *Snapshot) { s.State.Paused = true }),
			want:   seen{Phase: Progressing, Step: 1, Canary: 20, Told: []string{"PromotionRequested"}},
			more:   func(d Decision) string { return must(d.Next.Forced && !d.Next.Paused, "%+v", d.Next) },
		},
		"frozen": {
			reason: "a person may know better than the checks",
			in:     given(Frozen).atStep(2).asks("promote@1").but(func(s *Snapshot) { s.State.FailedChecks = 3 }),
			want:   seen{Phase: Progressing, Step: 2, Canary: 40, Failed: 3, Told: []string{"PromotionRequested"}},
		},
		"a newer revision takes the place": {
			reason: "which of them was meant?",
			in:     given(Waiting).but(noCanary).hook(ConfirmRollout, "approve").target("r3").asks("promote@1"),
			want:   seen{Phase: Waiting, Told: []string{"RequestRefused", "WaitingForApproval"}},
			more:   reply(false, "revision r3 takes the place of r2: ask again when it is on trial"),
		},
		"a newer revision that waits": {
			reason: "the canary is all that serves, but the person may have meant the newer one",
			in:     given(Progressing).atStep(1).target("r3").asks("promote@1").but(func(s *Snapshot) { s.Primary = dead("r1", 2) }),
			want:   seen{Phase: Progressing, Step: 1, Canary: 20, Told: []string{"RequestRefused"}},
		},
		"the one that is on trial by now": {
			reason: "a request that names its revision is not carried out for another",
			in:     given(Progressing).atStep(1).asks("promote/r1@1"),
			want:   seen{Phase: Progressing, Step: 1, Canary: 20, Told: []string{"RequestRefused"}},
			more:   reply(false, "it is about revision r1, but it is r2's turn"),
		},
		"a revision that was taken back": {
			reason: "the primary is brought to it at once",
			in:     given(Failed).but(noCanary).but(func(s *Snapshot) { s.State.Rejected = "r2" }).asks("promote/r2@1"),
			want:   seen{Phase: Promoting, Told: []string{"DirectRollout"}, Effects: []Effect{ApplyPrimary{"r2", 2}}},
			more:   reply(true, "jane asked for the promotion of revision r2 without analysis: the primary is being brought to it"),
		},
		"a fix while only the canary serves": {
			reason: "the canary goes on serving until the primary has the fix",
			in: given(Failed).target("r3").routed(ToCanary(100)).but(func(s *Snapshot) {
				s.State.Split, s.State.Reverting, s.State.Rejected, s.Primary = ToCanary(100), true, "r2", dead("r1", 2)
			}).asks("promote@1"),
			want: seen{Phase: Promoting, Canary: 100, Told: []string{"DirectRollout"}, Effects: []Effect{ApplyPrimary{"r3", 2}}},
		},
		"during the bake": {
			reason: "the newer revision follows without analysis",
			in:     given(Baking).but(promoted).target("r3").asks("promote@1"),
			want:   seen{Phase: Promoting, Told: []string{"DirectRollout"}, Effects: []Effect{ApplyPrimary{"r3", 2}}},
		},
		"nothing is new": {
			reason: "there is nothing to promote",
			in:     given(Succeeded).but(noCanary).target("r1").asks("promote@1"),
			want:   seen{Phase: Succeeded, Told: []string{"RequestRefused"}},
			more:   reply(false, "there is nothing to promote: the target is the promoted revision"),
		},
		"while it is promoted": {
			reason: "it is on its way",
			in:     promotion().but(func(s *Snapshot) { s.Primary.Updated = 1 }).asks("promote@1"),
			want:   seen{Phase: Promoting, Step: 3, Canary: 60, Told: []string{"RequestRefused"}},
			more:   reply(false, "nothing can be promoted in phase Promoting"),
		},
	})
}

// promoted is a world after the promotion of r2, which had r1 before it.
func promoted(s *Snapshot) {
	s.State.Stable, s.State.Previous, s.Primary, s.Canary = "r2", "r1", healthy("r2", 2), Workload{}
	s.State.CheckAt, s.State.BakeUntil, s.State.Deadline = noon, noon.Add(5*time.Minute), noon.Add(15*time.Minute)
	s.Spec.Bake, s.Spec.BakeThreshold, s.Kept = 10*time.Minute, 1, []string{"r1", "r2"}
}

func TestAbortAndRetry(t *testing.T) {
	decideAll(t, map[string]phaseCase{
		"abort midway": {
			reason: "the canary loses its traffic at once, and the cause names who did it",
			in:     given(Progressing).atStep(2).asks("abort@1"),
			want:   seen{Phase: RollingBack, Step: 2, Told: []string{"RollingBack"}, Effects: []Effect{ApplySplit{AllPrimary()}}},
			more:   func(d Decision) string { return cmp.Diff("jane aborted it", d.Next.Cause) },
		},
		"abort by nobody known": {
			reason: "the cause says so",
			in:     given(Progressing).atStep(2).asks("abort@1").but(func(s *Snapshot) { s.RequestedBy = "" }),
			want:   seen{Phase: RollingBack, Step: 2, Told: []string{"RollingBack"}, Effects: []Effect{ApplySplit{AllPrimary()}}},
			more:   func(d Decision) string { return cmp.Diff("a person aborted it", d.Next.Cause) },
		},
		"abort while waiting": {
			reason: "what was not begun is rejected",
			in:     given(Waiting).but(noCanary).hook(ConfirmRollout, "approve").asks("abort@1"),
			want:   seen{Phase: RollingBack, Told: []string{"RollingBack"}},
		},
		"abort while promoting": {
			reason: "the primary goes back first",
			in:     promotion().asks("abort@1"),
			want:   seen{Phase: RollingBack, Step: 3, Canary: 60, Told: []string{"RollingBack"}, Effects: []Effect{ApplyPrimary{"r1", 2}}},
		},
		"abort what is frozen": {
			reason: "that is the decision that was waited for",
			in:     given(Frozen).atStep(2).asks("abort@1"),
			want:   seen{Phase: RollingBack, Step: 2, Told: []string{"RollingBack"}, Effects: []Effect{ApplySplit{AllPrimary()}}},
		},
		"abort the bake": {
			reason: "the primary returns to the revision before",
			in:     given(Baking).but(promoted).asks("abort@1"),
			want:   seen{Phase: RollingBack, Told: []string{"RollingBack"}, Effects: []Effect{ApplyPrimary{"r1", 2}}},
		},
		"abort a bake whose previous revision is gone": {
			reason: "there is nothing to return to",
			in:     given(Baking).but(promoted).asks("abort@1").but(func(s *Snapshot) { s.Kept = []string{"r2"}; s.State.CheckAt = noon.Add(time.Minute) }),
			want:   seen{Phase: Baking, Told: []string{"RequestRefused"}},
			more:   reply(false, "the snapshot of the previous revision r1 is gone: commit a fix"),
		},
		"abort nothing": {
			reason: "it is refused in words",
			in:     given(Succeeded).but(noCanary).target("r1").asks("abort@1"),
			want:   seen{Phase: Succeeded, Told: []string{"RequestRefused"}},
			more:   reply(false, "no rollout is going on"),
		},
		"abort under a spec that cannot be used": {
			reason: "what takes a version back still works",
			in:     given(Progressing).atStep(2).but(unusableSpec).asks("abort@1"),
			want:   seen{Phase: RollingBack, Step: 2, Told: []string{"RollingBack"}, Effects: []Effect{ApplySplit{AllPrimary()}}, Stalled: "InvalidSpec"},
		},
		"abort as a newer revision comes": {
			reason: "it is meant for the one on trial, which comes first; the newer one follows",
			in:     given(Progressing).atStep(1).target("r3").asks("abort@1"),
			want:   seen{Phase: RollingBack, Step: 1, Told: []string{"RollingBack"}, Effects: []Effect{ApplySplit{AllPrimary()}}},
		},
		"retry what was taken back": {
			reason: "the analysis starts anew",
			in:     given(Failed).but(noCanary).asks("retry@1").but(func(s *Snapshot) { s.State.Rejected, s.State.FailedChecks = "r2", 3 }),
			want:   seen{Phase: Progressing, Told: []string{"NewRevision"}, Effects: []Effect{ApplyCanary{"r2", 1}}},
		},
		"retry what is frozen": {
			reason: "its traffic goes first",
			in:     given(Frozen).atStep(2).asks("retry/r2@1").but(func(s *Snapshot) { s.State.FailedChecks = 3 }),
			want:   seen{Phase: Progressing, Told: []string{"NewRevision"}, Effects: []Effect{ApplySplit{AllPrimary()}}},
		},
		"retry what is frozen while only the canary serves": {
			reason: "beginning anew would give those whom the canary serves to a primary without pods",
			in: given(Frozen).atStep(2).asks("retry@1").but(func(s *Snapshot) {
				s.State.FailedChecks, s.Primary = 3, dead("r1", 2)
			}),
			want: seen{Phase: Frozen, Step: 2, Canary: 40, Failed: 3, Told: []string{"RequestRefused"}, Stalled: "Frozen"},
			more: reply(false, "the primary does not serve (0 of 2 pods are available CrashLoopBackOff), and what reaches the canary would be lost: "+
				"resume or promote, or ask again when it serves"),
		},
		"retry what is frozen while nothing serves": {
			reason: "there is nothing to lose",
			in: given(Frozen).atStep(2).asks("retry@1").but(func(s *Snapshot) {
				s.Primary, s.Canary = dead("r1", 2), dead("r2", 1)
			}),
			want: seen{Phase: Progressing, Told: []string{"NewRevision"}, Effects: []Effect{ApplySplit{AllPrimary()}}},
		},
		"retry pods that gave up": {
			reason: "they would give up again at once",
			in: given(Failed).asks("retry@1").but(func(s *Snapshot) {
				s.State.Rejected, s.Canary, s.State.DrainUntil = "r2", dead("r2", 1), noon.Add(time.Second)
				s.Canary.Stuck = true
			}),
			want: seen{Phase: Failed, Told: []string{"RequestRefused"}},
			more: reply(false, "the pods of the last attempt are still being taken away: ask again in a moment"),
		},
		"retry the promoted revision": {
			reason: "there is nothing to try",
			in:     given(Succeeded).but(noCanary).target("r1").asks("retry@1"),
			want:   seen{Phase: Succeeded, Told: []string{"RequestRefused"}},
		},
		"retry midway": {
			reason: "it is being tried",
			in:     given(Progressing).asks("retry@1").but(func(s *Snapshot) { s.Canary = dead("r2", 1) }),
			want:   seen{Phase: Progressing, Told: []string{"RequestRefused"}},
			more:   reply(false, "nothing can be tried again in phase Progressing"),
		},
		"retry while only the canary serves": {
			reason: "its pods cannot be replaced",
			in: given(Failed).routed(ToCanary(100)).asks("retry@1").but(func(s *Snapshot) {
				s.State.Split, s.State.Reverting, s.State.Rejected, s.Primary = ToCanary(100), true, "r2", dead("r1", 2)
			}),
			want: seen{Phase: Failed, Canary: 100, Told: []string{"RequestRefused"}, Stalled: "PrimaryNotReady"},
		},
		"retry without replicas": {
			reason: "nothing could be judged",
			in: given(Failed).but(noCanary).asks("retry@1").but(func(s *Snapshot) {
				s.State.Rejected, s.Target.Replicas, s.Primary = "r2", 0, healthy("r1", 0)
			}),
			want: seen{Phase: Failed, Told: []string{"RequestRefused"}},
		},
		"retry under a spec that cannot be used": {
			reason: "nothing goes forward",
			in:     given(Failed).but(noCanary).but(unusableSpec).asks("retry@1").but(func(s *Snapshot) { s.State.Rejected = "r2" }),
			want:   seen{Phase: Failed, Told: []string{"RequestRefused"}, Stalled: "InvalidSpec"},
			more:   reply(false, "nothing goes on while the spec cannot be used: spec.analysis: it cannot be used"),
		},
		"nonsense": {
			reason: "a person is told what to write",
			in:     given(Progressing).asks("stop@1").but(func(s *Snapshot) { s.Canary = dead("r2", 1) }),
			want:   seen{Phase: Progressing, Told: []string{"RequestRefused"}},
			more:   reply(false, `"stop" is no request: write one of promote, abort, retry, pause, resume, rollback, with @ and a new token each time`),
		},
		"a rollback hook at the same time": {
			reason: "what takes a version back comes before any request",
			in:     given(Progressing).atStep(1).hook(RollbackHook, "alarm").says("alarm", Answer{Verdict: Pass, Message: "alarm"}).asks("promote@1"),
			want:   seen{Phase: RollingBack, Step: 1, Told: []string{"RollingBack"}, Effects: []Effect{ApplySplit{AllPrimary()}}},
			more:   func(d Decision) string { return cmp.Diff(Reply{}, d.Next.Request) },
		},
	})
}

func unusableSpec(s *Snapshot) {
	s.Spec.Invalid, s.Spec.InvalidReason = "spec.analysis: it cannot be used", "InvalidSpec"
}

func TestRollbackTo(t *testing.T) {
	decideAll(t, map[string]phaseCase{
		"the previous one": {
			reason: "the primary is brought to it at once; what the target says waits until it changes",
			in:     given(Succeeded).but(noCanary).target("r1").asks("rollback@1").but(func(s *Snapshot) { s.State.Previous = "r0" }),
			want:   seen{Phase: Promoting, Told: []string{"DirectRollout"}, Effects: []Effect{ApplyPrimary{"r0", 2}}},
			more: func(d Decision) string {
				return must(d.Next.Direct && d.Next.Rejected == "r1" && d.Next.Previous == "r0", "%+v", d.Next)
			},
		},
		"a named one": {
			reason: "any revision that is kept",
			in:     given(Succeeded).but(noCanary).target("r1").asks("rollback/r2@1"),
			want:   seen{Phase: Promoting, Told: []string{"DirectRollout"}, Effects: []Effect{ApplyPrimary{"r2", 2}}},
			more:   reply(true, "jane asked for revision r2: the primary is being brought to it"),
		},
		"one that is not kept": {
			reason: "the reply lists what is",
			in:     given(Succeeded).but(noCanary).target("r1").asks("rollback/r9@1"),
			want:   seen{Phase: Succeeded, Told: []string{"RequestRefused"}},
			more:   reply(false, "revision r9 is not kept: choose one of r0, r1, r2"),
		},
		"none before": {
			reason: "there was no rollout yet",
			in:     given(Initialized).but(noCanary).target("r1").asks("rollback@1"),
			want:   seen{Phase: Initialized, Told: []string{"RequestRefused"}},
			more:   reply(false, "there is no previous revision: write rollback/<revision>@<token>"),
		},
		"the promoted one": {
			reason: "the primary has it",
			in:     given(Succeeded).but(noCanary).target("r1").asks("rollback/r1@1"),
			want:   seen{Phase: Succeeded, Told: []string{"RequestRefused"}},
			more:   reply(false, "the primary has revision r1 already"),
		},
		"the promoted one, which does not serve": {
			reason: "only the canary does: the primary is brought to it once more",
			in: given(Failed).routed(ToCanary(100)).asks("rollback/r1@1").but(func(s *Snapshot) {
				s.State.Split, s.State.Reverting, s.State.Rejected, s.Primary = ToCanary(100), true, "r2", dead("r1", 2)
			}),
			want: seen{Phase: Promoting, Canary: 100, Told: []string{"DirectRollout"}},
		},
		"the one on trial": {
			reason: "without a name it takes back what is on trial",
			in:     given(Progressing).atStep(1).asks("rollback@1"),
			want:   seen{Phase: RollingBack, Step: 1, Told: []string{"RollingBack"}, Effects: []Effect{ApplySplit{AllPrimary()}}},
		},
		"another while one is on trial": {
			reason: "the canary loses its traffic, the primary goes to it",
			in:     given(Progressing).atStep(1).asks("rollback/r0@1"),
			want:   seen{Phase: Promoting, Told: []string{"DirectRollout"}, Effects: []Effect{ApplySplit{AllPrimary()}, ApplyPrimary{"r0", 2}}},
		},
		"during the bake": {
			reason: "that is to abort it",
			in:     given(Baking).but(promoted).asks("rollback@1"),
			want:   seen{Phase: RollingBack, Told: []string{"RollingBack"}, Effects: []Effect{ApplyPrimary{"r1", 2}}},
		},
		"while promoting": {
			reason: "one thing after the other",
			in:     promotion().but(func(s *Snapshot) { s.Primary.Updated = 1 }).asks("rollback/r0@1"),
			want:   seen{Phase: Promoting, Step: 3, Canary: 60, Told: []string{"RequestRefused"}},
			more:   reply(false, "it is not possible in phase Promoting: abort the rollout, or wait for its end"),
		},
		"under a spec that cannot be used": {
			reason: "it takes a version back",
			in:     given(Succeeded).but(noCanary).but(unusableSpec).target("r1").asks("rollback/r0@1"),
			want:   seen{Phase: Promoting, Told: []string{"DirectRollout"}, Effects: []Effect{ApplyPrimary{"r0", 2}}, Stalled: "InvalidSpec"},
		},
	})
}

// direct is a rollout that a person asked for.
func directTo(rev, target string) *snap {
	return given(Promoting).but(noCanary).target(target).but(func(s *Snapshot) {
		s.State.Candidate, s.State.Direct, s.State.Cause = rev, true, "jane asked for revision "+rev
		s.State.Rejected, s.Primary = target, healthy(rev, 2)
		if target == rev {
			s.State.Rejected = ""
		}
	})
}

func TestDirectRollouts(t *testing.T) {
	decideAll(t, map[string]phaseCase{
		"the primary is ready": {
			reason: "it is done, and the target's revision stays rejected",
			in:     directTo("r0", "r1"),
			want:   seen{Phase: Succeeded, Told: []string{"Promoted"}},
			more: func(d Decision) string {
				return must(d.Next.Stable == "r0" && d.Next.Rejected == "r1" && d.Next.Step == 0, "%+v", d.Next)
			},
		},
		"the bake is for rollouts with analysis": {
			reason: "a person has decided",
			in:     directTo("r0", "r1").but(func(s *Snapshot) { s.Spec.Bake = time.Minute }),
			want:   seen{Phase: Succeeded, Told: []string{"Promoted"}},
		},
		"the primary gave up": {
			reason: "the promoted revision comes back",
			in:     directTo("r0", "r1").but(func(s *Snapshot) { s.Primary = dead("r0", 2); s.Primary.Stuck = true }),
			want:   seen{Phase: RollingBack, Told: []string{"RollingBack"}, Effects: []Effect{ApplyPrimary{"r1", 2}}},
		},
		"it was taken back": {
			reason: "the target's revision was brought directly and failed: it is not analysed by itself now",
			in: directTo("r2", "r2").but(func(s *Snapshot) {
				s.State.Phase, s.State.Outcome, s.State.Reverting, s.Primary = RollingBack, Failed, true, healthy("r1", 2)
			}),
			want: seen{Phase: Failed, Told: []string{"RolledBack"}},
			more: func(d Decision) string { return cmp.Diff("r2", d.Next.Rejected) },
		},
		"the traffic stays with a canary that is not what is promoted": {
			reason: "the rejected revision serves until the primary does; it gets no more than it has",
			in: directTo("r3", "r3").but(func(s *Snapshot) {
				s.State.Split, s.Route.Current, s.Primary, s.Canary = ToCanary(60), ToCanary(60), dead("r3", 2), healthy("r2", 1)
			}),
			want: seen{Phase: Promoting, Canary: 60},
		},
		"the canary goes too": {
			reason: "then the primary is the better place",
			in: directTo("r3", "r3").but(func(s *Snapshot) {
				s.State.Split, s.Route.Current, s.Canary = ToCanary(60), ToCanary(60), dead("r2", 1)
				s.Primary.Available, s.Primary.Endpoints = 1, 1
			}),
			want: seen{Phase: Promoting, Effects: []Effect{ApplySplit{AllPrimary()}}},
		},
		"the canary of before": {
			reason: "it is taken away when it has drained",
			in:     directTo("r3", "r3").but(func(s *Snapshot) { s.Primary.Updated, s.Canary = 1, healthy("r2", 1) }),
			want:   seen{Phase: Promoting, Effects: []Effect{ApplyCanary{"r2", 0}}},
		},
		"the target returns": {
			reason: "a person asked for it: the target's text does not undo that",
			in:     directTo("r0", "r1").but(func(s *Snapshot) { s.Primary.Updated = 1 }),
			want:   seen{Phase: Promoting},
		},
		"the target comes back to what is promoted": {
			reason: "the revision that was gone back from may come again later",
			in:     given(Succeeded).but(noCanary).target("r1").but(func(s *Snapshot) { s.State.Rejected = "r2" }),
			want:   seen{Phase: Succeeded},
			more:   func(d Decision) string { return cmp.Diff("", d.Next.Rejected) },
		},
	})
}
