// Package tailscale is left out of this build.
package tailscale

import (
	"github.com/traefik/traefik/v3/pkg/config/dynamic"
	"github.com/traefik/traefik/v3/pkg/provider/absent"
)

// Provider is absent.
type Provider struct {
	absent.Provider

	ResolverName string
}

// HandleConfigUpdate does nothing.
func (*Provider) HandleConfigUpdate(dynamic.Configuration) {}
