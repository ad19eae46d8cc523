package istio

import (
	istiov1 "istio.io/client-go/pkg/apis/networking/v1"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/siskin-dev/siskin/pkg/router"
)

// Registration registers the router.
func Registration() router.Registration {
	return router.Registration{
		Names:       []string{Name},
		AddToScheme: istiov1.AddToScheme,
		New:         func(c client.Client, live client.Reader) router.Router { return New(c, live, clock.RealClock{}) },
		Owns:        []client.Object{&istiov1.VirtualService{}, &istiov1.DestinationRule{}},
	}
}
