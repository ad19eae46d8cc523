package istio

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/router"
)

// mesh is the gateway that stands for all sidecars.
const mesh = "mesh"

// base is the generated VirtualService before a rollout: it leads to the apex.
type base struct {
	hosts, gateways []string
	rules           map[string][]rule
}

// generate makes it of spec.service.
func generate(in router.Intent) (base, error) {
	svc := in.Owner.Spec.Service
	if len(in.Apex) > validation.DNS1123SubdomainMaxLength {
		return base{}, invalid("spec.service.name", "%q is longer than %d characters", in.Apex, validation.DNS1123SubdomainMaxLength)
	}
	if in.Port <= 0 {
		return base{}, invalid("spec.service.port", "the route needs the port of the Services: set spec.service.port")
	}
	if len(svc.GatewayRefs) > 0 {
		return base{}, invalid("spec.service.gatewayRefs", "it names Gateways of the Gateway API: name Istio's in spec.service.gateways, or use provider gatewayapi")
	}
	var out base
	var err error
	if out.hosts, out.gateways, err = exposed(svc, in.Apex); err != nil {
		return base{}, err
	}
	if streams(in) {
		out.rules, err = streamRules(in, out.gateways)
	} else {
		out.rules, err = httpRules(in, out.gateways)
	}
	return out, err
}

var gatewayName = regexp.MustCompile(`^([a-z0-9]([-a-z0-9]*[a-z0-9])?/)?[a-z0-9]([-a-z0-9.]*[a-z0-9])?$`)

// exposed are the hosts and gateways. A VirtualService that another one delegates to has none; one of the mesh is always asked for by
// the apex's name too.
func exposed(svc siskinv1.CanaryService, apex string) (hosts, gateways []string, err error) {
	if svc.Delegation {
		return nil, nil, delegated(svc)
	}
	gateways = slices.Clone(svc.Gateways)
	for i, g := range gateways {
		if !gatewayName.MatchString(g) {
			return nil, nil, invalid(fmt.Sprintf("spec.service.gateways[%d]", i), "%q is no gateway: give mesh, a name or namespace/name", g)
		}
	}
	if len(gateways) == 0 {
		gateways = []string{mesh}
	}
	hosts = slices.Clone(svc.Hosts)
	for i, host := range hosts {
		field := fmt.Sprintf("spec.service.hosts[%d]", i)
		problems := validation.IsDNS1123Subdomain(host)
		if strings.HasPrefix(host, "*.") {
			problems = validation.IsWildcardDNS1123Subdomain(host)
		}
		switch {
		case host == "*" && slices.Contains(gateways, mesh):
			return nil, nil, invalid(field, "in the mesh * would be every host: name the hosts, or leave mesh out of spec.service.gateways")
		case host != "*" && (len(problems) > 0 || len(validation.IsValidIP(nil, host)) == 0):
			return nil, nil, invalid(field, "%q is no host name (no port, no IP address; *.example.org is possible)", host)
		}
	}
	switch {
	case slices.Contains(gateways, mesh) && !slices.Contains(hosts, apex):
		hosts = append(hosts, apex)
	case len(hosts) == 0:
		hosts = []string{"*"}
	}
	return hosts, gateways, nil
}

func delegated(svc siskinv1.CanaryService) error {
	const instead = "a VirtualService that another one delegates to has none: give them in that one, or set delegation to false"
	switch {
	case len(svc.Hosts) > 0:
		return invalid("spec.service.hosts", instead)
	case len(svc.Gateways) > 0:
		return invalid("spec.service.gateways", instead)
	}
	return nil
}

// streams tells whether the split is of connections and not of requests: by the protocol of the port, as Istio reads it.
func streams(in router.Intent) bool {
	svc := in.Owner.Spec.Service
	protocol := cmp.Or(svc.AppProtocol, svc.PortName)
	if i := slices.IndexFunc(in.PrimaryPorts, func(p corev1.ServicePort) bool { return p.Port == in.Port }); protocol == "" && i >= 0 {
		protocol = in.PrimaryPorts[i].Name
		if p := in.PrimaryPorts[i].AppProtocol; p != nil {
			protocol = *p
		}
	}
	protocol, _, _ = strings.Cut(strings.ToLower(protocol), "-")
	return protocol == "tcp"
}

