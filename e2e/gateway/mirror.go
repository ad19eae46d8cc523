package gateway

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"sync/atomic"
	"time"
)

const (
	// mirrorBody is the largest body that is copied.
	mirrorBody = 1 << 20
	// mirrorLimit is how many copies are on their way at once; more are dropped: a mirror never holds users up.
	mirrorLimit   = 256
	mirrorTimeout = 5 * time.Second
)

// mirrors sends copies whose answers nobody sees.
type mirrors struct {
	transport http.RoundTripper
	slots     chan struct{}
	sent      atomic.Int64
}

func newMirrors(transport http.RoundTripper) *mirrors {
	return &mirrors{transport: transport, slots: make(chan struct{}, mirrorLimit)}
}

// copies sends a copy of the request to each mirror of the rule whose turn it is.
func (p *proxy) copies(r *http.Request, rule *rule, prefix string) {
	var body []byte
	for i := range rule.mirrors {
		m := &rule.mirrors[i]
		if !m.share.next() {
			continue
		}
		addrs, status := p.reach(m.backend)
		if status != http.StatusOK {
			continue
		}
		if body == nil && r.Body != nil && r.Body != http.NoBody {
			if r.ContentLength < 0 || r.ContentLength > mirrorBody {
				return // not copied, but served
			}
			var err error
			if body, err = io.ReadAll(r.Body); err != nil {
				return // the user has gone
			}
			r.Body = io.NopCloser(bytes.NewReader(body))
		}
		out := r.Clone(context.WithoutCancel(r.Context()))
		out.RequestURI, out.URL.Scheme, out.URL.Host = "", "http", addrs[0]
		out.Body = http.NoBody
		if len(body) > 0 {
			out.Body = io.NopCloser(bytes.NewReader(body))
		}
		rewriteRequest(out, prefix, rule.filters)
		p.mirrors.send(out)
	}
}

// send sends a copy in the background.
func (m *mirrors) send(out *http.Request) {
	select {
	case m.slots <- struct{}{}:
	default:
		return
	}
	go func() {
		defer func() { <-m.slots }()
		ctx, cancel := context.WithTimeout(out.Context(), mirrorTimeout)
		defer cancel()
		resp, err := m.transport.RoundTrip(out.WithContext(ctx))
		if err != nil {
			return // nobody waits for it
		}
		m.sent.Add(1)
		_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, mirrorBody))
		_ = resp.Body.Close()
	}()
}
