package istio

import (
	"math"

	"github.com/siskin-dev/siskin/pkg/router"
)

// current is the split that rules state which are not those of the intent. Weights are turned into percent so that an entry that gets
// anything never counts as 0. When rules disagree, the largest share of the canary counts, and so does each way that leads requests to
// it: what carries traffic must not be scaled away.
func current(rules lists, in router.Intent) (router.Split, bool) {
	canary, known := int64(0), false
	var out router.Split
	var selects []fields
	for _, name := range listNames() {
		for _, one := range rules[name] {
			r, _ := one.(fields)
			primary, trial, has := weightsOf(r, in)
			if has.canary && !has.primary {
				if trial > 0 {
					selects = append(selects, r)
				}
				continue
			}
			if has.primary {
				share, states := shareOf(primary, trial)
				canary, known = max(canary, share), known || states
				out.Mirror = max(out.Mirror, mirrorOf(r, in))
			}
		}
	}
	if !known && len(selects) == 0 {
		return router.Split{}, false
	}
	if !known {
		canary = total
	}
	out.Primary, out.Canary = int32(total-canary), int32(canary)
	// Users who stay at a canary that has a share are a part of that share; at a canary without one they are an audience.
	for _, r := range selects {
		out.Audience = out.Audience || canary == 0 || !keeps(r, affinityOf(in).CookieName)
	}
	return out, true
}

// sides are the versions that a rule leads to.
type sides struct{ primary, canary bool }

// weightsOf are the weights of both versions in a rule.
func weightsOf(r fields, in router.Intent) (primary, canary int64, has sides) {
	route := list(r, "route")
	for _, one := range route {
		entry, _ := one.(fields)
		weight, _ := number(entry, "weight")
		if len(route) == 1 {
			weight = total // a lone entry has everything, whatever it says
		}
		switch {
		case leadsTo(entry, in.Canary, in):
			canary, has.canary = canary+weight, true
		case leadsTo(entry, in.Primary, in):
			primary, has.primary = primary+weight, true
		}
	}
	return primary, canary, has
}

// shareOf is the canary's share in percent, rounded up and never up to all of it.
func shareOf(primary, canary int64) (int64, bool) {
	if primary+canary == 0 {
		return 0, false
	}
	share := (canary*total + primary + canary - 1) / (primary + canary)
	if primary > 0 {
		share = min(share, total-1)
	}
	return share, true
}

// mirrorOf is the percentage that a rule copies to the canary, rounded up.
func mirrorOf(r fields, in router.Intent) int32 {
	most := int32(0)
	for _, one := range mirrorsOf(copied(r)) {
		m, _ := one.(fields)
		if !leadsTo(m, in.Canary, in) {
			continue
		}
		percent := float64(total)
		if p := object(m, "percentage"); p != nil {
			percent = 0
			switch v := p["value"].(type) {
			case float64:
				percent = v
			case int64:
				percent = float64(v)
			}
		}
		most = max(most, int32(math.Ceil(min(percent, total))))
	}
	return most
}

// serving is current where rules may lead to the apex. What does leads to the primary, which that selects.
func serving(rules lists, in router.Intent) (router.Split, bool) {
	out := lists{}
	for name, all := range rules {
		for _, one := range all {
			r, _ := one.(fields)
			r = copied(r)
			for i, entry := range list(r, "route") {
				if e, ok := entry.(fields); ok && leadsTo(entry, in.Apex, in) {
					list(r, "route")[i] = moved(e, in.Apex, in.Primary, in)
				}
			}
			out[name] = append(out[name], r)
		}
	}
	return current(out, in)
}
