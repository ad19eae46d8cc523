package scenarios

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/e2e/cluster"
	"github.com/siskin-dev/siskin/e2e/fixtures"
	"github.com/siskin-dev/siskin/e2e/load"
)

// dressed is a client whose requests all look in some way.
type dressed func(*http.Request)

func (d dressed) RoundTrip(req *http.Request) (*http.Response, error) {
	req = req.Clone(req.Context())
	d(req)
	return http.DefaultTransport.RoundTrip(req)
}

// asking sends requests that look in some way until the story ends.
func asking(s *fixtures.Story, dress dressed) *load.Generator {
	s.Helper()
	g := &load.Generator{URL: s.GatewayURL() + "/", Host: s.App.Host, Rate: 25, Client: &http.Client{Timeout: 5 * time.Second, Transport: dress}}
	g.Start(s.Context())
	s.Cleanup(g.Stop)
	return g
}

// visitor is a browser: it keeps cookies.
type visitor struct {
	s      *fixtures.Story
	client *http.Client
}

func newVisitor(s *fixtures.Story) *visitor {
	s.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		s.Fatal(err)
	}
	return &visitor{s: s, client: &http.Client{Timeout: 5 * time.Second, Jar: jar}}
}

// visit makes one request and returns the version that answered.
func (v *visitor) visit(edits ...func(*http.Request)) string {
	v.s.Helper()
	req, err := http.NewRequestWithContext(v.s.Context(), http.MethodGet, v.s.GatewayURL()+"/", nil)
	if err != nil {
		v.s.Fatal(err)
	}
	req.Host = v.s.App.Host
	for _, edit := range edits {
		edit(req)
	}
	resp, err := v.client.Do(req)
	if err != nil {
		v.s.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	_, _ = io.Copy(io.Discard, resp.Body)
	if resp.StatusCode != http.StatusOK {
		v.s.Fatalf("the gateway answers %s", resp.Status)
	}
	return resp.Header.Get("X-Version")
}

// stays makes some visits and returns the version that answered all of them; it fails if they were not the same.
func (v *visitor) stays(n int) string {
	v.s.Helper()
	first := v.visit()
	for range n {
		if version := v.visit(); version != first {
			v.s.Fatalf("a user of %s was sent to %s", first, version)
		}
	}
	return first
}

func header(name, value string) func(*http.Request) {
	return func(req *http.Request) { req.Header.Set(name, value) }
}

// TestABTest : for n iterations the new version gets the requests that the user selected, all of them and no others, and is promoted then.
func TestABTest(t *testing.T) {
	for name, tt := range map[string]struct {
		match   string
		in, out dressed // of the audience, and almost
	}{
		"Header": {"{headers: {x-canary: {exact: insider}}}", header("X-Canary", "insider"), header("X-Canary", "insiders")},
		"Cookie": {
			"{cookies: {canary: {exact: always}, team: {prefix: bl}}}",
			header("Cookie", "x=1; team=blue; canary=always"), header("Cookie", "mycanary=always; canary=always-not; team=blue"),
		},
		"Query": {
			"{queryParams: {beta: {exact: \"1\"}}}", func(req *http.Request) { req.URL.RawQuery = "a=b&beta=1" },
			func(req *http.Request) { req.URL.RawQuery = "a=b&beta=10" },
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, r := story(t, fixtures.App{})
			check, gate := s.NS+"/check", s.NS+"/promotion"
			r.Set(gate, fixtures.No)
			s.Start(s.App.Canary(`    interval: 2s
    threshold: 1
    iterations: 3
    match: [` + tt.match + `]
    webhooks:
    - {name: check, type: rollout, url: "` + r.URL(check) + `"}
    - {name: promotion, type: confirm-promotion, url: "` + r.URL(gate) + `"}`))
			everybody := s.Users(25)
			s.Release("1.1.0")
			begun(s, 0)
			c := s.Phase(siskinv1.PhaseWaitingPromotion, time.Minute)
			if n := len(r.Calls(check)); n < 3 {
				t.Errorf("%d checks before the promotion, not 3 iterations", n)
			}
			if c.Status.CanaryWeight != 0 {
				t.Errorf("an A/B test has a weight: %d", c.Status.CanaryWeight)
			}
			from := time.Now()
			audience, almost := asking(s, tt.in), asking(s, tt.out)
			rest(t, 4*time.Second)
			audience.Stop()
			almost.Stop()
			r.Set(gate, fixtures.Yes) // the promotion brings everybody to the new version
			only(s, "the audience", audience, from, "1.1.0")
			only(s, "who is almost of it", almost, from, "1.0.0")
			endsAs(s, siskinv1.PhaseSucceeded, time.Minute)
			everybody.Stop()
			s.NobodyFailed("everybody", everybody, time.Time{})
			plain(s)
		})
	}
}

