package scenarios

import (
	"context"
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/e2e/cluster"
	"github.com/siskin-dev/siskin/e2e/fixtures"
)

// TestForcedDeletion : somebody takes the finalizer of a Canary away and deletes it, while Siskin is there, and while it
// is not. The target gets its pods and its Service back, and the event on it says why.
func TestForcedDeletion(t *testing.T) {
	s, _ := story(t, fixtures.App{Replicas: 2})
	s.Apply(s.App.Service())
	for i, there := range []bool{true, false} {
		s.Start(s.App.Canary(brisk))
		cluster.Eventually(t, 30*time.Second, func(context.Context) error {
			if n := *s.Deployment("").Spec.Replicas; n != 0 {
				return fmt.Errorf("the target still has %d replicas", n)
			}
			return nil
		})
		if !there {
			die(t, s.Env, crash)
		}
		c := &siskinv1.Canary{}
		c.Namespace, c.Name = s.NS, s.App.Name
		if err := s.API.Patch(t.Context(), c, client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`))); err != nil {
			t.Fatal(err)
		}
		if err := s.API.Delete(t.Context(), c); client.IgnoreNotFound(err) != nil {
			t.Fatal(err)
		}
		cluster.Eventually(t, 30*time.Second, func(context.Context) error {
			if d := s.Deployment(""); d.Status.AvailableReplicas != 2 {
				return fmt.Errorf("the target has %d pods", d.Status.AvailableReplicas)
			}
			return nil
		})
		full(s, 2)
		selects(s, "")
		var svc corev1.Service
		if err := s.API.Get(t.Context(), client.ObjectKey{Namespace: s.NS, Name: s.App.Name}, &svc); err != nil {
			t.Fatal(err)
		}
		if svc.Annotations[siskinv1.ServingAnnotation] != "" || svc.Annotations[siskinv1.SelectorAnnotation] != "" {
			t.Errorf("the Service was not given back: %v", svc.Annotations)
		}
		cluster.Eventually(t, 20*time.Second, func(ctx context.Context) error {
			told, err := s.EventsOf(ctx, "GivenBack")
			n := 0
			for _, e := range told {
				n += e.Count
			}
			if err == nil && n != i+1 {
				err = fmt.Errorf("%d times given back is told as %+v", i+1, told)
			}
			return err
		})
		cluster.Eventually(t, 30*time.Second, func(ctx context.Context) error { // before the next Canary of the name
			return gather(ctx, s)
		})
	}
}

// gather is an error as long as the clones of a Canary that is gone are there.
func gather(ctx context.Context, s *fixtures.Story) error {
	pods, err := s.Kubectl(ctx, "-n", s.NS, "get", "deployments", "-l", siskinv1.CanaryLabel, "-o", "name")
	if err == nil && pods != "" {
		err = fmt.Errorf("there are still %s", pods)
	}
	return err
}
