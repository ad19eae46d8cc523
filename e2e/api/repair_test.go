package api_test

import (
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/siskin-dev/siskin/pkg/router/routertest"
)

// TestOwnedListsAreRepaired : the number of a port is the key of its element. Edited by hand, it stays beside what Siskin applies, and the
// API server refuses two ports of one name: what is Siskin's as a whole is put right all the same.
func TestOwnedListsAreRepaired(t *testing.T) {
	e := given(t)
	ns := e.Namespace(t)
	meta := metav1.ObjectMeta{Namespace: ns, Name: "shop"}
	labels := map[string]string{"app": "shop"}
	service := func(port int32, selector map[string]string) *corev1.Service {
		return &corev1.Service{ObjectMeta: meta, Spec: corev1.ServiceSpec{
			Selector: selector, Ports: []corev1.ServicePort{{Name: "http", Port: port, Protocol: corev1.ProtocolTCP, TargetPort: intstr.FromInt32(8080)}},
		}}
	}
	workload := func(port int32, labels map[string]string) *appsv1.Deployment {
		return &appsv1.Deployment{ObjectMeta: meta, Spec: appsv1.DeploymentSpec{
			Replicas: new(int32(0)), Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: corev1.PodSpec{Containers: []corev1.Container{{
				Name: "app", Image: "siskin.dev/testapp:1.0.0", Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: port, Protocol: corev1.ProtocolTCP}},
			}}}},
		}}
	}
	ports := func(t *testing.T, obj client.Object) (all []int32) {
		t.Helper()
		if err := e.API.Get(t.Context(), client.ObjectKeyFromObject(obj), obj); err != nil {
			t.Fatal(err)
		}
		switch o := obj.(type) {
		case *corev1.Service:
			for _, p := range o.Spec.Ports {
				all = append(all, p.Port)
			}
		case *appsv1.Deployment:
			for _, p := range o.Spec.Template.Spec.Containers[0].Ports {
				all = append(all, p.ContainerPort)
			}
		}
		return all
	}
	for name, tc := range map[string]struct {
		want, wrong, live client.Object
		edit              func(client.Object)
	}{
		"Service": {
			want: service(80, labels), wrong: service(-1, labels), live: &corev1.Service{},
			edit: func(o client.Object) { o.(*corev1.Service).Spec.Ports[0].Port = 81 },
		},
		"Deployment": {
			want: workload(80, labels), wrong: workload(-1, labels), live: &appsv1.Deployment{},
			edit: func(o client.Object) {
				o.(*appsv1.Deployment).Spec.Template.Spec.Containers[0].Ports[0].ContainerPort = 81
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			if err := routertest.Write(t.Context(), e.API, tc.want, tc.live); err != nil {
				t.Fatal(err)
			}
			err := retry.RetryOnConflict(retry.DefaultBackoff, func() error { // its controller writes the status
				if err := e.API.Get(t.Context(), client.ObjectKeyFromObject(tc.want), tc.live); err != nil {
					return err
				}
				tc.edit(tc.live)
				return e.API.Update(t.Context(), tc.live, client.FieldOwner("kubectl-edit"))
			})
			if err != nil {
				t.Fatal(err)
			}
			if err := routertest.Write(t.Context(), e.API, tc.want, tc.live); err != nil {
				t.Fatal(err)
			}
			if got := ports(t, tc.live); len(got) != 1 || got[0] != 80 {
				t.Errorf("ports %v", got)
			}
			if err := routertest.Write(t.Context(), e.API, tc.wrong, tc.live); !apierrors.IsInvalid(err) {
				t.Errorf("what cannot be is refused as what it is: %v", err)
			}
			if got := ports(t, tc.live); len(got) != 1 || got[0] != 80 {
				t.Errorf("what was refused changed something: ports %v", got)
			}
		})
	}
}
