package act

import (
	"context"
	"fmt"
	"maps"
	"slices"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/canary/observe"
	"github.com/siskin-dev/siskin/pkg/canary/target"
)

// notes are the annotations of a new snapshot: who wrote it, what people choose by when they go back to it, and how
// Services lead to its pods. Snapshots that exist are not written again, so that an upgrade of Siskin changes nothing.
func (a *Actor) notes(w *observe.World, r target.Revision) (map[string]string, error) {
	out := map[string]string{siskinv1.WrittenByAnnotation: a.ServerVersion, siskinv1.ImageAnnotation: r.Image()}
	if r.Origin.Commit != "" {
		out[siskinv1.GitRevisionAnnotation] = r.Origin.Commit
	}
	if v := w.Views.Wanted; len(v.Ports) > 0 {
		text, err := v.Encode()
		if err != nil {
			return nil, fmt.Errorf("noting the ports of revision %s: %w", w.RevisionName, err)
		}
		out[siskinv1.ViewAnnotation] = text
	}
	return out, nil
}

// recordViews notes on snapshots how Services lead to their pods, where that is not noted or was changed since. It
// comes before the Services are written: what the promoted pods need could not be found out any more.
func (a *Actor) recordViews(ctx context.Context, w *observe.World) error {
	for _, revision := range slices.Sorted(maps.Keys(w.Views.Records)) {
		text, err := w.Views.Records[revision].Encode()
		if err != nil {
			return fmt.Errorf("noting the ports of revision %s: %w", revision, err)
		}
		fresh := w.Snapshots[revision].DeepCopy()
		if err := a.annotate(ctx, fresh, siskinv1.ViewAnnotation, text); err != nil {
			return err
		}
		w.Snapshots[revision] = fresh
	}
	return nil
}
