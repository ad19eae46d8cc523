package plan

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// story is a world without chance: a spec and what happens. Its trace is the golden file of its name.
type story struct {
	name   string
	spec   func(*Spec)
	world  func(*simulation)
	script func(*simulation)
	// until is how long it is told, 1 hour if zero.
	until time.Duration
	ends  Phase
}

// plain is the spec of most stories: three steps of a minute, judged on one metric.
func plain() Spec {
	return Spec{
		Steps: Ladder(20, 60, time.Minute), Interval: time.Minute, Threshold: 1, Deadline: 10 * time.Minute,
		GateDeadline: 30 * time.Minute, NoData: PolicyHold, Metrics: []string{"error-rate"}, CanarySize: Size{Percent: 50},
		PrimaryReady: 100, CanaryReady: 100, Drain: 10 * time.Second,
	}
}

func exactly() chances {
	return chances{
		latency: 10 * time.Millisecond, confirm: 200 * time.Millisecond, observe: 100 * time.Millisecond, start: 5 * time.Second,
		progressDeadline: 5 * time.Minute, surge: 1, exact: true, deep: true,
	}
}

// at tells when in a story something happens: minutes and seconds after its begin.
func (w *simulation) when(minutes, seconds int, do func()) {
	w.at(time.Duration(minutes)*time.Minute+time.Duration(seconds)*time.Second, do)
}

// release pushes r2 a minute into the story.
func (w *simulation) release() { w.when(1, 0, func() { w.push("r2") }) }

func (w *simulation) has(t HookType, name string) {
	w.spec.Hooks = append(w.spec.Hooks, Hook{Name: name, Type: t})
}

// gate opens after so many minutes.
func (w *simulation) gate(t HookType, name string, minutes int) {
	w.has(t, name)
	w.when(minutes, 30, func() { w.notef("        gate %s opens", name); w.hooks.open[name] = true })
}

func stories() []story {
	return []story{
		{name: "good-release", script: (*simulation).release, ends: Succeeded},
		{name: "bad-at-step-2", script: func(w *simulation) {
			w.release()
			w.when(2, 30, func() { w.traits("r2").badMetrics = true })
		}, ends: Failed},
		{name: "threshold-3", spec: func(z *Spec) { z.Threshold = 3 }, script: func(w *simulation) {
			w.release()
			w.traits("r2").badMetrics = true
		}, ends: Failed},
		{name: "one-failed-check-is-forgiven", spec: func(z *Spec) { z.Threshold = 2 }, script: func(w *simulation) {
			w.release()
			w.traits("r2").badMetrics = true
			w.when(2, 30, func() { w.traits("r2").badMetrics = false })
		}, ends: Succeeded},
		{name: "blue-green", spec: func(z *Spec) { z.Steps = BlueGreen(2, time.Minute) }, script: (*simulation).release, ends: Succeeded},
		{name: "gate-before-rollout", script: func(w *simulation) {
			w.release()
			w.gate(ConfirmRollout, "approve", 4)
		}, ends: Succeeded},
		{name: "gate-never-opens", script: func(w *simulation) {
			w.release()
			w.has(ConfirmRollout, "approve")
		}, ends: Failed},
		{name: "gate-before-each-step", script: func(w *simulation) {
			w.release()
			w.gate(ConfirmTrafficIncrease, "step-up", 5)
			w.when(6, 0, func() { w.hooks.open["step-up"] = false })
			w.when(8, 0, func() { w.hooks.open["step-up"] = true })
		}, ends: Succeeded},
		{name: "gate-before-promotion", script: func(w *simulation) {
			w.release()
			w.gate(ConfirmPromotion, "promote", 8)
		}, ends: Succeeded},
		{name: "pre-rollout-fails", spec: func(z *Spec) { z.Threshold = 2 }, script: func(w *simulation) {
			w.release()
			w.has(PreRollout, "smoke")
			w.hooks.preFails = 9
		}, ends: Failed},
		{name: "rollback-hook", script: func(w *simulation) {
			w.release()
			w.has(RollbackHook, "alarm")
			w.when(2, 40, func() { w.hooks.rollback = true })
		}, ends: Failed},
		{name: "skip-analysis", spec: func(z *Spec) { z.SkipAnalysis = true }, script: (*simulation).release, ends: Succeeded},
		{name: "suspended-midway", script: func(w *simulation) {
			w.release()
			w.when(2, 30, func() { w.edit(func(z *Spec) { z.Suspend = true }) })
			w.when(32, 30, func() { w.edit(func(z *Spec) { z.Suspend = false }) })
		}, ends: Succeeded},
		{name: "new-revision-midway", script: func(w *simulation) {
			w.release()
			w.when(2, 30, func() { w.push("r3") })
		}, ends: Succeeded},
		{name: "returned-midway", script: func(w *simulation) {
			w.release()
			w.when(2, 30, func() { w.push("r1") })
		}, ends: Cancelled},
		{name: "failed-then-reverted", script: func(w *simulation) {
			w.release()
			w.traits("r2").badMetrics = true
			w.when(10, 0, func() { w.push("r1") })
		}, ends: Initialized},
		{name: "canary-never-ready", script: func(w *simulation) {
			w.release()
			w.traits("r2").neverReady = true
		}, ends: Failed},
		{name: "canary-dies-of-traffic", spec: func(z *Spec) { z.Threshold = 2 }, script: func(w *simulation) {
			w.release()
			w.traits("r2").diesOnTraffic = 20 * time.Second
		}, ends: Failed},
		{name: "promotion-fails", script: func(w *simulation) {
			w.release()
			w.traits("r2").primaryFails = true
			w.when(12, 0, func() { w.push("r3") })
		}, ends: Succeeded},
		{name: "no-data-hold", script: func(w *simulation) {
			w.release()
			w.when(2, 0, func() { w.hooks.dark = true })
			w.when(2, 30, func() { w.hooks.dark = false })
		}, ends: Succeeded},
		{name: "no-data-for-ever", spec: func(z *Spec) { z.Deadline = time.Minute }, script: func(w *simulation) {
			w.release()
			w.hooks.dark = true
		}, ends: Failed},
		{name: "no-data-fail", spec: func(z *Spec) { z.NoData = PolicyFail }, script: func(w *simulation) {
			w.release()
			w.hooks.dark = true
		}, ends: Failed},
		{name: "no-data-pass", spec: func(z *Spec) { z.NoData = PolicyPass }, script: func(w *simulation) {
			w.release()
			w.hooks.dark = true
		}, ends: Succeeded},
		{name: "late-route", script: func(w *simulation) {
			w.release()
			w.when(1, 5, func() { w.cfg.confirm = 40 * time.Second })
			w.when(2, 0, func() { w.cfg.confirm = 200 * time.Millisecond })
		}, ends: Succeeded},
		{name: "restart-midway", script: func(w *simulation) {
			w.release()
			w.when(1, 5, func() { w.cfg.confirm = 40 * time.Second })
			w.when(1, 6, func() { w.restart("for a new version") })
			w.when(2, 0, func() { w.cfg.confirm = 200 * time.Millisecond })
		}, ends: Succeeded},
		{name: "deleted-midway", script: func(w *simulation) {
			w.release()
			w.when(2, 30, func() { w.notef("        the Canary is deleted"); w.user.deleting = true; w.poke() })
		}, ends: Terminating},
		{name: "promotion-in-steps", spec: func(z *Spec) { z.PromotionStep = 20 }, script: (*simulation).release, ends: Succeeded},
		{name: "primary-dead-is-fixed", script: func(w *simulation) {
			w.when(0, 50, func() { w.traits("r1").neverReady = true; w.primary.die(0); w.primary.broken = false })
			w.release()
		}, ends: Succeeded},
	}
}

