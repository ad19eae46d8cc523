package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/siskin-dev/siskin/pkg/router"
	"github.com/siskin-dev/siskin/pkg/router/routertest"
)

// TestTheTableOfFeatures holds the table of docs/routers.md to what the routers say. They are asked for a Canary whose data plane has not
// answered yet: what depends on that is at Maybe.
func TestTheTableOfFeatures(t *testing.T) {
	c := routertest.NewClientWith(t, []routertest.API{{AddToScheme: routers().AddToScheme}})
	canary := routertest.Canary("aviary")
	canary.Spec.Service.GatewayRefs = []gatewayv1.ParentReference{{Name: "public"}}
	registered := slices.Clone(routers())
	slices.SortFunc(registered, func(a, b router.Registration) int { return strings.Compare(a.Names[0], b.Names[0]) })

	rows := make([]string, 2, 12)
	rows[0], rows[1] = "| a router can |", "|---|"
	for _, f := range router.AllFeatures() {
		rows = append(rows, "| "+f.String()+" |")
	}
	rows = append(rows, "| *highest evidence* |")
	for _, reg := range registered {
		caps := reg.New(c, c).Capabilities(t.Context(), canary)
		rows[0] += fmt.Sprintf(" `%s` |", reg.Names[0])
		rows[1] += "---|"
		for i, f := range router.AllFeatures() {
			rows[2+i] += fmt.Sprintf(" %s |", caps.Features[f])
		}
		rows[len(rows)-1] += fmt.Sprintf(" %s |", caps.Ceiling)
	}
	hold(t, "../../docs/routers.md", "features", strings.Join(rows, "\n")+"\n")
}
