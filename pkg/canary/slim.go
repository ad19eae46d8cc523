package canary

import (
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/labels"
	toolscache "k8s.io/client-go/tools/cache"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/router/service"
)

// Slim takes off an object what no decision reads, before it is kept in the cache: who manages which field, and the copy of itself
// that kubectl apply leaves in an annotation. That somebody applied what Siskin generated is kept.
func Slim(in any) (any, error) {
	obj, err := meta.Accessor(in)
	if err != nil {
		return in, nil //nolint:nilerr // a tombstone is no object
	}
	service.Show(obj)
	obj.SetManagedFields(nil)
	if a := obj.GetAnnotations(); a[corev1.LastAppliedConfigAnnotation] != "" {
		delete(a, corev1.LastAppliedConfigAnnotation)
	}
	return in, nil
}

// SlimEndpoints is Slim for EndpointSlices, the largest of which are other people's: where a pod runs is read by nobody.
func SlimEndpoints(in any) (any, error) {
	slice, ok := in.(*discoveryv1.EndpointSlice)
	if !ok {
		return in, nil
	}
	for i := range slice.Endpoints {
		e := &slice.Endpoints[i]
		e.NodeName, e.Zone, e.Hints, e.DeprecatedTopology = nil, nil, nil, nil
	}
	return Slim(slice)
}

// SlimConfig keeps of the metadata of a ConfigMap only what tells that it has changed.
func SlimConfig(in any) (any, error) {
	obj, err := meta.Accessor(in)
	if err != nil {
		return in, nil //nolint:nilerr // a tombstone is no object
	}
	obj.SetManagedFields(nil)
	obj.SetLabels(nil)
	var kept map[string]string
	if value, ok := obj.GetAnnotations()[siskinv1.ConfigTrackingAnnotation]; ok {
		kept = map[string]string{siskinv1.ConfigTrackingAnnotation: value}
	}
	obj.SetAnnotations(kept)
	return in, nil
}

// SlimCanary is Slim for Canaries; of those of other shards it keeps only what they claim, and whether they have begun. A nil selector means that there are no
// shards.
func SlimCanary(mine labels.Selector) toolscache.TransformFunc {
	return func(in any) (any, error) {
		c, ok := in.(*siskinv1.Canary)
		if !ok {
			return in, nil
		}
		if mine != nil && !mine.Matches(labels.Set(c.Labels)) {
			// What routers claim hangs on the provider and the service, see router.Registration.
			c.Spec = siskinv1.CanarySpec{
				TargetRef: c.Spec.TargetRef, Provider: c.Spec.Provider, RouteRef: c.Spec.RouteRef, Service: c.Spec.Service,
			}
			c.Status = siskinv1.CanaryStatus{Provider: c.Status.Provider, Stable: c.Status.Stable} // which tells that it has begun
		}
		return Slim(c)
	}
}
