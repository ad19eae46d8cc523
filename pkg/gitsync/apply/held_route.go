package apply

import (
	"fmt"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utiljson "k8s.io/apimachinery/pkg/util/json"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
)

// keepAdopted leaves a route that Siskin has adopted the rules that carry the split, for as long as git says what it
// said when they were made. merged is what an apply would make of live. It returns true if desired was changed.
func keepAdopted(desired, live, merged *unstructured.Unstructured) (bool, error) {
	text := live.GetAnnotations()[siskinv1.RulesAnnotation]
	var recorded []any
	if text == "" || utiljson.Unmarshal([]byte(text), &recorded) != nil {
		return false, nil //nolint:nilerr // nobody adopted it, or somebody wrote nonsense there: git's own counts
	}
	git, err := rulesOf(merged)
	if err != nil || !equality.Semantic.DeepEqual(git, recorded) {
		return false, err
	}
	rules, err := rulesOf(live)
	if err != nil {
		return false, err
	}
	return true, set(desired, rules, "spec", "rules")
}

func rulesOf(o *unstructured.Unstructured) ([]any, error) {
	rules, _, err := unstructured.NestedSlice(o.Object, "spec", "rules")
	if err != nil {
		return nil, fmt.Errorf("reading spec.rules: %w", err)
	}
	return rules, nil
}

// isRoute tells whether a Canary may carry its split by an object.
func isRoute(o *unstructured.Unstructured) bool {
	return o.GroupVersionKind().Group == "gateway.networking.k8s.io" && o.GetAnnotations()[siskinv1.RulesAnnotation] != ""
}
