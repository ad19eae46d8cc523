package gatewayapi

import (
	"testing"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/siskin-dev/siskin/pkg/router"
)

// Rules are the rules of an intent that Validate lets pass.
func Rules(t *testing.T, in router.Intent) gatewayv1.HTTPRouteSpec {
	t.Helper()
	route, err := build(in)
	if err != nil {
		t.Fatal(err)
	}
	return route.Spec
}
