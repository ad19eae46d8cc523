package observe

import (
	"context"

	"sigs.k8s.io/controller-runtime/pkg/client"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/canary/target"
)

// RestoreTo names the revision that a deletion gives the target back: the promoted one. What the primary has passed and
// got while some traffic is still at the canary counts as promoted.
func RestoreTo(st *siskinv1.CanaryStatus) string {
	if st.Phase == siskinv1.PhaseFinalising {
		return revisionOf(st.Canary)
	}
	return revisionOf(st.Stable)
}

// promoted finds out, of a Canary that is being deleted, whether the target has the promoted content, and names what it
// has.
func (o *Observer) promoted(ctx context.Context, w *World) {
	if w.Target == nil || w.Canary.DeletionTimestamp == nil {
		return
	}
	name := RestoreTo(&w.Canary.Status)
	if w.Promoted = o.has(ctx, w, name); w.Promoted {
		w.RevisionName = name
		return
	}
	for _, other := range judged(w.Canary.Status) {
		if stored, ok := w.stored(other); ok && other != name && sameContent(stored, w.Revision) {
			w.RevisionName = other
			return
		}
	}
	if canonical, err := w.Revision.Canonical(); err == nil {
		w.RevisionName = target.Name(w.Canary.Name, canonical)
	}
}

// has tells whether the target has the content of a revision, and its pods read what that revision's do. Without the
// snapshot nothing could be given back. What was restored once may look another way by now: what the API server or a
// webhook has added to it.
func (o *Observer) has(ctx context.Context, w *World, name string) bool {
	stored, ok := w.stored(name)
	if !ok {
		return true
	}
	live := w.Revision.Originals(stored.Config)
	given := w.Target.GetAnnotations()[siskinv1.RestoredAnnotation] == name
	if !sameContent(stored, live) && (!given || !stored.WithinOf(live)) {
		return false
	}
	if given || o.Config == nil || stored.Config == nil {
		return true
	}
	if o.Config.Reads == nil {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, configTimeout)
		defer cancel()
	}
	for _, it := range stored.Config.Items {
		if it.Copy == "" || !w.Revision.ReadsOriginal(it) {
			continue
		}
		if same, err := o.Config.has(ctx, client.ObjectKeyFromObject(w.Canary), object{it.Kind, w.Canary.Namespace, it.Name}, it.Hash); err != nil || !same {
			return false
		}
	}
	return true
}

// stored reads a snapshot; false: it is not there, or cannot be read.
func (w *World) stored(name string) (target.Revision, bool) {
	snapshot, ok := w.Snapshots[name]
	if !ok {
		return target.Revision{}, false
	}
	r, err := w.Read(snapshot)
	return r, err == nil
}

// sameContent compares what makes a revision, but for the configuration.
func sameContent(a, b target.Revision) bool {
	a.Config, b.Config = nil, nil
	same, err := target.Same(a, b)
	return err == nil && same
}
