package prometheus_test

import (
	"fmt"
	"io"
	"maps"
	"math"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/metrics"
	"github.com/siskin-dev/siskin/pkg/metrics/meter"
)

// tally is what one Traefik counted for one service of a route.
type tally struct {
	route, rule, service string
	pod                  string
	phases               []phase
	ends                 float64 // the last scrape of it; 0: it goes on
}

func steady(route, service string, rate float64) tally {
	return tally{route: route, service: service, phases: []phase{{from: always, rate: rate}}}
}

// share is what a gateway counted, and what is made of it; 0 of 0: nothing is told.
type share struct {
	tallies       []tally
	unseen        [2]float64
	from          float64 // since when the split is carried out
	canary, total float64
}

// The split of 10 % is carried out for a minute, of which 3 s are left out: the counters begin with the scrape at -50
// and end with that at -5, 45 s later.
var shares = map[string]share{
	"as wanted": {tallies: []tally{steady("APP", "APP-primary", 90), steady("APP", "APP-canary", 10)}},
	"a rival takes half": {
		tallies: []tally{steady("APP", "APP-primary", 45), steady("APP", "APP-canary", 5), steady("old.APP", "APP", 50)},
		canary:  5 * 45, total: 100 * 45,
	},
	"a rival takes all": {
		tallies: []tally{steady("APP", "APP-primary", 0), steady("APP", "APP-canary", 0), steady("old.APP", "some", 10)},
		total:   10 * 45,
	},
	"other rules of the rival": {tallies: []tally{
		steady("APP", "APP-primary", 90), steady("APP", "APP-canary", 10),
		{route: "old.APP", rule: "1", service: "APP", phases: []phase{{from: always, rate: 500}}},
	}},
	"other routes to the same Services": {tallies: []tally{
		steady("APP", "APP-primary", 90), steady("APP", "APP-canary", 10), steady("inside", "APP-primary", 500), steady("testers", "APP-canary", 50),
		steady("APP-admin", "APP-primary", 500),
	}},
	"the canary gets nothing":    {tallies: []tally{steady("APP", "APP-primary", 100), steady("APP", "APP-canary", 0)}, total: 100 * 45},
	"the canary is in no series": {tallies: []tally{steady("APP", "APP-primary", 100)}, total: 100 * 45},
	"the step before counts for nothing": {tallies: []tally{
		{route: "APP", service: "APP-primary", phases: []phase{{from: always, to: -58, rate: 100}, {from: -58, rate: 90}}},
		{route: "APP", service: "APP-canary", phases: []phase{{from: always, to: -58}, {from: -58, rate: 10}}},
	}},
	"the first traffic of the canary": {tallies: []tally{
		{route: "APP", service: "APP-primary", phases: []phase{{from: always, to: -58, rate: 100}, {from: -58, rate: 90}}},
		{route: "APP", service: "APP-canary", phases: []phase{{from: -37, rate: 14}}}, // 448 of 4498
	}},
	"no scrape since the split": {
		tallies: []tally{steady("APP", "APP-primary", 100), steady("APP", "APP-canary", 0)}, unseen: [2]float64{-58, -36},
	},
	"no scrape since the split, but for a new series": {
		tallies: []tally{steady("APP", "APP-primary", 100), {route: "APP", service: "APP-canary", phases: []phase{{from: -34, rate: 10}}}},
		unseen:  [2]float64{-58, -36},
	},
	"no scrape in the window": {
		tallies: []tally{steady("APP", "APP-primary", 100), steady("APP", "APP-canary", 0)}, unseen: [2]float64{-40, 0},
	},
	"the gateway was restarted": {tallies: []tally{
		{route: "APP", service: "APP-primary", phases: []phase{{from: always, to: -22, rate: 100}, {from: -22, rate: 100, restarted: true}}},
		steady("APP", "APP-canary", 0),
	}},
	"the gateway was restarted before": {tallies: []tally{
		{route: "APP", service: "APP-primary", phases: []phase{{from: always, to: -45, rate: 1000}, {from: -45, rate: 3000, restarted: true}}},
		steady("APP", "APP-canary", 0),
	}},
	"too few requests": {tallies: []tally{steady("APP", "APP-primary", 2), steady("APP", "APP-canary", 0)}},
	"two gateways": {
		tallies: []tally{
			steady("APP", "APP-primary", 50), steady("APP", "APP-canary", 0),
			{route: "APP", service: "APP-primary", pod: "b", phases: []phase{{from: always, rate: 50}}},
		},
		total: 100 * 45,
	},
	"a gateway more": {
		tallies: []tally{
			steady("APP", "APP-primary", 50), steady("APP", "APP-canary", 0),
			{route: "APP", service: "APP-primary", pod: "b", phases: []phase{{from: -25, rate: 50}}},
		},
		total: 50*45 + 50*20,
	},
	"a gateway less": {tallies: []tally{
		steady("APP", "APP-primary", 50), steady("APP", "APP-canary", 0),
		{route: "APP", service: "APP-primary", pod: "b", ends: -65, phases: []phase{{from: always, rate: 50}}},
	}},
	"a split of some seconds": {tallies: []tally{steady("APP", "APP-primary", 100), steady("APP", "APP-canary", 0)}, from: -5},
	"nothing was counted":     {},
}

