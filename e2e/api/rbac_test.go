package api_test

import (
	"context"
	"testing"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/e2e/cluster"
	"github.com/siskin-dev/siskin/e2e/fixtures"
)

// canaryOnly is a ServiceAccount that has Siskin's own role, without the binding that GitSync needs to apply anything.
func canaryOnly(t *testing.T, e *fixtures.Env) (client.Client, string) {
	t.Helper()
	ns := e.Namespace(t)
	sa := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "siskin"}}
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: ns},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "siskin"},
		Subjects:   []rbacv1.Subject{{Kind: "ServiceAccount", Name: sa.Name, Namespace: ns}},
	}
	for _, obj := range []client.Object{sa, binding} {
		if err := e.API.Create(t.Context(), obj); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { _ = e.API.Delete(t.Context(), binding) })
	cfg := e.Config()
	cfg.Impersonate.UserName = "system:serviceaccount:" + ns + ":siskin"
	c, err := client.New(cfg, client.Options{Scheme: e.API.Scheme()})
	if err != nil {
		t.Fatal(err)
	}
	cluster.Eventually(t, 10*time.Second, func(ctx context.Context) error { // the authorizer takes a moment to know of the binding
		return c.List(ctx, &siskinv1.CanaryList{}, client.InNamespace(ns))
	})
	return c, ns
}

// TestRole : what Siskin's role allows is what it needs, and no more.
func TestRole(t *testing.T) {
	e := given(t)
	c, ns := canaryOnly(t, e)
	for _, tc := range []struct {
		reason, group, resource, sub string
		verbs                        []string
		allowed                      bool
	}{
		{"it reads and marks Canaries", "siskin.dev", "canaries", "", []string{"get", "list", "watch", "patch"}, true},
		{"it stores decisions", "siskin.dev", "canaries", "status", []string{"patch"}, true},
		{"it reads what Canaries name", "siskin.dev", "metrictemplates", "", []string{"get", "list", "watch"}, true},
		{"it reads what Canaries name", "siskin.dev", "alertproviders", "", []string{"get", "list", "watch"}, true},
		{"it writes clones and holds targets", "apps", "deployments", "", []string{"get", "list", "watch", "create", "patch"}, true},
		{"it stores snapshots", "apps", "controllerrevisions", "", []string{"get", "list", "watch", "create", "patch", "delete"}, true},
		{"it writes Services", "", "services", "", []string{"get", "list", "watch", "create", "patch", "delete"}, true},
		{"it sees which pods serve", "discovery.k8s.io", "endpointslices", "", []string{"get", "list", "watch"}, true},
		{"it writes routes", "gateway.networking.k8s.io", "httproutes", "", []string{"get", "list", "watch", "create", "patch", "delete"}, true},
		{"it writes Istio's", "networking.istio.io", "virtualservices", "", []string{"get", "list", "watch", "create", "patch", "delete"}, true},
		{"and their policies", "networking.istio.io", "destinationrules", "", []string{"get", "list", "watch", "create", "patch", "delete"}, true},
		{"it points autoscalers", "autoscaling", "horizontalpodautoscalers", "", []string{"get", "list", "watch", "create", "patch", "delete"}, true},
		{"it points KEDA's autoscalers", "keda.sh", "scaledobjects", "", []string{"get", "list", "watch", "create", "patch", "delete"}, true},
		{"it tells events", "events.k8s.io", "events", "", []string{"create", "patch"}, true},
		{"it writes clones and holds targets", "apps", "daemonsets", "", []string{"get", "list", "watch", "create", "patch"}, true},
		{"it writes clones and holds targets", "apps", "statefulsets", "", []string{"get", "list", "watch", "create", "patch"}, true},
		{"it reads a Secret that it knows by name, and copies it", "", "secrets", "", []string{"get", "create", "patch"}, true},
		{"it watches ConfigMaps and copies them", "", "configmaps", "", []string{"get", "list", "watch", "create", "patch"}, true},

		{"it does not look through Secrets", "", "secrets", "", []string{"list", "watch", "update", "delete", "deletecollection"}, false},
		{"it deletes nobody's configuration", "", "configmaps", "", []string{"update", "delete", "deletecollection"}, false},
		{"it deletes no user's workload", "apps", "deployments", "", []string{"delete", "deletecollection"}, false},
		{"it deletes no user's workload", "apps", "daemonsets", "", []string{"delete", "deletecollection"}, false},
		{"it deletes no user's workload", "apps", "statefulsets", "", []string{"delete", "deletecollection"}, false},
		{"it runs nothing in pods", "", "pods", "exec", []string{"create"}, false},
		{"it makes and deletes no pods", "", "pods", "", []string{"create", "delete", "patch"}, false},
		{"it makes and deletes no Canaries", "siskin.dev", "canaries", "", []string{"create", "delete"}, false},
		{"it gives nobody rights", "rbac.authorization.k8s.io", "clusterrolebindings", "", []string{"create", "patch"}, false},
		{"it reads no nodes", "", "nodes", "", []string{"list"}, false},
		{"it does not act as users", "", "users", "", []string{"impersonate"}, false},
	} {
		for _, verb := range tc.verbs {
			review := &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{
				ResourceAttributes: &authorizationv1.ResourceAttributes{
					Namespace: ns, Group: tc.group, Resource: tc.resource, Subresource: tc.sub, Verb: verb,
				},
			}}
			if err := c.Create(t.Context(), review); err != nil {
				t.Fatal(err)
			}
			if review.Status.Allowed != tc.allowed {
				t.Errorf("%s: %s of %s/%s %s is allowed: %t", tc.reason, verb, tc.group, tc.resource, tc.sub, review.Status.Allowed)
			}
		}
	}
}

// TestNoInstallLooksThroughSecrets : neither in a namespace nor in the whole cluster. GitSync's binding to cluster-admin, which is an
// object of its own, is not part of this role; package installs asks the same of the namespaced install.
func TestNoInstallLooksThroughSecrets(t *testing.T) {
	c, ns := canaryOnly(t, given(t))
	for _, where := range []string{ns, "kube-system", ""} {
		for _, verb := range []string{"list", "watch", "deletecollection"} {
			review := &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{
				ResourceAttributes: &authorizationv1.ResourceAttributes{Namespace: where, Resource: "secrets", Verb: verb},
			}}
			if err := c.Create(t.Context(), review); err != nil {
				t.Fatal(err)
			}
			if review.Status.Allowed {
				t.Errorf("%s of Secrets in %q is allowed", verb, where)
			}
		}
	}
}

// TestRoleCannotListSecrets : the same, asked of the API itself.
func TestRoleCannotListSecrets(t *testing.T) {
	c, ns := canaryOnly(t, given(t))
	var secrets corev1.SecretList
	if err := c.List(t.Context(), &secrets, client.InNamespace(ns)); !apierrors.IsForbidden(err) {
		t.Errorf("listing Secrets: %v", err)
	}
	if err := c.List(t.Context(), &corev1.ServiceList{}, client.InNamespace(ns)); err != nil {
		t.Errorf("listing Services: %v", err)
	}
}
