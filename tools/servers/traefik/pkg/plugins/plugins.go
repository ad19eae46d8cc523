// Package plugins is left out of this build: its interpreters of Go and WebAssembly are large.
package plugins

import (
	"context"
	"net/http"

	"github.com/traefik/traefik/v3/pkg/absent"
	provider "github.com/traefik/traefik/v3/pkg/provider/absent"
)

// Constructor makes the handler of a plugin.
type Constructor func(context.Context, http.Handler) (http.Handler, error)

// Descriptor names a plugin.
type Descriptor struct{ ModuleName string }

// LocalDescriptor names a plugin in the file system.
type LocalDescriptor struct{ ModuleName string }

// Builder builds no plugin.
type Builder struct{}

// Build implements the middleware's PluginBuilder.
func (*Builder) Build(string, map[string]any, string) (Constructor, error) { return nil, absent.Err }

// BuildProvider builds nothing.
func (*Builder) BuildProvider(string, map[string]any) (*provider.Provider, error) {
	return nil, absent.Err
}
