package plan

import (
	"fmt"
	"strings"
	"time"
)

// randomWorld is the world of a seed: a spec, chances, faults and people.
func randomWorld(seed uint64) *simulation {
	w := newWorld(seed, Spec{}, chances{})
	w.randomKind()
	w.spec = w.randomSpec()
	w.cfg = chances{
		latency: pick(w, 0, 50*time.Millisecond, 200*time.Millisecond), passTime: pick(w, 0, 0, 100*time.Millisecond),
		confirm: pick(w, 0, 300*time.Millisecond, 900*time.Millisecond), observe: pick(w, 0, 500*time.Millisecond, 3*time.Second),
		start: pick(w, 2*time.Second, 10*time.Second), lag: pick(w, 0, 200*time.Millisecond),
		crash: pick(w, 0, 0.02, 0.1), effectFails: pick(w, 0, 0.02, 0.2), lateRoute: pick(w, 0, 0.1, 0.4),
		slowAnswer: pick(w, 0, 0.5), progressDeadline: pick(w, 0, time.Minute, 5*time.Minute), surge: pick(w, int32(1), 4),
		deep: w.rng.IntN(4) == 0, loud: seed%2 == 0,
	}
	for i := 2; i <= 5; i++ {
		w.revisions[fmt.Sprintf("r%d", i)] = w.randomTraits()
	}
	for _, g := range gates(w.spec.Hooks) {
		w.hooks.open[g] = w.rng.IntN(2) == 0
	}
	w.deploy("r1", w.randomReplicas())
	if w.rng.IntN(12) == 0 {
		w.adopt()
	}
	if seed%16 == 5 { // in the middle of a rollout of its own
		w.pauseAtFirst(time.Duration(seed%7) * time.Second)
	}
	if seed%16 == 9 {
		w.applyAtFirst()
	}
	end := w.between(3*time.Minute, 40*time.Minute)
	for range 1 + w.rng.IntN(4) {
		w.at(w.upTo(end), func() { w.push(fmt.Sprintf("r%d", 1+w.rng.IntN(5))) })
	}
	for range w.rng.IntN(7) {
		w.at(w.upTo(end), w.someEvent)
	}
	for range w.rng.IntN(3) {
		w.at(w.upTo(end), w.someApply)
	}
	if w.rng.IntN(2) == 0 {
		for range 1 + w.rng.IntN(6) {
			w.at(w.upTo(end), w.someRequest)
		}
	}
	if w.scaler.exists {
		for range 2 + w.rng.IntN(10) {
			w.at(w.upTo(end), w.autoscale)
		}
	}
	if w.spec.Bake > 0 {
		for range w.rng.IntN(3) {
			w.at(w.upTo(end), w.collect)
		}
	}
	w.randomCounts(seed, end)
	w.randomViews(seed, end)
	stays := w.stay()
	w.at(end, func() { w.calm(); w.stays(stays) })
	return w
}

// adopt makes a world where an earlier Canary left everything in place, and git went on.
func (w *simulation) adopt() {
	w.stored["r1"], w.ledger.taken, w.ledger.primaryMay["r1"] = true, true, true
	w.primary.apply("r1", w.user.replicas)
	w.services = Services{Complete: true, Serving: true}
	w.route.known, w.route.current = true, AllPrimary()
	if !w.service {
		w.target.held = true
		w.target.apply("r1", 0)
	}
	w.at(30*time.Second, func() {})
	w.ctl.up = false
	w.at(time.Minute, func() {
		if w.rng.IntN(2) == 0 {
			w.push("r2")
		}
		w.ctl.up, w.ctl.since = true, w.now
	})
}

func pick[T any](w *simulation, of ...T) T { return of[w.rng.IntN(len(of))] }

func (w *simulation) randomTraits() *traits {
	t := &traits{slow: pick(w, 0, 0, 20*time.Second)}
	switch w.rng.IntN(12) {
	case 0:
		t.neverReady = true
	case 1:
		t.badMetrics = true
	case 2:
		t.diesOnTraffic = w.between(time.Second, time.Minute)
	case 3:
		t.primaryFails = true
	case 4:
		t.flaky = 0.4
	case 5:
		t.badLater = true
	}
	return t
}

