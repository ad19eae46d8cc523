// Package ssa has the one way in which Siskin writes objects: server-side apply with one field manager.
package ssa

import (
	"context"
	"encoding/json"
	"fmt"

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
	gvk, err := c.GroupVersionKindFor(obj)
	if err != nil {
		return fmt.Errorf("finding the kind of %T: %w", obj, err)
	}
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(obj)
	if err != nil {
		return fmt.Errorf("converting %s %s: %w", gvk.Kind, obj.GetName(), err)
	}
	prune(content)
	if meta, ok := content["metadata"].(map[string]any); ok && version != "" {
		meta["resourceVersion"] = version
	}
	content["apiVersion"], content["kind"] = gvk.GroupVersion().String(), gvk.Kind
	data, err := json.Marshal(content)
	if err != nil {
		return fmt.Errorf("encoding %s %s: %w", gvk.Kind, obj.GetName(), err)
	}
	live.SetName(obj.GetName())
	live.SetNamespace(obj.GetNamespace())
	err = c.Patch(ctx, live, client.RawPatch(types.ApplyPatchType, data), client.FieldOwner(siskinv1.FieldManager), client.ForceOwnership)
	if err != nil {
		return fmt.Errorf("applying %s %s/%s: %w", gvk.Kind, obj.GetNamespace(), obj.GetName(), err)
	}
	return nil
}

// prune takes away what an apply must not name: status, and what the API server sets.
func prune(content map[string]any) {
	delete(content, "status")
	meta, _ := content["metadata"].(map[string]any)
	for _, field := range []string{"creationTimestamp", "managedFields", "resourceVersion", "uid", "generation"} {
		delete(meta, field)
	}
}
