package istio_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	networking "istio.io/api/networking/v1alpha3"
	istiov1 "istio.io/client-go/pkg/apis/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/router"
	"github.com/siskin-dev/siskin/pkg/router/istio"
	"github.com/siskin-dev/siskin/pkg/router/istio/istiotest"
	"github.com/siskin-dev/siskin/pkg/router/routertest"
)

// server is an API server that keeps a VirtualService as it is sent, with fields that Istio's types do not know. What it gives to
// those who read the types has no such fields.
type server struct {
	client.Client

	t    *testing.T
	have fields
}

type fields = map[string]any

func (s *server) Get(ctx context.Context, key client.ObjectKey, obj client.Object, opts ...client.GetOption) error {
	switch o := obj.(type) {
	case *unstructured.Unstructured:
		o.Object = copyOf(s.t, s.have)
		return nil
	case *istiov1.VirtualService:
		data, err := json.Marshal(s.have)
		if err != nil {
			return err
		}
		return json.Unmarshal(data, o)
	}
	return s.Client.Get(ctx, key, obj, opts...)
}

func (s *server) Patch(_ context.Context, obj client.Object, patch client.Patch, _ ...client.PatchOption) error {
	data, err := patch.Data(obj)
	if err != nil {
		return err
	}
	var change fields
	if err := json.Unmarshal(data, &change); err != nil {
		return err
	}
	merge(s.have, change)
	return nil
}

// merge is what a JSON merge patch does.
func merge(into, change fields) {
	for key, v := range change {
		next, ok := v.(fields)
		switch have, is := into[key].(fields); {
		case v == nil:
			delete(into, key)
		case ok && is:
			merge(have, next)
		default:
			into[key] = v
		}
	}
}

