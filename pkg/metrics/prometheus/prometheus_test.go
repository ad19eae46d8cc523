package prometheus_test

import (
	"encoding/pem"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/siskin-dev/siskin/pkg/metrics"
	"github.com/siskin-dev/siskin/pkg/metrics/metricstest"
	"github.com/siskin-dev/siskin/pkg/metrics/prometheus"
)

func success(kind, result string) string {
	return `{"status":"success","data":{"resultType":"` + kind + `","result":` + result + `}}`
}

func vector(number string) string {
	return success("vector", `[{"metric":{},"value":[1700000000,"`+number+`"]}]`)
}

func dialect(value func(string) string) metricstest.Dialect {
	return metricstest.Dialect{
		New:     prometheus.Constructor,
		Value:   value,
		Empty:   success("vector", `[]`),
		Several: success("vector", `[{"metric":{"a":"1"},"value":[1,"1"]},{"metric":{"a":"2"},"value":[1,"2"]}]`),
		Refusal: `{"status":"error","errorType":"bad_data","error":"1:4: parse error: unexpected \"{\"\nhere"}`,
	}
}

func TestContract(t *testing.T) {
	t.Run("vector", func(t *testing.T) { metricstest.RunContract(t, dialect(vector)) })
	t.Run("scalar", func(t *testing.T) {
		metricstest.RunContract(t, dialect(func(number string) string { return success("scalar", `[1700000000,"`+number+`"]`) }))
	})
}

func play(t *testing.T, status int, body string) (metrics.Sample, error) {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}))
	defer s.Close()
	p, err := prometheus.New(prometheus.Config{Address: s.URL})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = p.Close() }()
	return p.Query(t.Context(), metrics.Query{Text: "up"})
}

func TestWarningsAreCarried(t *testing.T) {
	got, err := play(t, http.StatusOK, `{"status":"success","warnings":["a store is down"],"data":{"resultType":"scalar","result":[1,"2"]}}`)
	if err != nil || got.Value != 2 || len(got.Warnings) != 1 || got.Warnings[0] != "a store is down" {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestRefusalsSayWhatToDo(t *testing.T) {
	for name, c := range map[string]struct {
		status     int
		body, want string
		is         error
	}{
		"a wrong query": {
			http.StatusBadRequest, `{"status":"error","errorType":"bad_data","error":"parse error"}`,
			"invalid query: parse error", metrics.ErrInvalidQuery,
		},
		"a range": {
			http.StatusOK, success("matrix", `[{"metric":{},"values":[[1,"1"],[2,"2"]]}]`),
			"invalid query: the result is a range: reduce it to one value, for example with rate() or avg_over_time()", metrics.ErrInvalidQuery,
		},
		"a histogram": {
			http.StatusOK, success("vector", `[{"metric":{},"histogram":[1,{"count":"1","sum":"1","buckets":[]}]}]`),
			"invalid query: the result is a histogram: take a number from it with histogram_quantile() or histogram_count()", metrics.ErrInvalidQuery,
		},
		"an error with status 200": {http.StatusOK, `{"status":"error","errorType":"execution","error":"many-to-many"}`, "invalid query: many-to-many", metrics.ErrInvalidQuery},
		"two series": {
			http.StatusOK, success("vector", `[{"metric":{"a":"1"},"value":[1,"1"]},{"metric":{"a":"2"},"value":[1,"2"]}]`),
			"the query returned 2 series instead of one: aggregate them, for example with sum()", metrics.ErrSeveralSeries,
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := play(t, c.status, c.body)
			if err == nil || err.Error() != c.want || !errors.Is(err, c.is) {
				t.Errorf("got %v\nwant %s", err, c.want)
			}
		})
	}
}

func TestABadConfigurationIsRefused(t *testing.T) {
	for name, cfg := range map[string]prometheus.Config{
		"no address":     {},
		"no scheme":      {Address: "prometheus:9090"},
		"another scheme": {Address: "ftp://x"},
		"no host":        {Address: "http://"},
		"no certificate": {Address: "https://x", CA: []byte("nothing")},
		"not a URL":      {Address: "http://x:secret@[::1"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := prometheus.New(cfg)
			if err == nil || strings.Contains(err.Error(), "secret") {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestTLSAndBasicAuthentication(t *testing.T) {
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, password, _ := r.BasicAuth(); user != "u" || password != "p" {
			w.WriteHeader(http.StatusUnauthorized)
		}
		_, _ = io.WriteString(w, vector("1"))
	}))
	defer s.Close()
	s.Config.ErrorLog = nil
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	for name, c := range map[string]struct {
		cfg  prometheus.Config
		want error
	}{
		"an unknown certificate": {prometheus.Config{}, metrics.ErrUnavailable},
		"its authority is given": {prometheus.Config{CA: ca, Username: "u", Password: "p"}, nil},
		"no verification":        {prometheus.Config{InsecureSkipVerify: true, Username: "u", Password: "p"}, nil},
		"a wrong password":       {prometheus.Config{CA: ca, Username: "u"}, metrics.ErrDenied},
	} {
		t.Run(name, func(t *testing.T) {
			c.cfg.Address = s.URL
			p, err := prometheus.New(c.cfg)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = p.Close() }()
			if _, err := p.Query(t.Context(), metrics.Query{Text: "up", At: time.Unix(1, 0)}); !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
}

func FuzzAnswer(f *testing.F) {
	f.Add(200, vector("1"))
	f.Add(200, success("scalar", `[1,"NaN"]`))
	f.Add(200, success("vector", `[]`))
	f.Add(400, `{"status":"error","errorType":"bad_data","error":"x"}`)
	f.Add(200, `{"status":"success","data":null}`)
	f.Fuzz(func(t *testing.T, status int, body string) {
		if status < 200 || status > 599 || status == 204 || status == 304 {
			t.Skip()
		}
		_, err := play(t, status, body)
		for _, known := range []error{nil, metrics.ErrNoData, metrics.ErrUnavailable, metrics.ErrDenied, metrics.ErrInvalidQuery, metrics.ErrSeveralSeries} {
			if errors.Is(err, known) {
				return
			}
		}
		t.Errorf("untyped error %v", err)
	})
}
