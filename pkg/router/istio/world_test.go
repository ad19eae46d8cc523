package istio_test

import (
	"testing"

	networking "istio.io/api/networking/v1alpha3"
	istiov1 "istio.io/client-go/pkg/apis/networking/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/router"
	"github.com/siskin-dev/siskin/pkg/router/istio/istiotest"
	"github.com/siskin-dev/siskin/pkg/router/routertest"
)

// world is a router with the intent that it is to carry out.
type world struct {
	routertest.Harness
	router router.Router
	in     router.Intent
}

func newWorld(t *testing.T, owner *siskinv1.Canary, objects ...client.Object) world {
	t.Helper()
	h := istiotest.New(t, istiotest.NewClient(t), owner, objects...)
	in := h.Intent
	in.Split = router.Split{Primary: 100}
	return world{h, h.New(h.Client, h.Client), in}
}

func (w world) apply(t *testing.T) {
	t.Helper()
	if _, err := w.router.Apply(t.Context(), w.in); err != nil {
		t.Fatalf("Apply(%s): %v", w.in.Split, err)
	}
	obs, err := w.router.Observe(t.Context(), w.in)
	if err != nil || obs.Current != w.in.Split || obs.Evidence < router.EvidenceWritten {
		t.Fatalf("after Apply(%s): %+v %v", w.in.Split, obs, err)
	}
}

func (w world) vs(t *testing.T) *istiov1.VirtualService {
	t.Helper()
	var vs istiov1.VirtualService
	if err := w.Client.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: w.in.Apex}, &vs); err != nil {
		t.Fatal(err)
	}
	return &vs
}

func (w world) spec(t *testing.T) *networking.VirtualService { t.Helper(); return &w.vs(t).Spec }
