package act

import (
	"bytes"
	"fmt"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
)

// inherited returns who is to own the fields of an object that Siskin has just changed: those who did before. What Siskin added to the pod
// template goes to whoever applies that, whose next apply takes away what it does not have. Siskin keeps what it applies itself.
func inherited(before, after []metav1.ManagedFieldsEntry) ([]metav1.ManagedFieldsEntry, error) {
	owners := slices.DeleteFunc(slices.Clone(before), func(e metav1.ManagedFieldsEntry) bool { return e.Subresource != "" || written(e) })
	template := fieldpath.MakePathOrDie("spec", "template")
	heir := -1
	var heirs fieldpath.Set
	for i, e := range owners {
		if e.Operation != metav1.ManagedFieldsOperationApply || e.Manager == siskinv1.FieldManager || e.FieldsV1 == nil {
			continue
		}
		set, err := fieldsOf(e)
		if err != nil {
			return nil, err
		}
		if heir < 0 && set.WithPrefix(template[0]).WithPrefix(template[1]).Size() > 0 {
			heir, heirs = i, set
		}
	}
	added := slices.IndexFunc(after, written)
	if heir < 0 || added < 0 || after[added].FieldsV1 == nil {
		return owners, nil
	}
	mine, err := fieldsOf(after[added])
	if err != nil {
		return nil, err
	}
	part := fieldpath.NewSet()
	mine.Iterate(func(p fieldpath.Path) {
		if len(p) > len(template) && p[:len(template)].Equals(template) {
			part.Insert(p.Copy())
		}
	})
	raw, err := heirs.Union(part).ToJSON()
	if err != nil {
		return nil, fmt.Errorf("encoding the fields of manager %s: %w", owners[heir].Manager, err)
	}
	owners[heir].FieldsV1 = &metav1.FieldsV1{Raw: raw}
	return owners, nil
}

// written tells whether an entry is of what Siskin wrote without applying it.
func written(e metav1.ManagedFieldsEntry) bool {
	return e.Manager == siskinv1.FieldManager && e.Operation == metav1.ManagedFieldsOperationUpdate && e.Subresource == ""
}

func fieldsOf(e metav1.ManagedFieldsEntry) (fieldpath.Set, error) {
	var set fieldpath.Set
	if err := set.FromJSON(bytes.NewReader(e.FieldsV1.GetRawBytes())); err != nil {
		return set, fmt.Errorf("reading the fields of manager %s: %w", e.Manager, err)
	}
	return set, nil
}
