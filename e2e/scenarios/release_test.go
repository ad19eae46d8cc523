// Package scenarios holds the stories that Siskin is for, on real parts.
package scenarios

import (
	"strings"
	"testing"
	"time"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/e2e/cluster"
	"github.com/siskin-dev/siskin/e2e/fixtures"
	"github.com/siskin-dev/siskin/e2e/load"
)

const analysis = `    interval: 10s
    threshold: 1
    stepWeights: [10, 20, 30, 40, 50]
    metrics:
    - {name: request-success-rate, interval: 30s, thresholdRange: {min: 99}}
    - {name: request-duration, interval: 30s, thresholdRange: {max: 500}}`

func TestReleases(t *testing.T) {
	e := fixtures.Start(t, cluster.Options{Traefik: true, Prometheus: true})
	ns := e.Namespace(t)
	app := fixtures.App{Name: "shop", Host: "shop.example.com", Replicas: 2, Version: "1.0.0"}
	e.Given(t, ns, app.Deployment())
	e.Given(t, ns, app.Canary(analysis))
	e.UntilPhase(t, ns, "shop", siskinv1.PhaseInitialized, 60*time.Second)

	users := &load.Generator{URL: e.GatewayURL() + "/", Host: app.Host, Rate: 200}
	users.Start(t.Context())
	defer users.Stop()

	app.Version = "1.1.0"
	began := time.Now()
	e.Given(t, ns, app.Deployment())
	c := e.Until(t, ns, "shop", 2*time.Minute, func(c *siskinv1.Canary) string {
		if c.Status.Phase != siskinv1.PhaseSucceeded && c.Status.Phase != siskinv1.PhaseFailed {
			return "not ended"
		}
		return ""
	})
	took := time.Since(began)
	if c.Status.Phase != siskinv1.PhaseSucceeded {
		t.Fatalf("the good release ended as %s: %s", c.Status.Phase, c.Status.Message)
	}
	if took > 70*time.Second {
		t.Errorf("five steps of 10 s took %s, more than 70 s", took)
	}
	t.Logf("the good release took %s", took)
	if sum := load.Summarize(users.Samples(), time.Time{}); sum.Failed > 0 {
		t.Errorf("%d of %d requests failed: %v", sum.Failed, sum.Total, sum.Errors)
	}

	app.Version, app.FailRatio = "1.2.0", "0.5"
	bad := time.Now()
	e.Given(t, ns, app.Deployment())
	c = e.UntilPhase(t, ns, "shop", siskinv1.PhaseFailed, time.Minute)
	users.Stop()
	sum := load.Summarize(users.Samples(), bad)
	t.Logf("%v; %s", sum, c.Status.Message)
	for what, n := range sum.Errors {
		if !strings.HasPrefix(what, "1.2.0 ") {
			t.Errorf("%d requests failed that the bad version did not answer: %s", n, what)
		}
	}
}
