package target

import (
	"cmp"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// The kinds of targets, as spec.targetRef.kind names them.
const (
	Deployment  = "Deployment"
	DaemonSet   = "DaemonSet"
	StatefulSet = "StatefulSet"
	Service     = "Service"
)

// New returns an empty object of a kind. An unknown kind is an error, never a silent default.
func New(kind string) (client.Object, error) {
	switch kind {
	case Deployment:
		return &appsv1.Deployment{}, nil
	case DaemonSet:
		return &appsv1.DaemonSet{}, nil
	case StatefulSet:
		return &appsv1.StatefulSet{}, nil
	case Service:
		return &corev1.Service{}, nil
	}
	return nil, fmt.Errorf("unknown kind of target %q: use one of %v", kind, []string{Deployment, DaemonSet, StatefulSet, Service})
}

// KindOf returns the kind of an object that New made.
func KindOf(obj client.Object) string {
	switch obj.(type) {
	case *appsv1.Deployment:
		return Deployment
	case *appsv1.DaemonSet:
		return DaemonSet
	case *appsv1.StatefulSet:
		return StatefulSet
	case *corev1.Service:
		return Service
	}
	return fmt.Sprintf("%T", obj)
}

// Workloads lists an empty object of each kind whose controller makes pods.
func Workloads() []client.Object {
	return []client.Object{&appsv1.Deployment{}, &appsv1.DaemonSet{}, &appsv1.StatefulSet{}}
}

// workload is what differs between the kinds that have pods; all else is one implementation.
type workload interface {
	// parts points to what the kinds have in common.
	parts() parts
	// take reads what only this kind has, give writes it.
	take(w *Workload)
	give(w Workload)
	// state reads the counts; the size is filled in from parts.
	state() State
	// refusal tells why this one cannot be released, or nil.
	refusal() *RefusedError
}

// parts points into an object.
type parts struct {
	selector **metav1.LabelSelector
	template *corev1.PodTemplateSpec
	minReady *int32
	history  **int32
	// replicas is nil for a kind without a number.
	replicas **int32
}

// workloadOf returns what an object's kind does its own way; nil for a Service.
func workloadOf(obj client.Object) workload { //nolint:ireturn // one of three
	switch o := obj.(type) {
	case *appsv1.Deployment:
		return deployment{o}
	case *appsv1.DaemonSet:
		return daemonSet{o}
	case *appsv1.StatefulSet:
		return statefulSet{o}
	}
	return nil
}

// Pods is the template of a workload's pods; nil for a Service, whose pods are the user's, and for none.
func Pods(obj client.Object) *corev1.PodTemplateSpec {
	if w := workloadOf(obj); w != nil {
		return w.parts().template
	}
	return nil
}

type deployment struct{ *appsv1.Deployment }

func (d deployment) parts() parts {
	return parts{&d.Spec.Selector, &d.Spec.Template, &d.Spec.MinReadySeconds, &d.Spec.RevisionHistoryLimit, &d.Spec.Replicas}
}

func (d deployment) take(w *Workload) {
	w.Strategy, w.ProgressDeadlineSeconds = d.Spec.Strategy.DeepCopy(), copied(d.Spec.ProgressDeadlineSeconds)
}

func (d deployment) give(w Workload) {
	d.Spec.ProgressDeadlineSeconds = copied(w.ProgressDeadlineSeconds)
	if w.Strategy != nil {
		d.Spec.Strategy = *w.Strategy.DeepCopy()
	}
}

func (d deployment) state() State {
	st := State{
		Pods: d.Status.Replicas, Updated: d.Status.UpdatedReplicas, Available: d.Status.AvailableReplicas, Observed: d.Status.ObservedGeneration,
	}
	for _, c := range d.Status.Conditions {
		switch {
		case c.Type == appsv1.DeploymentProgressing && c.Reason == "ProgressDeadlineExceeded":
			st.Stuck = true
			st.Message = cmp.Or(st.Message, "("+c.Message+")")
		case c.Type == appsv1.DeploymentReplicaFailure && c.Status == corev1.ConditionTrue: // why no pod can be made, which the other does not say
			st.Message = "(" + c.Message + ")"
		}
	}
	return st
}

func (d deployment) refusal() *RefusedError { return nil }

type daemonSet struct{ *appsv1.DaemonSet }

func (d daemonSet) parts() parts {
	return parts{selector: &d.Spec.Selector, template: &d.Spec.Template, minReady: &d.Spec.MinReadySeconds, history: &d.Spec.RevisionHistoryLimit}
}

func (d daemonSet) take(w *Workload) { w.DaemonSetStrategy = d.Spec.UpdateStrategy.DeepCopy() }

func (d daemonSet) give(w Workload) {
	if w.DaemonSetStrategy != nil {
		d.Spec.UpdateStrategy = *w.DaemonSetStrategy.DeepCopy()
	}
}

func (d daemonSet) state() State {
	s := d.Status
	st := State{
		Desired: s.DesiredNumberScheduled, Updated: s.UpdatedNumberScheduled, Available: s.NumberAvailable, Observed: s.ObservedGeneration,
		// Those on nodes where none should be any more still run.
		Pods: s.CurrentNumberScheduled + s.NumberMisscheduled,
	}
	if st.Desired == 0 {
		st.Message = "(no node matches the pods' nodeSelector, affinity and tolerations)"
	}
	return st
}

func (d daemonSet) refusal() *RefusedError {
	if d.Spec.UpdateStrategy.Type == appsv1.OnDeleteDaemonSetStrategyType {
		return onDelete(DaemonSet, d.Name)
	}
	return nil
}

type statefulSet struct{ *appsv1.StatefulSet }

func (s statefulSet) parts() parts {
	return parts{&s.Spec.Selector, &s.Spec.Template, &s.Spec.MinReadySeconds, &s.Spec.RevisionHistoryLimit, &s.Spec.Replicas}
}

func (s statefulSet) take(w *Workload) {
	w.StatefulSet = &StatefulSetSpec{
		ServiceName: s.Spec.ServiceName, PodManagementPolicy: s.Spec.PodManagementPolicy, UpdateStrategy: *s.Spec.UpdateStrategy.DeepCopy(),
		Ordinals: s.Spec.Ordinals.DeepCopy(),
	}
}

func (s statefulSet) give(w Workload) {
	if own := w.StatefulSet; own != nil {
		s.Spec.ServiceName, s.Spec.PodManagementPolicy, s.Spec.Ordinals = own.ServiceName, own.PodManagementPolicy, own.Ordinals.DeepCopy()
		s.Spec.UpdateStrategy = *own.UpdateStrategy.DeepCopy()
	}
}

func (s statefulSet) state() State {
	return State{
		Pods: s.Status.Replicas, Updated: s.Status.UpdatedReplicas, Available: s.Status.AvailableReplicas, Observed: s.Status.ObservedGeneration,
	}
}

func (s statefulSet) refusal() *RefusedError {
	update := s.Spec.UpdateStrategy
	switch {
	case len(s.Spec.VolumeClaimTemplates) > 0:
		return &RefusedError{ReasonUnsupportedTarget, fmt.Sprintf(
			"StatefulSet %s has spec.volumeClaimTemplates: primary and canary would start with empty volumes, which is no honest trial; "+
				"keep the data outside of the pods, or release this one without a Canary", s.Name)}
	case update.Type == appsv1.OnDeleteStatefulSetStrategyType:
		return onDelete(StatefulSet, s.Name)
	case update.RollingUpdate != nil && update.RollingUpdate.Partition != nil && *update.RollingUpdate.Partition > 0:
		return &RefusedError{ReasonInvalidSpec, fmt.Sprintf(
			"StatefulSet %s: spec.updateStrategy.rollingUpdate.partition is %d, so that a promotion would never replace all pods: set it to 0, "+
				"the Canary's steps take its place", s.Name, *update.RollingUpdate.Partition)}
	}
	return nil
}

func copied(n *int32) *int32 {
	if n == nil {
		return nil
	}
	return new(*n)
}
