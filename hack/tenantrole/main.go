// Command tenantrole derives the Role that Siskin needs in each namespace of a namespaced install from its generated ClusterRole, so
// that the two cannot drift apart. It refuses a ClusterRole that would let Siskin look through Secrets.
//
//	tenantrole -out kustomize/namespaced/tenant/role.yaml kustomize/rbac/role.yaml
package main

import (
	"flag"
	"fmt"
	"os"
	"slices"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

func main() {
	out := flag.String("out", "kustomize/namespaced/tenant/role.yaml", "the file to write")
	flag.Parse()
	if err := run(*out, flag.Arg(0)); err != nil {
		fmt.Fprintln(os.Stderr, "tenantrole:", err)
		os.Exit(1)
	}
}

func run(out, in string) error {
	data, err := os.ReadFile(in)
	if err != nil {
		return fmt.Errorf("reading the ClusterRole: %w", err)
	}
	text, err := derive(data)
	if err != nil {
		return err
	}
	if err := os.WriteFile(out, text, 0o644); err != nil {
		return fmt.Errorf("writing the Role: %w", err)
	}
	return nil
}

// derive makes the Role of a ClusterRole.
func derive(data []byte) ([]byte, error) {
	var from rbacv1.ClusterRole
	if err := yaml.UnmarshalStrict(data, &from); err != nil {
		return nil, fmt.Errorf("reading the ClusterRole: %w", err)
	}
	to := rbacv1.Role{
		TypeMeta: metav1.TypeMeta{APIVersion: rbacv1.SchemeGroupVersion.String(), Kind: "Role"}, ObjectMeta: metav1.ObjectMeta{Name: from.Name},
	}
	for _, rule := range from.Rules {
		if err := check(rule); err != nil {
			return nil, err
		}
		rule.Resources = slices.DeleteFunc(rule.Resources, clusterScoped)
		if len(rule.Resources) > 0 {
			to.Rules = append(to.Rules, rule)
		}
	}
	text, err := yaml.Marshal(to)
	if err != nil {
		return nil, fmt.Errorf("writing the Role: %w", err)
	}
	return append([]byte("# Generated from kustomize/rbac/role.yaml by make manifests.\n"), text...), nil
}

// check refuses rules that no install of Siskin may have.
func check(rule rbacv1.PolicyRule) error {
	for _, all := range [][]string{rule.APIGroups, rule.Resources, rule.Verbs} {
		if slices.Contains(all, rbacv1.ResourceAll) {
			return fmt.Errorf("rule %v allows everything of something: name what is needed", rule)
		}
	}
	if !slices.Contains(rule.Resources, "secrets") {
		return nil
	}
	for _, verb := range []string{"list", "watch", "deletecollection"} {
		if slices.Contains(rule.Verbs, verb) {
			return fmt.Errorf("rule %v lets Siskin %s Secrets: read those that are named, one by one", rule, verb)
		}
	}
	return nil
}

// clusterScoped tells whether a resource belongs to no namespace: a Role cannot give rights to it, and Siskin does without.
func clusterScoped(resource string) bool {
	switch resource {
	case "gatewayclasses", "ingressclasses", "namespaces", "nodes", "customresourcedefinitions":
		return true
	default:
		return false
	}
}
