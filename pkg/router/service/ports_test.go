package service_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/router"
	"github.com/siskin-dev/siskin/pkg/router/service"
)

// show writes ports as name:port->target/protocol(appProtocol).
func show(ports []corev1.ServicePort) string {
	var out []string
	for _, p := range ports {
		s := fmt.Sprintf("%s:%d->%s/%s", p.Name, p.Port, p.TargetPort.String(), p.Protocol)
		if p.AppProtocol != nil {
			s += "(" + *p.AppProtocol + ")"
		}
		if p.NodePort != 0 {
			s += fmt.Sprintf("@%d", p.NodePort)
		}
		out = append(out, s)
	}
	return strings.Join(out, " ")
}

func container(name string, ports ...corev1.ContainerPort) corev1.Container {
	return corev1.Container{Name: name, Ports: ports}
}

func TestPorts(t *testing.T) {
	grpc := "kubernetes.io/h2c"
	target := func(v intstr.IntOrString) *intstr.IntOrString { return &v }
	http := corev1.ContainerPort{Name: "http", ContainerPort: 9898}
	admin := corev1.ContainerPort{Name: "admin", ContainerPort: 9797}
	dns := corev1.ContainerPort{Name: "dns", ContainerPort: 53, Protocol: corev1.ProtocolUDP}
	nameless := corev1.ContainerPort{ContainerPort: 7000}
	tests := map[string]struct {
		spec       siskinv1.CanaryService
		existing   []corev1.ServicePort
		containers []corev1.Container
		want       string
		traffic    int32
	}{
		"port only": {spec: siskinv1.CanaryService{Port: 80}, want: "http:80->80/TCP", traffic: 80},
		"all of it": {
			spec: siskinv1.CanaryService{Port: 9000, PortName: "grpc", TargetPort: target(intstr.FromString("rpc")), AppProtocol: grpc},
			want: "grpc:9000->rpc/TCP(kubernetes.io/h2c)", traffic: 9000,
		},
		"discovery adds the others": {
			spec:       siskinv1.CanaryService{Port: 80, TargetPort: target(intstr.FromInt32(9898)), PortDiscovery: true},
			containers: []corev1.Container{container("app", http, admin, dns)},
			want:       "http:80->9898/TCP admin:9797->9797/TCP dns:53->53/UDP", traffic: 80,
		},
		"a target by name is not added again": {
			spec:       siskinv1.CanaryService{Port: 80, TargetPort: target(intstr.FromString("http")), PortDiscovery: true},
			containers: []corev1.Container{container("app", http, admin)},
			want:       "http:80->http/TCP admin:9797->9797/TCP", traffic: 80,
		},
		"proxies of meshes do not count": {
			spec: siskinv1.CanaryService{Port: 80, PortDiscovery: true},
			containers: []corev1.Container{
				container("istio-proxy", corev1.ContainerPort{ContainerPort: 15090}),
				container("envoy", corev1.ContainerPort{ContainerPort: 9901}), container("app", admin),
			},
			want: "http:80->80/TCP admin:9797->9797/TCP", traffic: 80,
		},
		"names are unique": {
			spec: siskinv1.CanaryService{Port: 80, PortDiscovery: true},
			containers: []corev1.Container{
				container("app", http, nameless), container("side", corev1.ContainerPort{Name: "http", ContainerPort: 9899}),
			},
			want: "http:80->80/TCP tcp-9898:9898->9898/TCP tcp-7000:7000->7000/TCP tcp-9899:9899->9899/TCP", traffic: 80,
		},
		"a number is served once": {
			spec:       siskinv1.CanaryService{Port: 9797, TargetPort: target(intstr.FromInt32(9898)), PortDiscovery: true},
			containers: []corev1.Container{container("app", http, admin)},
			want:       "http:9797->9898/TCP", traffic: 9797,
		},
		"one number, two protocols": {
			spec:       siskinv1.CanaryService{Port: 53, PortDiscovery: true},
			containers: []corev1.Container{container("app", dns)},
			want:       "http:53->53/TCP dns:53->53/UDP", traffic: 53,
		},
		"discovery alone": {
			spec:       siskinv1.CanaryService{PortDiscovery: true},
			containers: []corev1.Container{container("app", admin, http)},
			want:       "admin:9797->9797/TCP http:9898->9898/TCP", traffic: 9898,
		},
		"the user's ports win, without node ports": {
			spec: siskinv1.CanaryService{Port: 443, PortName: "other", PortDiscovery: true},
			existing: []corev1.ServicePort{
				{Name: "metrics", Port: 9100}, {Name: "https", Port: 443, TargetPort: intstr.FromString("tls"), NodePort: 30443, AppProtocol: &grpc},
			},
			containers: []corev1.Container{container("app", admin)},
			want:       "metrics:9100->9100/TCP https:443->tls/TCP(kubernetes.io/h2c)", traffic: 443,
		},
		"spec.service.port beside the user's": {
			spec:     siskinv1.CanaryService{Port: 8080, PortName: "web", TargetPort: target(intstr.FromString("http"))},
			existing: []corev1.ServicePort{{Name: "web", Port: 80, TargetPort: intstr.FromString("http"), NodePort: 30080}},
			want:     "web:80->http/TCP tcp-8080:8080->http/TCP", traffic: 8080,
		},
		"spec.service.port beside one without a name": {
			spec: siskinv1.CanaryService{Port: 8080}, existing: []corev1.ServicePort{{Port: 80}},
			want: "tcp-80:80->80/TCP http:8080->8080/TCP", traffic: 8080,
		},
		"the first port, if none is called http": {
			existing: []corev1.ServicePort{{Port: 8443}}, want: ":8443->8443/TCP", traffic: 8443,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var existing *corev1.Service
			if tt.existing != nil {
				existing = &corev1.Service{Spec: corev1.ServiceSpec{Ports: tt.existing}}
			}
			ports, err := service.Ports(tt.spec, existing, corev1.PodTemplateSpec{Spec: corev1.PodSpec{Containers: tt.containers}})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, show(ports)); diff != "" {
				t.Error(diff)
			}
			if traffic, err := service.TrafficPort(tt.spec, ports); err != nil || traffic != tt.traffic {
				t.Errorf("traffic port %d, %v", traffic, err)
			}
		})
	}
}

func TestPortsRefused(t *testing.T) {
	_, err := service.Ports(siskinv1.CanaryService{PortDiscovery: true}, nil, corev1.PodTemplateSpec{})
	wantField(t, err, "spec.service.port")
	_, err = service.TrafficPort(siskinv1.CanaryService{Port: 81}, []corev1.ServicePort{{Port: 80}, {Port: 443}})
	wantField(t, err, "spec.service.port")
	if !strings.Contains(err.Error(), "80, 443") {
		t.Errorf("the message does not tell what to do: %v", err)
	}
}

func wantField(t *testing.T, err error, field string) {
	t.Helper()
	if refused, ok := errors.AsType[*router.InvalidError](err); !ok || refused.Field != field {
		t.Fatalf("want an InvalidError of %s, have %v", field, err)
	}
}
