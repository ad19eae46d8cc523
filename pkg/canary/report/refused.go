package report

import (
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
)

// Refused returns the status of a Canary for which nothing is decided, because another one has what it wants; the state of its
// rollout, if it had one, stays.
func Refused(before *siskinv1.CanaryStatus, generation int64, reason, message string, now metav1.Time) siskinv1.CanaryStatus {
	st := *before.DeepCopy()
	st.ObservedGeneration, st.Message = generation, clip(message)
	for _, c := range []struct {
		kind   string
		status metav1.ConditionStatus
	}{{siskinv1.ConditionReady, metav1.ConditionFalse}, {siskinv1.ConditionStalled, metav1.ConditionTrue}} {
		meta.SetStatusCondition(&st.Conditions, metav1.Condition{
			Type: c.kind, Status: c.status, Reason: reason, Message: st.Message, ObservedGeneration: generation, LastTransitionTime: now,
		})
	}
	meta.RemoveStatusCondition(&st.Conditions, siskinv1.ConditionReconciling)
	return st
}
