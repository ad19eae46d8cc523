// Package docker is left out of this build.
package docker

import (
	ptypes "github.com/traefik/paerser/types"
	"github.com/traefik/traefik/v3/pkg/provider/absent"
)

// Names of the providers.
const (
	DockerName = "docker"
	SwarmName  = "swarm"
)

// Provider is absent; it has what the static configuration looks at.
type Provider struct {
	absent.Provider

	HTTPClientTimeout, RefreshSeconds ptypes.Duration
}

// SwarmProvider is absent.
type SwarmProvider = Provider
