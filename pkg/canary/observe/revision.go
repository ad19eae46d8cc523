package observe

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/canary/plan"
	"github.com/siskin-dev/siskin/pkg/canary/target"
)

// revision finds the name of the target's present content. Content that a snapshot has is no new revision, whatever its name
// would be today; what differs only because the API server writes it differently today is none either.
//
// A target that cannot be released, or whose configuration is not known, keeps the name that it had: that starts no rollout and
// ends none.
func (o *Observer) revision(ctx context.Context, w *World) error {
	if w.Target == nil {
		return nil
	}
	w.Revision = w.book.present(w.Target)
	if w.Refused = target.Check(w.Target); w.Refused == nil && w.ours(w.Primary) {
		w.Refused = target.Unchangeable(w.Target, w.Primary)
	}
	if w.Refused != nil || w.Canary.DeletionTimestamp != nil {
		w.RevisionName = o.last(w)
		return nil //nolint:nilerr // it is shown, and keeps rollouts from going forward
	}
	// What may be new is looked at twice: a revision is named by the Secrets as they are now, not as they were a poll ago.
	for _, fresh := range []bool{false, true} {
		if err := o.config(ctx, w, fresh); err != nil {
			if w.RevisionName = o.last(w); w.RevisionName == "" {
				return err // there is nothing yet that could go on, or back
			}
			w.Doubt = err
			return nil
		}
		if w.Refused != nil {
			w.RevisionName = o.last(w)
			return nil //nolint:nilerr // the same
		}
		if name, ok := o.names.get(w.Target.GetUID(), o.version(w)); ok {
			w.RevisionName = name
			return nil
		}
	}
	version := o.version(w)
	sure, err := o.name(ctx, w)
	if err != nil {
		return err
	}
	if sure && w.Unrecorded == "" {
		o.names.set(w.Target.GetUID(), version, w.RevisionName)
	}
	return nil
}

// version names all that the name of the target's content depends on.
func (o *Observer) version(w *World) string {
	parts := []string{strconv.FormatInt(w.Target.GetGeneration(), 10)}
	for _, name := range judged(w.Canary.Status) {
		_, stored := w.Snapshots[name]
		parts = append(parts, name, strconv.FormatBool(stored))
	}
	if target.KindOf(w.Target) == target.Service { // it has no generation
		parts = append(parts, w.Target.GetResourceVersion())
	}
	if w.Revision.Config != nil {
		parts = append(parts, w.Revision.Config.Digest())
	}
	return strings.Join(parts, "/")
}

// config reads what the target's pods read.
func (o *Observer) config(ctx context.Context, w *World, fresh bool) error {
	if o.Config == nil || w.Revision.Service != nil {
		return nil
	}
	found, err := o.Config.read(ctx, client.ObjectKeyFromObject(w.Canary), &w.Revision.Template.Spec, fresh)
	if err != nil {
		return err
	}
	w.Revision.Config, w.Refused, w.ConfigAgain, w.origins = found.config, found.missing, found.again, found.origins
	return nil
}

// last is the name that the target's content had when it was last known: in this process, else by the status. Status names a rejected
// revision only for as long as the target has it, in whatever phase.
func (o *Observer) last(w *World) string {
	st := w.Canary.Status
	if name, ok := o.names.latest(w.Target.GetUID()); ok {
		return name
	}
	for _, name := range []string{st.Rejected, candidate(st)} {
		if name != "" {
			return name
		}
	}
	return revisionOf(st.Stable)
}

// judged are the revisions that the plan treats unlike a new one: the promoted one, the one on trial, the one that was taken back. Any
// may be missing.
func judged(st siskinv1.CanaryStatus) []string {
	return []string{revisionOf(st.Stable), candidate(st), st.Rejected}
}

func revisionOf(r *siskinv1.RevisionStatus) string {
	if r == nil {
		return ""
	}
	return r.Revision
}

