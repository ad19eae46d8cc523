package plan

import (
	"slices"
	"testing"
	"time"
)

// What a controller did not see after a rollback is no drain: somebody may have given the canary traffic while it was away.
func TestADrainThatNobodyWatchedBeginsAnew(t *testing.T) {
	for name, c := range map[string]struct {
		since     time.Time
		unsettled bool          // when it first looks after noon
		drains    time.Duration // after noon
	}{
		"watched":       {since: epoch, drains: Settle + 10*time.Second},
		"started since": {since: noon.Add(5 * time.Second), drains: 16 * time.Second},
		"started since, and the route was another": {since: noon.Add(5 * time.Second), unsettled: true, drains: 16 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			s := given(RollingBack).but(func(s *Snapshot) { s.State.Outcome, s.State.Cause = Failed, "bad" }).s
			look := func(at time.Duration) bool {
				s.Now = noon.Add(at)
				d := Decide(s)
				s.State = d.Next
				return slices.Contains(d.Effects, Effect(ApplyCanary{"r2", 0}))
			}
			if look(0) || s.State.Phase != Failed {
				t.Fatalf("the rollback did not end: %s", s.State.Phase)
			}
			s.Since = c.since
			if c.unsettled {
				s.Unsettled, s.Route.Confirmed = noon.Add(5*time.Second), false
				look(5 * time.Second)
				s.Settled, s.Route.Confirmed = noon.Add(6*time.Second), true
			}
			look(6 * time.Second)
			if look(c.drains - time.Millisecond) {
				t.Errorf("the canary is taken away before %v", c.drains)
			}
			if !look(c.drains) {
				t.Errorf("the canary is still there after %v", c.drains)
			}
		})
	}
}

// The clones have their traffic until the Services are given back: while that fails, they do not drain.
func TestClonesDrainAfterTheServicesWereGivenBack(t *testing.T) {
	s := given(Terminating).but(func(s *Snapshot) {
		s.Deleting, s.Target.Held, s.Target.Released, s.Target.Available, s.Target.Serving = true, false, true, 2, 2
		s.Canary = Workload{} // it ran what was not promoted: its pods went before
	}).s
	look := func(at time.Duration) bool {
		s.Now = noon.Add(at)
		d := Decide(s)
		s.State = d.Next
		return slices.Contains(d.Effects, Effect(Finish{}))
	}
	look(0) // the API server refuses, and again a minute later
	look(time.Minute)
	s.Services = Services{Complete: true, Restored: true}
	look(2 * time.Minute) // the Services are, the route is not
	s.Route = Route{Leaving: true}
	look(3 * time.Minute) // the gateway has not followed yet
	s.Route = Route{}
	if look(3*time.Minute + Settle) {
		t.Error("the clones go before they have drained")
	}
	if look(3*time.Minute + Recheck + s.Spec.Drain - time.Millisecond) {
		t.Error("the clones go before they have drained")
	}
	if !look(3*time.Minute + Recheck + s.Spec.Drain) {
		t.Error("the deletion does not end")
	}
}
