package observe

import (
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/siskin-dev/siskin/pkg/canary/plan"
)

func TestSettledIsSinceTheLastBreak(t *testing.T) {
	noon := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	var m settled
	twenty, forty := plan.ToCanary(20), plan.ToCanary(40)
	is := func(p plan.Split) plan.Route { return plan.Route{Known: true, Confirmed: true, Current: p} }
	for i, c := range []struct {
		reason string
		uid    types.UID
		route  plan.Route
		split  plan.Split
		want   int // seconds after noon, -1: zero
	}{
		{"not confirmed yet", "a", plan.Route{Known: true, Current: twenty}, twenty, -1},
		{"confirmed", "a", is(twenty), twenty, 1},
		{"still confirmed", "a", is(twenty), twenty, 1},
		{"another Canary", "b", is(twenty), twenty, 3},
		{"another split is wanted", "a", is(twenty), forty, -1},
		{"and confirmed", "a", is(forty), forty, 5},
		{"the route is lost", "a", plan.Route{Confirmed: true, Current: forty}, forty, -1},
		{"and is back", "a", is(forty), forty, 7},
		{"at once another split, which is confirmed", "a", is(twenty), twenty, 8},
		{"the other Canary all the while", "b", is(twenty), twenty, 3},
	} {
		want := time.Time{}
		if c.want >= 0 {
			want = noon.Add(time.Duration(c.want) * time.Second)
		}
		if got := m.since(c.uid, c.route, c.split, noon.Add(time.Duration(i)*time.Second)); !got.Equal(want) {
			t.Errorf("%s: since %v instead of %v", c.reason, got, want)
		}
	}
	for i := range memoLimit + 1 {
		m.since(types.UID(time.Duration(i).String()), is(twenty), twenty, noon)
	}
	if len(m.all) > memoLimit {
		t.Errorf("%d Canaries are remembered", len(m.all))
	}
}
