// Package consul is left out of this build.
package consul

import "github.com/traefik/traefik/v3/pkg/provider/absent"

// ProviderName is the name of the provider.
const ProviderName = "consul"

// ProviderBuilder is absent.
type ProviderBuilder = absent.ProviderBuilder
