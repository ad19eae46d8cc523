package plan

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func audience() Split { return Split{Primary: 100, Audience: true} }
func copies() Split   { return Split{Primary: 100, Mirror: 100} }

// steps gives the rollout other steps.
func (b *snap) steps(steps ...Step) *snap {
	for i := range steps {
		steps[i].Interval = time.Minute
	}
	return b.but(func(s *Snapshot) { s.Spec.Steps = steps })
}

// at is at a step, whatever that lets reach the canary.
func (b *snap) at(n int) *snap {
	b.atStep(n)
	b.s.State.Split = b.s.Spec.Steps[n-1].split()
	return b.routed(b.s.State.Split)
}

func TestStrategies(t *testing.T) {
	ab := []Step{{Audience: true}, {Audience: true}}
	mirrored := []Step{{Mirror: 100}, {Weight: 20}}
	both := []Step{{Weight: 20, Audience: true}, {Weight: 40, Audience: true}}
	given := func() *snap { return given(Progressing) }
	fresh := func(steps []Step) []Step { return append([]Step{}, steps...) }
	decideAll(t, map[string]phaseCase{
		"A/B begins": {
			reason: "the selected requests go to the canary, the others stay",
			in:     given().steps(fresh(ab)...),
			want:   seen{Phase: Progressing, Step: 1, Told: []string{"StepAdvanced"}, Effects: []Effect{ApplySplit{audience()}}},
			more: func(d Decision) string {
				return cmp.Diff("step 1 of 2: revision r2 gets the requests that match", d.Notices[0].Message)
			},
		},
		"A/B with a canary that is not ready": {
			reason: "the requests that match are users too",
			in:     given().steps(fresh(ab)...).but(func(s *Snapshot) { s.Canary = dead("r2", 1) }),
			want:   seen{Phase: Progressing},
		},
		"A/B goes on": {
			reason: "each iteration is a check",
			in:     given().steps(fresh(ab)...).at(1).agrees(),
			want:   seen{Phase: Progressing, Step: 2, Told: []string{"StepAdvanced"}},
		},
		"A/B needs the gate once": {
			reason: "only a rise needs it, and the audience does not grow",
			in:     given().steps(fresh(ab)...).at(1).hook(ConfirmTrafficIncrease, "more").agrees(),
			want:   seen{Phase: Progressing, Step: 2, Told: []string{"StepAdvanced"}},
		},
		"A/B behind a gate": {
			reason: "the first requests are a rise",
			in:     given().steps(fresh(ab)...).hook(ConfirmTrafficIncrease, "more").says("more", Answer{Verdict: Fail, Message: "closed"}),
			want:   seen{Phase: Progressing, Told: []string{"WaitingForApproval"}},
		},
		"A/B is done": {
			reason: "the audience stays at the canary while the primary is promoted",
			in:     given().steps(fresh(ab)...).at(2).agrees(),
			want:   seen{Phase: Promoting, Step: 2, Effects: []Effect{ApplyPrimary{"r2", 2}}},
			more:   func(d Decision) string { return cmp.Diff(audience(), d.Next.Split) },
		},
		"A/B fails": {
			reason: "the audience goes back, and what it asked is served to the end",
			in:     given().steps(fresh(ab)...).at(1).says("error-rate", Answer{Verdict: Fail}),
			want:   seen{Phase: RollingBack, Step: 1, Failed: 1, Told: []string{"RollingBack"}, Effects: []Effect{ApplySplit{AllPrimary()}}},
			more:   func(d Decision) string { return cmp.Diff(noon.Add(Settle+10*time.Second), d.Next.DrainUntil) },
		},
		"the pods of an A/B test die": {
			reason: "the audience loses nothing by it for longer than it takes to see",
			in:     given().steps(fresh(ab)...).at(1).but(func(s *Snapshot) { s.Spec.Threshold, s.Canary = 2, dead("r2", 1) }),
			want:   seen{Phase: Progressing, Failed: 1, Told: []string{"CheckFailed"}, Effects: []Effect{ApplySplit{AllPrimary()}}},
		},
		"a new revision in an A/B test": {
			reason: "pods with an audience are not replaced",
			in:     given().steps(fresh(ab)...).at(1).target("r3"),
			want:   seen{Phase: Progressing, Told: []string{"NewRevision"}, Effects: []Effect{ApplySplit{AllPrimary()}}},
		},
		"mirrored first": {
			reason: "copies before users",
			in:     given().steps(fresh(mirrored)...),
			want:   seen{Phase: Progressing, Step: 1, Told: []string{"StepAdvanced"}, Effects: []Effect{ApplySplit{copies()}}},
			more: func(d Decision) string {
				return cmp.Diff("step 1 of 2: revision r2 gets copies of 100% of the requests", d.Notices[0].Message)
			},
		},
		"copies are no answers": {
			reason: "a mirrored step needs no gate",
			in:     given().steps(fresh(mirrored)...).hook(ConfirmTrafficIncrease, "more"),
			want:   seen{Phase: Progressing, Step: 1, Told: []string{"StepAdvanced"}, Effects: []Effect{ApplySplit{copies()}}},
		},
		"mirrored, then weighted": {
			reason: "the copies end when users come",
			in:     given().steps(fresh(mirrored)...).at(1).agrees(),
			want:   seen{Phase: Progressing, Step: 2, Canary: 20, Told: []string{"StepAdvanced"}, Effects: []Effect{ApplySplit{ToCanary(20)}}},
		},
		"the pods of a mirrored step die": {
			reason: "it is a failed check",
			in:     given().steps(fresh(mirrored)...).at(1).but(func(s *Snapshot) { s.Canary = dead("r2", 1) }),
			want:   seen{Phase: RollingBack, Step: 1, Failed: 1, Told: []string{"RollingBack"}, Effects: []Effect{ApplySplit{AllPrimary()}}},
		},
		"weight and audience": {
			reason: "the text says both",
			in:     given().steps(fresh(both)...),
			want: seen{
				Phase: Progressing, Step: 1, Canary: 20, Told: []string{"StepAdvanced"},
				Effects: []Effect{ApplySplit{Split{Primary: 80, Canary: 20, Audience: true}}},
			},
			more: func(d Decision) string {
				return cmp.Diff("step 1 of 2: revision r2 gets 20% of the traffic and the requests that match", d.Notices[0].Message)
			},
		},
		"an edit makes an A/B test of it": {
			reason: "its audience must see the candidate before it is promoted",
			in:     given().steps(Step{Weight: 40}).at(1).steps(fresh(ab)...).agrees(),
			want:   seen{Phase: Progressing, Step: 1, Told: []string{"StepAdvanced"}, Effects: []Effect{ApplySplit{audience()}}},
		},
		"an edit makes an A/B test of blue/green": {
			reason: "the same, though the number of iterations is reached",
			in:     given().steps(Step{}, Step{}, Step{Weight: 100}).at(2).steps(fresh(ab)...).agrees(),
			want:   seen{Phase: Progressing, Step: 1, Told: []string{"StepAdvanced"}, Effects: []Effect{ApplySplit{audience()}}},
		},
		"the router keeps copies that nobody wants": {
			reason: "what reaches the canary too much is taken away before anything else",
			in: given().steps(fresh(mirrored)...).at(2).but(func(s *Snapshot) {
				s.Route.Current, s.State.CheckAt, s.Target.Replicas = Split{Primary: 80, Canary: 20, Mirror: 100}, noon.Add(time.Minute), 3
			}),
			want: seen{Phase: Progressing, Step: 2, Canary: 20, Effects: []Effect{ApplySplit{ToCanary(20)}, ApplyPrimary{"r1", 3}, ApplyCanary{"r2", 2}}},
		},
		"each step its interval": {
			reason: "lists say how long each lasts",
			in:     given().but(func(s *Snapshot) { s.Spec.Steps = []Step{{Weight: 5, Interval: time.Hour}} }),
			want:   seen{Phase: Progressing, Step: 1, Canary: 5, Told: []string{"StepAdvanced"}, Effects: []Effect{ApplySplit{ToCanary(5)}}},
			more:   func(d Decision) string { return cmp.Diff(noon.Add(Settle+time.Hour), d.Next.CheckAt) },
		},
	})
}

