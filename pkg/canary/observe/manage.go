package observe

import (
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/canary/report"
	"github.com/siskin-dev/siskin/pkg/canary/target"
	"github.com/siskin-dev/siskin/pkg/router/service"
)

// Managed returns the revision r, named name, with the metadata and the management of pods that a clone is to have
// today; live is the clone as it is, nil if there is none.
//
// Labels and annotations are always those of the target: an admission policy may ask for one that no snapshot has,
// and no rollback may fail for that. How pods are replaced (strategy, minReadySeconds, …) belongs to the revision: an
// edit reaches the clones that have the target's revision, and stays with a clone for as long as that has its
// revision.
func (w *World) Managed(name string, r target.Revision, live client.Object) target.Revision {
	present := w.Target != nil && w.Target.GetDeletionTimestamp() == nil
	runs := live != nil && live.GetAnnotations()[siskinv1.RevisionAnnotation] == name
	switch {
	case r.Service != nil:
		r.Service = w.overlapping(name, r.Service, live)
	case present && w.RevisionName == name && w.Sure() == nil:
		r.Workload = r.Workload.Managed(w.Revision.Workload)
	case runs:
		r.Workload = r.Workload.Managed(target.From(live).Workload)
	}
	switch {
	case r.Service != nil:
	case present:
		r.Workload.Labels, r.Workload.Annotations = w.Revision.Workload.Labels, w.Revision.Workload.Annotations
	case runs:
		was := target.From(live).Workload
		r.Workload.Labels, r.Workload.Annotations = was.Labels, was.Annotations
	}
	r.Workload = r.Workload.Only(w.include)
	return r
}

// overlapping is what a clone of a Service says of a revision: with the ports of the other revisions to which the route
// leads, or led until now.
func (w *World) overlapping(name string, spec *corev1.ServiceSpec, live client.Object) *corev1.ServiceSpec {
	var others [][]corev1.ServicePort
	for _, other := range w.alongside() {
		if ports := w.portsOf(other); other != name && len(ports) > 0 {
			others = append(others, ports)
		}
	}
	have, _ := live.(*corev1.Service)
	out := spec.DeepCopy()
	out.Ports = service.Overlap(out.Ports, w.Canary.Spec.Service, others, have)
	return out
}

// alongside are the revisions that are, or were until the last rollout, served beside each other.
func (w *World) alongside() []string {
	z := report.State(&w.Canary.Status)
	return []string{z.Stable, z.Candidate, z.Previous}
}

// portsOf are the ports of a revision of a Service; none of anything else.
func (w *World) portsOf(revision string) []corev1.ServicePort {
	s := w.Snapshots[revision]
	if s == nil {
		return nil
	}
	r, err := target.Read(s)
	if err != nil || r.Service == nil {
		return nil
	}
	return r.Service.Ports
}

// trafficPort is the port by which the route to the clones of a Service leads: that of the revision that the primary
// runs, whatever its clones call it.
func (w *World) trafficPort(primary *corev1.Service) (int32, error) {
	spec := w.Canary.Spec.Service
	if ports := w.portsOf(runs(w.Primary)); spec.Port == 0 && len(ports) > 0 {
		if port, err := service.TrafficPort(spec, ports); err == nil && has(primary, port) {
			return port, nil
		}
	}
	return service.TrafficPort(spec, primary.Spec.Ports)
}
