package plan

import (
	"strings"
	"testing"
	"time"
)

func quietly(z *Spec) { z.Quiet = 2 * time.Second }

// storiesOfParts tell changes that are seen by halves.
func storiesOfParts() []story {
	const gap = time.Second
	apply := func(configFirst, marked bool, gap time.Duration) func(*simulation) {
		return func(w *simulation) { w.when(1, 0, func() { w.applyInParts("r2", configFirst, marked, gap) }) }
	}
	return []story{
		{name: "parts-config-alone", spec: quietly, script: func(w *simulation) {
			w.when(1, 0, func() { w.parts.configOnly = true; w.change("r2") })
		}, ends: Succeeded},
		{name: "parts-template-alone", spec: quietly, script: (*simulation).release, ends: Succeeded},
		{name: "parts-config-first", spec: quietly, script: apply(true, false, gap), ends: Succeeded},
		{name: "parts-template-first", spec: quietly, script: apply(false, false, gap), ends: Succeeded},
		{name: "parts-long-apply", spec: quietly, script: apply(true, true, 20*gap), ends: Succeeded},
		{name: "parts-endless-apply", spec: quietly, script: apply(true, true, 10*time.Minute), ends: Succeeded},
		{name: "parts-with-a-gate", spec: quietly, script: func(w *simulation) {
			apply(false, false, gap)(w)
			w.gate(ConfirmRollout, "approve", 4)
		}, ends: Succeeded},
		{name: "parts-midway", spec: quietly, script: func(w *simulation) {
			w.when(1, 0, func() { w.push("r3") })
			w.when(2, 30, func() { w.applyInParts("r2", true, true, 20*gap) })
		}, ends: Succeeded},
		{name: "parts-midway-with-a-gate", spec: quietly, script: func(w *simulation) {
			w.when(1, 0, func() { w.push("r3") })
			w.gate(ConfirmRollout, "approve", 1)
			w.when(3, 0, func() { w.hooks.open["approve"] = false; w.applyInParts("r2", true, false, gap) })
			w.when(5, 0, func() { w.hooks.open["approve"] = true })
		}, ends: Succeeded},
		{name: "parts-reverted", spec: quietly, script: func(w *simulation) {
			w.when(1, 0, func() { w.push("r2") })
			w.when(1, 1, func() { w.push("r1") })
		}, ends: Cancelled},
		{name: "parts-skip-analysis", spec: func(z *Spec) { quietly(z); z.SkipAnalysis = true }, script: apply(false, false, gap), ends: Succeeded},
	}
}

// mutantsOfParts forget that a change may come in parts.
func mutantsOfParts() []mutant {
	return []mutant{
		{"nothing has to be quiet", before(func(s *Snapshot) { s.Spec.Quiet = 0 })},
		{"the end of an apply is not waited for", before(func(s *Snapshot) { s.Target.ApplyUntil = time.Time{} })},
		{"a rollout whose parts are not there gets traffic", before(func(s *Snapshot) {
			if s.State.Phase == Progressing && s.State.Step == 0 {
				s.State.CheckAt = time.Time{}
			}
		})},
		{"each part is a rollout", before(func(s *Snapshot) {
			if s.gathering() && s.Target.Revision != s.State.Candidate {
				s.State.Attempt, s.State.CheckAt = 2, s.State.StepAt
			}
		})},
		{"each part is told", after(func(s Snapshot, d *Decision) {
			if s.gathering() && d.Next.Candidate != s.State.Candidate && d.Next.Rollout == s.State.Rollout {
				d.notify(Notice{Reason: "NewRevision", Severity: Info, Message: "another"})
			}
		})},
		{"a Canary begins with half of an apply", before(func(s *Snapshot) {
			if s.State.Phase == "" || s.State.Phase == Initializing {
				s.Target.ApplyUntil, s.Target.ChangedAt, s.Target.RestlessAt = time.Time{}, time.Time{}, time.Time{}
			}
		})},
		{"the first traffic goes to half of an apply", before(func(s *Snapshot) {
			if s.State.Phase == Initializing && s.State.Stable != "" {
				s.Target.ApplyUntil, s.Target.ChangedAt, s.Target.RestlessAt = time.Time{}, time.Time{}, time.Time{}
			}
		})},
		{"an apply that never ends is waited for for ever", before(func(s *Snapshot) {
			if s.Target.Apply != "" {
				s.Target.ApplyUntil = later()
			}
		})},
	}
}

