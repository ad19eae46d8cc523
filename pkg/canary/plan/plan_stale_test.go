package plan

import (
	"testing"
	"time"
)

// One of two canary pods is away when the checks pass. The rollout must not go on, and it must not go on later on what was answered now.
func TestACanaryThatLostAPodGoesOnBeingJudged(t *testing.T) {
	for name, edit := range map[string]func(*Snapshot){
		"step":   func(s *Snapshot) { s.State.Deadline = noon.Add(s.Spec.Deadline) },
		"paused": func(s *Snapshot) { s.State.Paused, s.State.Deadline = true, noon.Add(s.Spec.GateDeadline) },
		"halted": func(s *Snapshot) {
			s.State.Phase, s.State.Halted, s.State.Deadline = WaitingPromotion, true, noon.Add(s.Spec.GateDeadline)
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := given(Progressing).atStep(1).hook(ConfirmTrafficIncrease, "ask-me").but(func(s *Snapshot) {
				s.Spec.CanarySize, s.Spec.GateDeadline = Size{Count: 2}, 7*24*time.Hour
				s.Canary = healthy("r2", 2)
			}).but(edit).agrees() // the gate too, a moment before the pod went
			b.s.Canary.Available, b.s.Canary.Endpoints = 1, 1
			d := Decide(b.s)
			if want := noon.Add(Recheck); !d.Next.CheckAt.Equal(want) || d.Wake > Recheck || d.Next.Step != 1 || len(d.Notices) > 0 {
				t.Fatalf("the next check is at %s instead of %s: %+v", clock(d.Next.CheckAt), clock(want), d)
			}
			then := b.s
			then.State, then.Now = d.Next, d.Next.CheckAt
			then.Canary = healthy("r2", 2)
			asked := Ask(then)
			if len(asked) == 0 {
				t.Fatal("nothing is asked anew")
			}
			for _, q := range asked {
				if _, answered := b.s.Answers[q.Key]; answered {
					t.Errorf("%s has an old answer", q.Key)
				}
			}
			if next := Decide(then); next.Next.Step != 1 || next.Next.Phase.ending() {
				t.Errorf("pods are back: step %d in %s on old answers", next.Next.Step, next.Next.Phase)
			}
			then.Canary = b.s.Canary
			then.Answers = map[string]Answer{asked[0].Key: {Verdict: Fail, Value: "17 %", Limit: "<= 1 %"}}
			if bad := Decide(then); bad.Next.Phase != RollingBack {
				t.Errorf("a check that fails while a pod is away does not count: %s", bad.Why)
			}
		})
	}
}

// The deadline comes between two checks.
func TestARepeatedCheckIsNotAfterTheDeadline(t *testing.T) {
	for name, tc := range map[string]struct {
		in   *snap
		want string
	}{
		"no data": {
			given(Progressing).atStep(1).says("error-rate", Answer{Verdict: Inconclusive, Message: "no data"}),
			"no verdict before the deadline: metric error-rate: no data",
		},
		"pods that came back": {
			given(Progressing).atStep(1).agrees().but(func(s *Snapshot) { s.Canary.Available, s.Spec.CanarySize = 1, Size{Count: 2} }),
			"no verdict before the deadline: answers are missing, or the canary was not ready when they came",
		},
	} {
		t.Run(name, func(t *testing.T) {
			tc.in.s.State.Deadline = noon.Add(4 * time.Second)
			d := Decide(tc.in.s)
			if !d.Next.CheckAt.Equal(d.Next.Deadline) {
				t.Errorf("the next check is at %s, the deadline at %s", clock(d.Next.CheckAt), clock(d.Next.Deadline))
			}
			then := tc.in.s
			then.State, then.Now, then.Spec.CanarySize, then.Canary = d.Next, d.Next.Deadline, Size{Count: 1}, healthy("r2", 1)
			if got := Decide(then).Next; got.Phase != RollingBack || got.Cause != tc.want {
				t.Errorf("%s: %s", got.Phase, got.Cause)
			}
		})
	}
}
