package plan

import (
	"flag"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

var (
	worldsFlag = flag.Int("worlds", 0, "number of random worlds")
	seedFlag   = flag.Uint64("seed", 0, "replay one random world")
	updateFlag = flag.Bool("update", false, "rewrite the golden files")
)

// randomWorld is the world of a seed: a spec, chances, faults and people.
func randomWorld(seed uint64) *simulation {
	w := newWorld(seed, Spec{}, chances{})
	w.spec = w.randomSpec()
	w.cfg = chances{
		latency: pick(w, 0, 50*time.Millisecond, 200*time.Millisecond), passTime: pick(w, 0, 0, 100*time.Millisecond),
		confirm: pick(w, 0, 300*time.Millisecond, 900*time.Millisecond), observe: pick(w, 0, 500*time.Millisecond, 3*time.Second),
		start: pick(w, 2*time.Second, 10*time.Second), lag: pick(w, 0, 200*time.Millisecond),
		crash: pick(w, 0, 0.02, 0.1), effectFails: pick(w, 0, 0.02, 0.2), lateRoute: pick(w, 0, 0.1, 0.4),
		slowAnswer: pick(w, 0, 0.5), progressDeadline: pick(w, 0, time.Minute, 5*time.Minute), surge: pick(w, int32(1), 4),
		deep: w.rng.IntN(4) == 0,
	}
	for i := 2; i <= 5; i++ {
		w.revisions[fmt.Sprintf("r%d", i)] = w.randomTraits()
	}
	for _, g := range gates(w.spec.Hooks) {
		w.hooks.open[g] = w.rng.IntN(2) == 0
	}
	w.deploy("r1", int32(1+w.rng.IntN(3)))
	if w.rng.IntN(12) == 0 {
		w.adopt()
	}
	end := w.between(3*time.Minute, 40*time.Minute)
	for range 1 + w.rng.IntN(4) {
		w.at(w.upTo(end), func() { w.push(fmt.Sprintf("r%d", 1+w.rng.IntN(5))) })
	}
	for range w.rng.IntN(7) {
		w.at(w.upTo(end), w.someEvent)
	}
	w.at(end, w.calm)
	return w
}

// adopt makes a world where an earlier Canary left everything in place, and git went on.
func (w *simulation) adopt() {
	w.stored["r1"] = true
	w.primary.apply("r1", w.user.replicas)
	w.services = Services{Complete: true, Serving: true}
	w.route.known, w.route.current = true, AllPrimary()
	w.target.held = true
	w.target.apply("r1", 0)
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

func (w *simulation) randomSpec() Spec {
	interval := pick(w, 5*time.Second, 10*time.Second, 30*time.Second, time.Minute)
	z := Spec{
		Interval: interval, Threshold: pick[int32](w, 1, 2, 3, 5), Deadline: pick(w, 2*time.Minute, 10*time.Minute),
		GateDeadline: pick(w, 5*time.Minute, 20*time.Minute), PromotionStep: pick[int32](w, 0, 0, 20, 50),
		NoData: pick(w, PolicyHold, PolicyHold, PolicyFail, PolicyPass), CanarySize: pick(w, Size{Percent: 100}, Size{Percent: 30}, Size{Count: 2}),
		PrimaryReady: pick[int32](w, 100, 50), CanaryReady: pick[int32](w, 100, 50), Drain: pick(w, 0, 5*time.Second, 30*time.Second),
		SkipAnalysis: w.rng.IntN(15) == 0, Orphan: w.rng.IntN(4) == 0,
	}
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
	switch w.rng.IntN(6) {
	case 0:
		return BlueGreen(int32(1+w.rng.IntN(3)), interval)
	case 1:
		return []Step{{Weight: 5, Interval: interval}, {Weight: 5, Interval: interval}, {Weight: 40, Interval: 2 * interval}, {Weight: 100, Interval: interval}}
	case 2:
		return []Step{{Weight: 100, Interval: interval}, {Weight: 100, Interval: interval}}
	}
	return Ladder(pick[int32](w, 10, 25, 50), pick[int32](w, 50, 60, 100), interval)
}

func (w *simulation) randomTraits() *traits {
	t := &traits{slow: pick(w, 0, 0, 20*time.Second)}
	switch w.rng.IntN(10) {
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
	}
	return t
}

// push is a commit that changes the target.
func (w *simulation) push(rev string) {
	if w.target.found {
		w.notef("        target becomes %s", rev)
		w.target.apply(rev, w.target.replicas)
	}
}

func (w *simulation) scale(n int32) {
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
	w.ledger.noteInterval(w.spec)
	w.poke()
}

// someEvent is a fault or a person.
func (w *simulation) someEvent() {
	lasts := w.between(5*time.Second, 5*time.Minute)
	if w.rng.IntN(5) == 0 {
		lasts = w.between(5*time.Minute, 30*time.Minute)
	}
	switch w.rng.IntN(26) {
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
			w.write(pick(w, AllPrimary(), ToCanary(50), ToCanary(100)))
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
	}
}

func (w *simulation) editAnalysis() {
	w.edit(func(z *Spec) {
		switch w.rng.IntN(5) {
		case 0:
			z.Interval = pick(w, 5*time.Second, 40*time.Second)
			for i := range z.Steps {
				z.Steps[i].Interval = z.Interval
			}
		case 1:
			z.Steps = w.randomSteps(z.Interval)
			w.ledger.edited = true
		case 2:
			z.Threshold = pick[int32](w, 1, 4)
		case 3:
			z.SkipAnalysis = !z.SkipAnalysis
		case 4:
			z.Drain, w.ledger.drainEdited = pick(w, 0, 20*time.Second), true
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
	k.replicas = int32(1 + w.rng.IntN(4))
	w.at(w.upTo(w.cfg.observe), k.sync)
	w.poke()
}

// calm ends all faults; people have gone home. Gates stay as they are: they have a deadline.
func (w *simulation) calm() {
	w.notef("        calm")
	w.quiet = true
	w.route.refuses, w.route.down = false, false
	w.hooks.dark, w.hooks.invalid, w.hooks.rollback, w.hooks.preFails = false, false, false, 0
	if w.hooks.mute {
		w.hooks.mute = false
		w.hooks.forget()
	}
	w.accept(w.route.writes)
	w.primary.heal()
	w.canary.heal()
	if w.spec.Suspend {
		w.spec.Suspend = false
	}
	w.poke()
}

// live runs a world to its rest and returns what was violated.
func live(w *simulation) string {
	w.run(epoch.Add(40*time.Minute + rests))
	if w.failure == "" && !w.gone && w.now.Equal(epoch.Add(40*time.Minute+rests)) {
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

// ways from phase to phase that the worlds must go.
var ways = []string{
	"Initializing -> Initialized", "Initialized -> Waiting", "Initialized -> Progressing", "Waiting -> Progressing", "Waiting -> RollingBack",
	"Progressing -> Waiting", "Progressing -> WaitingPromotion", "Progressing -> Promoting", "Progressing -> RollingBack",
	"WaitingPromotion -> Promoting", "WaitingPromotion -> RollingBack", "WaitingPromotion -> Progressing", "Promoting -> Finalising",
	"Promoting -> Succeeded", "Promoting -> RollingBack", "Finalising -> Succeeded", "Finalising -> RollingBack", "RollingBack -> Failed",
	"RollingBack -> Cancelled", "Failed -> Initialized", "Failed -> Progressing", "Cancelled -> Progressing", "Succeeded -> Progressing",
	"Initializing -> Terminating", "Progressing -> Terminating", "Promoting -> Terminating", "RollingBack -> Terminating",
	"Succeeded -> Terminating",
}

func TestRandomWorlds(t *testing.T) {
	n := 20000
	if v, err := strconv.Atoi(os.Getenv("WORLDS")); err == nil {
		n = v
	}
	if *worldsFlag > 0 {
		n = *worldsFlag
	}
	if testing.Short() {
		n = min(n, 2000)
	}
	first := uint64(1)
	if *seedFlag > 0 {
		first, n = *seedFlag, 1
	}
	began := time.Now()
	passes, failed := 0, 0
	reached := map[string]int{}
	for seed := first; seed < first+uint64(n); seed++ {
		w := randomWorld(seed)
		w.decide = func(s Snapshot) Decision {
			d := Decide(s)
			if d.Next.Phase != s.State.Phase {
				reached[fmt.Sprintf("%s -> %s", s.State.Phase, d.Next.Phase)]++
			}
			return d
		}
		if violation := live(w); violation != "" {
			t.Errorf("seed=%d: %s\n%s", seed, violation, tail(retell(seed, Decide), 60))
			if failed++; failed >= 3 {
				t.FailNow()
			}
		}
		passes += w.passes
	}
	if *seedFlag > 0 {
		t.Logf("seed=%d:\n%s", first, retell(first, Decide))
	}
	if n >= 20000 {
		for _, way := range ways {
			if reached[way] == 0 {
				t.Errorf("no world goes %s: the worlds prove nothing about it", way)
			}
		}
	}
	took := time.Since(began)
	t.Logf("%d worlds, %d decisions, %.0f worlds/s", n, passes, float64(n)/took.Seconds())
}
