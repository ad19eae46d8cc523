package definition

import (
	"fmt"
	"slices"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
)

// AggregateLabel on a ClusterRole gives its rights to Siskin: they become a part of the ClusterRole siskin-routers.
const AggregateLabel = "siskin.dev/aggregate-to-routers"

// Verbs are what Siskin does with the objects of a definition.
func Verbs() []string { return []string{"get", "list", "patch", "watch"} }

// CheckRole compares the ClusterRoles that come with a definition with what it needs: get, list, watch and patch of
// its kind, no more and no less. It says in one line what is wrong; "": nothing.
func CheckRole(def *siskinv1.RouterDefinition, roles []rbacv1.ClusterRole) string {
	gv, err := schema.ParseGroupVersion(def.Spec.Target.APIVersion)
	if err != nil {
		return err.Error()
	}
	found := false
	for _, role := range roles {
		if role.Labels[AggregateLabel] != "true" {
			continue
		}
		for _, rule := range role.Rules {
			if !slices.Equal(rule.APIGroups, []string{gv.Group}) ||
				!slices.Equal(rule.Resources, []string{def.Spec.Target.Resource}) {
				continue
			}
			verbs := slices.Sorted(slices.Values(rule.Verbs))
			if !slices.Equal(verbs, Verbs()) {
				return fmt.Sprintf("ClusterRole %s allows %v of %s, needed is %v",
					role.Name, verbs, def.Spec.Target.Resource, Verbs())
			}
			found = true
		}
	}
	if !found {
		return fmt.Sprintf(
			"no ClusterRole with the label %s: \"true\" has a rule for %s of group %s alone, with the verbs %v",
			AggregateLabel, def.Spec.Target.Resource, gv.Group, Verbs())
	}
	return ""
}
