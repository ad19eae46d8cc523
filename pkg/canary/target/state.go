package target

import (
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
)

// fence is what Siskin puts into the nodeSelector of a DaemonSet that must have no pods, and into the selector of a Service that
// must lead nowhere: no node and no pod has this label.
const fence, fenced = siskinv1.HeldAnnotation, "true"

// State is what a workload says of itself.
type State struct {
	// Replicas it is told to have. A kind without a number has 1, or 0 when Siskin has turned it off.
	Replicas int32
	// Desired counts the pods that it should have, where that is not Replicas.
	Desired int32
	// Pods, Updated and Available count its pods: all, those of the present template, those that are available.
	Pods, Updated, Available int32
	// Observed is the generation that the counts are of.
	Observed int64
	// Stuck tells that its own controller gave up.
	Stuck bool
	// Message explains why it is not ready, in parentheses.
	Message string
}

// Numbered tells whether an object's kind has a number of replicas.
func Numbered(obj client.Object) bool {
	w := workloadOf(obj)
	return w != nil && w.parts().replicas != nil
}

// Observe reads what obj says of itself. The pods of a Service are not known: see World.
func Observe(obj client.Object) State {
	if svc, ok := obj.(*corev1.Service); ok {
		return State{Replicas: on(svc.Spec.Selector), Observed: svc.Generation}
	}
	w := workloadOf(obj)
	st, p := w.state(), w.parts()
	switch {
	case p.replicas == nil:
		st.Replicas = on(p.template.Spec.NodeSelector)
	case *p.replicas == nil:
		st.Replicas = 1
	default:
		st.Replicas = **p.replicas
	}
	if st.Replicas == 0 && p.replicas == nil {
		st.Message = ""
	}
	return st
}

// on is the size of a kind without a number.
func on(selector map[string]string) int32 {
	if selector[fence] == fenced {
		return 0
	}
	return 1
}

// size writes the size of a clone or of a target.
func resize(p parts, replicas int32) {
	switch {
	case p.replicas != nil:
		*p.replicas = new(replicas)
	case replicas == 0:
		p.template.Spec.NodeSelector = with(p.template.Spec.NodeSelector, fence, fenced)
	}
}