// httpRules are those for requests. Through the mesh a client says by the port that it asks for which one it means; through a
// gateway it is the Canary's.
func httpRules(in router.Intent, gateways []string) (map[string][]rule, error) {
	selects, err := requests("spec.service.match", in.Owner.Spec.Service.Match)
	if err != nil {
		return nil, err
	}
	policy, err := policyOf(in)
	if err != nil {
		return nil, err
	}
	others := slices.DeleteFunc(slices.Clone(gateways), func(g string) bool { return g == mesh })
	var out []rule
	if len(others) < len(gateways) {
		r, err := httpRule(in, policy, selects, 0, nil)
		if err != nil {
			return nil, err
		}
		out = append(out, r)
	}
	if len(out) == 0 || len(others) > 0 {
		only := others
		if len(out) == 0 { // there is nothing else to tell it from
			only = nil
		}
		r, err := httpRule(in, policy, selects, in.Port, only)
		if err != nil {
			return nil, err
		}
		if len(r.selects) > 0 { // what names its gateways may name the mesh alone
			out = append([]rule{r}, out...)
		}
	}
	return map[string][]rule{listHTTP: out}, nil
}

// httpRule is one of them, for what comes through these gateways; none are all.
func httpRule(in router.Intent, policy *networking.HTTPRoute, selects []request, port int32, gateways []string) (rule, error) {
	policy = policy.DeepCopy()
	to := &networking.Destination{Host: in.Apex}
	if port > 0 {
		to.Port = &networking.PortSelector{Number: uint32(port)}
	}
	policy.Route = []*networking.HTTPRouteDestination{{Destination: to}}
	raw, err := encode(policy)
	if err != nil {
		return rule{}, err
	}
	out := rule{fields: raw}
	for i, one := range selects {
		j := joiner{possible: true}
		m := one.match.DeepCopy()
		j.join(m, &networking.HTTPMatchRequest{Gateways: gateways})
		if !j.possible {
			continue
		}
		said, err := encode(m)
		if err != nil {
			return rule{}, err
		}
		s := selector{match: said, cookies: one.cookies}
		if _, err := s.written(fmt.Sprintf("spec.service.match[%d]", i)); err != nil {
			return rule{}, err
		}
		out.selects = append(out.selects, s)
	}
	return out, nil
}

// streamRules are those for connections.
func streamRules(in router.Intent, gateways []string) (map[string][]rule, error) {
	svc := in.Owner.Spec.Service
	for _, part := range []struct {
		name  string
		given bool
	}{
		{"match", len(svc.Match) > 0},
		{"rewrite", svc.Rewrite != nil},
		{"headers", svc.Headers != nil},
		{"mirror", len(svc.Mirror) > 0},
		{"timeout", svc.Timeout != ""},
		{"backendTimeout", svc.BackendTimeout != ""},
		{"retries", svc.Retries != nil},
		{"corsPolicy", svc.CorsPolicy != nil},
		{"delegation", svc.Delegation},
	} {
		if part.given {
			return nil, invalid("spec.service."+part.name, "the port is of TCP, which knows no requests: leave it out, or give another appProtocol")
		}
	}
	route := &networking.TCPRoute{Route: []*networking.RouteDestination{{Destination: &networking.Destination{
		Host: in.Apex, Port: &networking.PortSelector{Number: uint32(in.Port)}, //nolint:gosec // a port
	}}}}
	others := slices.DeleteFunc(slices.Clone(gateways), func(g string) bool { return g == mesh })
	if len(others) < len(gateways) { // other ports of the apex are not meant
		route.Match = append(route.Match, &networking.L4MatchAttributes{Port: uint32(in.Port)}) //nolint:gosec // a port
		if len(others) > 0 {
			route.Match[0].Gateways = []string{mesh}
			route.Match = append(route.Match, &networking.L4MatchAttributes{Gateways: others})
		}
	}
	raw, err := encode(route)
	if err != nil {
		return nil, err
	}
	return map[string][]rule{listTCP: {{fields: raw}}}, nil
}
