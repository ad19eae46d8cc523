// Package slackserver is a Slack for tests: the Web API of slack-go's slacktest behind /api/, an incoming webhook
// at /webhook, and a record of all messages.
package slackserver

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/slack-go/slack/slacktest"

	"github.com/siskin-dev/siskin/e2e/cluster/internal/wire"
)

// Modes of the server.
const (
	ModeUp    = "up"
	ModeError = "error" // answers 500
	ModeHang  = "hang"  // does not answer
)

// Server is the Slack server.
type Server struct {
	api  *slacktest.Server
	next http.Handler

	mu       sync.Mutex
	messages []wire.SlackMessage
	mode     string
	changed  chan struct{} // closed when the mode changes
}

// New returns a server that Start starts.
func New() *Server {
	s := &Server{mode: ModeUp, changed: make(chan struct{})}
	s.api = slacktest.NewTestServer(func(c slacktest.Customize) {
		c.Handle("/chat.update", func(w http.ResponseWriter, r *http.Request) {
			_ = r.ParseForm()
			w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(map[string]any{"ok": true, "channel": r.Form.Get("channel"), "ts": r.Form.Get("ts"), "text": r.Form.Get("text")})
		})
	})
	return s
}

// Start serves on addr.
func (s *Server) Start(addr string) error {
	s.api.Start()
	target, err := url.Parse(s.api.GetAPIURL())
	if err != nil {
		return fmt.Errorf("reading the API's URL: %w", err)
	}
	s.next = http.StripPrefix("/api", &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) }})
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return fmt.Errorf("listening for Slack: %w", err)
	}
	go func() { _ = (&http.Server{Handler: s, ReadHeaderTimeout: 10 * time.Second}).Serve(l) }()
	return nil
}

// Messages returns what was received so far.
func (s *Server) Messages() []wire.SlackMessage {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]wire.SlackMessage{}, s.messages...)
}

// SetMode makes the server work, fail or hang.
func (s *Server) SetMode(mode string) error {
	if mode != ModeUp && mode != ModeError && mode != ModeHang {
		return fmt.Errorf("unknown mode %q", mode)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mode = mode
	close(s.changed)
	s.changed = make(chan struct{})
	return nil
}

func (s *Server) state() (string, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mode, s.changed
}

// ServeHTTP answers, records, fails or hangs.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	mode, changed := s.state()
	switch mode {
	case ModeError:
		http.Error(w, "Slack is down", http.StatusInternalServerError)
		return
	case ModeHang:
		select {
		case <-r.Context().Done():
		case <-changed:
		}
		http.Error(w, "Slack was down", http.StatusInternalServerError)
		return
	}
	method, isAPI := strings.CutPrefix(r.URL.Path, "/api/")
	if !isAPI {
		s.webhook(w, r, body)
		return
	}
	form := s.form(r, body)
	if strings.HasPrefix(method, "chat.") {
		raw, err := json.Marshal(flatten(form))
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		s.record(wire.SlackMessage{Method: method, Channel: form.Get("channel"), Text: form.Get("text"), Raw: string(raw)})
	}
	// slacktest reads forms only, and decodes these two once more.
	for _, field := range []string{"attachments", "blocks"} {
		if form.Has(field) {
			form.Set(field, url.QueryEscape(form.Get(field)))
		}
	}
	encoded := form.Encode()
	r.Body, r.ContentLength = io.NopCloser(strings.NewReader(encoded)), int64(len(encoded))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Content-Length", strconv.Itoa(len(encoded)))
	s.next.ServeHTTP(w, r)
}

func (s *Server) webhook(w http.ResponseWriter, r *http.Request, body []byte) {
	if !strings.HasPrefix(r.URL.Path, "/webhook") && !strings.HasPrefix(r.URL.Path, "/services/") {
		http.NotFound(w, r)
		return
	}
	var m struct{ Channel, Text string }
	if err := json.Unmarshal(bytes.TrimSpace(body), &m); err != nil {
		http.Error(w, "invalid_payload", http.StatusBadRequest)
		return
	}
	s.record(wire.SlackMessage{Method: "webhook", Channel: m.Channel, Text: m.Text, Raw: string(body)})
	_, _ = io.WriteString(w, "ok")
}

func (s *Server) record(m wire.SlackMessage) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m.Time = time.Now()
	s.messages = append(s.messages, m)
}

// form returns the arguments of a call, which come as a form or as JSON.
func (s *Server) form(r *http.Request, body []byte) url.Values {
	kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if kind != "application/json" {
		form, err := url.ParseQuery(string(body))
		if err != nil {
			return url.Values{}
		}
		return form
	}
	form := url.Values{}
	var fields map[string]json.RawMessage
	if json.Unmarshal(body, &fields) != nil {
		return form
	}
	for k, v := range fields {
		var text string
		if json.Unmarshal(v, &text) != nil {
			text = string(v)
		}
		form.Set(k, text)
	}
	return form
}

// flatten makes JSON of a form; blocks and attachments, which are JSON in a string, become JSON.
func flatten(form url.Values) map[string]any {
	out := map[string]any{}
	for k := range form {
		v := form.Get(k)
		if k != "token" && (strings.HasPrefix(v, "[") || strings.HasPrefix(v, "{")) && json.Valid([]byte(v)) {
			out[k] = json.RawMessage(v)
		} else if k != "token" {
			out[k] = v
		}
	}
	return out
}
