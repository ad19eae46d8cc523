package canary_test

import (
	"context"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/canary"
	"github.com/siskin-dev/siskin/pkg/canary/observe"
	"github.com/siskin-dev/siskin/pkg/canary/scaler"
)

// force takes the finalizer off the Canary and deletes it.
func (s *stage) force() {
	s.t.Helper()
	old := s.canary()
	old.Finalizers = nil
	if err := s.api.Update(s.t.Context(), old); err != nil {
		s.t.Fatal(err)
	}
	if err := s.api.Delete(s.t.Context(), old); err != nil {
		s.t.Fatal(err)
	}
}

// collect is the garbage collector: what the Canary owned goes.
func (s *stage) collect() {
	s.t.Helper()
	owned := []client.ObjectList{&appsv1.DeploymentList{}, &corev1.ServiceList{}, &appsv1.ControllerRevisionList{}}
	for _, list := range owned {
		s.each(list, func(obj client.Object) {
			if ref := metav1.GetControllerOf(obj); ref != nil && ref.Kind == "Canary" {
				if err := s.api.Delete(s.t.Context(), obj); err != nil {
					s.t.Fatal(err)
				}
			}
		})
	}
}

func (s *stage) each(list client.ObjectList, do func(client.Object)) {
	s.t.Helper()
	if err := s.api.List(s.t.Context(), list, client.InNamespace("shop")); err != nil {
		s.t.Fatal(err)
	}
	switch l := list.(type) {
	case *appsv1.DeploymentList:
		for i := range l.Items {
			do(&l.Items[i])
		}
	case *corev1.ServiceList:
		for i := range l.Items {
			do(&l.Items[i])
		}
	case *appsv1.ControllerRevisionList:
		for i := range l.Items {
			do(&l.Items[i])
		}
	}
}

// TestWhatAForcedDeletionLeftIsGivenBack : somebody has taken the finalizer of a Canary away and deleted it. The target
// gets its pods and its Service back, at the event or when Siskin starts, and nobody gets what was not promoted as long
// as it is known what was.
func TestWhatAForcedDeletionLeftIsGivenBack(t *testing.T) {
	for name, tc := range map[string]struct {
		midway    bool // a rollout of web:2 goes on
		collected bool // what the Canary owned is gone before Siskin looks
		restarted bool // Siskin was not there
		image     string
		says      string
	}{
		"at rest":                           {image: "web:1", says: "with the promoted revision web-"},
		"at rest, all gone":                 {collected: true, image: "web:1", says: "with the content that it has"},
		"at rest, in the start":             {collected: true, restarted: true, image: "web:1", says: "with the content that it has"},
		"midway":                            {midway: true, image: "web:1", says: "with the promoted revision web-"},
		"midway, and nobody knows of it":    {midway: true, collected: true, image: "web:2", says: "with the content that it has"},
		"midway, in the start, all is gone": {midway: true, collected: true, restarted: true, image: "web:2", says: "with the content that it has"},
	} {
		t.Run(name, func(t *testing.T) {
			scaled := func(c *siskinv1.Canary) {
				c.Spec.AutoscalerRef = &siskinv1.AutoscalerRef{Kind: scaler.KindHPA, Name: "web"}
			}
			play(t, newCanary(scaled), func(s *stage) {
				s.Observer.Scalers = observe.ScalerSource{Kinds: []schema.GroupVersionKind{scaler.HPA()}}
				hpa := &autoscalingv2.HorizontalPodAutoscaler{ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "shop"}}
				hpa.Spec.ScaleTargetRef = autoscalingv2.CrossVersionObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Name: "web"}
				hpa.Spec.MinReplicas, hpa.Spec.MaxReplicas = new(int32(1)), 5
				s.create(hpa)
				user := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "shop"}}
				user.Spec.Selector = map[string]string{"app": "web"}
				user.Spec.Ports = []corev1.ServicePort{{Port: 80}}
				if err := s.api.Create(s.t.Context(), user); err != nil {
					t.Fatal(err)
				}
				s.until(siskinv1.PhaseInitialized)
				if tc.midway {
					s.image("web:2")
					s.reach(siskinv1.PhaseProgressing)
				}
				if s.get("web", hpa); hpa.Spec.ScaleTargetRef.Name != "web-primary" {
					t.Fatalf("the test needs an autoscaler that was taken: %+v", hpa.Spec)
				}
				if d := s.deployment("web"); *d.Spec.Replicas != 0 || s.service("web").Spec.Selector[siskinv1.RoleLabel] == "" {
					t.Fatalf("the test needs a target that is held: %d", *d.Spec.Replicas)
				}
				s.quiet()
				s.force()
				if tc.collected {
					s.collect()
				}
				if tc.restarted {
					s.forget()
				}
				for i := 0; s.pass().RequeueAfter > 0; i++ {
					if i > 20 {
						t.Fatal("it never ends")
					}
				}
				d, svc := s.deployment("web"), s.service("web")
				image := d.Spec.Template.Spec.Containers[0].Image
				if *d.Spec.Replicas != 2 || d.Annotations[siskinv1.HeldAnnotation] != "" || image != tc.image {
					t.Errorf("the target has %d pods of %s, and %v", *d.Spec.Replicas, image, d.Annotations)
				}
				marked := svc.Annotations[siskinv1.ServingAnnotation] != ""
				if len(svc.Spec.Selector) != 1 || svc.Spec.Selector["app"] != "web" || marked {
					t.Errorf("the Service selects %v, and has %v", svc.Spec.Selector, svc.Annotations)
				}
				s.get("web", hpa)
				if ref := hpa.Spec.ScaleTargetRef; ref.Name != "web" || hpa.Annotations[siskinv1.ScalesAnnotation] != "" {
					t.Errorf("the autoscaler scales %s, and has %v", ref.Name, hpa.Annotations)
				}
				told := s.events.take()
				if reasons(told) != "GivenBack" || !strings.Contains(told[0], tc.says) {
					t.Errorf("told %v", told)
				}
				s.writes.Writes()
				s.pass()
				if n := s.writes.Writes(); n != 0 || len(s.events.take()) != 0 {
					t.Errorf("%d writes more", n)
				}
			})
		})
	}
}

