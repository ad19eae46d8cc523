package gateway

import (
	"context"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"sync/atomic"
	"time"
)

// BackendHeader names, on an answer that is the gateway's own, the Service whose share the request was.
const BackendHeader = "X-Gateway-Backend"

const (
	dialTimeout = time.Second
	// attempts is how many endpoints are dialled: nothing was sent to those that cannot be reached.
	attempts = 3
)

// Endpoints tells where the pods of a Service are.
type Endpoints interface {
	// Ready lists the addresses (host:port) of the ready endpoints of a port; found tells whether the Service has that port.
	Ready(namespace, service string, port int32) (addrs []string, found bool)
}

// proxy serves a table.
type proxy struct {
	table     atomic.Pointer[table]
	endpoints Endpoints
	transport http.RoundTripper
	mirrors   *mirrors
	turn      atomic.Uint64 // rotates endpoints
	quiet     *log.Logger
}

func newProxy(endpoints Endpoints) *proxy {
	transport := &http.Transport{
		DialContext:         (&net.Dialer{Timeout: dialTimeout, KeepAlive: 15 * time.Second}).DialContext,
		MaxIdleConnsPerHost: 64, IdleConnTimeout: 30 * time.Second, DisableCompression: true,
	}
	p := &proxy{endpoints: endpoints, transport: transport, mirrors: newMirrors(transport), quiet: log.New(io.Discard, "", 0)}
	p.table.Store(&table{})
	return p
}

// ServeHTTP answers 404 where no rule matches, 500 for the share of a reference that cannot be followed and where nobody has a
// weight, 503 for the share of a Service without ready endpoints, 502 and 504 for endpoints that do not answer.
func (p *proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	rule, prefix := p.table.Load().find(r)
	if rule == nil {
		http.Error(w, "no route", http.StatusNotFound)
		return
	}
	i := rule.wheel.next()
	if i < 0 {
		http.Error(w, "no backend has a weight", http.StatusInternalServerError)
		return
	}
	b := &rule.backends[i]
	addrs, status := p.reach(*b)
	if status != http.StatusOK {
		refuse(w, b, status)
		return
	}
	p.copies(r, rule, prefix)
	ctx := r.Context()
	if rule.request > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, rule.request)
		defer cancel()
	}
	(&httputil.ReverseProxy{
		Rewrite: func(pr *httputil.ProxyRequest) {
			pr.Out.URL.Scheme, pr.Out.URL.Host = "http", addrs[0]
			pr.Out.Host = pr.In.Host
			pr.SetXForwarded()
			rewriteRequest(pr.Out, prefix, rule.filters, b.filters)
		},
		Transport: &dialer{p: p, addrs: addrs, limit: rule.backendRequest},
		ModifyResponse: func(resp *http.Response) error {
			rewriteResponse(resp.Header, b.filters, rule.filters)
			return nil
		},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) { refuse(w, b, statusOf(err)) },
		ErrorLog:     p.quiet,
	}).ServeHTTP(w, r.WithContext(ctx))
}

// reach returns the ready addresses of a backend, in the order in which they are tried, or the status that its share is answered with.
func (p *proxy) reach(b backend) ([]string, int) {
	if b.bad {
		return nil, http.StatusInternalServerError
	}
	addrs, found := p.endpoints.Ready(b.namespace, b.name, b.port)
	switch {
	case !found:
		return nil, http.StatusInternalServerError
	case len(addrs) == 0:
		return nil, http.StatusServiceUnavailable
	}
	first := int(p.turn.Add(1) % uint64(len(addrs)))
	return append(append(make([]string, 0, len(addrs)), addrs[first:]...), addrs[:first]...), http.StatusOK
}

func refuse(w http.ResponseWriter, b *backend, status int) {
	w.Header().Set(BackendHeader, b.String())
	http.Error(w, http.StatusText(status)+" ("+b.String()+")", status)
}

func statusOf(err error) int {
	if errors.Is(err, context.DeadlineExceeded) {
		return http.StatusGatewayTimeout
	}
	return http.StatusBadGateway
}

// dialer sends a request to the first endpoint that can be reached.
type dialer struct {
	p     *proxy
	addrs []string
	limit time.Duration
}

// RoundTrip tries another endpoint only where no connection could be opened: nothing was sent then.
func (d *dialer) RoundTrip(r *http.Request) (*http.Response, error) {
	var last error
	for i, addr := range d.addrs {
		if i == attempts || (i > 0 && r.Body != nil && r.Body != http.NoBody) {
			break
		}
		resp, err := d.send(r, addr)
		var op *net.OpError
		if err == nil || !errors.As(err, &op) || op.Op != "dial" {
			return resp, err
		}
		last = err
	}
	return nil, last
}

func (d *dialer) send(r *http.Request, addr string) (*http.Response, error) {
	ctx, cancel := r.Context(), context.CancelFunc(func() {})
	if d.limit > 0 {
		ctx, cancel = context.WithTimeout(ctx, d.limit)
	}
	out := r.Clone(ctx)
	out.URL.Host = addr
	resp, err := d.p.transport.RoundTrip(out)
	if err != nil {
		cancel()
		return nil, err //nolint:wrapcheck // the caller looks into it
	}
	resp.Body = &closer{ReadCloser: resp.Body, then: cancel}
	return resp, nil
}

// closer ends a context with the body that needs it.
type closer struct {
	io.ReadCloser
	then func()
}

func (c *closer) Close() error {
	defer c.then()
	return c.ReadCloser.Close() //nolint:wrapcheck // an io.Closer
}

// Write lets protocol upgrades through: the body of a 101 is a connection.
func (c *closer) Write(b []byte) (int, error) {
	if w, ok := c.ReadCloser.(io.Writer); ok {
		return w.Write(b) //nolint:wrapcheck // an io.Writer
	}
	return 0, errors.ErrUnsupported
}
