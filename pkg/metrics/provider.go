// Package metrics asks metrics providers for the values that a check is held against, and judges them.
package metrics

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Query is one question to a provider.
type Query struct {
	// Text is the query in the provider's language, fully rendered.
	Text string
	// At is the time that the query is evaluated for.
	At time.Time
}

// Sample is one value.
type Sample struct {
	// Value is never NaN or infinite; a provider answers ErrNoData instead.
	Value float64
	// Warnings are the provider's remarks on the query, if any.
	Warnings []string
}

// Provider answers queries. Errors: ErrNoData, ErrUnavailable, ErrDenied, ErrInvalidQuery, *SeveralSeriesError (wrapped, see
// errors.Is). A provider bounds time and size of every answer.
type Provider interface {
	Query(ctx context.Context, q Query) (Sample, error)
}

var (
	// ErrNoData : the query is fine and matched nothing, or gave NaN or infinity.
	ErrNoData = errors.New("no data")
	// ErrUnavailable : the provider did not answer, or answered with a server error; a later try may do.
	ErrUnavailable = errors.New("provider unavailable")
	// ErrDenied : the provider refused the credentials.
	ErrDenied = errors.New("access denied")
	// ErrInvalidQuery : the provider refused the query; only an edit helps.
	ErrInvalidQuery = errors.New("invalid query")
	// ErrSeveralSeries : the query gave more than one series, so that no single value can be judged.
	ErrSeveralSeries = errors.New("query returned several series: aggregate it to one, for example with sum()")
)

// Verdict of a check.
type Verdict string

const (
	// Pass : within the limits.
	Pass Verdict = "pass"
	// Fail : outside the limits.
	Fail Verdict = "fail"
	// Inconclusive : no data, or the provider is down.
	Inconclusive Verdict = "inconclusive"
)

// SeveralSeriesError is ErrSeveralSeries with the number of series.
type SeveralSeriesError struct{ Count int }

func (e *SeveralSeriesError) Error() string {
	return fmt.Sprintf("the query returned %d series instead of one: aggregate them, for example with sum()", e.Count)
}

// Is makes errors.Is(err, ErrSeveralSeries) true.
func (e *SeveralSeriesError) Is(target error) bool { return target == ErrSeveralSeries }
