package flagger

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"testing"
	"time"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/e2e/cluster"
	"github.com/siskin-dev/siskin/e2e/fixtures"
)

// visitor asks the gateway with headers of its own, and keeps cookies.
type visitor struct {
	s      *tale
	client *http.Client
	header map[string]string
}

func (s *tale) visitor(header map[string]string) *visitor {
	s.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		s.Fatal(err)
	}
	return &visitor{s, &http.Client{Timeout: 5 * time.Second, Jar: jar}, header}
}

// visit returns the version that answers.
func (v *visitor) visit(ctx context.Context) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, v.s.GatewayURL()+"/", nil)
	if err != nil {
		return "", err
	}
	req.Host = v.s.App.Host
	for k, value := range v.header {
		req.Header.Set(k, value)
	}
	resp, err := v.client.Do(req)
	if err != nil {
		return "", err
	}
	defer func() { _ = resp.Body.Close() }()
	_, _ = io.Copy(io.Discard, resp.Body)
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("the gateway answers %s", resp.Status)
	}
	return resp.Header.Get("X-Version"), nil
}

// gets checks that a version answers all of some visits.
func (v *visitor) gets(who, version string) {
	v.s.Helper()
	for range 20 {
		if got, err := v.visit(v.s.Context()); err != nil || got != version {
			v.s.Fatalf("%s: %q (%v), not %s", who, got, err, version)
		}
	}
}

// TestAB : for some iterations those with a header or a cookie get the new version, all others the old one; then
// everybody gets it.
func TestAB(t *testing.T) {
	s := story(t, fixtures.App{})
	s.set("promotion", fixtures.No)
	s.Start(s.canary(`    interval: 2s
    threshold: 5
    iterations: 3
    match:
    - headers: {x-user-type: {exact: insider}}
    - headers: {cookie: {exact: "canary=always"}}
    webhooks:
    ` + s.gate("promotion", "confirm-promotion")))
	users := s.everybody()
	s.Release("1.1.0")
	s.Phase(siskinv1.PhaseWaitingPromotion, time.Minute)
	insider, cookie := s.visitor(map[string]string{"X-User-Type": "insider"}), s.visitor(map[string]string{"Cookie": "canary=always"})
	insider.gets("who has the header", "1.1.0")
	cookie.gets("who has the cookie", "1.1.0")
	s.visitor(map[string]string{"X-User-Type": "outsider", "Cookie": "canary=never"}).gets("who has another header and cookie", "1.0.0")
	s.set("promotion", fixtures.Yes)
	s.ends(0, siskinv1.PhaseSucceeded)
	s.serves("1.1.0", s.App.Name+"-primary-")
	insider.gets("who has the header, after the promotion", "1.1.0")
	users.unharmed()
}

// TestSessionAffinity : whom the new version has answered once stays with it until it is promoted, also with the cookie
// of the step before.
func TestSessionAffinity(t *testing.T) {
	s := story(t, fixtures.App{})
	s.set("increase", fixtures.Yes)
	s.set("promotion", fixtures.No)
	s.Start(s.canary(brisk + `
    sessionAffinity: {cookieName: version, maxAge: 3600}
    webhooks:
    ` + s.gate("increase", "confirm-traffic-increase") + `
    ` + s.gate("promotion", "confirm-promotion")))
	users := s.everybody()
	s.Release("1.1.0")
	s.Weight(25, time.Minute)
	s.set("increase", fixtures.No)
	var loyal *visitor
	cluster.Eventually(t, 30*time.Second, func(ctx context.Context) error {
		v := s.visitor(nil)
		version, err := v.visit(ctx)
		if err == nil && version != "1.1.0" {
			err = fmt.Errorf("a new user got %s", version)
		}
		loyal = v
		return err
	})
	loyal.gets("who was answered by the new version", "1.1.0")
	s.set("increase", fixtures.Yes)
	s.Phase(siskinv1.PhaseWaitingPromotion, time.Minute)
	loyal.gets("the same, a step later", "1.1.0")
	s.set("promotion", fixtures.Yes)
	s.ends(0, siskinv1.PhaseSucceeded)
	s.serves("1.1.0", s.App.Name+"-primary-")
	loyal.gets("the same, after the promotion", "1.1.0")
	users.unharmed()
}
