// Package azuread is left out of this build.
package azuread

import (
	"net/http"

	"github.com/prometheus/prometheus/util/absent"
)

// AzureADConfig is refused.
type AzureADConfig struct{}

// UnmarshalYAML refuses the configuration.
func (*AzureADConfig) UnmarshalYAML(func(any) error) error { return absent.Err }

// Validate refuses the configuration.
func (*AzureADConfig) Validate() error { return absent.Err }

// NewAzureADRoundTripper fails.
func NewAzureADRoundTripper(*AzureADConfig, http.RoundTripper) (http.RoundTripper, error) {
	return nil, absent.Err
}
