package act

import (
	"context"
	"errors"
	"maps"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/siskin-dev/siskin/pkg/canary/observe"
	"github.com/siskin-dev/siskin/pkg/canary/target"
)

// recopy makes the copies again that somebody deleted. Only the content that they had is ever given their names: the original is read
// once more, and another content is refused.
func (a *Actor) recopy(ctx context.Context, w *observe.World, out *Outcome) error {
	if w.Canary.Spec.Suspend || w.Canary.DeletionTimestamp != nil {
		return nil
	}
	var errs []error
	for _, l := range w.Lost {
		if !l.Found {
			continue
		}
		created, err := a.recopyOne(ctx, w, l.Item)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		a.expire(l.Kind, w.Canary.Namespace, l.Copy)
		if created {
			out.Recopied = append(out.Recopied, l)
		}
	}
	return errors.Join(errs...)
}

func (a *Actor) recopyOne(ctx context.Context, w *observe.World, it target.Item) (created bool, err error) {
	original, err := a.original(ctx, w, it)
	if err != nil {
		return false, err
	}
	owners := owners(w, it)
	if len(owners) == 0 {
		return false, nil
	}
	want, err := target.CopyConfig(w.Canary.Name, it, original, owners[0])
	if err != nil {
		return false, err
	}
	want.SetOwnerReferences(owners) // all of them at once: nothing would add those that are missing later
	return a.ensureCopy(ctx, it, want, original)
}

// owners are the snapshots that refer to a copy.
func owners(w *observe.World, it target.Item) []metav1.OwnerReference {
	var out []metav1.OwnerReference
	for _, name := range slices.Sorted(maps.Keys(w.Snapshots)) {
		r, err := w.Read(w.Snapshots[name])
		if err != nil {
			continue // it refers to nothing that can be read
		}
		if slices.ContainsFunc(r.Config.Copies(), func(have target.Item) bool { return have.Kind == it.Kind && have.Copy == it.Copy }) {
			out = append(out, reads(w.Snapshots[name]))
		}
	}
	return out
}
