package scenarios

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/e2e/cluster"
	"github.com/siskin-dev/siskin/e2e/fixtures"
	"github.com/siskin-dev/siskin/e2e/gateway"
)

// burdened makes the pods of a role share milli thousandths of a CPU.
func burdened(s *fixtures.Story, role string, milli int) {
	s.Helper()
	if err := s.SetLoad(s.Context(), s.NS, siskinv1.RoleLabel+"="+role, milli); err != nil {
		s.Fatal(err)
	}
}

// scalesIn makes the autoscaler bring the primary to n pods, by a load of milli, while the rollout stays in a phase.
func scalesIn(s *fixtures.Story, phase siskinv1.Phase, milli int, n int32) {
	s.Helper()
	during := func(when string) {
		s.Helper()
		if c := s.Now(); c.Status.Phase != phase {
			s.Fatalf("it is in %s, not in %s, %s the autoscaler acted: %s", c.Status.Phase, phase, when, c.Status.Message)
		}
	}
	during("before")
	if was := *s.Deployment("-primary").Spec.Replicas; was == n {
		s.Fatalf("%s: the primary has %d pods already: the story proves nothing", phase, n)
	}
	burdened(s, siskinv1.RolePrimary, milli)
	grown(s, string(phase), func(now int32) bool { return now == n })
	during("when")
}

// floored waits until the autoscaler was told not to go below n.
func floored(s *fixtures.Story, n int32) {
	s.Helper()
	s.When(20*time.Second, func(c *siskinv1.Canary) string {
		if least := *scalerOf(s, "").Spec.MinReplicas; c.Status.Rollout.Floor != n || least != n {
			return fmt.Sprintf("the floor is %d and the autoscaler may go down to %d, not to %d", c.Status.Rollout.Floor, least, n)
		}
		return ""
	})
}

