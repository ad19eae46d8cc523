package remote

import (
	"log/slog"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/util/absent"
)

// OTLPOptions has the options of the receiver.
type OTLPOptions struct {
	ConvertDelta, NativeDelta, EnableTypeAndUnitLabels bool
	LookbackDelta                                      time.Duration
}

// NewOTLPWriteHandler returns a handler that says that OTLP is not in this build.
func NewOTLPWriteHandler(*slog.Logger, prometheus.Registerer, storage.AppendableV2, func() config.Config, OTLPOptions) http.Handler {
	return http.HandlerFunc(absent.Handler)
}
