package observe

import (
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/siskin-dev/siskin/pkg/canary/plan"
)

func TestSettledIsSinceTheLastBreak(t *testing.T) {
	noon := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	at := func(second int) time.Time {
		if second == 0 {
			return time.Time{}
		}
		return noon.Add(time.Duration(second) * time.Second)
	}
	var m settled
	twenty, forty := plan.ToCanary(20), plan.ToCanary(40)
	is := func(p plan.Split) plan.Route { return plan.Route{Known: true, Confirmed: true, Current: p} }
	for i, c := range []struct {
		reason           string
		uid              types.UID
		route            plan.Route
		split            plan.Split
		unsettled, since int // seconds after noon; 0: never
	}{
		{"it was never seen otherwise: nothing is late", "a", is(twenty), twenty, 0, 0},
		{"not confirmed", "a", plan.Route{Known: true, Current: twenty}, twenty, 2, 0},
		{"still not", "a", plan.Route{Known: true, Current: twenty}, twenty, 3, 0},
		{"confirmed", "a", is(twenty), twenty, 3, 4},
		{"still confirmed", "a", is(twenty), twenty, 3, 4},
		{"another Canary", "b", is(twenty), twenty, 0, 0},
		{"another split is wanted", "a", is(twenty), forty, 7, 0},
		{"and confirmed", "a", is(forty), forty, 7, 8},
		{"the route is lost", "a", plan.Route{Confirmed: true, Current: forty}, forty, 9, 0},
		{"and is back", "a", is(forty), forty, 9, 10},
		{"at once another split, which is confirmed: nothing is late", "a", is(twenty), twenty, 9, 10},
	} {
		want := seen{unsettled: at(c.unsettled), since: at(c.since)}
		if got := m.look(c.uid, c.route, c.split, at(i+1)); got != want {
			t.Errorf("%s: %v instead of %v", c.reason, got, want)
		}
	}
	m.forget("a")
	m.forget("b")
	if len(m.all) > 0 {
		t.Errorf("%d Canaries are remembered", len(m.all))
	}
}
