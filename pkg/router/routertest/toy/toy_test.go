package toy_test

import (
	"testing"

	"github.com/siskin-dev/siskin/pkg/router/routertest"
	"github.com/siskin-dev/siskin/pkg/router/routertest/toy"
)

func TestContract(t *testing.T) {
	routertest.RunContract(t, func(t *testing.T) routertest.Harness {
		t.Helper()
		return toy.New(t, routertest.NewClient(t), "aviary")
	})
}
