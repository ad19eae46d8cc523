package apply

import (
	"fmt"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/siskin-dev/siskin/pkg/gitsync/inventory"
)

// RefOf names an object.
func RefOf(o *unstructured.Unstructured) inventory.Ref {
	gvk := o.GroupVersionKind()
	return inventory.Ref{Namespace: o.GetNamespace(), Name: o.GetName(), Group: gvk.Group, Kind: gvk.Kind}
}

// Describe writes a reference for people: "Deployment prod/podinfo".
func Describe(r inventory.Ref) string {
	if r.Namespace == "" {
		return r.Kind + " " + r.Name
	}
	return r.Kind + " " + r.Namespace + "/" + r.Name
}

// Entries lists what objs will be in the inventory.
func Entries(objs []*unstructured.Unstructured) []inventory.Entry {
	out := make([]inventory.Entry, 0, len(objs))
	for _, o := range objs {
		out = append(out, inventory.Entry{Ref: RefOf(o), Version: o.GroupVersionKind().Version})
	}
	return out
}

// SetScope gives every namespaced object without a namespace the default one and takes the namespace off cluster-scoped
// ones. It fails for kinds that neither the API server nor a CustomResourceDefinition among objs knows.
func (a *Applier) SetScope(objs []*unstructured.Unstructured, namespace string) []Failure {
	scopes := declaredScopes(objs)
	var failures []Failure
	seen := map[inventory.Ref]struct{}{}
	for _, o := range objs {
		namespaced, err := a.namespaced(o.GroupVersionKind(), scopes)
		if err != nil {
			failures = append(failures, Failure{RefOf(o), err})
			continue
		}
		switch {
		case !namespaced:
			o.SetNamespace("")
		case o.GetNamespace() == "":
			o.SetNamespace(namespace)
		}
		if _, twice := seen[RefOf(o)]; twice {
			failures = append(failures, Failure{RefOf(o), &RefusedError{"it is declared twice"}})
		}
		seen[RefOf(o)] = struct{}{}
	}
	return failures
}

func (a *Applier) namespaced(gvk schema.GroupVersionKind, declared map[schema.GroupKind]bool) (bool, error) {
	if namespaced, ok := declared[gvk.GroupKind()]; ok {
		return namespaced, nil
	}
	mapping, err := a.Client.RESTMapper().RESTMapping(gvk.GroupKind(), gvk.Version)
	if meta.IsNoMatchError(err) {
		return false, &RefusedError{fmt.Sprintf("the cluster has no kind %s in %s: commit its CustomResourceDefinition, or install it first", gvk.Kind, gvk.GroupVersion())}
	}
	if err != nil {
		return false, fmt.Errorf("looking up kind %s: %w", gvk.Kind, err)
	}
	return mapping.Scope.Name() == meta.RESTScopeNameNamespace, nil
}

// declaredScopes tells which kinds the CustomResourceDefinitions among objs declare, and whether they are namespaced.
func declaredScopes(objs []*unstructured.Unstructured) map[schema.GroupKind]bool {
	out := map[schema.GroupKind]bool{}
	for _, o := range objs {
		if gk, ok := declares(o); ok {
			scope, _, _ := unstructured.NestedString(o.Object, "spec", "scope")
			out[gk] = scope == "Namespaced"
		}
	}
	return out
}

// declares tells which kind a CustomResourceDefinition declares.
func declares(o *unstructured.Unstructured) (schema.GroupKind, bool) {
	if !isCRD(o.GroupVersionKind().GroupKind()) {
		return schema.GroupKind{}, false
	}
	group, _, _ := unstructured.NestedString(o.Object, "spec", "group")
	kind, _, _ := unstructured.NestedString(o.Object, "spec", "names", "kind")
	return schema.GroupKind{Group: group, Kind: kind}, true
}
