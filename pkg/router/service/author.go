package service

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/router/internal/owned"
)

// left is what Siskin wrote into an adopted Service in the place of what its author wants, so that later edits of the
// author can be told from it.
type left struct {
	Selector map[string]string    `json:"selector,omitempty"`
	Ports    []corev1.ServicePort `json:"ports,omitempty"`
	// Applied is a digest of what kubectl apply had applied last: a client-side apply of what is live already changes
	// nothing else.
	Applied string `json:"applied,omitempty"`
}

// wish is what the author of a Service wants of it.
type wish struct {
	selector map[string]string
	ports    []corev1.ServicePort
}

// Author returns the Service as its author wants it: an adopted one without what Siskin made of its selector and its
// ports.
func Author(svc *corev1.Service) *corev1.Service {
	out := svc.DeepCopy()
	w := wishOf(svc)
	out.Spec.Selector, out.Spec.Ports = w.selector, w.ports
	return out
}

// AuthorOf is Author of an apex that somebody else made; nil: there is none, or the Canary generated it.
func AuthorOf(canary *siskinv1.Canary, svc *corev1.Service) *corev1.Service {
	if svc == nil || owned.By(svc, canary) != owned.Foreign {
		return nil
	}
	return Author(svc)
}

// PortAfter is the port by which a route leads to the apex when that is given back to its author: the same, if the
// author has it, else one that leads to the same port of the pods, else the author's first.
func PortAfter(canary *siskinv1.Canary, apex *corev1.Service, port int32) int32 {
	author := AuthorOf(canary, apex)
	if author == nil || len(author.Spec.Ports) == 0 {
		return port
	}
	number := func(p corev1.ServicePort) bool { return p.Port == port }
	if slices.ContainsFunc(author.Spec.Ports, number) {
		return port
	}
	if i := slices.IndexFunc(apex.Spec.Ports, number); i >= 0 {
		same := func(p corev1.ServicePort) bool { return p.TargetPort == apex.Spec.Ports[i].TargetPort }
		if j := slices.IndexFunc(author.Spec.Ports, same); j >= 0 {
			return author.Spec.Ports[j].Port
		}
	}
	return author.Spec.Ports[0].Port
}

// wishOf reads what the author wants. What differs from what Siskin left there was written since, and counts; of the
// rest the record does.
func wishOf(svc *corev1.Service) wish {
	w := wish{selector: original(svc), ports: slices.Clone(svc.Spec.Ports)}
	had, replaced := leftIn(svc)
	if !replaced {
		return w
	}
	var recorded []corev1.ServicePort
	if json.Unmarshal([]byte(svc.Annotations[siskinv1.PortsAnnotation]), &recorded) != nil {
		return w
	}
	w.ports = nil
	for _, p := range svc.Spec.Ports {
		i := at(had.Ports, p)
		if i < 0 || !samePort(had.Ports[i], p) {
			w.ports = append(w.ports, p) // the author's, since
		} else if j := at(recorded, p); j >= 0 {
			w.ports = append(w.ports, recorded[j])
		}
	}
	for _, p := range recorded { // withheld until now
		if at(had.Ports, p) < 0 && at(svc.Spec.Ports, p) < 0 {
			w.ports = append(w.ports, p)
		}
	}
	return w
}

// leftIn reads what Siskin left in an adopted Service; false: that is what its author wants, but for the role.
func leftIn(svc *corev1.Service) (left, bool) {
	text, ok := svc.Annotations[siskinv1.LeftAnnotation]
	var l left
	return l, ok && marked(svc) && json.Unmarshal([]byte(text), &l) == nil
}

// told is wishOf of a Service that was read from the API server, with what only that knows: a client-side apply that
// wrote no field, since all of it was live already, and who owns what Siskin left there.
func told(svc *corev1.Service) wish {
	w := wishOf(svc)
	had, replaced := leftIn(svc)
	if !replaced {
		return w
	}
	if applied, ok := appliedSpec(svc); ok && digestOf(svc) != had.Applied {
		if len(applied.Selector) > 0 {
			w.selector = applied.Selector
		}
		if len(applied.Ports) > 0 {
			w.ports = numbered(applied.Ports, svc.Spec.Ports)
		}
		return w
	}
	if owns(svc, "f:spec", "f:selector") {
		w.selector = withoutRole(svc.Spec.Selector)
	}
	for i, p := range w.ports {
		j := at(svc.Spec.Ports, p)
		key := fmt.Sprintf(`k:{"port":%d,"protocol":%q}`, p.Port, protocolOf(p))
		if j < 0 {
			continue
		}
		live := svc.Spec.Ports[j]
		mine := func(field string) bool { return owns(svc, "f:spec", "f:ports", key, field) }
		if targetOf(live) != targetOf(p) && mine("f:targetPort") {
			w.ports[i].TargetPort = live.TargetPort
		}
		if !equality.Semantic.DeepEqual(live.AppProtocol, p.AppProtocol) && mine("f:appProtocol") {
			w.ports[i].AppProtocol = live.AppProtocol
		}
		if live.Name != p.Name && mine("f:name") {
			w.ports[i].Name = live.Name
		}
	}
	return w
}

