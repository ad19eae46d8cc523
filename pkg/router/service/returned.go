package service

import (
	"maps"

	corev1 "k8s.io/api/core/v1"
)

// returned is what an adopted Service is given back with. That is what its author wants, but where it belongs to pods of
// a version that was not promoted: the target has the pod template of the promoted one, and nobody would be behind the
// Service. There it selects by the same labels the pods of in, and its ports lead where they do.
func (in In) returned(w wish, svc *corev1.Service) wish {
	if _, replaced := leftIn(svc); !replaced || len(in.PodLabels) == 0 {
		return w
	}
	out := wish{selector: w.selector, ports: copied(w.ports)}
	if !matches(w.selector, in.PodLabels) {
		out.selector = map[string]string{}
		for key := range w.selector { // what tells the versions apart keeps out the clones' pods, which drain
			if value, ok := in.PodLabels[key]; ok {
				out.selector[key] = value
			}
		}
		if len(out.selector) == 0 {
			out.selector = in.Selector
		}
	}
	served := View{Ports: svc.Spec.Ports}
	for i, p := range out.ports {
		if j := at(svc.Spec.Ports, p); j >= 0 && (View{Ports: []corev1.ServicePort{p}}).Misfit(served, in.Template) != "" {
			out.ports[i].TargetPort, out.ports[i].AppProtocol = svc.Spec.Ports[j].TargetPort, svc.Spec.Ports[j].AppProtocol
		}
	}
	return out
}

// same tells whether two authors want the same.
func (w wish) same(o wish) bool {
	return maps.Equal(w.selector, o.selector) && SamePorts(w.ports, o.ports)
}