func TestStories(t *testing.T) {
	for _, st := range slices.Concat(stories(), storiesOfStrategies(), storiesOfPeople(), storiesOfParts()) {
		t.Run(st.name, func(t *testing.T) {
			w := newWorld(1, plain(), exactly())
			if st.spec != nil {
				st.spec(&w.spec)
			}
			w.trace = &strings.Builder{}
			if st.world != nil {
				st.world(w)
			}
			replicas := int32(2)
			if w.nodes > 0 {
				replicas = 1
			}
			w.deploy("r1", replicas)
			st.script(w)
			until := st.until
			if until == 0 {
				until = time.Hour
			}
			w.run(epoch.Add(until))
			if w.checkRest(); w.failure != "" {
				t.Errorf("violated %s\n%s", w.failure, tail(w.trace.String(), 40))
			}
			if w.state.Phase != st.ends {
				t.Errorf("ends in %s instead of %s", w.state.Phase, st.ends)
			}
			golden(t, st.name, w.trace.String())
		})
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name+".golden")
	if *updateFlag {
		if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("%v; write it with -update", err)
	}
	if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got, "\n")); diff != "" {
		t.Errorf("the trace differs from %s (-want +got); -update rewrites it:\n%s", file, diff)
	}
}

// A rollout must not cost more writes than it has transitions: waiting is free.
func TestARolloutOfFiveStepsStoresNineStates(t *testing.T) {
	w := newWorld(1, plain(), exactly())
	w.spec.Steps = Ladder(10, 50, time.Minute)
	w.deploy("r1", 2)
	w.run(epoch.Add(time.Minute))
	before := w.stores
	w.push("r2")
	w.run(epoch.Add(time.Hour))
	if w.failure != "" || w.state.Phase != Succeeded {
		t.Fatalf("ends in %s: %s", w.state.Phase, w.failure)
	}
	if got := w.stores - before; got > 9 {
		t.Errorf("%d states were stored, 9 are enough: start, five steps, promoting, succeeded, told", got)
	}
}

// A data plane that takes its time costs time, not writes.
func TestALateConfirmationStoresNothing(t *testing.T) {
	w := newWorld(1, plain(), exactly())
	w.spec.Steps = Ladder(10, 50, time.Minute)
	w.deploy("r1", 2)
	w.run(epoch.Add(time.Minute))
	before := w.stores
	w.cfg.confirm = 8 * time.Second
	w.push("r2")
	w.run(epoch.Add(time.Hour))
	if w.checkRest(); w.failure != "" || w.state.Phase != Succeeded {
		t.Fatalf("ends in %s: %s", w.state.Phase, w.failure)
	}
	if got := w.stores - before; got > 9 {
		t.Errorf("%d states were stored, 9 are enough: start, five steps, promoting, succeeded, told", got)
	}
}

func TestAGateThatIsPolledStoresNothing(t *testing.T) {
	w := newWorld(1, plain(), exactly())
	w.has(ConfirmRollout, "approve")
	w.deploy("r1", 2)
	w.release()
	w.run(epoch.Add(2 * time.Minute))
	before := w.stores
	w.run(epoch.Add(25 * time.Minute))
	if w.state.Phase != Waiting || w.stores != before {
		t.Errorf("in %s %d states were stored while a gate was polled", w.state.Phase, w.stores-before)
	}
}
