// Package sigv4 stands for Prometheus' signatures for AWS, which bring the AWS SDK with them.
package sigv4

import (
	"errors"
	"net/http"
)

var errAbsent = errors.New("this build of Prometheus for Siskin's tests has no sigv4, see tools/servers")

// SigV4Config is refused.
type SigV4Config struct{}

// UnmarshalYAML refuses the configuration.
func (*SigV4Config) UnmarshalYAML(func(any) error) error { return errAbsent }

// NewSigV4RoundTripper fails.
func NewSigV4RoundTripper(*SigV4Config, http.RoundTripper) (http.RoundTripper, error) {
	return nil, errAbsent
}
