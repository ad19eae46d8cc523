package canary

import (
	"context"
	"fmt"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/siskin-dev/siskin/pkg/canary/target"
)

// Normalizer returns a function that asks the API server how it would write a stored revision today: a dry run of the target with
// the stored content gets the defaults that this version sets and the edits of webhooks. What differs only by those is no new
// revision, so that an upgrade of Kubernetes starts no rollout.
func Normalizer(c client.Writer) func(context.Context, client.Object, target.Revision) (target.Revision, error) {
	return func(ctx context.Context, live client.Object, stored target.Revision) (target.Revision, error) {
		obj, ok := live.DeepCopyObject().(client.Object)
		if !ok {
			return stored, fmt.Errorf("copying %T %s", live, live.GetName())
		}
		stored.Into(obj)
		if err := c.Update(ctx, obj, client.DryRunAll); err != nil {
			return stored, fmt.Errorf("asking how %s would be written today: %w", live.GetName(), err)
		}
		return target.From(obj), nil
	}
}
