package proxy

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"time"
)

// HTTP is a forward proxy: requests in absolute form, and CONNECT for everything else. It resolves names with
// the resolver it is given, so that who stands outside can use the names inside.
func HTTP(resolver *net.Resolver) http.Handler {
	dialer := &net.Dialer{Timeout: dialTimeout, Resolver: resolver}
	forward := &httputil.ReverseProxy{
		Rewrite:       func(*httputil.ProxyRequest) {},
		FlushInterval: -1,
		Transport: &http.Transport{
			DialContext: dialer.DialContext, MaxIdleConnsPerHost: 64, IdleConnTimeout: 10 * time.Second, DisableCompression: true,
		},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			http.Error(w, "cluster proxy: "+err.Error(), http.StatusBadGateway)
		},
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Method == http.MethodConnect:
			connect(w, r, dialer)
		case r.URL.IsAbs():
			forward.ServeHTTP(w, r)
		default:
			http.Error(w, "cluster proxy: absolute URL wanted", http.StatusBadRequest)
		}
	})
}

func connect(w http.ResponseWriter, r *http.Request, dialer *net.Dialer) {
	up, err := dialer.DialContext(r.Context(), "tcp", r.Host)
	if err != nil {
		http.Error(w, "cluster proxy: "+err.Error(), http.StatusBadGateway)
		return
	}
	down, err := hijack(w)
	if err != nil {
		_ = up.Close()
		return
	}
	Join(down, up)
}

func hijack(w http.ResponseWriter) (net.Conn, error) {
	conn, buf, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return nil, err
	}
	if buf.Reader.Buffered() > 0 {
		_ = conn.Close()
		return nil, errors.New("data before the answer")
	}
	if _, err := io.WriteString(conn, "HTTP/1.1 200 Connection established\r\n\r\n"); err != nil {
		_ = conn.Close()
		return nil, err
	}
	return conn, nil
}

// Resolver asks the DNS server at addr.
func Resolver(addr string) *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{Timeout: dialTimeout}).DialContext(ctx, network, addr)
	}}
}
