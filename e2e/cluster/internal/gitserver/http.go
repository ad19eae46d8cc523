// Package gitserver serves bare git repositories over HTTP and SSH with the real git.
package gitserver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cgi"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
)

// Server serves the repositories below a directory: those below private/ only with a password.
type Server struct {
	root string
	env  []string
	git  string

	signer ssh.Signer

	mu    sync.Mutex
	users map[string]string
	keys  map[string]bool // marshalled public keys
	down  bool
}

// New returns a server for the repositories below root. The environment is git's.
func New(root string, env []string) (*Server, error) {
	git, err := exec.LookPath("git")
	if err != nil {
		return nil, fmt.Errorf("finding git: %w", err)
	}
	if err := os.MkdirAll(filepath.Join(root, "private"), 0o755); err != nil {
		return nil, fmt.Errorf("making the repositories' directory: %w", err)
	}
	signer, err := newSigner()
	if err != nil {
		return nil, err
	}
	env = append([]string{
		"GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=safe.directory", "GIT_CONFIG_VALUE_0=*",
	}, env...)
	return &Server{root: root, env: env, git: git, signer: signer, users: map[string]string{}, keys: map[string]bool{}}, nil
}

// Start listens on both addresses.
func (s *Server) Start(httpAddr, sshAddr string) error {
	hl, err := net.Listen("tcp", httpAddr)
	if err != nil {
		return fmt.Errorf("listening for git over HTTP: %w", err)
	}
	sl, err := net.Listen("tcp", sshAddr)
	if err != nil {
		_ = hl.Close()
		return fmt.Errorf("listening for git over SSH: %w", err)
	}
	go func() { _ = (&http.Server{Handler: s, ReadHeaderTimeout: 10 * time.Second}).Serve(hl) }()
	go s.serveSSH(sl)
	return nil
}

// CreateRepo makes an empty bare repository, named like "app" or "private/app".
func (s *Server) CreateRepo(ctx context.Context, name string) error {
	if !regexp.MustCompile(`^(private/)?[a-zA-Z0-9][a-zA-Z0-9_.-]*$`).MatchString(name) {
		return fmt.Errorf("bad repository name %q", name)
	}
	dir := s.dir(name)
	if err := s.run(ctx, "init", "--quiet", "--bare", "--initial-branch=main", dir); err != nil {
		return err
	}
	for _, kv := range [][2]string{{"http.receivepack", "true"}, {"receive.denyNonFastForwards", "false"}} {
		if err := s.run(ctx, "-C", dir, "config", kv[0], kv[1]); err != nil {
			return err
		}
	}
	return nil
}

func (s *Server) dir(name string) string {
	return filepath.Join(s.root, strings.TrimSuffix(name, ".git")+".git")
}

func (s *Server) run(ctx context.Context, args ...string) error {
	cmd := exec.CommandContext(ctx, s.git, args...)
	cmd.Env = s.env
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("git %s: %w: %s", args[0], err, out)
	}
	return nil
}

// SetPassword lets a user into the repositories below private/.
func (s *Server) SetPassword(user, password string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.users[user] = password
}

// SetDown makes every request fail, or work again.
func (s *Server) SetDown(down bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down = down
}

func (s *Server) isDown() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.down
}

func (s *Server) allowed(r *http.Request) bool {
	if !strings.HasPrefix(r.URL.Path, "/private/") {
		return true
	}
	user, password, ok := r.BasicAuth()
	s.mu.Lock()
	defer s.mu.Unlock()
	want, known := s.users[user]
	return ok && known && want == password
}

// ServeHTTP speaks the smart HTTP protocol through git http-backend.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if s.isDown() {
		http.Error(w, "git is down", http.StatusServiceUnavailable)
		return
	}
	if !s.allowed(r) {
		w.Header().Set("WWW-Authenticate", `Basic realm="git"`)
		http.Error(w, "who are you?", http.StatusUnauthorized)
		return
	}
	// CGI wants to know the length, and git sends big pushes in chunks.
	if r.ContentLength < 0 {
		done, err := buffer(r)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		defer done()
	}
	h := &cgi.Handler{
		Path: s.git, Args: []string{"http-backend"}, Dir: s.root,
		Env: append([]string{"GIT_PROJECT_ROOT=" + s.root, "GIT_HTTP_EXPORT_ALL=1", "REMOTE_USER=git"}, s.env...),
	}
	h.ServeHTTP(w, r)
}

// buffer puts the body into a file.
func buffer(r *http.Request) (func(), error) {
	f, err := os.CreateTemp("", "push")
	if err != nil {
		return nil, fmt.Errorf("buffering a push: %w", err)
	}
	_ = os.Remove(f.Name())
	n, err := io.Copy(f, r.Body)
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("buffering a push: %w", err), f.Close())
	}
	r.Body, r.ContentLength, r.TransferEncoding = f, n, nil
	return func() { _ = f.Close() }, nil
}
