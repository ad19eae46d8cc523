package nginx

import siskinv1 "github.com/siskin-dev/siskin/api/v1"

// elsewhere refuses what of spec.service the author of the Ingress says in it, or only another router does. Hosts and gateways of the
// Gateway API count for nothing and may stand there: so can a Canary be made ready for another provider.
func elsewhere(svc siskinv1.CanaryService) error {
	const ingress = "the Ingress says it, in its paths and annotations: leave it out"
	for _, part := range []struct {
		name, instead string
		given         bool
	}{
		{"match", ingress, len(svc.Match) > 0},
		{"rewrite", ingress, svc.Rewrite != nil},
		{"headers", ingress, svc.Headers != nil},
		{"timeout", ingress, svc.Timeout != ""},
		{"backendTimeout", ingress, svc.BackendTimeout != ""},
		{"retries", ingress, svc.Retries != nil},
		{"corsPolicy", ingress, svc.CorsPolicy != nil},
		{"gateways", "it names Istio's Gateways: leave it out, or use provider istio", len(svc.Gateways) > 0},
		{"delegation", "an Ingress does not delegate: leave it out, or use provider istio", svc.Delegation},
		{"trafficPolicy", "it makes DestinationRules of Istio: leave it out, or use provider istio", svc.TrafficPolicy != nil},
	} {
		if part.given {
			return invalid("spec.service."+part.name, "%s", part.instead)
		}
	}
	return nil
}