// TestAutoscalerScalesWhileItWaits : the real horizontal-pod-autoscaler scales up and down while the rollout waits for its approval, while the
// promotion waits, and while what was promoted is still judged. Nothing waits for it, nobody notices; from the approval to the promotion
// the primary is never smaller than at the approval, and before and after that it is as small as the load allows.
func TestAutoscalerScalesWhileItWaits(t *testing.T) {
	t.Parallel()
	s, r := story(t, fixtures.App{Replicas: 2})
	first, last := s.NS+"/rollout", s.NS+"/promotion"
	r.Set(first, fixtures.No)
	r.Set(last, fixtures.No)
	// signal is the analysis, with what its metric asks for.
	signal := func(query string) string {
		return `    interval: 3s
    threshold: 1
    stepWeights: [30]
    bake: {duration: 15s}
    metrics: [{name: signal, interval: 10s, query: "` + query + `", thresholdRange: {min: 1}}]
    webhooks:
    - {name: first, type: confirm-rollout, url: "` + r.URL(first) + `"}
    - {name: last, type: confirm-promotion, url: "` + r.URL(last) + `"}`
	}
	extra := []string{"autoscalerRef: {kind: HorizontalPodAutoscaler, name: " + s.App.Name + "}", "progressDeadlineSeconds: 180"}
	s.Apply(s.App.Deployment())
	s.Apply(hpa(s, 1, 8))
	burdened(s, siskinv1.RolePrimary, 200)
	s.Start(s.App.Canary(signal("vector(1)"), extra...))
	sized(s, 2)
	users := s.Users(50)
	h := s.Follow()

	s.Release("1.1.0")
	s.Phase(siskinv1.PhaseWaiting, 30*time.Second)
	scalesIn(s, siskinv1.PhaseWaiting, 400, 4)
	scalesIn(s, siskinv1.PhaseWaiting, 100, 1)
	scalesIn(s, siskinv1.PhaseWaiting, 200, 2)
	sized(s, 2)
	before, err := strconv.ParseUint(s.Deployment("-primary").ResourceVersion, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	r.Set(first, fixtures.Yes)

	s.Phase(siskinv1.PhaseWaitingPromotion, time.Minute)
	floored(s, 2)
	scalesIn(s, siskinv1.PhaseWaitingPromotion, 400, 4)
	scalesIn(s, siskinv1.PhaseWaitingPromotion, 100, 2)
	r.Set(last, fixtures.Yes)

	s.Phase(siskinv1.PhaseBaking, time.Minute)
	s.Apply(s.App.Canary(signal("vector(1) > 1"), extra...)) // no answer: the bake lasts until there is one
	scalesIn(s, siskinv1.PhaseBaking, 300, 3)
	scalesIn(s, siskinv1.PhaseBaking, 100, 1)
	s.Apply(s.App.Canary(signal("vector(1)"), extra...))
	c := endsAs(s, siskinv1.PhaseSucceeded, time.Minute)
	if c.Status.FailedChecks > 0 || c.Status.Rollout.Cause != "" {
		t.Errorf("%d failed checks, cause %q", c.Status.FailedChecks, c.Status.Rollout.Cause)
	}
	if e := s.OneEvent("Baked"); e.Type != "Normal" {
		t.Errorf("the event says %+v", e)
	}
	if n := least(s, h, before, siskinv1.PhaseBaking); n < 2 {
		t.Errorf("the primary shrank to %d during the rollout", n)
	}
	serves(s, "1.1.0", s.App.Name+"-primary-", 10*time.Second)
	sized(s, 1)
	users.Stop()
	s.NobodyFailed("users", users, time.Time{})
}

// TestAutoscalersWhenTakenBack : primary and canary have an autoscaler each when the version is taken back, and the gateway is slow to
// do it. The canary's own goes at once, so that nothing wakes the canary any more; the canary keeps its pods for as long as they have traffic.
// The primary's stays, scales up and down meanwhile, but not below the floor, and is free again at the end.
func TestAutoscalersWhenTakenBack(t *testing.T) {
	t.Parallel()
	s, _ := onTestGateway(t, fixtures.App{Replicas: 2})
	s.Apply(s.App.Deployment())
	s.Apply(hpa(s, 1, 8))
	burdened(s, siskinv1.RolePrimary, 200)
	burdened(s, siskinv1.RoleCanary, 300)
	s.Start(s.App.Canary(strings.Replace(slow, "[20, 50]", "[30]", 1),
		"autoscalerRef: {kind: HorizontalPodAutoscaler, name: "+s.App.Name+", canary: {minReplicas: 1, maxReplicas: 4}}", "progressDeadlineSeconds: 180"))
	sized(s, 2)
	users := s.Users(50)
	h := s.Follow()
	s.Release("1.1.0")
	s.Weight(30, time.Minute)
	seen(s, users, "1.1.0")
	floored(s, 2)
	if own := scalerOf(s, "-canary"); own.Spec.ScaleTargetRef.Name != s.App.Name+"-canary" || own.Spec.MaxReplicas != 4 {
		t.Errorf("the canary's own: %+v", own.Spec)
	}
	cluster.Eventually(t, 45*time.Second, func(context.Context) error {
		if d := s.Deployment("-canary"); *d.Spec.Replicas != 3 || d.Status.AvailableReplicas != 3 {
			return fmt.Errorf("the canary has %d pods, %d available, not the 3 that its load asks for", *d.Spec.Replicas, d.Status.AvailableReplicas)
		}
		return nil
	})

	wrong(s, gateway.Fault{Kind: gateway.Late, Delay: 10 * time.Minute}) // until it is cleared
	s.Accepted("abort@1")
	s.Phase(siskinv1.PhaseRollingBack, 20*time.Second)
	cluster.Eventually(t, 20*time.Second, func(ctx context.Context) error {
		var own autoscalingv2.HorizontalPodAutoscaler
		if err := s.API.Get(ctx, client.ObjectKey{Namespace: s.NS, Name: s.App.Name + "-canary"}, &own); !apierrors.IsNotFound(err) {
			return fmt.Errorf("the canary's own autoscaler is still there (%v)", err) //nolint:errorlint // nil when it is there
		}
		return nil
	})
	scalesIn(s, siskinv1.PhaseRollingBack, 400, 4)
	scalesIn(s, siskinv1.PhaseRollingBack, 100, 2)
	if user := scalerOf(s, ""); user.Spec.ScaleTargetRef.Name != s.App.Name+"-primary" || *user.Spec.MinReplicas != 2 {
		t.Errorf("the user's autoscaler while it is taken back: %+v", user.Spec)
	}
	if d := s.Deployment("-canary"); *d.Spec.Replicas != 3 || d.Status.AvailableReplicas != 3 {
		t.Errorf("the canary has traffic, and %d pods, %d available", *d.Spec.Replicas, d.Status.AvailableReplicas)
	}
	right(s)
	c := endsAs(s, siskinv1.PhaseFailed, time.Minute)
	if c.Status.Rollout.Cause != "ann aborted it" {
		t.Errorf("the cause is %q", c.Status.Rollout.Cause)
	}
	drained(s)
	sized(s, 1)
	user := scalerOf(s, "")
	if user.Spec.ScaleTargetRef.Name != s.App.Name+"-primary" || *user.Spec.MinReplicas != 1 || user.Spec.MaxReplicas != 8 {
		t.Errorf("the user's autoscaler at the end: %+v", user.Spec)
	}
	if n := least(s, h, 0, siskinv1.PhaseFailed); n < 2 {
		t.Errorf("the primary shrank to %d during the rollout", n)
	}
	drained(s) // still: the load of the canary's pods asked for them
	serves(s, "1.0.0", s.App.Name+"-primary-", 10*time.Second)
	users.Stop()
	s.NobodyFailed("users", users, time.Time{})
}
