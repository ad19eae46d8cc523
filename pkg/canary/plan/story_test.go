package plan

import "time"

// asks lets jane write a request so long into a story.
func (w *simulation) asks(minutes, seconds int, verb string) {
	w.when(minutes, seconds, func() { w.annotate(w.token(verb), "jane") })
}

func storiesOfStrategies() []story {
	list := func(pauses ...time.Duration) func(*Spec) {
		return func(z *Spec) {
			z.Steps = []Step{{Weight: 5, Interval: 30 * time.Second}, {Weight: 50, Interval: 2 * time.Minute}}
			for i, p := range pauses {
				z.Steps[i].Pause = p
			}
		}
	}
	ab := func(z *Spec) {
		z.Steps = []Step{{Interval: time.Minute, Audience: true}, {Interval: time.Minute, Audience: true}}
	}
	return []story{
		{name: "ab-test", spec: ab, script: (*simulation).release, ends: Succeeded},
		{name: "ab-test-fails", spec: ab, script: func(w *simulation) {
			w.release()
			w.traits("r2").badMetrics = true
		}, ends: Failed},
		{name: "mirrored-first", spec: func(z *Spec) {
			z.Steps = append([]Step{{Interval: time.Minute, Mirror: 100}}, Ladder(30, 60, time.Minute)...)
		}, script: (*simulation).release, ends: Succeeded},
		{name: "blue-green-mirrored", spec: func(z *Spec) {
			z.Steps = BlueGreen(2, time.Minute)
			z.Steps[0].Mirror, z.Steps[1].Mirror = 20, 20
		}, script: (*simulation).release, ends: Succeeded},
		{name: "mirrored-pods-die", spec: func(z *Spec) {
			z.Steps, z.Threshold = append([]Step{{Interval: time.Minute, Mirror: 100}}, z.Steps...), 2
		}, script: func(w *simulation) {
			w.release()
			w.traits("r2").diesOnTraffic = 20 * time.Second
		}, ends: Failed},
		{name: "weights-and-audience", spec: func(z *Spec) {
			for i := range z.Steps {
				z.Steps[i].Audience = true
			}
		}, script: (*simulation).release, ends: Succeeded},
		{name: "step-list-with-pause", spec: list(90 * time.Second), script: (*simulation).release, ends: Succeeded},
		{name: "step-list-until-resumed", spec: list(UntilResumed), script: func(w *simulation) {
			w.release()
			w.asks(6, 0, "resume")
		}, ends: Succeeded},
		{name: "step-list-never-resumed", spec: list(UntilResumed), script: (*simulation).release, ends: Failed},
		{name: "bake", spec: func(z *Spec) { z.Bake, z.BakeThreshold = 3*time.Minute, 1 }, script: (*simulation).release, ends: Succeeded},
		{name: "bake-fails", spec: func(z *Spec) { z.Bake, z.BakeThreshold = 10*time.Minute, 2 }, script: func(w *simulation) {
			w.release()
			w.traits("r2").badLater = true
		}, ends: Failed},
		{name: "bake-fails-and-nothing-is-kept", spec: func(z *Spec) { z.Bake, z.BakeThreshold = 10*time.Minute, 1 }, script: func(w *simulation) {
			w.release()
			w.when(5, 0, func() {
				w.traits("r2").badLater = true
				delete(w.stored, "r1")
			})
		}, ends: Succeeded},
		{name: "unusable-edit-midway", script: func(w *simulation) {
			w.release()
			w.when(2, 30, func() {
				w.edit(func(z *Spec) {
					z.Invalid, z.InvalidReason = "spec.analysis.interval: \"soon\" is not a duration", "InvalidSpec"
				})
			})
			w.when(6, 0, func() { w.edit(func(z *Spec) { z.Invalid, z.InvalidReason = "", "" }) })
		}, ends: Succeeded},
		{name: "unusable-edit-stays", script: func(w *simulation) {
			w.release()
			w.when(2, 30, func() {
				w.edit(func(z *Spec) {
					z.Invalid, z.InvalidReason = "spec.analysis.interval: \"soon\" is not a duration", "InvalidSpec"
				})
			})
		}, ends: Failed},
		{name: "autoscaler-midway", world: func(w *simulation) {
			w.scaler = scalerState{named: true, exists: true, least: 1, most: 9}
		}, script: func(w *simulation) {
			w.release()
			w.when(2, 30, func() { w.notef("        the autoscaler makes 4 primary pods"); w.primary.resize(4) })
			w.when(3, 30, func() {
				w.notef("        git writes the autoscaler anew")
				w.scaler.onPrimary, w.scaler.floor = false, 0
				w.poke()
			})
			w.when(20, 0, func() { w.notef("        the Canary is deleted"); w.user.deleting = true; w.poke() })
		}, ends: Terminating},
		{name: "daemons", world: func(w *simulation) { w.nodes = 3 }, spec: func(z *Spec) { z.CanarySize = Size{Percent: 100} }, script: func(w *simulation) {
			w.release()
			w.when(3, 0, w.nodesChange)
		}, ends: Succeeded},
	}
}

