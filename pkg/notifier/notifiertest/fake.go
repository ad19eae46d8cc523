// Package notifiertest has a fake notifier and the contract that every notifier keeps.
package notifiertest

import (
	"context"
	"slices"
	"sync"

	"github.com/siskin-dev/siskin/pkg/notifier"
)

// Fake records messages. The zero value accepts all.
type Fake struct {
	// Do, if set, answers each post. It is called without a lock held.
	Do func(ctx context.Context, m notifier.Message) error

	mu   sync.Mutex
	sent []notifier.Message
}

// Constructor returns the fake for every configuration.
func (f *Fake) Constructor(notifier.Config) (notifier.Notifier, error) { return f, nil }

// Post records the message if Do accepts it.
func (f *Fake) Post(ctx context.Context, m notifier.Message) error {
	if f.Do != nil {
		if err := f.Do(ctx, m); err != nil {
			return err
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sent = append(f.sent, m)
	return nil
}

// Sent returns the messages that were accepted.
func (f *Fake) Sent() []notifier.Message {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.sent)
}