func TestSplitsInWords(t *testing.T) {
	for _, c := range []struct {
		split       Split
		text, share string
	}{
		{AllPrimary(), "100/0", "no traffic yet"},
		{ToCanary(20), "80/20", "20% of the traffic"},
		{audience(), "100/0+audience", "the requests that match"},
		{Split{Primary: 100, Mirror: 10}, "100/0+mirror 10%", "copies of 10% of the requests"},
		{
			Split{Primary: 80, Canary: 20, Mirror: 10, Audience: true},
			"80/20+mirror 10%+audience",
			"20% of the traffic and the requests that match and copies of 10% of the requests",
		},
	} {
		if c.split.String() != c.text || share(c.split) != c.share {
			t.Errorf("%v: %s", c.split, share(c.split))
		}
	}
}

func TestSpecThatCannotBeUsed(t *testing.T) {
	decideAll(t, map[string]phaseCase{
		"idle with a new revision": {
			reason: "nothing begins",
			in:     given(Succeeded).but(noCanary).target("r3").but(unusableSpec),
			want:   seen{Phase: Succeeded, Stalled: "InvalidSpec"},
		},
		"idle with nothing new": {
			reason: "a person is told all the same",
			in:     given(Succeeded).but(noCanary).target("r1").but(unusableSpec),
			want:   seen{Phase: Succeeded, Stalled: "InvalidSpec"},
		},
		"only the canary serves": {
			reason: "the traffic goes back to the primary as soon as that is there",
			in: given(Failed).routed(ToCanary(100)).but(unusableSpec).but(func(s *Snapshot) {
				s.State.Split, s.State.Reverting, s.State.Rejected = ToCanary(100), true, "r2"
			}),
			want: seen{Phase: Failed, Effects: []Effect{ApplySplit{AllPrimary()}}, Stalled: "InvalidSpec"},
		},
		"initializing": {
			reason: "the target goes on serving",
			in: given(Initializing).target("r1").but(unusableSpec).but(func(s *Snapshot) {
				s.Services.Serving, s.Target.Held, s.Target.Available, s.Route = false, false, 2, Route{}
			}),
			want: seen{Phase: Initializing, Stalled: "InvalidSpec"},
		},
		"waiting": {
			reason: "an answer of a gate is for later",
			in:     given(Waiting).but(noCanary).hook(ConfirmRollout, "approve").agrees().but(unusableSpec),
			want:   seen{Phase: Waiting, Stalled: "InvalidSpec"},
		},
		"midway": {
			reason: "the step stays as it is, until its deadline",
			in:     given(Progressing).atStep(1).agrees().but(unusableSpec),
			want:   seen{Phase: Progressing, Step: 1, Canary: 20, Stalled: "InvalidSpec"},
			more:   func(d Decision) string { return must(d.Wake == 10*time.Minute, "wakes after %v", d.Wake) },
		},
		"until the deadline": {
			reason: "the cause is the spec",
			in:     given(Progressing).atStep(1).but(unusableSpec).but(func(s *Snapshot) { s.State.Deadline = noon }),
			want:   seen{Phase: RollingBack, Step: 1, Told: []string{"RollingBack"}, Effects: []Effect{ApplySplit{AllPrimary()}}, Stalled: "InvalidSpec"},
			more: func(d Decision) string {
				return cmp.Diff("the spec could not be used until the deadline: spec.analysis: it cannot be used", d.Next.Cause)
			},
		},
		"its pods die": {
			reason: "what takes a version back works",
			in:     given(Progressing).atStep(1).but(unusableSpec).but(func(s *Snapshot) { s.Canary = dead("r2", 1) }),
			want: seen{
				Phase: RollingBack, Step: 1, Failed: 1, Told: []string{"RollingBack"}, Effects: []Effect{ApplySplit{AllPrimary()}}, Stalled: "InvalidSpec",
			},
		},
		"a newer revision": {
			reason: "the one on trial goes, the newer one waits",
			in:     given(Progressing).atStep(1).target("r3").but(unusableSpec),
			want:   seen{Phase: RollingBack, Step: 1, Told: []string{"Cancelled"}, Effects: []Effect{ApplySplit{AllPrimary()}}, Stalled: "InvalidSpec"},
		},
		"the target returns": {
			reason: "a git revert always works",
			in:     given(Progressing).atStep(1).target("r1").but(unusableSpec),
			want:   seen{Phase: RollingBack, Step: 1, Told: []string{"Cancelled"}, Effects: []Effect{ApplySplit{AllPrimary()}}, Stalled: "InvalidSpec"},
		},
		"promoting": {
			reason: "what passed is brought to its end",
			in:     promotion().but(unusableSpec),
			want:   seen{Phase: Succeeded, Step: 3, Told: []string{"Promoted"}, Effects: []Effect{ApplySplit{AllPrimary()}}, Stalled: "InvalidSpec"},
		},
	})
	asked := given(Progressing).atStep(1).hook(RollbackHook, "alarm").hook(RolloutHook, "load").but(unusableSpec).s
	if qs := Ask(asked); len(qs) != 1 || qs[0].Type != RollbackHook {
		t.Errorf("asked are %v: only what can take a version back", qs)
	}
}
