package gitserver

import (
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"regexp"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
)

func newSigner() (ssh.Signer, error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making the host key: %w", err)
	}
	signer, err := ssh.NewSignerFromKey(key)
	if err != nil {
		return nil, fmt.Errorf("making the host key: %w", err)
	}
	return signer, nil
}

// HostKey is the server's public key as a line of known_hosts, without the host.
func (s *Server) HostKey() string {
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(s.signer.PublicKey())))
}

// AuthorizeKey lets the owner of a public key (a line of authorized_keys) in.
func (s *Server) AuthorizeKey(line string) error {
	key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(line))
	if err != nil {
		return fmt.Errorf("reading the public key: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys[string(key.Marshal())] = true
	return nil
}

func (s *Server) serveSSH(l net.Listener) {
	config := &ssh.ServerConfig{PublicKeyCallback: func(_ ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.down || !s.keys[string(key.Marshal())] {
			return nil, errors.New("unknown key")
		}
		return &ssh.Permissions{}, nil
	}}
	config.AddHostKey(s.signer)
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		go s.serveConn(conn, config)
	}
}

func (s *Server) serveConn(conn net.Conn, config *ssh.ServerConfig) {
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(5 * time.Minute))
	sc, channels, requests, err := ssh.NewServerConn(conn, config)
	if err != nil {
		return
	}
	defer func() { _ = sc.Close() }()
	go ssh.DiscardRequests(requests)
	for nc := range channels {
		if nc.ChannelType() != "session" {
			_ = nc.Reject(ssh.UnknownChannelType, "only sessions")
			continue
		}
		ch, reqs, err := nc.Accept()
		if err != nil {
			return
		}
		go s.session(ch, reqs)
	}
}

func (s *Server) session(ch ssh.Channel, requests <-chan *ssh.Request) {
	defer func() { _ = ch.Close() }()
	command := regexp.MustCompile(`^(git-upload-pack|git-receive-pack) '?/?((?:private/)?[a-zA-Z0-9][a-zA-Z0-9_.-]*)'?$`)
	protocol := ""
	for req := range requests {
		switch req.Type {
		case "env":
			var kv struct{ Name, Value string }
			if ssh.Unmarshal(req.Payload, &kv) == nil && kv.Name == "GIT_PROTOCOL" {
				protocol = kv.Value
			}
			_ = req.Reply(true, nil)
		case "exec":
			var payload struct{ Command string }
			err := ssh.Unmarshal(req.Payload, &payload)
			m := command.FindStringSubmatch(payload.Command)
			_ = req.Reply(err == nil && m != nil, nil)
			if err != nil || m == nil {
				return
			}
			cmd := exec.Command(s.git, strings.TrimPrefix(m[1], "git-"), s.dir(m[2])) //nolint:noctx // it ends with its channel
			cmd.Env = append([]string{"GIT_PROTOCOL=" + protocol}, s.env...)
			cmd.Stdin, cmd.Stdout, cmd.Stderr = ch, ch, ch.Stderr()
			cmd.WaitDelay = time.Second
			status := uint32(0)
			if err := cmd.Run(); err != nil && !errors.Is(err, exec.ErrWaitDelay) {
				status = 1
			}
			_, _ = ch.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{status}))
			return
		default:
			_ = req.Reply(false, nil)
		}
	}
}
