// Package nginxtest has the harness of the router nginx for the contract of routers.
package nginxtest

import (
	"context"
	"strconv"
	"testing"
	"time"

	netv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/router"
	"github.com/siskin-dev/siskin/pkg/router/nginx"
	"github.com/siskin-dev/siskin/pkg/router/routertest"
)

const (
	prefix = nginx.DefaultPrefix + "/"
	// Class of the Ingresses.
	Class = "nginx"
)

// Canary is routertest's, behind the Ingress "aviary".
func Canary(namespace string) *siskinv1.Canary {
	c := routertest.Canary(namespace)
	c.Spec.Provider = nginx.Name
	c.Spec.IngressRef = &siskinv1.IngressRef{APIVersion: "networking.k8s.io/v1", Kind: "Ingress", Name: "aviary"}
	return c
}

// Path leads a path to a Service.
func Path(path, svc string) netv1.HTTPIngressPath {
	backend := netv1.IngressBackend{Service: &netv1.IngressServiceBackend{Name: svc, Port: netv1.ServiceBackendPort{Number: 80}}}
	return netv1.HTTPIngressPath{Path: path, PathType: new(netv1.PathTypePrefix), Backend: backend}
}

// Rule leads paths of a host.
func Rule(host string, paths ...netv1.HTTPIngressPath) netv1.IngressRule {
	out := netv1.IngressRule{Host: host}
	out.HTTP = &netv1.HTTPIngressRuleValue{Paths: paths}
	return out
}

// UsersIngress leads two hosts to the app of that Canary, and one path elsewhere.
func UsersIngress(namespace string) *netv1.Ingress {
	return &netv1.Ingress{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace, Name: "aviary", Labels: map[string]string{"team": "birds"},
			Annotations: map[string]string{"example.org/owner": "aviary", prefix + "proxy-body-size": "8m"},
		},
		Spec: netv1.IngressSpec{
			IngressClassName: new(Class),
			TLS:              []netv1.IngressTLS{{Hosts: []string{"finch.example.org"}, SecretName: "finch"}},
			Rules: []netv1.IngressRule{
				Rule("finch.example.org", Path("/", "finch"), Path("/museum", "museum")),
				Rule("finches.example.org", Path("/song", "finch")),
			},
		},
	}
}

// Audience is what the annotations can select by.
func Audience() []siskinv1.RequestMatch {
	return []siskinv1.RequestMatch{
		{Headers: map[string]siskinv1.StringMatch{"X-Tester": {Exact: "yes"}}},
		{Cookies: map[string]siskinv1.StringMatch{"tester": {Exact: "always"}}},
		{QueryParams: map[string]siskinv1.StringMatch{"tester": {Prefix: "y"}}},
		{URI: &siskinv1.StringMatch{Prefix: "/beta"}, Method: &siskinv1.StringMatch{Exact: "GET"}},
	}
}

// New returns the harness of the router for a Canary, in a world with a user's Ingress. The data plane confirms by saying nothing for a
// while, so that time is the harness's.
func New(t *testing.T, c client.Client, owner *siskinv1.Canary, main *netv1.Ingress) routertest.Harness {
	t.Helper()
	clk := clocktesting.NewFakePassiveClock(time.Unix(1_000, 0))
	if err := c.Create(t.Context(), main, client.FieldOwner("git")); err != nil {
		t.Fatal(err)
	}
	// A foreign writer gives the canary half of what goes by weight, or all if it had that.
	swap := func(obj client.Object, in router.Intent) {
		ingress := ingressOf(obj)
		ingress.Spec.IngressClassName = main.Spec.IngressClassName
		ingress.Annotations[prefix+"canary-weight"] = strconv.Itoa(int(in.Split.Primary))
		for i := range ingress.Spec.Rules {
			for j := range ingress.Spec.Rules[i].HTTP.Paths {
				ingress.Spec.Rules[i].HTTP.Paths[j].Backend.Service.Name = in.Canary
			}
		}
	}
	return routertest.Harness{
		Client: c,
		New:    func(c client.Client, live client.Reader) router.Router { return nginx.New(c, live, clk) },
		Intent: routertest.Intent(owner),
		Object: &netv1.Ingress{}, Name: "finch-canary",
		Accept: func(context.Context, router.Intent) error {
			clk.SetTime(clk.Now().Add(nginx.Settle))
			return nil
		},
		Revert: swap, Tamper: swap,
		Audience: Audience(),
		Weights: func(obj client.Object, _ router.Intent) [][]int32 {
			w := weight(ingressOf(obj))
			return [][]int32{{100 - w, w}}
		},
		Reaches: reaches,
	}
}

// reaches tells whether an Ingress leads any request to the canary.
func reaches(obj client.Object, in router.Intent) bool {
	ingress := ingressOf(obj)
	n := ingress.Annotations
	if *ingress.Spec.IngressClassName == nginx.DisabledClass {
		return false
	}
	open := n[prefix+"canary"] != "true" || weight(ingress) > 0 || n[prefix+"canary-by-header"] != "" || n[prefix+"canary-by-cookie"] != ""
	for _, rule := range ingress.Spec.Rules {
		for _, path := range rule.HTTP.Paths {
			if open && path.Backend.Service.Name == in.Canary {
				return true
			}
		}
	}
	return false
}

func weight(ingress *netv1.Ingress) int32 {
	n, err := strconv.ParseInt(ingress.Annotations[prefix+"canary-weight"], 10, 32)
	if err != nil {
		return -1
	}
	return int32(n)
}

func ingressOf(obj client.Object) *netv1.Ingress {
	if ingress, ok := obj.(*netv1.Ingress); ok {
		return ingress
	}
	return &netv1.Ingress{}
}