// only checks that one version answered all requests, none of which failed.
func only(s *fixtures.Story, who string, g *load.Generator, from time.Time, version string) {
	s.Helper()
	sum := s.NobodyFailed(who, g, from)
	if sum.ByVersion[version] != sum.Total || sum.Total < 20 {
		s.Errorf("%s got %v, not %s alone", who, sum.ByVersion, version)
	}
}

func route(s *fixtures.Story) *gatewayv1.HTTPRoute {
	s.Helper()
	var out gatewayv1.HTTPRoute
	if err := s.API.Get(s.Context(), client.ObjectKey{Namespace: s.NS, Name: s.App.Name}, &out); err != nil {
		s.Fatal(err)
	}
	return &out
}

// TestMatchWithWeights : the selected requests go to the new version in every step; of the others, so many as the step says.
func TestMatchWithWeights(t *testing.T) {
	t.Parallel()
	s, r := story(t, fixtures.App{})
	gate := s.NS + "/promotion"
	r.Set(gate, fixtures.No)
	s.Start(s.App.Canary(`    interval: 2s
    threshold: 1
    stepWeights: [40]
    match: [{headers: {x-canary: {exact: insider}}}]
    webhooks:
    - {name: promotion, type: confirm-promotion, url: "` + r.URL(gate) + `"}`))
	everybody := s.Users(25)
	s.Release("1.1.0")
	s.Phase(siskinv1.PhaseWaitingPromotion, time.Minute)
	from := time.Now()
	insiders := asking(s, header("X-Canary", "insider"))
	rest(t, 5*time.Second)
	insiders.Stop()
	only(s, "insiders", insiders, from, "1.1.0")
	sum := s.NobodyFailed("everybody", everybody, from)
	if share := 100 * sum.ByVersion["1.1.0"] / max(sum.Total, 1); share < 30 || share > 50 { // it begins its round anew with every edit of any route
		t.Errorf("the others got %d%% of the new version, not 40%%: %v", share, sum)
	}
	s.Release("1.0.0") // back
	endsAs(s, siskinv1.PhaseCancelled, time.Minute)
	cluster.Eventually(s, 10*time.Second, func(context.Context) error {
		if version := newVisitor(s).visit(header("X-Canary", "insider")); version != "1.0.0" {
			return fmt.Errorf("insiders still get %s", version)
		}
		return nil
	})
}

