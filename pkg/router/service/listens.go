package service

import (
	"cmp"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// Listens are the ports that pods of one template declare, by container.
type Listens map[string][]corev1.ContainerPort

// ListensOf are the ports that a template declares.
func ListensOf(template corev1.PodTemplateSpec) Listens {
	out := Listens{}
	for _, containers := range [][]corev1.Container{template.Spec.Containers, template.Spec.InitContainers} {
		for _, c := range containers {
			if len(c.Ports) > 0 {
				out[c.Name] = c.Ports
			}
		}
	}
	return out
}

// at finds the declared port that p leads to.
func (l Listens) at(p corev1.ServicePort) (container string, port corev1.ContainerPort, ok bool) {
	target := targetOf(p)
	for name, ports := range l {
		for _, have := range ports {
			if cmp.Or(have.Protocol, corev1.ProtocolTCP) == protocolOf(p) && leadsTo(target, have) {
				return name, have, true
			}
		}
	}
	return "", corev1.ContainerPort{}, false
}

// like finds the port that a container of other pods has in the place of one: by its name, by its number, or because it
// is the only one in both.
func (l Listens) like(container string, port corev1.ContainerPort, of Listens) (corev1.ContainerPort, bool) {
	for _, same := range []func(corev1.ContainerPort) bool{
		func(p corev1.ContainerPort) bool { return p.Name != "" && p.Name == port.Name },
		func(p corev1.ContainerPort) bool { return p.ContainerPort == port.ContainerPort },
		func(corev1.ContainerPort) bool { return len(l[container]) == 1 && len(of[container]) == 1 },
	} {
		for _, p := range l[container] {
			if cmp.Or(p.Protocol, corev1.ProtocolTCP) == cmp.Or(port.Protocol, corev1.ProtocolTCP) && same(p) {
				return p, true
			}
		}
	}
	return corev1.ContainerPort{}, false
}

// leading are ports of a Service as they lead to the pods of a side. Their author writes them for the target's pods: of
// those that serve, the same port of the same container counts. What no container of the target declares is believed.
func (in In) leading(ports []corev1.ServicePort, side Side) []corev1.ServicePort {
	written := ListensOf(in.Template)
	out := make([]corev1.ServicePort, len(ports))
	for i, p := range ports {
		out[i] = p
		if len(side.Listens) > 0 {
			out[i].TargetPort = leadingTo(p, written, side.Listens)
		}
	}
	return out
}

func leadingTo(p corev1.ServicePort, written Listens, serving []Listens) intstr.IntOrString {
	container, port, declared := written.at(p)
	if !declared || all(serving, p) {
		return p.TargetPort
	}
	led := p
	for _, l := range serving { // the first that leads to all; else that of the pods that the side has
		has, ok := l.like(container, port, written)
		if !ok {
			continue
		}
		for _, to := range []intstr.IntOrString{intstr.FromInt32(has.ContainerPort), intstr.FromString(has.Name)} {
			led.TargetPort = to
			if to != intstr.FromString("") && all(serving, led) {
				return to
			}
		}
	}
	if has, ok := serving[0].like(container, port, written); ok {
		return intstr.FromInt32(has.ContainerPort)
	}
	return p.TargetPort
}

// all tells whether the pods of all templates declare what p leads to.
func all(serving []Listens, p corev1.ServicePort) bool {
	for _, l := range serving {
		if _, _, ok := l.at(p); !ok {
			return false
		}
	}
	return true
}
