package metrics

import (
	"context"
	"errors"
	"io"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/utils/clock"
)

// Instruments are the series about metrics providers.
type Instruments struct {
	clock    clock.PassiveClock
	duration *prometheus.HistogramVec
}

// NewInstruments registers siskin_metric_query_duration_seconds{provider,result}.
func NewInstruments(reg prometheus.Registerer, clk clock.PassiveClock) *Instruments {
	i := &Instruments{clock: clk, duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "siskin_metric_query_duration_seconds",
		Help:    "Duration of queries to metrics providers, by provider type and result.",
		Buckets: prometheus.DefBuckets,
	}, []string{"provider", "result"})}
	reg.MustRegister(i.duration)
	return i
}

// Instrument times every query of p. Closing the result closes p.
func (i *Instruments) Instrument(providerType string, p Provider) Provider {
	return &instrumented{Provider: p, name: providerType, by: i}
}

type instrumented struct {
	Provider

	name string
	by   *Instruments
}

// Query asks the inner provider and records how long it took.
func (p *instrumented) Query(ctx context.Context, q Query) (Sample, error) {
	start := p.by.clock.Now()
	s, err := p.Provider.Query(ctx, q)
	p.by.duration.WithLabelValues(p.name, outcome(err)).Observe(p.by.clock.Since(start).Seconds())
	return s, err
}

// Close closes the inner provider.
func (p *instrumented) Close() error { return closeProvider(p.Provider) }

func outcome(err error) string {
	switch {
	case err == nil:
		return "ok"
	case errors.Is(err, ErrNoData):
		return "no_data"
	case errors.Is(err, ErrDenied):
		return "denied"
	case errors.Is(err, ErrInvalidQuery):
		return "invalid_query"
	case errors.Is(err, ErrSeveralSeries):
		return "several_series"
	default:
		return "unavailable"
	}
}

func closeProvider(p Provider) error {
	if c, ok := p.(io.Closer); ok {
		return c.Close()
	}
	return nil
}
