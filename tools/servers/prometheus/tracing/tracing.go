// Package tracing is left out of this build.
package tracing

import (
	"log/slog"
	"reflect"

	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/util/absent"
)

// Manager traces nothing.
type Manager struct{ done chan struct{} }

// NewManager returns a manager that traces nothing.
func NewManager(*slog.Logger) *Manager { return &Manager{done: make(chan struct{})} }

// Run waits for Stop.
func (m *Manager) Run() { <-m.done }

// ApplyConfig refuses a configuration that wants traces.
func (*Manager) ApplyConfig(cfg *config.Config) error {
	if !reflect.ValueOf(cfg.TracingConfig).IsZero() {
		return absent.Err
	}
	return nil
}

// Stop ends Run.
func (m *Manager) Stop() { close(m.done) }
