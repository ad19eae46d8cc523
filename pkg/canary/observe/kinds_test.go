package observe_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/canary/observe"
	"github.com/siskin-dev/siskin/pkg/canary/plan"
	"github.com/siskin-dev/siskin/pkg/canary/target"
	"github.com/siskin-dev/siskin/pkg/router"
)

func ofKind(kind string) func(*siskinv1.Canary) {
	return func(c *siskinv1.Canary) { c.Spec.TargetRef.Kind = kind }
}

func daemonSet(edits ...func(*appsv1.DaemonSet)) *appsv1.DaemonSet {
	d := &appsv1.DaemonSet{ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "shop", UID: "web-uid", Generation: 2}}
	d.Spec.Selector, d.Spec.Template = deployment().Spec.Selector, deployment().Spec.Template
	d.Status = appsv1.DaemonSetStatus{ObservedGeneration: 2, DesiredNumberScheduled: 3, CurrentNumberScheduled: 3, UpdatedNumberScheduled: 3, NumberAvailable: 3}
	for _, edit := range edits {
		edit(d)
	}
	return d
}

func statefulSet(edits ...func(*appsv1.StatefulSet)) *appsv1.StatefulSet {
	s := &appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "shop", UID: "web-uid", Generation: 2}}
	s.Spec.Selector, s.Spec.Template, s.Spec.Replicas = deployment().Spec.Selector, deployment().Spec.Template, new(int32(3))
	s.Status = appsv1.StatefulSetStatus{ObservedGeneration: 2, Replicas: 3, UpdatedReplicas: 3, AvailableReplicas: 3}
	for _, edit := range edits {
		edit(s)
	}
	return s
}

// fenced is a DaemonSet without nodes.
func fenced(d *appsv1.DaemonSet) {
	d.Spec.Template.Spec.NodeSelector = map[string]string{siskinv1.HeldAnnotation: "true"}
	d.Status = appsv1.DaemonSetStatus{ObservedGeneration: 2}
}

func marked[T client.Object](replicas string) func(T) {
	return func(obj T) {
		obj.SetAnnotations(map[string]string{siskinv1.HeldAnnotation: "web", siskinv1.ReplicasAnnotation: replicas})
	}
}

func TestTargetsOfAllKinds(t *testing.T) {
	for name, tc := range map[string]struct {
		reason string
		target client.Object
		want   plan.Target
	}{
		"a DaemonSet":              {"it serves on all nodes", daemonSet(), plan.Target{Replicas: 1, Available: 1, Released: true}},
		"a DaemonSet comes up":     {"not all nodes have one", daemonSet(func(d *appsv1.DaemonSet) { d.Status.NumberAvailable = 2 }), plan.Target{Replicas: 1, Released: true}},
		"a DaemonSet on no node":   {"there is nothing to wait for", daemonSet(func(d *appsv1.DaemonSet) { d.Status = appsv1.DaemonSetStatus{ObservedGeneration: 2} }), plan.Target{Replicas: 1, Available: 1, Released: true}},
		"not counted yet":          {"its nodes are not known", daemonSet(func(d *appsv1.DaemonSet) { d.Status = appsv1.DaemonSetStatus{ObservedGeneration: 1} }), plan.Target{Replicas: 1, Released: true}},
		"an old count":             {"it is of other pods", daemonSet(func(d *appsv1.DaemonSet) { d.Generation = 3 }), plan.Target{Replicas: 1, Released: true}},
		"a held DaemonSet":         {"Siskin holds it", daemonSet(fenced, marked[*appsv1.DaemonSet]("1")), plan.Target{Replicas: 1, Held: true}},
		"git wrote over the fence": {"it must be held again", daemonSet(marked[*appsv1.DaemonSet]("1")), plan.Target{Replicas: 1, Available: 1}},
		"the mark was taken away":  {"it must be held again", daemonSet(fenced), plan.Target{Replicas: 1}},
		"a StatefulSet":            {"as a Deployment", statefulSet(), plan.Target{Replicas: 3, Available: 3, Released: true}},
		"a held StatefulSet": {"as a Deployment", statefulSet(marked[*appsv1.StatefulSet]("4"), func(s *appsv1.StatefulSet) {
			s.Spec.Replicas, s.Status = new(int32(0)), appsv1.StatefulSetStatus{ObservedGeneration: 2}
		}), plan.Target{Replicas: 4, Held: true}},
		"a Service": {"nothing of it is held", svc("web", map[string]string{"app": "web"}), plan.Target{Replicas: 1, Available: 1, Held: true, Released: true}},
	} {
		t.Run(name, func(t *testing.T) {
			c := canary(ofKind(target.KindOf(tc.target)))
			p := newPlace(t, c, tc.target, endpoints("web", "web-1", discoveryv1.EndpointConditions{}))
			s := p.snapshot(t)
			tc.want.Found, tc.want.Revision = true, s.Target.Revision
			if diff := cmp.Diff(tc.want, sized(s.Target)); diff != "" {
				t.Errorf("%s: -want +got\n%s", tc.reason, diff)
			}
		})
	}
	p := newPlace(t, canary(ofKind("Service")), svc("web", map[string]string{"app": "web"}))
	if p.snapshot(t).Target.Available != 0 {
		t.Error("a Service without endpoints takes no traffic back")
	}
	c := canary(ofKind("CronJob"))
	if _, err := newPlace(t, c).World(t.Context(), c, nil, router.Capabilities{}); err == nil || !strings.Contains(err.Error(), "CronJob") {
		t.Errorf("an unknown kind: %v", err)
	}
}

