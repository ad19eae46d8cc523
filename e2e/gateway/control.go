package gateway

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	"k8s.io/utils/clock"
)

// door is the listener that users come through; it can be shut, as when the gateway is down.
type door struct {
	addr    string
	handler http.Handler
	clock   clock.Clock

	mu     sync.Mutex
	server *http.Server
	bound  net.Addr
}

func (d *door) open() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.server != nil {
		return nil
	}
	if d.bound != nil {
		d.addr = d.bound.String() // a port that was chosen stays
	}
	l, err := net.Listen("tcp", d.addr)
	if err != nil {
		return fmt.Errorf("listening for users: %w", err)
	}
	d.bound = l.Addr()
	server := &http.Server{Handler: d.handler, ReadHeaderTimeout: 10 * time.Second}
	d.server = server
	go func() { _ = server.Serve(l) }()
	return nil
}

// shut refuses connections and cuts those that are open.
func (d *door) shut() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.server != nil {
		_ = d.server.Close()
		d.server = nil
	}
}

// control is the API of Control.
func (g *Gateway) control(ctx context.Context) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /ready", func(w http.ResponseWriter, _ *http.Request) {
		if !g.ready() {
			http.Error(w, "not synced", http.StatusServiceUnavailable)
		}
	})
	mux.HandleFunc("PUT /fault", func(w http.ResponseWriter, r *http.Request) {
		var f Fault
		if err := json.NewDecoder(r.Body).Decode(&f); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		g.faults.set(r.URL.Query().Get("route"), f)
		g.changed()
	})
	mux.HandleFunc("GET /events", func(w http.ResponseWriter, r *http.Request) {
		_ = json.NewEncoder(w).Encode(g.faults.log(r.URL.Query().Get("route")))
	})
	mux.HandleFunc("POST /down", func(w http.ResponseWriter, r *http.Request) {
		d, err := time.ParseDuration(r.URL.Query().Get("for"))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		g.door.shut()
		go func() {
			select {
			case <-ctx.Done():
				return
			case <-g.clock.After(d):
			}
			if err := g.door.open(); err != nil {
				g.logf("%v", err)
			}
		}()
	})
	return mux
}

// Control is a client of a gateway's control API.
type Control struct {
	// URL of the control API.
	URL string
	// Client to use. Default: http.DefaultClient.
	Client *http.Client
}

// Set makes something go wrong for a route (namespace/name), or for all ("") that have no fault of their own.
func (c *Control) Set(ctx context.Context, route string, f Fault) error {
	data, err := json.Marshal(f)
	if err != nil {
		return fmt.Errorf("encoding a fault: %w", err)
	}
	return c.call(ctx, http.MethodPut, "/fault", url.Values{"route": {route}}, data, nil)
}

// Clear ends the fault of a route, or that of all ("").
func (c *Control) Clear(ctx context.Context, route string) error {
	return c.Set(ctx, route, Fault{})
}

// Events of a route, or of all (""), oldest first.
func (c *Control) Events(ctx context.Context, route string) ([]Event, error) {
	var out []Event
	err := c.call(ctx, http.MethodGet, "/events", url.Values{"route": {route}}, nil, &out)
	return out, err
}

// Down makes the gateway refuse connections for a while.
func (c *Control) Down(ctx context.Context, d time.Duration) error {
	return c.call(ctx, http.MethodPost, "/down", url.Values{"for": {d.String()}}, nil, nil)
}

func (c *Control) call(ctx context.Context, method, path string, query url.Values, body []byte, out any) error {
	req, err := http.NewRequestWithContext(ctx, method, c.URL+path+"?"+query.Encode(), bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("calling the gateway: %w", err)
	}
	hc := c.Client
	if hc == nil {
		hc = http.DefaultClient
	}
	resp, err := hc.Do(req)
	if err != nil {
		return fmt.Errorf("calling the gateway: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		return fmt.Errorf("calling the gateway: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		return errors.New("the gateway: " + string(bytes.TrimSpace(data)))
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(data, out); err != nil {
		return fmt.Errorf("reading the gateway's answer: %w", err)
	}
	return nil
}
