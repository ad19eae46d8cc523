package act_test

import (
	"maps"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/canary/plan"
)

func ofKind(kind string) func(*siskinv1.Canary) {
	return func(c *siskinv1.Canary) { c.Spec.TargetRef.Kind = kind }
}

func daemonSet(nodes map[string]string) *appsv1.DaemonSet {
	d := &appsv1.DaemonSet{
		TypeMeta:   metav1.TypeMeta{APIVersion: "apps/v1", Kind: "DaemonSet"},
		ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "shop", Annotations: map[string]string{"team": "a"}},
	}
	d.Spec.Selector, d.Spec.Template = deployment("web:1").Spec.Selector, deployment("web:1").Spec.Template
	d.Spec.Template.Spec.NodeSelector = nodes
	return d
}

// tellsBetween has a DaemonSet's controller tell what it sees between Siskin's two writes, so that the second is tried again.
func (s *stage) tellsBetween() func(client.Object) error {
	writes := 0
	return func(obj client.Object) error {
		if _, ok := obj.(*appsv1.DaemonSet); !ok {
			return nil
		}
		if writes++; writes%3 != 2 {
			return nil
		}
		var d appsv1.DaemonSet
		s.get("web", &d)
		d.Status.ObservedGeneration += int64(writes)
		if err := s.api.Status().Update(s.t.Context(), &d, client.FieldOwner("kube-controller-manager")); err != nil {
			s.t.Error(err)
		}
		s.get("web", &d)
		for i := range d.ManagedFields { // as the API server has it; the fake does not note it
			if m := &d.ManagedFields[i]; m.Manager == "kube-controller-manager" {
				m.Subresource = "status"
			}
		}
		if err := s.api.Update(s.t.Context(), &d); err != nil {
			s.t.Error(err)
		}
		return nil
	}
}

// A DaemonSet is held by one key of its nodeSelector, whoever owns the rest goes on owning it, and it comes back as it was.
func TestHoldingADaemonSet(t *testing.T) {
	for name, nodes := range map[string]map[string]string{"nodes": {"disk": "ssd"}, "all nodes": nil} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t, canary(ofKind("DaemonSet")))
			if err := s.api.Create(t.Context(), daemonSet(nodes), client.FieldOwner("git")); err != nil {
				t.Fatal(err)
			}
			read := func() *appsv1.DaemonSet {
				t.Helper()
				var d appsv1.DaemonSet
				s.get("web", &d)
				return &d
			}
			before := read()
			s.refuse = s.tellsBetween()
			s.must(plan.HoldTarget{Replicas: 1})
			held := read()
			wantNodes := map[string]string{siskinv1.HeldAnnotation: "true"}
			maps.Copy(wantNodes, nodes)
			if diff := cmp.Diff(wantNodes, held.Spec.Template.Spec.NodeSelector); diff != "" {
				t.Errorf("nodes: -want +got\n%s", diff)
			}
			if diff := cmp.Diff(map[string]string{"team": "a", siskinv1.HeldAnnotation: "web", siskinv1.ReplicasAnnotation: "1"}, held.Annotations); diff != "" {
				t.Errorf("marks: -want +got\n%s", diff)
			}
			if s.snapshotOf(s.world()).Target != (plan.Target{Found: true, Revision: s.revision(), Replicas: 1, Held: true, Current: true}) {
				t.Errorf("observed as %+v", s.snapshotOf(s.world()).Target)
			}
			s.must(plan.ReleaseTarget{Replicas: 1})
			after := read()
			if diff := cmp.Diff(before.Spec, after.Spec); diff != "" {
				t.Errorf("it was not given back: %s", diff)
			}
			if diff := cmp.Diff(before.Annotations, after.Annotations); diff != "" {
				t.Errorf("marks: %s", diff)
			}
			for _, d := range []*appsv1.DaemonSet{held, after} {
				for _, m := range d.ManagedFields {
					if m.Manager == siskinv1.FieldManager {
						t.Errorf("Siskin would keep what git gives up: %s", m.FieldsV1)
					}
				}
			}
		})
	}
}

