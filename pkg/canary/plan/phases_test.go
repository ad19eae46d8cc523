package plan

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// The table of docs/phases.md: what becomes of a rollout when something happens in one of its phases. Each cell is a world without
// chance that is run to its rest, with all invariants checked; the test compares what happened with the page, and -update writes it.

// stage is a row: a world that stands in a phase at a time.
type stage struct {
	name   string
	phase  Phase
	spec   func(*Spec)
	script func(*simulation)
	// at is when the event comes, after the begin of the world.
	at time.Duration
}

func stages() []stage {
	bad := func(w *simulation) { w.release(); w.traits("r2").badMetrics = true }
	return []stage{
		{name: "Initializing", phase: Initializing, at: 3 * time.Second, script: func(*simulation) {}},
		{name: "idle", phase: Initialized, at: time.Minute, script: func(*simulation) {}},
		{name: "Waiting", phase: Waiting, at: 2 * time.Minute, script: func(w *simulation) {
			w.release()
			w.hooks.open["rollout-gate"] = false
			w.when(5, 0, func() { w.hooks.open["rollout-gate"] = true })
		}},
		{name: "Progressing, the canary starts", phase: Progressing, at: 62 * time.Second, script: (*simulation).release},
		{name: "Progressing, a step", phase: Progressing, at: 150 * time.Second, script: (*simulation).release},
		{name: "Progressing, paused", phase: Progressing, at: 150 * time.Second, script: func(w *simulation) {
			w.release()
			w.asks(2, 20, "pause")
			w.asks(8, 0, "resume")
		}},
		{name: "WaitingPromotion", phase: WaitingPromotion, at: 6 * time.Minute, script: func(w *simulation) {
			w.release()
			w.hooks.open["promotion-gate"] = false
			w.when(10, 0, func() { w.hooks.open["promotion-gate"] = true })
		}},
		{name: "Frozen", phase: Frozen, at: 6 * time.Minute, spec: func(z *Spec) { z.Freeze = true }, script: bad},
		{name: "Promoting", phase: Promoting, at: 250 * time.Second, script: (*simulation).release},
		{name: "Finalising", phase: Finalising, at: 270 * time.Second, spec: func(z *Spec) { z.PromotionStep = 20 }, script: (*simulation).release},
		{name: "Baking", phase: Baking, at: 6 * time.Minute, spec: func(z *Spec) { z.Bake, z.BakeThreshold = 10*time.Minute, 1 }, script: (*simulation).release},
		{name: "RollingBack", phase: RollingBack, at: 200 * time.Second, script: func(w *simulation) {
			bad(w)
			w.when(3, 0, func() { w.cfg.confirm = 40 * time.Second })
			w.when(4, 0, func() { w.cfg.confirm = 200 * time.Millisecond })
		}},
		{name: "Failed", phase: Failed, at: 10 * time.Minute, script: bad},
		{name: "Failed, only the canary serves", phase: Failed, at: 40 * time.Minute, script: func(w *simulation) {
			w.release()
			w.traits("r2").primaryFails = true
			w.when(4, 20, func() { w.traits("r1").neverReady = true; w.primary.vanish() })
		}},
		{name: "Terminating", phase: Terminating, at: 122 * time.Second, script: func(w *simulation) {
			w.when(2, 0, func() { w.user.deleting = true; w.poke() })
		}},
	}
}

// occurrence is a column.
type occurrence struct {
	name string
	do   func(*simulation)
}

// dies takes all pods of a clone down, for so long; 0 for good.
func dies(clone func(*simulation) *workload, lasts time.Duration) func(*simulation) {
	return func(w *simulation) {
		k := clone(w)
		if !k.found {
			return
		}
		if lasts == 0 {
			w.traits(k.rev).neverReady = true
			k.vanish()
			return
		}
		k.die(0)
		w.at(lasts, k.heal)
	}
}

// vanish takes all pods away; those that follow get ready if their revision lets them.
func (k *workload) vanish() {
	for _, p := range k.pods {
		p.gone = true
	}
	k.pods = nil
	k.roll()
	k.w.poke()
}

func request(verb string) func(*simulation) {
	return func(w *simulation) { w.annotate(w.token(verb), "jane") }
}