// TestSessionAffinity : a user whom the new version answered stays there until the end, one whom the old version answered stays there until
// the next step; a new rollout draws all of them anew, whatever cookies they bring.
func TestSessionAffinity(t *testing.T) {
	t.Parallel()
	s, r := story(t, fixtures.App{})
	gate := s.NS + "/increase"
	s.Start(s.App.Canary(`    interval: 3s
    threshold: 1
    stepWeights: [30, 70]
    sessionAffinity: {cookieName: shop-canary, primaryCookieName: shop-primary}
    webhooks:
    - {name: increase, type: confirm-traffic-increase, url: "` + r.URL(gate) + `"}
    - {name: promotion, type: confirm-promotion, url: "` + r.URL(s.NS+"/promotion") + `"}`))
	r.Set(s.NS+"/promotion", fixtures.No)
	everybody := s.Users(10)
	s.Release("1.1.0")
	s.Weight(30, time.Minute)
	r.Set(gate, fixtures.No)
	draws(s, 30)
	if st := s.Now().Status; !strings.HasPrefix(st.SessionAffinityCookie, "shop-canary=") || !strings.HasPrefix(st.PrimarySessionAffinityCookie, "shop-primary=") {
		t.Errorf("cookies in the status: %q, %q", st.SessionAffinityCookie, st.PrimarySessionAffinityCookie)
	}
	first := map[*visitor]string{}
	for range 20 {
		v := newVisitor(s)
		first[v] = v.stays(10)
	}
	if n := count(first, "1.1.0"); n < 1 || n > 12 { // 6, if nobody else were served and no other route were edited meanwhile
		t.Errorf("%d of 20 users are at the new version at 30%%", n)
	}
	r.Set(gate, fixtures.Yes)
	s.Weight(70, time.Minute)
	draws(s, 70)
	s.Phase(siskinv1.PhaseWaitingPromotion, time.Minute)
	second := map[*visitor]string{}
	for v, was := range first {
		second[v] = v.stays(10)
		if was == "1.1.0" && second[v] != was {
			t.Errorf("a user of the new version was sent to %s by the next step", second[v])
		}
	}
	if n := count(second, "1.1.0"); n < 9 || n > 19 {
		t.Errorf("%d of 20 users are at the new version at 70%%, %d were at 30%%", n, count(first, "1.1.0"))
	}
	s.Release("1.0.0") // back: cookies count for nothing
	endsAs(s, siskinv1.PhaseCancelled, time.Minute)
	undrawn(s, second)

	s.Release("1.2.0")
	s.Weight(30, time.Minute)
	r.Set(gate, fixtures.No)
	draws(s, 30)
	third := map[*visitor]string{}
	for v := range second {
		third[v] = v.stays(10)
	}
	if n := count(third, "1.2.0"); n < 1 || n > 12 { // who was at the new version before were more
		t.Errorf("%d of 20 users are at the new version at 30%%: they were not drawn anew", n)
	}
	r.Set(gate, fixtures.Yes)
	r.Set(s.NS+"/promotion", fixtures.Yes)
	endsAs(s, siskinv1.PhaseSucceeded, time.Minute)
	everybody.Stop()
	s.NobodyFailed("everybody", everybody, time.Time{})
	undrawn(s, third)
}

func count(versions map[*visitor]string, version string) int {
	n := 0
	for _, v := range versions {
		if v == version {
			n++
		}
	}
	return n
}

// draws waits until the gateway gives out the cookies of a step: Traefik takes a route up to 2 s after it accepted it.
func draws(s *fixtures.Story, weight int32) {
	s.Helper()
	cluster.Eventually(s, 15*time.Second, func(ctx context.Context) error {
		rules := route(s).Spec.Rules
		refs := rules[len(rules)-1].BackendRefs
		if *refs[1].Weight != weight || len(refs[0].Filters) == 0 {
			return fmt.Errorf("the route gives nobody a cookie at %d%%", weight)
		}
		token, _, _ := strings.Cut(refs[0].Filters[0].ResponseHeaderModifier.Add[0].Value, ";")
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.GatewayURL()+"/", nil)
		if err != nil {
			return err
		}
		req.Host = s.App.Host
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return err
		}
		defer func() { _ = resp.Body.Close() }()
		if have := resp.Header.Get("Set-Cookie"); !strings.HasPrefix(have, token+";") { // a user of the canary gets another one
			return fmt.Errorf("the gateway sets %q, not %s", have, token)
		}
		return nil
	})
}

// undrawn waits until all users get the one version that there is, and have dropped their cookies.
func undrawn(s *fixtures.Story, users map[*visitor]string) {
	s.Helper()
	at, err := url.Parse(s.GatewayURL() + "/")
	if err != nil {
		s.Fatal(err)
	}
	cluster.Eventually(s, 15*time.Second, func(context.Context) error {
		for v := range users {
			if version := v.visit(); version != s.App.Version {
				return fmt.Errorf("a user with cookies gets %s, not %s", version, s.App.Version)
			}
			if left := v.client.Jar.Cookies(at); len(left) > 0 {
				return fmt.Errorf("a user keeps %s after the rollout", left[0])
			}
		}
		return nil
	})
	cluster.Eventually(s, 10*time.Second, func(context.Context) error {
		rules := route(s).Spec.Rules
		refs := rules[len(rules)-1].BackendRefs
		if len(rules) != 3 || *refs[0].Weight != 100 || len(refs[0].Filters)+len(refs[1].Filters) > 0 {
			return fmt.Errorf("two rules drop cookies, and everybody else is the primary's: %+v", rules)
		}
		return nil
	})
	if st := s.Now().Status; st.SessionAffinityCookie != "" || !strings.HasPrefix(st.PreviousSessionAffinityCookie, "shop-canary=") {
		s.Errorf("cookies in the status: %q, before %q", st.SessionAffinityCookie, st.PreviousSessionAffinityCookie)
	}
}

