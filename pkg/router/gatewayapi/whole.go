package gatewayapi

import (
	"context"
	"fmt"
	"sync"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/siskin-dev/siskin/pkg/router/internal/owned"
)

// wholesLimit bounds what is remembered.
const wholesLimit = 10_000

// whole is a route as the API server has it. The cache keeps neither the fields that this version does not know, nor
// who owns which, nor what kubectl applied.
type whole struct {
	generation  int64
	version     string
	rules       []any
	annotations map[string]string
	finalizers  []string
	// claimed tells that somebody else has applied the rules.
	claimed bool
}

// wholes remembers, of each route, the generation that was read last: what it is asked for is part of the spec.
type wholes struct {
	live client.Reader

	mu  sync.Mutex
	all map[types.UID]whole
}

// of returns the whole of a cached route, or of a later generation of it.
func (w *wholes) of(ctx context.Context, cached *gatewayv1.HTTPRoute) (whole, error) {
	w.mu.Lock()
	have, ok := w.all[cached.UID]
	w.mu.Unlock()
	if ok && have.generation >= cached.Generation {
		if have.generation == cached.Generation {
			have.annotations, have.finalizers, have.version = cached.Annotations, cached.Finalizers, cached.ResourceVersion
		}
		return have, nil
	}
	raw, err := w.read(ctx, cached)
	if err != nil {
		return whole{}, err
	}
	have = wholeOf(raw)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.all == nil || len(w.all) >= wholesLimit {
		w.all = map[types.UID]whole{}
	}
	w.all[cached.UID] = have
	return have, nil
}

// forget has a route read anew.
func (w *wholes) forget(uid types.UID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.all, uid)
}

// read reads a route from the API server.
func (w *wholes) read(ctx context.Context, cached *gatewayv1.HTTPRoute) (*unstructured.Unstructured, error) {
	raw := &unstructured.Unstructured{}
	raw.SetAPIVersion(gatewayv1.GroupVersion.String())
	raw.SetKind("HTTPRoute")
	if err := w.live.Get(ctx, client.ObjectKeyFromObject(cached), raw); err != nil {
		return nil, fmt.Errorf("reading HTTPRoute %s/%s: %w", cached.Namespace, cached.Name, err)
	}
	return raw, nil
}

func wholeOf(raw *unstructured.Unstructured) whole {
	out := whole{
		generation: raw.GetGeneration(), version: raw.GetResourceVersion(), annotations: raw.GetAnnotations(),
		finalizers: raw.GetFinalizers(), claimed: claimed(raw),
	}
	spec, _ := raw.Object["spec"].(fields)
	out.rules = list(spec, "rules")
	return out
}

// claimed tells whether somebody else has applied the rules of a route that Siskin generated.
func claimed(raw *unstructured.Unstructured) bool {
	_, applied := owned.AppliedSpec(raw)["rules"]
	return applied || owned.Applies(raw, "rules")
}
