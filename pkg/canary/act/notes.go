package act

import (
	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/canary/target"
)

// notes are the annotations of a new snapshot: who wrote it, and what people choose by when they go back to it. Snapshots that exist are
// not written again, so that an upgrade of Siskin changes nothing.
func (a *Actor) notes(r target.Revision) map[string]string {
	out := map[string]string{siskinv1.WrittenByAnnotation: a.ServerVersion, siskinv1.ImageAnnotation: r.Image()}
	if r.Origin.Commit != "" {
		out[siskinv1.GitRevisionAnnotation] = r.Origin.Commit
	}
	return out
}