func copyOf(t *testing.T, of fields) fields {
	t.Helper()
	data, err := json.Marshal(of)
	if err != nil {
		t.Fatal(err)
	}
	var out fields
	if err := json.Unmarshal(data, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// T17: fields that Istio's types do not know are there while a VirtualService is adopted, and after it was given back, byte for byte.
func TestT17UnknownFieldsSurvive(t *testing.T) {
	original := fields{
		"apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
		"metadata": fields{"name": "finch", "namespace": namespace, "uid": "b1", "resourceVersion": "1", "annotations": fields{"example.org/owner": "aviary"}},
		"spec": fields{
			"hosts": []any{"finch.example.org"}, "newInSpec": "1",
			"http": []any{
				fields{"newRule": fields{"a": "b"}, "redirect": fields{"uri": "/x"}, "match": []any{fields{"uri": fields{"exact": "/y"}}}},
				fields{
					"match": []any{fields{"uri": fields{"prefix": "/"}, "newMatch": "2"}}, "timeout": "90s", "newPolicy": fields{"burst": float64(3)},
					"route": []any{fields{"destination": fields{"host": "finch", "newTo": true}, "newEntry": "4"}},
				},
			},
		},
	}
	s := &server{Client: istiotest.NewClient(t), t: t, have: copyOf(t, original)}
	in := routertest.Intent(finch())
	in.Split, in.Affinity = router.Split{Primary: 80, Canary: 20, Audience: true}, routertest.Affinity()
	in.Audience = routertest.Audience()[:1]
	r := istio.New(s, s, fixed())
	if _, err := r.Apply(t.Context(), in); err != nil {
		t.Fatal(err)
	}
	spec, _ := s.have["spec"].(fields)
	rules, _ := spec["http"].([]any)
	if len(rules) != 6 || spec["newInSpec"] != "1" {
		t.Fatalf("%d rules: %v", len(rules), spec)
	}
	if diff := cmp.Diff(original["spec"].(fields)["http"].([]any)[0], rules[0]); diff != "" {
		t.Errorf("the rule that leads elsewhere: %s", diff)
	}
	for i, one := range rules[1:] {
		data, err := json.Marshal(one)
		if err != nil {
			t.Fatal(err)
		}
		for _, field := range []string{"newMatch", "newPolicy", "newTo", "newEntry", "90s"} {
			if !strings.Contains(string(data), field) {
				t.Errorf("rule %d has lost %s: %s", i+1, field, data)
			}
		}
	}
	in.Split, in.Keep = router.Split{Primary: 100}, true
	if err := r.Release(t.Context(), in); err != nil {
		t.Fatal(err)
	}
	delete(s.have["metadata"].(fields), "managedFields")
	if diff := cmp.Diff(original, s.have); diff != "" {
		t.Errorf("given back: %s", diff)
	}
}

// What the author writes while it is adopted counts: in what Siskin had made of the rules, or over them.
func TestTheAuthorsEditsCount(t *testing.T) {
	rollout := func(in *router.Intent) {
		in.Split, in.Affinity, in.Audience = router.Split{Primary: 80, Canary: 20, Audience: true, Mirror: 5}, routertest.Affinity(), routertest.Audience()[:1]
	}
	for name, edit := range map[string]func(vs *istiov1.VirtualService){
		"the main rule": func(vs *istiov1.VirtualService) {
			vs.Spec.Http[len(vs.Spec.Http)-1].Rewrite = &networking.HTTPRewrite{Authority: "x"}
		},
		"all that he sees": func(vs *istiov1.VirtualService) {
			for _, r := range vs.Spec.Http[1:] {
				r.Rewrite = &networking.HTTPRewrite{Authority: "x"}
			}
		},
		"his own rules again": func(vs *istiov1.VirtualService) {
			vs.Spec.Http = theirs().Spec.Http
			vs.Spec.Http[1].Rewrite = &networking.HTTPRewrite{Authority: "x"}
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, finch(), theirs())
			rollout(&w.in)
			w.apply(t)
			vs := w.vs(t)
			edit(vs)
			if err := w.Client.Update(t.Context(), vs, client.FieldOwner("somebody-else")); err != nil {
				t.Fatal(err)
			}
			if obs, err := w.router.Observe(t.Context(), w.in); err != nil || obs.Evidence != router.EvidenceNone || !obs.Known {
				t.Fatalf("%+v %v", obs, err)
			}
			receipt, err := w.router.Apply(t.Context(), w.in)
			if err != nil || !receipt.Adopted || receipt.Foreign || receipt.By != "somebody-else" {
				t.Fatalf("%+v %v", receipt, err)
			}
			for i, r := range w.spec(t).Http[1:] {
				if r.GetRewrite().GetAuthority() != "x" {
					t.Errorf("rule %d does not have the edit", i+1)
				}
			}
			w.in.Split, w.in.Affinity, w.in.Keep = router.Split{Primary: 100}, nil, true
			if err := w.router.Release(t.Context(), w.in); err != nil {
				t.Fatal(err)
			}
			want := theirs()
			want.Spec.Http[1].Rewrite = &networking.HTTPRewrite{Authority: "x"}
			if diff := cmp.Diff(istiotest.JSON(t, want), istiotest.JSON(t, w.vs(t))); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestWhatIsNotAdopted(t *testing.T) {
	for name, c := range map[string]struct {
		edit func(vs *istiov1.VirtualService)
		says string
	}{
		"opted out": {func(vs *istiov1.VirtualService) {
			vs.Annotations = map[string]string{siskinv1.AdoptAnnotation: "disabled"}
		}, "remove it"},
		"nothing to it": {func(vs *istiov1.VirtualService) { vs.Spec.Http = vs.Spec.Http[:1] }, "give it a destination with host finch"},
		"a subset":      {func(vs *istiov1.VirtualService) { vs.Spec.Http[1].Route[0].Destination.Subset = "v1" }, "leave the subset out"},
		"kept by another": {func(vs *istiov1.VirtualService) {
			vs.OwnerReferences = []metav1.OwnerReference{{APIVersion: "x/v1", Kind: "Mesh", Name: "m", UID: "u", Controller: new(true)}}
		}, "kept by Mesh m"},
		"another namespace": {func(vs *istiov1.VirtualService) {
			vs.Spec.Http[1].Route[0].Destination.Host = "finch.other.svc.cluster.local"
		}, "give it a destination"},
	} {
		t.Run(name, func(t *testing.T) {
			vs := theirs()
			c.edit(vs)
			w := newWorld(t, finch(), vs)
			before := w.vs(t).ResourceVersion
			_, err := w.router.Apply(t.Context(), w.in)
			if err == nil || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), "spec.service.name") {
				t.Errorf("error %v", err)
			}
			if w.vs(t).ResourceVersion != before {
				t.Error("it was written")
			}
			if obs, err := w.router.Observe(t.Context(), w.in); err != nil || obs.Known || obs.Evidence != router.EvidenceNone {
				t.Errorf("%+v %v", obs, err)
			}
		})
	}
}
