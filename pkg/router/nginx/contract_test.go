package nginx_test

import (
	"testing"

	"github.com/siskin-dev/siskin/pkg/router/nginx/nginxtest"
	"github.com/siskin-dev/siskin/pkg/router/routertest"
)

const namespace = "aviary"

func TestContract(t *testing.T) {
	routertest.RunContract(t, func(t *testing.T) routertest.Harness {
		t.Helper()
		return nginxtest.New(t, routertest.NewClient(t), nginxtest.Canary(namespace), nginxtest.UsersIngress(namespace))
	})
}
