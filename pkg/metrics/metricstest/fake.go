// Package metricstest has a fake provider and the contract that every provider keeps.
package metricstest

import (
	"context"
	"slices"
	"strings"
	"sync"

	"github.com/siskin-dev/siskin/pkg/metrics"
)

// Fake answers what it is told to. The zero value answers ErrNoData.
type Fake struct {
	mu      sync.Mutex
	answers map[string]answer
	parts   map[string]answer
	rest    *answer
	queries []metrics.Query
}

type answer struct {
	value float64
	err   error
}

// Constructor returns the fake for every configuration.
func (f *Fake) Constructor(metrics.Config) (metrics.Provider, error) { return f, nil }

// Answer sets the value for every query.
func (f *Fake) Answer(value float64) { f.set("", answer{value: value}) }

// AnswerTo sets the value for one query.
func (f *Fake) AnswerTo(query string, value float64) { f.set(query, answer{value: value}) }

// AnswerPart sets what queries are answered that contain part, until the next call for that part; err goes before
// value.
func (f *Fake) AnswerPart(part string, value float64, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.parts == nil {
		f.parts = map[string]answer{}
	}
	f.parts[part] = answer{value: value, err: err}
}

// Fail sets the error for every query.
func (f *Fake) Fail(err error) { f.set("", answer{err: err}) }

func (f *Fake) set(query string, a answer) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if query == "" {
		f.rest, f.answers = &a, nil
		return
	}
	if f.answers == nil {
		f.answers = map[string]answer{}
	}
	f.answers[query] = a
}

// Queries returns what was asked.
func (f *Fake) Queries() []metrics.Query {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.queries)
}

// Query answers.
func (f *Fake) Query(ctx context.Context, q metrics.Query) (metrics.Sample, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.queries = append(f.queries, q)
	if err := ctx.Err(); err != nil {
		return metrics.Sample{}, metrics.ErrUnavailable
	}
	a, ok := f.answers[q.Text]
	for part, b := range f.parts {
		if strings.Contains(q.Text, part) {
			a, ok = b, true
		}
	}
	switch {
	case ok:
	case f.rest != nil:
		a = *f.rest
	default:
		a = answer{err: metrics.ErrNoData}
	}
	return metrics.Sample{Value: a.value}, a.err
}
