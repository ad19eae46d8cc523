package apply

import (
	"maps"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
)

// Stamp is the commit that objects come from. It is put on an object as annotations only when something else of the object
// changes: a commit that does not touch a workload must not look like a new version of it.
type Stamp struct {
	Revision, Author, Message, URL string
}

func (s Stamp) annotations() map[string]string {
	return map[string]string{
		siskinv1.GitRevisionAnnotation: s.Revision,
		siskinv1.GitAuthorAnnotation:   s.Author,
		siskinv1.GitMessageAnnotation:  s.Message,
		siskinv1.GitURLAnnotation:      s.URL,
	}
}

// put stamps o.
func (s Stamp) put(o *unstructured.Unstructured) {
	for k, v := range s.annotations() {
		annotate(o, k, v)
	}
}

// keep gives o the stamp that live has.
func (s Stamp) keep(o, live *unstructured.Unstructured) {
	for k := range s.annotations() {
		if v, ok := live.GetAnnotations()[k]; ok {
			annotate(o, k, v)
		}
	}
}

// same tells whether an apply that yields merged changes anything that counts of live. Both come from the server, so that
// its defaults and its way to write quantities make no difference.
func same(live, merged *unstructured.Unstructured) bool {
	return equality.Semantic.DeepEqual(essence(live), essence(merged))
}

func essence(o *unstructured.Unstructured) map[string]any {
	out := maps.Clone(o.Object)
	delete(out, "status")
	delete(out, "metadata")
	labels, annotations := o.GetLabels(), o.GetAnnotations()
	for k := range (Stamp{}).annotations() {
		delete(annotations, k)
	}
	delete(annotations, siskinv1.GitApplyingAnnotation)
	return map[string]any{
		"content": out, "labels": nonNil(labels), "annotations": nonNil(annotations),
		"finalizers": o.GetFinalizers(), "owners": o.GetOwnerReferences(),
	}
}

func nonNil(m map[string]string) map[string]string {
	if m == nil {
		return map[string]string{}
	}
	return m
}
