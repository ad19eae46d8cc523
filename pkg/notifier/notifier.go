// Package notifier tells people. A notifier formats and posts one message; the Dispatcher queues, repeats and drops
// duplicates, so that a place that is down never delays a reconcile.
package notifier

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
)

// Message is one notice.
type Message struct {
	// Key tells notices apart; the same key goes to the same provider once in an hour. Empty: always sent.
	Key string
	// Severity: info, warn or error.
	Severity siskinv1.AlertSeverity
	// Title is one line, Text one sentence or more, both plain text.
	Title, Text string
	// Fields are shown as a table.
	Fields []Field
	// Canary that the notice is about.
	Canary types.NamespacedName
	// Time of what happened.
	Time time.Time
}

// Field is one row.
type Field struct {
	Name, Value string
	// Short fields may stand side by side.
	Short bool
}

// Notifier posts one message. It bounds time and size of the answer, and its errors never hold a secret. Errors:
// *RateLimitedError (repeat after), ErrRejected (only an edit helps); anything else may be repeated.
type Notifier interface {
	Post(ctx context.Context, m Message) error
}

// Config is where a notifier posts to.
type Config struct {
	// Address and Token: what they mean is the type's.
	Address, Token string
	Channel        string
	Username       string
	// Proxy is the URL of an HTTP proxy.
	Proxy string
	// Timeout of one post. Default 10s.
	Timeout time.Duration
}

// ErrRejected : the place refuses the message or the credentials; only an edit helps.
var ErrRejected = errors.New("rejected")

// RateLimitedError : the place wants to be left alone for a while.
type RateLimitedError struct{ RetryAfter time.Duration }

func (e *RateLimitedError) Error() string {
	return fmt.Sprintf("rate limited: retry after %s", e.RetryAfter)
}

// Constructor makes a notifier. One that holds connections also implements io.Closer.
type Constructor func(Config) (Notifier, error)

// Registry maps the value of spec.type to a constructor; it is built in cmd and passed as a value.
type Registry map[string]Constructor

// New makes a notifier. An unknown type is an *UnknownTypeError.
func (r Registry) New(notifierType string, cfg Config) (Notifier, error) {
	construct, ok := r[notifierType]
	if !ok {
		return nil, &UnknownTypeError{Type: notifierType, Known: r.Names()}
	}
	return construct(cfg)
}

// Names lists the types, sorted.
func (r Registry) Names() []string { return slices.Sorted(maps.Keys(r)) }

// UnknownTypeError : no notifier of this type is registered.
type UnknownTypeError struct {
	Type  string
	Known []string
}

func (e *UnknownTypeError) Error() string {
	return fmt.Sprintf("unknown alert provider type %q: use one of %v", e.Type, e.Known)
}
