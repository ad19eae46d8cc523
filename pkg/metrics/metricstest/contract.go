package metricstest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/siskin-dev/siskin/pkg/metrics"
)

// Dialect is how a provider's server speaks.
type Dialect struct {
	// New makes the provider under test.
	New metrics.Constructor
	// Value returns the body with one number; also "NaN" and "+Inf".
	Value func(number string) string
	// Empty is the body without data, Several the one with two series.
	Empty, Several string
	// Refusal is the body of a 400 answer to a wrong query.
	Refusal string
}

type play struct {
	status int
	body   string
	want   error // nil: the value 98.5
}

// RunContract checks what metrics.Provider promises against a server that plays the dialect.
func RunContract(t *testing.T, d Dialect) {
	t.Helper()
	for name, p := range map[string]play{
		"a value":             {http.StatusOK, d.Value("98.5"), nil},
		"no series":           {http.StatusOK, d.Empty, metrics.ErrNoData},
		"NaN":                 {http.StatusOK, d.Value("NaN"), metrics.ErrNoData},
		"infinity":            {http.StatusOK, d.Value("+Inf"), metrics.ErrNoData},
		"several series":      {http.StatusOK, d.Several, metrics.ErrSeveralSeries},
		"no credentials":      {http.StatusUnauthorized, "who are you", metrics.ErrDenied},
		"wrong credentials":   {http.StatusForbidden, "no", metrics.ErrDenied},
		"a wrong query":       {http.StatusBadRequest, d.Refusal, metrics.ErrInvalidQuery},
		"an impossible query": {http.StatusUnprocessableEntity, d.Refusal, metrics.ErrInvalidQuery},
		"a server error":      {http.StatusInternalServerError, "oops", metrics.ErrUnavailable},
		"an overload":         {http.StatusTooManyRequests, "later", metrics.ErrUnavailable},
		"a broken proxy":      {http.StatusBadGateway, "<html>", metrics.ErrUnavailable},
		"a redirect":          {http.StatusFound, "", metrics.ErrUnavailable},
		"a wrong path":        {http.StatusNotFound, "404 page not found", metrics.ErrUnavailable},
		"a page of HTML":      {http.StatusOK, "<html>log in</html>", metrics.ErrUnavailable},
		"an empty answer":     {http.StatusOK, "", metrics.ErrUnavailable},
		"half an answer":      {http.StatusOK, d.Value("1")[:len(d.Value("1"))/2], metrics.ErrUnavailable},
	} {
		t.Run(name, func(t *testing.T) { d.check(t, p) })
	}
	t.Run("an answer that is too large", d.tooLarge)
	t.Run("a slow server", d.slow)
	t.Run("no server", d.noServer)
	t.Run("a context that has ended", d.ended)
	t.Run("headers and token are sent, and never changed", d.headers)
}

func (d Dialect) provider(t *testing.T, cfg metrics.Config) metrics.Provider {
	t.Helper()
	p, err := d.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if c, ok := p.(io.Closer); ok {
		t.Cleanup(func() { _ = c.Close() })
	}
	return p
}

func serve(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL
}

func ask(ctx context.Context, p metrics.Provider) (metrics.Sample, error) {
	return p.Query(ctx, metrics.Query{Text: "up", At: time.Unix(1700000000, 0)})
}

func expect(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("got %v, want %v", err, want)
	}
	if err != nil && strings.ContainsAny(err.Error(), "\n\r") {
		t.Errorf("the error has more than one line: %q", err)
	}
}

func (d Dialect) check(t *testing.T, p play) {
	t.Helper()
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if p.status == http.StatusFound {
			http.Redirect(w, r, "/login", p.status)
			return
		}
		w.WriteHeader(p.status)
		_, _ = io.WriteString(w, p.body)
	})
	got, err := ask(t.Context(), d.provider(t, metrics.Config{Address: url}))
	expect(t, err, p.want)
	if p.want == nil && got.Value != 98.5 {
		t.Errorf("got %v", got.Value)
	}
}

func (d Dialect) tooLarge(t *testing.T) {
	url := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"status":"success","data":"`)
		for range 64 {
			if _, err := io.WriteString(w, strings.Repeat("x", 1024)); err != nil {
				return
			}
		}
	})
	_, err := ask(t.Context(), d.provider(t, metrics.Config{Address: url, MaxBody: 8 << 10}))
	expect(t, err, metrics.ErrInvalidQuery)
	if err != nil && !strings.Contains(err.Error(), "too large") {
		t.Errorf("the error does not say why: %v", err)
	}
}

func (d Dialect) slow(t *testing.T) {
	url := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		<-r.Context().Done()
	})
	_, err := ask(t.Context(), d.provider(t, metrics.Config{Address: url, Timeout: 50 * time.Millisecond}))
	expect(t, err, metrics.ErrUnavailable)
}

func (d Dialect) noServer(t *testing.T) {
	s := httptest.NewServer(http.NotFoundHandler())
	s.Close()
	_, err := ask(t.Context(), d.provider(t, metrics.Config{Address: s.URL}))
	expect(t, err, metrics.ErrUnavailable)
}

func (d Dialect) ended(t *testing.T) {
	url := serve(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, d.Value("1")) })
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := ask(ctx, d.provider(t, metrics.Config{Address: url}))
	expect(t, err, metrics.ErrUnavailable)
}

func (d Dialect) headers(t *testing.T) {
	var seen []string
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		seen = append(seen, fmt.Sprint(r.Header["X-Scope-Orgid"], r.Header["Authorization"]))
		_, _ = io.WriteString(w, d.Value("1"))
	})
	headers := map[string][]string{"X-Scope-OrgID": {"a", "b"}}
	p := d.provider(t, metrics.Config{Address: url, Headers: headers, Token: "secret"})
	for range 2 {
		if _, err := ask(t.Context(), p); err != nil {
			t.Fatal(err)
		}
	}
	for _, s := range seen {
		if s != "[a b] [Bearer secret]" {
			t.Errorf("got headers %s", s)
		}
	}
	if len(headers) != 1 || len(headers["X-Scope-OrgID"]) != 2 {
		t.Errorf("the configuration was changed: %v", headers)
	}
}
