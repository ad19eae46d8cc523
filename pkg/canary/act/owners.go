package act

import (
	"bytes"
	"fmt"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
)

// inherited returns who is to own the fields of an object that Siskin has just changed: those who did before. What
// Siskin added to the pod template goes to whoever applies that, whose next apply takes away what it does not have.
// Siskin keeps what it applies itself.
func inherited(before, after []metav1.ManagedFieldsEntry) ([]metav1.ManagedFieldsEntry, error) {
	owners := slices.DeleteFunc(slices.Clone(before), func(e metav1.ManagedFieldsEntry) bool { return e.Subresource != "" || written(e) })
	added := slices.IndexFunc(after, written)
	heir, has, err := heirOf(owners)
	if heir < 0 || added < 0 || err != nil {
		return owners, err
	}
	mine, err := fieldsOf(after[added])
	if err != nil {
		return nil, err
	}
	raw, err := has.Union(templateOf(mine)).ToJSON()
	if err != nil {
		return nil, fmt.Errorf("encoding the fields of manager %s: %w", owners[heir].Manager, err)
	}
	owners[heir].FieldsV1 = metav1.NewFieldsV1(string(raw))
	return owners, nil
}

// heirOf finds who applies the pod template, and what that is; -1: nobody does.
func heirOf(owners []metav1.ManagedFieldsEntry) (int, fieldpath.Set, error) {
	for i, e := range owners {
		if e.Operation != metav1.ManagedFieldsOperationApply || e.Manager == siskinv1.FieldManager {
			continue
		}
		has, err := fieldsOf(e)
		if err != nil || templateOf(has).Size() > 0 {
			return i, has, err
		}
	}
	return -1, fieldpath.Set{}, nil
}

// templateOf are those of some fields that are of the pod template.
func templateOf(fields fieldpath.Set) *fieldpath.Set {
	template, out := fieldpath.MakePathOrDie("spec", "template"), fieldpath.NewSet()
	fields.Iterate(func(p fieldpath.Path) {
		if len(p) > len(template) && p[:len(template)].Equals(template) {
			out.Insert(p.Copy())
		}
	})
	return out
}

// written tells whether an entry is of what Siskin wrote without applying it.
func written(e metav1.ManagedFieldsEntry) bool {
	return e.Manager == siskinv1.FieldManager && e.Operation == metav1.ManagedFieldsOperationUpdate && e.Subresource == ""
}

func fieldsOf(e metav1.ManagedFieldsEntry) (fieldpath.Set, error) {
	var set fieldpath.Set
	if e.FieldsV1 == nil {
		return set, nil
	}
	if err := set.FromJSON(bytes.NewReader(e.FieldsV1.GetRawBytes())); err != nil {
		return set, fmt.Errorf("reading the fields of manager %s: %w", e.Manager, err)
	}
	return set, nil
}
