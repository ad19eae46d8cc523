package plan

import (
	"strings"
	"testing"
	"time"
)

// What a share says, at the limits: chance and small numbers say nothing, a rival makes small differences count.
func TestShare(t *testing.T) {
	const old = "HTTPRoute old"
	for name, tt := range map[string]struct {
		share         Share
		wanted, least int32
		odd           bool
	}{
		"nothing is known":                    {Share{}, 10, 10, false},
		"as wanted":                           {Share{100, 1000, old}, 10, 10, false},
		"a rival takes half":                  {Share{500, 10000, old}, 10, 10, true},
		"a rival takes all":                   {Share{0, 1000, old}, 10, 10, true},
		"a rival takes all, of few":           {Share{0, 99, old}, 50, 50, false},
		"a rival takes all, of a hundred":     {Share{0, 100, old}, 50, 50, true},
		"so few that it may be chance":        {Share{0, 200, old}, 10, 10, false},
		"many, and it is still tolerable":     {Share{80500, 1000000, old}, 10, 10, false},
		"many, and it is not":                 {Share{70000, 1000000, old}, 10, 10, true},
		"a rival takes a fifth":               {Share{40000, 100000, old}, 50, 50, false},
		"a rival takes half at 1%":            {Share{500, 100000, old}, 1, 1, false}, // half a point is tolerated
		"more than wanted":                    {Share{8000, 10000, old}, 50, 50, true},
		"a rival takes half of what is 90%":   {Share{4500, 10000, old}, 90, 10, true},
		"nobody takes it, and half is there":  {Share{500, 10000, ""}, 10, 10, false}, // gateways that are told of changes all the time
		"nobody takes it, and none is there":  {Share{0, 10000, ""}, 10, 10, true},
		"requests of the step before":         {Share{500, 10000, ""}, 50, 5, false}, // long ones
		"nobody takes it, all is there":       {Share{10000, 10000, ""}, 50, 5, true},
		"nobody takes it, most is there":      {Share{8000, 10000, ""}, 50, 5, false},
		"nobody takes it, next to none":       {Share{100, 10000, ""}, 50, 5, true},
		"nobody takes it, none of a hundred":  {Share{0, 100, ""}, 10, 10, false},
		"five deviations are chance":          {Share{750, 10000, old}, 9, 9, false}, // 1.5 points
		"a share that is tolerable by itself": {Share{310, 10000, old}, 5, 5, false},
	} {
		t.Run(name, func(t *testing.T) {
			if odd := tt.share.differs(float64(tt.wanted)/100, float64(tt.least)/100); odd != tt.odd {
				t.Errorf("%+v at %d%%: %v", tt.share, tt.wanted, odd)
			}
		})
	}
}

// stolen is a share of the first step of plain, 20 %, that a rival takes.
func stolen() Answer {
	return Answer{Verdict: Pass, Share: Share{Canary: 50, Total: 1000, Rival: "HTTPRoute old"}}
}

func counted(s *Snapshot) { s.Counted, s.Spec.Metrics = true, []string{"success"} }

func policy(p Policy) func(*Snapshot) { return func(s *Snapshot) { s.Spec.NoData = p } }