// candidate is the revision on trial.
func candidate(st siskinv1.CanaryStatus) string {
	if plan.Phase(st.Phase).Idle() || st.Phase == siskinv1.PhaseInitializing {
		return ""
	}
	return revisionOf(st.Canary)
}

// name compares the target's content with the snapshots. It is not sure of the answer when the API server could not be asked: then
// nothing is begun, and what goes on is not held up.
func (o *Observer) name(ctx context.Context, w *World) (sure bool, err error) {
	canonical, err := w.Revision.Canonical()
	if err != nil {
		return false, err
	}
	w.RevisionName = target.Name(w.Canary.Name, canonical)
	names := judged(w.Canary.Status)
	for _, name := range names {
		if ok, err := o.is(w, name); ok || err != nil {
			return true, err
		}
	}
	if _, known := w.Snapshots[w.RevisionName]; known || o.Normalize == nil {
		return true, nil
	}
	var doubt error
	for i, name := range names {
		if slices.Contains(names[:i], name) {
			continue
		}
		same, err := o.sameToday(ctx, w, name)
		if same {
			return true, nil
		}
		if err != nil {
			doubt = err
		}
	}
	if doubt != nil {
		o.doubt(ctx, w, doubt)
	}
	return doubt == nil, nil
}

// doubt keeps the name that the target's content had, while the API server cannot be asked: nothing is begun then. Only that the target
// returned to the promoted revision is not taken for granted while a rollout goes on: that would end it.
func (o *Observer) doubt(ctx context.Context, w *World, err error) {
	log.FromContext(ctx).Error(err, "finding out whether the target's content is new")
	w.Doubt = err
	st := w.Canary.Status
	if last := o.last(w); plan.Phase(st.Phase).Idle() || last != revisionOf(st.Stable) {
		w.RevisionName = last
	}
}

// is tells whether a snapshot has the target's content, and takes its name if it has.
func (o *Observer) is(w *World, name string) (bool, error) {
	stored, ok := w.Snapshots[name]
	if !ok {
		return false, nil
	}
	r, err := w.Read(stored)
	if err != nil {
		return false, nil //nolint:nilerr // a snapshot that cannot be read equals nothing
	}
	same, err := target.Same(r, w.Revision)
	if err != nil || !same {
		return false, err
	}
	w.take(name, r)
	return true, nil
}

// take gives the target's content the name of the snapshot that has it. One that was written before configuration belonged to revisions,
// or while its author kept some of it out of them, does not say what its pods read: that is what they read now.
func (w *World) take(name string, stored target.Revision) {
	w.RevisionName = name
	ready := len(stored.Config.Copies()) == 0 || target.Complete(w.Snapshots[name])
	if ready && stored.Config.Lacks(w.Revision.Config) {
		w.Unrecorded = name
	}
}

// ours tells whether an object is a clone of this Canary.
func (w *World) ours(clone client.Object) bool {
	return clone != nil && (metav1.IsControlledBy(clone, w.Canary) || clone.GetLabels()[siskinv1.CanaryLabel] == w.Canary.Name)
}

// sameToday asks the API server how it would write the stored revision today, if another version of it wrote it, and takes its name if
// that is the target's content. What the server refuses to write at all, it would not write like the target.
func (o *Observer) sameToday(ctx context.Context, w *World, name string) (bool, error) {
	snapshot, ok := w.Snapshots[name]
	if !ok || snapshot.Annotations[siskinv1.WrittenByAnnotation] == o.ServerVersion {
		return false, nil
	}
	stored, err := w.Read(snapshot)
	if err != nil {
		return false, nil //nolint:nilerr // a snapshot that cannot be read equals nothing
	}
	same := false
	today, err := o.Normalize(ctx, w.Target, stored)
	if err == nil {
		today.Config = stored.Config
		same, err = target.Same(today, w.Revision)
	}
	switch {
	case apierrors.IsInvalid(err) || apierrors.IsForbidden(err):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("comparing the target with revision %s: %w", name, err)
	case same:
		w.take(name, stored)
	}
	return same, nil
}
