package gatewayapi_test

import (
	"errors"
	"testing"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	"sigs.k8s.io/gateway-api/pkg/features"

	"github.com/siskin-dev/siskin/pkg/router"
	"github.com/siskin-dev/siskin/pkg/router/gatewayapi/gatewayapitest"
	"github.com/siskin-dev/siskin/pkg/router/routertest"
)

// copies counts the filters of a route that copy requests.
func copies(route *gatewayv1.HTTPRoute) int {
	n := 0
	for _, rule := range route.Spec.Rules {
		for _, f := range rule.Filters {
			if f.RequestMirror != nil {
				n++
			}
		}
	}
	return n
}

// A gateway that is not known to copy requests is not asked to, and neither the split nor a rollback waits for it: it
// may answer 500 to all.
func TestCopiesThatTheGatewayCannotMake(t *testing.T) {
	audit := gatewayv1.HTTPRequestMirrorFilter{BackendRef: gatewayv1.BackendObjectReference{Name: "audit", Port: new(gatewayv1.PortNumber(80))}}
	part := audit
	part.Percent = new(int32(5))
	route := []features.FeatureName{features.SupportHTTPRoute}
	mirror := []features.FeatureName{features.SupportHTTPRoute, features.SupportHTTPRouteRequestMirror}
	for name, tt := range map[string]struct {
		supported []features.FeatureName
		gone      bool
		filter    gatewayv1.HTTPRequestMirrorFilter
		copies    int
		refused   string
	}{
		"it can":                   {supported: mirror, filter: audit, copies: 1},
		"it cannot":                {supported: route, filter: audit, refused: "spec.service.mirror[0]"},
		"it cannot copy a part":    {supported: mirror, filter: part, refused: "spec.service.mirror[0]"},
		"nobody knows yet":         {gone: true, filter: audit},
		"nobody knows yet, a part": {gone: true, filter: part},
	} {
		t.Run(name, func(t *testing.T) {
			c := &routertest.Counter{Client: gatewayapitest.NewClient(t)}
			if !tt.gone {
				gatewayapitest.Gateway(t, c.Client, namespace, tt.supported...)
			}
			r, in := newRouter(c), intent(nil)
			in.Owner.Spec.Service.Mirror = []gatewayv1.HTTPRequestMirrorFilter{tt.filter}
			for _, split := range []router.Split{{Primary: 70, Canary: 30}, {Primary: 100}} {
				in.Split = split
				_, err := r.Apply(t.Context(), in)
				if refused, _ := errors.AsType[*router.InvalidError](err); (refused == nil) != (tt.refused == "") || refused != nil && refused.Field != tt.refused {
					t.Fatalf("%s: %v", split, err)
				}
				if n := copies(get(t, c)); n != tt.copies {
					t.Errorf("%s: %d copies, want %d", split, n, tt.copies)
				}
				if obs, err := r.Observe(t.Context(), in); err != nil || obs.Evidence != router.EvidenceWritten || obs.Current != split {
					t.Errorf("%s: %+v %v", split, obs, err)
				}
				c.Writes()
				if _, _ = r.Apply(t.Context(), in); c.Writes() != 0 {
					t.Errorf("%s: the second Apply writes", split)
				}
			}
		})
	}
}
