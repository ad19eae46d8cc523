package notifier

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
)

// Keys of an AlertProvider's Secret.
const (
	secretAddress = "address"
	secretToken   = "token"
)

const (
	// maxKept is the number of notifiers that are kept.
	maxKept        = 64
	defaultChannel = "general"
	defaultUser    = "siskin"
)

// resolver makes notifiers of AlertProviders, and keeps them as long as nothing changes, so that connections are reused.
type resolver struct {
	cfg DispatcherConfig

	mu   sync.Mutex
	kept map[types.NamespacedName]keptNotifier
}

type keptNotifier struct {
	digest   [sha256.Size]byte
	typeName string
	notifier Notifier
}

func newResolver(cfg DispatcherConfig) *resolver {
	return &resolver{cfg: cfg, kept: map[types.NamespacedName]keptNotifier{}}
}

// get reads the AlertProvider and its Secret, and returns the notifier and its type. What only an edit helps is ErrRejected.
func (r *resolver) get(ctx context.Context, key types.NamespacedName, canaryNamespace string) (Notifier, string, error) {
	if r.cfg.NoCrossNamespaceRefs && key.Namespace != canaryNamespace {
		return nil, "", fmt.Errorf("%w: it is in another namespace, which --no-cross-namespace-refs forbids", ErrRejected)
	}
	p := &siskinv1.AlertProvider{}
	if err := r.cfg.Providers.Get(ctx, key, p); err != nil {
		return nil, "", readError("it", err)
	}
	cfg := Config{Address: p.Spec.Address, Channel: p.Spec.Channel, Username: p.Spec.Username, Proxy: p.Spec.Proxy}
	if cfg.Channel == "" {
		cfg.Channel = defaultChannel
	}
	if cfg.Username == "" {
		cfg.Username = defaultUser
	}
	if ref := p.Spec.SecretRef; ref != nil {
		if err := r.credentials(ctx, types.NamespacedName{Namespace: key.Namespace, Name: ref.Name}, &cfg); err != nil {
			return nil, p.Spec.Type, err
		}
	}
	n, err := r.notifier(key, p.Spec.Type, cfg)
	return n, p.Spec.Type, err
}

func (r *resolver) credentials(ctx context.Context, key types.NamespacedName, cfg *Config) error {
	secret := &corev1.Secret{}
	if err := r.cfg.Secrets.Get(ctx, key, secret); err != nil {
		return readError("Secret "+key.String(), err)
	}
	cfg.Token = strings.TrimSpace(string(secret.Data[secretToken]))
	address := strings.TrimSpace(string(secret.Data[secretAddress]))
	if address != "" {
		cfg.Address = address
	}
	if cfg.Token == "" && address == "" {
		return fmt.Errorf("%w: Secret %s has neither key %q nor %q", ErrRejected, key, secretAddress, secretToken)
	}
	return nil
}

func (r *resolver) notifier(key types.NamespacedName, typeName string, cfg Config) (Notifier, error) {
	raw, err := json.Marshal(cfg)
	if err != nil {
		return nil, fmt.Errorf("comparing configurations: %w", err)
	}
	digest := sha256.Sum256(append([]byte(typeName+"\x00"), raw...))
	r.mu.Lock()
	defer r.mu.Unlock()
	if k, ok := r.kept[key]; ok && k.digest == digest {
		return k.notifier, nil
	}
	n, err := r.cfg.Registry.New(typeName, cfg)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRejected, err)
	}
	r.drop(key)
	for other := range r.kept { // any one: it is made again when it is needed
		if len(r.kept) < maxKept {
			break
		}
		r.drop(other)
	}
	r.kept[key] = keptNotifier{digest: digest, typeName: typeName, notifier: n}
	return n, nil
}

// drop ends idle connections only; an error of it helps nobody. The lock is held.
func (r *resolver) drop(key types.NamespacedName) {
	if k, ok := r.kept[key]; ok {
		delete(r.kept, key)
		_ = closeNotifier(k.notifier)
	}
}

// typeOf returns the type of a provider that was used before, or "".
func (r *resolver) typeOf(key types.NamespacedName) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.kept[key].typeName
}

// Close closes all notifiers.
func (r *resolver) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all error
	for key, k := range r.kept {
		delete(r.kept, key)
		all = errors.Join(all, closeNotifier(k.notifier))
	}
	return all
}

func closeNotifier(n Notifier) error {
	if c, ok := n.(io.Closer); ok {
		return c.Close()
	}
	return nil
}

func readError(what string, err error) error {
	switch {
	case apierrors.IsNotFound(err):
		return fmt.Errorf("%w: %s does not exist", ErrRejected, what)
	case apierrors.IsForbidden(err):
		return fmt.Errorf("%w: Siskin may not read %s: check its Roles", ErrRejected, what)
	}
	return fmt.Errorf("reading %s: %w", what, err)
}
