// Package googleiam is left out of this build.
package googleiam

import (
	"net/http"

	"github.com/prometheus/prometheus/util/absent"
)

// Config is refused.
type Config struct{}

// UnmarshalYAML refuses the configuration.
func (*Config) UnmarshalYAML(func(any) error) error { return absent.Err }

// NewRoundTripper fails.
func NewRoundTripper(*Config, http.RoundTripper) (http.RoundTripper, error) { return nil, absent.Err }
