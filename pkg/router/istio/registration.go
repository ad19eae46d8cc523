package istio

import (
	istiov1 "istio.io/client-go/pkg/apis/networking/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/router"
)

// Registration registers the router.
func Registration() router.Registration {
	return router.Registration{
		Names:       []string{Name},
		AddToScheme: istiov1.AddToScheme,
		New:         func(c client.Client, live client.Reader) router.Router { return New(c, live, clock.RealClock{}) },
		Owns:        []client.Object{&istiov1.VirtualService{}, &istiov1.DestinationRule{}},
		Watches: []router.Watch{
			{Object: &istiov1.VirtualService{}, Of: func(c *siskinv1.Canary) []types.NamespacedName { return named(c, names(c).Apex) }},
			{Object: &istiov1.DestinationRule{}, Of: func(c *siskinv1.Canary) []types.NamespacedName {
				return named(c, names(c).Apex, names(c).Primary, names(c).Canary)
			}},
		},
	}
}

func named(c *siskinv1.Canary, all ...string) []types.NamespacedName {
	var out []types.NamespacedName
	for _, name := range all {
		out = append(out, types.NamespacedName{Namespace: c.Namespace, Name: name})
	}
	return out
}
