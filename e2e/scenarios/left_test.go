package scenarios

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/e2e/cluster"
	"github.com/siskin-dev/siskin/e2e/fixtures"
)

// TestForcedDeletion : somebody takes the finalizer of a Canary away and deletes it, while Siskin is there, and while it
// is not. Nobody notices: the clones serve on, which an event on the target tells. A Canary of the name takes them over.
func TestForcedDeletion(t *testing.T) {
	s, _ := story(t, fixtures.App{Replicas: 2})
	s.Apply(s.App.Service())
	s.Start(s.App.Canary(brisk))
	users := s.Users(20)
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
		cluster.Eventually(t, 60*time.Second, func(ctx context.Context) error { // after a restart Siskin waits for its lease
			if metav1.GetControllerOf(s.Deployment("-primary")) != nil {
				return errors.New("the primary still has the Canary that is gone")
			}
			told, err := s.EventsOf(ctx, "ClonesServe")
			n := 0
			for _, e := range told {
				n += e.Count
			}
			if err == nil && n <= i {
				err = fmt.Errorf("%d times left is told as %+v", i+1, told)
			}
			return err
		})
	}
	s.Start(s.App.Canary(brisk)) // it takes over what is there
	remove(s)
	gone(s)
	full(s, 2)
	selects(s, "")
	users.Stop()
	s.NobodyFailed("users", users, time.Time{})
}
