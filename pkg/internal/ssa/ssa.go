// Package ssa has the one way in which Siskin writes objects: server-side apply with one field manager.
package ssa

import (
	"context"
	"encoding/json"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
)

// Apply applies obj as the field manager siskin and takes fields over that others own. What others own and obj does not name
// stays; what an earlier Apply named and obj no longer does goes. On success live, which must be of obj's type, holds the
// result.
//
// The patch is sent through the typed client, so that a client with read-your-writes consistency knows what was written.
func Apply(ctx context.Context, c client.Client, obj, live client.Object) error {
	return ApplyOver(ctx, c, obj, live, "")
}

// ApplyOver is Apply over one version of the object, or over any if that is "". Errors: a conflict, if the object has another version
// by now.
func ApplyOver(ctx context.Context, c client.Client, obj, live client.Object, version string) error {
	data, err := body(c, obj, version)
	if err != nil {
		return err
	}
	return apply(ctx, c, obj, live, data)
}

// ApplyOwned is ApplyOver for an object that is Siskin's as a whole. Lists are merged by their keys, so that an element whose key somebody
// edited (the number of a Service's port) stays beside the one that is wanted, and the API server may refuse the two together. Then
// the lists that obj names are replaced, and obj is applied again.
func ApplyOwned(ctx context.Context, c client.Client, obj, live client.Object, version string) error {
	data, err := body(c, obj, version)
	if err != nil {
		return err
	}
	refused := apply(ctx, c, obj, live, data)
	if !apierrors.IsInvalid(refused) {
		return refused
	}
	// In a merge patch lists are values.
	err = c.Patch(ctx, live, client.RawPatch(types.MergePatchType, data), client.FieldOwner(siskinv1.FieldManager))
	if apierrors.IsInvalid(err) || apierrors.IsNotFound(err) { // the lists were not the reason
		return refused
	}
	if err != nil {
		return fmt.Errorf("replacing the lists of %s: %w", called(c, obj), err)
	}
	if version != "" {
		version = live.GetResourceVersion()
	}
	if data, err = body(c, obj, version); err != nil {
		return err
	}
	return apply(ctx, c, obj, live, data)
}

// apply sends data, which obj was made to, and has live hold the result.
func apply(ctx context.Context, c client.Client, obj, live client.Object, data []byte) error {
	live.SetName(obj.GetName())
	live.SetNamespace(obj.GetNamespace())
	err := c.Patch(ctx, live, client.RawPatch(types.ApplyPatchType, data), client.FieldOwner(siskinv1.FieldManager), client.ForceOwnership)
	if err != nil {
		return fmt.Errorf("applying %s: %w", called(c, obj), err)
	}
	return nil
}

// called is how people call obj.
func called(c client.Client, obj client.Object) string {
	gvk, err := c.GroupVersionKindFor(obj)
	if err != nil {
		gvk.Kind = fmt.Sprintf("%T", obj)
	}
	return gvk.Kind + " " + obj.GetNamespace() + "/" + obj.GetName()
}

// body is what an apply of obj over a version, or over any, sends.
func body(c client.Client, obj client.Object, version string) ([]byte, error) {
	gvk, err := c.GroupVersionKindFor(obj)
	if err != nil {
		return nil, fmt.Errorf("finding the kind of %T: %w", obj, err)
	}
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(obj)
	if err != nil {
		return nil, fmt.Errorf("converting %s %s: %w", gvk.Kind, obj.GetName(), err)
	}
	prune(content)
	if meta, ok := content["metadata"].(map[string]any); ok && version != "" {
		meta["resourceVersion"] = version
	}
	content["apiVersion"], content["kind"] = gvk.GroupVersion().String(), gvk.Kind
	data, err := json.Marshal(content)
	if err != nil {
		return nil, fmt.Errorf("encoding %s %s: %w", gvk.Kind, obj.GetName(), err)
	}
	return data, nil
}

// prune takes away what an apply must not name: status, and what the API server sets.
func prune(content map[string]any) {
	delete(content, "status")
	meta, _ := content["metadata"].(map[string]any)
	for _, field := range []string{"creationTimestamp", "managedFields", "resourceVersion", "uid", "generation"} {
		delete(meta, field)
	}
}
