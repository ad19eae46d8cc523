package gateway

import (
	"net"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// clusterEndpoints are those of the API server's Services and EndpointSlices.
type clusterEndpoints struct {
	services *store[*corev1.Service]
	slices   *store[*discoveryv1.EndpointSlice]
}

// Ready lists the addresses of the ready endpoints. Pods that are terminating are not ready.
func (e *clusterEndpoints) Ready(namespace, service string, port int32) (addrs []string, found bool) {
	name, found := e.portName(namespace, service, port)
	if !found {
		return nil, false
	}
	for _, slice := range e.slices.all() {
		if slice.Namespace != namespace || slice.Labels[discoveryv1.LabelServiceName] != service {
			continue
		}
		for _, p := range slice.Ports {
			if p.Port == nil || (p.Name != nil && *p.Name != name) {
				continue
			}
			addrs = append(addrs, ready(slice, *p.Port)...)
		}
	}
	slices.Sort(addrs)
	return slices.Compact(addrs), true
}

func ready(slice *discoveryv1.EndpointSlice, port int32) []string {
	var out []string
	for _, ep := range slice.Endpoints {
		if ep.Conditions.Ready != nil && !*ep.Conditions.Ready {
			continue
		}
		for _, a := range ep.Addresses {
			out = append(out, net.JoinHostPort(a, strconv.Itoa(int(port))))
		}
	}
	return out
}

func (e *clusterEndpoints) portName(namespace, service string, port int32) (string, bool) {
	svc, ok := e.services.get(client.ObjectKey{Namespace: namespace, Name: service})
	if !ok {
		return "", false
	}
	for _, p := range svc.Spec.Ports {
		if p.Port == port {
			return p.Name, true
		}
	}
	return "", false
}
