package fetch

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha1" //nolint:gosec // OpenSSH hashes host names in known_hosts with it
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/go-git/go-git/v5/plumbing/transport"
	githttp "github.com/go-git/go-git/v5/plumbing/transport/http"
	gitssh "github.com/go-git/go-git/v5/plumbing/transport/ssh"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

// Keys of the Secret that a GitSync names.
const (
	KeyUsername    = "username"
	KeyPassword    = "password"
	KeyBearerToken = "bearerToken"
	KeyIdentity    = "identity"
	KeyKnownHosts  = "known_hosts"
	KeyCA          = "ca.crt"
)

// Credentials are the data of a Secret. They print as "[redacted]".
type Credentials struct {
	data map[string][]byte
}

// NewCredentials takes the data of a Secret.
func NewCredentials(data map[string][]byte) Credentials { return Credentials{data: data} }

// String keeps credentials out of logs.
func (c Credentials) String() string { return "[redacted]" }

// GoString keeps credentials out of logs.
func (c Credentials) GoString() string { return "[redacted]" }

func (c Credentials) empty() bool { return len(c.data) == 0 }

func (c Credentials) get(key string) string {
	return strings.TrimRight(string(c.data[key]), "\r\n")
}

// method makes go-git's authentication for an endpoint.
func (c Credentials) method(ep *transport.Endpoint) (transport.AuthMethod, error) { //nolint:ireturn // one of several, for go-git
	if ep.Protocol == "ssh" {
		return c.sshMethod(ep)
	}
	username, password, token := c.get(KeyUsername), c.get(KeyPassword), c.get(KeyBearerToken)
	switch {
	case token != "" && (username != "" || password != ""):
		return nil, &SecretError{Msg: "the Secret has bearerToken as well as username or password: keep one kind"}
	case token != "":
		return &githttp.TokenAuth{Token: token}, nil
	case username != "" && password != "":
		return &githttp.BasicAuth{Username: username, Password: password}, nil
	case username != "" || password != "":
		return nil, &SecretError{Msg: "the Secret needs both username and password"}
	case len(c.data[KeyCA]) > 0 || c.empty():
		return nil, nil //nolint:nilnil // go-git takes nil for no authentication
	default:
		return nil, &SecretError{Msg: "the Secret has neither username and password nor bearerToken nor ca.crt, one of which a " + ep.Protocol + " URL needs"}
	}
}

func (c Credentials) sshMethod(ep *transport.Endpoint) (transport.AuthMethod, error) { //nolint:ireturn // one of several, for go-git
	if len(c.data[KeyIdentity]) == 0 {
		return nil, &SecretError{Msg: "an ssh URL needs spec.secretRef with a Secret that has the keys identity (a private key) and known_hosts"}
	}
	port := ep.Port
	if port <= 0 {
		port = gitssh.DefaultPort
	}
	addr := net.JoinHostPort(ep.Host, strconv.Itoa(port))
	hosts, err := parseKnownHosts(c.data[KeyKnownHosts])
	if err != nil {
		return nil, &SecretError{Msg: "known_hosts of the Secret cannot be read: " + err.Error()}
	}
	algorithms := hosts.algorithms(addr)
	if len(algorithms) == 0 {
		return nil, &SecretError{Msg: fmt.Sprintf("known_hosts of the Secret has no key of %s: add the output of `ssh-keyscan -p %d %s`", addr, port, ep.Host)}
	}
	user := ep.User
	if user == "" {
		user = gitssh.DefaultUsername
	}
	keys, err := gitssh.NewPublicKeys(user, c.data[KeyIdentity], c.get(KeyPassword))
	if err != nil {
		return nil, &SecretError{Msg: "identity of the Secret is not a private key that can be read (an encrypted one needs the key password): " + err.Error()}
	}
	keys.HostKeyCallback = hosts.check
	return &sshAuth{PublicKeys: keys, algorithms: algorithms}, nil
}

// sshAuth asks the server for a kind of host key that known_hosts has; otherwise the two may agree on another one and a
// good server looks like a wrong one.
type sshAuth struct {
	*gitssh.PublicKeys

	algorithms []string
}

// ClientConfig implements go-git's ssh.AuthMethod.
func (a *sshAuth) ClientConfig() (*ssh.ClientConfig, error) {
	cfg, err := a.PublicKeys.ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("configuring ssh: %w", err)
	}
	cfg.HostKeyAlgorithms = a.algorithms
	return cfg, nil
}

// knownHosts is a known_hosts file, read in memory: a controller has no disk to rely on.
type knownHosts []hostKey

type hostKey struct {
	revoked  bool
	patterns []string
	key      ssh.PublicKey
}

func parseKnownHosts(data []byte) (knownHosts, error) {
	var out knownHosts
	for len(data) > 0 {
		marker, patterns, key, _, rest, err := ssh.ParseKnownHosts(data)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("parsing: %w", err)
		}
		if marker != "cert-authority" { // host certificates are not supported; their keys are no host keys
			out = append(out, hostKey{revoked: marker == "revoked", patterns: patterns, key: key})
		}
		data = rest
	}
	return out, nil
}

// check is an ssh.HostKeyCallback.
func (k knownHosts) check(addr string, _ net.Addr, key ssh.PublicKey) error {
	accepted := false
	for _, h := range k {
		if !h.matches(addr) || !bytes.Equal(h.key.Marshal(), key.Marshal()) {
			continue
		}
		if h.revoked {
			return &AuthError{Msg: "the host key of " + addr + " is revoked in known_hosts of the Secret"}
		}
		accepted = true
	}
	if !accepted {
		return &AuthError{Msg: fmt.Sprintf("the host key of %s (%s %s) is not the one in known_hosts of the Secret", addr, key.Type(), ssh.FingerprintSHA256(key))}
	}
	return nil
}

// algorithms lists the host key algorithms that the known keys of addr can answer.
func (k knownHosts) algorithms(addr string) []string {
	var out []string
	for _, h := range k {
		if h.revoked || !h.matches(addr) {
			continue
		}
		if h.key.Type() == ssh.KeyAlgoRSA {
			out = append(out, ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256)
			continue
		}
		out = append(out, h.key.Type())
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// matches follows sshd(8): patterns with * and ?, negated by !, or one hashed name.
func (h hostKey) matches(addr string) bool {
	name := knownhosts.Normalize(addr)
	found := false
	for _, p := range h.patterns {
		if strings.HasPrefix(p, "|1|") {
			found = found || hashMatches(p, name)
			continue
		}
		p, negated := strings.CutPrefix(p, "!")
		ok, err := path.Match(strings.ReplaceAll(p, "[", `\[`), name)
		if err != nil || !ok {
			continue
		}
		if negated {
			return false
		}
		found = true
	}
	return found
}

func hashMatches(pattern, name string) bool {
	salt64, hash64, _ := strings.Cut(strings.TrimPrefix(pattern, "|1|"), "|")
	salt, err := base64.StdEncoding.DecodeString(salt64)
	if err != nil {
		return false
	}
	want, err := base64.StdEncoding.DecodeString(hash64)
	if err != nil {
		return false
	}
	mac := hmac.New(sha1.New, salt)
	mac.Write([]byte(name))
	return hmac.Equal(mac.Sum(nil), want)
}
