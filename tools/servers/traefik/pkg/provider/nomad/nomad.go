// Package nomad is left out of this build.
package nomad

import "github.com/traefik/traefik/v3/pkg/provider/absent"

// ProviderName is the name of the provider.
const ProviderName = "nomad"

// ProviderBuilder is absent.
type ProviderBuilder = absent.ProviderBuilder
