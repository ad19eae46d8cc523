package scenarios

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/siskin-dev/siskin/e2e/cluster"
	"github.com/siskin-dev/siskin/e2e/fixtures"
)

// TestScaleTarget : `kubectl scale` of the held target while nothing is released: the primary gets the number and the target is
// put back to zero. So it is for a number in a manifest that is applied again.
func TestScaleTarget(t *testing.T) {
	t.Parallel()
	s, _ := story(t, fixtures.App{})
	s.Start(s.App.Canary(brisk))
	sized(s, 1)
	users := s.Users(50)
	if out, err := s.Kubectl(t.Context(), "-n", s.NS, "scale", "deployment/"+s.App.Name, "--replicas=3"); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	sized(s, 3)
	s.App.Replicas = 2
	s.Apply(s.App.Deployment())
	sized(s, 2)
	if c := s.Now(); c.Status.Rollout != nil {
		t.Errorf("a number of replicas started a rollout: %+v", c.Status.Rollout)
	}
	users.Stop()
	s.NobodyFailed("users", users, time.Time{})
}

// sized waits until the primary has n pods and the target none.
func sized(s *fixtures.Story, n int32) {
	s.Helper()
	cluster.Eventually(s, 45*time.Second, func(context.Context) error {
		target, primary := s.Deployment(""), s.Deployment("-primary")
		if *target.Spec.Replicas != 0 || target.Status.Replicas != 0 || *primary.Spec.Replicas != n || primary.Status.AvailableReplicas != n {
			return fmt.Errorf("target %d (%d pods), primary %d (%d available), not %d", *target.Spec.Replicas, target.Status.Replicas,
				*primary.Spec.Replicas, primary.Status.AvailableReplicas, n)
		}
		return nil
	})
}
