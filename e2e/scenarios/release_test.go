package scenarios

import (
	"testing"
	"time"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/e2e/fixtures"
	"github.com/siskin-dev/siskin/e2e/load"
)

const analysis = `    interval: 10s
    threshold: 1
    stepWeights: [10, 20, 30, 40, 50]
    metrics:
    - {name: request-success-rate, interval: 30s, thresholdRange: {min: 99}}
    - {name: request-duration, interval: 30s, thresholdRange: {max: 500}}`

// TestReleases : at 200 requests per second a good version is promoted and no user notices; a bad one is taken back within seconds
// of the check that found it out, and no request fails but those that it answered itself.
func TestReleases(t *testing.T) {
	s, _ := story(t, fixtures.App{Replicas: 2})
	s.Start(s.App.Canary(analysis))
	users := s.Users(200)

	began := time.Now()
	s.Release("1.1.0")
	begun(s, 0)
	endsAs(s, siskinv1.PhaseSucceeded, 2*time.Minute)
	took := time.Since(began)
	if took > 100*time.Second {
		t.Errorf("five steps of 10 s took %s, more than 100 s", took)
	}
	sum := s.NobodyFailed("users of the good release", users, time.Time{})
	if sum.ByVersion["1.1.0"] == 0 {
		t.Error("no user saw the new version")
	}
	if told, err := s.EventsOf(s.Context(), "RoutingMismatch"); err != nil || len(told) > 0 {
		t.Errorf("a mismatch is told of a route that is the only one: %+v (%v)", told, err)
	}

	s.App.FailRatio = "0.5"
	bad := time.Now()
	s.Release("1.2.0")
	begun(s, 1)
	c := endsAs(s, siskinv1.PhaseFailed, time.Minute)
	users.Stop()
	sum = s.NobodyFailed("users of the bad release", users, bad, "1.2.0")
	failing := s.OneEvent("RollingBack").At
	last, ok := lastOf(users.Samples(), "1.2.0")
	if !ok {
		t.Fatal("no user saw the bad version: the story proves nothing")
	}
	const patience = 6 * time.Second // of users, from the failing check on
	if late := last.Sub(failing); late > patience {
		t.Errorf("the bad version got traffic until %s after the failing check", late)
	}
	if c.Status.Rollout.TrafficAt == nil {
		t.Fatal("status does not tell when the canary got traffic")
	}
	if exposed := last.Sub(c.Status.Rollout.TrafficAt.Time); exposed > 10*time.Second+time.Second+patience {
		t.Errorf("the bad version had traffic for %s, more than interval + 1 s to settle + %s", exposed, patience)
	}
	t.Logf("the good release took %s; the bad one had traffic for %s, until %s after the failing check; %v; %s",
		took, last.Sub(c.Status.Rollout.TrafficAt.Time), last.Sub(failing), sum, c.Status.Message)
}

// lastOf returns when the last request that a version answered was sent.
func lastOf(samples []load.Sample, version string) (time.Time, bool) {
	var last time.Time
	for _, s := range samples {
		if s.Version == version && s.At.After(last) {
			last = s.At
		}
	}
	return last, !last.IsZero()
}
