package canary

import (
	"context"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/siskin-dev/siskin/pkg/canary/target"
)

// Normalizer returns a function that asks the API server how it would write a stored revision today: a dry run of the target with
// the stored template gets the defaults that this version sets and the edits of webhooks. What differs only by those is no new
// revision, so that an upgrade of Kubernetes starts no rollout.
func Normalizer(c client.Writer) func(context.Context, *appsv1.Deployment, target.Revision) (target.Revision, error) {
	return func(ctx context.Context, live *appsv1.Deployment, stored target.Revision) (target.Revision, error) {
		d := live.DeepCopy()
		d.Spec.Template = *stored.Template.DeepCopy()
		if err := c.Update(ctx, d, client.DryRunAll); err != nil {
			return stored, fmt.Errorf("asking how %s would be written today: %w", live.Name, err)
		}
		return target.FromDeployment(d), nil
	}
}
