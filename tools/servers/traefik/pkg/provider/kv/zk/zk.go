// Package zk is left out of this build.
package zk

import "github.com/traefik/traefik/v3/pkg/provider/absent"

// ProviderName is the name of the provider.
const ProviderName = "zookeeper"

// Provider is absent.
type Provider = absent.Provider
