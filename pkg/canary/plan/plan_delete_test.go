package plan

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestADeletionGivesBackWhatWasPromoted: r1 is promoted, the target says r2.
func TestADeletionGivesBackWhatWasPromoted(t *testing.T) {
	gone := func(p Phase) *snap {
		return given(p).but(noCanary).but(func(s *Snapshot) { s.Deleting, s.Target.Promoted = true, false })
	}
	up := func(n, old int32) func(*Snapshot) {
		return func(s *Snapshot) {
			s.Target.Held, s.Target.Released, s.Target.Available, s.Target.Serving, s.Target.Old = false, true, 2, n, old
		}
	}
	promoted := func(s *Snapshot) { s.Target.Promoted = true }
	paused := func(s *Snapshot) { s.Target.Paused = true }
	decideAll(t, map[string]phaseCase{
		"a failed one": {
			reason: "what failed is told, and goes to nobody",
			in:     gone(Failed),
			want:   seen{Phase: Terminating, Told: []string{"Terminating"}, Effects: []Effect{RestoreTarget{"r1"}}},
			more: func(d Decision) string {
				n := d.Notices[0]
				return cmp.Diff("r2", n.Revision) + must(n.Severity == Warning && n.Alert && strings.Contains(n.Message, "the promoted revision r1"), "%+v", n)
			},
		},
		"a frozen one": {
			reason: "its traffic goes too",
			in:     given(Frozen).atStep(1).but(func(s *Snapshot) { s.Deleting, s.Target.Promoted = true, false }),
			want: seen{
				Phase: Terminating, Step: 1, Told: []string{"Terminating"}, Effects: []Effect{RestoreTarget{"r1"}, ApplySplit{AllPrimary()}},
			},
		},
		"while the traffic is given back": {
			reason: "the primary has passed and got r2",
			in:     gone(Finalising).but(promoted).but(func(s *Snapshot) { s.Primary.Revision = "r2" }),
			want:   seen{Phase: Terminating, Told: []string{"Terminating"}, Effects: []Effect{ReleaseTarget{2}}},
			more:   func(d Decision) string { return cmp.Diff("r2", d.Next.Stable) },
		},
		"orphan": {
			reason: "everything stays as it is",
			in:     gone(Failed).but(func(s *Snapshot) { s.Spec.Orphan = true }),
			want:   seen{Phase: Terminating, Told: []string{"Terminating"}, Effects: []Effect{Abandon{}}},
			more:   func(d Decision) string { return cmp.Diff(Info, d.Notices[0].Severity) },
		},
		"its controller has not seen that": {
			reason: "what it had would be scaled up",
			in:     gone(Terminating).but(promoted).but(func(s *Snapshot) { s.Target.Current = false }),
			want:   seen{Phase: Terminating},
		},
		"it has the content": {
			reason: "now it may be scaled up",
			in:     gone(Terminating).but(promoted),
			want:   seen{Phase: Terminating, Effects: []Effect{ReleaseTarget{2}}},
		},
		"the pods that it has are others": {
			reason: "a paused Deployment came back with the version before",
			in:     gone(Terminating).but(promoted).but(up(0, 2)),
			want:   seen{Phase: Terminating},
		},
		"pods of what it had are still there": {
			reason: "they would get traffic too",
			in:     gone(Terminating).but(promoted).but(up(2, 1)),
			want:   seen{Phase: Terminating},
		},
		"somebody applies the other again before it serves": {
			reason: "nobody was to get that",
			in:     gone(Terminating).but(up(2, 0)),
			want:   seen{Phase: Terminating, Effects: []Effect{RestoreTarget{"r1"}}},
			more:   func(d Decision) string { return must(d.Wake == Recheck, "wakes after %v", d.Wake) },
		},
		"somebody applies the other again when all is given back": {
			reason: "that is the user's doing",
			in: gone(Terminating).but(up(2, 0)).but(func(s *Snapshot) {
				s.Services, s.State.DrainUntil, s.Route = Services{Complete: true, Restored: true}, noon, Route{}
			}),
			want: seen{Phase: Terminating, Effects: []Effect{RestoreServices{}, Finish{}}},
		},
		"paused": {
			reason: "a paused Deployment would start the pods that it had",
			in:     gone(Succeeded).but(promoted).but(paused),
			want:   seen{Phase: Terminating, Told: []string{"Terminating"}, Effects: []Effect{RestoreTarget{"r1"}}},
		},
		"the pause is put back at the end": {
			reason: "it is the user's",
			in: gone(Terminating).but(promoted).but(up(2, 0)).but(func(s *Snapshot) {
				s.Target.Unpaused = true
				s.Services, s.State.DrainUntil, s.Route = Services{Complete: true, Restored: true}, noon, Route{}
			}),
			want: seen{Phase: Terminating, Effects: []Effect{RestoreServices{}, PauseTarget{}, Finish{}}},
		},
	})
}