// push is a commit that changes the target.
func (w *simulation) push(rev string) {
	w.parts.configOnly = false
	clear(w.parts.whole) // it may be the same revision again, but is another change
	w.change(rev)
}

// change makes the target another revision.
func (w *simulation) change(rev string) {
	if w.target.found {
		w.notef("        target becomes %s", rev)
		w.viewed(rev)
		w.target.apply(rev, w.target.replicas)
	}
}

func (w *simulation) scale(n int32) {
	if w.nodes > 0 || w.service {
		w.nodesChange()
		return
	}
	w.notef("        user wants %d replicas", n)
	w.user.replicas = n
	if w.target.found && !w.target.held {
		w.target.apply(w.target.rev, n)
	}
	w.poke()
}

func (w *simulation) edit(change func(*Spec)) {
	w.notef("        spec is edited")
	change(&w.spec)
	w.ledger.allowed = max(w.ledger.allowed, longest(w.spec))
	w.poke()
}

// someEvent is a fault or a person.
func (w *simulation) someEvent() {
	lasts := w.between(5*time.Second, 5*time.Minute)
	if w.rng.IntN(5) == 0 {
		lasts = w.between(5*time.Minute, 30*time.Minute)
	}
	switch w.rng.IntN(34) {
	case 0:
		w.scale(int32(w.rng.IntN(5)))
	case 1, 2:
		w.notef("        suspended for %v", lasts)
		w.edit(func(z *Spec) { z.Suspend = true })
		w.at(lasts, func() { w.edit(func(z *Spec) { z.Suspend = false }) })
	case 3:
		w.editAnalysis()
	case 4:
		w.notef("        the Canary is deleted")
		w.user.deleting = true
		w.poke()
	case 5:
		w.recreateTarget(lasts)
	case 6, 7:
		w.notef("        primary dies for %v", lasts)
		w.primary.die(w.rng.IntN(2))
		w.at(lasts, w.primary.heal)
	case 8, 9:
		w.notef("        canary dies for %v", lasts)
		w.canary.die(w.rng.IntN(2))
		w.at(lasts, w.canary.heal)
	case 10:
		k := pick(w, w.canary, w.primary)
		w.notef("        %s loses its endpoints for %v", k.role, lasts)
		k.endpointsBroken = true
		k.publish()
		w.at(lasts, k.heal)
	case 11, 12:
		w.notef("        route is changed by somebody")
		if w.route.known {
			w.write(pick(w, AllPrimary(), ToCanary(50), ToCanary(100), Split{Primary: 100, Mirror: 50}, Split{Primary: 100, Audience: true}))
		}
	case 13:
		w.notef("        data plane refuses routes for %v", lasts)
		w.route.refuses = true
		w.at(lasts, func() { w.route.refuses = false; w.accept(w.route.writes) })
	case 14:
		w.notef("        router is down for %v", lasts)
		w.route.down = true
		w.at(lasts, func() { w.route.down = false })
	case 15, 16:
		w.hooks.dark, w.hooks.invalid = true, w.rng.IntN(3) == 0
		w.at(lasts, func() { w.hooks.dark, w.hooks.invalid = false, false })
	case 17:
		w.hooks.mute = true
		w.at(lasts, func() { w.hooks.mute = false; w.hooks.forget(); w.poke() })
	case 18:
		w.hooks.rollback = true
		w.at(lasts, func() { w.hooks.rollback = false })
	case 19:
		w.hooks.preFails, w.hooks.postFails = w.rng.IntN(3), w.rng.IntN(2) == 0
	case 20, 21:
		for _, g := range gates(w.spec.Hooks) {
			w.hooks.open[g] = !w.hooks.open[g]
		}
	case 22, 23, 24:
		w.restart("for no reason")
	case 25:
		w.drift()
	case 26:
		w.collect()
	case 27:
		w.reapplyScaler(lasts)
	case 28, 29:
		w.notef("        the spec cannot be used for %v", lasts)
		w.edit(func(z *Spec) { z.Invalid, z.InvalidReason = "spec.analysis: it cannot be used", "InvalidSpec" })
		w.at(lasts, func() { w.edit(func(z *Spec) { z.Invalid, z.InvalidReason = "", "" }) })
	case 30, 31:
		w.notef("        what the data plane can do is not known for %v", lasts)
		w.doubt = pick(w, byShare, byAudience, byMirror)
		w.at(lasts, func() { w.doubt = noWay }) // nobody tells
	case 32, 33:
		w.pauseTarget(lasts)
	}
}