func TestHoldingAStatefulSet(t *testing.T) {
	set := &appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "shop"}}
	set.Spec.Selector, set.Spec.Template, set.Spec.Replicas = deployment("web:1").Spec.Selector, deployment("web:1").Spec.Template, new(int32(3))
	s := newStage(t, canary(ofKind("StatefulSet")), set)
	_ = s.do(plan.HoldTarget{Replicas: 3}) // what is sent is looked at; the fake cannot apply a part
	want := map[string]any{
		"apiVersion": "apps/v1", "kind": "StatefulSet", "spec": map[string]any{"replicas": 0.0},
		"metadata": map[string]any{
			"name": "web", "namespace": "shop", "uid": string(set.UID), "resourceVersion": "999",
			"annotations": map[string]any{siskinv1.HeldAnnotation: "web", siskinv1.ReplicasAnnotation: "3"},
		},
	}
	if len(s.patches) == 0 {
		t.Fatal("nothing was sent")
	}
	if diff := cmp.Diff(want, s.patches[0].body); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

// Clones of a Service lead where it does; the one on trial leads nowhere until it is needed, and the Service itself is left alone.
func TestServicesAreCloned(t *testing.T) {
	svc := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "shop", Labels: map[string]string{"team": "a"}}}
	svc.Spec = corev1.ServiceSpec{
		Type: corev1.ServiceTypeLoadBalancer, ClusterIP: "10.0.0.7", ClusterIPs: []string{"10.0.0.7"}, Selector: map[string]string{"app": "web", "version": "1"},
		Ports: []corev1.ServicePort{{Name: "http", Port: 80, NodePort: 30080}}, ExternalTrafficPolicy: corev1.ServiceExternalTrafficPolicyLocal,
	}
	s := newStage(t, canary(ofKind("Service")))
	if err := s.api.Create(t.Context(), svc, client.FieldOwner("git")); err != nil {
		t.Fatal(err)
	}
	before := s.service("web")
	rev := s.revision()
	s.canary.Status.Stable = &siskinv1.RevisionStatus{Revision: rev}
	s.must(plan.TakeSnapshot{Revision: rev}, plan.ApplyPrimary{Revision: rev, Replicas: 1}, plan.ApplyServices{Split: plan.AllPrimary()})
	primary, trial := s.service("web-primary"), s.service("web-canary")
	if diff := cmp.Diff(map[string]string{"app": "web", "version": "1"}, primary.Spec.Selector); diff != "" {
		t.Errorf("the pods are the user's, and have no role: %s", diff)
	}
	if primary.Spec.Type == corev1.ServiceTypeLoadBalancer || primary.Spec.Ports[0].NodePort != 0 || primary.Spec.ClusterIP == "10.0.0.7" || primary.Spec.Ports[0].Port != 80 {
		t.Errorf("the clone takes what is the Service's own: %+v", primary.Spec)
	}
	if trial.Spec.Selector[siskinv1.HeldAnnotation] != "true" || trial.Annotations[siskinv1.HeldAnnotation] == "" {
		t.Errorf("the canary leads somewhere: %+v", trial.Spec.Selector)
	}
	s.must(plan.ApplyCanary{Revision: rev, Replicas: 1})
	if diff := cmp.Diff(primary.Spec.Selector, s.service("web-canary").Spec.Selector); diff != "" {
		t.Errorf("the canary on trial: %s", diff)
	}
	s.must(plan.ApplyCanary{Revision: rev, Replicas: 0})
	if s.service("web-canary").Spec.Selector[siskinv1.HeldAnnotation] == "" {
		t.Error("the canary goes on leading somewhere")
	}
	s.must(plan.RestoreServices{}, plan.Finish{})
	if diff := cmp.Diff(before, s.service("web")); diff != "" {
		t.Errorf("the Service was changed: %s", diff)
	}
	for _, name := range []string{"web-primary", "web-canary"} {
		if err := s.api.Get(t.Context(), client.ObjectKey{Namespace: "shop", Name: name}, &corev1.Service{}); err == nil {
			t.Errorf("%s is still there", name)
		}
	}
}
