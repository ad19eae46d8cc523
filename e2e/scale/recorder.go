package main

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/e2e/fleet"
)

// recorder watches all Canaries and notes how late each step ended.
type recorder struct {
	mu    sync.Mutex
	steps map[types.UID]step
	seen  map[types.UID]seen
	lags  lags
}

// seen is the phase of a Canary, since when, and its rollout.
type seen struct {
	name    types.NamespacedName
	phase   siskinv1.Phase
	since   time.Time
	rollout int64
}

// untilAll waits until n Canaries are in a phase, of the rollout with a number (0: none yet), and returns when each got there. It looks
// at what the watch has brought: to list thousands of Canaries again and again would be work for the API server that nobody else does.
func (r *recorder) untilAll(ctx context.Context, n int, phase siskinv1.Phase, rollout int64, limit time.Duration) (map[types.NamespacedName]time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		at, counts := r.in(phase, rollout)
		if len(at) == n {
			return at, nil
		}
		if err := fleet.Pause(ctx, time.Second); err != nil {
			return nil, fmt.Errorf("waiting until all are %s, %d are; phases are %v: %w", phase, len(at), counts, err)
		}
	}
}

func (r *recorder) in(phase siskinv1.Phase, rollout int64) (map[types.NamespacedName]time.Time, map[siskinv1.Phase]int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	at, counts := map[types.NamespacedName]time.Time{}, make(map[siskinv1.Phase]int)
	for _, s := range r.seen {
		counts[s.phase]++
		if s.phase == phase && s.rollout == rollout {
			at[s.name] = s.since
		}
	}
	return at, counts
}

// step is what was seen last of a Canary.
type step struct {
	rollout int64
	index   int32
	endsAt  time.Time
	late    bool
}

// endedBy tells whether a step has ended when is follows it; goesOn: it is still being judged.
func (s step) endedBy(is step, goesOn bool) bool {
	return s.rollout == is.rollout && !s.endsAt.IsZero() && !goesOn
}

// lags of the steps of one round: the planned end of a step (its last status.step.endsAt) against when the next thing was decided
// (status.step.startedAt of the next step, or status.lastTransitionTime of the promotion), and against when a watch had that decision.
type lags struct {
	decided, seen []time.Duration
	byStep        map[int32][]time.Duration // of decided: the end of the last step is the promotion, which competes with other steps
	late          int                       // steps whose split was not confirmed within a second, which moves their planned end
	crowds        map[int64]int             // steps whose planned end is in a second: what comes together must wait
}

// crowd returns the largest number of steps that had to end in the same second.
func (l lags) crowd() int {
	most := 0
	for _, n := range l.crowds {
		most = max(most, n)
	}
	return most
}

// take returns what was noted and begins anew.
func (r *recorder) take() lags {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := r.lags
	r.lags = lags{}
	slices.Sort(out.decided)
	slices.Sort(out.seen)
	for _, d := range out.byStep {
		slices.Sort(d)
	}
	return out
}

func (r *recorder) run(ctx context.Context, api client.WithWatch, say func(string, ...any)) {
	r.steps, r.seen = map[types.UID]step{}, map[types.UID]seen{}
	for ctx.Err() == nil {
		if err := r.watch(ctx, api); err != nil && ctx.Err() == nil {
			say("watching Canaries: %v", err)
			_ = fleet.Pause(ctx, time.Second)
		}
	}
}

func (r *recorder) watch(ctx context.Context, api client.WithWatch) error {
	events, err := api.Watch(ctx, &siskinv1.CanaryList{})
	if err != nil {
		return fmt.Errorf("watching Canaries: %w", err)
	}
	defer events.Stop()
	for ev := range events.ResultChan() {
		now := time.Now()
		if c, ok := ev.Object.(*siskinv1.Canary); ok && (ev.Type == watch.Added || ev.Type == watch.Modified) {
			r.note(c, now, ev.Type == watch.Modified)
		}
	}
	return nil
}

// note takes a Canary's state down. A watch that begins anew tells of those that are there (live is false): since when is not known.
func (r *recorder) note(c *siskinv1.Canary, now time.Time, live bool) {
	st := c.Status
	r.mu.Lock()
	defer r.mu.Unlock()
	is := seen{name: types.NamespacedName{Namespace: c.Namespace, Name: c.Name}, phase: st.Phase}
	if st.LastTransitionTime != nil {
		is.since = st.LastTransitionTime.Time
	}
	if st.Rollout != nil {
		is.rollout = st.Rollout.ID
	}
	r.seen[c.UID] = is
	if st.Rollout != nil && st.Step != nil {
		r.lag(c, now, live)
	}
}

// lag notes how late a step has ended, if one has.
func (r *recorder) lag(c *siskinv1.Canary, now time.Time, live bool) {
	st := c.Status
	was, is := r.steps[c.UID], step{rollout: st.Rollout.ID, index: st.Step.Index}
	judging := st.Phase == siskinv1.PhaseProgressing
	same := was.rollout == is.rollout && was.index == is.index
	if judging && is.index > 0 && st.Step.EndsAt != nil {
		is.endsAt, is.late = st.Step.EndsAt.Time, st.Step.Late || same && was.late
	}
	r.steps[c.UID] = is
	decided := st.LastTransitionTime
	if judging {
		decided = st.Step.StartedAt
	}
	if decided == nil || !live || !was.endedBy(is, same && judging) {
		return
	}
	lag := decided.Sub(was.endsAt)
	r.lags.decided = append(r.lags.decided, lag)
	if r.lags.byStep == nil {
		r.lags.byStep, r.lags.crowds = map[int32][]time.Duration{}, map[int64]int{}
	}
	r.lags.crowds[was.endsAt.Unix()]++
	r.lags.byStep[was.index] = append(r.lags.byStep[was.index], lag)
	r.lags.seen = append(r.lags.seen, now.Sub(was.endsAt))
	if was.late {
		r.lags.late++
	}
}

// quantile of sorted durations.
func quantile(d []time.Duration, q float64) time.Duration {
	if len(d) == 0 {
		return 0
	}
	return d[min(int(q*float64(len(d))), len(d)-1)]
}
