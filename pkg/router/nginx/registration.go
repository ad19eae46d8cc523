package nginx

import (
	netv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/router"
	"github.com/siskin-dev/siskin/pkg/router/service"
)

// Registration registers the router. Two Canaries may name one Ingress: each has a canary Ingress of its own, for its own paths.
func Registration() router.Registration {
	return router.Registration{
		Names:       []string{Name},
		AddToScheme: netv1.AddToScheme,
		New:         func(c client.Client, live client.Reader) router.Router { return New(c, live, clock.RealClock{}) },
		Owns:        []client.Object{&netv1.Ingress{}},
		Watches:     []router.Watch{{Object: &netv1.Ingress{}, Of: followed}},
	}
}

// followed are the Ingress whose edits a Canary follows, and the one beside it, which may be somebody else's.
func followed(c *siskinv1.Canary) []types.NamespacedName {
	ref := c.Spec.IngressRef
	if ref == nil || ref.Kind != "" && ref.Kind != kind {
		return nil
	}
	return []types.NamespacedName{
		{Namespace: c.Namespace, Name: ref.Name}, {Namespace: c.Namespace, Name: service.ApexName(c) + "-" + siskinv1.RoleCanary},
	}
}
