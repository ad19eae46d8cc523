package scenarios

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/e2e/cluster"
	"github.com/siskin-dev/siskin/e2e/fixtures"
)

// TestDeletion : deleting a Canary under load takes nobody's app down, through the gateway or through the Service; the target is
// back at full size, the user's Service is as it was, the clones are gone.
func TestDeletion(t *testing.T) {
	t.Parallel()
	s, _ := story(t, fixtures.App{Replicas: 2, ReadyAfter: 8}) // longer than clones would go on serving without being waited for
	s.Apply(s.App.Service())
	s.Start(s.App.Canary(brisk))
	users, pods := s.Users(100), s.Pods(50)
	s.Release("1.1.0")
	begun(s, 0)
	endsAs(s, siskinv1.PhaseSucceeded, time.Minute)

	remove(s)
	gone(s)
	full(s, 2)
	selects(s, "")
	var svc corev1.Service
	if err := s.API.Get(t.Context(), client.ObjectKey{Namespace: s.NS, Name: s.App.Name}, &svc); err != nil {
		t.Fatal(err)
	}
	if len(svc.Annotations) == 0 || svc.Annotations["example.org/owner"] != "aviary" || svc.Annotations[siskinv1.ServingAnnotation] != "" ||
		svc.Annotations[siskinv1.SelectorAnnotation] != "" || len(svc.OwnerReferences) > 0 {
		t.Errorf("the Service was not given back: %v, owners %v", svc.Annotations, svc.OwnerReferences)
	}
	routeLeadsHome(s)
	// What was drained is really gone by now; the requests since then count as well.
	after := time.Now()
	cluster.Eventually(t, 20*time.Second, func(context.Context) error {
		if s := users.Samples(); len(s) == 0 || s[len(s)-1].At.Before(after.Add(3*time.Second)) {
			return errors.New("the load goes on")
		}
		return nil
	})
	users.Stop()
	pods.Stop()
	t.Logf("%v %v", s.NobodyFailed("users", users, time.Time{}), s.NobodyFailed("pods", pods, time.Time{}))
}

// TestDeletionMidway : the same in the middle of a rollout, with Services that Siskin made, which stay and lead to the
// target, and with the user's. Their selector names labels that the canary's pods have too: nobody reaches those by it.
func TestDeletionMidway(t *testing.T) {
	t.Parallel()
	for name, adopted := range map[string]bool{"generated": false, "adopted": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, _ := story(t, fixtures.App{})
			if adopted {
				s.Apply(s.App.Service())
			}
			s.Start(s.App.Canary(brisk))
			users, pods := s.Users(50), s.Pods(50)
			s.Release("1.1.0")
			s.Weight(50, time.Minute)
			remove(s)
			gone(s)
			full(s, 1)
			serves(s, "1.0.0", s.App.Name+"-", 10*time.Second) // what was promoted, and not what git says
			routeLeadsHome(s)
			users.Stop()
			pods.Stop()
			s.NobodyFailed("users", users, time.Time{})
			if sum := s.NobodyFailed("pods", pods, time.Time{}); sum.ByVersion["1.1.0"] > 0 {
				t.Errorf("clients of the apex reached the canary: %v", sum.ByVersion)
			}
		})
	}
}

// TestDeletionOrphan : with deletionPolicy Orphan nothing moves.
func TestDeletionOrphan(t *testing.T) {
	t.Parallel()
	s, _ := story(t, fixtures.App{})
	s.Start(s.App.Canary(brisk, "deletionPolicy: Orphan"))
	users := s.Users(50)
	cluster.Eventually(t, 20*time.Second, func(context.Context) error {
		if n := *s.Deployment("").Spec.Replicas; n != 0 {
			return fmt.Errorf("the target still has %d replicas", n)
		}
		return nil
	})
	remove(s)
	primary := s.Deployment("-primary")
	if *primary.Spec.Replicas != 1 || len(primary.OwnerReferences) > 0 {
		t.Errorf("the primary has %d replicas and owners %v", *primary.Spec.Replicas, primary.OwnerReferences)
	}
	for _, obj := range []client.Object{&corev1.Service{}, &gatewayv1.HTTPRoute{}} {
		if err := s.API.Get(t.Context(), client.ObjectKey{Namespace: s.NS, Name: s.App.Name}, obj); err != nil || len(obj.GetOwnerReferences()) > 0 {
			t.Errorf("%T: %v, owners %v", obj, err, obj.GetOwnerReferences())
		}
	}
	// Longer than garbage collection would need.
	serves(s, "1.0.0", "shop-primary-", 10*time.Second)
	users.Stop()
	s.NobodyFailed("users", users, time.Time{})
}

