package hook

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
)

// Keys of the webhook's Secret.
const (
	secretHMACKey = "hmacKey"
	secretToken   = "token"
)

// InvalidError : the webhook is wrong, or its Secret is missing or may not be read; only an edit helps.
type InvalidError struct {
	// Hook is the webhook's name.
	Hook string
	// Message says what is wrong.
	Message string
}

func (e *InvalidError) Error() string { return fmt.Sprintf("webhook %s: %s", e.Hook, e.Message) }

// Resolve makes the request for a webhook: the payload comes from the Canary's status, the keys from the Secret, which
// secrets reads live. asking tells the askings of the Canary's webhooks apart: the same one is the same call, whose answer a receiver may
// repeat. Errors: *InvalidError, or that of reading.
func Resolve(ctx context.Context, secrets client.Reader, c *siskinv1.Canary, w siskinv1.CanaryWebhook, asking string) (Request, error) {
	r := Request{
		URL: w.URL, Payload: PayloadOf(c, w), Retries: int(w.Retries), InsecureSkipVerify: w.DisableTLS,
		IdempotencyKey: string(c.UID) + "/" + asking,
	}
	if w.Timeout != "" {
		timeout, err := time.ParseDuration(w.Timeout)
		if err != nil || timeout <= 0 {
			return Request{}, &InvalidError{Hook: w.Name, Message: fmt.Sprintf("timeout %q is not a positive duration", w.Timeout)}
		}
		r.Timeout = timeout
	}
	if w.SecretRef == nil {
		return r, nil
	}
	key := types.NamespacedName{Namespace: c.Namespace, Name: w.SecretRef.Name}
	secret := &corev1.Secret{}
	err := secrets.Get(ctx, key, secret)
	switch {
	case apierrors.IsNotFound(err):
		return Request{}, &InvalidError{Hook: w.Name, Message: fmt.Sprintf("Secret %s does not exist", key)}
	case apierrors.IsForbidden(err):
		return Request{}, &InvalidError{Hook: w.Name, Message: fmt.Sprintf("Siskin may not read Secret %s: check its Roles", key)}
	case err != nil:
		return Request{}, fmt.Errorf("webhook %s: reading Secret %s: %w", w.Name, key, err)
	}
	r.HMACKey, r.Token = secret.Data[secretHMACKey], strings.TrimSpace(string(secret.Data[secretToken]))
	if len(r.HMACKey) == 0 && r.Token == "" {
		return Request{}, &InvalidError{Hook: w.Name, Message: fmt.Sprintf("Secret %s has neither key %q nor %q", key, secretHMACKey, secretToken)}
	}
	return r, nil
}

// PayloadOf returns the body for a webhook, as the Canary's status has it.
func PayloadOf(c *siskinv1.Canary, w siskinv1.CanaryWebhook) Payload {
	p := Payload{
		Name: c.Name, Namespace: c.Namespace, Phase: c.Status.Phase, Metadata: maps.Clone(w.Metadata), Type: w.Type,
		Weight: c.Status.CanaryWeight, FailedChecks: c.Status.FailedChecks,
	}
	if p.Type == "" {
		p.Type = siskinv1.HookRollout
	}
	if rev := c.Status.Canary; rev != nil {
		p.Checksum, p.Revision, p.Image, p.Commit = rev.Revision, rev.Revision, rev.Image, rev.Commit
	}
	if rev := c.Status.Stable; rev != nil {
		p.PreviousRevision = rev.Revision
	}
	if r := c.Status.Rollout; r != nil && r.Previous != "" && p.PreviousRevision == p.Revision { // it is promoted by now
		p.PreviousRevision = r.Previous
	}
	if s := c.Status.Step; s != nil {
		p.Step = s.Summary
	}
	for _, check := range c.Status.Checks {
		if check.Type == "metric" {
			p.Metrics = append(p.Metrics, PayloadMetric{Name: check.Name, Value: check.Value, Limit: check.Limit, Verdict: check.Verdict})
		}
	}
	return p
}
