package installs

import (
	"strings"
	"testing"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/e2e/cluster"
	"github.com/siskin-dev/siskin/e2e/fixtures"
)

// tenants is the namespaced install as docs/install.md has it, for two namespaces.
func tenants() map[string]string {
	return map[string]string{
		"kustomization.yaml": `resources: [KUSTOMIZE/namespaced/controller, shop, pay]
patches:
- target: {kind: Deployment, name: siskin}
  patch: |-
    - {op: add, path: /spec/template/spec/containers/0/args/-, value: "--namespace=shop,pay"}
`,
		"shop/kustomization.yaml": "namespace: shop\nresources: [KUSTOMIZE/namespaced/tenant]\n",
		"pay/kustomization.yaml":  "namespace: pay\nresources: [KUSTOMIZE/namespaced/tenant]\n",
	}
}

// TestNamespacedInstall : without any ClusterRole, Siskin releases what is in its namespaces, and neither touches nor can read what is
// in others.
func TestNamespacedInstall(t *testing.T) {
	e := install(t, cluster.Options{}, tenants(), "shop", "pay", "other")
	noClusterRights(t, e)
	for _, ns := range []string{"shop", "pay", "other"} {
		e.Given(t, ns, app("web", "1", "", ""))
	}
	for _, ns := range []string{"shop", "pay"} {
		e.UntilPhase(t, ns, "web", siskinv1.PhaseInitialized, time.Minute)
		e.Given(t, ns, deployment("web", "2"))
	}
	for _, ns := range []string{"shop", "pay"} {
		e.UntilPhase(t, ns, "web", siskinv1.PhaseSucceeded, 90*time.Second)
	}
	c, err := e.Canary(t.Context(), "other", "web")
	if err != nil {
		t.Fatal(err)
	}
	if c.Status.Phase != "" || len(c.Finalizers) != 0 || len(c.Status.Conditions) != 0 {
		t.Errorf("the Canary of another namespace was touched: %v %+v", c.Finalizers, c.Status)
	}
	for line := range strings.Lines(e.SiskinLog(100000)) {
		if strings.Contains(line, "forbidden") {
			t.Errorf("a right is missing: %s", line)
		}
	}
	out, err := e.Kubectl(t.Context(), "-n", "shop", "delete", "canary", "web", "--timeout=120s")
	if err != nil {
		t.Errorf("deleting a Canary: %v: %s", err, out)
	}
}

// noClusterRights asks the API server what Siskin's account may do.
func noClusterRights(t *testing.T, e *fixtures.Env) {
	t.Helper()
	var bindings rbacv1.ClusterRoleBindingList
	if err := e.API.List(t.Context(), &bindings); err != nil {
		t.Fatal(err)
	}
	for _, b := range bindings.Items {
		for _, s := range b.Subjects {
			if s.Kind == "ServiceAccount" && s.Namespace == fixtures.SiskinNamespace {
				t.Errorf("ClusterRoleBinding %s gives Siskin %s", b.Name, b.RoleRef.Name)
			}
		}
	}
	for _, tc := range []struct {
		namespace, group, resource, verb string
		allowed                          bool
	}{
		{"shop", "", "secrets", "get", true},
		{"pay", "", "services", "patch", true},
		{"shop", "siskin.dev", "canaries", "watch", true},
		{"shop", "gateway.networking.k8s.io", "httproutes", "create", true},
		{fixtures.SiskinNamespace, "coordination.k8s.io", "leases", "update", true},

		{"shop", "", "secrets", "list", false},
		{"shop", "", "secrets", "watch", false},
		{"", "", "secrets", "list", false},
		{"", "", "secrets", "watch", false},
		{"", "", "secrets", "get", false},
		{"", "apps", "deployments", "list", false},
		{"", "siskin.dev", "canaries", "list", false},
		{"other", "", "secrets", "get", false},
		{"other", "siskin.dev", "canaries", "get", false},
		{"other", "siskin.dev", "metrictemplates", "get", false},
		{"other", "apps", "deployments", "patch", false},
		{"other", "", "serviceaccounts", "impersonate", false},
		{fixtures.SiskinNamespace, "", "secrets", "get", false},
	} {
		if got := may(t, e, tc.namespace, tc.group, tc.resource, tc.verb); got != tc.allowed {
			t.Errorf("%s of %s in namespace %q is allowed: %t", tc.verb, tc.resource, tc.namespace, got)
		}
	}
}

// may tells whether Siskin's account may do something; no namespace means all.
func may(t *testing.T, e *fixtures.Env, namespace, group, resource, verb string) bool {
	t.Helper()
	account := "system:serviceaccount:" + fixtures.SiskinNamespace
	review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
		User: account + ":siskin", Groups: []string{"system:serviceaccounts", account, "system:authenticated"},
		ResourceAttributes: &authorizationv1.ResourceAttributes{Namespace: namespace, Group: group, Resource: resource, Verb: verb},
	}}
	if err := e.API.Create(t.Context(), review); err != nil {
		t.Fatal(err)
	}
	return review.Status.Allowed
}
