package scenarios

import (
	"context"
	"fmt"
	"strings"
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

// TestSwitchedOffBeforeItIsHeld : between the moment when the primary serves and the one when the target's pods are taken
// away, a few seconds, a number of the user's counts as ever, zero too. One more switches the app on again.
func TestSwitchedOffBeforeItIsHeld(t *testing.T) {
	t.Parallel()
	for name, args := range map[string][2][]string{
		"scaled": {{"scale", "deployment/$", "--replicas=0"}, {"scale", "deployment/$", "--replicas=2"}},
		"recorded": {
			{"annotate", "deployment/$", "siskin.dev/replicas=0"}, {"annotate", "deployment/$", "siskin.dev/replicas=2", "--overwrite"},
		},
		"patched": {
			{"patch", "deployment/$", "--type=merge", "-p", `{"spec":{"replicas":0}}`},
			{"patch", "deployment/$", "--type=merge", "-p", `{"spec":{"replicas":2}}`},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, _ := story(t, fixtures.App{Name: "off-" + name})
			kubectl := func(args []string) {
				t.Helper()
				args = append([]string{"-n", s.NS}, args...)
				for i := range args {
					args[i] = strings.ReplaceAll(args[i], "$", s.App.Name)
				}
				if out, err := s.Kubectl(t.Context(), args...); err != nil {
					t.Fatalf("%v: %s", err, out)
				}
			}
			s.Start(s.App.Canary(brisk))
			kubectl(args[0])
			sized(s, 0)
			rest(t, 8*time.Second) // the target was due to be held in that time
			sized(s, 0)
			kubectl(args[1])
			sized(s, 2)
			remove(s)
			full(s, 2)
			unmarked(s, s.Deployment(""))
		})
	}
}
