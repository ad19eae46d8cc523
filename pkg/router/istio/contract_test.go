package istio_test

import (
	"testing"

	istiov1 "istio.io/client-go/pkg/apis/networking/v1"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/router/istio/istiotest"
	"github.com/siskin-dev/siskin/pkg/router/routertest"
)

const namespace = "aviary"

func finch() *siskinv1.Canary { return istiotest.Canary(namespace) }

func theirs() *istiov1.VirtualService { return istiotest.UsersVirtualService(namespace) }

func TestContract(t *testing.T) {
	for name, owner := range map[string]func() *siskinv1.Canary{
		"Generated": finch,
		"Delegate": func() *siskinv1.Canary {
			c := finch()
			c.Spec.Service.Gateways, c.Spec.Service.Hosts, c.Spec.Service.Delegation = nil, nil, true
			return c
		},
		"TrafficPolicy": func() *siskinv1.Canary {
			c := finch()
			c.Spec.Service.TrafficPolicy = policy(`{"loadBalancer":{"simple":"LEAST_REQUEST"}}`)
			return c
		},
	} {
		t.Run(name, func(t *testing.T) {
			routertest.RunContract(t, func(t *testing.T) routertest.Harness {
				t.Helper()
				return istiotest.New(t, istiotest.NewClient(t), owner())
			})
		})
	}
	t.Run("Adopted", func(t *testing.T) {
		routertest.RunContract(t, func(t *testing.T) routertest.Harness {
			t.Helper()
			return istiotest.New(t, istiotest.NewClient(t), finch(), theirs())
		})
	})
}

func policy(raw string) *siskinv1.TrafficPolicy {
	out := &siskinv1.TrafficPolicy{}
	out.Raw = []byte(raw)
	return out
}
