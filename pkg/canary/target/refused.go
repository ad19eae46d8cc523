package target

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
)

// Reasons of a RefusedError, as conditions show them.
const (
	// ReasonUnsupportedTarget : this target cannot be released by a Canary.
	ReasonUnsupportedTarget = "UnsupportedTarget"
	// ReasonInvalidSpec : an edit of the target makes it fit.
	ReasonInvalidSpec = "InvalidSpec"
	// ReasonConfigMissing : a ConfigMap or Secret that the pods need does not exist.
	ReasonConfigMissing = "ConfigMissing"
	// ReasonConfigForbidden : Siskin may not read a ConfigMap or Secret that the pods read.
	ReasonConfigForbidden = "ConfigForbidden"
	// ReasonConfigCopyMissing : a copy that pods of a revision in use read was deleted, and the original has another content by now.
	ReasonConfigCopyMissing = "ConfigCopyMissing"
)

// RefusedError : the target cannot be released as it is; only a person can change that.
type RefusedError struct {
	// Reason in CamelCase.
	Reason string
	// Message says what is wrong and what to do, in one line.
	Message string
}

func (e *RefusedError) Error() string { return e.Message }

// Check tells why obj cannot be released, or nil.
func Check(obj client.Object) *RefusedError {
	if svc, ok := obj.(*corev1.Service); ok {
		return checkService(svc)
	}
	w := workloadOf(obj)
	if refused := w.refusal(); refused != nil {
		return refused
	}
	if w.parts().replicas == nil {
		return hostPorts(obj, w.parts().template)
	}
	return nil
}

// Unchangeable refuses a target that was re-created with what Kubernetes lets nobody change in the clone that is there: no release
// could ever be applied. nil: there is nothing of the kind, or no clone.
func Unchangeable(obj, clone client.Object) *RefusedError {
	if clone == nil || KindOf(obj) != KindOf(clone) || KindOf(obj) == Service {
		return nil
	}
	want, have := unchanging(obj), unchanging(clone)
	var field string
	switch {
	case !equality.Semantic.DeepEqual(plain(want.Selector), plain(have.Selector)):
		field = "spec.selector"
	case want.StatefulSet != nil && want.StatefulSet.ServiceName != have.StatefulSet.ServiceName:
		field = "spec.serviceName"
	case want.StatefulSet != nil && want.StatefulSet.PodManagementPolicy != have.StatefulSet.PodManagementPolicy:
		field = "spec.podManagementPolicy"
	default:
		return nil
	}
	return &RefusedError{ReasonInvalidSpec, fmt.Sprintf(
		"%s %s: its %s differs from that of %s, which cannot be changed: put it back, or delete the Canary (the target is restored) and create it anew",
		KindOf(obj), obj.GetName(), field, clone.GetName())}
}

// unchanging is what of a workload no update can change, without a copy of all the rest.
func unchanging(obj client.Object) Workload {
	var out Workload
	w := workloadOf(obj)
	w.take(&out)
	out.Selector = *w.parts().selector
	return out
}

// plain is a selector without what Siskin puts into those of clones.
func plain(s *metav1.LabelSelector) *metav1.LabelSelector {
	out := s.DeepCopy()
	if out != nil {
		out.MatchLabels = without(without(out.MatchLabels, siskinv1.RoleLabel), siskinv1.CloneLabel)
	}
	return out
}

// hostPorts refuses pods of which a node can hold only one: primary and canary of a DaemonSet run on the same nodes.
func hostPorts(obj client.Object, template *corev1.PodTemplateSpec) *RefusedError {
	for _, c := range template.Spec.Containers {
		for _, p := range c.Ports {
			if p.HostPort != 0 {
				return &RefusedError{ReasonUnsupportedTarget, fmt.Sprintf(
					"%s %s: container %s takes port %d of its node, so that primary and canary cannot run there together: reach it through a Service, "+
						"without hostPort and hostNetwork", KindOf(obj), obj.GetName(), c.Name, p.HostPort)}
			}
		}
	}
	return nil
}

func onDelete(kind, name string) *RefusedError {
	return &RefusedError{ReasonInvalidSpec, fmt.Sprintf(
		"%s %s: spec.updateStrategy.type is OnDelete, so that a promotion would replace no pod: set it to RollingUpdate", kind, name)}
}
