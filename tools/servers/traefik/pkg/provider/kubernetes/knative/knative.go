// Package knative is left out of this build.
package knative

import "github.com/traefik/traefik/v3/pkg/provider/absent"

// ProviderName is the name of the provider.
const ProviderName = "knative"

// Provider is absent.
type Provider = absent.Provider
