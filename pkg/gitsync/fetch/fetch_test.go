package fetch

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh/knownhosts"
)

func secret(kv ...string) Credentials {
	data := map[string][]byte{}
	for i := 0; i < len(kv); i += 2 {
		data[kv[i]] = []byte(kv[i+1])
	}
	return NewCredentials(data)
}

// Every transport must give the same answers.
func TestTransports(t *testing.T) {
	r := newRepo(t)
	first := r.commit("apps/x/deployment.yaml", "kind: Deployment", "add podinfo\n\nwith a long explanation")
	r.git("tag", "light")
	r.git("tag", "-a", "v1", "-m", "release one")
	r.git("config", "uploadpack.allowReachableSHA1InWant", "true")
	head := r.commit("apps/y.yaml", "kind: Service", strings.Repeat("ü", 250))
	srv := newSSHServer(t)
	for name, base := range map[string]Request{
		"file":             {URL: r.fileURL()},
		"http":             {URL: r.http("", "")},
		"http basic auth":  {URL: r.http("jane", "s3cret"), Credentials: secret("username", "jane", "password", "s3cret\n")},
		"http bearer auth": {URL: r.http("jane", "s3cret"), Credentials: secret("bearerToken", "s3cret")},
		"ssh":              {URL: srv.url(r), Credentials: srv.credentials()},
	} {
		t.Run(name, func(t *testing.T) {
			for what, c := range map[string]struct {
				edit     func(*Request)
				revision string
			}{
				"the default branch": {func(*Request) {}, "main@sha1:" + head},
				"a branch":           {func(r *Request) { r.Branch = "main" }, "main@sha1:" + head},
				"a light tag":        {func(r *Request) { r.Tag = "light" }, "light@sha1:" + first},
				"an annotated tag":   {func(r *Request) { r.Tag = "v1" }, "v1@sha1:" + first},
				"a commit":           {func(r *Request) { r.Commit = first }, "main@sha1:" + first},
			} {
				req := base
				c.edit(&req)
				rev, err := New().Head(t.Context(), req)
				if err != nil || rev.String() != c.revision {
					t.Errorf("%s: Head = %s, %v, want %s", what, rev, err, c.revision)
				}
				snap, err := New().Fetch(t.Context(), req)
				if err != nil {
					t.Errorf("%s: Fetch: %v", what, err)
					continue
				}
				if snap.Revision.String() != c.revision {
					t.Errorf("%s: Fetch = %s, want %s", what, snap.Revision, c.revision)
				}
				if data, err := snap.Tree.ReadFile("apps/x/deployment.yaml"); err != nil || string(data) != "kind: Deployment" {
					t.Errorf("%s: content = %q, %v", what, data, err)
				}
			}
			for what, edit := range map[string]func(*Request){
				"branch": func(r *Request) { r.Branch = "nope" },
				"tag":    func(r *Request) { r.Tag = "nope" },
				"commit": func(r *Request) { r.Commit = strings.Repeat("a", 40) },
			} {
				req := base
				edit(&req)
				_, err := New().Fetch(t.Context(), req)
				notFound, ok := errors.AsType[*NotFoundError](err)
				if !ok || notFound.What != what {
					t.Errorf("unknown %s: %v, want NotFoundError", what, err)
				}
			}
		})
	}
}

func TestPinnedCommitFromAServerWithoutSingleCommits(t *testing.T) {
	r := newRepo(t)
	first := r.commit("a.yaml", "one", "one")
	r.commit("a.yaml", "two", "two")
	snap, err := New().Fetch(t.Context(), Request{URL: r.http("", ""), Commit: first})
	if err != nil {
		t.Fatal(err)
	}
	if data, err := snap.Tree.ReadFile("a.yaml"); err != nil || string(data) != "one" {
		t.Errorf("content = %q, %v", data, err)
	}
}

func TestCommitDataIsOneBoundedLine(t *testing.T) {
	r := newRepo(t)
	sha := r.commit("a.yaml", "", strings.Repeat("ü", 250)+"\n\nsecond paragraph")
	snap, err := New().Fetch(t.Context(), Request{URL: r.http("", "")})
	if err != nil {
		t.Fatal(err)
	}
	want := Commit{SHA: sha, Author: "Jane Doe", Email: "jane@example.com", Message: strings.Repeat("ü", 199) + "…", Time: snap.Commit.Time}
	if snap.Commit != want {
		t.Errorf("commit = %+v", snap.Commit)
	}
	if got := snap.Commit.Time.UTC().Format(time.RFC3339); got != "2026-11-01T10:00:00Z" {
		t.Errorf("time = %s", got)
	}
	if got := oneLine("\x1b[31mred\x07\tx\r\nnext"); got != "[31mredx" {
		t.Errorf("control characters: %q", got)
	}
}

