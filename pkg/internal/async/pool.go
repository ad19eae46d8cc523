// Package async runs questions that may be slow outside of the reconcile, and wakes it when they are answered.
package async

import (
	"context"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

const (
	// DefaultWorkers is the number of questions that run at once.
	DefaultWorkers = 64
	// PerOwner is the number of questions of one owner that may wait or run at once; further ones are taken when one of
	// these is done.
	PerOwner = 16
)

// Pool answers questions in the background. Each owner's questions are told apart by a key; the answer of a key is kept
// until Forget. A Pool is a Runnable of the manager: Start owns every goroutine, and what is asked before Start runs then.
type Pool[K comparable, V any] struct {
	workers int
	wake    func(types.NamespacedName)
	onPanic func(recovered any) V
	kick    chan struct{}

	mu      sync.Mutex
	owners  map[types.NamespacedName]*owner[K, V]
	turns   []types.NamespacedName // owners with something queued, the next one first
	running int
	stopped bool
}

type owner[K comparable, V any] struct {
	jobs     map[K]*job[V]
	queue    []K
	inFlight int
	inTurn   bool
}

type job[V any] struct {
	fn       func(context.Context) V
	deadline time.Duration
	cancel   context.CancelFunc // set while it runs
	done     bool
	value    V
	told     bool // nobody asks for the answer
}

// New makes a pool that runs up to workers questions at once (0: DefaultWorkers). wake is called exactly once for each
// question that ended and was not forgotten, and must not block for long. onPanic turns a question's panic into an answer; without it the answer is
// the zero value.
func New[K comparable, V any](workers int, wake func(types.NamespacedName), onPanic func(recovered any) V) *Pool[K, V] {
	if workers <= 0 {
		workers = DefaultWorkers
	}
	return &Pool[K, V]{
		workers: workers,
		wake:    wake,
		onPanic: onPanic,
		kick:    make(chan struct{}, 1),
		owners:  map[types.NamespacedName]*owner[K, V]{},
	}
}

// NeedLeaderElection : only the leader asks.
func (p *Pool[K, V]) NeedLeaderElection() bool { return true }

// Start runs questions until ctx ends, and returns when all of them have ended too.
func (p *Pool[K, V]) Start(ctx context.Context) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	for {
		p.dispatch(ctx, &wg)
		select {
		case <-ctx.Done():
			p.mu.Lock()
			p.stopped = true
			p.mu.Unlock()
			return nil
		case <-p.kick:
		}
	}
}

// Ask returns the answer to a question, or queues the question, once, and returns false. deadline bounds the time that fn
// runs, through its context; fn must return soon after it.
func (p *Pool[K, V]) Ask(who types.NamespacedName, key K, deadline time.Duration, fn func(ctx context.Context) V) (V, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var zero V
	o := p.owners[who]
	if o == nil {
		if p.stopped {
			return zero, false
		}
		o = &owner[K, V]{jobs: map[K]*job[V]{}}
		p.owners[who] = o
	}
	if j := o.jobs[key]; j != nil {
		return j.value, j.done
	}
	// Without room nothing is queued: when one of those in flight is done, the owner is woken and asks again.
	p.enqueue(who, o, key, &job[V]{fn: fn, deadline: deadline})
	return zero, false
}

// Known tells whether a question was asked and not forgotten, and returns its answer if that is there: what Ask would
// return without what fn needs.
func (p *Pool[K, V]) Known(who types.NamespacedName, key K) (value V, done, known bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if o := p.owners[who]; o != nil {
		if j := o.jobs[key]; j != nil {
			return j.value, j.done, true
		}
	}
	return value, false, false
}

// Open tells whether any question of an owner that somebody waits for is not answered yet.
func (p *Pool[K, V]) Open(who types.NamespacedName) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if o := p.owners[who]; o != nil {
		for _, j := range o.jobs {
			if !j.done && !j.told {
				return true
			}
		}
	}
	return false
}

