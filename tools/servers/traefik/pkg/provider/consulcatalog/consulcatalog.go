// Package consulcatalog is left out of this build.
package consulcatalog

import "github.com/traefik/traefik/v3/pkg/provider/absent"

// ProviderName is the name of the provider.
const ProviderName = "consulcatalog"

// ProviderBuilder is absent.
type ProviderBuilder = absent.ProviderBuilder