// TestWhatIsLeftOnPurposeStays : what deletionPolicy Orphan left serves, and what another Canary, or a new one of the
// name, holds is its own.
func TestWhatIsLeftOnPurposeStays(t *testing.T) {
	for name, prepare := range map[string]func(*stage){
		"deletionPolicy Orphan": func(s *stage) {
			s.edit(func(c *siskinv1.Canary) { c.Spec.DeletionPolicy = siskinv1.DeletionPolicyOrphan })
			if err := s.api.Delete(s.t.Context(), s.canary()); err != nil {
				s.t.Fatal(err)
			}
			for i := 0; i < 30 && s.api.Get(s.t.Context(), web, &siskinv1.Canary{}) == nil; i++ {
				s.rest(s.pass())
			}
		},
		"another's": func(s *stage) {
			d := s.deployment("web")
			d.Annotations[siskinv1.HeldAnnotation] = "other"
			if err := s.api.Update(s.t.Context(), d); err != nil {
				s.t.Fatal(err)
			}
			s.force()
		},
		"a new one, which the cache has not seen": func(s *stage) {
			s.force()
			s.Actor.Live = answering{s.api, func(obj client.Object) bool {
				_, is := obj.(*siskinv1.Canary)
				return is
			}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			play(t, newCanary(), func(s *stage) {
				s.until(siskinv1.PhaseInitialized)
				prepare(s)
				s.quiet()
				s.pass()
				if d := s.deployment("web"); *d.Spec.Replicas != 0 || d.Annotations[siskinv1.HeldAnnotation] == "" {
					t.Errorf("the target has %d pods, and %v", *d.Spec.Replicas, d.Annotations)
				}
				if n, told := s.writes.Writes(), s.events.take(); n != 0 || len(told) != 0 {
					t.Errorf("%d writes, told %v", n, told)
				}
			})
		})
	}
}

// answering has an object that the caches have not.
type answering struct {
	client.Client

	has func(client.Object) bool
}

func (a answering) Get(ctx context.Context, key client.ObjectKey, obj client.Object, opts ...client.GetOption) error {
	if a.has(obj) {
		return nil
	}
	return a.Client.Get(ctx, key, obj, opts...)
}

// forget is a new process, which knows nothing of any Canary.
func (s *stage) forget() {
	s.t.Helper()
	s.restart()
	old := s.Reconciler
	s.Reconciler = &canary.Reconciler{
		Client: old.Client, Clock: old.Clock, Recorder: old.Recorder, Observer: old.Observer, Actor: old.Actor,
		Asker: old.Asker, Teller: old.Teller, Gauges: old.Gauges, Drain: old.Drain,
	}
}

func (s *stage) service(name string) *corev1.Service {
	s.t.Helper()
	var svc corev1.Service
	s.get(name, &svc)
	return &svc
}
