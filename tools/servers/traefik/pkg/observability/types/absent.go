package types

import (
	"context"
	"io"

	"github.com/traefik/traefik/v3/pkg/absent"
	otelsdk "go.opentelemetry.io/otel/sdk/log"
	"go.opentelemetry.io/otel/trace"
)

// Setup fails: OpenTelemetry's exporters are not in this build.
func (*OTelTracing) Setup(context.Context, string, float64, map[string]string) (trace.Tracer, io.Closer, error) {
	return nil, nil, absent.Err
}

// NewLoggerProvider fails: OpenTelemetry's exporters are not in this build.
func (*OTelLog) NewLoggerProvider(context.Context) (*otelsdk.LoggerProvider, error) {
	return nil, absent.Err
}
