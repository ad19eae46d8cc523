package api_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/siskin-dev/siskin/e2e/cluster"
	"github.com/siskin-dev/siskin/pkg/router"
	"github.com/siskin-dev/siskin/pkg/router/gatewayapi"
	"github.com/siskin-dev/siskin/pkg/router/gatewayapi/gatewayapitest"
	"github.com/siskin-dev/siskin/pkg/router/routertest"
)

const futureRoute = `
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: finch, labels: {a: b}, annotations: {c: d}}
spec:
  parentRefs: [{name: public}]
  rules:
  - novel: {budget: 3, parts: [{deep: "1"}, {deep: "2"}]}
    filters: [{type: ResponseHeaderModifier, responseHeaderModifier: {set: [{name: x, value: "y"}]}}]
    backendRefs: [{name: finch, port: 80, weight: 3}, {name: legacy, port: 80}]
  - matches: [{path: {value: /admin}}]
    novel: {budget: 4}
    backendRefs: [{name: admin, port: 80}]
`

// TestAdoptionKeepsFieldsOfNewerCRDs : what this version's types do not know stays while a route is adopted, an edit
// of it counts, and what is given back is what its author wrote, as JSON.
func TestAdoptionKeepsFieldsOfNewerCRDs(t *testing.T) {
	e := given(t)
	ctx, ns := t.Context(), e.Namespace(t)
	crd := &unstructured.Unstructured{}
	crd.SetAPIVersion("apiextensions.k8s.io/v1")
	crd.SetKind("CustomResourceDefinition")
	if err := e.API.Get(ctx, client.ObjectKey{Name: "httproutes.gateway.networking.k8s.io"}, crd); err != nil {
		t.Fatal(err)
	}
	base := crd.DeepCopy()
	versions, _, _ := unstructured.NestedSlice(crd.Object, "spec", "versions")
	for _, v := range versions {
		version, _ := v.(map[string]any)
		err := unstructured.SetNestedField(version, map[string]any{"type": "object", "x-kubernetes-preserve-unknown-fields": true},
			"schema", "openAPIV3Schema", "properties", "spec", "properties", "rules", "items", "properties", "novel")
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := unstructured.SetNestedSlice(crd.Object, versions, "spec", "versions"); err != nil {
		t.Fatal(err)
	}
	if err := e.API.Patch(ctx, crd, client.MergeFrom(base)); err != nil {
		t.Fatal(err)
	}
	read := func() *unstructured.Unstructured {
		t.Helper()
		out := &unstructured.Unstructured{}
		out.SetAPIVersion("gateway.networking.k8s.io/v1")
		out.SetKind("HTTPRoute")
		if err := e.API.Get(ctx, client.ObjectKey{Namespace: ns, Name: "finch"}, out); err != nil {
			t.Fatal(err)
		}
		return out
	}
	var manifest map[string]any
	if err := yaml.Unmarshal([]byte(futureRoute), &manifest); err != nil {
		t.Fatal(err)
	}
	cluster.Eventually(t, 30*time.Second, func(context.Context) error { // until the API server keeps the field
		if err := e.API.Apply(ctx, config(runtimeCopy(t, manifest), ns), client.FieldOwner("git")); err != nil {
			return fmt.Errorf("applying: %w", err)
		}
		if raw, _ := json.Marshal(read()); !strings.Contains(string(raw), "deep") {
			return errors.New("the field is not kept yet")
		}
		return nil
	})
	written := func() string {
		o := read()
		for _, field := range []string{"generation", "resourceVersion", "managedFields"} {
			unstructured.RemoveNestedField(o.Object, "metadata", field)
		}
		delete(o.Object, "status")
		raw, err := json.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		return string(raw)
	}
	before := written()
	r, in := gatewayapi.New(e.API, e.API, clock.RealClock{}), routertest.Intent(owner(t, e, gatewayapitest.Canary(ns)))
	for _, split := range []router.Split{{Primary: 100}, {Primary: 90, Canary: 10}, {Canary: 100}} {
		in.Split = split
		if _, err := r.Apply(ctx, in); err != nil {
			t.Fatal(err)
		}
		if raw, _ := json.Marshal(read().Object["spec"]); !strings.Contains(string(raw), `"novel":{"budget":3,"parts":[{"deep":"1"},{"deep":"2"}]}`) {
			t.Fatalf("%s: %s", split, raw)
		}
		if receipt, err := r.Apply(ctx, in); err != nil || receipt.Changed {
			t.Errorf("%s: the second Apply wrote: %+v %v", split, receipt, err)
		}
	}
	if err := r.Release(ctx, in); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, written()); diff != "" {
		t.Errorf("-before +after\n%s", diff)
	}
	if _, err := r.Apply(ctx, in); err != nil {
		t.Fatal(err)
	}
	edit := client.RawPatch("application/json-patch+json", []byte(`[{"op": "replace", "path": "/spec/rules/1/novel/budget", "value": 5}]`))
	if err := e.API.Patch(ctx, read(), edit, client.FieldOwner("somebody")); err != nil {
		t.Fatal(err)
	}
	if obs, err := r.Observe(ctx, in); err != nil || obs.Evidence != router.EvidenceNone {
		t.Errorf("an edit of what is not known is not seen: %+v %v", obs, err)
	}
	if _, err := r.Apply(ctx, in); err != nil {
		t.Fatal(err)
	}
	if err := r.Release(ctx, in); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Replace(before, `"budget":4`, `"budget":5`, 1), written()); diff != "" {
		t.Errorf("-before +after\n%s", diff)
	}
}

// runtimeCopy is a copy of a manifest, which an apply may change.
func runtimeCopy(t *testing.T, manifest map[string]any) map[string]any {
	t.Helper()
	raw, err := json.Marshal(manifest)
	if err != nil {
		t.Fatal(err)
	}
	var out map[string]any
	if err := json.Unmarshal(raw, &out); err != nil {
		t.Fatal(err)
	}
	return out
}