// The fence is no content: holding a target, and letting it go, is no new revision.
func TestHoldingIsNoNewRevision(t *testing.T) {
	free := newPlace(t, canary(ofKind("DaemonSet")), daemonSet()).world(t).RevisionName
	held := newPlace(t, canary(ofKind("DaemonSet")), daemonSet(fenced, marked[*appsv1.DaemonSet]("1"))).world(t).RevisionName
	if free != held {
		t.Errorf("%s, held %s", free, held)
	}
}

func TestClonesOfAllKinds(t *testing.T) {
	running := plan.Workload{Found: true, Revision: "r1", Current: true, Endpoints: 2}
	with := func(edit func(*plan.Workload)) plan.Workload {
		w := running
		edit(&w)
		return w
	}
	for name, tc := range map[string]struct {
		reason string
		kind   string
		size   int32
		edit   func(client.Object)
		want   plan.Workload
	}{
		"a DaemonSet on three nodes": {"it has as many pods as nodes", "DaemonSet", 1, func(o client.Object) {
			o.(*appsv1.DaemonSet).Status = daemonSet().Status
		}, with(func(w *plan.Workload) { w.Replicas, w.Desired, w.Pods, w.Updated, w.Available = 1, 3, 3, 3, 3 })},
		"a DaemonSet that is off": {"pods on nodes that it has left still run", "DaemonSet", 0, func(o client.Object) {
			o.(*appsv1.DaemonSet).Status = appsv1.DaemonSetStatus{ObservedGeneration: 2, NumberMisscheduled: 1}
		}, with(func(w *plan.Workload) { w.Pods = 1 })},
		"a DaemonSet on no node": {"people want to know why", "DaemonSet", 1, func(o client.Object) {
			o.(*appsv1.DaemonSet).Status = appsv1.DaemonSetStatus{ObservedGeneration: 2}
		}, with(func(w *plan.Workload) {
			w.Replicas, w.Message = 1, "(no node matches the pods' nodeSelector, affinity and tolerations)"
		})},
		"a StatefulSet": {"as a Deployment", "StatefulSet", 3, func(o client.Object) {
			o.(*appsv1.StatefulSet).Status = statefulSet().Status
		}, with(func(w *plan.Workload) { w.Replicas, w.Pods, w.Updated, w.Available = 3, 3, 3, 3 })},
		"a Service":             {"its endpoints stand for pods", "Service", 1, nil, with(func(w *plan.Workload) { w.Replicas, w.Pods, w.Updated, w.Available = 1, 1, 1, 1 })},
		"a Service that is off": {"it leads nowhere", "Service", 0, nil, running},
	} {
		t.Run(name, func(t *testing.T) {
			c := canary(ofKind(tc.kind))
			content := map[string]client.Object{"DaemonSet": daemonSet(), "StatefulSet": statefulSet(), "Service": svc("web", map[string]string{"app": "web"})}[tc.kind]
			cr, err := target.Snapshot(c, "r1", 1, target.From(content))
			if err != nil {
				t.Fatal(err)
			}
			obj, err := target.Clone(c, "primary", "r1", target.From(content), tc.size)
			if err != nil {
				t.Fatal(err)
			}
			if tc.kind != "Service" {
				obj.SetGeneration(2)
			}
			obj.SetUID("clone-uid")
			if tc.edit != nil {
				tc.edit(obj)
			}
			p := newPlace(t, c, cr, obj, endpoints("web-primary", "p-1", discoveryv1.EndpointConditions{}, discoveryv1.EndpointConditions{}))
			if diff := cmp.Diff(tc.want, p.snapshot(t).Primary); diff != "" {
				t.Errorf("%s: -want +got\n%s", tc.reason, diff)
			}
			switch o := obj.(type) {
			case *appsv1.DaemonSet:
				o.Spec.Template.Spec.Containers[0].Image = "evil:1"
				o.Generation++
			case *appsv1.StatefulSet:
				o.Spec.Template.Spec.Containers[0].Image = "evil:1"
				o.Generation++
			case *corev1.Service:
				o.Spec.Selector = map[string]string{"app": "evil"}
			}
			if err := p.client.Update(t.Context(), obj); err != nil {
				t.Fatal(err)
			}
			if !p.snapshot(t).Primary.Drifted {
				t.Error("somebody changed it")
			}
		})
	}
}

