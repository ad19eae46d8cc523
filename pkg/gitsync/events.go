package gitsync

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/events"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/gitsync/apply"
	"github.com/siskin-dev/siskin/pkg/gitsync/inventory"
)

// maxNote is the longest note that an event may have, with room to spare.
const maxNote = 1000

// notice is one line to tell.
type notice struct {
	kind, reason, action, note string
}

// syncedEvent tells that a commit, or an edited GitSync, was applied.
func syncedEvent(gs *siskinv1.GitSync, w work) notice {
	return notice{
		corev1.EventTypeNormal, siskinv1.GitSyncSynced, "Sync",
		fmt.Sprintf("applied %s (%s)", byWhom(gs.Status.LastAppliedRevision, gs.Status.Commit), w.summary()),
	}
}

// driftEvent tells which objects were put back as git says.
func driftEvent(gs *siskinv1.GitSync, w work) notice {
	return notice{
		corev1.EventTypeNormal, siskinv1.GitSyncDriftCorrected, "Sync",
		fmt.Sprintf("put back as in %s: %s", short(gs.Status.LastAppliedRevision), list(w.changed())),
	}
}

// failedEvent tells why a sync failed.
func failedEvent(o outcome) notice {
	return notice{corev1.EventTypeWarning, o.reason, "Sync", o.message}
}

// suspendedEvent tells that syncing has stopped.
func suspendedEvent(o outcome) notice {
	return notice{corev1.EventTypeNormal, o.reason, "Suspend", o.message}
}

func (e notice) send(r events.EventRecorder, gs *siskinv1.GitSync) {
	note := e.note
	if len(note) > maxNote { // the API server counts bytes
		note = strings.ToValidUTF8(note[:maxNote], "") + "…"
	}
	r.Eventf(gs, nil, e.kind, e.reason, e.action, "%s", note)
}

// transition returns the event for the step from before to after, if there is one: one transition, one event.
func transition(before, after *siskinv1.GitSync, o outcome, w work) (notice, bool) {
	was := meta.FindStatusCondition(before.Status.Conditions, siskinv1.ConditionReady)
	switch {
	case w.newlyKept(was, o):
		return notice{corev1.EventTypeWarning, siskinv1.GitSyncTemplateKept, "Sync", o.message}, true
	case o.ok() && (before.Status.LastAppliedRevision != after.Status.LastAppliedRevision || was == nil || was.Reason != o.reason):
		return syncedEvent(after, w), true
	case o.ok() && len(w.changed())+len(w.pruned) > 0:
		if before.Generation != before.Status.ObservedGeneration {
			return syncedEvent(after, w), true
		}
		return driftEvent(after, w), true
	case o.ok(), was != nil && was.Reason == o.reason && was.Message == o.message:
		return notice{}, false
	case o.reason == siskinv1.GitSyncSuspended:
		return suspendedEvent(o), true
	default:
		return failedEvent(o), true
	}
}

// work is what a reconcile did in the cluster.
type work struct {
	changes []apply.Change
	pruned  []inventory.Ref
}

func (w work) changed() []inventory.Ref {
	var out []inventory.Ref
	for _, c := range w.changes {
		if c.Action != apply.Unchanged {
			out = append(out, c.Ref)
		}
	}
	return out
}

// kept are the objects whose pod template is not git's.
func (w work) kept() []inventory.Ref {
	var out []inventory.Ref
	for _, c := range w.changes {
		if c.Kept {
			out = append(out, c.Ref)
		}
	}
	return out
}

// newlyKept tells that what is kept, or of which commit, was not told yet.
func (w work) newlyKept(was *metav1.Condition, o outcome) bool {
	return o.ok() && len(w.kept()) > 0 && (was == nil || was.Message != o.message)
}

func (w work) summary() string {
	count := make(map[apply.Action]int)
	for _, c := range w.changes {
		count[c.Action]++
	}
	return fmt.Sprintf("%d created, %d changed, %d unchanged, %d pruned",
		count[apply.Created], count[apply.Configured], count[apply.Unchanged], len(w.pruned))
}

// list names some objects.
func list(refs []inventory.Ref) string {
	const most = 8
	var names []string
	for i, r := range refs {
		if i == most {
			names = append(names, fmt.Sprintf("and %d more", len(refs)-most))
			break
		}
		names = append(names, apply.Describe(r))
	}
	return strings.Join(names, ", ")
}
