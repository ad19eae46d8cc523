package notifiertest

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/notifier"
)

// Dialect is how a notifier's place speaks.
type Dialect struct {
	// New makes the notifier under test.
	New notifier.Constructor
	// Config has everything but the address, to which Path is added.
	Config notifier.Config
	Path   string
	// Secrets are texts of Config and Path that no error may hold.
	Secrets []string
	// Accepted is the body of a success; Rejected, if not empty, that of a refusal with status 200.
	Accepted, Rejected string
}

// Message is one with all parts, and with text that must be escaped.
func Message() notifier.Message {
	return notifier.Message{
		Key: "uid/1/failed", Severity: siskinv1.SeverityError, Title: "Rolled back podinfo.test",
		Text: "request-success-rate is 97 & the limit is >= 99 <!channel>",
		Fields: []notifier.Field{
			{Name: "Revision", Value: "podinfo-2", Short: true},
			{Name: "Commit", Value: "main@sha1:abc <script>"},
		},
		Canary: types.NamespacedName{Namespace: "test", Name: "podinfo"},
		Time:   time.Unix(1700000000, 0),
	}
}

type kind int

const (
	sent kind = iota
	rejected
	limited
	retried
)

// RunContract checks what notifier.Notifier promises.
func RunContract(t *testing.T, d Dialect) {
	t.Helper()
	type play struct {
		status int
		body   string
		header map[string]string
		want   kind
	}
	plays := map[string]play{
		"accepted":                      {http.StatusOK, d.Accepted, nil, sent},
		"forbidden":                     {http.StatusForbidden, "invalid_token", nil, rejected},
		"gone":                          {http.StatusGone, "", nil, rejected},
		"a redirect is not followed":    {http.StatusFound, "", map[string]string{"Location": "/elsewhere"}, rejected},
		"rate limited":                  {http.StatusTooManyRequests, "", map[string]string{"Retry-After": "7"}, limited},
		"rate limited without a number": {http.StatusTooManyRequests, "", nil, retried},
		"a server error":                {http.StatusInternalServerError, "<html>", nil, retried},
		"a broken proxy":                {http.StatusBadGateway, "", nil, retried},
	}
	if d.Rejected != "" {
		plays["refused with status 200"] = play{http.StatusOK, d.Rejected, nil, rejected}
	}
	for name, p := range plays {
		t.Run(name, func(t *testing.T) {
			err := d.post(t.Context(), t, func(w http.ResponseWriter, r *http.Request) {
				if strings.HasSuffix(r.URL.Path, "/elsewhere") {
					t.Error("the redirect was followed")
				}
				for k, v := range p.header {
					w.Header().Set(k, v)
				}
				w.WriteHeader(p.status)
				_, _ = io.WriteString(w, p.body)
			})
			d.expect(t, err, p.want)
		})
	}
	t.Run("a slow place", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		d.expect(t, d.post(ctx, t, func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			<-r.Context().Done()
		}), retried)
	})
	t.Run("no place", func(t *testing.T) {
		s := httptest.NewServer(http.NotFoundHandler())
		s.Close()
		d.expect(t, d.notifier(t, s.URL).Post(t.Context(), Message()), retried)
	})
}

func (d Dialect) notifier(t *testing.T, url string) notifier.Notifier {
	t.Helper()
	cfg := d.Config
	cfg.Address = url + d.Path
	n, err := d.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if c, ok := n.(io.Closer); ok {
		t.Cleanup(func() { _ = c.Close() })
	}
	return n
}

func (d Dialect) post(ctx context.Context, t *testing.T, h http.HandlerFunc) error {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return d.notifier(t, s.URL).Post(ctx, Message())
}

func (d Dialect) expect(t *testing.T, err error, want kind) {
	t.Helper()
	rate, isLimited := errors.AsType[*notifier.RateLimitedError](err)
	got := retried
	switch {
	case err == nil:
		got = sent
	case errors.Is(err, notifier.ErrRejected):
		got = rejected
	case isLimited:
		got = limited
		if rate.RetryAfter != 7*time.Second {
			t.Errorf("retry after %s", rate.RetryAfter)
		}
	}
	if got != want {
		t.Errorf("got %v (kind %d), want kind %d", err, got, want)
	}
	for _, s := range d.Secrets {
		if err != nil && strings.Contains(err.Error(), s) {
			t.Errorf("the error holds a secret: %v", err)
		}
	}
}
