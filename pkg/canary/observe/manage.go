package observe

import (
	"sigs.k8s.io/controller-runtime/pkg/client"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/canary/target"
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
