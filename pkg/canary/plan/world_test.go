package plan

import (
	"container/heap"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// simulation is a simulated cluster with a controller in it. Time is virtual, chance comes from a seed: the same seed is the same world.
//
// The controller sees what a real one sees: it looks when an object changes, when an answer comes, or when its own Wake is due;
// nothing else wakes it, so that a wait which asks for no wake is found out as one that never ends.
type simulation struct {
	rng *rand.Rand
	now time.Time
	cfg chances
	// decide is Decide, or a mutant of it.
	decide func(Snapshot) Decision
	// seen is told each decision that is made, but not those that laws only try; may be nil.
	seen func(Snapshot, Decision)

	spec  Spec
	state State

	target, primary, canary *workload
	user                    userState
	scaler                  scalerState
	nodes                   int32 // of a target that runs once on each node; 0: it has a number of replicas
	service                 bool  // the target is a Service: it is left as it is, its pods are the user's
	stored                  map[string]bool
	services                Services
	views                   viewState
	route                   routeState
	revisions               map[string]*traits

	ctl    controller
	hooks  hookState
	events eventQueue
	seq    int
	quiet  bool // faults and people have stopped
	gone   bool // the Canary was finished
	orphan bool
	counts counts
	doubt  way // of which it cannot be told whether the data plane has it

	parts partsState

	forever forever // the fault that stays; empty: none

	ledger  ledger
	people  people
	failure string
	trace   *strings.Builder
	last    string
	stores  int
	passes  int
}

// chances are the probabilities and delays of one world.
type chances struct {
	latency, passTime, confirm, observe, start, lag time.Duration
	crash, effectFails, lateRoute, slowAnswer       float64
	progressDeadline                                time.Duration
	surge                                           int32
	deep                                            bool // also check what costs time
	exact                                           bool // every delay is as long as it may be
	loud                                            bool // that notices were told is stored at once, as when alerts carry them
}

type userState struct {
	replicas int32
	deleting bool
	// request is the annotation as a person wrote it last, by whom; tokens counts those that were used.
	request, by string
	tokens      int
}

// controller is the process that runs the plan.
type controller struct {
	up           bool
	since        time.Time
	wasSuspended bool
	pokeAt       time.Time // when a watch makes it look; zero: never
	wakeAt       time.Time // when it wanted to look
	instant      time.Time
	atInstant    int
	process      int
	retrying     bool      // a pass that failed is to be repeated
	unsettled    time.Time // when it last saw that the split was not carried out
	settled      time.Time // when it first saw that it was after that
}

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func newWorld(seed uint64, spec Spec, cfg chances) *simulation {
	w := &simulation{
		rng: rand.New(rand.NewPCG(seed, 0)), now: epoch, cfg: cfg, decide: Decide, spec: spec,
		stored: map[string]bool{}, revisions: map[string]*traits{},
	}
	w.target, w.primary, w.canary = &workload{w: w, role: "target"}, &workload{w: w, role: "primary"}, &workload{w: w, role: "canary"}
	w.route.effective = AllPrimary()
	w.ctl = controller{up: true, since: epoch}
	w.hooks = newHookState()
	w.ledger, w.people = newLedger(), newPeople()
	w.parts = newPartsState()
	w.user.replicas = 2
	return w
}

// deploy makes the target exist, served by its own Service.
func (w *simulation) deploy(rev string, replicas int32) {
	w.user.replicas = replicas
	w.target.apply(rev, replicas)
	w.poke()
}

// run lets the world go on until it rests or the horizon is reached.
func (w *simulation) run(horizon time.Time) {
	for w.failure == "" && !w.gone {
		at, look := w.nextEvent()
		if at.IsZero() {
			break // at rest
		}
		if at.After(horizon) {
			w.now = horizon
			return
		}
		if at.After(w.now) {
			w.now = at
		}
		if look {
			w.reconcile()
			continue
		}
		heap.Pop(&w.events).(event).do()
	}
}

// nextEvent returns when something happens next, and whether that is a look of the controller. Zero: the world is at rest.
func (w *simulation) nextEvent() (time.Time, bool) {
	var at time.Time
	if len(w.events) > 0 {
		at = w.events[0].at
	}
	if !w.ctl.up {
		return at, false
	}
	look := earliest(w.ctl.pokeAt, w.ctl.wakeAt)
	if !look.IsZero() && (at.IsZero() || look.Before(at)) {
		return look, true
	}
	return at, false
}

// poke is a watch event: the controller looks soon.
func (w *simulation) poke() {
	w.ctl.pokeAt = earliest(w.ctl.pokeAt, w.now.Add(w.upTo(w.cfg.latency)))
}

// reconcile is one pass: observe, ask, decide, store, act.
func (w *simulation) reconcile() {
	w.ctl.pokeAt, w.ctl.wakeAt = time.Time{}, time.Time{}
	w.passes++
	if w.ctl.instant.Equal(w.now) {
		w.ctl.atInstant++
	} else {
		w.ctl.instant, w.ctl.atInstant = w.now, 1
	}
	if w.ctl.atInstant > 12 || w.passes > 20000 {
		w.violated("livelock: %d passes, %d at this instant", w.passes, w.ctl.atInstant)
		return
	}
	if w.ctl.wasSuspended && !w.spec.Suspend {
		w.ctl.since = w.now
	}
	w.ctl.wasSuspended = w.spec.Suspend

	s := w.snapshot()
	w.ask(s)
	d := w.decide(s)
	if w.seen != nil {
		w.seen(s, d)
	}
	w.check(s, d)
	w.note(s, d)
	if w.failure != "" {
		return
	}
	changed := !sameState(s.State, d.Next) && !w.toldAside(s.State, d.Next)
	if changed && w.chance(w.cfg.crash) {
		w.restart("before the store")
		return
	}
	if changed {
		w.state = d.Next
		w.stores++
		w.people.since = time.Time{}
		w.owe(d)
	}
	w.learn(s, d)
	if d.Wake > 0 {
		w.ctl.wakeAt = w.now.Add(d.Wake)
	}
	if len(d.Effects) > 0 && w.chance(w.cfg.crash) {
		w.restart("between store and effects")
		return
	}
	if len(d.Effects) > 0 && w.cfg.passTime > 0 && w.chance(0.2) {
		w.at(w.upTo(w.cfg.passTime), func() { w.act(d.Effects); w.tell() })
		w.ctl.wakeAt, w.ctl.pokeAt = time.Time{}, time.Time{}
		wake := d.Wake
		process := w.ctl.process
		w.ctl.up = false // a pass is under way; the next begins when it is over
		w.at(w.cfg.passTime, func() {
			if w.ctl.process != process {
				return
			}
			w.ctl.up = true
			if wake > 0 {
				w.ctl.wakeAt = w.now.Add(max(wake-w.cfg.passTime, 0))
			}
		})
		return
	}
	w.act(d.Effects)
	w.tell()
}

// act carries effects out. One that fails keeps only Abandon and Finish from being tried; the pass is repeated after a back-off.
func (w *simulation) act(effects []Effect) {
	failed := false
	for _, e := range effects {
		if w.chance(w.cfg.crash / 2) {
			w.restart("among the effects")
			return
		}
		switch e.(type) {
		case Abandon, Finish:
			if failed {
				continue
			}
		}
		if err := w.apply(e); err != "" {
			w.notef("        %T failed: %s", e, err)
			failed = true
		}
	}
	if failed && !w.ctl.retrying { // like a work queue, which knows an object once
		w.ctl.retrying = true
		w.at(w.between(time.Second, 8*time.Second), func() { w.ctl.retrying = false; w.poke() })
	}
}

// restart loses what the process knew.
func (w *simulation) restart(when string) {
	w.notef("        controller restarts %s", when)
	w.ctl.up = false
	w.ctl.process++
	w.ctl.pokeAt, w.ctl.wakeAt = time.Time{}, time.Time{}
	w.hooks.forget()
	w.people.told, w.people.since = map[int64]bool{}, time.Time{}
	w.ctl.unsettled, w.ctl.settled = time.Time{}, time.Time{}
	w.parts.forget()
	down := w.between(500*time.Millisecond, 20*time.Second)
	if w.chance(0.1) {
		down = w.between(time.Minute, 30*time.Minute)
	}
	w.at(down, func() {
		w.ctl.up, w.ctl.since, w.ctl.wasSuspended = true, w.now, false
		w.ctl.pokeAt = w.now
	})
}

// snapshot is what the controller observes.
func (w *simulation) snapshot() Snapshot {
	s := Snapshot{
		Now: w.now, Since: w.ctl.since, Spec: w.doubted(), State: w.state, Primary: w.primary.observe(), Canary: w.canary.observe(),
		Services: w.services, Counted: w.counts.on, Answers: w.hooks.answers, Deleting: w.user.deleting,
		Scaler: w.scaler.observe(), Request: w.user.request, RequestedBy: w.user.by, Kept: w.kept(),
		Told: slices.Sorted(maps.Keys(w.people.told)),
	}
	if fresh := w.target.found && w.target.rev != w.state.Stable && w.target.rev != w.state.Rejected; s.Scaler.Found && (fresh || !w.state.Phase.Idle()) {
		s.Scaler.Least = max(s.Scaler.Least, 1) // as package observe has it: something must be there to be compared with
	}
	s.Services.Restored = !s.Services.Serving
	w.observeViews(&s)
	t := w.target
	s.Target = Target{Found: t.found}
	if t.found {
		s.Target = Target{
			Found: true, Revision: t.rev, Replicas: w.user.replicas, Held: t.held, Available: t.available(),
			Stored: w.stored[t.rev], Released: !t.held && t.replicas == w.user.replicas, Off: w.off(),
			Serving: t.serving(), Old: t.old(), Current: t.seen == t.wanted(), Promoted: w.user.deleting && t.rev == w.restored(),
			Paused: t.paused, Unpaused: t.unpaused,
		}
	}
	if t.found && w.service {
		s.Target.Replicas, s.Target.Held, s.Target.Released, s.Target.Available = 1, true, true, min(t.available(), 1)
		s.Target.Serving, s.Target.Paused = min(t.serving(), 1), false
	}
	w.seeParts(&s.Target)
	s.Route = w.observeRoute(w.state.Split)
	s.Unsettled, s.Settled = w.remembered(s.Route, w.state.Split)
	w.ctl.unsettled, w.ctl.settled = s.Unsettled, s.Settled
	return s
}

// remembered is what the process knows of the data plane after a look at it.
func (w *simulation) remembered(r Route, split Split) (unsettled, settled time.Time) {
	switch {
	case !r.Confirmed || r.Current != split:
		return w.now, time.Time{}
	case w.ctl.settled.IsZero() && !w.ctl.unsettled.IsZero():
		return w.ctl.unsettled, w.now
	}
	return w.ctl.unsettled, w.ctl.settled
}

// kept are the revisions of which a snapshot exists.
func (w *simulation) kept() []string { return slices.Sorted(maps.Keys(w.stored)) }

func (w *simulation) violated(format string, args ...any) {
	if w.failure == "" {
		w.failure = fmt.Sprintf(format, args...)
		w.notef("VIOLATED: %s", w.failure)
	}
}

// Chance.

func (w *simulation) chance(p float64) bool { return p > 0 && !w.quiet && w.rng.Float64() < p }

func (w *simulation) upTo(d time.Duration) time.Duration {
	if d <= 0 {
		return 0
	}
	if w.cfg.exact {
		return d
	}
	return time.Duration(w.rng.Int64N(int64(d)))
}

func (w *simulation) between(a, b time.Duration) time.Duration { return a + w.upTo(b-a) }

// Events.

type event struct {
	at  time.Time
	seq int
	do  func()
}

func (w *simulation) at(d time.Duration, do func()) {
	w.seq++
	heap.Push(&w.events, event{at: w.now.Add(d), seq: w.seq, do: do})
}

type eventQueue []event

func (q eventQueue) Len() int { return len(q) }
func (q eventQueue) Less(i, j int) bool {
	if q[i].at.Equal(q[j].at) {
		return q[i].seq < q[j].seq
	}
	return q[i].at.Before(q[j].at)
}
func (q eventQueue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *eventQueue) Push(x any)   { *q = append(*q, x.(event)) }
func (q *eventQueue) Pop() any {
	old := *q
	e := old[len(old)-1]
	*q = old[:len(old)-1]
	return e
}

func earliest(a, b time.Time) time.Time {
	if a.IsZero() || (!b.IsZero() && b.Before(a)) {
		return b
	}
	return a
}
