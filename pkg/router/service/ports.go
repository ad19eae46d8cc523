package service

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/router"
)

// defaultPortName is the name of a port that the user did not name.
const defaultPortName = "http"

// Ports returns the ports that all Services of a Canary serve. The ports of the user's own apex Service (existing) win,
// all of them, and spec.service.port is served beside them; without one (nil) they come from spec and, with
// portDiscovery, from the containers of template. They are sorted in no way: the first is the one that the user gave
// first.
func Ports(spec siskinv1.CanaryService, existing *corev1.Service, template corev1.PodTemplateSpec) ([]corev1.ServicePort, error) {
	if existing != nil && len(existing.Spec.Ports) > 0 {
		return beside(copied(existing.Spec.Ports), spec), nil
	}
	var ports []corev1.ServicePort
	if spec.Port != 0 {
		ports = append(ports, mainPort(spec))
	}
	if spec.PortDiscovery {
		ports = discover(ports, template)
	}
	if len(ports) == 0 {
		return nil, &router.InvalidError{
			Router: name, Field: "spec.service.port",
			Message: "no port is known: set spec.service.port, or create the apex Service with its ports",
		}
	}
	return ports, nil
}

// TrafficPort returns the port whose traffic is split: spec.service.port, else the port called portName, else the first.
func TrafficPort(spec siskinv1.CanaryService, ports []corev1.ServicePort) (int32, error) {
	if len(ports) == 0 {
		return 0, &router.InvalidError{Router: name, Field: "spec.service.port", Message: "no port is known: set spec.service.port"}
	}
	if spec.Port != 0 {
		if slices.ContainsFunc(ports, func(p corev1.ServicePort) bool { return p.Port == spec.Port }) {
			return spec.Port, nil
		}
		have := make([]string, len(ports))
		for i, p := range ports {
			have[i] = strconv.Itoa(int(p.Port))
		}
		return 0, &router.InvalidError{Router: name, Field: "spec.service.port", Message: fmt.Sprintf(
			"the existing apex Service has no port %d: use one of %s, or leave spec.service.port out", spec.Port, strings.Join(have, ", "))}
	}
	want := cmp.Or(spec.PortName, defaultPortName)
	if i := slices.IndexFunc(ports, func(p corev1.ServicePort) bool { return p.Name == want }); i >= 0 {
		return ports[i].Port, nil
	}
	return ports[0].Port, nil
}

// beside adds spec.service.port to the ports of the user's own Service, if none of them has that number.
func beside(ports []corev1.ServicePort, spec siskinv1.CanaryService) []corev1.ServicePort {
	if spec.Port == 0 || slices.ContainsFunc(ports, func(p corev1.ServicePort) bool { return p.Port == spec.Port }) {
		return ports
	}
	p := mainPort(spec)
	p.Name = unique(ports, p)
	if len(ports) == 1 && ports[0].Name == "" { // of several ports each needs a name
		ports[0].Name = freeName([]corev1.ServicePort{p}, corev1.ContainerPort{ContainerPort: ports[0].Port}, protocolOf(ports[0]))
	}
	return append(ports, p)
}

// copied takes over what tells where a port leads, and leaves out what belongs to one Service only (nodePort).
func copied(ports []corev1.ServicePort) []corev1.ServicePort {
	out := make([]corev1.ServicePort, len(ports))
	for i, p := range ports {
		out[i] = *p.DeepCopy()
		out[i].NodePort = 0
		out[i].Protocol = cmp.Or(p.Protocol, corev1.ProtocolTCP)
		if p.TargetPort == (intstr.IntOrString{}) {
			out[i].TargetPort = intstr.FromInt32(p.Port)
		}
	}
	return out
}

func mainPort(spec siskinv1.CanaryService) corev1.ServicePort {
	p := corev1.ServicePort{
		Name:       cmp.Or(spec.PortName, defaultPortName),
		Port:       spec.Port,
		Protocol:   corev1.ProtocolTCP,
		TargetPort: intstr.FromInt32(spec.Port),
	}
	if spec.TargetPort != nil {
		p.TargetPort = *spec.TargetPort
	}
	if spec.AppProtocol != "" {
		p.AppProtocol = &spec.AppProtocol
	}
	return p
}

// discover adds the containers' ports that no port leads to yet. The proxies of meshes are not the app's.
func discover(ports []corev1.ServicePort, template corev1.PodTemplateSpec) []corev1.ServicePort {
	for _, c := range template.Spec.Containers {
		if c.Name == "istio-proxy" || c.Name == "envoy" {
			continue
		}
		for _, p := range c.Ports {
			protocol := cmp.Or(p.Protocol, corev1.ProtocolTCP)
			taken := slices.ContainsFunc(ports, func(have corev1.ServicePort) bool {
				return have.Protocol == protocol && (have.Port == p.ContainerPort || leadsTo(have.TargetPort, p))
			})
			if taken {
				continue
			}
			ports = append(ports, corev1.ServicePort{
				Name: freeName(ports, p, protocol), Port: p.ContainerPort, Protocol: protocol,
				TargetPort: intstr.FromInt32(p.ContainerPort),
			})
		}
	}
	return ports
}

func leadsTo(target intstr.IntOrString, p corev1.ContainerPort) bool {
	if target.Type == intstr.String {
		return target.StrVal == p.Name
	}
	return target.IntVal == p.ContainerPort
}

// freeName is the container port's own name if it has one that is free, else protocol and number, which are unique.
func freeName(ports []corev1.ServicePort, p corev1.ContainerPort, protocol corev1.Protocol) string {
	free := func(s string) bool {
		return s != "" && !slices.ContainsFunc(ports, func(have corev1.ServicePort) bool { return have.Name == s })
	}
	if free(p.Name) {
		return p.Name
	}
	base := fmt.Sprintf("%s-%d", strings.ToLower(string(protocol)), p.ContainerPort)
	for s, i := base, 2; ; i++ {
		if free(s) {
			return s
		}
		s = fmt.Sprintf("%s-%d", base, i)
	}
}
