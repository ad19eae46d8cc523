package gatewayapi

import (
	"maps"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/router"
	"github.com/siskin-dev/siskin/pkg/router/internal/owned"
)

// seal puts two digests on a route that is to be written: of all that is wanted, so that a field that is no longer wanted is noticed,
// and of its spec as it will be read, so that a write of somebody else is.
func seal(route *gatewayv1.HTTPRoute) error {
	if err := owned.Seal(route, route); err != nil {
		return err
	}
	written, err := owned.Digest(filled(route.Spec))
	if err != nil {
		return err
	}
	route.Annotations[siskinv1.WrittenAnnotation] = written
	return nil
}

// covered tells whether live has the metadata of want. The digest of the spec is no reason to write: the spec itself is compared.
func covered(live, want metav1.Object) bool {
	plain := metav1.ObjectMeta{Labels: want.GetLabels(), Annotations: maps.Clone(want.GetAnnotations()), OwnerReferences: want.GetOwnerReferences()}
	delete(plain.Annotations, siskinv1.WrittenAnnotation)
	return owned.MetaCovers(live, &plain)
}

// foreign tells whether the spec of a route of this Canary is not the one that Siskin left: another one than its digest, or one
// without a trace of Siskin. Hostnames that Siskin did not set may be somebody else's.
func foreign(live *gatewayv1.HTTPRoute, in router.Intent) bool {
	left, sealed := live.Annotations[siskinv1.WrittenAnnotation]
	if !sealed {
		_, applied := live.Annotations[siskinv1.AppliedAnnotation]
		return !applied && metav1.IsControlledBy(live, in.Owner)
	}
	return !leaves(live, left)
}

// sealed tells whether the spec of a route is the one that Siskin left.
func sealed(live *gatewayv1.HTTPRoute) bool {
	left, ok := live.Annotations[siskinv1.WrittenAnnotation]
	return ok && leaves(live, left)
}

// leaves tells whether a spec has a digest, with its hostnames or without.
func leaves(live *gatewayv1.HTTPRoute, left string) bool {
	spec := filled(live.Spec)
	for range 2 {
		have, err := owned.Digest(spec)
		if err != nil || have == left {
			return true
		}
		spec.Hostnames = nil
	}
	return false
}
