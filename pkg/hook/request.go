// Package hook calls the webhooks of Canaries: gates, checks and events.
package hook

import (
	"maps"
	"strconv"
	"time"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
)

// Payload is the JSON body of a call. The first five fields are Flagger's.
type Payload struct {
	// Name and Namespace of the Canary.
	Name      string `json:"name"`
	Namespace string `json:"namespace"`
	// Phase of the Canary.
	Phase siskinv1.Phase `json:"phase"`
	// Checksum tells revisions apart; it is the revision on trial.
	Checksum string `json:"checksum"`
	// Metadata of the webhook, and for events eventMessage, eventType and timestamp.
	Metadata map[string]string `json:"metadata,omitempty"`

	// Type of the hook.
	Type siskinv1.HookType `json:"type"`
	// Revision on trial and the promoted one.
	Revision         string `json:"revision,omitempty"`
	PreviousRevision string `json:"previousRevision,omitempty"`
	// Image and Commit of the revision on trial.
	Image  string `json:"image,omitempty"`
	Commit string `json:"commit,omitempty"`
	// Weight is the canary's share in percent.
	Weight int32 `json:"weight"`
	// Step is "index/total".
	Step string `json:"step,omitempty"`
	// FailedChecks of the rollout.
	FailedChecks int32 `json:"failedChecks"`
	// Metrics are the results of the last check.
	Metrics []PayloadMetric `json:"metrics,omitempty"`
}

// PayloadMetric is one judged metric.
type PayloadMetric struct {
	Name    string `json:"name"`
	Value   string `json:"value,omitempty"`
	Limit   string `json:"limit,omitempty"`
	Verdict string `json:"verdict"`
}

// Request is one call, with everything that it needs.
type Request struct {
	URL     string
	Payload Payload
	// Timeout of one attempt. Default 10s.
	Timeout time.Duration
	// Retries after the first attempt.
	Retries int
	// InsecureSkipVerify skips the verification of the server's certificate.
	InsecureSkipVerify bool
	// HMACKey signs the request, Token authenticates it; both optional.
	HMACKey []byte
	Token   string
	// IdempotencyKey lets the receiver notice a repetition: all attempts of one call have the same, another asking has another.
	IdempotencyKey string
}

// Kind of a failure.
type Kind string

const (
	// KindNone : no failure.
	KindNone Kind = ""
	// KindRefused : the endpoint answered no (4xx).
	KindRefused Kind = "Refused"
	// KindUnavailable : no answer, 429 or 5xx; a later try may do.
	KindUnavailable Kind = "Unavailable"
	// KindInvalid : only an edit helps: the URL is wrong, or redirects.
	KindInvalid Kind = "Invalid"
)

// Result of a call.
type Result struct {
	// OK : the endpoint answered 2xx.
	OK bool
	// Status is the last HTTP status, 0 without an answer.
	Status int
	// Message is one line that explains a failure.
	Message string
	// Said is what a yes says, in one line.
	Said string
	// Kind of the failure.
	Kind Kind
	// Attempts that were made.
	Attempts int
}

// Answered tells whether the last attempt was answered. One that was not says neither yes nor no.
func (r Result) Answered() bool { return r.Status > 0 }

// Event types, as Kubernetes has them.
const (
	EventNormal  = "Normal"
	EventWarning = "Warning"
)

// WithEvent returns the request for one event, which key tells apart from others. The three keys of the event go before
// the user's metadata.
func (r Request) WithEvent(eventType, message string, at time.Time, key string) Request {
	stamp := strconv.FormatInt(at.UnixMilli(), 10)
	metadata := maps.Clone(r.Payload.Metadata)
	if metadata == nil {
		metadata = map[string]string{}
	}
	metadata["eventMessage"], metadata["eventType"], metadata["timestamp"] = message, eventType, stamp
	r.Payload.Metadata = metadata
	r.IdempotencyKey += "/" + key
	return r
}
