package async

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
)

// Patience is how long whoever needs a read waits for it before going on without: much longer than an API server needs
// that is well, and too short to hold up what else is to be done.
const Patience = 250 * time.Millisecond

// ErrSlow : a read goes on, but nobody waits for it any more; who asked is woken when it has ended.
var ErrSlow = errors.New("the API server takes long to answer")

// Reads makes reads that may be slow beside the reconcile. Whoever needs one waits for a moment, and goes on without it
// if that is not enough: neither it nor any other is held up by an API server or a webhook that hangs. A nil *Reads
// makes each read at once, and waits for it.
type Reads struct {
	pool  *Pool[string, struct{}]
	wake  func(types.NamespacedName)
	clock clock.PassiveClock

	mu     sync.Mutex
	flying map[string]*flight
	made   int
}

// flight is one read that goes on.
type flight struct {
	began time.Time
	done  chan struct{}
	late  []types.NamespacedName // who went on without it
}

// NewReads makes a Reads that makes up to workers reads at once (0: DefaultWorkers). wake is called for each that went
// on without a read, when that has ended.
func NewReads(workers int, clk clock.PassiveClock, wake func(types.NamespacedName)) *Reads {
	return &Reads{
		pool: New[string, struct{}](workers, nil, nil), wake: wake, clock: clk, flying: map[string]*flight{},
	}
}

// NeedLeaderElection : only the leader reads for decisions.
func (r *Reads) NeedLeaderElection() bool { return true }

// Start makes reads until ctx ends.
func (r *Reads) Start(ctx context.Context) error { return r.pool.Start(ctx) }

// Read makes a read for who, within a time, and reports whether it has ended: only then the caller may look at what read
// has written. Of one key only one read goes on at a time; whoever finds one that goes on waits for its end first.
func (r *Reads) Read(
	ctx context.Context, who types.NamespacedName, key string, within time.Duration, read func(context.Context),
) (ended bool) {
	if r == nil {
		ctx, cancel := context.WithTimeout(ctx, within)
		defer cancel()
		read(ctx)
		return true
	}
	until := r.clock.Now().Add(Patience)
	for {
		f, own := r.fly(who, key, within, read)
		if f == nil {
			return false
		}
		wait(ctx, f, min(f.began.Add(Patience).Sub(r.clock.Now()), until.Sub(r.clock.Now())))
		if !r.landed(f, who) {
			return false
		}
		if own {
			return true
		}
	}
}

func wait(ctx context.Context, f *flight, atMost time.Duration) {
	if atMost <= 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, atMost)
	defer cancel()
	select {
	case <-f.done:
	case <-ctx.Done():
	}
}

// fly returns the read that goes on, which is begun if there is none, and whether it was; nil: there is no room for it.
func (r *Reads) fly(
	who types.NamespacedName, key string, within time.Duration, read func(context.Context),
) (f *flight, own bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if f := r.flying[key]; f != nil {
		return f, false
	}
	f = &flight{began: r.clock.Now(), done: make(chan struct{})}
	r.made++ // the pool may not have put away the one before
	taken := r.pool.Tell(who, key+"#"+strconv.Itoa(r.made), within, func(ctx context.Context) struct{} {
		defer r.land(key, f)
		read(ctx)
		return struct{}{}
	})
	if !taken {
		return nil, false
	}
	r.flying[key] = f
	return f, true
}

// land ends a read.
func (r *Reads) land(key string, f *flight) {
	r.mu.Lock()
	delete(r.flying, key)
	close(f.done)
	late := f.late
	r.mu.Unlock()
	for _, who := range late {
		r.wake(who)
	}
}

// landed reports whether a read has ended; who is woken when it does, if it has not.
func (r *Reads) landed(f *flight, who types.NamespacedName) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	select {
	case <-f.done:
		return true
	default:
	}
	if !slices.Contains(f.late, who) {
		f.late = append(f.late, who)
	}
	return false
}
