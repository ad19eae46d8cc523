// Package redis is left out of this build.
package redis

import "github.com/traefik/traefik/v3/pkg/provider/absent"

// ProviderName is the name of the provider.
const ProviderName = "redis"

// Provider is absent.
type Provider = absent.Provider
