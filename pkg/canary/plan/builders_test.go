package plan

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// noon is when the decisions of the table tests are made: long after the controller started.
var noon = epoch.Add(12 * time.Hour)

// snap is a Snapshot in the making.
type snap struct{ s Snapshot }

// given is a world in which all is well in phase p: r1 is promoted, r2 is on trial or just was, and its present wait began now.
func given(p Phase) *snap {
	z := State{
		Phase: p, Since: noon, Stable: "r1", Candidate: "r2", Rollout: 1, Attempt: 1, Split: AllPrimary(), Replicas: 2,
		StartedAt: noon, StepAt: noon, CheckAt: noon, Deadline: noon.Add(10 * time.Minute),
	}
	b := &snap{Snapshot{
		Now: noon, Since: epoch, Spec: plain(), State: z, Answers: map[string]Answer{},
		Target:   Target{Found: true, Revision: "r2", Replicas: 2, Held: true, Stored: true, Current: true, Promoted: true},
		Primary:  healthy("r1", 2),
		Canary:   healthy("r2", 1),
		Services: Services{Complete: true, Serving: true},
	}}
	return b.routed(AllPrimary())
}

func healthy(rev string, n int32) Workload {
	return Workload{Found: true, Revision: rev, Replicas: n, Pods: n, Updated: n, Available: n, Endpoints: n, Current: true}
}

func dead(rev string, n int32) Workload {
	return Workload{Found: true, Revision: rev, Replicas: n, Pods: n, Updated: n, Current: true, Message: "CrashLoopBackOff"}
}

// routed is a data plane that carries z out; if the state wants something else, it is not confirmed.
func (b *snap) routed(z Split) *snap {
	b.s.Route = Route{Known: true, Current: z, Confirmed: true}
	return b
}

// atStep is at a step whose checks are due now.
func (b *snap) atStep(n int) *snap {
	z := &b.s.State
	step := b.s.Spec.Steps[n-1]
	z.Step, z.Split = n, ToCanary(step.Weight)
	z.StepAt, z.CheckAt = noon.Add(-Settle-step.Interval), noon
	return b.routed(z.Split)
}

func (b *snap) but(change func(*Snapshot)) *snap {
	change(&b.s)
	return b
}

func (b *snap) target(rev string) *snap {
	b.s.Target.Revision = rev
	return b
}

func (b *snap) hook(t HookType, name string) *snap {
	b.s.Spec.Hooks = append(b.s.Spec.Hooks, Hook{Name: name, Type: t})
	return b
}

// says answers every question of that name which is asked, and all others with a pass.
func (b *snap) says(name string, a Answer) *snap {
	for range 4 {
		for _, q := range Ask(b.s) {
			b.s.Answers[q.Key] = Answer{Verdict: Pass}
			if q.Type == RollbackHook {
				b.s.Answers[q.Key] = Answer{Verdict: Fail}
			}
			if q.Name == name {
				b.s.Answers[q.Key] = a
			}
		}
	}
	return b
}

func (b *snap) agrees() *snap { return b.says("", Answer{}) }

// seen is what of a decision a table test looks at.
type seen struct {
	Phase   Phase
	Step    int
	Canary  int32
	Failed  int32
	Told    []string
	Effects []Effect
	Stalled string
}

func look(d Decision) seen {
	v := seen{Phase: d.Next.Phase, Step: d.Next.Step, Canary: d.Next.Split.Canary, Failed: d.Next.FailedChecks, Effects: d.Effects, Stalled: d.Stalled}
	for _, n := range d.Notices {
		v.Told = append(v.Told, n.Reason)
	}
	return v
}

// phaseCase is one decision.
type phaseCase struct {
	reason string
	in     *snap
	want   seen
	// more looks at the rest of it.
	more func(Decision) string
}

func decideAll(t *testing.T, cases map[string]phaseCase) {
	t.Helper()
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			d := Decide(c.in.s)
			if diff := cmp.Diff(c.want, look(d)); diff != "" {
				t.Errorf("%s (-want +got):\n%s\nwhy: %s; waits for %v", c.reason, diff, d.Why, d.WaitingFor)
			}
			if c.more != nil {
				if wrong := c.more(d); wrong != "" {
					t.Errorf("%s: %s", c.reason, wrong)
				}
			}
			if d.Why == "" {
				t.Error("a decision must say why")
			}
		})
	}
}
