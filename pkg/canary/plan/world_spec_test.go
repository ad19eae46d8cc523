package plan

import (
	"fmt"
	"time"
)

// randomKind chooses what the target is, and whether it has an autoscaler.
func (w *simulation) randomKind() {
	switch w.rng.IntN(16) {
	case 0, 1:
		w.nodes = int32(1 + w.rng.IntN(3))
	case 2:
		w.service = true
	case 3, 4, 5, 6:
		w.scaler = scalerState{named: true, exists: w.rng.IntN(6) > 0, least: int32(1 + w.rng.IntN(2)), most: 5, zero: w.rng.IntN(6) == 0}
		w.scaler.window = pick(w, 0, time.Minute, 5*time.Minute)
	}
}

func (w *simulation) randomReplicas() int32 {
	if w.nodes > 0 || w.service {
		return 1
	}
	return int32(1 + w.rng.IntN(3))
}

func (w *simulation) randomSpec() Spec {
	interval := pick(w, 5*time.Second, 10*time.Second, 30*time.Second, time.Minute)
	z := Spec{
		Interval: interval, Threshold: pick[int32](w, 1, 2, 3, 5), Deadline: pick(w, 2*time.Minute, 10*time.Minute),
		GateDeadline: pick(w, 5*time.Minute, 20*time.Minute), PromotionStep: pick[int32](w, 0, 0, 20, 50), Quiet: pick(w, 0, 2*time.Second, 2*time.Second),
		NoData: pick(w, PolicyHold, PolicyHold, PolicyFail, PolicyPass), CanarySize: pick(w, Size{Percent: 100}, Size{Percent: 30}, Size{Count: 2}),
		PrimaryReady: pick[int32](w, 100, 50), CanaryReady: pick[int32](w, 100, 50), Drain: pick(w, 0, 5*time.Second, 30*time.Second),
		SkipAnalysis: w.rng.IntN(15) == 0, Orphan: w.rng.IntN(4) == 0, Freeze: w.rng.IntN(4) == 0,
	}
	if w.rng.IntN(4) == 0 {
		z.Bake, z.BakeThreshold = pick(w, 20*time.Second, 2*time.Minute, 5*time.Minute), pick[int32](w, 1, 2)
	}
	if w.nodes > 0 || w.service {
		z.CanarySize = Size{Percent: 100}
	}
	z.CanaryScaled = w.scaler.exists && w.rng.IntN(3) == 0
	z.Steps = w.randomSteps(interval)
	for _, t := range []HookType{ConfirmRollout, PreRollout, RolloutHook, ConfirmTrafficIncrease, ConfirmPromotion, RollbackHook, PostRollout} {
		if w.rng.IntN(4) == 0 {
			z.Hooks = append(z.Hooks, Hook{Name: string(t) + "-1", Type: t})
		}
	}
	if len(z.Hooks) > 0 && w.rng.IntN(3) == 0 {
		z.Hooks = append(z.Hooks, Hook{Name: "second", Type: z.Hooks[0].Type})
	}
	for i := range w.rng.IntN(3) {
		z.Metrics = append(z.Metrics, fmt.Sprintf("m%d", i))
	}
	return z
}

func (w *simulation) randomSteps(interval time.Duration) []Step {
	switch w.rng.IntN(10) {
	case 0: // blue/green
		return BlueGreen(int32(1+w.rng.IntN(3)), interval)
	case 1: // blue/green with copies of the requests
		steps := BlueGreen(int32(1+w.rng.IntN(3)), interval)
		for i := range steps[:len(steps)-1] {
			steps[i].Mirror = pick[int32](w, 100, 20)
		}
		return steps
	case 2: // A/B
		steps := make([]Step, 1+w.rng.IntN(4))
		for i := range steps {
			steps[i] = Step{Interval: interval, Audience: true}
		}
		return steps
	case 3: // one mirrored step first
		return append([]Step{{Interval: interval, Mirror: 100}}, Ladder(25, pick[int32](w, 50, 100), interval)...)
	case 4: // the audience, whatever the weight is
		steps := Ladder(pick[int32](w, 20, 50), 60, interval)
		for i := range steps {
			steps[i].Audience = true
		}
		return steps
	case 5, 6: // a list
		steps := []Step{
			{Weight: pick[int32](w, 0, 5), Interval: interval},
			{Weight: 5, Interval: interval},
			{Weight: 40, Interval: 2 * interval},
			{Weight: 100, Interval: interval},
		}[:2+w.rng.IntN(3)]
		for i := range steps {
			steps[i].Pause = pick(w, 0, 0, 2*time.Second, time.Minute, 5*time.Minute, UntilResumed)
		}
		return steps
	case 7:
		return []Step{{Weight: 100, Interval: interval}, {Weight: 100, Interval: interval}}
	}
	return Ladder(pick[int32](w, 10, 25, 50), pick[int32](w, 50, 60, 100), interval)
}
