package gatewayapi

import (
	"slices"
	"strings"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/siskin-dev/siskin/pkg/router"
	"github.com/siskin-dev/siskin/pkg/router/internal/cookie"
)

// expiry is the attribute that has a client drop a cookie.
const expiry = "; Max-Age=0"

// expiring adds rules for users who still send a cookie of a rollout that is over: they are served like all others, and
// the answer has them drop it, so that each of them meets such a rule once. It is a courtesy: what cannot be said in
// this route, or has no room in it, is left out.
func (r *ruler) expiring() []gatewayv1.HTTPRouteRule {
	if !r.in.Expires() {
		return r.out
	}
	last := len(r.out) - r.rules(r.service)
	out := r.out
	for _, name := range []string{r.in.Expired.CookieName, r.in.Expired.PrimaryCookieName} {
		if name == "" {
			continue
		}
		users, err := r.narrowed(request{cookies: map[string]condition{name: {kind: kindRegex, value: cookie.Any}}}, "")
		more := ruler{in: r.in, service: r.service, base: r.base}
		to := []gatewayv1.HTTPBackendRef{backend(r.in, r.in.Primary, 100), backend(r.in, r.in.Canary, 0)}
		for i := range to {
			to[i].Filters = dropFilter(r.in, name)
		}
		if err != nil || more.add(users, to, mirrored(r.base.Filters, r.in)) != nil {
			continue
		}
		if with := slices.Concat(out[:last], more.out, out[last:]); r.roomFor(with) {
			out, last = with, last+len(more.out)
		}
	}
	return out
}

// dropFilter has the client drop a cookie: the same name, domain and path, and no time left.
func dropFilter(in router.Intent, name string) []gatewayv1.HTTPRouteFilter {
	return cookieFilter(cookie.Drop(*in.Expired, name))
}

// drops tells whether a rule has clients drop a cookie.
func drops(rule *gatewayv1.HTTPRouteRule) bool {
	return slices.ContainsFunc(rule.BackendRefs, func(ref gatewayv1.HTTPBackendRef) bool {
		return slices.ContainsFunc(ref.Filters, func(f gatewayv1.HTTPRouteFilter) bool {
			return f.ResponseHeaderModifier != nil && slices.ContainsFunc(f.ResponseHeaderModifier.Add, func(h gatewayv1.HTTPHeader) bool {
				return strings.EqualFold(string(h.Name), "Set-Cookie") && strings.Contains(h.Value, expiry+";")
			})
		})
	})
}
