package ssa

import (
	"fmt"
	"maps"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// MergeFrom is a merge patch from base that fails if the object has another version by now, for objects that may come
// from a cache that does not keep all annotations. A patch that is made of what the cache keeps says "no annotations"
// when the last one that it knows goes, and would take away those that it does not know too.
func MergeFrom(base client.Object) client.Patch {
	b, ok := base.DeepCopyObject().(client.Object)
	if !ok {
		b = base
	}
	keep(b)
	return merge{client.MergeFromWithOptions(b, client.MergeFromWithOptimisticLock{})}
}

// merge has the hidden annotation on both sides, so that it is no difference.
type merge struct{ client.Patch }

// Data is the patch that makes obj of the base.
func (m merge) Data(obj client.Object) ([]byte, error) {
	o, ok := obj.DeepCopyObject().(client.Object)
	if !ok {
		return nil, fmt.Errorf("copying %T %s", obj, obj.GetName())
	}
	keep(o)
	data, err := m.Patch.Data(o)
	if err != nil {
		return nil, fmt.Errorf("making a patch of %T %s: %w", obj, obj.GetName(), err)
	}
	return data, nil
}

func keep(obj client.Object) {
	a := map[string]string{}
	maps.Copy(a, obj.GetAnnotations())
	a[corev1.LastAppliedConfigAnnotation] = "kept"
	obj.SetAnnotations(a)
}
