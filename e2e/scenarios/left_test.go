package scenarios

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/e2e/cluster"
	"github.com/siskin-dev/siskin/e2e/fixtures"
)

// TestForcedDeletion : somebody takes the finalizer of a Canary away and deletes it while Siskin is not there, which would
// put it back. Nobody notices: the clones serve on, which an event on the target tells when Siskin is back. A Canary of
// the name takes them over.
func TestForcedDeletion(t *testing.T) {
	s, _ := story(t, fixtures.App{Replicas: 2})
	s.Apply(s.App.Service())
	s.Start(s.App.Canary(brisk))
	users := s.Users(20)
	cluster.Eventually(t, 30*time.Second, func(context.Context) error {
		if n := *s.Deployment("").Spec.Replicas; n != 0 {
			return fmt.Errorf("the target still has %d replicas", n)
		}
		return nil
	})
	controllers(s, 0)
	c := &siskinv1.Canary{}
	c.Namespace, c.Name = s.NS, s.App.Name
	none := client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`))
	if err := s.API.Patch(t.Context(), c, none); err != nil {
		t.Fatal(err)
	}
	if err := s.API.Delete(t.Context(), c); client.IgnoreNotFound(err) != nil {
		t.Fatal(err)
	}
	controllers(s, 1)
	cluster.Eventually(t, 60*time.Second, func(ctx context.Context) error { // Siskin waits for the lease of before
		if metav1.GetControllerOf(s.Deployment("-primary")) != nil {
			return errors.New("the primary still has the Canary that is gone")
		}
		told, err := s.EventsOf(ctx, "ClonesServe")
		if err == nil && len(told) == 0 {
			err = errors.New("nobody is told")
		}
		return err
	})
	s.Start(s.App.Canary(brisk)) // it takes over what is there
	remove(s)
	gone(s)
	full(s, 2)
	selects(s, "")
	users.Stop()
	s.NobodyFailed("users", users, time.Time{})
}

// controllers sets how many pods of Siskin there are, and waits until it is so.
func controllers(s *fixtures.Story, n int) {
	s.Helper()
	out, err := s.Kubectl(s.Context(), "-n", fixtures.SiskinNamespace, "scale", "deployment/siskin", fmt.Sprintf("--replicas=%d", n))
	if err != nil {
		s.Fatalf("%v: %s", err, out)
	}
	cluster.Eventually(s, 45*time.Second, func(ctx context.Context) error {
		var pods corev1.PodList
		if err := s.API.List(ctx, &pods, client.InNamespace(fixtures.SiskinNamespace)); err != nil {
			return fmt.Errorf("listing Siskin's pods: %w", err)
		}
		if len(pods.Items) != n {
			return fmt.Errorf("%d pods of Siskin, not %d", len(pods.Items), n)
		}
		return nil
	})
}
