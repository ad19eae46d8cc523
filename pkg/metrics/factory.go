package metrics

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"
)

// maxProviders is the number of providers that a Factory keeps.
const maxProviders = 256

// Factory makes providers and keeps them, so that connections are reused. A provider whose configuration changes is replaced
// and closed.
type Factory struct {
	registry    Registry
	instruments *Instruments

	mu   sync.Mutex
	kept map[string]*keptProvider
	tick uint64
}

type keptProvider struct {
	digest   string
	provider Provider
	used     uint64
}

// NewFactory returns a Factory. instruments may be nil.
func NewFactory(r Registry, instruments *Instruments) *Factory {
	return &Factory{registry: r, instruments: instruments, kept: map[string]*keptProvider{}}
}

// Known tells whether a provider type is registered; if not, the error is an *UnknownProviderError.
func (f *Factory) Known(providerType string) error {
	if _, ok := f.registry[providerType]; !ok {
		return &UnknownProviderError{Type: providerType, Known: f.registry.Names()}
	}
	return nil
}

// Get returns the provider of an owner, for example the UID of a MetricTemplate.
func (f *Factory) Get(owner, providerType string, cfg Config) (Provider, error) {
	digest := digestOf(providerType, cfg)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.tick++
	if k := f.kept[owner]; k != nil && k.digest == digest {
		k.used = f.tick
		return k.provider, nil
	}
	p, err := f.registry.New(providerType, cfg)
	if err != nil {
		return nil, err
	}
	if f.instruments != nil {
		p = f.instruments.Instrument(providerType, p)
	}
	f.drop(owner)
	if len(f.kept) >= maxProviders {
		f.drop(f.oldest())
	}
	f.kept[owner] = &keptProvider{digest: digest, provider: p, used: f.tick}
	return p, nil
}

// Close closes all providers.
func (f *Factory) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	var all error
	for owner, k := range f.kept {
		delete(f.kept, owner)
		all = errors.Join(all, closeProvider(k.provider))
	}
	return all
}

func (f *Factory) oldest() string {
	var found string
	var used uint64
	for owner, k := range f.kept {
		if found == "" || k.used < used {
			found, used = owner, k.used
		}
	}
	return found
}

// drop closes and forgets. Closing ends idle connections only: queries under way finish. An error of it helps nobody.
func (f *Factory) drop(owner string) {
	if k := f.kept[owner]; k != nil {
		delete(f.kept, owner)
		_ = closeProvider(k.provider)
	}
}

// digestOf tells configurations apart without keeping their secrets.
func digestOf(providerType string, cfg Config) string {
	// Go's syntax quotes every part, and fmt sorts maps.
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %#v", providerType, cfg))
	return hex.EncodeToString(sum[:])
}
