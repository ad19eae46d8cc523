package gatewayapi

import siskinv1 "github.com/siskin-dev/siskin/api/v1"

// elsewhere refuses what only another router does of spec.service: to leave it out would route without it.
func elsewhere(svc siskinv1.CanaryService) error {
	for _, part := range []struct {
		name, instead string
		given         bool
	}{
		{"gateways", "it names Istio's Gateways: name those of the Gateway API in spec.service.gatewayRefs, or use provider istio", len(svc.Gateways) > 0},
		{"delegation", "an HTTPRoute does not delegate: leave it out, or use provider istio", svc.Delegation},
		{"trafficPolicy", "it makes DestinationRules of Istio: leave it out, or use provider istio", svc.TrafficPolicy != nil},
		{"retries", "it is not written to HTTPRoutes yet: leave it out, or use provider istio", svc.Retries != nil},
		{"corsPolicy", "it is not written to HTTPRoutes yet: leave it out, or use provider istio", svc.CorsPolicy != nil},
	} {
		if part.given {
			return invalid("spec.service."+part.name, "%s", part.instead)
		}
	}
	return nil
}
