package plan

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// scaled is a world whose autoscaler made n primary pods.
func (b *snap) scaled(n int32) *snap {
	return b.but(func(s *Snapshot) {
		s.Scaler = Scaler{Found: true, OnPrimary: true}
		s.Primary = healthy(s.Primary.Revision, n)
	})
}

func TestAutoscaler(t *testing.T) {
	floor := func(n int32) func(*Snapshot) { return func(s *Snapshot) { s.State.Floor, s.Scaler.Floor = n, n } }
	decideAll(t, map[string]phaseCase{
		"while initializing": {
			reason: "it goes on scaling the target, which serves",
			in: given(Initializing).target("r1").but(func(s *Snapshot) {
				s.Scaler, s.Primary, s.Target.Held, s.Target.Available = Scaler{Found: true}, dead("r1", 2), false, 2
				s.Services.Serving = false
			}),
			want: seen{Phase: Initializing},
		},
		"it scaled the target meanwhile": {
			reason: "the primary gets that size before it takes over",
			in: given(Initializing).target("r1").but(func(s *Snapshot) {
				s.Scaler, s.Target.Held, s.Target.Available, s.Target.Replicas = Scaler{Found: true}, false, 3, 1
			}),
			want: seen{Phase: Initializing, Effects: []Effect{ApplyPrimary{"r1", 1}}},
		},
		"initialized": {
			reason: "it is pointed at the primary before the target is held",
			in: given(Initialized).target("r1").but(noCanary).but(func(s *Snapshot) {
				s.Scaler, s.Target.Held = Scaler{Found: true}, false
			}),
			want: seen{Phase: Initialized, Effects: []Effect{ApplyScaler{}}},
		},
		"it is on the primary": {
			reason: "now the target can be held, with the size that was made",
			in:     given(Initialized).target("r1").but(noCanary).scaled(5).but(func(s *Snapshot) { s.Target.Held = false }),
			want:   seen{Phase: Initialized, Effects: []Effect{HoldTarget{5}}},
		},
		"it scales": {
			reason: "an idle Canary writes nothing for that",
			in:     given(Succeeded).target("r1").but(noCanary).scaled(7),
			want:   seen{Phase: Succeeded},
			more:   func(d Decision) string { return must(d.Next.Replicas == 2, "%d replicas are stored", d.Next.Replicas) },
		},
		"git points it back at the target": {
			reason: "the primary keeps the size that it has",
			in:     given(Succeeded).target("r1").but(noCanary).scaled(7).but(func(s *Snapshot) { s.Scaler.OnPrimary = false }),
			want:   seen{Phase: Succeeded, Effects: []Effect{ApplyScaler{}}},
		},
		"its limits were changed": {
			reason: "they are written again",
			in:     given(Succeeded).target("r1").but(noCanary).scaled(2).but(func(s *Snapshot) { s.Scaler.Drifted = true }),
			want:   seen{Phase: Succeeded, Effects: []Effect{ApplyScaler{}}},
		},
		"it does not exist": {
			reason: "a person is told; the primary keeps its size",
			in: given(Succeeded).target("r1").but(noCanary).but(func(s *Snapshot) {
				s.Scaler, s.Primary = Scaler{Missing: true}, healthy("r1", 6)
			}),
			want: seen{Phase: Succeeded, Stalled: "AutoscalerNotFound"},
		},
		"it does not exist, and the user wants more": {
			reason: "more is no risk",
			in:     given(Succeeded).target("r1").but(noCanary).but(func(s *Snapshot) { s.Scaler, s.Target.Replicas = Scaler{Missing: true}, 6 }),
			want:   seen{Phase: Succeeded, Effects: []Effect{ApplyPrimary{"r1", 6}}, Stalled: "AutoscalerNotFound"},
		},
		"somebody scaled the primary to zero": {
			reason: "an autoscaler stands still at zero: what it allows at least comes back",
			in:     given(Succeeded).target("r1").but(noCanary).scaled(0).but(func(s *Snapshot) { s.Scaler.Least = 2 }),
			want:   seen{Phase: Succeeded, Effects: []Effect{ApplyPrimary{"r1", 2}}},
		},
		"it took all pods away": {
			reason: "one that can bring them back may",
			in:     given(Succeeded).target("r1").but(noCanary).scaled(0),
			want:   seen{Phase: Succeeded},
		},
		"somebody deleted the primary": {
			reason: "it comes back at the size that is known",
			in: given(Succeeded).target("r1").but(noCanary).scaled(5).but(func(s *Snapshot) {
				s.Primary, s.State.Replicas = Workload{}, 4
			}),
			want: seen{Phase: Succeeded, Effects: []Effect{ApplyPrimary{"r1", 4}}},
		},
		"a rollout begins": {
			reason: "the primary must not shrink below its size while its traffic is elsewhere",
			in:     given(Succeeded).target("r3").but(noCanary).scaled(5).but(func(s *Snapshot) { s.Spec.CanaryScaled = true }),
			want: seen{
				Phase: Progressing, Told: []string{"NewRevision"}, Effects: []Effect{ApplyCanary{"r3", 3}, ApplyScaler{5, true}},
			},
			more: func(d Decision) string { return must(d.Next.Floor == 5 && d.Next.Replicas == 5, "%+v", d.Next) },
		},
		"a rollout begins whose canary has an autoscaler of the user's": {
			reason: "Siskin makes none",
			in: given(Succeeded).target("r3").but(noCanary).scaled(5).but(func(s *Snapshot) {
				s.Spec.CanaryScaled, s.Scaler.CanaryUsers = true, true
			}),
			want: seen{
				Phase: Progressing, Told: []string{"NewRevision"}, Effects: []Effect{ApplyCanary{"r3", 3}, ApplyScaler{5, false}},
			},
		},
		"a rollout that waits for approval": {
			reason: "that may last a week: the floor begins with the canary",
			in:     given(Succeeded).target("r3").but(noCanary).scaled(5).hook(ConfirmRollout, "approve"),
			want:   seen{Phase: Waiting, Told: []string{"WaitingForApproval"}},
			more:   func(d Decision) string { return must(d.Next.Floor == 0, "floor %d", d.Next.Floor) },
		},
		"it adds pods midway": {
			reason: "that does not stall the rollout, and the canary is measured by the size before",
			in: given(Progressing).scaled(6).but(floor(2)).but(func(s *Snapshot) {
				s.Primary.Available, s.Primary.Updated, s.Primary.Pods = 3, 3, 3
			}).atStep(1).agrees(),
			want: seen{Phase: Progressing, Step: 2, Canary: 40, Told: []string{"StepAdvanced"}, Effects: []Effect{ApplySplit{ToCanary(40)}, ApplyCanary{"r2", 3}}},
		},
		"the primary is promoted while it scales": {
			reason: "the size before the rollout is enough",
			in: promotion().scaled(6).but(floor(2)).but(func(s *Snapshot) {
				s.Primary = healthy("r2", 6)
				s.Primary.Available, s.Primary.Updated, s.Primary.Pods = 2, 2, 2
			}),
			want: seen{
				Phase: Succeeded, Step: 3, Told: []string{"Promoted"},
				Effects: []Effect{ApplySplit{AllPrimary()}},
			},
			more: func(d Decision) string { return must(d.Next.Floor == 2, "floor %d", d.Next.Floor) },
		},
		"its floor was taken away and the primary is gone": {
			reason: "a primary without pods is not ready",
			in: promotion().scaled(0).but(floor(2)).but(func(s *Snapshot) {
				s.Primary, s.Scaler.Floor = healthy("r2", 0), 0
			}),
			want: seen{Phase: Promoting, Step: 3, Canary: 100, Effects: []Effect{ApplySplit{ToCanary(100)}, ApplyScaler{2, false}}},
		},
		"only the canary serves": {
			reason: "the floor stays until the primary has the traffic again",
			in: given(Failed).routed(ToCanary(100)).scaled(4).but(floor(4)).but(func(s *Snapshot) {
				s.State.Split, s.State.Reverting, s.State.Rejected, s.Primary = ToCanary(100), true, "r2", dead("r1", 4)
			}),
			want: seen{Phase: Failed, Canary: 100, Stalled: "PrimaryNotReady"},
			more: func(d Decision) string { return must(d.Next.Floor == 4, "floor %d", d.Next.Floor) },
		},
		"the primary is back": {
			reason: "while it had no traffic its autoscaler measured nothing: the floor stays while that counts",
			in: given(Failed).routed(ToCanary(100)).scaled(4).but(floor(4)).but(func(s *Snapshot) {
				s.State.Split, s.State.Reverting, s.State.Rejected, s.State.Since = ToCanary(100), true, "r2", noon.Add(-time.Hour)
			}),
			want: seen{Phase: Failed, Effects: []Effect{ApplySplit{AllPrimary()}}},
			more: func(d Decision) string { return must(d.Next.Floor == 4, "floor %d", d.Next.Floor) },
		},
		"what was measured without traffic counts": {
			reason: "the autoscaler would take pods away now",
			in: given(Failed).target("r1").but(noCanary).scaled(4).but(floor(4)).but(func(s *Snapshot) {
				s.State.Since, s.Scaler.Window = noon.Add(-5*time.Minute), 5*time.Minute
			}),
			want: seen{Phase: Initialized, Told: []string{"TargetReverted"}},
			more: func(d Decision) string { return must(d.Next.Floor == 4, "floor %d", d.Next.Floor) },
		},
		"what was measured without traffic counts no longer": {
			reason: "the autoscaler is free",
			in: given(Succeeded).target("r1").but(noCanary).scaled(4).but(floor(4)).but(func(s *Snapshot) {
				s.State.Since, s.Scaler.Window = noon.Add(-5*time.Minute-Recheck), 5*time.Minute
			}),
			want: seen{Phase: Succeeded, Effects: []Effect{ApplyScaler{}}},
		},
		"it went missing in a rollout": {
			reason: "the floor is not forgotten",
			in: given(Frozen).atStep(1).asks("promote@1").but(func(s *Snapshot) {
				s.Scaler, s.State.Floor, s.Primary = Scaler{Missing: true}, 5, healthy("r1", 5)
			}),
			want: seen{Phase: Progressing, Step: 1, Canary: 20, Told: []string{"PromotionRequested"}, Stalled: "AutoscalerNotFound", Effects: []Effect{ApplyCanary{"r2", 3}}},
			more: func(d Decision) string { return must(d.Next.Floor == 5, "floor %d", d.Next.Floor) },
		},
		"a bake fails": {
			reason: "the primary goes back at its size",
			in: given(Baking).but(promoted).scaled(5).but(func(s *Snapshot) { s.Primary = healthy("r2", 5) }).
				says("error-rate", Answer{Verdict: Fail}),
			want: seen{Phase: RollingBack, Failed: 1, Told: []string{"RollingBack"}, Effects: []Effect{ApplyPrimary{"r1", 5}, ApplyScaler{5, false}}},
		},
		"the canary has its own": {
			reason: "what that makes is left alone",
			in: given(Progressing).scaled(2).but(func(s *Snapshot) {
				s.Spec.CanaryScaled, s.Scaler.Canary, s.Canary = true, true, healthy("r2", 4)
				s.State.CheckAt = noon.Add(time.Minute)
			}),
			want: seen{Phase: Progressing},
		},
	})
}

