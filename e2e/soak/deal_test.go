package soak

import (
	"slices"
	"testing"
)

// What misses its moment is dealt anew: as many turns as are wanted meet their fault, unless too many miss.
func TestAMissedMomentIsDealtAnew(t *testing.T) {
	deals := (&world{seed: 7}).deal()[0]
	want := rollouts / apps
	if len(deals) != 2*want {
		t.Fatalf("%d deals for %d rollouts", len(deals), want)
	}
	for name, c := range map[string]struct {
		missed         func(turn int) bool
		played, struck int
	}{
		"none misses":         {func(int) bool { return false }, want, want},
		"the first miss":      {func(turn int) bool { return turn < 2 }, want + 2, want},
		"every second misses": {func(turn int) bool { return turn%2 == 0 }, 2 * want, want},
		"all miss":            {func(int) bool { return true }, 2 * want, 0},
	} {
		t.Run(name, func(t *testing.T) {
			played, f := 0, figures{faults: map[string]int{}, outcomes: map[Outcome]int{}}
			take(deals, want, func(d deal) (bool, bool) {
				struck := !c.missed(played)
				played++
				f.ended(d, AsWithout, struck)
				return struck, false
			})
			faults := 0
			for _, n := range f.faults {
				faults += n
			}
			if played != c.played || f.rollouts != c.struck || f.missed != c.played-c.struck || faults != c.struck || f.outcomes[AsWithout] != c.struck {
				t.Errorf("%d turns, %+v; want %d and %d rollouts", played, f, c.played, c.struck)
			}
		})
	}
	over := 0
	take(deals, want, func(deal) (bool, bool) { over++; return false, true })
	if over != 1 {
		t.Errorf("%d turns after the time is up", over)
	}
}

// SEED repeats all choices, those of turns that are dealt anew too.
func TestASeedIsOneChoice(t *testing.T) {
	names := func(seed uint64) (out []string) {
		for _, deals := range (&world{seed: seed}).deal() {
			for _, d := range deals {
				out = append(out, d.row.Name+string(d.moment)+d.extra.Name+d.after.String())
			}
		}
		return out
	}
	if !slices.Equal(names(7), names(7)) || slices.Equal(names(7), names(8)) {
		t.Error("the seed does not decide what is dealt")
	}
}
