package gitsync

import (
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
)

// outcome is what one reconcile came to; setConditions turns it into the three conditions of kstatus.
type outcome struct {
	// reason is one of the GitSync… constants of the API; Synced is the only good one.
	reason  string
	message string
	// stalled : only an edit of the GitSync helps.
	stalled bool
	// slow : the same commit is tried again, but not soon.
	slow bool
}

func (o outcome) ok() bool { return o.reason == siskinv1.GitSyncSynced }

// setConditions sets Ready, Reconciling and Stalled. kstatus reads a status as failed if Stalled is True, as in progress if
// Reconciling is True, and as current if both are away and Ready is True.
func setConditions(gs *siskinv1.GitSync, o outcome, now metav1.Time) {
	set := func(kind string, status metav1.ConditionStatus, reason, message string) {
		meta.SetStatusCondition(&gs.Status.Conditions, metav1.Condition{
			Type: kind, Status: status, Reason: reason, Message: message, ObservedGeneration: gs.Generation, LastTransitionTime: now,
		})
	}
	remove := func(kind string) { meta.RemoveStatusCondition(&gs.Status.Conditions, kind) }
	switch {
	case o.ok():
		set(siskinv1.ConditionReady, metav1.ConditionTrue, o.reason, o.message)
		remove(siskinv1.ConditionReconciling)
		remove(siskinv1.ConditionStalled)
	case o.reason == siskinv1.GitSyncSuspended:
		set(siskinv1.ConditionReady, metav1.ConditionUnknown, o.reason, o.message)
		remove(siskinv1.ConditionReconciling)
		remove(siskinv1.ConditionStalled)
	case o.stalled:
		set(siskinv1.ConditionReady, metav1.ConditionFalse, o.reason, o.message)
		set(siskinv1.ConditionStalled, metav1.ConditionTrue, o.reason, o.message)
		remove(siskinv1.ConditionReconciling)
	default:
		set(siskinv1.ConditionReady, metav1.ConditionFalse, o.reason, o.message)
		set(siskinv1.ConditionReconciling, metav1.ConditionTrue, siskinv1.GitSyncRetrying, "the last attempt failed and is repeated")
		remove(siskinv1.ConditionStalled)
	}
	if o.ok() || o.stalled || o.reason == siskinv1.GitSyncSuspended {
		gs.Status.ObservedGeneration = gs.Generation
	}
}

// setApplying shows, before the first object is written, that a commit is on its way.
func setApplying(gs *siskinv1.GitSync, revision string, now metav1.Time) {
	message := "applying " + short(revision)
	for kind, status := range map[string]metav1.ConditionStatus{
		siskinv1.ConditionReady: metav1.ConditionUnknown, siskinv1.ConditionReconciling: metav1.ConditionTrue,
	} {
		meta.SetStatusCondition(&gs.Status.Conditions, metav1.Condition{
			Type: kind, Status: status, Reason: siskinv1.GitSyncApplying, Message: message, ObservedGeneration: gs.Generation, LastTransitionTime: now,
		})
	}
}

func isReady(gs *siskinv1.GitSync) bool {
	return meta.IsStatusConditionTrue(gs.Status.Conditions, siskinv1.ConditionReady)
}

// short shortens the hash of a revision: main@sha1:0123456.
func short(revision string) string {
	const digits = 7
	name, hash, ok := strings.Cut(revision, "@sha1:")
	if !ok || len(hash) <= digits {
		return revision
	}
	return name + "@sha1:" + hash[:digits]
}

// byWhom is a commit for people: main@sha1:0123456 by Jane: "fix the login".
func byWhom(revision string, c *siskinv1.GitCommit) string {
	s := short(revision)
	if c == nil || c.Author == "" {
		return s
	}
	return fmt.Sprintf("%s by %s: %q", s, c.Author, c.Message)
}
