// Package etcd is left out of this build.
package etcd

import "github.com/traefik/traefik/v3/pkg/provider/absent"

// ProviderName is the name of the provider.
const ProviderName = "etcd"

// Provider is absent.
type Provider = absent.Provider
