package supervisor

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"syscall"
	"time"

	"github.com/siskin-dev/siskin/e2e/cluster/proxy"
)

// control is the API of the library: only it knows the token.
func (s *Supervisor) control() http.Handler {
	mux := http.NewServeMux()
	handle := func(pattern string, f func(r *http.Request) (any, error)) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			out, err := f(r)
			if err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
				return
			}
			w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(out)
		})
	}
	handle("POST /components/{name}/{action}", s.controlComponent)
	handle("POST /pods/{namespace}/{name}/kill", func(r *http.Request) (any, error) {
		n, err := strconv.Atoi(r.URL.Query().Get("signal"))
		if err != nil {
			return nil, fmt.Errorf("reading the signal: %w", err)
		}
		return nil, s.agent.Kill(r.PathValue("namespace"), r.PathValue("name"), r.URL.Query().Get("container"), syscall.Signal(n))
	})
	handle("POST /services/{namespace}/{name}/trouble", func(r *http.Request) (any, error) {
		delay, err := time.ParseDuration(r.URL.Query().Get("delay"))
		if err != nil {
			return nil, fmt.Errorf("reading the delay: %w", err)
		}
		t := proxy.Trouble{Delay: delay, Refuse: r.URL.Query().Get("refuse") == "true"}
		s.services.SetTrouble(r.PathValue("namespace"), r.PathValue("name"), t)
		return nil, nil //nolint:nilnil // there is nothing to answer
	})
	handle("GET /slack/messages", func(*http.Request) (any, error) {
		if s.slack == nil {
			return nil, errors.New("the cluster has no Slack server")
		}
		return s.slack.Messages(), nil
	})
	handle("POST /slack/mode/{mode}", func(r *http.Request) (any, error) {
		if s.slack == nil {
			return nil, errors.New("the cluster has no Slack server")
		}
		return nil, s.slack.SetMode(r.PathValue("mode"))
	})
	handle("POST /git/{action}", s.controlGit)
	handle("POST /load", s.controlLoad)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		want := []byte("Bearer " + s.cfg.Token)
		if subtle.ConstantTimeCompare([]byte(r.Header.Get("Authorization")), want) != 1 {
			http.Error(w, "wrong token", http.StatusUnauthorized)
			return
		}
		if !s.ready.Load() {
			http.Error(w, "the cluster is starting", http.StatusServiceUnavailable)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

func (s *Supervisor) controlGit(r *http.Request) (any, error) {
	if s.git == nil {
		return nil, errors.New("the cluster has no git server")
	}
	q := r.URL.Query()
	switch r.PathValue("action") {
	case "repo":
		return nil, s.git.CreateRepo(r.Context(), q.Get("name"))
	case "key":
		return s.git.HostKey(), s.git.AuthorizeKey(q.Get("key"))
	case "user":
		s.git.SetPassword(q.Get("user"), q.Get("password"))
		return nil, nil //nolint:nilnil // there is nothing to answer
	case "down":
		s.git.SetDown(q.Get("down") == "true")
		return nil, nil //nolint:nilnil // there is nothing to answer
	}
	return nil, errors.New("unknown action")
}

func (s *Supervisor) controlComponent(r *http.Request) (any, error) {
	s.mu.Lock()
	p := s.processes[r.PathValue("name")]
	s.mu.Unlock()
	if p == nil {
		return nil, fmt.Errorf("no component %q", r.PathValue("name"))
	}
	ctx, cancel := context.WithTimeout(r.Context(), time.Minute)
	defer cancel()
	switch r.PathValue("action") {
	case "start":
		return nil, p.start(ctx)
	case "stop":
		return nil, p.signal(ctx, syscall.SIGKILL)
	case "pause":
		return nil, p.signal(ctx, syscall.SIGSTOP)
	case "resume":
		return nil, p.signal(ctx, syscall.SIGCONT)
	}
	return nil, errors.New("unknown action")
}