// TestDeletionInTheForeground : tools like Argo CD delete in the foreground, with which Kubernetes takes all that has an
// owner before the owner goes.
func TestDeletionInTheForeground(t *testing.T) {
	t.Parallel()
	s, _ := story(t, fixtures.App{Replicas: 2})
	s.Start(s.App.Canary(brisk))
	users, pods := s.Users(50), s.Pods(20)
	s.Release("1.1.0")
	begun(s, 0)
	endsAs(s, siskinv1.PhaseSucceeded, time.Minute)
	s.Release("1.2.0")
	s.Weight(20, time.Minute)
	if out, err := s.Kubectl(t.Context(), "-n", s.NS, "delete", "canary", s.App.Name, "--cascade=foreground", "--timeout=120s"); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	gone(s)
	full(s, 2)
	serves(s, "1.1.0", s.App.Name+"-", 10*time.Second)
	users.Stop()
	pods.Stop()
	s.NobodyFailed("users", users, time.Time{})
	s.NobodyFailed("pods", pods, time.Time{})
}

// TestNamespaceDeletion : a namespace with a Canary goes away; its finalizer holds nothing up.
func TestNamespaceDeletion(t *testing.T) {
	t.Parallel()
	s, _ := story(t, fixtures.App{})
	s.Start(s.App.Canary(brisk))
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: s.NS}}
	if err := s.API.Delete(t.Context(), ns); err != nil {
		t.Fatal(err)
	}
	// Kubernetes goes through every kind that there is, pods first, and only then comes to the Canary.
	cluster.Eventually(t, 2*time.Minute, func(ctx context.Context) error {
		err := s.API.Get(ctx, client.ObjectKeyFromObject(ns), ns)
		if apierrors.IsNotFound(err) {
			return nil
		}
		return errors.Join(err, fmt.Errorf("the namespace is still there: %+v", ns.Status.Conditions))
	})
}

// remove deletes the Canary and waits until it is gone.
func remove(s *fixtures.Story) {
	s.Helper()
	if out, err := s.Kubectl(s.Context(), "-n", s.NS, "delete", "canary", s.App.Name, "--timeout=120s"); err != nil {
		s.Fatalf("%v: %s", err, out)
	}
}

// gone waits until the clones and their Services are gone.
func gone(s *fixtures.Story) {
	s.Helper()
	cluster.Eventually(s, 30*time.Second, func(ctx context.Context) error {
		for _, role := range []string{"-primary", "-canary"} {
			for _, obj := range []client.Object{&appsv1.Deployment{}, &corev1.Service{}} {
				if err := s.API.Get(ctx, client.ObjectKey{Namespace: s.NS, Name: s.App.Name + role}, obj); !apierrors.IsNotFound(err) {
					return fmt.Errorf("%T %s is still there (%v)", obj, s.App.Name+role, err) //nolint:errorlint // nil when it is there
				}
			}
		}
		return nil
	})
}

// full checks that the target has all its pods and no mark of Siskin.
func full(s *fixtures.Story, replicas int32) {
	s.Helper()
	d := s.Deployment("")
	if *d.Spec.Replicas != replicas || d.Status.AvailableReplicas != replicas {
		s.Errorf("the target has %d replicas, %d available, not %d", *d.Spec.Replicas, d.Status.AvailableReplicas, replicas)
	}
	for _, key := range []string{siskinv1.HeldAnnotation, siskinv1.ReplicasAnnotation} {
		if v, ok := d.Annotations[key]; ok {
			s.Errorf("the target still has annotation %s: %s", key, v)
		}
	}
}

// routeLeadsHome checks that the generated route stays, belongs to nobody and leads to the apex Service alone.
func routeLeadsHome(s *fixtures.Story) {
	s.Helper()
	var route gatewayv1.HTTPRoute
	if err := s.API.Get(s.Context(), client.ObjectKey{Namespace: s.NS, Name: s.App.Name}, &route); err != nil {
		s.Error(err)
		return
	}
	if len(route.OwnerReferences) > 0 {
		s.Errorf("the route still belongs to %v", route.OwnerReferences)
	}
	for _, rule := range route.Spec.Rules {
		for _, ref := range rule.BackendRefs {
			if string(ref.Name) != s.App.Name && (ref.Weight == nil || *ref.Weight > 0) {
				s.Errorf("the route leads to Service %s, which is gone", ref.Name)
			}
		}
	}
}
