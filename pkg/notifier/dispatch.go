package notifier

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
)

const (
	// maxQueued bounds the messages that wait, of all providers together.
	maxQueued = 1024
	// deliverWithin is how long a message is repeated, from Send on.
	deliverWithin = 5 * time.Minute
	// attemptTimeout bounds one attempt with its reads.
	attemptTimeout = 20 * time.Second
	// forgetAfter is how long a key, and a failure that was told, is remembered.
	forgetAfter  = time.Hour
	firstBackoff = time.Second
	maxBackoff   = time.Minute
)

// Results in siskin_notifications_total.
const (
	resultSent      = "sent"
	resultFailed    = "failed"
	resultDropped   = "dropped"
	resultDuplicate = "duplicate"
)

// DispatcherConfig is what a Dispatcher needs.
type DispatcherConfig struct {
	// Providers reads AlertProviders, from the cache.
	Providers client.Reader
	// Secrets reads Secrets by name, live.
	Secrets client.Reader
	// Registry of the notifiers.
	Registry Registry
	// Clock. Default: the real one.
	Clock clock.Clock
	// Registerer takes siskin_notifications_total; nil: none.
	Registerer prometheus.Registerer
	// OnError is told that an alert could not be sent, once until it works again or an hour has passed. May be nil.
	OnError func(canary types.NamespacedName, alert string, err error)
	// NoCrossNamespaceRefs refuses AlertProviders of other namespaces.
	NoCrossNamespaceRefs bool
}

// Dispatcher queues messages and posts them, in order for each provider, until they are sent or too old. It is a Runnable of
// the manager: Start owns every goroutine. One provider never waits for another.
type Dispatcher struct {
	cfg      DispatcherConfig
	resolver *resolver
	total    *prometheus.CounterVec
	kick     chan struct{}

	mu     sync.Mutex
	queues map[types.NamespacedName]*queue
	queued int
	seen   map[dedupeKey]time.Time
	told   map[alertKey]time.Time
}

// queue holds the messages for one provider; one goroutine at a time works on it.
type queue struct {
	items   []item
	working bool
}

type item struct {
	message  Message
	alert    alertKey
	provider types.NamespacedName
	deadline time.Time
	receipt  *receipt
}

// receipt counts the places that a message still has to reach.
type receipt struct {
	mu   sync.Mutex
	left int
	done func()
}

func (r *receipt) add() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.left++
}

// settle notes that one place is done with: it has the message, refused it, or was given up on.
func (r *receipt) settle() {
	r.mu.Lock()
	r.left--
	last := r.left == 0
	r.mu.Unlock()
	if last && r.done != nil {
		r.done()
	}
}

type dedupeKey struct {
	provider types.NamespacedName
	key      string
}

type alertKey struct {
	canary types.NamespacedName
	alert  string
}

// NewDispatcher returns a Dispatcher. What is sent before Start waits for it.
func NewDispatcher(cfg DispatcherConfig) *Dispatcher {
	if cfg.Clock == nil {
		cfg.Clock = clock.RealClock{}
	}
	d := &Dispatcher{
		cfg: cfg, resolver: newResolver(cfg), kick: make(chan struct{}, 1),
		queues: map[types.NamespacedName]*queue{}, seen: map[dedupeKey]time.Time{}, told: map[alertKey]time.Time{},
		total: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "siskin_notifications_total",
			Help: "Notices to people by provider type and result (sent, failed, dropped, duplicate).",
		}, []string{"type", "result"}),
	}
	if cfg.Registerer != nil {
		cfg.Registerer.MustRegister(d.total)
	}
	return d
}

// Send queues the message for every alert that wants its severity. It never blocks. done, which may be nil, is called
// once, when each place has the message, has refused it or was given up on; not if the process ends before.
func (d *Dispatcher) Send(alerts []siskinv1.CanaryAlert, m Message, done func()) {
	r := &receipt{left: 1, done: done}
	defer r.settle()
	dropped := d.enqueue(alerts, m, r)
	for _, it := range dropped {
		it.receipt.settle()
	}
	d.signal()
}

// enqueue returns the items that it dropped because too many wait.
func (d *Dispatcher) enqueue(alerts []siskinv1.CanaryAlert, m Message, r *receipt) []item {
	now := d.cfg.Clock.Now()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.expire(now)
	var dropped []item
	for _, a := range alerts {
		if !Wants(a.Severity, m.Severity) {
			continue
		}
		provider := types.NamespacedName{Namespace: a.ProviderRef.Namespace, Name: a.ProviderRef.Name}
		if provider.Namespace == "" {
			provider.Namespace = m.Canary.Namespace
		}
		dedupe := dedupeKey{provider, m.Key}
		if _, ok := d.seen[dedupe]; ok && m.Key != "" {
			d.total.WithLabelValues("", resultDuplicate).Inc()
			continue
		}
		if m.Key != "" {
			d.seen[dedupe] = now
		}
		r.add()
		it := item{message: m, alert: alertKey{m.Canary, a.Name}, provider: provider, deadline: now.Add(deliverWithin), receipt: r}
		dropped = append(dropped, d.push(it)...)
	}
	return dropped
}

// Wants tells whether an alert with this filter wants a message of this severity. An empty filter is info: it wants all.
func Wants(filter, severity siskinv1.AlertSeverity) bool { return rank(severity) >= rank(filter) }

func rank(s siskinv1.AlertSeverity) int {
	switch s {
	case siskinv1.SeverityError:
		return 2
	case siskinv1.SeverityWarn:
		return 1
	case siskinv1.SeverityInfo:
		return 0
	}
	return 0
}

