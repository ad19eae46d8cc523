package service

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/intstr"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/router"
)

// ViewLimit is how large a view may be that is kept in an annotation, in bytes: about 500 ports.
const ViewLimit = 64 << 10

// View is what the Services that lead to the pods of a revision have to say of their ports. It belongs to the revision:
// what its author writes of ports beside a new pod template holds for that template's pods, and for no others.
type View struct {
	// Ports that are served.
	Ports []corev1.ServicePort `json:"ports"`
	// Port is the one whose traffic is split.
	Port int32 `json:"port,omitempty"`
	// Was is the one whose traffic was split before an edit; 0: there was none. It is served until no route leads to it
	// any more.
	Was int32 `json:"was,omitempty"`
}

// Wanted is the view that a Canary and the author of its apex ask for, for pods of a template. author is nil if the
// apex is generated. Errors: *router.InvalidError.
func Wanted(spec siskinv1.CanaryService, author *corev1.Service, template corev1.PodTemplateSpec) (View, error) {
	ports, err := Ports(spec, author, template)
	if err != nil {
		return View{}, err
	}
	port, err := TrafficPort(spec, ports)
	return View{Ports: ports, Port: port}, err
}

// ViewOf is the view that a Service has: how it is found where none was recorded.
func ViewOf(svc *corev1.Service, spec siskinv1.CanaryService) View {
	return viewOf(svc.Spec.Ports, spec)
}

func viewOf(ports []corev1.ServicePort, spec siskinv1.CanaryService) View {
	ports = copied(ports)
	port, err := TrafficPort(spec, ports)
	if err != nil { // the spec was edited since: this is what it led to
		spec.Port = 0
		port, _ = TrafficPort(spec, ports) // a Service has a port
	}
	return View{Ports: ports, Port: port}
}

// Encode returns the view as it is kept in an annotation. Errors: *router.InvalidError, if it is too large for that.
func (v View) Encode() (string, error) {
	raw, err := json.Marshal(v)
	if err != nil {
		return "", fmt.Errorf("encoding the ports of a Service: %w", err)
	}
	if len(raw) > ViewLimit {
		return "", &router.InvalidError{Router: name, Field: "spec.service", Message: fmt.Sprintf(
			"the Service's %d ports take %d bytes, and no more than %d can be kept: serve fewer ports", len(v.Ports), len(raw), ViewLimit)}
	}
	return string(raw), nil
}

// Key is the same for views that ask for the same, whoever read them.
func (v View) Key() string {
	raw, err := json.Marshal(v)
	return fmt.Sprint(string(raw), err)
}

// DecodeView reads what Encode wrote; false: it is not that.
func DecodeView(text string) (View, bool) {
	var v View
	err := json.Unmarshal([]byte(text), &v)
	return v, err == nil && len(v.Ports) > 0
}

// Same tells whether two views lead to the same. What was split before does not count, nor does the order.
func (v View) Same(o View) bool { return v.Port == o.Port && SamePorts(v.Ports, o.Ports) }

// Has tells whether the view has a port of a number.
func (v View) Has(port int32) bool {
	return slices.ContainsFunc(v.Ports, func(p corev1.ServicePort) bool { return p.Port == port })
}

// SamePorts compares what two lists of ports lead to; node ports and order do not count.
func SamePorts(a, b []corev1.ServicePort) bool {
	return len(a) == len(b) && includes(a, b) && includes(b, a)
}

// Extends tells whether v has all that o has, so that nobody who was served by o notices.
func (v View) Extends(o View) bool { return v.Port == o.Port && includes(v.Ports, o.Ports) }

func includes(all, part []corev1.ServicePort) bool {
	for _, p := range part {
		if i := at(all, p); i < 0 || !samePort(all[i], p) {
			return false
		}
	}
	return true
}

// at finds the port with the number and the protocol of p; -1: there is none.
func at(ports []corev1.ServicePort, p corev1.ServicePort) int {
	return slices.IndexFunc(ports, func(o corev1.ServicePort) bool { return o.Port == p.Port && protocolOf(o) == protocolOf(p) })
}

func samePort(a, b corev1.ServicePort) bool { return a.Name == b.Name && leadsAlike(a, b) }

// leadsAlike tells whether two ports of one number lead to the same port of pods, by the same protocol.
func leadsAlike(a, b corev1.ServicePort) bool {
	return targetOf(a) == targetOf(b) && equality.Semantic.DeepEqual(a.AppProtocol, b.AppProtocol)
}

func protocolOf(p corev1.ServicePort) corev1.Protocol { return cmp.Or(p.Protocol, corev1.ProtocolTCP) }

func targetOf(p corev1.ServicePort) intstr.IntOrString {
	if p.TargetPort == (intstr.IntOrString{}) || p.TargetPort == intstr.FromInt32(0) {
		return intstr.FromInt32(p.Port)
	}
	return p.TargetPort
}

// Misfit tells why pods of template, which are served by before, cannot be served by v; "": they can, as far as the
// template says what they listen on. A number that no container declares is believed unless it takes the place of one
// that is declared.
func (v View) Misfit(before View, template corev1.PodTemplateSpec) string {
	var out []string
	for _, p := range v.Ports {
		i := at(before.Ports, p)
		if i >= 0 && targetOf(before.Ports[i]) == targetOf(p) || listens(template, p) {
			continue
		}
		named := targetOf(p).Type == intstr.String
		if named || i >= 0 && listens(template, before.Ports[i]) {
			out = append(out, fmt.Sprintf("port %d leads to %s", p.Port, p.TargetPort.String()))
		}
	}
	return strings.Join(out, ", ")
}