func TestSymbolicLinksAndSubmodules(t *testing.T) {
	r, sub := newRepo(t), newRepo(t)
	sub.commit("s.yaml", "s", "s")
	r.write("base/x.yaml", "x")
	if err := os.Symlink("../base", filepath.Join(r.dir, "link")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("base", filepath.Join(r.dir, "good")); err != nil {
		t.Fatal(err)
	}
	r.git("-c", "protocol.file.allow=always", "submodule", "add", "-q", sub.fileURL(), "sub")
	r.commit("a.yaml", "a", "links")
	snap, err := New().Fetch(t.Context(), Request{URL: r.http("", "")})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := snap.Tree.ReadFile("link/x.yaml"); err == nil {
		t.Error("a link out of the repository was followed")
	}
	if data, err := snap.Tree.ReadFile("good/x.yaml"); err != nil || string(data) != "x" {
		t.Errorf("link inside = %q, %v", data, err)
	}
	if snap.Tree.Exists("sub/s.yaml") {
		t.Error("a submodule was fetched")
	}
}

func TestLimit(t *testing.T) {
	r := newRepo(t)
	r.commit("big.bin", strings.Repeat("0123456789", 1000), "big")
	_, err := New(WithLimit(5000)).Fetch(t.Context(), Request{URL: r.http("", "")})
	if _, ok := errors.AsType[*TooLargeError](err); !ok {
		t.Errorf("over http: %v, want TooLargeError", err)
	}
	snap, err := New(WithLimit(5000)).Fetch(t.Context(), Request{URL: r.fileURL()})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := snap.Tree.ReadFile("big.bin"); err == nil {
		t.Error("a file over the limit was read from disk")
	}
}

func TestRefusals(t *testing.T) {
	r := newRepo(t)
	r.commit("a.yaml", "a", "a")
	srv := newSSHServer(t)
	_, strangerKey := newSigner(t)
	otherHost, _ := newSigner(t)
	private := r.http("jane", "s3cret")
	hosts := string(srv.knownHosts)
	as := func(target any) func(error) bool {
		return func(err error) bool { return errors.As(err, target) }
	}
	for name, c := range map[string]struct {
		req  Request
		is   func(error) bool
		says string
	}{
		"no credentials for a private repository": {Request{URL: private}, as(new(*AuthError)), "spec.secretRef"},
		"a wrong password": {
			Request{URL: private, Credentials: secret("username", "jane", "password", "wrong")}, as(new(*AuthError)), "refused the credentials",
		},
		"a password without a user": {Request{URL: private, Credentials: secret("password", "x")}, as(new(*SecretError)), "both username and password"},
		"two kinds of credentials": {
			Request{URL: private, Credentials: secret("username", "a", "password", "x", "bearerToken", "y")}, as(new(*SecretError)), "keep one kind",
		},
		"a Secret for something else":  {Request{URL: private, Credentials: secret("foo", "x")}, as(new(*SecretError)), "username and password"},
		"a missing repository on disk": {Request{URL: "file:///nonexistent"}, as(new(*NotFoundError)), "does not exist"},
		"a missing repository":         {Request{URL: strings.Replace(r.http("", ""), "/app/", "/nope/", 1)}, as(new(*NotFoundError)), "repository"},
		"ssh without a key":            {Request{URL: srv.url(r)}, as(new(*SecretError)), "known_hosts"},
		"ssh without known_hosts": {
			Request{URL: srv.url(r), Credentials: secret("identity", string(srv.identity))}, as(new(*SecretError)), "ssh-keyscan",
		},
		"ssh with a broken key": {
			Request{URL: srv.url(r), Credentials: secret("identity", "x", "known_hosts", hosts)}, as(new(*SecretError)), "private key",
		},
		"ssh with a stranger's key": {
			Request{URL: srv.url(r), Credentials: secret("identity", string(strangerKey), "known_hosts", hosts)}, as(new(*AuthError)), "identity",
		},
		"ssh to a server with another host key": {
			Request{URL: srv.url(r), Credentials: secret("identity", string(srv.identity), "known_hosts", knownhosts.Line([]string{srv.addr}, otherHost.PublicKey()))},
			as(new(*AuthError)), "not the one in known_hosts",
		},
		"ssh to a server with a revoked host key": {
			Request{URL: srv.url(r), Credentials: secret("identity", string(srv.identity), "known_hosts", hosts+"@revoked "+hosts)},
			as(new(*AuthError)), "revoked",
		},
		"another protocol":       {Request{URL: "ftp://example.com/x"}, as(new(*SpecError)), "must begin with"},
		"a bare path":            {Request{URL: "/etc"}, as(new(*SpecError)), "must begin with"},
		"credentials in the URL": {Request{URL: "https://jane:s3cret@example.com/x"}, as(new(*SpecError)), "must not hold credentials"},
		"a server that is down":  {Request{URL: "http://" + closedPort(t) + "/x"}, as(new(*UnavailableError)), "127.0.0.1"},
	} {
		t.Run(name, func(t *testing.T) {
			for what, f := range map[string]func() error{
				"Head":  func() error { _, err := New().Head(t.Context(), c.req); return err },
				"Fetch": func() error { _, err := New().Fetch(t.Context(), c.req); return err },
			} {
				err := f()
				if err == nil || !c.is(err) || !strings.Contains(err.Error(), c.says) {
					t.Errorf("%s: %T: %v, want %q", what, err, err, c.says)
				}
				if err != nil && strings.Contains(err.Error(), "s3cret") {
					t.Errorf("%s tells the password: %v", what, err)
				}
			}
		})
	}
}

func closedPort(t *testing.T) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

func TestEmptyRepository(t *testing.T) {
	r := newRepo(t)
	for _, url := range []string{r.fileURL(), r.http("", "")} {
		if _, err := New().Head(t.Context(), Request{URL: url}); err == nil || err.Error() != `branch "main" does not exist` {
			t.Errorf("%s: %v", url, err)
		}
	}
}

func TestLocalCanBeSwitchedOff(t *testing.T) {
	_, err := New(WithoutLocal()).Head(t.Context(), Request{URL: newRepo(t).fileURL()})
	if _, ok := errors.AsType[*SpecError](err); !ok {
		t.Errorf("%v, want SpecError", err)
	}
}

// A server that takes the connection and says nothing must not hold a worker, also not over ssh, where go-git's handshake
// does not heed the context.
func TestASilentServerIsLeft(t *testing.T) {
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	srv := newSSHServer(t)
	hosts := strings.ReplaceAll(string(srv.knownHosts), strings.Split(srv.addr, ":")[1], strings.Split(l.Addr().String(), ":")[1])
	for _, req := range []Request{
		{URL: "http://" + l.Addr().String() + "/x"},
		{URL: "ssh://git@" + l.Addr().String() + "/x", Credentials: secret("identity", string(srv.identity), "known_hosts", hosts)},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		_, err := New().Head(ctx, req)
		cancel()
		if _, ok := errors.AsType[*UnavailableError](err); !ok || !strings.Contains(err.Error(), "did not answer within the timeout") {
			t.Errorf("%s: %v", req.URL, err)
		}
	}
}

func TestKnownHosts(t *testing.T) {
	signer, _ := newSigner(t)
	line := func(patterns ...string) string { return knownhosts.Line(patterns, signer.PublicKey()) }
	key := strings.SplitN(line("x"), " ", 2)[1]
	for name, c := range map[string]struct {
		file, addr string
		want       bool
	}{
		"a name":                               {line("git.example.com"), "git.example.com:22", true},
		"a name is for port 22 only":           {line("git.example.com"), "git.example.com:2222", false},
		"a name with a port":                   {"[git.example.com]:2222 " + key, "git.example.com:2222", true},
		"an IPv6 address":                      {"[fe80::1]:2222 " + key, "[fe80::1]:2222", true},
		"a hashed name":                        {knownhosts.HashHostname("git.example.com") + " " + key, "git.example.com:22", true},
		"another hashed name":                  {knownhosts.HashHostname("git.example.com") + " " + key, "example.com:22", false},
		"a wildcard":                           {"*.example.com " + key, "git.example.com:22", true},
		"a negated pattern":                    {"*.example.com,!git.example.com " + key, "git.example.com:22", false},
		"comments and empty lines are skipped": {"# x\n\n" + line("git.example.com"), "git.example.com:22", true},
		"a certificate authority is no host":   {"@cert-authority *.example.com " + key, "git.example.com:22", false},
		"an empty file":                        {"", "git.example.com:22", false},
	} {
		t.Run(name, func(t *testing.T) {
			hosts, err := parseKnownHosts([]byte(c.file))
			if err != nil {
				t.Fatal(err)
			}
			if got := hosts.check(c.addr, nil, signer.PublicKey()) == nil; got != c.want {
				t.Errorf("check = %t, want %t", got, c.want)
			}
			if got := len(hosts.algorithms(c.addr)) > 0; got != c.want {
				t.Errorf("algorithms known = %t, want %t", got, c.want)
			}
		})
	}
	if _, err := parseKnownHosts([]byte("git.example.com ssh-ed25519 !!!")); err == nil {
		t.Error("a broken file was read")
	}
}

func TestCredentialsDoNotPrint(t *testing.T) {
	c := secret("password", "s3cret")
	if s := fmt.Sprintf("%v %+v %#v %s", c, c, Request{Credentials: c}, c); strings.Contains(s, "s3cret") {
		t.Error(s)
	}
}

func TestAnOutageReadsTheSameEachTime(t *testing.T) {
	for _, c := range [][2]string{
		{"read tcp 10.0.0.7:41234->10.0.0.1:443: i/o timeout", "read tcp 10.0.0.1:443: i/o timeout"},
		{"read udp [fe80::1]:41234->[fe80::2]:53: i/o timeout", "read udp [fe80::2]:53: i/o timeout"},
		{"dial tcp 10.0.0.1:443: connect: connection refused", "dial tcp 10.0.0.1:443: connect: connection refused"},
	} {
		if got := steady(errors.New(c[0])).Error(); got != c[1] {
			t.Errorf("steady(%q) = %q", c[0], got)
		}
	}
}