// The user's zero switches an app off that an autoscaler sizes, and nothing else does.
func TestSwitchedOffUnderAnAutoscaler(t *testing.T) {
	off := func(s *Snapshot) { s.Target.Replicas, s.Target.Off, s.Scaler.Least = 0, true, 2 }
	replicas := func(n int32) func(Decision) string {
		return func(d Decision) string { return must(d.Next.Replicas == n, "%d replicas are stored", d.Next.Replicas) }
	}
	decideAll(t, map[string]phaseCase{
		"idle": {
			reason: "the primary goes, whatever the autoscaler allows at least",
			in:     given(Succeeded).target("r1").but(noCanary).scaled(5).but(off),
			want:   seen{Phase: Succeeded, Effects: []Effect{ApplyPrimary{"r1", 0}}},
			more:   replicas(0),
		},
		"it is off": {
			reason: "nothing is to be done, and nothing to be stored",
			in:     given(Succeeded).target("r1").but(noCanary).scaled(0).but(off).but(func(s *Snapshot) { s.State.Replicas = 0 }),
			want:   seen{Phase: Succeeded},
			more:   replicas(0),
		},
		"it is switched on": {
			reason: "no autoscaler brings it back from zero: it comes with the fewest pods, which the autoscaler takes over",
			in: given(Succeeded).target("r1").but(noCanary).scaled(0).but(off).but(func(s *Snapshot) {
				s.State.Replicas, s.Target.Off, s.Target.Replicas = 0, false, 1
			}),
			want: seen{Phase: Succeeded, Effects: []Effect{ApplyPrimary{"r1", 2}}},
			more: replicas(2),
		},
		"the autoscaler is missing": {
			reason: "zero is what the user wants all the same",
			in: given(Succeeded).target("r1").but(noCanary).scaled(5).but(off).but(func(s *Snapshot) {
				s.Scaler = Scaler{Missing: true}
			}),
			want: seen{Phase: Succeeded, Stalled: "AutoscalerNotFound", Effects: []Effect{ApplyPrimary{"r1", 0}}},
		},
		"a new revision": {
			reason: "nothing can be judged",
			in:     given(Succeeded).target("r3").but(noCanary).scaled(0).but(off),
			want:   seen{Phase: Succeeded},
		},
		"before the canary has traffic": {
			reason: "nothing can be judged",
			in:     given(Progressing).scaled(5).but(off),
			want:   seen{Phase: RollingBack, Told: []string{"Cancelled"}, Effects: []Effect{ApplyPrimary{"r1", 0}}},
		},
		"while it is promoted": {
			reason: "what should have no pods is ready without",
			in: promotion().scaled(0).but(off).but(func(s *Snapshot) {
				s.Primary, s.State.Floor, s.Scaler.Floor, s.Canary = healthy("r2", 0), 2, 2, healthy("r2", 1)
			}),
			want: seen{Phase: Succeeded, Step: 3, Told: []string{"Promoted"}, Effects: []Effect{ApplySplit{AllPrimary()}, ApplyScaler{}}},
		},
		"after the rollout": {
			reason: "an app that is switched off needs no floor",
			in:     given(Succeeded).target("r1").but(noCanary).scaled(0).but(off).but(func(s *Snapshot) { s.State.Floor, s.Scaler.Floor = 2, 2 }),
			want:   seen{Phase: Succeeded, Effects: []Effect{ApplyScaler{}}},
		},
		"while a promotion is taken back": {
			reason: "nobody waits for a primary that should have no pods",
			in: given(RollingBack).scaled(0).but(off).but(func(s *Snapshot) {
				s.State.Reverting, s.State.Outcome, s.State.Floor, s.Scaler.Floor = true, Failed, 2, 2
			}),
			want: seen{Phase: Failed, Told: []string{"RolledBack"}, Effects: []Effect{ApplyScaler{}}},
		},
		"the autoscaler takes everything away": {
			reason: "what is recorded then is not the user's zero",
			in: given(Succeeded).target("r1").but(noCanary).scaled(0).but(func(s *Snapshot) {
				s.Target.Held, s.Target.Replicas = false, 3
			}),
			want: seen{Phase: Succeeded, Effects: []Effect{HoldTarget{1}}},
		},
		"the Canary is deleted": {
			reason: "what was off stays off",
			in: given(Terminating).but(noCanary).scaled(0).but(off).but(func(s *Snapshot) {
				s.Deleting = true
			}),
			want: seen{Phase: Terminating, Effects: []Effect{ReleaseTarget{0}}},
		},
		"the Canary is deleted before its pods are gone": {
			reason: "the autoscaler's pods are not the user's wish",
			in: given(Terminating).but(noCanary).scaled(2).but(off).but(func(s *Snapshot) {
				s.Deleting = true
			}),
			want: seen{Phase: Terminating, Effects: []Effect{ReleaseTarget{0}}},
		},
		"a person promotes before its pods are gone": {
			reason: "there is no size to keep",
			in:     given(Succeeded).target("r3").but(noCanary).scaled(3).but(off).asks("promote@1"),
			want:   seen{Phase: Promoting, Told: []string{"DirectRollout"}, Effects: []Effect{ApplyPrimary{"r3", 0}}},
			more:   func(d Decision) string { return must(d.Next.Floor == 0, "the floor is %d", d.Next.Floor) },
		},
	})
}

