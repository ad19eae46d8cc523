package gatewayapi

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/equality"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/siskin-dev/siskin/pkg/router"
	"github.com/siskin-dev/siskin/pkg/router/internal/owned"
)

var _ router.Contested = (*Router)(nil)

// Rivals are the other HTTPRoutes of the namespace that claim requests of the intent's route: on the same listener, for
// hosts that are all its own, by rules all of whose matches are its own too. Which of two such routes a gateway follows
// is not the route's to say. Rules that say more, such as a header, are meant to take these requests away and are no
// rivals.
func (r *Router) Rivals(ctx context.Context, in router.Intent) ([]router.Rival, error) {
	live, err := r.get(ctx, in)
	if err != nil || live == nil {
		return nil, err
	}
	var all gatewayv1.HTTPRouteList
	// Nothing that was written just now counts, and nothing is changed.
	err = r.c.List(ctx, &all, client.InNamespace(in.Owner.Namespace), client.UnsafeDisableDeepCopy, client.DisableReadYourWritesConsistency)
	if err != nil {
		return nil, fmt.Errorf("listing HTTPRoutes: %w", err)
	}
	own := claims(live)
	var out []router.Rival
	for i := range all.Items {
		other := &all.Items[i]
		if other.Name == live.Name || owned.By(other, in.Owner) == owned.Ours || !among(live.Spec.Hostnames, other.Spec.Hostnames) ||
			!attached(live, other) {
			continue
		}
		if rules := claiming(own, other); len(rules) > 0 {
			out = append(out, router.Rival{Name: other.Name, Rules: rules})
		}
	}
	slices.SortFunc(out, func(x, y router.Rival) int { return strings.Compare(x.Name, y.Name) })
	return out, nil
}

// claims are all matches of a route.
func claims(route *gatewayv1.HTTPRoute) []gatewayv1.HTTPRouteMatch {
	var out []gatewayv1.HTTPRouteMatch
	for _, rule := range filled(route.Spec).Rules {
		out = append(out, rule.Matches...)
	}
	return out
}

// claiming are the rules of a route whose matches are all among these.
func claiming(own []gatewayv1.HTTPRouteMatch, other *gatewayv1.HTTPRoute) []int {
	var out []int
	for i, rule := range filled(other.Spec).Rules {
		foreign := slices.ContainsFunc(rule.Matches, func(m gatewayv1.HTTPRouteMatch) bool {
			return !slices.ContainsFunc(own, func(o gatewayv1.HTTPRouteMatch) bool { return equality.Semantic.DeepEqual(o, m) })
		})
		if !foreign {
			out = append(out, i)
		}
	}
	return out
}

// attached tells whether two routes of a namespace share a listener.
func attached(x, y *gatewayv1.HTTPRoute) bool {
	return slices.ContainsFunc(x.Spec.ParentRefs, func(a gatewayv1.ParentReference) bool {
		return slices.ContainsFunc(y.Spec.ParentRefs, func(b gatewayv1.ParentReference) bool {
			apart := a.SectionName != nil && b.SectionName != nil && *a.SectionName != *b.SectionName ||
				a.Port != nil && b.Port != nil && *a.Port != *b.Port
			a.SectionName, b.SectionName, a.Port, b.Port = nil, nil, nil, nil
			return !apart && sameParent(x.Namespace, a, b)
		})
	})
}

// among tells whether hosts are all among those of a route. None are all hosts, and whoever names some goes before
// that.
func among(own, hosts []gatewayv1.Hostname) bool {
	if len(hosts) == 0 || len(own) == 0 {
		return len(hosts) == len(own)
	}
	return !slices.ContainsFunc(hosts, func(h gatewayv1.Hostname) bool { return !slices.Contains(own, h) })
}
