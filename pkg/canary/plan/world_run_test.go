package plan

import (
	"flag"
	"maps"
	"os"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

var (
	worldsFlag = flag.Int("worlds", 0, "number of random worlds")
	seedFlag   = flag.Uint64("seed", 0, "replay one random world")
	updateFlag = flag.Bool("update", false, "rewrite the golden files")
)

// ways from phase to phase that the worlds must go.
var ways = []string{
	"Initializing -> Initialized", "Initialized -> Waiting", "Initialized -> Progressing", "Waiting -> Progressing", "Waiting -> RollingBack",
	"Progressing -> Waiting", "Progressing -> WaitingPromotion", "Progressing -> Promoting", "Progressing -> RollingBack",
	"WaitingPromotion -> Promoting", "WaitingPromotion -> RollingBack", "WaitingPromotion -> Progressing", "Promoting -> Finalising",
	"Promoting -> Succeeded", "Promoting -> RollingBack", "Finalising -> Succeeded", "Finalising -> RollingBack", "RollingBack -> Failed",
	"RollingBack -> Cancelled", "Failed -> Initialized", "Failed -> Progressing", "Cancelled -> Progressing", "Succeeded -> Progressing",
	"Initializing -> Terminating", "Progressing -> Terminating", "Promoting -> Terminating", "RollingBack -> Terminating",
	"Succeeded -> Terminating",
	"Progressing -> Frozen", "WaitingPromotion -> Frozen", "Frozen -> RollingBack", "Frozen -> Progressing", "Frozen -> Waiting",
	"Frozen -> Terminating", "Promoting -> Baking", "Finalising -> Baking", "Baking -> Succeeded", "Baking -> RollingBack",
	"Baking -> Progressing", "Baking -> Waiting", "Baking -> Promoting", "Baking -> Terminating", "Waiting -> Promoting",
	"Succeeded -> Promoting", "Failed -> Promoting", "Failed -> Waiting", "Cancelled -> Promoting",
	"Initialized -> Promoting", "Succeeded -> Waiting",
}

// tally is what many worlds showed.
type tally struct {
	worlds, decisions int
	reached           map[string]int
	// broken invariants, by their text without numbers: the first seed and how many worlds.
	broken map[string]breach
}

type breach struct {
	seed      uint64
	violation string
	worlds    int
}

func newTally() tally { return tally{reached: map[string]int{}, broken: map[string]breach{}} }

func (t *tally) add(o tally) {
	t.worlds, t.decisions = t.worlds+o.worlds, t.decisions+o.decisions
	for way, n := range o.reached {
		t.reached[way] += n
	}
	for kind, b := range o.broken {
		t.note(kind, b)
	}
}

func (t *tally) note(kind string, b breach) {
	have, ok := t.broken[kind]
	if !ok || b.seed < have.seed {
		b.worlds += have.worlds
		t.broken[kind] = b
		return
	}
	have.worlds += b.worlds
	t.broken[kind] = have
}

var numbers = regexp.MustCompile(`[0-9][0-9a-z.:]*`)

// one lives through the world of a seed.
func (t *tally) one(seed uint64) {
	w := randomWorld(seed)
	w.seen = func(s Snapshot, d Decision) {
		if d.Next.Phase != s.State.Phase {
			t.reached[string(s.State.Phase)+" -> "+string(d.Next.Phase)]++
		}
	}
	if violation := live(w); violation != "" {
		t.note(numbers.ReplaceAllString(violation, "#"), breach{seed, violation, 1})
	}
	t.worlds, t.decisions = t.worlds+1, t.decisions+w.passes
}

// explore lives through the worlds of n seeds on all processors.
func explore(first uint64, n int) tally {
	sum := newTally()
	var mu sync.Mutex
	var wg sync.WaitGroup
	var next atomic.Uint64
	next.Store(first)
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			mine := newTally()
			for seed := next.Add(1) - 1; seed < first+uint64(n); seed = next.Add(1) - 1 {
				mine.one(seed)
			}
			mu.Lock()
			defer mu.Unlock()
			sum.add(mine)
		})
	}
	wg.Wait()
	return sum
}

func worldsWanted() int {
	n := 20000
	if v, err := strconv.Atoi(os.Getenv("WORLDS")); err == nil {
		n = v
	}
	if *worldsFlag > 0 {
		n = *worldsFlag
	}
	if testing.Short() {
		n = min(n, 2000)
	}
	return n
}

// TestRandomWorlds ends in one line with its figures.
func TestRandomWorlds(t *testing.T) {
	first, n := uint64(1), worldsWanted()
	if *seedFlag > 0 {
		first, n = *seedFlag, 1
		t.Logf("seed=%d:\n%s", first, retell(first, Decide))
	}
	began := time.Now()
	sum := explore(first, n)
	took := time.Since(began)
	byCount := slices.SortedFunc(maps.Values(sum.broken), func(a, b breach) int { return b.worlds - a.worlds })
	for i, b := range byCount {
		if i < 3 {
			t.Errorf("seed=%d (%d worlds): %s\n%s", b.seed, b.worlds, b.violation, tail(retell(b.seed, Decide), 60))
			continue
		}
		t.Errorf("seed=%d (%d worlds): %s", b.seed, b.worlds, b.violation)
	}
	if n >= 20000 {
		for _, way := range ways {
			if sum.reached[way] == 0 {
				t.Errorf("no world goes %s: the worlds prove nothing about it", way)
			}
		}
	}
	t.Logf("figures: %d random worlds, %d decisions, %d ways between phases, %d violations, %.0f worlds/s on %d processors",
		sum.worlds, sum.decisions, len(sum.reached), len(sum.broken), float64(n)/took.Seconds(), runtime.GOMAXPROCS(0))
}
