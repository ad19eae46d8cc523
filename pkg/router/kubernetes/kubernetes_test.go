package kubernetes_test

import (
	"context"
	"testing"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/siskin-dev/siskin/pkg/router"
	"github.com/siskin-dev/siskin/pkg/router/kubernetes"
	"github.com/siskin-dev/siskin/pkg/router/routertest"
)

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
			h := routertest.Kubernetes(t, c, "aviary")
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
