package main

import (
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/yaml"
)

func clusterRole(t *testing.T, rules ...rbacv1.PolicyRule) []byte {
	t.Helper()
	role := rbacv1.ClusterRole{Rules: rules}
	role.APIVersion, role.Kind, role.Name = "rbac.authorization.k8s.io/v1", "ClusterRole", "siskin"
	data, err := yaml.Marshal(role)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestTheRoleIsTheClusterRoleWithoutWhatHasNoNamespace(t *testing.T) {
	text, err := derive(clusterRole(t,
		rbacv1.PolicyRule{APIGroups: []string{"apps"}, Resources: []string{"deployments"}, Verbs: []string{"get", "list"}},
		rbacv1.PolicyRule{APIGroups: []string{"gateway.networking.k8s.io"}, Resources: []string{"gatewayclasses", "gateways"}, Verbs: []string{"get"}},
		rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"nodes"}, Verbs: []string{"get"}},
	))
	if err != nil {
		t.Fatal(err)
	}
	var role rbacv1.Role
	if err := yaml.UnmarshalStrict(text, &role); err != nil {
		t.Fatal(err)
	}
	if role.Kind != "Role" || role.Name != "siskin" || len(role.Rules) != 2 || len(role.Rules[1].Resources) != 1 || role.Rules[1].Resources[0] != "gateways" {
		t.Errorf("%s", text)
	}
}

func TestRulesThatNoInstallMayHave(t *testing.T) {
	for name, tc := range map[string]struct {
		rule rbacv1.PolicyRule
		want string
	}{
		"list":       {rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"secrets"}, Verbs: []string{"get", "list"}}, "list Secrets"},
		"watch":      {rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"configmaps", "secrets"}, Verbs: []string{"watch"}}, "watch Secrets"},
		"everything": {rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"*"}, Verbs: []string{"get"}}, "everything"},
		"any verb":   {rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"pods"}, Verbs: []string{"*"}}, "everything"},
	} {
		if _, err := derive(clusterRole(t, tc.rule)); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := derive([]byte("rulez: []")); err == nil {
		t.Error("a file that is no ClusterRole")
	}
}