// edits changes the spec, for so long; 0 for good.
func edits(lasts time.Duration, change, back func(*Spec)) func(*simulation) {
	return func(w *simulation) {
		w.ledger.edited = true
		w.edit(change)
		if lasts > 0 {
			w.at(lasts, func() { w.edit(back) })
		}
	}
}

func dark(w *simulation, is bool) { w.hooks.dark = is; w.poke() }

func refuses(w *simulation, is bool) {
	w.route.refuses = is
	w.write(w.route.current)
	w.route.writes++ // the data plane looks at it again
	w.accept(w.route.writes)
}

// tables of docs/phases.md, by the name of their marker.
func tables() map[string][]occurrence {
	const while = 2 * time.Minute
	primary, canary := func(w *simulation) *workload { return w.primary }, func(w *simulation) *workload { return w.canary }
	spoil := func(z *Spec) { z.Invalid, z.InvalidReason = "spec.analysis: it cannot be used", "InvalidSpec" }
	mend := func(z *Spec) { z.Invalid, z.InvalidReason = "", "" }
	lasting := func(set func(*simulation, bool), lasts time.Duration) func(*simulation) {
		return func(w *simulation) {
			set(w, true)
			if lasts > 0 {
				w.at(lasts, func() { set(w, false) })
			}
		}
	}
	return map[string][]occurrence{
		"target": {
			{"a new revision r3", func(w *simulation) { w.push("r3") }},
			{"r3 in two parts", func(w *simulation) { w.applyInParts("r3", true, true, 20*time.Second) }},
			{"back to r1", func(w *simulation) { w.push("r1") }},
			{"scaled to zero", func(w *simulation) { w.scale(0) }},
			{"deleted, back after 2 min", func(w *simulation) { w.recreateTarget(while) }},
		},
		"canary": {
			{"steps and interval are edited", edits(0, func(z *Spec) { z.Interval, z.Steps = 30*time.Second, Ladder(30, 90, 30*time.Second) }, nil)},
			{"it cannot be used for 2 min", edits(while, spoil, mend)},
			{"it cannot be used any more", edits(0, spoil, nil)},
			{"suspended for 30 min", edits(30*time.Minute, func(z *Spec) { z.Suspend = true }, func(z *Spec) { z.Suspend = false })},
			{"deleted", func(w *simulation) { w.user.deleting = true; w.poke() }},
		},
		"pods": {
			{"all canary pods die, back after 20 s", dies(canary, 20*time.Second)},
			{"all canary pods die for good", dies(canary, 0)},
			{"all primary pods die, back after 2 min", dies(primary, while)},
			{"all primary pods die for good", dies(primary, 0)},
		},
		"outside": {
			{"no metrics for 2 min", lasting(dark, while)},
			{"no metrics any more", lasting(dark, 0)},
			{"all gates close", func(w *simulation) { w.hooks.locked = true }},
			{"a rollback hook says yes", func(w *simulation) { w.hooks.rollback = true }},
			{"the route is refused for 2 min", lasting(refuses, while)},
			{"the route is refused for good", lasting(refuses, 0)},
			{"the controller is down for a while", func(w *simulation) { w.restart("for a while") }},
		},
		"people": {
			{"promote", request("promote")},
			{"abort", request("abort")},
			{"retry", request("retry")},
			{"pause", request("pause")},
			{"resume", request("resume")},
			{"rollback", request("rollback")},
			{"r3 is pushed, and promote", func(w *simulation) { w.push("r3"); request("promote")(w) }},
		},
	}
}

// course is what became of a world.
type course struct {
	phases      []Phase
	first, last time.Time // changes of phase
	stable      string
	serving     string // who has all the traffic when it is not the primary
	refused     bool
	failure     string
}