func TestAPausedTargetWaits(t *testing.T) {
	paused := func(s *Snapshot) { s.Target.Paused = true }
	held := func(d Decision) string { return cmp.Diff("TargetPaused", d.Held) }
	initializing := func(stable string) *snap {
		return given(Initializing).but(noCanary).but(paused).but(func(s *Snapshot) {
			s.Target.Held, s.Target.Released, s.Target.Available, s.Target.Old = false, true, 2, 2
			s.State.Stable, s.Primary, s.Services, s.Route = stable, Workload{}, Services{}, Route{}
		})
	}
	decideAll(t, map[string]phaseCase{
		"a new revision": {
			reason: "as with Kubernetes",
			in:     given(Succeeded).target("r3").but(noCanary).but(paused), want: seen{Phase: Succeeded}, more: held,
		},
		"it begins when the pause is taken off": {
			reason: "the revision is still new",
			in:     given(Succeeded).target("r3").but(noCanary),
			want:   seen{Phase: Progressing, Told: []string{"NewRevision"}, Effects: []Effect{ApplyCanary{"r3", 1}}},
		},
		"a newer revision does not take the place of the one on trial": {
			reason: "that one goes on",
			in:     given(Progressing).target("r3").but(paused).atStep(1).but(func(s *Snapshot) { s.State.CheckAt = noon.Add(time.Minute) }),
			want:   seen{Phase: Progressing, Step: 1, Canary: 20},
		},
		"back at the promoted revision": {
			reason: "what is taken back waits for nothing",
			in:     given(Progressing).target("r1").but(paused).atStep(1),
			want:   seen{Phase: RollingBack, Step: 1, Told: []string{"Cancelled"}, Effects: []Effect{ApplySplit{AllPrimary()}}},
		},
		"a person asks for it": {
			reason: "one of the two must be taken back",
			in:     given(Succeeded).target("r3").but(noCanary).but(paused).but(func(s *Snapshot) { s.Request = "promote@1" }),
			want:   seen{Phase: Succeeded, Told: []string{"RequestRefused"}}, more: held,
		},
		"a bake goes on": {
			reason: "nothing takes its turn",
			in: given(Baking).target("r3").but(noCanary).but(paused).but(func(s *Snapshot) {
				s.State.BakeUntil, s.State.CheckAt = noon.Add(time.Minute), noon.Add(time.Minute)
			}),
			want: seen{Phase: Baking},
		},
		"the primary does not begin with what was not rolled out": {
			reason: "nobody knows what the pods run",
			in:     initializing(""), want: seen{Phase: Initializing}, more: held,
		},
		"the primary goes on with what it began with": {
			reason: "that is what serves",
			in:     initializing("r1"),
			want:   seen{Phase: Initializing, Effects: []Effect{ApplyPrimary{"r1", 2}, ApplyServices{Split: AllPrimary()}}},
		},
		"one that has rolled out what it says": {
			reason: "its pods are what it says",
			in:     initializing("").but(func(s *Snapshot) { s.Target.Serving, s.Target.Old = 2, 0 }),
			want:   seen{Phase: Initializing, Effects: []Effect{ApplyPrimary{"r2", 2}, ApplyServices{Split: AllPrimary()}}},
		},
	})
}

// TestAnEditDoesNotChangeThePresentStep: a step of a minute is under way when its number becomes that of a step of a
// second.
func TestAnEditDoesNotChangeThePresentStep(t *testing.T) {
	step := given(Progressing).atStep(2).but(func(s *Snapshot) {
		s.State.Interval, s.State.Late = time.Minute, true
		s.State.StepAt, s.State.CheckAt = noon.Add(-10*time.Second), noon.Add(51*time.Second)
		s.Spec.Steps = []Step{{Weight: 5, Interval: time.Second}, {Weight: 10, Interval: time.Second}, {Weight: 40, Interval: 2 * time.Second}}
	}).s
	if got := Decide(step).Next.CheckAt.Sub(noon); got != time.Minute {
		t.Errorf("a split that was confirmed late is judged in %v instead of a minute", got)
	}
	step.State.Interval = 0 // an earlier Siskin did not store it: the step is the one with the same split
	if got := Decide(step).Next.CheckAt.Sub(noon); got != 51*time.Second {
		t.Errorf("what an earlier Siskin began is judged in %v instead of 51s, when its check was due", got)
	}
}
