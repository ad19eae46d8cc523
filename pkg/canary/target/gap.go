package target

import (
	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Gap reports whether the pods of live may all be gone before the first new one is ready, when live is made to run
// another revision with the management of pods of w. want is the number of pods that it is to have then; 0: as many as
// now.
func (w Workload) Gap(live client.Object, want int32) bool {
	switch o := live.(type) {
	case *appsv1.Deployment:
		return w.Strategy != nil && goneAtOnce(*w.Strategy, sizeOf(o.Spec.Replicas, want))
	case *appsv1.DaemonSet:
		if w.DaemonSetStrategy == nil || w.DaemonSetStrategy.RollingUpdate == nil { // the API server's defaults: one node at a time
			return o.Status.DesiredNumberScheduled <= 1
		}
		r, size := w.DaemonSetStrategy.RollingUpdate, o.Status.DesiredNumberScheduled
		return scaled(r.MaxSurge, size, 0, true) == 0 && scaled(r.MaxUnavailable, size, 1, true) >= size
	case *appsv1.StatefulSet:
		size := sizeOf(o.Spec.Replicas, want)
		if w.StatefulSet == nil || w.StatefulSet.UpdateStrategy.RollingUpdate == nil {
			return size <= 1
		}
		return scaled(w.StatefulSet.UpdateStrategy.RollingUpdate.MaxUnavailable, size, 1, true) >= size
	}
	return false
}

// goneAtOnce is Gap of a Deployment of so many pods.
func goneAtOnce(s appsv1.DeploymentStrategy, size int32) bool {
	if s.Type == appsv1.RecreateDeploymentStrategyType {
		return true
	}
	if s.RollingUpdate == nil {
		return false
	}
	surge, less := scaled(s.RollingUpdate.MaxSurge, size, 1, true), scaled(s.RollingUpdate.MaxUnavailable, size, 0, false)
	if surge == 0 && less == 0 { // what the controller makes of two percentages that are less than a pod
		less = 1
	}
	return less >= size
}

// sizeOf is the smaller of the numbers of pods now and then.
func sizeOf(now *int32, then int32) int32 {
	size := int32(1)
	if now != nil {
		size = *now
	}
	if then > 0 {
		size = min(size, then)
	}
	return size
}

// scaled is a number of pods, or a percentage of size; otherwise is what none means.
func scaled(n *intstr.IntOrString, size, otherwise int32, up bool) int32 {
	if n == nil {
		return otherwise
	}
	v, err := intstr.GetScaledValueFromIntOrPercent(n, int(size), up)
	if err != nil { // the API server takes no such value
		return otherwise
	}
	return int32(v) //nolint:gosec // a share of an int32
}