func TestRefusedTargets(t *testing.T) {
	set := func(edit func(*appsv1.StatefulSetSpec)) client.Object {
		return statefulSet(func(s *appsv1.StatefulSet) { edit(&s.Spec) })
	}
	for name, tc := range map[string]struct {
		target       client.Object
		reason, says string
	}{
		"volumes":   {set(func(s *appsv1.StatefulSetSpec) { s.VolumeClaimTemplates = make([]corev1.PersistentVolumeClaim, 1) }), target.ReasonUnsupportedTarget, "volumeClaimTemplates"},
		"on delete": {set(func(s *appsv1.StatefulSetSpec) { s.UpdateStrategy.Type = appsv1.OnDeleteStatefulSetStrategyType }), target.ReasonInvalidSpec, "RollingUpdate"},
		"partition": {set(func(s *appsv1.StatefulSetSpec) {
			s.UpdateStrategy.RollingUpdate = &appsv1.RollingUpdateStatefulSetStrategy{Partition: new(int32(2))}
		}), target.ReasonInvalidSpec, "partition is 2"},
		"no partition": {set(func(s *appsv1.StatefulSetSpec) {
			s.UpdateStrategy.RollingUpdate = &appsv1.RollingUpdateStatefulSetStrategy{Partition: new(int32(0))}
		}), "", ""},
		"daemon on delete": {daemonSet(func(d *appsv1.DaemonSet) { d.Spec.UpdateStrategy.Type = appsv1.OnDeleteDaemonSetStrategyType }), target.ReasonInvalidSpec, "DaemonSet web: spec.updateStrategy.type is OnDelete"},
		"node's port": {daemonSet(func(d *appsv1.DaemonSet) {
			d.Spec.Template.Spec.Containers[0].Ports = []corev1.ContainerPort{{HostPort: 80}}
		}), target.ReasonUnsupportedTarget, "port 80 of its node"},
		"a Deployment": {deployment(), "", ""},
		"no selector":  {svc("web", nil), target.ReasonUnsupportedTarget, "no selector"},
		"by name": {&corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "shop"},
			Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: "example.com"},
		}, target.ReasonUnsupportedTarget, "ExternalName"},
	} {
		t.Run(name, func(t *testing.T) {
			c := canary(ofKind(target.KindOf(tc.target)), promoted("r1"))
			w := newPlace(t, c, tc.target).world(t)
			if tc.reason == "" {
				if w.Refused != nil {
					t.Errorf("refused: %s", w.Refused.Message)
				}
				return
			}
			if w.Refused == nil || w.Refused.Reason != tc.reason || !strings.Contains(w.Refused.Error(), tc.says) {
				t.Errorf("%+v", w.Refused)
			}
			if w.RevisionName != "r1" {
				t.Errorf("what cannot be released takes the place of %s", w.RevisionName)
			}
		})
	}
}

