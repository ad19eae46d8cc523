package istio_test

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
	networking "istio.io/api/networking/v1alpha3"
	istiov1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/router"
)

// ways are those in which a user applies a VirtualService over the generated one.
func ways(t *testing.T) map[string]func(c client.Client, body fields) {
	t.Helper()
	patch := func(c client.Client, kind types.PatchType, body fields, opts ...client.PatchOption) {
		t.Helper()
		raw, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		vs := &istiov1.VirtualService{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "finch"}}
		if err := c.Patch(t.Context(), vs, client.RawPatch(kind, raw), opts...); err != nil {
			t.Fatal(err)
		}
	}
	return map[string]func(c client.Client, body fields){
		"kubectl apply": func(c client.Client, body fields) {
			last, err := json.Marshal(body)
			if err != nil {
				t.Fatal(err)
			}
			patch(c, types.MergePatchType, fields{
				"metadata": fields{"annotations": fields{corev1.LastAppliedConfigAnnotation: string(last)}}, "spec": body["spec"],
			}, client.FieldOwner("kubectl-client-side-apply"))
		},
		"server-side apply": func(c client.Client, body fields) {
			patch(c, types.ApplyPatchType, body, client.FieldOwner("flux"), client.ForceOwnership)
		},
	}
}

// A VirtualService that its user applies over the generated one is the user's from then on: it is adopted, and given back as it was
// applied. One that is applied without rules is not, and one that is only edited is put right.
func TestVirtualServiceThatComesLater(t *testing.T) {
	body := func(spec fields) fields {
		return fields{
			"apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
			"metadata": fields{"name": "finch", "namespace": namespace}, "spec": spec,
		}
	}
	rules := []any{fields{"name": "theirs", "timeout": "7s", "route": []any{fields{"destination": fields{"host": "finch"}}}}}
	for way, write := range ways(t) {
		t.Run(way, func(t *testing.T) {
			w := newWorld(t, finch())
			w.in.Split = router.Split{Primary: 90, Canary: 10}
			w.apply(t)
			write(w.Client, body(fields{"hosts": []any{"theirs.example.org"}, "http": rules}))
			if obs, err := w.router.Observe(t.Context(), w.in); err != nil || obs.Evidence != router.EvidenceNone {
				t.Fatalf("what the user applied is taken for Siskin's: %+v %v", obs, err)
			}
			receipt, err := w.router.Apply(t.Context(), w.in)
			if err != nil || !receipt.Adopted || receipt.Foreign {
				t.Fatalf("receipt %+v %v", receipt, err)
			}
			vs := w.vs(t)
			if len(vs.OwnerReferences) > 0 || vs.Labels[siskinv1.CanaryLabel] != "" || len(vs.Spec.Gateways) > 0 || len(vs.Spec.Http) != 1 {
				t.Fatalf("adopted: %+v", vs)
			}
			got := map[string]int32{}
			for _, to := range vs.Spec.Http[0].Route {
				got[to.Destination.Host] = to.Weight
			}
			if diff := cmp.Diff(map[string]int32{"finch-primary": 90, "finch-canary": 10}, got); diff != "" {
				t.Error(diff)
			}
			if receipt, err := w.router.Apply(t.Context(), w.in); err != nil || receipt.Changed {
				t.Errorf("a second Apply writes: %+v %v", receipt, err)
			}
			w.in.Keep = true
			if err := w.router.Release(t.Context(), w.in); err != nil {
				t.Fatal(err)
			}
			want := &networking.VirtualService{}
			text, err := json.Marshal(fields{"hosts": []any{"theirs.example.org"}, "http": rules})
			if err == nil {
				err = want.UnmarshalJSON(text)
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(jsonOf(t, want), jsonOf(t, w.spec(t))); diff != "" {
				t.Errorf("given back: %s", diff)
			}
		})
		t.Run(way+" while the Canary goes", func(t *testing.T) {
			w := newWorld(t, finch())
			w.apply(t)
			write(w.Client, body(fields{"hosts": []any{"theirs.example.org"}, "http": rules}))
			w.in.Keep = true
			if err := w.router.Release(t.Context(), w.in); err != nil {
				t.Fatal(err)
			}
			if vs := w.vs(t); len(vs.OwnerReferences) > 0 || len(vs.Spec.Http) != 1 || vs.Spec.Http[0].Name != "theirs" {
				t.Errorf("not the user's: %+v", vs)
			}
		})
		t.Run(way+" without rules", func(t *testing.T) {
			w := newWorld(t, finch())
			w.apply(t)
			write(w.Client, body(fields{"exportTo": []any{"."}}))
			w.apply(t)
			if vs := w.vs(t); vs.Labels[siskinv1.CanaryLabel] == "" || len(vs.Spec.ExportTo) != 1 {
				t.Errorf("given up for an exportTo: %+v", vs)
			}
		})
	}
}

func jsonOf(t *testing.T, spec *networking.VirtualService) string {
	t.Helper()
	data, err := spec.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