// Tell runs fn as Ask does, but nobody wants the answer: nothing of it is kept, and nobody is woken. It returns false if the owner
// has too much in flight already; then fn is not run.
func (p *Pool[K, V]) Tell(who types.NamespacedName, key K, deadline time.Duration, fn func(ctx context.Context) V) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	o := p.owners[who]
	if o == nil {
		o = &owner[K, V]{jobs: map[K]*job[V]{}}
	}
	if o.jobs[key] != nil || !p.enqueue(who, o, key, &job[V]{fn: fn, deadline: deadline, told: true}) {
		return false
	}
	p.owners[who] = o
	return true
}

// enqueue puts a job into its owner's queue if there is room. The lock is held.
func (p *Pool[K, V]) enqueue(who types.NamespacedName, o *owner[K, V], key K, j *job[V]) bool {
	if p.stopped || o.inFlight >= PerOwner {
		return false
	}
	o.jobs[key] = j
	o.queue = append(o.queue, key)
	o.inFlight++
	p.queueTurn(who, o)
	p.signal()
	return true
}

// Forget drops the owner's answers and questions for whose keys keep is false; a running one is cancelled and wakes nobody.
// A nil keep drops all.
func (p *Pool[K, V]) Forget(who types.NamespacedName, keep func(K) bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	o := p.owners[who]
	if o == nil {
		return
	}
	for key, j := range o.jobs {
		if keep != nil && keep(key) {
			continue
		}
		delete(o.jobs, key)
		switch {
		case j.done:
		case j.cancel != nil:
			j.cancel() // inFlight falls when it has really ended
		default:
			o.inFlight--
		}
	}
	p.collect(who, o)
}

// queueTurn puts the owner in line if it is not. The lock is held.
func (p *Pool[K, V]) queueTurn(who types.NamespacedName, o *owner[K, V]) {
	if !o.inTurn && len(o.queue) > 0 {
		o.inTurn = true
		p.turns = append(p.turns, who)
	}
}

// collect drops an owner of which nothing is left. The lock is held.
func (p *Pool[K, V]) collect(who types.NamespacedName, o *owner[K, V]) {
	if len(o.jobs) == 0 && o.inFlight == 0 && !o.inTurn {
		delete(p.owners, who)
	}
}

func (p *Pool[K, V]) signal() {
	select {
	case p.kick <- struct{}{}:
	default:
	}
}

// dispatch starts queued questions, one owner after the other, while workers are free.
func (p *Pool[K, V]) dispatch(ctx context.Context, wg *sync.WaitGroup) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.running < p.workers && len(p.turns) > 0 && ctx.Err() == nil {
		who := p.turns[0]
		p.turns = p.turns[1:]
		o := p.owners[who]
		o.inTurn = false
		key, j := o.next()
		p.queueTurn(who, o)
		if j == nil {
			p.collect(who, o)
			continue
		}
		runCtx, cancel := context.WithTimeout(ctx, j.deadline)
		j.cancel = cancel
		p.running++
		wg.Go(func() {
			defer cancel()
			p.run(runCtx, who, key, j)
		})
	}
}

// next takes the first question that was not forgotten off the owner's queue.
func (o *owner[K, V]) next() (K, *job[V]) {
	for len(o.queue) > 0 {
		key := o.queue[0]
		o.queue = o.queue[1:]
		if j := o.jobs[key]; j != nil && !j.done && j.cancel == nil {
			return key, j
		}
	}
	var none K
	return none, nil
}

func (p *Pool[K, V]) run(ctx context.Context, who types.NamespacedName, key K, j *job[V]) {
	value := p.answer(ctx, j.fn)
	p.mu.Lock()
	p.running--
	o := p.owners[who]
	o.inFlight--
	current := o.jobs[key] == j // not forgotten, nor forgotten and asked anew
	switch {
	case current && j.told:
		delete(o.jobs, key)
		current = false
	case current:
		j.done, j.value, j.fn, j.cancel = true, value, nil, nil
	}
	p.collect(who, o)
	p.mu.Unlock()
	p.signal()
	if current && p.wake != nil {
		p.wake(who)
	}
}

func (p *Pool[K, V]) answer(ctx context.Context, fn func(context.Context) V) (value V) {
	defer func() {
		if r := recover(); r != nil && p.onPanic != nil {
			value = p.onPanic(r)
		}
	}()
	return fn(ctx)
}
