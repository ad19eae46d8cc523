package gatewayapi

import (
	"context"
	"fmt"
	"slices"

	"k8s.io/utils/ptr"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/siskin-dev/siskin/pkg/router"
)

// mirrored are filters with the copy to the canary that the split asks for, and without any other. All requests are
// written without a percentage, which older gateways do not know.
func mirrored(filters []gatewayv1.HTTPRouteFilter, in router.Intent) []gatewayv1.HTTPRouteFilter {
	out := slices.DeleteFunc(slices.Clone(filters), func(f gatewayv1.HTTPRouteFilter) bool { return mirrorsTo(f, in) })
	if len(out) == 0 {
		out = nil
	}
	if in.Split.Mirror == 0 {
		return out
	}
	m := &gatewayv1.HTTPRequestMirrorFilter{BackendRef: object(in, in.Canary)}
	if in.Split.Mirror < 100 {
		m.Percent = new(in.Split.Mirror)
	}
	return append(out, gatewayv1.HTTPRouteFilter{Type: gatewayv1.HTTPRouteFilterRequestMirror, RequestMirror: m})
}

// mirrorsTo tells whether a filter copies requests to the canary.
func mirrorsTo(f gatewayv1.HTTPRouteFilter, in router.Intent) bool {
	return f.RequestMirror != nil && isService(f.RequestMirror.BackendRef, in, in.Canary)
}

// isService tells whether a reference is to a Service in the Canary's namespace.
func isService(ref gatewayv1.BackendObjectReference, in router.Intent, name string) bool {
	return string(ref.Name) == name && ptr.Deref(ref.Group, "") == "" && ptr.Deref(ref.Kind, "Service") == "Service" &&
		string(ptr.Deref(ref.Namespace, gatewayv1.Namespace(in.Owner.Namespace))) == in.Owner.Namespace
}

// copied adds the copies of all requests that spec.service.mirror asks for, with the API's defaults spelled out.
func copied(in router.Intent, filters *[]gatewayv1.HTTPRouteFilter) error {
	for i, m := range in.Owner.Spec.Service.Mirror {
		field := fmt.Sprintf("spec.service.mirror[%d]", i)
		m = *m.DeepCopy()
		fillMirror(&m)
		switch {
		case *m.BackendRef.Kind == "Service" && m.BackendRef.Port == nil:
			return invalid(field+".backendRef.port", "a reference to a Service needs its port: give one")
		case m.Percent != nil && m.Fraction != nil:
			return invalid(field, "give percent or fraction, not both")
		case isService(m.BackendRef, in, in.Canary):
			return invalid(field+".backendRef.name", "%s is the Service of the canary: use spec.analysis.mirror, or another backend", in.Canary)
		}
		*filters = append(*filters, gatewayv1.HTTPRouteFilter{Type: gatewayv1.HTTPRouteFilterRequestMirror, RequestMirror: &m})
	}
	return nil
}

// fillMirror fills in what the API server would.
func fillMirror(m *gatewayv1.HTTPRequestMirrorFilter) {
	ref := &m.BackendRef
	if ref.Group == nil {
		ref.Group = new(gatewayv1.Group(""))
	}
	if ref.Kind == nil {
		ref.Kind = new(gatewayv1.Kind("Service"))
	}
	if m.Fraction != nil && m.Fraction.Denominator == nil {
		m.Fraction.Denominator = new(int32(100))
	}
}

// feasible is the intent without what nothing else of the route is to wait for: the copies of spec.service.mirror that
// the data plane is not known to make, because it may accept them and answer 500 to all requests, and the dropping of
// cookies where it cannot do that. The error tells that it cannot copy requests; for as long as nobody knows, there is
// none.
func (r *Router) feasible(ctx context.Context, in router.Intent) (router.Intent, error) {
	mirror := in.Owner.Spec.Service.Mirror
	if len(mirror) == 0 && !in.Expires() {
		return in, nil
	}
	caps := r.Capabilities(ctx, in.Owner)
	if caps.Features[router.FeatureAffinity] < router.Yes {
		in.Expired = nil
	}
	f, field, lacks := caps.LacksForService(in.Owner)
	unsure := caps.Features[router.FeatureMirror] == router.Maybe || caps.Features[router.FeatureMirrorPart] == router.Maybe
	if len(mirror) == 0 || !lacks && !unsure {
		return in, nil
	}
	in.Owner = in.Owner.DeepCopy()
	in.Owner.Spec.Service.Mirror = nil
	if !lacks {
		return in, nil
	}
	return in, invalid(field, "%s %s", caps.Of, caps.Cannot(f, field))
}
