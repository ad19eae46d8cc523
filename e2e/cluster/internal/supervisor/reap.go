package supervisor

import (
	"bytes"
	"context"
	"os"
	"strconv"
	"syscall"
	"time"
)

// reap takes in the orphans that PID 1 inherits. Children that were started here are waited for at once by
// their own Wait, so a child that is a zombie on two looks in a row is nobody's.
func reap(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	before := map[int]bool{}
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now := map[int]bool{}
		for _, pid := range zombies() {
			if before[pid] {
				_, _ = syscall.Wait4(pid, nil, syscall.WNOHANG, nil)
				continue
			}
			now[pid] = true
		}
		before = now
	}
}

func zombies() []int {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var out []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == 1 {
			continue
		}
		stat, err := os.ReadFile("/proc/" + e.Name() + "/stat")
		if err != nil {
			continue
		}
		// "pid (name) state ppid ...", and the name may hold anything.
		fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
		if len(fields) > 1 && string(fields[0]) == "Z" && string(fields[1]) == "1" {
			out = append(out, pid)
		}
	}
	return out
}
