package metrics

import (
	"fmt"
	"maps"
	"slices"
	"time"
)

// Config is how a metrics server is reached.
type Config struct {
	// Address of the server, an http or https URL.
	Address string
	// Headers are sent with every query. They are copied, never changed.
	Headers map[string][]string
	// Username and Password for basic authentication.
	Username, Password string
	// Token is a bearer token; it goes before Username.
	Token string
	// CA are PEM certificates to trust instead of the system's.
	CA []byte
	// InsecureSkipVerify skips the verification of the server's certificate.
	InsecureSkipVerify bool
	// Timeout of one query. Default 5s.
	Timeout time.Duration
	// MaxBody is the largest answer in bytes that is read. Default 4 MiB.
	MaxBody int64
}

// Constructor makes a provider. A provider that holds connections also implements io.Closer.
type Constructor func(Config) (Provider, error)

// Registry maps the value of spec.provider.type to a constructor; it is built in cmd and passed as a value.
type Registry map[string]Constructor

// New makes a provider. An unknown type is an *UnknownProviderError, never a silent default.
func (r Registry) New(providerType string, cfg Config) (Provider, error) {
	construct, ok := r[providerType]
	if !ok {
		return nil, &UnknownProviderError{Type: providerType, Known: r.Names()}
	}
	return construct(cfg)
}

// Names lists the types, sorted.
func (r Registry) Names() []string { return slices.Sorted(maps.Keys(r)) }

// UnknownProviderError : no provider of this type is registered; only an edit helps.
type UnknownProviderError struct {
	// Type that was asked for.
	Type string
	// Known types.
	Known []string
}

func (e *UnknownProviderError) Error() string {
	return fmt.Sprintf("unknown metrics provider %q: use one of %v", e.Type, e.Known)
}
