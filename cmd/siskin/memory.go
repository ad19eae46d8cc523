package main

import (
	"runtime/debug"
	"strconv"
)

const (
	// heapGrowth is by how many percent the heap grows before garbage is collected (GOGC). Siskin's heap is small and most
	// of what it allocates is read once, so that with Go's 100 a fifth of its CPU went to the collector.
	heapGrowth = 300
	// memoryLimitVariable is the environment variable that holds the container's memory limit in bytes.
	memoryLimitVariable = "SISKIN_MEMORY_LIMIT"
	// limitShare is the part of the container's limit, in percent, that the heap may take: the rest is for what Go does
	// not count. When the heap comes near it, garbage is collected as often as that needs.
	limitShare = 85
)

// tuneMemory sets how often garbage is collected, unless the environment says it in Go's own words (GOGC, GOMEMLIMIT).
func tuneMemory(getenv func(string) string) {
	if getenv("GOGC") == "" {
		debug.SetGCPercent(heapGrowth)
	}
	limit, err := strconv.ParseInt(getenv(memoryLimitVariable), 10, 64)
	if err == nil && limit > 0 && getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(limit / 100 * limitShare)
	}
}
