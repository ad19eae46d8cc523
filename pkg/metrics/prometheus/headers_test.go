package prometheus_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/siskin-dev/siskin/pkg/metrics"
	"github.com/siskin-dev/siskin/pkg/metrics/prometheus"
)

// A peer appends to the headers of its cached template with each query, until it crashes (W19 in docs/flagger.md).
func TestW19HeadersAreSentAsTheyAreGiven(t *testing.T) {
	want := []string{"a", "b"}
	var mu sync.Mutex
	var seen [][]string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		seen = append(seen, slices.Concat(r.Header.Values("X-Tenant"), r.Header.Values("Authorization")))
		_, _ = io.WriteString(w, vector("1"))
	}))
	defer s.Close()
	cfg := prometheus.Config{Address: s.URL, Headers: map[string][]string{"X-Tenant": want}, Token: "tok"}
	p, err := prometheus.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = p.Close() }()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if _, err := p.Query(t.Context(), metrics.Query{Text: "up", At: time.Unix(1, 0)}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, got := range seen {
		if !slices.Equal(got, []string{"a", "b", "Bearer tok"}) {
			t.Errorf("sent %q", got)
		}
	}
	if len(seen) != 8 || !slices.Equal(cfg.Headers["X-Tenant"], []string{"a", "b"}) {
		t.Errorf("%d queries; the configuration is %q", len(seen), cfg.Headers)
	}
}
