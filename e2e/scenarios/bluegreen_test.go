package scenarios

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/e2e/cluster"
	"github.com/siskin-dev/siskin/e2e/fixtures"
)

// TestBlueGreen : without a gateway the user's own Service is switched to the canary and back to the primary, and no request
// through it fails.
func TestBlueGreen(t *testing.T) {
	t.Parallel()
	s, r := story(t, fixtures.App{Replicas: 2})
	s.Apply(s.App.Service())
	check := "bluegreen/" + s.NS
	s.Start(s.App.BlueGreen(`    interval: 3s
    threshold: 1
    iterations: 2
    webhooks:
    - {name: conformance, type: rollout, url: "` + r.URL(check) + `"}`))
	selects(s, siskinv1.RolePrimary)
	pods := s.Pods(50)

	s.Release("1.1.0")
	begun(s, 0)
	serves(s, "1.1.0", "shop-canary-", 40*time.Second)
	selects(s, siskinv1.RoleCanary)
	if n := len(r.Calls(check)); n < 2 {
		t.Errorf("the traffic was switched after %d checks, not after 2 iterations", n)
	}
	endsAs(s, siskinv1.PhaseSucceeded, time.Minute)
	serves(s, "1.1.0", "shop-primary-", 10*time.Second)
	selects(s, siskinv1.RolePrimary)

	r.Set(check, fixtures.No)
	s.Release("1.2.0")
	begun(s, 1)
	endsAs(s, siskinv1.PhaseFailed, time.Minute)
	pods.Stop()
	sum := s.NobodyFailed("pods that use the Service", pods, time.Time{})
	if sum.ByVersion["1.2.0"] > 0 {
		t.Errorf("%d requests reached a version that failed its checks before the switch", sum.ByVersion["1.2.0"])
	}
	t.Logf("%v", sum)
}

// serves waits until the apex answers with a version, from a pod whose name begins so.
func serves(s *fixtures.Story, version, pod string, limit time.Duration) {
	s.Helper()
	cluster.Eventually(s, limit, func(ctx context.Context) error {
		v, p, err := s.WhoServes(ctx)
		if err == nil && (v != version || !strings.HasPrefix(p, pod)) {
			err = fmt.Errorf("version %s in pod %s answers", v, p)
		}
		return err
	})
}

// selects waits until the apex Service selects the user's labels and a role ("": the user's labels alone).
func selects(s *fixtures.Story, role string) {
	s.Helper()
	cluster.Eventually(s, 10*time.Second, func(ctx context.Context) error {
		var svc corev1.Service
		if err := s.API.Get(ctx, client.ObjectKey{Namespace: s.NS, Name: s.App.Name}, &svc); err != nil {
			return err
		}
		want := map[string]string{"app": s.App.Name}
		if role != "" {
			want[siskinv1.RoleLabel] = role
		}
		if fmt.Sprint(svc.Spec.Selector) != fmt.Sprint(want) {
			return fmt.Errorf("Service %s selects %v, not %v", svc.Name, svc.Spec.Selector, want)
		}
		return nil
	})
}
