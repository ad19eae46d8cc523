package scenarios

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"regexp"
	"strconv"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/e2e/cluster"
	"github.com/siskin-dev/siskin/e2e/fixtures"
)

// TestMirroring : before the first weight, the canary gets copies of the users' requests; users see answers of the old version alone.
// Then come the weights, without copies.
func TestMirroring(t *testing.T) {
	t.Parallel()
	s, _ := onTestGateway(t, fixtures.App{})
	s.Start(s.App.Canary(brisk + `
    mirror: true`))
	users := s.Users(50)
	s.Release("1.1.0")
	begun(s, 0)
	mirrored(s, 100)
	copies := served(s, siskinv1.RoleCanary, 50)
	endsAs(s, siskinv1.PhaseSucceeded, time.Minute)
	users.Stop()
	sum := s.NobodyFailed("users", users, time.Time{})
	if sum.ByVersion["1.1.0"] == 0 {
		t.Error("no user saw the new version: there were no weights")
	}
	first, ok := whenProgrammed(s, 20, time.Time{})
	for _, sample := range users.Samples() {
		if sample.Version == "1.1.0" && (!ok || sample.At.Add(sample.Took).Before(first)) {
			t.Fatalf("a user saw the new version %s before its first weight", first.Sub(sample.At))
		}
	}
	t.Logf("%d copies; %v", copies, sum)
}

// TestMirroredBlueGreen : blue/green with copies of half of the requests while it is judged, then all traffic at once.
func TestMirroredBlueGreen(t *testing.T) {
	t.Parallel()
	s, r := onTestGateway(t, fixtures.App{})
	check := "mirror/" + s.NS
	s.Start(s.App.Canary(`    interval: 3s
    threshold: 1
    iterations: 2
    mirror: true
    mirrorWeight: 50
    webhooks:
    - {name: judge, type: rollout, url: "` + r.URL(check) + `"}`))
	users := s.Users(50)
	s.Release("1.1.0")
	begun(s, 0)
	mirrored(s, 50)
	served(s, siskinv1.RoleCanary, 20)
	endsAs(s, siskinv1.PhaseSucceeded, time.Minute)

	r.Set(check, fixtures.No)
	bad := time.Now()
	s.Release("1.2.0")
	begun(s, 1)
	endsAs(s, siskinv1.PhaseFailed, time.Minute)
	drained(s)
	users.Stop()
	if sum := s.NobodyFailed("users", users, bad); sum.ByVersion["1.2.0"] > 0 {
		t.Errorf("%d users saw a version that got copies only", sum.ByVersion["1.2.0"])
	}
}

// mirrored waits until copies are decided on; that they are made the pods tell.
func mirrored(s *fixtures.Story, percent int32) {
	s.Helper()
	s.When(40*time.Second, func(c *siskinv1.Canary) string {
		if sp := c.Status.Split; sp == nil || sp.Mirror != percent {
			return fmt.Sprintf("no mirror of %d %%: %+v", percent, sp)
		}
		if c.Status.CanaryWeight != 0 {
			s.Fatalf("the canary has %d %% of the traffic while it is mirrored", c.Status.CanaryWeight)
		}
		return ""
	})
}

var requestCount = regexp.MustCompile(`^http_request_duration_seconds_count\{.*path="root".*\} ([0-9.e+]+)$`)

// served waits until the pods of a role have answered so many requests by their own count, and returns the number.
func served(s *fixtures.Story, role string, least int) int {
	s.Helper()
	total := 0
	cluster.Eventually(s, 20*time.Second, func(ctx context.Context) error {
		var pods corev1.PodList
		if err := s.API.List(ctx, &pods, client.InNamespace(s.NS), client.MatchingLabels{siskinv1.RoleLabel: role}); err != nil {
			return err
		}
		total = 0
		for i := range pods.Items {
			n, err := answered(ctx, s, pods.Items[i].Status.PodIP)
			if err != nil {
				return err
			}
			total += n
		}
		if total < least {
			return fmt.Errorf("the pods have answered %d requests, not %d", total, least)
		}
		return nil
	})
	return total
}

func answered(ctx context.Context, s *fixtures.Story, ip string) (int, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+net.JoinHostPort(ip, "8080")+"/metrics", nil)
	if err != nil {
		return 0, err
	}
	resp, err := s.HTTPClient().Do(req)
	if err != nil {
		return 0, err
	}
	defer func() { _ = resp.Body.Close() }()
	total := 0
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		if m := requestCount.FindStringSubmatch(lines.Text()); m != nil {
			n, err := strconv.ParseFloat(m[1], 64)
			if err != nil {
				return 0, err
			}
			total += int(n)
		}
	}
	return total, errors.Join(lines.Err())
}
