package plan

import "time"

// scalerState is the user's autoscaler, which scales the target or, when Siskin pointed it there, the primary.
type scalerState struct {
	window        time.Duration
	named, exists bool // in the spec, in the cluster
	onPrimary     bool
	floor         int32
	canary        bool // the canary has one of its own
	drifted       bool
	least, most   int32
	zero          bool // it may take everything away when nobody asks
}

func (c scalerState) observe() Scaler {
	if !c.named || !c.exists {
		return Scaler{Missing: c.named}
	}
	least := c.least
	if c.zero {
		least = 0
	}
	return Scaler{
		Found: true, OnPrimary: c.onPrimary, Floor: c.floor, Canary: c.canary, Drifted: c.drifted, Least: least,
		Window:   c.window,
		Restored: !c.onPrimary && c.floor == 0 && !c.canary,
	}
}

// off tells that the user has recorded zero on a held target whose autoscaler leaves a workload without pods alone.
func (w *simulation) off() bool {
	return w.scaler.named && !w.scaler.zero && w.target.found && w.target.held && w.user.replicas == 0
}

// applyScaler carries the effect out.
func (w *simulation) applyScaler(e ApplyScaler) {
	c := &w.scaler
	if !c.exists {
		return
	}
	c.onPrimary, c.floor, c.canary, c.drifted = true, e.Floor, e.Canary, false
	w.at(w.upTo(5*time.Second), func() {
		if c.exists && c.onPrimary && w.primary.replicas > 0 && w.primary.replicas < c.floor {
			w.primary.resize(c.floor)
		}
	})
	w.poke()
}

// autoscale is what load makes of it.
func (w *simulation) autoscale() {
	c := w.scaler
	if !c.exists || w.quiet {
		return
	}
	if c.canary && w.canary.replicas > 0 && w.rng.IntN(2) == 0 {
		w.canary.resize(int32(1 + w.rng.IntN(4)))
		return
	}
	low := max(c.least, c.floor)
	n := low + int32(w.rng.IntN(int(max(c.most, low)-low+1)))
	if c.zero && c.floor == 0 && w.rng.IntN(5) == 0 {
		n = 0
	}
	switch t := w.target; {
	case c.onPrimary && w.primary.found && (w.primary.replicas > 0 || c.zero):
		w.notef("        the autoscaler makes %d of %d primary pods", n, w.primary.replicas)
		w.primary.resize(n)
	case !c.onPrimary && t.found && !t.held && t.replicas > 0:
		w.notef("        the autoscaler makes %d of %d target pods", n, t.replicas)
		w.user.replicas = n
		t.resize(n)
	}
}

// reapplyScaler is git, which writes the autoscaler as it knows it, or somebody who changes its limits.
func (w *simulation) reapplyScaler(lasts time.Duration) {
	c := &w.scaler
	if !c.exists {
		return
	}
	switch w.rng.IntN(3) {
	case 0:
		w.notef("        git writes the autoscaler anew")
		c.onPrimary, c.floor = false, 0
	case 1:
		w.notef("        somebody changes the autoscaler")
		c.drifted, c.floor = true, int32(w.rng.IntN(3))
	case 2:
		w.notef("        the autoscaler is deleted for %v", lasts)
		c.exists = false
		w.at(lasts, func() { c.exists, c.onPrimary, c.floor = true, false, 0; w.poke() })
	}
	w.poke()
}

// nodesChange lets a node come or go.
func (w *simulation) nodesChange() {
	if w.nodes == 0 {
		return
	}
	w.nodes = int32(1 + w.rng.IntN(4))
	w.notef("        the cluster has %d nodes", w.nodes)
	for _, k := range []*workload{w.target, w.primary, w.canary} {
		if k.found {
			k.roll()
		}
	}
	w.poke()
}