func TestDeletionWithAutoscaler(t *testing.T) {
	gone := func() *snap {
		return given(Terminating).but(noCanary).scaled(5).but(func(s *Snapshot) { s.Deleting = true })
	}
	served := func(s *Snapshot) {
		s.Target.Held, s.Target.Released, s.Target.Available, s.Target.Serving = false, true, 2, 2
	}
	restored := func(s *Snapshot) { s.Services = Services{Complete: true, Restored: true} }
	decideAll(t, map[string]phaseCase{
		"the target is released": {
			reason: "with the size that the autoscaler made",
			in:     gone(),
			want:   seen{Phase: Terminating, Effects: []Effect{ReleaseTarget{5}}},
		},
		"the primary is scaled meanwhile": {
			reason: "the target is waited for at the size that it was given",
			in:     gone().but(served),
			want:   seen{Phase: Terminating, Effects: []Effect{RestoreScaler{}, RestoreServices{}}},
		},
		"it could not be given back": {
			reason: "it is tried until it succeeds",
			in:     gone().but(served).but(restored).but(func(s *Snapshot) { s.State.DrainUntil = noon.Add(time.Second) }),
			want:   seen{Phase: Terminating, Effects: []Effect{RestoreScaler{}, RestoreServices{}}},
		},
		"it cannot be given back": {
			reason: "the Canary goes only after that: Finish is not tried when an effect before it failed",
			in:     gone().but(served).but(restored).but(func(s *Snapshot) { s.State.DrainUntil, s.Route = noon, Route{} }),
			want:   seen{Phase: Terminating, Effects: []Effect{RestoreScaler{}, RestoreServices{}, Finish{}}},
		},
		"it is given back": {
			reason: "nothing is left to do for it",
			in: gone().but(served).but(restored).but(func(s *Snapshot) {
				s.State.DrainUntil, s.Scaler, s.Route = noon, Scaler{Found: true, Restored: true}, Route{}
			}),
			want: seen{Phase: Terminating, Effects: []Effect{RestoreServices{}, Finish{}}},
		},
		"the target is gone": {
			reason: "the autoscaler is the user's all the same",
			in:     gone().but(func(s *Snapshot) { s.Target = Target{} }),
			want:   seen{Phase: Terminating, Effects: []Effect{RestoreScaler{}, RestoreServices{}, Finish{}}},
		},
	})
}

