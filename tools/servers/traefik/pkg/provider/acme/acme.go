// Package acme is left out of this build: its DNS providers are more than half of Traefik.
package acme

import (
	"context"
	"net/http"

	ptypes "github.com/traefik/paerser/types"
	"github.com/traefik/traefik/v3/pkg/absent"
	"github.com/traefik/traefik/v3/pkg/config/dynamic"
	provider "github.com/traefik/traefik/v3/pkg/provider/absent"
	"github.com/traefik/traefik/v3/pkg/safe"
	traefiktls "github.com/traefik/traefik/v3/pkg/tls"
)

// Configuration has what the static configuration looks at.
type Configuration struct {
	CAServer, Storage string
	DNSChallenge      *DNSChallenge
	HTTPChallenge     *HTTPChallenge
	TLSChallenge      *struct{}
}

// HTTPChallenge has what the internal provider looks at.
type HTTPChallenge struct{ EntryPoint string }

// DNSChallenge has what the static configuration looks at.
type DNSChallenge struct {
	Provider                string
	Propagation             *Propagation
	DelayBeforeCheck        ptypes.Duration
	DisablePropagationCheck bool
}

// Propagation has what the static configuration looks at.
type Propagation struct {
	DisableChecks     bool
	DelayBeforeChecks ptypes.Duration
}

// LocalStore is absent.
type LocalStore struct{}

// NewLocalStore returns nothing.
func NewLocalStore(string, *safe.Pool) *LocalStore { return nil }

// Challenge solves nothing.
type Challenge struct{}

// Present implements lego's challenge.Provider.
func (Challenge) Present(context.Context, string, string, string) error { return absent.Err }

// CleanUp implements lego's challenge.Provider.
func (Challenge) CleanUp(context.Context, string, string, string) error { return absent.Err }

// ChallengeHTTP solves nothing.
type ChallengeHTTP struct{ Challenge }

// NewChallengeHTTP returns a handler that knows no challenge.
func NewChallengeHTTP() *ChallengeHTTP { return &ChallengeHTTP{} }

// ServeHTTP implements http.Handler.
func (*ChallengeHTTP) ServeHTTP(w http.ResponseWriter, r *http.Request) { http.NotFound(w, r) }

// ChallengeTLSALPN is a provider without content: Traefik always starts it.
type ChallengeTLSALPN struct{ Challenge }

// NewChallengeTLSALPN returns a provider without content.
func NewChallengeTLSALPN() *ChallengeTLSALPN { return &ChallengeTLSALPN{} }

// Init implements provider.Provider.
func (*ChallengeTLSALPN) Init() error { return nil }

// Provide implements provider.Provider.
func (*ChallengeTLSALPN) Provide(chan<- dynamic.Message, *safe.Pool) error { return nil }

// ListenConfiguration does nothing.
func (*ChallengeTLSALPN) ListenConfiguration(dynamic.Configuration) {}

// Provider is absent.
type Provider struct {
	provider.Provider
	*Configuration

	ResolverName                                string
	Store                                       *LocalStore
	HTTPChallengeProvider, TLSChallengeProvider any
}

// SetTLSManager does nothing.
func (*Provider) SetTLSManager(*traefiktls.Manager) {}

// SetConfigListenerChan does nothing.
func (*Provider) SetConfigListenerChan(chan dynamic.Configuration) {}

// ListenConfiguration does nothing.
func (*Provider) ListenConfiguration(dynamic.Configuration) {}
