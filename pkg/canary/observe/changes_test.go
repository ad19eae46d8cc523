package observe

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var midday = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

// A row of changes begins with the first after a quiet time, so that the wait for quiet has an end.
func TestChangesInARow(t *testing.T) {
	const quiet = 2 * time.Second
	var m changes
	at := func(s float64) time.Time { return midday.Add(time.Duration(s * float64(time.Second))) }
	for i, c := range []struct {
		at                float64
		revision          string
		changed, restless float64
	}{
		{0, "r1", 0, 0},
		{60, "r1", 0, 0},
		{100, "r2", 100, 100},
		{101, "r2", 100, 100},
		{101.5, "r3", 101.5, 100},
		{103, "r2", 103, 100},
		{105, "r4", 105, 105},
	} {
		got := m.look("uid", c.revision, at(c.at), quiet)
		if !got.at.Equal(at(c.changed)) || !got.restless.Equal(at(c.restless)) {
			t.Errorf("%d: changed at %v, restless since %v", i, got.at.Sub(midday), got.restless.Sub(midday))
		}
	}
	m.forget("uid")
	if got := m.look("uid", "r4", at(200), quiet); !got.at.Equal(at(200)) || !got.restless.Equal(at(200)) {
		t.Errorf("what is forgotten is remembered: %+v", got)
	}
}

func TestMarkOfAnApply(t *testing.T) {
	const hash = "0123456789012345678901234567890123456789"
	for name, c := range map[string]struct {
		mark, what string
		until      time.Time
	}{
		"none":                {},
		"under way":           {"main@sha1:" + hash + " 2026-01-02T11:59:30Z", "main@0123456", midday.Add(90 * time.Second)},
		"never ended":         {"main@sha1:" + hash + " 2026-01-02T10:00:00Z", "main@0123456", midday.Add(-118 * time.Minute)},
		"a clock a bit ahead": {"v1 2026-01-02T12:00:10Z", "v1", midday.Add(130 * time.Second)},
		"a clock far ahead":   {mark: "v1 2026-01-02T13:00:00Z"},
		"nonsense":            {mark: "yes"},
		"no time":             {mark: "main soon"},
	} {
		t.Run(name, func(t *testing.T) {
			what, until := applying(c.mark, midday)
			if diff := cmp.Diff(c.what, what); diff != "" || !until.Equal(c.until) {
				t.Errorf("until %v, want %v; %s", until, c.until, diff)
			}
		})
	}
}
