package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	// gatewayRow counts the answers that no version gave.
	gatewayRow = "gateway"
	recent     = 5 * time.Second
	maxFaults  = 20
)

// tally counts the answers of one version.
type tally struct {
	Version string
	Total   int
	// ServerErrors are what the metric request-success-rate counts too, and requests without a usable answer; ClientErrors
	// are the answers 4xx, which it does not count.
	ServerErrors, ClientErrors int
	// Faults are errors that are not the bad version's own.
	Faults      int
	First, Last time.Time
	seconds     map[int64]int
}

// users drive a steady load through the gateway, and remember what they saw: numbers only, so that they may go on for days.
type users struct {
	url, host string
	rate      int
	client    *http.Client

	mu       sync.Mutex
	suspect  string
	versions map[string]*tally
	faults   []string
	cancel   context.CancelFunc
	done     chan struct{}
}

func newUsers(url, host string, rate int) *users {
	return &users{
		url: url, host: host, rate: rate, versions: map[string]*tally{},
		client: &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 64, MaxConnsPerHost: 256}},
	}
}

// start sends until stop.
func (u *users) start(ctx context.Context) {
	ctx, u.cancel = context.WithCancel(ctx)
	u.done = make(chan struct{})
	go func() {
		defer close(u.done)
		var wg sync.WaitGroup
		defer wg.Wait()
		tick := time.NewTicker(time.Second / time.Duration(u.rate))
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				wg.Go(func() { u.send(ctx) })
			}
		}
	}()
}

// stop ends the load and waits for the last answers; requests that it cuts off do not count.
func (u *users) stop() {
	if u.cancel != nil {
		u.cancel()
		<-u.done
	}
}

// suspects names the version that podinfo's random errors are from. They do not say it themselves.
func (u *users) suspects(message string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.suspect = message
}

func (u *users) send(ctx context.Context) {
	at := time.Now()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.url, http.NoBody)
	if err != nil {
		return
	}
	req.Host = u.host
	resp, err := u.client.Do(req)
	if err != nil {
		if ctx.Err() == nil {
			u.count(at, 0, []byte(err.Error()))
		}
		return
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	switch {
	case err == nil:
		u.count(at, resp.StatusCode, body)
	case ctx.Err() == nil:
		u.count(at, 0, []byte("reading the answer: "+err.Error()))
	}
}

// count adds one answer; status 0 is none, and body tells why.
func (u *users) count(at time.Time, status int, body []byte) {
	u.mu.Lock()
	defer u.mu.Unlock()
	v, ok := attribute(status, body, u.suspect)
	t := u.versions[v]
	if t == nil {
		t = &tally{Version: v, First: at, seconds: map[int64]int{}}
		u.versions[v] = t
	}
	t.Total++
	if at.After(t.Last) {
		t.Last = at
	}
	t.seconds[at.Unix()]++
	delete(t.seconds, at.Add(-time.Minute).Unix())
	if ok {
		return
	}
	if isClientError(status) {
		t.ClientErrors++
	} else {
		t.ServerErrors++
	}
	if u.suspect != "" && v == u.suspect {
		return
	}
	t.Faults++
	if len(u.faults) < maxFaults {
		u.faults = append(u.faults, fmt.Sprintf("%s status %d %s: %s", at.Format("15:04:05.000"), status, v, strings.TrimSpace(string(body[:min(len(body), 200)]))))
	}
}

// isClientError is true for an answer that blames the request.
func isClientError(status int) bool { return status >= 400 && status < 500 }

// errorsOf tells of errors, the answers 4xx apart.
func errorsOf(server, client int) string {
	text := fmt.Sprintf("%d server errors", server)
	if client > 0 {
		text += fmt.Sprintf(", %d answers 4xx", client)
	}
	return text
}

// attribute tells which version answered, and whether well. An answer of podinfo is JSON with its message; a random error of it
// is 500, 400 or 409 without a body, while all errors of the gateway have one ("Bad Gateway", "no available server",
// "404 page not found").
func attribute(status int, body []byte, suspect string) (string, bool) {
	var answer struct{ Message string }
	if status == http.StatusOK && json.Unmarshal(body, &answer) == nil && answer.Message != "" {
		return answer.Message, true
	}
	random := status == http.StatusInternalServerError || status == http.StatusBadRequest || status == http.StatusConflict
	if suspect != "" && random && len(body) == 0 {
		return suspect, false
	}
	return gatewayRow, false
}

// seen returns the tallies in the order in which the versions appeared, and the first faults.
func (u *users) seen() ([]tally, []string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	out := make([]tally, 0, len(u.versions))
	for _, t := range u.versions {
		one := *t
		one.seconds = nil
		out = append(out, one)
	}
	slices.SortFunc(out, func(a, b tally) int { return a.First.Compare(b.First) })
	return out, slices.Clone(u.faults)
}

// rates are the requests per second by version over the last whole seconds.
func (u *users) rates(now time.Time) map[string]float64 {
	u.mu.Lock()
	defer u.mu.Unlock()
	out := map[string]float64{}
	for v, t := range u.versions {
		n := 0
		for s := now.Add(-recent).Unix(); s < now.Unix(); s++ {
			n += t.seconds[s]
		}
		out[v] = float64(n) / recent.Seconds()
	}
	return out
}
