package observe

import (
	"testing"
	"time"
)

// What was outdated just now is still, for a data plane that has not heard of it.
func TestWhatWasSoLately(t *testing.T) {
	var m lately
	noon := time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)
	steps := []struct {
		after    time.Duration
		is, want bool
	}{
		{0, false, false},
		{time.Second, true, true},
		{1900 * time.Millisecond, false, true},
		{2 * time.Second, false, false},
		{2100 * time.Millisecond, false, false},
		{3 * time.Second, true, true},
	}
	for _, s := range steps {
		if got := m.so("u", s.is, time.Second, noon.Add(s.after)); got != s.want {
			t.Errorf("after %s: %t", s.after, got)
		}
	}
	m.forget("u")
	if m.so("u", false, time.Second, noon.Add(3*time.Second)) {
		t.Error("what is forgotten was not so")
	}
}
