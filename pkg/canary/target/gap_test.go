package target_test

import (
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/siskin-dev/siskin/pkg/canary/target"
)

// TestGap : which workloads have a time without any pod while a revision takes the place of another.
func TestGap(t *testing.T) {
	number, percent := intstr.FromInt32, intstr.FromString
	rolling := func(surge, less intstr.IntOrString) func() target.Workload {
		return func() target.Workload {
			return target.Workload{Strategy: &appsv1.DeploymentStrategy{
				Type: appsv1.RollingUpdateDeploymentStrategyType, RollingUpdate: &appsv1.RollingUpdateDeployment{MaxSurge: &surge, MaxUnavailable: &less},
			}}
		}
	}
	recreate := func() target.Workload {
		return target.Workload{Strategy: &appsv1.DeploymentStrategy{Type: appsv1.RecreateDeploymentStrategyType}}
	}
	set := func(less *intstr.IntOrString) func() target.Workload {
		return func() target.Workload {
			u := appsv1.StatefulSetUpdateStrategy{Type: appsv1.RollingUpdateStatefulSetStrategyType}
			if less != nil {
				u.RollingUpdate = &appsv1.RollingUpdateStatefulSetStrategy{MaxUnavailable: less}
			}
			return target.Workload{StatefulSet: &target.StatefulSetSpec{UpdateStrategy: u}}
		}
	}
	nodes := func(surge, less intstr.IntOrString) func() target.Workload {
		return func() target.Workload {
			return target.Workload{DaemonSetStrategy: &appsv1.DaemonSetUpdateStrategy{
				RollingUpdate: &appsv1.RollingUpdateDaemonSet{MaxSurge: &surge, MaxUnavailable: &less},
			}}
		}
	}
	none := func() target.Workload { return target.Workload{} }
	deployment := func(n int32) client.Object { return &appsv1.Deployment{Spec: appsv1.DeploymentSpec{Replicas: &n}} }
	stateful := func(n int32) client.Object { return &appsv1.StatefulSet{Spec: appsv1.StatefulSetSpec{Replicas: &n}} }
	daemons := func(n int32) client.Object {
		return &appsv1.DaemonSet{Status: appsv1.DaemonSetStatus{DesiredNumberScheduled: n}}
	}
	for name, tc := range map[string]struct {
		live client.Object
		w    func() target.Workload
		then int32
		want bool
	}{
		"Recreate":                         {deployment(3), recreate, 0, true},
		"a Deployment of one":              {deployment(1), rolling(percent("25%"), percent("25%")), 0, false},
		"that may do without it":           {deployment(1), rolling(number(1), number(1)), 0, true},
		"two that may do without one":      {deployment(2), rolling(number(0), number(1)), 0, false},
		"three that may do without all":    {deployment(3), rolling(number(1), percent("100%")), 0, true},
		"nothing more, and hardly less":    {deployment(1), rolling(percent("0%"), percent("10%")), 0, true},
		"that shrinks to one":              {deployment(3), rolling(number(1), number(1)), 1, true},
		"that grows from one":              {deployment(1), rolling(number(1), number(1)), 3, true},
		"a Deployment of no strategy":      {deployment(1), none, 0, false},
		"a StatefulSet of one":             {stateful(1), set(nil), 0, true},
		"a StatefulSet of two":             {stateful(2), set(nil), 0, false},
		"a StatefulSet of two, both gone":  {stateful(2), set(new(number(2))), 0, true},
		"a StatefulSet of two, half of it": {stateful(2), set(new(percent("50%"))), 0, false},
		"one node":                         {daemons(1), nodes(number(0), number(1)), 0, true},
		"one node, one more":               {daemons(1), nodes(number(1), number(0)), 0, false},
		"two nodes":                        {daemons(2), nodes(number(0), number(1)), 0, false},
		"two nodes, all at once":           {daemons(2), nodes(number(0), percent("100%")), 0, true},
		"one node, by default":             {daemons(1), none, 0, true},
	} {
		t.Run(name, func(t *testing.T) {
			if got := tc.w().Gap(tc.live, tc.then); got != tc.want {
				t.Errorf("gap: %t", got)
			}
		})
	}
}
