package observe_test

import (
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/canary/observe"
	"github.com/siskin-dev/siskin/pkg/canary/plan"
	"github.com/siskin-dev/siskin/pkg/canary/target"
	"github.com/siskin-dev/siskin/pkg/router"
	"github.com/siskin-dev/siskin/pkg/router/routertest"
)

const app = "shop/web"

var now = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

func canary(edits ...func(*siskinv1.Canary)) *siskinv1.Canary {
	c := &siskinv1.Canary{ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "shop", UID: "canary-uid"}}
	c.Spec.TargetRef = siskinv1.TargetRef{Kind: "Deployment", Name: "web"}
	c.Spec.Service.Port = 80
	c.Spec.Analysis.StepWeight = new(int32(20))
	for _, edit := range edits {
		edit(c)
	}
	return c
}

func deployment(edits ...func(*appsv1.Deployment)) *appsv1.Deployment {
	d := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "shop", UID: "web-uid", Generation: 1},
		Spec: appsv1.DeploymentSpec{
			Replicas: new(int32(3)), Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "web"}},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "web", Image: "web:1"}}},
			},
		},
		Status: appsv1.DeploymentStatus{ObservedGeneration: 1, AvailableReplicas: 3},
	}
	for _, edit := range edits {
		edit(d)
	}
	return d
}

func image(name string) func(*appsv1.Deployment) {
	return func(d *appsv1.Deployment) { d.Spec.Template.Spec.Containers[0].Image = name }
}

// snapshot stores the content of d under name.
func snapshot(t *testing.T, name string, d *appsv1.Deployment) *appsv1.ControllerRevision {
	t.Helper()
	cr, err := target.Snapshot(canary(), name, 1, target.From(d))
	if err != nil {
		t.Fatal(err)
	}
	return cr
}

// clone is the workload of a role that runs d's content, named revision, and is ready.
func clone(role, revision string, d *appsv1.Deployment, edits ...func(*appsv1.Deployment)) *appsv1.Deployment {
	out := cloned(canary(), role, revision, target.From(d), 3)
	out.UID, out.Generation = types.UID(role+"-uid"), 2
	out.Status = appsv1.DeploymentStatus{ObservedGeneration: 2, Replicas: 3, UpdatedReplicas: 3, AvailableReplicas: 3}
	for _, edit := range edits {
		edit(out)
	}
	return out
}

func svc(name string, selector map[string]string) *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "shop"},
		Spec:       corev1.ServiceSpec{Selector: selector, Ports: []corev1.ServicePort{{Name: "http", Port: 80}}},
	}
}

func endpoints(service, name string, conditions ...discoveryv1.EndpointConditions) *discoveryv1.EndpointSlice {
	s := &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Name: name, Namespace: "shop", Labels: map[string]string{discoveryv1.LabelServiceName: service}},
		AddressType: discoveryv1.AddressTypeIPv4,
	}
	for _, c := range conditions {
		s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{Addresses: []string{"10.0.0.1"}, Conditions: c})
	}
	return s
}

// place is an Observer with the objects that it sees.
type place struct {
	*observe.Observer

	canary *siskinv1.Canary
	router *routertest.Fake
	client client.Client
}

func newPlace(t *testing.T, c *siskinv1.Canary, objs ...client.Object) *place {
	t.Helper()
	p := &place{canary: c, router: routertest.NewFake(router.Capabilities{Features: router.Features{}.With(router.Yes, router.FeatureWeights), Ceiling: router.EvidenceAccepted})}
	p.client = routertest.NewClient(t, objs...)
	p.Observer = &observe.Observer{Client: p.client, Routers: map[string]router.Router{"fake": p.router}, Default: "fake"}
	return p
}

func (p *place) world(t *testing.T) *observe.World {
	t.Helper()
	w, err := p.World(t.Context(), p.canary, p.router, p.router.Capabilities(t.Context(), p.canary))
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func (p *place) snapshot(t *testing.T) plan.Snapshot {
	t.Helper()
	return p.Snapshot(p.world(t), plan.Spec{}, now, now)
}

// cloned is the clone of a revision, for a Canary of a Deployment.
func cloned(c *siskinv1.Canary, role, name string, r target.Revision, replicas int32) *appsv1.Deployment {
	obj, err := target.Clone(c, role, name, r, replicas)
	if err != nil {
		panic(err)
	}
	return obj.(*appsv1.Deployment)
}
