package service_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/router/service"
)

func TestThePortOfARouteThatLeadsToTheApexAgain(t *testing.T) {
	c := &siskinv1.Canary{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web", UID: "u"}}
	port := func(number int32, to string) corev1.ServicePort {
		return corev1.ServicePort{Port: number, Protocol: corev1.ProtocolTCP, TargetPort: intstr.Parse(to)}
	}
	apex := func(ports ...corev1.ServicePort) *corev1.Service {
		return &corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web"},
			Spec:       corev1.ServiceSpec{Selector: map[string]string{"app": "web"}, Ports: ports},
		}
	}
	generated := apex(port(9898, "http"))
	generated.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(c, siskinv1.GroupVersion.WithKind("Canary"))}
	for name, tc := range map[string]struct {
		apex *corev1.Service
		want int32
	}{
		"the author has it":          {apex(port(80, "http"), port(9898, "http")), 9898},
		"the author has another one": {apex(port(80, "http")), 80},
		"Siskin made the apex":       {generated, 9898},
		"there is none":              {nil, 9898},
	} {
		if got := service.PortAfter(c, tc.apex, 9898); got != tc.want {
			t.Errorf("%s: %d, want %d", name, got, tc.want)
		}
	}
}