// play runs the world of a row with what happens in it.
func (g stage) play(t *testing.T, happens func(*simulation)) course {
	t.Helper()
	w := newWorld(1, plain(), exactly())
	w.spec.Threshold = 2
	for kind, name := range map[HookType]string{ConfirmRollout: "rollout-gate", ConfirmTrafficIncrease: "increase-gate", ConfirmPromotion: "promotion-gate"} {
		w.has(kind, name)
		w.hooks.open[name] = true
	}
	w.has(RollbackHook, "alarm")
	slices.SortFunc(w.spec.Hooks, func(a, b Hook) int { return strings.Compare(a.Name, b.Name) })
	if g.spec != nil {
		g.spec(&w.spec)
	}
	var c course
	var now Phase
	asked := ""
	w.at(g.at, func() {
		if w.state.Phase != g.phase {
			t.Errorf("%s: the world is in %s when it happens", g.name, w.state.Phase)
		}
		before := w.user.request
		now = w.state.Phase
		happens(w)
		if w.user.request != before {
			asked = w.user.request
		}
	})
	w.seen = func(s Snapshot, d Decision) {
		if r := d.Next.Request; r != s.State.Request && r.Value == asked && asked != "" {
			c.refused = !r.Accepted
		}
		if now != "" && d.Next.Phase != now {
			now = d.Next.Phase
			c.phases, c.last = append(c.phases, now), s.Now
			if c.first.IsZero() {
				c.first = s.Now
			}
		}
	}
	w.deploy("r1", 2)
	g.script(w)
	w.run(epoch.Add(12 * time.Hour))
	if !w.route.refuses && w.spec.Invalid == "" { // those never rest as they should
		w.checkRest()
	}
	c.stable, c.failure = w.state.Stable, w.failure
	if w.state.Split.Canary == 100 {
		c.serving = w.canary.rev
	}
	if w.gone {
		c.phases = append(c.phases, "gone")
	}
	return c
}

// against says a course in words, as far as it differs from what would have been.
func (c course) against(usual course) string {
	sooner := c.first.Before(usual.first.Add(-61 * time.Second)) // than an interval
	same := slices.Equal(c.phases, usual.phases) && c.stable == usual.stable && c.serving == usual.serving
	switch {
	case c.failure != "":
		return "VIOLATED " + c.failure
	case c.refused && same:
		return "refused"
	case same && len(c.phases) == 0:
		return "–"
	case same && !sooner && c.last.After(usual.last.Add(time.Second)):
		return "goes on later"
	case same && !sooner:
		return "goes on"
	}
	words := make([]string, 0, len(c.phases)+1)
	for _, p := range c.phases {
		words = append(words, string(p))
	}
	text := "stays"
	if len(words) > 0 {
		text = strings.Join(words, " → ")
	}
	if c.stable != usual.stable {
		text += fmt.Sprintf(" (%s)", c.stable)
	}
	switch c.serving {
	case usual.serving:
	case "":
		text += ", the primary gets the traffic"
	default:
		text += fmt.Sprintf(", canary %s serves", c.serving)
	}
	return text
}

func TestThePageOfPhases(t *testing.T) {
	const file = "../../../docs/phases.md"
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	page := string(raw)
	rows := stages()
	usual := map[string]course{}
	for _, g := range rows {
		usual[g.name] = g.play(t, func(*simulation) {})
	}
	for name, columns := range tables() {
		var b strings.Builder
		b.WriteString("| phase |")
		for _, o := range columns {
			fmt.Fprintf(&b, " %s |", o.name)
		}
		b.WriteString("\n|" + strings.Repeat("---|", len(columns)+1) + "\n")
		for _, g := range rows {
			fmt.Fprintf(&b, "| %s |", g.name)
			for _, o := range columns {
				cell := g.play(t, o.do).against(usual[g.name])
				if strings.HasPrefix(cell, "VIOLATED") {
					t.Errorf("%s, %s: %s", g.name, o.name, cell)
				}
				fmt.Fprintf(&b, " %s |", cell)
			}
			b.WriteString("\n")
		}
		page = between(t, page, name, b.String())
	}
	if *updateFlag {
		if err := os.WriteFile(file, []byte(page), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	if page != string(raw) {
		t.Errorf("docs/phases.md does not say what happens; -update rewrites its tables")
		for i, line := range strings.Split(page, "\n") {
			if have := strings.Split(string(raw), "\n"); i < len(have) && have[i] != line {
				t.Errorf("the page says:\n%s\nbut it is:\n%s", have[i], line)
			}
		}
	}
}

// between puts a table between its markers.
func between(t *testing.T, page, name, table string) string {
	t.Helper()
	begin, end := "<!-- table "+name+" -->\n", "<!-- end of table "+name+" -->"
	head, rest, ok := strings.Cut(page, begin)
	_, tail, closed := strings.Cut(rest, end)
	if !ok || !closed {
		t.Fatalf("docs/phases.md has no place for the table %q", name)
	}
	return head + begin + "\n" + table + "\n" + end + tail
}
