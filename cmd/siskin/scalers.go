package main

import (
	"fmt"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/siskin-dev/siskin/pkg/canary/scaler"
)

// servedScalers are the kinds of autoscalers that this API server has: without KEDA's CRD a ScaledObject is missing, and all else works.
func servedScalers(mgr ctrl.Manager) ([]schema.GroupVersionKind, error) {
	var out []schema.GroupVersionKind
	for _, gvk := range []schema.GroupVersionKind{scaler.HPA(), scaler.ScaledObject()} {
		switch _, err := mgr.GetRESTMapper().RESTMapping(gvk.GroupKind(), gvk.Version); {
		case err == nil:
			out = append(out, gvk)
		case !meta.IsNoMatchError(err): // not an answer
			return nil, fmt.Errorf("finding out whether %s is served: %w", gvk, err)
		}
	}
	return out, nil
}

// scalerClient reads autoscalers, which have no Go types here, from the caches. The manager's client asks the API server for such
// objects, which is what GitSync needs.
func scalerClient(mgr ctrl.Manager) (client.Client, error) {
	c, err := client.New(mgr.GetConfig(), client.Options{
		HTTPClient: mgr.GetHTTPClient(), Scheme: mgr.GetScheme(), Mapper: mgr.GetRESTMapper(),
		Cache: &client.CacheOptions{Reader: mgr.GetCache(), Unstructured: true, EnableReadYourWritesConsistency: new(true)},
	})
	if err != nil {
		return nil, fmt.Errorf("making a client for autoscalers: %w", err)
	}
	return c, nil
}
