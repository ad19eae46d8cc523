// Package owned has what the writers of generated objects share: whose an object is, whether it still is what was applied,
// and the one way to write it (server-side apply, one field manager).
package owned

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/internal/ssa"
)

// Holder tells whose an object is.
type Holder int

const (
	// Foreign : somebody else made it.
	Foreign Holder = iota
	// Ours : this Canary generated it.
	Ours
	// Leftover : an earlier Canary of the same name generated it; the garbage collector is about to delete it.
	Leftover
)

// By tells whose obj is, seen from canary. An object without a controller but with the Canary's label was left by
// deletionPolicy Orphan and is taken back.
func By(obj metav1.Object, canary *siskinv1.Canary) Holder {
	ref := metav1.GetControllerOf(obj)
	switch {
	case ref == nil && obj.GetLabels()[siskinv1.CanaryLabel] == canary.Name:
		return Ours
	case ref == nil:
		return Foreign
	case ref.UID == canary.UID:
		return Ours
	case IsCanary(*ref) && ref.Name == canary.Name:
		return Leftover
	default:
		return Foreign
	}
}

// IsCanary tells whether ref points at a Canary of any version.
func IsCanary(ref metav1.OwnerReference) bool {
	gv, err := schema.ParseGroupVersion(ref.APIVersion)
	return err == nil && gv.Group == siskinv1.GroupVersion.Group && ref.Kind == "Canary"
}

// Meta returns the metadata of a generated object: the user's labels and annotations first, Siskin's over them.
func Meta(canary *siskinv1.Canary, name string, extra *siskinv1.Metadata) metav1.ObjectMeta {
	m := metav1.ObjectMeta{
		Name: name, Namespace: canary.Namespace,
		Labels: map[string]string{}, Annotations: map[string]string{},
		OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(canary, siskinv1.GroupVersion.WithKind("Canary"))},
	}
	if extra != nil {
		maps.Copy(m.Labels, extra.Labels)
		maps.Copy(m.Annotations, extra.Annotations)
	}
	m.Labels[siskinv1.CanaryLabel] = canary.Name
	return m
}

// Seal puts a digest of content on obj. With it a field that is no longer wanted is noticed, though a comparison that
// tolerates what others added cannot see it.
func Seal(obj client.Object, content any) error {
	digest, err := Digest(content)
	if err != nil {
		return fmt.Errorf("digesting %T %s: %w", obj, obj.GetName(), err)
	}
	annotations := obj.GetAnnotations()
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[siskinv1.AppliedAnnotation] = digest
	obj.SetAnnotations(annotations)
	return nil
}

// Digest of content, as it stands in annotations.
func Digest(content any) (string, error) {
	raw, err := json.Marshal(content)
	if err != nil {
		return "", fmt.Errorf("encoding: %w", err)
	}
	sum := sha256.Sum256(raw)
	return "sha256:" + hex.EncodeToString(sum[:8]), nil
}

// MetaCovers tells whether live has all labels, annotations (the digest is one of them) and owners of want.
func MetaCovers(live, want metav1.Object) bool {
	for _, owner := range want.GetOwnerReferences() {
		if !slices.ContainsFunc(live.GetOwnerReferences(), func(o metav1.OwnerReference) bool { return o.UID == owner.UID }) {
			return false
		}
	}
	return contains(live.GetLabels(), want.GetLabels()) && contains(live.GetAnnotations(), want.GetAnnotations())
}

func contains(all, part map[string]string) bool {
	for k, v := range part {
		if have, ok := all[k]; !ok || have != v {
			return false
		}
	}
	return true
}

// Write applies obj, which Siskin generated, server-side as its field manager. What others own stays; what Siskin no longer sends goes. live, which must be
// of obj's type, holds what the API server made of it.
func Write(ctx context.Context, c client.Client, obj, live client.Object) error {
	return ssa.ApplyOwned(ctx, c, obj, live, "")
}

// Disown takes the Canary, and its target that owns obj beside it, out of obj's owners. Its label stays: a Canary of the
// same name takes obj back by it.
func Disown(obj metav1.Object, canary *siskinv1.Canary) {
	ref := canary.Spec.TargetRef
	obj.SetOwnerReferences(slices.DeleteFunc(slices.Clone(obj.GetOwnerReferences()), func(o metav1.OwnerReference) bool {
		beside := o.Controller == nil && o.Kind == ref.Kind && o.Name == ref.Name
		return o.UID == canary.UID || beside
	}))
}

// Orphan gives obj up without deleting it: the Canary is no owner any more, and the rest stays as it is. obj is not changed. One that is
// not the Canary's is left alone.
func Orphan(ctx context.Context, c client.Client, obj client.Object, canary *siskinv1.Canary) error {
	if !metav1.IsControlledBy(obj, canary) {
		return nil
	}
	kept, ok := obj.DeepCopyObject().(client.Object)
	if !ok {
		return fmt.Errorf("copying %T %s", obj, obj.GetName())
	}
	Disown(kept, canary)
	if err := c.Patch(ctx, kept, client.MergeFrom(obj), client.FieldOwner(siskinv1.FieldManager)); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("releasing %T %s: %w", obj, obj.GetName(), err)
	}
	return nil
}
