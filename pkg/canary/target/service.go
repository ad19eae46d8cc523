package target

import (
	"fmt"
	"maps"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
)

// portable is what a clone of a Service takes over: what tells where it leads and how connections are spread. Addresses, node ports
// and load balancers are the Service's own.
func portable(spec corev1.ServiceSpec) corev1.ServiceSpec {
	s := spec.DeepCopy()
	out := corev1.ServiceSpec{
		Selector: without(s.Selector, fence), Ports: s.Ports, SessionAffinity: s.SessionAffinity, SessionAffinityConfig: s.SessionAffinityConfig,
		PublishNotReadyAddresses: s.PublishNotReadyAddresses, InternalTrafficPolicy: s.InternalTrafficPolicy, TrafficDistribution: s.TrafficDistribution,
	}
	if s.ClusterIP == corev1.ClusterIPNone {
		out.ClusterIP = s.ClusterIP
	}
	for i := range out.Ports {
		out.Ports[i].NodePort = 0
	}
	return out
}

// intoService writes what portable took into spec.
func intoService(spec *corev1.ServiceSpec, from corev1.ServiceSpec) {
	ports := map[string]int32{}
	for _, p := range spec.Ports {
		ports[p.Name] = p.NodePort
	}
	s := from.DeepCopy()
	spec.Selector, spec.Ports, spec.SessionAffinity, spec.SessionAffinityConfig = s.Selector, s.Ports, s.SessionAffinity, s.SessionAffinityConfig
	spec.PublishNotReadyAddresses, spec.InternalTrafficPolicy = s.PublishNotReadyAddresses, s.InternalTrafficPolicy
	spec.TrafficDistribution = s.TrafficDistribution
	for i := range spec.Ports {
		spec.Ports[i].NodePort = ports[spec.Ports[i].Name]
	}
}

// cloneService makes svc lead where the revision does, or nowhere at size 0. Its pods are the user's: they get no role.
func cloneService(svc *corev1.Service, r Revision, replicas int32) {
	if r.Service != nil {
		svc.Spec = *r.Service.DeepCopy()
	}
	if replicas == 0 {
		svc.Annotations = with(svc.Annotations, siskinv1.HeldAnnotation, fenced)
		svc.Spec.Selector = with(svc.Spec.Selector, fence, fenced)
	}
}

// serves tells whether live leads where want does. The selector is an atomic map and has to be equal.
func serves(live, want corev1.ServiceSpec) bool {
	return maps.Equal(live.Selector, want.Selector) && len(live.Ports) == len(want.Ports) && equality.Semantic.DeepDerivative(want, live)
}

func checkService(svc *corev1.Service) *RefusedError {
	refuse := func(what string) *RefusedError {
		return &RefusedError{ReasonUnsupportedTarget, fmt.Sprintf("Service %s %s", svc.Name, what)}
	}
	switch {
	case svc.Spec.Type == corev1.ServiceTypeExternalName:
		return refuse("is of type ExternalName and selects no pods: name a Service with a selector")
	case len(svc.Spec.Selector) == 0:
		return refuse("has no selector, so that clones of it would lead nowhere: give it one")
	}
	return nil
}