// NeedLeaderElection : only the leader sends.
func (d *Dispatcher) NeedLeaderElection() bool { return true }

// Start posts messages until ctx ends, and returns when all its goroutines have ended. What then still waits is lost, and
// logged.
func (d *Dispatcher) Start(ctx context.Context) error {
	var wg sync.WaitGroup
	for {
		d.dispatch(ctx, &wg)
		select {
		case <-ctx.Done():
			wg.Wait()
			d.mu.Lock()
			lost := d.queued
			d.mu.Unlock()
			if lost > 0 {
				log.FromContext(ctx).Info("Notices were not sent before the end", "count", lost)
			}
			return d.resolver.Close()
		case <-d.kick:
		}
	}
}

func (d *Dispatcher) signal() {
	select {
	case d.kick <- struct{}{}:
	default:
	}
}

// push appends and, when there are too many, drops the oldest of the longest queue, which it returns. The lock is held.
func (d *Dispatcher) push(it item) []item {
	q := d.queues[it.provider]
	if q == nil {
		q = &queue{}
		d.queues[it.provider] = q
	}
	q.items = append(q.items, it)
	d.queued++
	if d.queued <= maxQueued {
		return nil
	}
	longest := q
	for _, other := range d.queues {
		if len(other.items) > len(longest.items) {
			longest = other
		}
	}
	oldest := longest.items[0]
	longest.items = longest.items[1:]
	d.queued--
	delete(d.seen, dedupeKey{oldest.provider, oldest.message.Key})
	d.total.WithLabelValues(d.resolver.typeOf(oldest.provider), resultDropped).Inc()
	log.Log.WithName("notifier").Info("Dropped the oldest notice: too many wait", "provider", oldest.provider,
		"canary", oldest.alert.canary, "title", oldest.message.Title)
	return []item{oldest}
}

// expire forgets what was long ago. The lock is held.
func (d *Dispatcher) expire(now time.Time) {
	for k, at := range d.seen {
		if now.Sub(at) >= forgetAfter {
			delete(d.seen, k)
		}
	}
	for k, at := range d.told {
		if now.Sub(at) >= forgetAfter {
			delete(d.told, k)
		}
	}
}

// dispatch starts a goroutine for each queue that has none.
func (d *Dispatcher) dispatch(ctx context.Context, wg *sync.WaitGroup) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for provider, q := range d.queues {
		if q.working || len(q.items) == 0 || ctx.Err() != nil {
			continue
		}
		q.working = true
		wg.Go(func() { d.work(ctx, provider, q) })
	}
}

// work posts the messages of one queue one after the other, and ends with the last.
func (d *Dispatcher) work(ctx context.Context, provider types.NamespacedName, q *queue) {
	for {
		it, ok := d.next(ctx, provider, q)
		if !ok {
			return
		}
		typeName, err := d.deliver(ctx, it)
		if ctx.Err() != nil && err != nil {
			log.FromContext(ctx).Info("A notice was not sent before the end", "provider", provider, "title", it.message.Title)
			continue
		}
		d.finish(it, typeName, err)
	}
}

func (d *Dispatcher) next(ctx context.Context, provider types.NamespacedName, q *queue) (item, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(q.items) == 0 || ctx.Err() != nil {
		q.working = false
		if len(q.items) == 0 {
			delete(d.queues, provider)
		}
		return item{}, false
	}
	it := q.items[0]
	q.items = q.items[1:]
	d.queued--
	return it, true
}

// deliver repeats until the message is sent, refused, or too old. Each message gets at least one attempt.
func (d *Dispatcher) deliver(ctx context.Context, it item) (string, error) {
	for attempt := 0; ; attempt++ {
		typeName, err := d.attempt(ctx, it)
		if err == nil || errors.Is(err, ErrRejected) {
			return typeName, err
		}
		wait := min(firstBackoff<<min(attempt, 6), maxBackoff)
		if limited, ok := errors.AsType[*RateLimitedError](err); ok {
			wait = max(limited.RetryAfter, firstBackoff)
		}
		if d.cfg.Clock.Now().Add(wait).After(it.deadline) || !d.sleep(ctx, wait) {
			return typeName, err
		}
	}
}

func (d *Dispatcher) attempt(ctx context.Context, it item) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	n, typeName, err := d.resolver.get(ctx, it.provider, it.message.Canary.Namespace)
	if err != nil {
		return typeName, err
	}
	return typeName, n.Post(ctx, it.message)
}

func (d *Dispatcher) sleep(ctx context.Context, wait time.Duration) bool {
	timer := d.cfg.Clock.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C():
		return true
	}
}

// finish counts, and tells a failure once.
func (d *Dispatcher) finish(it item, typeName string, err error) {
	defer it.receipt.settle()
	if err == nil {
		d.total.WithLabelValues(typeName, resultSent).Inc()
		d.mu.Lock()
		delete(d.told, it.alert)
		d.mu.Unlock()
		return
	}
	d.total.WithLabelValues(typeName, resultFailed).Inc()
	d.mu.Lock()
	delete(d.seen, dedupeKey{it.provider, it.message.Key}) // the same notice may be tried again
	_, already := d.told[it.alert]
	if !already {
		d.told[it.alert] = d.cfg.Clock.Now()
	}
	d.mu.Unlock()
	if !already && d.cfg.OnError != nil {
		d.cfg.OnError(it.alert.canary, it.alert.alert, fmt.Errorf("AlertProvider %s: %w", it.provider, err))
	}
}
