package cluster

import (
	"context"
	"testing"
	"time"
)

// Start starts a cluster for a test, which stops with it. When the test has failed, the ends of all logs are
// printed.
func Start(t testing.TB, o Options) *Cluster {
	t.Helper()
	if o.Log == nil {
		o.Log = testLog{t}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Minute) // building the servers takes most of it, once
	defer cancel()
	c, err := New(ctx, o)
	if err != nil {
		t.Fatalf("%v", err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			for _, name := range []string{"supervisor", "node", "proxy", "etcd", "apiserver", "controller-manager", "traefik", "test-gateway", "prometheus"} {
				t.Logf("--- %s\n%s", name, c.LogTail(name, 15))
			}
		}
		if err := c.Stop(); err != nil {
			t.Errorf("stopping the cluster: %v", err)
		}
	})
	return c
}

// testLog writes to the test's log, as long as the test runs.
type testLog struct{ t testing.TB }

func (l testLog) Write(p []byte) (int, error) {
	if l.t.Context().Err() == nil {
		l.t.Logf("%s", p)
	}
	return len(p), nil
}

// busy is how many times longer a condition may take than on an idle machine. A limit ends a test whose condition never comes; how soon
// it comes is no reason to fail.
const busy = 2

// Eventually calls f until it returns nil, and fails the test when the deadline passes first: the limit of an idle machine, with room for
// one that is busy.
func Eventually(t testing.TB, limit time.Duration, f func(ctx context.Context) error) {
	t.Helper()
	limit *= busy
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	var last error
	for {
		err := f(ctx)
		if err == nil {
			return
		}
		if ctx.Err() == nil || last == nil {
			last = err // not that of a call that was cut off
		}
		select {
		case <-ctx.Done():
			t.Fatalf("not within %s: %v", limit, last)
		case <-tick.C:
		}
	}
}
