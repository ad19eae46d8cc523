// Package ecs is left out of this build.
package ecs

import "github.com/traefik/traefik/v3/pkg/provider/absent"

// ProviderName is the name of the provider.
const ProviderName = "ecs"

// Provider is absent.
type Provider = absent.Provider