// A quiet time costs neither a write nor time where the pods take longer to come up than it lasts.
func TestAQuietTimeIsFreeWhilePodsComeUp(t *testing.T) {
	begun := func(quiet time.Duration) (traffic time.Duration, stores int) {
		w := newWorld(1, plain(), exactly())
		w.spec.Quiet = quiet
		w.deploy("r1", 2)
		w.run(epoch.Add(time.Minute))
		before := w.stores
		w.push("r2")
		w.run(epoch.Add(90 * time.Second))
		if w.failure != "" || w.state.Step != 1 {
			t.Fatalf("step %d: %s", w.state.Step, w.failure)
		}
		return w.state.TrafficAt.Sub(w.state.StartedAt), w.stores - before
	}
	with, stores := begun(2 * time.Second)
	without, fewer := begun(0)
	if with != without || stores != fewer {
		t.Errorf("traffic after %v and %d writes, without a quiet time after %v and %d", with, stores, without, fewer)
	}
}

// A configuration that changes again and again is waited for only so long.
func TestWhatIsNeverQuietIsReleased(t *testing.T) {
	w := newWorld(1, plain(), exactly())
	quietly(&w.spec)
	w.deploy("r1", 2)
	w.run(epoch.Add(time.Minute))
	for i := range 60 {
		w.at(time.Duration(i)*time.Second, func() { w.parts.configOnly = true; w.change([]string{"r2", "r3"}[i%2]) })
	}
	w.run(epoch.Add(time.Minute + (QuietLimit+1)*w.spec.Quiet))
	if w.failure != "" || w.state.Phase != Progressing {
		t.Errorf("in %s after %d quiet times: %s", w.state.Phase, QuietLimit+1, w.failure)
	}
}

// A Canary begins with what is whole: with the end of an apply that is marked, at the latest when that is overdue, and
// when nothing of the target has changed for the quiet time.
func TestTheFirstRevisionIsWhole(t *testing.T) {
	parts := func(marked bool, gap time.Duration) func(*simulation) {
		return func(w *simulation) { w.applyInParts("r2", true, marked, gap) }
	}
	for name, tc := range map[string]struct {
		apply  func(*simulation)
		stable string
		after  time.Duration // the earliest
		says   string
	}{
		"an apply that is marked":  {parts(true, 50*time.Second), "r2", 50 * time.Second, ""},
		"one that does not end":    {parts(true, time.Hour), "h1", applyLimit, "the apply of apply 1 has not ended"},
		"one that is not marked":   {parts(false, time.Second), "r2", 3 * time.Second, ""},
		"nothing is being applied": {func(*simulation) {}, "r1", 0, ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(1, plain(), exactly())
			quietly(&w.spec)
			w.deploy("r1", 2)
			tc.apply(w)
			var told []Notice
			var at time.Time
			w.seen = func(s Snapshot, d Decision) {
				if d.Next.Phase == Initialized && s.State.Phase != Initialized {
					told, at = append(told, d.Notices...), s.Now
				}
			}
			w.run(epoch.Add(applyLimit + 2*time.Minute))
			if w.failure != "" || w.state.Stable != tc.stable || len(told) != 1 {
				t.Fatalf("%s begins with %s, told %+v", w.failure, w.state.Stable, told)
			}
			early, late := at.Before(epoch.Add(tc.after)), at.After(epoch.Add(tc.after+time.Minute))
			if early || late || !strings.Contains(told[0].Message, tc.says) {
				t.Errorf("it begins after %v: %s", at.Sub(epoch), told[0].Message)
			}
		})
	}
}
