package main

import (
	"math"
	"runtime/debug"
	"testing"
)

func TestMemoryIsTunedUnlessGoIsToldItself(t *testing.T) {
	growth, limit := debug.SetGCPercent(100), debug.SetMemoryLimit(-1)
	defer func() {
		debug.SetGCPercent(growth)
		debug.SetMemoryLimit(limit)
	}()
	for name, tc := range map[string]struct {
		env    map[string]string
		growth int
		limit  int64
	}{
		"by default":          {nil, heapGrowth, math.MaxInt64},
		"with a limit":        {map[string]string{memoryLimitVariable: "536870912"}, heapGrowth, 536870912 / 100 * limitShare},
		"no limit":            {map[string]string{memoryLimitVariable: "0"}, heapGrowth, math.MaxInt64},
		"a limit of no sense": {map[string]string{memoryLimitVariable: "much"}, heapGrowth, math.MaxInt64},
		"in Go's words": {
			map[string]string{"GOGC": "50", "GOMEMLIMIT": "1GiB", memoryLimitVariable: "536870912"}, 100, math.MaxInt64,
		},
	} {
		debug.SetGCPercent(100)
		debug.SetMemoryLimit(math.MaxInt64)
		tuneMemory(func(key string) string { return tc.env[key] })
		if got := debug.SetGCPercent(100); got != tc.growth {
			t.Errorf("%s: the heap grows by %d %%, want %d", name, got, tc.growth)
		}
		if got := debug.SetMemoryLimit(-1); got != tc.limit {
			t.Errorf("%s: the limit is %d, want %d", name, got, tc.limit)
		}
	}
}
