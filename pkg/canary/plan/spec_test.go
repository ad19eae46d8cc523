package plan

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestLadder(t *testing.T) {
	for _, c := range []struct {
		reason     string
		step, most int32
		want       []int32
	}{
		{"even steps", 10, 30, []int32{10, 20, 30}},
		{"the last step does not overshoot (flagger W13)", 20, 50, []int32{20, 40, 50}},
		{"one step", 50, 50, []int32{50}},
		{"no step weight", 0, 30, []int32{30}},
	} {
		var got []int32
		for _, s := range Ladder(c.step, c.most, time.Second) {
			got = append(got, s.Weight)
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s: %s", c.reason, diff)
		}
	}
	if diff := cmp.Diff([]Step{{Interval: time.Second}, {Interval: time.Second}, {Weight: 100, Interval: time.Second}}, BlueGreen(2, time.Second)); diff != "" {
		t.Error(diff)
	}
}

func TestSize(t *testing.T) {
	for _, c := range []struct {
		size    Size
		n, want int32
	}{
		{Size{Count: 3}, 10, 3},
		{Size{}, 10, 1},
		{Size{Percent: 10}, 10, 1},
		{Size{Percent: 10}, 11, 2},
		{Size{Percent: 10}, 0, 0},
		{Size{Percent: 100}, 4, 4},
	} {
		if got := c.size.Of(c.n); got != c.want {
			t.Errorf("%+v of %d is %d, not %d", c.size, c.n, got, c.want)
		}
	}
}

func TestReady(t *testing.T) {
	ok := healthy("r1", 4)
	for name, c := range map[string]struct {
		change  func(*Workload)
		percent int32
		want    bool
		explain string
	}{
		"all":                   {func(*Workload) {}, 100, true, "its size is being changed"},
		"enough":                {func(w *Workload) { w.Available = 2 }, 50, true, "2 of 4 pods are available"},
		"not enough":            {func(w *Workload) { w.Available = 1 }, 50, false, "1 of 4 pods are available"},
		"rounded up":            {func(w *Workload) { w.Available = 2 }, 51, false, "2 of 4 pods are available"},
		"one at least":          {func(w *Workload) { w.Available = 0 }, 0, false, "0 of 4 pods are available"},
		"missing":               {func(w *Workload) { *w = Workload{} }, 100, false, "not created yet"},
		"another revision":      {func(w *Workload) { w.Revision = "r0" }, 100, false, "still has revision r0"},
		"not seen yet":          {func(w *Workload) { w.Current = false }, 100, false, "its controller has not seen the change yet"},
		"old pods are there":    {func(w *Workload) { w.Pods = 5 }, 100, false, "1 old pods are still there"},
		"no endpoints":          {func(w *Workload) { w.Endpoints = 0 }, 100, false, "its Service has no ready endpoint yet"},
		"scaled to zero":        {func(w *Workload) { *w = healthy("r1", 0) }, 100, true, "it is scaled to zero"},
		"not all have the same": {func(w *Workload) { w.Updated = 3 }, 50, false, "3 of 4 pods are available"},
	} {
		w := ok
		c.change(&w)
		if got := w.Ready("r1", c.percent); got != c.want {
			t.Errorf("%s: ready is %v", name, got)
		}
		if diff := cmp.Diff(c.explain, w.explain("r1")); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestTicks(t *testing.T) {
	s := Snapshot{Now: noon, Spec: Spec{Interval: time.Minute}}
	if got := s.untilTick(noon.Add(-90 * time.Second)); got != 30*time.Second {
		t.Errorf("the next tick is in %v", got)
	}
	if got := s.ticks(noon.Add(time.Hour)); got != 0 {
		t.Errorf("a clock that went back gives tick %d", got)
	}
	s.Spec.Interval = 0
	if got := s.untilTick(noon); got != Recheck {
		t.Errorf("without an interval the next tick is in %v: that is a busy loop", got)
	}
}

func BenchmarkDecide(b *testing.B) {
	s := given(Progressing).hook(RolloutHook, "load").hook(RollbackHook, "alarm").atStep(2).agrees().s
	b.ReportAllocs()
	for b.Loop() {
		Decide(s)
	}
}

func BenchmarkAsk(b *testing.B) {
	s := given(Progressing).hook(RolloutHook, "load").hook(RollbackHook, "alarm").atStep(2).agrees().s
	b.ReportAllocs()
	for b.Loop() {
		Ask(s)
	}
}
