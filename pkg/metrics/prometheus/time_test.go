package prometheus_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/siskin-dev/siskin/pkg/metrics"
	"github.com/siskin-dev/siskin/pkg/metrics/prometheus"
)

// A peer judges by answers that are intervals old (W29 in docs/flagger.md): here each query says of what time it is.
func TestW29EachQueryIsOfTheTimeOfItsCheck(t *testing.T) {
	var asked []string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.FormValue("time"))
		_, _ = io.WriteString(w, vector("1"))
	}))
	defer s.Close()
	p, err := prometheus.New(prometheus.Config{Address: s.URL})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = p.Close() }()
	for _, at := range []time.Time{time.Unix(1700000000, 0), time.Unix(1700000060, 5e8)} {
		if _, err := p.Query(t.Context(), metrics.Query{Text: "up", At: at}); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff([]string{"1700000000", "1700000060.5"}, asked); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}
