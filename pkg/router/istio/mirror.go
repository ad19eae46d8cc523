package istio

import (
	networking "istio.io/api/networking/v1alpha3"

	"github.com/siskin-dev/siskin/pkg/router"
)

// mirrored is the rule with a copy to the canary of what reaches the primary, as the split asks for, beside the copies that the rule makes.
func mirrored(r rule, in router.Intent) (rule, error) {
	at := r.apexEntries(in)
	if in.Split.Mirror == 0 || len(at) == 0 {
		return r, nil
	}
	entry, _ := list(r.fields, "route")[at[0]].(fields)
	said, err := encode(&networking.HTTPMirrorPolicy{Percentage: &networking.Percent{Value: float64(in.Split.Mirror)}})
	if err != nil {
		return r, err
	}
	said["destination"] = object(moved(entry, in.Apex, in.Canary, in), "destination")
	out := copied(r.fields)
	out["mirrors"] = append(mirrorsOf(out), said)
	return rule{out, r.selects}, nil
}

// mirrorsOf takes the copies out of a rule. Istio knows a single one by other names, too, which do not go together with the list.
func mirrorsOf(r fields) []any {
	all := list(r, "mirrors")
	if one, ok := r["mirror"].(fields); ok {
		policy := fields{"destination": one}
		if percent := object(r, "mirrorPercentage"); percent != nil {
			policy["percentage"] = percent
		} else if percent, ok := number(r, "mirrorPercent"); ok {
			policy["percentage"] = fields{"value": percent}
		}
		all = append(all, policy)
		delete(r, "mirror")
		delete(r, "mirrorPercentage")
		delete(r, "mirrorPercent")
	}
	return all
}
