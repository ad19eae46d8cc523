// Package load drives steady traffic through a gateway and counts what users saw, by version and by second.
package load

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"sync"
	"time"
)

// Sample is one request.
type Sample struct {
	// At is when it began.
	At time.Time
	// Version that answered: header X-Version, or the JSON field "message"; "" if none did.
	Version string
	// Backend is the Service whose share the request was, if the test gateway answered it itself (gateway.BackendHeader).
	Backend string
	// Status is the HTTP status, 0 for a request without an answer.
	Status int
	// Err of a request without an answer.
	Err string
	// Took is how long it took.
	Took time.Duration
}

// Failed tells whether a user would call it an error: no answer, or a server error.
func (s Sample) Failed() bool { return s.Status == 0 || s.Status >= 500 }

// Generator sends requests at a steady rate.
type Generator struct {
	// URL and Host of the requests.
	URL, Host string
	// Rate per second.
	Rate int
	// Client sends them. Default: one with keep-alive and a timeout of 5 s.
	Client *http.Client

	mu      sync.Mutex
	samples []Sample
	cancel  context.CancelFunc
	done    chan struct{}
}

// Start begins to send until Stop or the end of ctx.
func (g *Generator) Start(ctx context.Context) {
	if g.Client == nil {
		g.Client = &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 64, MaxConnsPerHost: 256}}
	}
	ctx, g.cancel = context.WithCancel(ctx)
	g.done = make(chan struct{})
	go func() {
		defer close(g.done)
		var wg sync.WaitGroup
		defer wg.Wait()
		tick := time.NewTicker(time.Second / time.Duration(g.Rate))
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				wg.Go(func() { g.add(g.send(ctx)) })
			}
		}
	}()
}

// Stop ends the load and waits for the last answers. Requests that were cut off by it do not count.
func (g *Generator) Stop() {
	if g.cancel != nil {
		g.cancel()
		<-g.done
	}
}

func (g *Generator) add(s Sample, counts bool) {
	if !counts {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.samples = append(g.samples, s)
}

func (g *Generator) send(ctx context.Context) (Sample, bool) {
	s := Sample{At: time.Now()}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, g.URL, nil)
	if err != nil {
		s.Err = err.Error()
		return s, true
	}
	req.Host = g.Host
	resp, err := g.Client.Do(req)
	if err != nil {
		s.Err, s.Took = err.Error(), time.Since(s.At)
		return s, ctx.Err() == nil
	}
	defer func() { _ = resp.Body.Close() }()
	body, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	s.Status, s.Took = resp.StatusCode, time.Since(s.At)
	s.Version, s.Backend = resp.Header.Get("X-Version"), resp.Header.Get("X-Gateway-Backend")
	if s.Version == "" {
		var answer struct{ Version, Message string }
		if json.Unmarshal(body, &answer) == nil {
			s.Version = answer.Message
		}
	}
	return s, true
}

// Samples returns all samples so far.
func (g *Generator) Samples() []Sample {
	g.mu.Lock()
	defer g.mu.Unlock()
	return append([]Sample(nil), g.samples...)
}

// Summary counts samples.
type Summary struct {
	Total, Failed int
	// ByVersion counts answers.
	ByVersion map[string]int
	// Errors counts failures by status or error.
	Errors map[string]int
}

// Summarize counts samples from a time on.
func Summarize(samples []Sample, from time.Time) Summary {
	out := Summary{ByVersion: map[string]int{}, Errors: map[string]int{}}
	for _, s := range samples {
		if s.At.Before(from) {
			continue
		}
		out.Total++
		if s.Status != 0 {
			out.ByVersion[s.Version]++
		}
		if s.Failed() {
			out.Failed++
			out.Errors[s.Version+" "+http.StatusText(s.Status)+s.Err]++
		}
	}
	return out
}
