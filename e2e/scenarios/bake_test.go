package scenarios

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/e2e/cluster"
	"github.com/siskin-dev/siskin/e2e/fixtures"
)

// baked judges by what the gateway sees, by what the app exports through a template, and by a query of the user's own.
const baked = `    interval: 4s
    threshold: 1
    stepWeights: [50]
    bake: {duration: 30s, threshold: 2}
    metrics:
    - {name: request-success-rate, interval: 12s, thresholdRange: {min: 99}}
    - {name: app-errors, interval: 12s, templateRef: {name: app-errors}, thresholdRange: {max: 1}}
    - name: own-errors
      interval: 12s
      query: 100 * (1 - sum(rate(http_request_duration_seconds_count{namespace="{{ namespace }}",pod=~"{{ target }}-.+",path="root",status="200"}[{{ interval }}])) / sum(rate(http_request_duration_seconds_count{namespace="{{ namespace }}",pod=~"{{ target }}-.+",path="root"}[{{ interval }}])))
      thresholdRange: {max: 1}`

const appErrors = `apiVersion: siskin.dev/v1
kind: MetricTemplate
metadata: {name: app-errors}
spec:
  provider: {type: prometheus}
  query: 100 * (1 - sum(rate(http_request_duration_seconds_count{namespace="{{ namespace }}",pod=~"{{ canary }}-.+",path="root",status="200"}[{{ interval }}])) / sum(rate(http_request_duration_seconds_count{namespace="{{ namespace }}",pod=~"{{ canary }}-.+",path="root"}[{{ interval }}])))
`

// TestBake : a version that was good as a canary turns bad after its promotion: the previous one comes back by itself, within a few
// checks; the fix then goes through, although what it replaces was failing until its promotion.
func TestBake(t *testing.T) {
	t.Parallel()
	s, _ := story(t, fixtures.App{})
	s.Apply(appErrors)
	s.Start(s.App.Canary(baked))
	users := s.Users(100)
	s.Release("1.1.0")
	begun(s, 0)
	s.Phase(siskinv1.PhaseBaking, time.Minute)
	c := s.When(20*time.Second, func(c *siskinv1.Canary) string {
		if c.Status.Phase != siskinv1.PhaseBaking {
			t.Fatalf("the bake ended as %s: %s", c.Status.Phase, c.Status.Message)
		}
		if len(c.Status.Checks) != 3 {
			return fmt.Sprintf("not judged yet: %+v", c.Status.Checks)
		}
		for _, check := range c.Status.Checks {
			switch check.Verdict {
			case "pass":
			case "inconclusive": // the primary's new pods may not have been scraped twice
				return fmt.Sprintf("no data yet: %+v", check)
			default:
				t.Fatalf("the good primary: %+v", check)
			}
		}
		return ""
	})
	if !meta.IsStatusConditionTrue(c.Status.Conditions, siskinv1.ConditionPromoted) || !meta.IsStatusConditionTrue(c.Status.Conditions, siskinv1.ConditionReady) {
		t.Errorf("it is promoted, and the conditions are %+v", c.Status.Conditions)
	}
	describe(s, "baking")
	bad := failing(s, siskinv1.RolePrimary, "0.5")
	c = endsAs(s, siskinv1.PhaseFailed, time.Minute)
	if !strings.Contains(c.Status.Rollout.Cause, "after the promotion metric") || c.Status.Stable.Image != "siskin.dev/testapp:1.0.0" || c.Status.Rejected == "" {
		t.Errorf("cause %q, stable %+v, rejected %q", c.Status.Rollout.Cause, c.Status.Stable, c.Status.Rejected)
	}
	if n := c.Status.FailedChecks; n != 2 {
		t.Errorf("%d failed checks", n)
	}
	e := s.OneEvent("RollingBack")
	serves(s, "1.0.0", "shop-primary-", 10*time.Second)
	sum := s.NobodyFailed("users of a version that turned bad", users, time.Time{}, "1.1.0")
	last, _ := lastOf(users.Samples(), "1.1.0")
	t.Logf("it turned bad: found out after %s, gone after %s; %d of %d requests failed; %s", e.At.Sub(bad), last.Sub(bad), sum.Failed, sum.Total, e.Note)
	if took := last.Sub(bad); took > 30*time.Second { // two checks of 4 s, and what a pod takes to start and to go
		t.Errorf("users had the bad version for %s", took)
	}
	for _, sample := range users.Samples() {
		if sample.Failed() && sample.At.Add(sample.Took).Before(bad) {
			t.Fatalf("a request failed before the version turned bad: %+v", sample)
		}
	}

	// Now what serves is bad itself until the fix is promoted. The fix is not judged by that.
	failing(s, siskinv1.RolePrimary, "0.5")
	s.Release("1.2.0")
	begun(s, 1)
	fixed := s.Phase(siskinv1.PhaseBaking, time.Minute).Status.LastTransitionTime.Time
	c = endsAs(s, siskinv1.PhaseSucceeded, time.Minute)
	if took := c.Status.LastTransitionTime.Sub(fixed); took < 30*time.Second || c.Status.FailedChecks > 0 {
		t.Errorf("the bake of 30 s took %s with %d failed checks", took, c.Status.FailedChecks)
	}
	if e := s.OneEvent("Baked"); e.Type != "Normal" || !strings.Contains(e.Note, ":1.2.0") {
		t.Errorf("the event says %+v", e)
	}
	users.Stop()
	s.NobodyFailed("users of the fix", users, fixed, "1.0.0") // whose last pod serves on until everybody knows that it goes
	if last, _ := lastOf(users.Samples(), "1.0.0"); last.After(fixed.Add(10 * time.Second)) {
		t.Errorf("users had the failing version until %s after the promotion of the fix", last.Sub(fixed))
	}
	for i, want := range []string{"Succeeded", "Failed"} {
		if h := c.Status.History; len(h) != 2 || h[i].Outcome != want {
			t.Errorf("the history tells %+v", h)
		}
	}
}

// failing makes a part of the requests to all pods of a role fail from now on, and returns when that began.
func failing(s *fixtures.Story, role, ratio string) time.Time {
	s.Helper()
	began := time.Now()
	cluster.Eventually(s, 10*time.Second, func(ctx context.Context) error {
		var list corev1.PodList
		if err := s.API.List(ctx, &list, client.InNamespace(s.NS), client.MatchingLabels{siskinv1.RoleLabel: role}); err != nil {
			return err
		}
		for _, pod := range list.Items {
			if pod.DeletionTimestamp != nil {
				continue // one that was replaced just now may end any moment
			}
			if err := s.FailFrom(ctx, &pod, ratio); err != nil {
				return err
			}
		}
		return nil
	})
	return began
}