// numbered gives ports the node ports that they have.
func numbered(ports, live []corev1.ServicePort) []corev1.ServicePort {
	out := slices.Clone(ports)
	for i := range out {
		out[i].Protocol = protocolOf(out[i])
		out[i].TargetPort = targetOf(out[i])
		if j := at(live, out[i]); j >= 0 && out[i].NodePort == 0 {
			out[i].NodePort = live[j].NodePort
		}
	}
	return out
}

// appliedSpec is what kubectl apply applied last.
func appliedSpec(svc *corev1.Service) (corev1.ServiceSpec, bool) {
	text, ok := svc.Annotations[corev1.LastAppliedConfigAnnotation]
	var applied corev1.Service
	return applied.Spec, ok && json.Unmarshal([]byte(text), &applied) == nil
}

func digestOf(svc *corev1.Service) string {
	text, ok := svc.Annotations[corev1.LastAppliedConfigAnnotation]
	if !ok {
		return ""
	}
	digest, err := owned.Digest(text)
	if err != nil {
		return ""
	}
	return digest
}

// owns tells whether somebody applied the field at path, in the notation of managedFields, as it is live. GitSync sends
// what Siskin left.
func owns(svc *corev1.Service, path ...string) bool {
	return slices.ContainsFunc(svc.ManagedFields, func(e metav1.ManagedFieldsEntry) bool {
		foreign := e.Manager != siskinv1.FieldManager && e.Manager != siskinv1.GitSyncFieldManager && e.Subresource == ""
		return foreign && has(e, path...)
	})
}

func has(e metav1.ManagedFieldsEntry, path ...string) bool {
	if e.FieldsV1 == nil {
		return false
	}
	var fields map[string]any
	if json.Unmarshal(e.FieldsV1.GetRawBytes(), &fields) != nil {
		return false
	}
	for _, key := range path {
		next, ok := fields[key].(map[string]any)
		if !ok {
			return false
		}
		fields = next
	}
	return true
}

// whole reads a Service from the API server: caches keep neither who owns its fields nor what kubectl applied.
func (a *Applier) whole(ctx context.Context, svc *corev1.Service) (*corev1.Service, error) {
	if a.live == nil {
		return svc, nil
	}
	var live corev1.Service
	if err := a.live.Get(ctx, client.ObjectKeyFromObject(svc), &live); err != nil {
		return nil, fmt.Errorf("reading Service %s/%s: %w", svc.Namespace, svc.Name, err)
	}
	return &live, nil
}

// note records in s, which is being written, what its author wants where that is not what is written.
func (w wish) note(s *corev1.Service, applied string) error {
	selector, err := json.Marshal(w.selector)
	if err != nil {
		return fmt.Errorf("recording the selector of Service %s: %w", s.Name, err)
	}
	s.Annotations[siskinv1.SelectorAnnotation] = string(selector)
	if maps.Equal(withoutRole(w.selector), withoutRole(s.Spec.Selector)) && SamePorts(w.ports, s.Spec.Ports) {
		delete(s.Annotations, siskinv1.PortsAnnotation)
		delete(s.Annotations, siskinv1.LeftAnnotation)
		return nil
	}
	ports, err := json.Marshal(w.ports)
	if err != nil {
		return fmt.Errorf("recording the ports of Service %s: %w", s.Name, err)
	}
	mine := left{Selector: withoutRole(s.Spec.Selector), Ports: copied(s.Spec.Ports), Applied: applied}
	text, err := json.Marshal(mine)
	if err != nil {
		return fmt.Errorf("recording what is left in Service %s: %w", s.Name, err)
	}
	s.Annotations[siskinv1.PortsAnnotation], s.Annotations[siskinv1.LeftAnnotation] = string(ports), string(text)
	return nil
}
