package canary

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/canary/report"
)

// store writes the status if it changed. A change of texts alone is written when it has lasted for textDelay, or with
// the next decision if a step ends soon, at the time due; the time left is returned. That notices were told goes along
// with the decision at the end of the step, however late that is; that people's channels were told is written at once.
func (r *Reconciler) store(ctx context.Context, c *siskinv1.Canary, next *siskinv1.CanaryStatus, now, due time.Time) (time.Duration, error) {
	switch report.Compare(&c.Status, next) {
	case report.Same:
		r.Teller.textSettled(c.UID)
		return 0, nil
	case report.Told:
		due = due.Add(textDelay) // the decision may be late
		if left := r.aside(c, next, now, due, due.After(now)); left > 0 {
			return left, nil
		}
	case report.Text:
		if left := r.aside(c, next, now, due, soon(due, now)); left > 0 {
			return left, nil
		}
	case report.Decision:
	}
	// The whole status, under the version that the decision was made on: a merge patch would cost two encodings more.
	data, err := json.Marshal([]map[string]any{
		{"op": "replace", "path": "/metadata/resourceVersion", "value": c.ResourceVersion},
		{"op": "add", "path": "/status", "value": next},
	})
	if err != nil {
		return 0, fmt.Errorf("encoding the decision: %w", err)
	}
	patch := client.RawPatch(types.JSONPatchType, data)
	if err := r.Client.Status().Patch(ctx, c, patch, client.FieldOwner(siskinv1.FieldManager)); err != nil {
		return 0, fmt.Errorf("storing the decision: %w", err)
	}
	c.Status = *next // the server's times have lost nothing, but its nils and empty lists may differ
	r.Teller.textSettled(c.UID)
	return 0, nil
}

// aside is how long what is no decision waits to be stored; along tells that it goes along with the decision that is
// due.
func (r *Reconciler) aside(c *siskinv1.Canary, next *siskinv1.CanaryStatus, now, due time.Time, along bool) time.Duration {
	since, loud := r.Teller.toldSince(c.UID, c.Status.Notices, next.Notices)
	switch {
	case loud:
		return 0
	case along:
		return due.Sub(now)
	}
	return r.Teller.textDue(c.UID, now, since)
}

// untold is how soon it is to be stored that the notices in the status were told, if no decision is due before that
// with which it goes along.
func (r *Reconciler) untold(c *siskinv1.Canary, now time.Time) time.Duration {
	if len(c.Status.Notices) == 0 || report.State(&c.Status).CheckAt.After(now) {
		return 0
	}
	return textDelay + time.Second // what is under way now is told by then
}

// soon tells that a step ends so soon that texts go along with its decision.
func soon(due, now time.Time) bool { return due.After(now) && due.Before(now.Add(company)) }