// An autoscaler that changes the primary all the time must not cost a write each time.
func TestAnAutoscalerCostsNoWrites(t *testing.T) {
	w := newWorld(1, plain(), exactly())
	w.scaler = scalerState{named: true, exists: true, least: 1, most: 9}
	w.deploy("r1", 2)
	w.run(epoch.Add(time.Minute))
	before := w.stores
	for i := range 20 {
		w.at(time.Duration(i)*time.Minute, func() { w.primary.resize(int32(2 + i%5)) })
	}
	w.run(epoch.Add(time.Hour))
	if w.checkRest(); w.failure != "" || w.stores != before {
		t.Errorf("%d states were stored: %s", w.stores-before, w.failure)
	}
}

func TestTheSizeOfAKindWithoutReplicas(t *testing.T) {
	daemons := Workload{Found: true, Revision: "r1", Replicas: 1, Desired: 3, Pods: 3, Updated: 3, Available: 3, Endpoints: 3, Current: true}
	for name, c := range map[string]struct {
		change  func(*Workload)
		percent int32
		want    bool
		explain string
	}{
		"on all nodes":     {func(*Workload) {}, 100, true, "its size is being changed"},
		"one is missing":   {func(w *Workload) { w.Available = 2 }, 100, false, "2 of 3 pods are available"},
		"most are enough":  {func(w *Workload) { w.Available = 2 }, 60, true, "2 of 3 pods are available"},
		"not yet replaced": {func(w *Workload) { w.Updated = 2 }, 60, false, "2 of 3 pods are available"},
		"a node is new":    {func(w *Workload) { w.Pods, w.Updated, w.Available = 2, 2, 2 }, 60, false, "2 of 3 pods are available"},
		"off":              {func(w *Workload) { *w = Workload{Found: true, Revision: "r1", Current: true} }, 100, true, "it is scaled to zero"},
	} {
		w := daemons
		c.change(&w)
		if got := w.Ready("r1", c.percent); got != c.want {
			t.Errorf("%s: ready is %v", name, got)
		}
		if diff := cmp.Diff(c.explain, w.explain("r1")); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

// A reason without its cause is a riddle: what people read beside it names the autoscaler, and the rollout that goes on.
func TestTheMessageNamesTheAutoscalerThatIsMissing(t *testing.T) {
	s := given(Succeeded).target("r1").but(noCanary).but(func(s *Snapshot) {
		s.Scaler = Scaler{Missing: true, Message: "HorizontalPodAutoscaler web does not exist"}
	})
	const want = "the autoscaler: HorizontalPodAutoscaler web does not exist; the primary serves revision r1"
	if d := Decide(s.s); d.Why != want {
		t.Errorf("%s: %s", d.Stalled, d.Why)
	}
}