func storiesOfPeople() []story {
	bad := func(w *simulation) {
		w.release()
		w.traits("r2").badMetrics = true
	}
	freeze := func(z *Spec) { z.Freeze = true }
	return []story{
		{name: "promoted-midway", script: func(w *simulation) {
			w.release()
			w.asks(2, 30, "promote")
		}, ends: Succeeded},
		{name: "aborted-midway", script: func(w *simulation) {
			w.release()
			w.asks(2, 30, "abort")
		}, ends: Failed},
		{name: "paused-and-resumed", script: func(w *simulation) {
			w.release()
			w.asks(2, 30, "pause")
			w.asks(7, 10, "resume")
		}, ends: Succeeded},
		{name: "paused-for-ever", script: func(w *simulation) {
			w.release()
			w.asks(2, 30, "pause")
		}, ends: Failed},
		{name: "failed-then-retried", script: func(w *simulation) {
			bad(w)
			w.when(5, 0, func() { w.traits("r2").badMetrics = false })
			w.asks(6, 0, "retry")
		}, ends: Succeeded},
		{name: "failed-then-promoted", script: func(w *simulation) {
			bad(w)
			w.asks(6, 0, "promote/r2")
		}, ends: Succeeded},
		{name: "rolled-back-to-previous", script: func(w *simulation) {
			w.release()
			w.asks(10, 0, "rollback")
			w.when(15, 0, func() { w.push("r3") })
		}, ends: Succeeded},
		{name: "frozen-then-resumed", spec: freeze, script: func(w *simulation) {
			bad(w)
			w.when(5, 0, func() { w.traits("r2").badMetrics = false })
			w.asks(6, 0, "resume")
		}, ends: Succeeded},
		{name: "frozen-then-aborted", spec: freeze, script: func(w *simulation) {
			bad(w)
			w.asks(6, 0, "abort")
		}, ends: Failed},
		{name: "frozen-then-retried", spec: freeze, script: func(w *simulation) {
			bad(w)
			w.when(5, 0, func() { w.traits("r2").badMetrics = false })
			w.asks(6, 0, "retry")
		}, ends: Succeeded},
		{name: "frozen-for-ever", spec: freeze, script: bad, ends: Failed},
		{name: "frozen-then-fixed", spec: freeze, script: func(w *simulation) {
			bad(w)
			w.when(6, 0, func() { w.push("r3") })
		}, ends: Succeeded},
		{name: "requests-that-are-refused", script: func(w *simulation) {
			w.asks(0, 30, "abort")
			w.asks(0, 40, "promot")
			w.release()
			w.asks(2, 30, "resume")
			w.when(2, 40, func() { w.annotate("resume@3", "jane") }) // once more
			w.asks(2, 50, "promote/r1")
			w.asks(3, 0, "rollback/r9")
		}, ends: Succeeded},
	}
}