func TestAServiceNeedsARouterBetweenServices(t *testing.T) {
	c := canary(ofKind("Service"))
	if _, err := observe.Spec(c, router.Capabilities{Features: router.Features{}.With(router.Yes, router.FeatureWeights)}, 0); err != nil {
		t.Error(err)
	}
	c.Spec.Analysis.StepWeight, c.Spec.Analysis.Iterations = nil, new(int32(1))
	if _, err := observe.Spec(c, router.Capabilities{}, 0); err == nil || !strings.Contains(err.Error(), "routes between Services") {
		t.Errorf("the router that moves selectors would move the user's: %v", err)
	}
	c.Spec.Service.Name = "front"
	if _, err := observe.Spec(c, router.Capabilities{Features: router.Features{}.With(router.Yes, router.FeatureWeights)}, 0); err == nil || !strings.Contains(err.Error(), "spec.service.name") {
		t.Errorf("its route would lead to a Service that nobody made: %v", err)
	}
}

func TestServicesOfAServiceTarget(t *testing.T) {
	clone := func(role string) *corev1.Service { return svc("web-"+role, map[string]string{"app": "web"}) }
	for name, tc := range map[string]struct {
		reason string
		phase  siskinv1.Phase
		objs   []client.Object
		want   plan.Services
	}{
		"at first":  {"routes need both clones", "", nil, plan.Services{Restored: true}},
		"no pods":   {"the target serves", siskinv1.PhaseInitializing, []client.Object{clone("primary"), clone("canary")}, plan.Services{Complete: true, Restored: true}},
		"with pods": {"the route can move", siskinv1.PhaseInitializing, []client.Object{clone("primary"), clone("canary"), endpoints("web-primary", "p", discoveryv1.EndpointConditions{})}, plan.Services{Complete: true, Serving: true, Restored: true}},
		"later":     {"nothing of the target is ever changed", siskinv1.PhaseSucceeded, []client.Object{clone("primary"), clone("canary")}, plan.Services{Complete: true, Serving: true, Restored: true}},
	} {
		t.Run(name, func(t *testing.T) {
			c := canary(ofKind("Service"))
			c.Status.Phase = tc.phase
			p := newPlace(t, c, append(tc.objs, svc("web", map[string]string{"app": "web"}))...)
			if diff := cmp.Diff(tc.want, p.snapshot(t).Services); diff != "" {
				t.Errorf("%s: -want +got\n%s", tc.reason, diff)
			}
		})
	}
}

// What Kubernetes lets nobody change of the clones cannot change under them; a rollout would be taken back for no fault of its own.
func TestATargetMadeAnewWithAnotherIdentity(t *testing.T) {
	policy := func(s *appsv1.StatefulSet) { s.Spec.PodManagementPolicy = appsv1.ParallelPodManagement }
	for name, tc := range map[string]struct {
		was, is client.Object
		want    string
	}{
		"the same": {deployment(), deployment(image("web:2")), ""},
		"selector": {deployment(), deployment(func(d *appsv1.Deployment) {
			d.Spec.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web", "tier": "front"}}
		}), "Deployment web: its spec.selector differs from that of web-primary"},
		"somebody else's": {deployment(), deployment(func(d *appsv1.Deployment) {
			d.Spec.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"app": "other"}}
		}), ""},
		"of a DaemonSet": {daemonSet(), daemonSet(func(d *appsv1.DaemonSet) {
			d.Spec.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"app": "other"}}
		}), "DaemonSet web: its spec.selector differs from that of web-primary"},
		"serviceName": {statefulSet(), statefulSet(func(s *appsv1.StatefulSet) { s.Spec.ServiceName = "peers" }), "StatefulSet web: its spec.serviceName differs from that of web-primary"},
		"policy":      {statefulSet(), statefulSet(policy), "StatefulSet web: its spec.podManagementPolicy differs from that of web-primary"},
	} {
		t.Run(name, func(t *testing.T) {
			c := canary(ofKind(target.KindOf(tc.is)), promoted("r1"))
			primary, err := target.Clone(c, "primary", "r1", target.From(tc.was), 1)
			if err != nil {
				t.Fatal(err)
			}
			if name == "somebody else's" {
				primary.SetOwnerReferences(nil)
				primary.SetLabels(nil)
			}
			w := newPlace(t, c, tc.is, primary).world(t)
			if tc.want == "" {
				if w.Refused != nil {
					t.Error(w.Refused)
				}
				return
			}
			if w.Refused == nil || w.Refused.Reason != target.ReasonInvalidSpec || w.RevisionName != "r1" ||
				!strings.HasPrefix(w.Refused.Message, tc.want) {
				t.Errorf("%v, %s", w.Refused, w.RevisionName)
			}
		})
	}
}