// plain waits until the route has one rule, which sends all to the primary and gives nobody a cookie.
func plain(s *fixtures.Story) {
	s.Helper()
	cluster.Eventually(s, 10*time.Second, func(context.Context) error {
		rules := route(s).Spec.Rules
		refs := rules[0].BackendRefs
		if len(rules) != 1 || len(refs) != 2 || *refs[0].Weight != 100 || len(refs[0].Filters)+len(refs[1].Filters)+len(rules[0].Filters) > 0 {
			return fmt.Errorf("a rollout's rules are left: %+v", rules)
		}
		return nil
	})
}

// TestMirrorIsRefused : Traefik accepts a route that mirrors and answers 500 to its requests. Siskin reads from its GatewayClass that it
// cannot, says so, and does not touch the app.
func TestMirrorIsRefused(t *testing.T) {
	t.Parallel()
	s, _ := story(t, fixtures.App{})
	s.Apply(s.App.Deployment())
	s.Apply(s.App.Canary(brisk + "\n    mirror: true"))
	stalls(s, "InvalidSpec", "spec.analysis.mirror", "gatewayapi", "gateway-system/gateway", "traefik.io/gateway-controller")
	warnings(s, "mirror")
	nothingMade(s)
	s.Patch(`{"analysis": {"mirror": false}}`)
	s.Phase(siskinv1.PhaseInitialized, time.Minute)
	s.Patch(`{"analysis": {"mirror": true}}`)
	stalls(s, "InvalidSpec", "spec.analysis.mirror")
	s.Release("1.1.0")
	rest(t, 5*time.Second)
	if c := s.Now(); c.Status.Phase != siskinv1.PhaseInitialized {
		t.Errorf("a rollout has begun: %s", c.Status.Phase)
	}
	s.Patch(`{"analysis": {"mirror": false}}`)
	endsAs(s, siskinv1.PhaseSucceeded, time.Minute)
}

// TestImpossibleMatchIsTold : what no HTTPRoute can say is told by its field, before a rollout.
func TestImpossibleMatchIsTold(t *testing.T) {
	t.Parallel()
	s, _ := story(t, fixtures.App{})
	s.Start(s.App.Canary(brisk))
	s.Patch(`{"service": {"match": [{"uri": {"prefix": "/"}, "headers": {"Cookie": {"regex": "a=.*"}}}]},
		"analysis": {"match": [{"cookies": {"b": {"exact": "1"}}}]}}`)
	stalls(s, "InvalidSpec", "spec.service.match[0].headers[Cookie]", "gatewayapi")
	s.Patch(`{"service": {"match": null}}`)
	s.When(20*time.Second, func(c *siskinv1.Canary) string {
		for _, cond := range c.Status.Conditions {
			if cond.Type == siskinv1.ConditionStalled {
				return "still stalled: " + cond.Message
			}
		}
		return ""
	})
}

// TestRouteReasserted : a route that somebody else writes to is put back, and one event names who it was.
func TestRouteReasserted(t *testing.T) {
	t.Parallel()
	s, _ := story(t, fixtures.App{})
	s.Start(s.App.Canary(brisk))
	for range 2 {
		out, err := s.Kubectl(s.Context(), "-n", s.NS, "patch", "httproute", s.App.Name, "--field-manager=argocd-controller", "--type=json", "-p",
			`[{"op": "replace", "path": "/spec/rules/0/backendRefs/0/weight", "value": 60}, {"op": "replace", "path": "/spec/rules/0/backendRefs/1/weight", "value": 40}]`)
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		cluster.Eventually(s, 15*time.Second, func(context.Context) error {
			if refs := route(s).Spec.Rules[0].BackendRefs; *refs[0].Weight != 100 || *refs[1].Weight != 0 {
				return fmt.Errorf("weights %d and %d", *refs[0].Weight, *refs[1].Weight)
			}
			return nil
		})
	}
	if e := s.OneEvent("RouteReasserted"); e.Type != "Warning" || !strings.Contains(e.Note, "argocd-controller") || !strings.Contains(e.Note, "HTTPRoute "+s.App.Name) {
		t.Errorf("the event says %+v", e)
	}
}