// listens tells whether a container of template declares the port that p leads to.
func listens(template corev1.PodTemplateSpec, p corev1.ServicePort) bool {
	target := targetOf(p)
	for _, containers := range [][]corev1.Container{template.Spec.Containers, template.Spec.InitContainers} {
		for _, c := range containers {
			if slices.ContainsFunc(c.Ports, func(have corev1.ContainerPort) bool {
				return cmp.Or(have.Protocol, corev1.ProtocolTCP) == protocolOf(p) && leadsTo(target, have)
			}) {
				return true
			}
		}
	}
	return false
}

// Pods are those of one revision: their template and the view that belongs to it.
type Pods struct {
	View     View
	Template corev1.PodTemplateSpec
}

// served tells whether a port of a Service leads to where pods listen whose own view has a port of that number.
func (p Pods) served(port corev1.ServicePort) bool {
	i := at(p.View.Ports, port)
	if i < 0 { // it is being added or taken away
		return true
	}
	own := p.View.Ports[i]
	if !equality.Semantic.DeepEqual(own.AppProtocol, port.AppProtocol) {
		return false
	}
	return targetOf(own) == targetOf(port) || listens(p.Template, port)
}

// Both is a view that serves the pods of two revisions at a time, as while one takes the other's place; false: there is
// none, since one port leads to another number in each. What only one of them has is served too.
func Both(from, to Pods) (View, bool) {
	out := View{Port: from.View.Port, Was: from.View.Was}
	for _, p := range to.View.Ports {
		i := at(from.View.Ports, p)
		switch {
		case from.served(p):
			out.Ports = append(out.Ports, p)
		case i >= 0 && to.served(from.View.Ports[i]):
			out.Ports = append(out.Ports, from.View.Ports[i])
		default:
			return from.View, false
		}
	}
	for _, p := range from.View.Ports {
		if at(out.Ports, p) < 0 {
			p.Name = unique(out.Ports, p)
			out.Ports = append(out.Ports, p)
		}
	}
	return out, true
}

// ServedBy tells whether svc, as it is, leads to these pods, whatever their role: it selects them, and its ports lead
// to where they listen.
func (p Pods) ServedBy(svc *corev1.Service) bool {
	if svc == nil {
		return false
	}
	selector := withoutRole(svc.Spec.Selector)
	delete(selector, siskinv1.CloneLabel)
	return matches(selector, p.Template.Labels) &&
		!slices.ContainsFunc(svc.Spec.Ports, func(port corev1.ServicePort) bool { return !p.served(port) })
}

// beside adds a port of a number that clients, or a route, still use: it leads to where the traffic of the view does.
func (v View) beside(port int32) View {
	i := slices.IndexFunc(v.Ports, func(p corev1.ServicePort) bool { return p.Port == v.Port })
	if port == 0 || i < 0 || v.Has(port) {
		return v
	}
	p := *v.Ports[i].DeepCopy()
	p.TargetPort, p.Port, p.Name, p.NodePort = targetOf(p), port, "", 0
	p.Name = unique(v.Ports, p)
	v.Ports = append(slices.Clone(v.Ports), p)
	return v
}

// Overlap are the ports of a clone of a Service that also serves the ports by which the routes to other revisions lead:
// a route has one number for both sides. live is the clone as it is, which keeps the names of its ports; nil: there is
// none.
func Overlap(ports []corev1.ServicePort, spec siskinv1.CanaryService, others [][]corev1.ServicePort, live *corev1.Service) []corev1.ServicePort {
	v := viewOf(ports, spec)
	for _, other := range others {
		v = v.beside(viewOf(other, spec).Port)
	}
	var kept []corev1.ServicePort
	if live != nil {
		kept = live.Spec.Ports
	}
	out := keepNames(v.Ports, kept)
	if slices.EqualFunc(out, ports, func(a, b corev1.ServicePort) bool { return a.Name == b.Name }) {
		return ports
	}
	return out
}

// unique is the name of p, if it is free among ports, else one that is.
func unique(ports []corev1.ServicePort, p corev1.ServicePort) string {
	return freeName(ports, corev1.ContainerPort{Name: p.Name, ContainerPort: p.Port}, protocolOf(p))
}

// keepNames gives ports of the same number the names that they have in a Service that carries traffic: the data plane
// finds the endpoints of a port by its name, and has none of the new name for a moment.
func keepNames(ports, live []corev1.ServicePort) []corev1.ServicePort {
	out := slices.Clone(ports)
	kept := make([]bool, len(out))
	for i := range out {
		if j := at(live, out[i]); j >= 0 && (live[j].Name != "" || len(out) == 1) {
			out[i].Name, kept[i] = live[j].Name, true
		}
	}
	for i := range out {
		rest := slices.Delete(slices.Clone(out), i, i+1)
		if !kept[i] {
			out[i].Name = unique(rest, out[i])
		}
	}
	return out
}
