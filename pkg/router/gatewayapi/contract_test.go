package gatewayapi_test

import (
	"testing"

	"github.com/siskin-dev/siskin/pkg/router/gatewayapi/gatewayapitest"
	"github.com/siskin-dev/siskin/pkg/router/routertest"
)

func TestContract(t *testing.T) {
	routertest.RunContract(t, func(t *testing.T) routertest.Harness {
		t.Helper()
		return gatewayapitest.New(t, gatewayapitest.NewClient(t), "aviary")
	})
}

func TestContractOfAdoptedRoutes(t *testing.T) {
	routertest.RunContract(t, func(t *testing.T) routertest.Harness {
		t.Helper()
		return gatewayapitest.NewAdopted(t, gatewayapitest.NewClient(t), "aviary")
	})
}
