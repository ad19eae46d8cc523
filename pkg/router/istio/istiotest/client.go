package istiotest

import (
	"google.golang.org/protobuf/proto"
	istiov1 "istio.io/client-go/pkg/apis/networking/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/siskin-dev/siskin/pkg/router/routertest"
)

// NewClient returns routertest's client, taught Istio's API.
func NewClient(t routertest.TB, objects ...client.Object) client.WithWatch {
	t.Helper()
	return routertest.NewClientWith(t, []routertest.API{API()}, objects...)
}

// API is Istio's as far as the router uses it. Its CRDs have no defaults, and all their lists are values.
func API() routertest.API {
	return routertest.API{
		AddToScheme: istiov1.AddToScheme,
		Kinds:       []routertest.Kind{{Object: &istiov1.VirtualService{}, Finish: finish}, {Object: &istiov1.DestinationRule{}}},
	}
}

// finish counts changes of the spec.
func finish(before, after client.Object) bool {
	was, is := vsOf(before), vsOf(after)
	if proto.Equal(&was.Spec, &is.Spec) {
		return false
	}
	is.Generation = was.Generation + 1
	return true
}
