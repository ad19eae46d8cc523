package kubernetes_test

import (
	"context"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/siskin-dev/siskin/pkg/router"
	"github.com/siskin-dev/siskin/pkg/router/kubernetes"
	"github.com/siskin-dev/siskin/pkg/router/kubernetes/kubernetestest"
	"github.com/siskin-dev/siskin/pkg/router/routertest"
)

func TestContract(t *testing.T) {
	routertest.RunContract(t, func(t *testing.T) routertest.Harness {
		t.Helper()
		return kubernetestest.New(t, routertest.NewClient(t), "aviary")
	})
}

func TestProgrammed(t *testing.T) {
	tests := map[string]struct {
		apex, primary []string
		want          router.Evidence
		reason        string
	}{
		"the same pods":           {[]string{"p1", "p2"}, []string{"p2", "p1"}, router.EvidenceProgrammed, ""},
		"none at all":             {nil, nil, router.EvidenceWritten, kubernetes.ReasonNoReadyEndpoints},
		"the apex has none yet":   {nil, []string{"p1"}, router.EvidenceWritten, kubernetes.ReasonNoReadyEndpoints},
		"a pod of the canary too": {[]string{"p1", "c1"}, []string{"p1"}, router.EvidenceWritten, kubernetes.ReasonEndpointsDiffer},
		"a pod is missing yet":    {[]string{"p1"}, []string{"p1", "p2"}, router.EvidenceWritten, kubernetes.ReasonEndpointsDiffer},
		"the canary's pods":       {[]string{"c1"}, []string{"p1"}, router.EvidenceWritten, kubernetes.ReasonEndpointsDiffer},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			c := routertest.NewClient(t)
			h := kubernetestest.New(t, c, "aviary")
			r, in := kubernetes.New(c, c), h.Intent
			in.Split = router.Split{Primary: 100}
			if _, err := r.Apply(t.Context(), in); err != nil {
				t.Fatal(err)
			}
			set(t.Context(), t, c, in.Apex, tt.apex)
			set(t.Context(), t, c, in.Primary, tt.primary)
			obs, err := r.Observe(t.Context(), in)
			if err != nil || obs.Evidence != tt.want || obs.Reason != tt.reason {
				t.Errorf("%+v %v", obs, err)
			}
		})
	}
}

func set(ctx context.Context, t *testing.T, c client.Client, svc string, pods []string) {
	t.Helper()
	if err := routertest.EndpointSlice(ctx, c, "aviary", svc, pods...); err != nil {
		t.Fatal(err)
	}
}

// The fake client must tell writers apart, or the contract proves nothing.
func TestClientKeepsManagers(t *testing.T) {
	c := routertest.NewClient(t)
	h := kubernetestest.New(t, c, "aviary")
	r := h.New(c, c)
	in := h.Intent
	in.Split = router.Split{Canary: 100}
	if _, err := r.Apply(t.Context(), in); err != nil {
		t.Fatal(err)
	}
	var svc corev1.Service
	if err := c.Get(t.Context(), client.ObjectKey{Namespace: "aviary", Name: "finch"}, &svc); err != nil {
		t.Fatal(err)
	}
	managers := map[string]bool{}
	for _, entry := range svc.ManagedFields {
		managers[entry.Manager] = true
	}
	if !managers["git"] || !managers["siskin"] {
		t.Errorf("field managers: %v", managers)
	}
}
