package istio

import (
	"context"
	"fmt"

	istiov1 "istio.io/client-go/pkg/apis/networking/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/router"
	"github.com/siskin-dev/siskin/pkg/router/internal/owned"
)

// GiveBack restores the VirtualServices that the Canary has adopted, under whatever name.
func (r *Router) GiveBack(ctx context.Context, in router.Intent) error {
	var all istiov1.VirtualServiceList
	err := r.c.List(ctx, &all, client.InNamespace(in.Owner.Namespace), client.UnsafeDisableDeepCopy,
		client.DisableReadYourWritesConsistency)
	if err != nil {
		return fmt.Errorf("listing the VirtualServices that Canary %s left: %w", in.Owner.Name, err)
	}
	for _, live := range all.Items {
		if live.Annotations[siskinv1.CanaryLabel] != in.Owner.Name || owned.By(live, in.Owner) != owned.Foreign {
			continue
		}
		in.Apex = live.Name
		in.Primary, in.Canary = live.Name+"-"+siskinv1.RolePrimary, live.Name+"-"+siskinv1.RoleCanary
		if err := r.restore(ctx, in, live); err != nil {
			return err
		}
	}
	return nil
}
