package v1

import (
	"log/slog"
	"net/http"

	"github.com/prometheus/prometheus/util/absent"
)

// OpenAPIOptions are ignored.
type OpenAPIOptions struct {
	ExternalURL, Version string
	MaxSearchLimit       int
}

// OpenAPIBuilder describes nothing.
type OpenAPIBuilder struct{}

// NewOpenAPIBuilder returns a builder that describes nothing.
func NewOpenAPIBuilder(OpenAPIOptions, *slog.Logger) *OpenAPIBuilder { return &OpenAPIBuilder{} }

// WrapHandler returns the handler as it is.
func (*OpenAPIBuilder) WrapHandler(next http.HandlerFunc) http.HandlerFunc { return next }

// ServeOpenAPI says that the description is not in this build.
func (*OpenAPIBuilder) ServeOpenAPI(w http.ResponseWriter, r *http.Request) { absent.Handler(w, r) }
