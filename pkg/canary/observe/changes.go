package observe

import (
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/canary/plan"
	"github.com/siskin-dev/siskin/pkg/canary/target"
)

// changes remembers when the target of each Canary was first seen with its present content. It is lost with the
// process, which then waits for a quiet time once more. The zero value is ready for use.
type changes struct {
	mu  sync.Mutex
	all map[types.UID]change
}

// change is the last of a row of changes, the first of which was at restless.
type change struct {
	revision     string
	at, restless time.Time
}

// look notes that the target is revision now.
func (m *changes) look(uid types.UID, revision string, now time.Time, quiet time.Duration) change {
	m.mu.Lock()
	defer m.mu.Unlock()
	c, known := m.all[uid]
	if known && c.revision == revision {
		return c
	}
	if !now.Before(c.at.Add(quiet)) {
		c.restless = now
	}
	c.revision, c.at = revision, now
	if m.all == nil {
		m.all = map[types.UID]change{}
	}
	m.all[uid] = c
	return c
}

func (m *changes) forget(uid types.UID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.all, uid)
}

// changed tells the plan when the target has changed, whether only what its pods read has, and whether more is to come.
func (o *Observer) changed(w *World, s *plan.Snapshot) {
	if w.Target == nil || w.RevisionName == "" {
		return
	}
	c := o.changes.look(w.Canary.UID, w.RevisionName, s.Now, s.Spec.Quiet)
	s.Target.ChangedAt, s.Target.RestlessAt = c.at, c.restless
	s.Target.ConfigOnly = s.Now.Before(c.at.Add(s.Spec.Quiet)) && w.configOnly()
	s.Target.Apply, s.Target.ApplyUntil = applying(w.Target.GetAnnotations()[siskinv1.GitApplyingAnnotation], s.Now)
}

// applying reads the mark of an apply that has not ended: what is applied, and until when its end is waited for. A mark
// of a clock that is far ahead means nothing.
func applying(mark string, now time.Time) (what string, until time.Time) {
	what, began, ok := strings.Cut(mark, " ")
	at, err := time.Parse(time.RFC3339, began)
	if !ok || err != nil || at.After(now.Add(siskinv1.GitApplyLimit)) {
		return "", time.Time{}
	}
	if name, hash, ok := strings.Cut(what, "@sha1:"); ok && len(hash) > 7 {
		what = name + "@" + hash[:7]
	}
	return what, at.UTC().Add(siskinv1.GitApplyLimit)
}

// configOnly tells whether the target's content is new only in what its pods read: its template is that of a revision
// that is known.
func (w *World) configOnly() bool {
	for _, r := range w.known() {
		stored := r
		stored.Config = nil // which agrees with all
		if same, err := target.Same(stored, w.Revision); err == nil && same {
			return len(w.Revision.Config.Changed(r.Config)) > 0
		}
	}
	return false
}

// known are the revisions that the target's content can be compared with: the one that was tried last, and the promoted
// one.
func (w *World) known() []target.Revision {
	var out []target.Revision
	for _, r := range []*siskinv1.RevisionStatus{w.Canary.Status.Canary, w.Canary.Status.Stable} {
		snapshot, ok := w.Snapshots[revisionOf(r)]
		if !ok || r.Revision == w.RevisionName {
			continue
		}
		if stored, err := w.Read(snapshot); err == nil {
			out = append(out, stored)
		}
	}
	return out
}

// Origin is the commit of the part of the target's content that changed last: of the template, or of what its pods
// read, if only that has changed. Content that a snapshot has keeps the commit that it came with.
func (w *World) Origin() target.Origin {
	if snapshot, ok := w.Snapshots[w.RevisionName]; ok {
		if stored, err := w.Read(snapshot); err == nil && stored.Origin.Commit != "" {
			return stored.Origin
		}
		return w.Revision.Origin
	}
	for _, r := range w.known() {
		stored := r
		stored.Config = nil
		if same, err := target.Same(stored, w.Revision); err != nil || !same {
			break // the template has changed
		}
		for _, key := range w.Revision.Config.Changed(r.Config) {
			if from := w.origins[key]; from.Commit != "" {
				return from
			}
		}
	}
	return w.Revision.Origin
}
