package metrics

import (
	"context"

	"github.com/traefik/traefik/v3/pkg/absent"
	otypes "github.com/traefik/traefik/v3/pkg/observability/types"
	"go.opentelemetry.io/otel/semconv/v1.37.0/httpconv"
)

// RegisterDatadog registers nothing in this build.
func RegisterDatadog(context.Context, *otypes.Datadog) Registry { return NewVoidRegistry() }

// RegisterStatsd registers nothing in this build.
func RegisterStatsd(context.Context, *otypes.Statsd) Registry { return NewVoidRegistry() }

// RegisterInfluxDB2 registers nothing in this build.
func RegisterInfluxDB2(context.Context, *otypes.InfluxDB2) Registry { return nil }

// RegisterOpenTelemetry registers nothing in this build.
func RegisterOpenTelemetry(context.Context, *otypes.OTLP) Registry { return nil }

// StopDatadog does nothing.
func StopDatadog() {}

// StopStatsd does nothing.
func StopStatsd() {}

// StopInfluxDB2 does nothing.
func StopInfluxDB2() {}

// StopOpenTelemetry does nothing.
func StopOpenTelemetry() {}

// SemConvMetricsRegistry is always nil.
type SemConvMetricsRegistry struct{}

// NewSemConvMetricRegistry fails: OpenTelemetry's metrics are not in this build.
func NewSemConvMetricRegistry(context.Context, *otypes.OTLP) (*SemConvMetricsRegistry, error) {
	return nil, absent.Err
}

// HTTPServerRequestDuration returns an instrument without effect.
func (*SemConvMetricsRegistry) HTTPServerRequestDuration() httpconv.ServerRequestDuration {
	return httpconv.ServerRequestDuration{}
}

// HTTPClientRequestDuration returns an instrument without effect.
func (*SemConvMetricsRegistry) HTTPClientRequestDuration() httpconv.ClientRequestDuration {
	return httpconv.ClientRequestDuration{}
}
