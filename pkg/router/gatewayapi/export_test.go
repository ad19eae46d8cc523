package gatewayapi

import (
	"testing"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/siskin-dev/siskin/pkg/router"
)

// Seal notes on a route what Apply does.
func Seal(t *testing.T, route *gatewayv1.HTTPRoute) {
	t.Helper()
	if err := seal(route); err != nil {
		t.Fatal(err)
	}
}

// Rules are the rules of an intent that Validate lets pass.
func Rules(t *testing.T, in router.Intent) gatewayv1.HTTPRouteSpec {
	t.Helper()
	route, err := build(in)
	if err != nil {
		t.Fatal(err)
	}
	return route.Spec
}

// Merged are the rules that an intent makes of those of a user, as JSON.
func Merged(t *testing.T, rules []any, in router.Intent) []any {
	t.Helper()
	out, _, err := merge(rules, in)
	if err != nil {
		t.Fatal(err)
	}
	a := adoptee{want: out}
	return a.wanted()
}

// Wish are the rules that the user wants whose live ones these are.
func Wish(live []any, annotations map[string]string, in router.Intent) []any {
	wish, _, _ := wishOf(live, annotations, in)
	return wish
}

// Notes are the annotations of a route with these rules that was adopted.
func Notes(t *testing.T, rules []any, in router.Intent) map[string]string {
	t.Helper()
	out, _, err := merge(rules, in)
	if err != nil {
		t.Fatal(err)
	}
	notes, err := noted(rules, out, in)
	if err != nil {
		t.Fatal(err)
	}
	return notes
}
