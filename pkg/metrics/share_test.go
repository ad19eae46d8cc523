package metrics_test

import (
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/siskin-dev/siskin/pkg/metrics"
	"github.com/siskin-dev/siskin/pkg/metrics/meter"
)

// A share as wanted costs one query, and what cannot be told none.
func TestShareAsksNoMoreThanItNeeds(t *testing.T) {
	now := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	for name, tt := range map[string]struct {
		kind          meter.Kind
		lasted        time.Duration
		percent       float64
		err           error
		canary, total float64
		queries       int
		fails         bool
	}{
		"as wanted":                     {meter.Traefik, time.Minute, 10, nil, 0, 0, 1, false},
		"almost as wanted":              {meter.Traefik, time.Minute, 8.01, nil, 0, 0, 1, false},
		"less":                          {meter.Traefik, time.Minute, 5, nil, 50, 1000, 2, false},
		"more":                          {meter.Traefik, time.Minute, 50, nil, 500, 1000, 2, false},
		"too few requests, or a reset":  {meter.Traefik, time.Minute, 0, metrics.ErrNoData, 0, 0, 1, false},
		"no answer":                     {meter.Traefik, time.Minute, 0, metrics.ErrUnavailable, 0, 0, 1, true},
		"some seconds":                  {meter.Traefik, 5 * time.Second, 5, nil, 0, 0, 0, false},
		"series that tell of no route":  {meter.Istio, time.Minute, 5, nil, 0, 0, 0, false},
		"series of the app":             {meter.App, time.Minute, 5, nil, 0, 0, 0, false},
		"a time that has not come":      {meter.Traefik, -time.Minute, 5, nil, 0, 0, 0, false},
		"the shortest that can be told": {meter.Traefik, 6 * time.Second, 5, nil, 50, 1000, 2, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t, nil)
			s.fake.Answer(1000)
			routed := metrics.Routed{Namespace: "test", Route: "web", Primary: "web-primary", Canary: "web-canary"}
			in := metrics.ShareInput{
				Canary: canary(), Kind: tt.kind, Routed: routed, From: now.Add(-tt.lasted), Now: now, Wanted: 10, Tolerance: 2, Sample: 100,
			}
			s.fake.AnswerPart("count(resets(", tt.percent, tt.err)
			have, total, err := s.Share(t.Context(), in)
			if math.Abs(have-tt.canary) > 1e-9 || total != tt.total || (err != nil) != tt.fails {
				t.Errorf("%v of %v (%v)", have, total, err)
			}
			if n := len(s.fake.Queries()); n != tt.queries {
				t.Errorf("%d queries, want %d", n, tt.queries)
			}
		})
	}
}

func TestShareQueriesAreAsReviewed(t *testing.T) {
	s := newStage(t, nil)
	s.fake.Answer(0)
	now := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	if _, _, err := s.Share(t.Context(), metrics.ShareInput{
		Canary: canary(), Kind: meter.Traefik, From: now.Add(-63 * time.Second), Now: now, Wanted: 10, Sample: 100,
		Routed: metrics.Routed{
			Namespace: "team--a", Route: "web", Primary: "web-primary", Canary: "web-canary", Rivals: []metrics.Rival{{Route: "web.old", Rules: []int{0, 12}}},
		},
	}); err != nil {
		t.Fatal(err)
	}
	var have strings.Builder
	for _, q := range s.fake.Queries() {
		have.WriteString(q.Text + "\n")
	}
	file := filepath.Join("testdata", "traefik-share.promql")
	if *update {
		if err := os.WriteFile(file, []byte(have.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), have.String()); diff != "" {
		t.Error(diff)
	}
}