func (w *simulation) editAnalysis() {
	w.edit(func(z *Spec) {
		switch w.rng.IntN(7) {
		case 0:
			z.Interval = pick(w, 5*time.Second, 40*time.Second)
			for i := range z.Steps {
				z.Steps[i].Interval = z.Interval
			}
		case 1:
			w.ledger.edited = true
			z.Steps = w.randomSteps(z.Interval)
		case 2:
			z.Threshold = pick[int32](w, 1, 4)
		case 3:
			z.SkipAnalysis = !z.SkipAnalysis
		case 4:
			z.Drain, w.ledger.drainEdited = pick(w, 0, 20*time.Second), true
		case 5:
			z.Freeze = !z.Freeze
		case 6:
			z.Bake, z.BakeThreshold = pick(w, 0, time.Minute), 1
		}
	})
}

func (w *simulation) recreateTarget(after time.Duration) {
	if !w.target.found {
		return
	}
	w.notef("        target is deleted for %v", after)
	rev := w.target.rev
	w.target.remove()
	w.at(after, func() {
		if w.user.deleting || w.target.found {
			return
		}
		w.notef("        target is created again")
		w.target.apply(rev, w.user.replicas)
	})
}

func (w *simulation) drift() {
	k := pick(w, w.canary, w.primary)
	if !k.found {
		return
	}
	w.notef("        somebody changes the %s", k.role)
	if w.rng.IntN(2) == 0 {
		w.services.Complete = false
		w.services.Serving = w.rng.IntN(2) == 0
	}
	k.drifted = true
	if k.replicas = int32(1 + w.rng.IntN(4)); w.nodes > 0 {
		k.replicas = int32(w.rng.IntN(2))
	}
	w.at(w.upTo(w.cfg.observe), k.sync)
	w.poke()
}

// calm ends all faults; people have gone home. Gates stay as they are: they have a deadline.
func (w *simulation) calm() {
	w.notef("        calm")
	w.quiet = true
	w.route.refuses, w.route.down, w.doubt = false, false, noWay
	w.counts.taken, w.counts.rival = 0, ""
	w.hooks.dark, w.hooks.invalid, w.hooks.rollback, w.hooks.preFails = false, false, false, 0
	if w.hooks.mute {
		w.hooks.mute = false
		w.hooks.forget()
	}
	w.accept(w.route.writes)
	w.primary.heal()
	w.canary.heal()
	w.target.pause(false)
	w.spec.Suspend, w.spec.Invalid, w.spec.InvalidReason = false, "", ""
	if w.rng.IntN(2) == 0 { // somebody is still there to press a button
		for range 4 {
			w.at(w.upTo(10*time.Minute), func() { w.annotate(w.token("resume"), "") })
		}
	}
	w.poke()
}

// live runs a world to its rest and returns what was violated.
func live(w *simulation) string {
	calm := epoch.Add(40 * time.Minute)
	w.run(calm)
	if w.forever != "" {
		w.endure(calm)
		return w.failure
	}
	w.run(calm.Add(rests))
	if w.failure == "" && !w.gone && w.now.Equal(calm.Add(rests)) {
		w.violated("8: no rest after %v: %s", rests, w.state.Phase)
	}
	w.checkRest()
	return w.failure
}

// retell runs the world of a seed again and returns what happened in it.
func retell(seed uint64, decide func(Snapshot) Decision) string {
	w := randomWorld(seed)
	w.decide, w.trace = decide, &strings.Builder{}
	live(w)
	return fmt.Sprintf("spec %+v\nreplicas %d\n%s", w.spec, w.user.replicas, w.trace)
}
