// Package absent stands for the providers that this build of Traefik leaves out.
package absent

import (
	"github.com/traefik/traefik/v3/pkg/absent"
	"github.com/traefik/traefik/v3/pkg/config/dynamic"
	"github.com/traefik/traefik/v3/pkg/safe"
)

// Provider is a provider that does not start.
type Provider struct{}

// Init implements provider.Provider.
func (*Provider) Init() error { return absent.Err }

// Provide implements provider.Provider.
func (*Provider) Provide(chan<- dynamic.Message, *safe.Pool) error { return absent.Err }

// ProviderBuilder makes one provider per namespace.
type ProviderBuilder struct{}

// BuildProviders returns one provider, so that the absence is told.
func (*ProviderBuilder) BuildProviders() []*Provider { return []*Provider{{}} }