func TestRoutingMismatch(t *testing.T) {
	names := func(d Decision) string {
		r, odd := mismatched(d.Next.Results)
		for _, word := range []string{"50 of 1000", "20% is wanted", "HTTPRoute old"} {
			if !odd || !strings.Contains(r.Message, word) {
				return "the result does not say " + word + ": " + r.Message
			}
		}
		return ""
	}
	held := func(d Decision) string {
		if d.Held != ReasonRoutingMismatch || !strings.Contains(d.Why, "5.0%") || len(d.WaitingFor) == 0 {
			return "held: " + d.Held + ", why: " + d.Why
		}
		return names(d)
	}
	step := func(n int) *snap { return given(Progressing).but(counted).atStep(n) }
	before := func(s *Snapshot) {
		s.State.Results = []Result{{Name: "share", Kind: string(AskShare), Answer: Answer{
			Verdict: Inconclusive, Value: "5.0%", Message: "50 of 1000, 20% is wanted; HTTPRoute old",
		}}}
	}
	decideAll(t, map[string]phaseCase{
		"the canary has its share": {
			reason: "nothing is said",
			in:     step(1).says("share", Answer{Verdict: Pass, Share: Share{Canary: 200, Total: 1000, Rival: "HTTPRoute old"}}),
			want:   seen{Phase: Progressing, Step: 2, Canary: 40, Told: []string{"StepAdvanced"}, Effects: []Effect{ApplySplit{ToCanary(40)}}},
		},
		"nothing is known": {
			reason: "a gateway may not have counted yet",
			in:     step(1).agrees(),
			want:   seen{Phase: Progressing, Step: 2, Canary: 40, Told: []string{"StepAdvanced"}, Effects: []Effect{ApplySplit{ToCanary(40)}}},
		},
		"a rival, Hold": {
			reason: "the step has judged a canary that nobody sees",
			in:     step(1).but(policy(PolicyHold)).says("share", stolen()),
			want:   seen{Phase: Progressing, Step: 1, Canary: 20, Told: []string{"RoutingMismatch"}}, more: held,
		},
		"a rival, Hold, again": {
			reason: "it was told",
			in:     step(1).but(policy(PolicyHold)).but(before).says("share", stolen()),
			want:   seen{Phase: Progressing, Step: 1, Canary: 20}, more: held,
		},
		"a rival, Hold, between checks": {
			reason: "the conditions must not flap",
			in:     step(1).but(policy(PolicyHold)).but(before).but(func(s *Snapshot) { s.State.CheckAt = noon.Add(time.Second) }),
			want:   seen{Phase: Progressing, Step: 1, Canary: 20}, more: held,
		},
		"a rival, Hold, answers are open": {
			reason: "the conditions must not flap",
			in:     step(1).but(policy(PolicyHold)).but(before),
			want:   seen{Phase: Progressing, Step: 1, Canary: 20}, more: held,
		},
		"a rival has gone": {
			reason: "the step goes on",
			in:     step(1).but(policy(PolicyHold)).but(before).agrees(),
			want:   seen{Phase: Progressing, Step: 2, Canary: 40, Told: []string{"StepAdvanced"}, Effects: []Effect{ApplySplit{ToCanary(40)}}},
		},
		"a rival, Fail": {
			reason: "the policy says so",
			in:     step(1).but(policy(PolicyFail)).but(func(s *Snapshot) { s.Spec.Threshold = 2 }).says("share", stolen()),
			want:   seen{Phase: Progressing, Step: 1, Canary: 20, Failed: 1, Told: []string{"CheckFailed"}}, more: names,
		},
		"a rival, Pass": {
			reason: "it is told, and then the step goes on",
			in:     step(1).but(policy(PolicyPass)).says("share", stolen()),
			want:   seen{Phase: Progressing, Step: 1, Canary: 20, Told: []string{"RoutingMismatch"}}, more: names,
		},
		"a rival, Pass, told": {
			reason: "it was told",
			in:     step(1).but(policy(PolicyPass)).but(before).says("share", stolen()),
			want:   seen{Phase: Progressing, Step: 2, Canary: 40, Told: []string{"StepAdvanced"}, Effects: []Effect{ApplySplit{ToCanary(40)}}},
		},
		"a check that failed": {
			reason: "a bad version is never kept by a share", // invariant 4
			in: step(1).but(policy(PolicyHold)).but(func(s *Snapshot) { s.Spec.Threshold = 2 }).says("share", stolen()).
				says("success", Answer{Verdict: Fail}).but(answerStolen),
			want: seen{Phase: Progressing, Step: 1, Canary: 20, Failed: 1, Told: []string{"CheckFailed"}},
		},
		"the gateway does not answer, for a moment": {
			reason: "it is waited for as for a failed check's other answers",
			in:     step(1).agrees().but(unanswerShare),
			want:   seen{Phase: Progressing, Step: 1, Canary: 20},
		},
		"the gateway does not answer": {
			reason: "and no longer",
			in: step(1).agrees().but(func(s *Snapshot) {
				unanswerShare(s)
				s.Now = noon.Add(Patience)
			}),
			want: seen{Phase: Progressing, Step: 2, Canary: 40, Told: []string{"StepAdvanced"}, Effects: []Effect{ApplySplit{ToCanary(40)}}},
		},
	})
}

func answerStolen(s *Snapshot) {
	for _, q := range s.shareQuestions() {
		s.Answers[q.Key] = stolen()
	}
}

func unanswerShare(s *Snapshot) {
	for _, q := range s.shareQuestions() {
		delete(s.Answers, q.Key)
	}
}

// The share is asked for where only the weights decide it, and of the time in which they did.
func TestWhenTheShareIsAsked(t *testing.T) {
	for name, tt := range map[string]struct {
		in   *snap
		want time.Time // zero: not asked
	}{
		"a step": {given(Progressing).but(counted).atStep(1), noon.Add(-plain().Steps[0].Interval)},
		"a long step": {given(Progressing).but(counted).atStep(1).but(func(s *Snapshot) {
			s.State.StepAt = noon.Add(-time.Hour)
		}), noon.Add(-max(plain().Steps[0].Interval, shareWindow))},
		"a split that came late": {given(Progressing).but(counted).atStep(1).but(func(s *Snapshot) {
			s.State.EffectiveAt = noon.Add(-2 * time.Second)
			s.State.CheckAt = noon
		}), noon.Add(-2 * time.Second)},
		"a split that was undone for a moment": {given(Progressing).but(counted).atStep(1).but(func(s *Snapshot) {
			s.Unsettled, s.Settled = noon.Add(-4*time.Second), noon.Add(-3*time.Second)
			s.State.StepAt = s.State.StepAt.Add(-time.Hour)
			s.Since = noon
			s.State.EffectiveAt = s.State.StepAt
		}), noon.Add(-3 * time.Second)},
		"an audience": {given(Progressing).but(counted).atStep(1).but(func(s *Snapshot) {
			s.State.Split.Audience, s.Route.Current.Audience, s.Spec.Steps[0].Audience = true, true, true
		}), time.Time{}},
		"a mirror": {given(Progressing).but(counted).atStep(1).but(func(s *Snapshot) {
			s.State.Split.Mirror, s.Route.Current.Mirror, s.Spec.Steps[0].Mirror = 10, 10, 10
		}), time.Time{}},
		"a gateway that does not count": {given(Progressing).but(counted).atStep(1).but(func(s *Snapshot) { s.Counted = false }), time.Time{}},
		"no metrics":                    {given(Progressing).but(counted).atStep(1).but(func(s *Snapshot) { s.Spec.Metrics = nil }), time.Time{}},
		"all for the canary":            {given(Progressing).but(counted).but(func(s *Snapshot) { s.Spec.Steps[0].Weight = 100 }).atStep(1), time.Time{}},
	} {
		t.Run(name, func(t *testing.T) {
			var have time.Time
			for _, q := range Ask(tt.in.s) {
				if q.Kind == AskShare {
					have = q.From
				}
			}
			if !have.Equal(tt.want) {
				t.Errorf("from %v, want %v", have, tt.want)
			}
		})
	}
}
