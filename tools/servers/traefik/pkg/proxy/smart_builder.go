// Package proxy has no fast proxy in this build.
package proxy

import (
	"github.com/traefik/traefik/v3/pkg/config/static"
	"github.com/traefik/traefik/v3/pkg/server/service"
)

// NewSmartBuilder returns the builder as it is.
func NewSmartBuilder(_ any, builder service.ProxyBuilder, _ static.FastProxyConfig) service.ProxyBuilder {
	return builder
}