func recordShare(b io.Writer, app string, s share, check time.Time) {
	for at := always; at <= last; at += step {
		if at > s.unseen[0] && at < s.unseen[1] {
			continue
		}
		for _, one := range s.tallies {
			if at < one.phases[0].from || one.ends < 0 && at > one.ends {
				continue
			}
			n := 0.0
			for _, p := range one.phases {
				if at < p.from {
					break
				}
				if p.restarted {
					n = 0
				}
				n += p.rate * (min(at, p.to) - p.from)
			}
			name := func(s string) string { return strings.ReplaceAll(s, "APP", app) }
			rule := one.rule
			if rule == "" {
				rule = "0"
			}
			service := fmt.Sprintf("httproute-test-%s-gw-infra-public-ep-web-%s-0123456789abcdef0123-svc-test-%s-1@kubernetesgateway",
				strings.ReplaceAll(name(one.route), ".", "-"), rule, name(one.service))
			_, _ = fmt.Fprintf(b, "traefik_service_requests_total{service=%q,instance=%q,code=\"200\"} %v %d\n",
				service, "traefik"+one.pod, math.Round(n), check.UnixMilli()+int64(at*1000))
		}
	}
}

// TestSharesAgainstARealPrometheus runs where TestBuiltinQueriesAgainstARealPrometheus does.
func TestSharesAgainstARealPrometheus(t *testing.T) {
	binary := binaryOf(t)
	check := time.Now().Add(-time.Minute).Truncate(time.Second)
	var history strings.Builder
	apps := map[string]string{}
	for i, name := range slices.Sorted(maps.Keys(shares)) {
		apps[name] = fmt.Sprintf("app%c", 'a'+i)
		recordShare(&history, apps[name], shares[name], check)
	}
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4")
		_, _ = io.WriteString(w, history.String())
	}))
	defer app.Close()
	p := startPrometheus(t, binary, app.Listener.Addr().String())
	e := metrics.NewEvaluator(metrics.EvaluatorConfig{
		MetricsServer: "http://prometheus",
		Providers:     metrics.NewFactory(metrics.Registry{"prometheus": func(metrics.Config) (metrics.Provider, error) { return p, nil }}, nil),
	})
	for name, s := range shares {
		t.Run(name, func(t *testing.T) {
			from := s.from
			if from == 0 {
				from = -60
			}
			app := apps[name]
			canary, total, err := e.Share(t.Context(), metrics.ShareInput{
				Canary: &siskinv1.Canary{ObjectMeta: metav1.ObjectMeta{Namespace: "test", Name: app}}, Kind: meter.Traefik,
				Routed: metrics.Routed{
					Namespace: "test", Route: app, Primary: app + "-primary", Canary: app + "-canary",
					Rivals: []metrics.Rival{{Route: "old." + app, Rules: []int{0, 2}}},
				},
				From: check.Add(time.Duration(from) * time.Second), Now: check, Wanted: 10, Tolerance: 2, Sample: 100,
			})
			if err != nil || math.Abs(canary-s.canary) > 1 || math.Abs(total-s.total) > 1 {
				t.Errorf("%v of %v requests, want %v of %v (%v)", canary, total, s.canary, s.total, err)
			}
		})
	}
}
