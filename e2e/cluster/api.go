package cluster

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/siskin-dev/siskin/e2e/cluster/proxy"
	"github.com/siskin-dev/siskin/e2e/gateway"
)

// Config returns the configuration of an administrator's client.
func (c *Cluster) Config() *rest.Config { return rest.CopyConfig(c.config) }

// Client returns an administrator's client for the kinds of Kubernetes, CRDs and the Gateway API.
func (c *Cluster) Client() client.Client { return c.client }

// Kubeconfig is the path of an administrator's kubeconfig, for use outside.
func (c *Cluster) Kubeconfig() string { return filepath.Join(c.dir, "kubeconfig") }

// Dir is where the logs are.
func (c *Cluster) Dir() string { return c.dir }

// ID is the value of SISKIN_CLUSTER_ID in the environment of every process of the cluster.
func (c *Cluster) ID() string { return c.id }

// ForwardAddr is the address on 127.0.0.1 of a forward of Options.Forwards, or of "apiserver", "gateway", "test-gateway",
// "test-gateway-control", "prometheus", "git", "git-ssh" or "slack".
func (c *Cluster) ForwardAddr(name string) string { return "127.0.0.1:" + strconv.Itoa(c.ports[name]) }

// GatewayURL is the URL of the Gateway's listener, outside.
func (c *Cluster) GatewayURL() string { return "http://" + c.ForwardAddr("gateway") }

// TestGatewayURL is the URL of the test gateway's listener, outside. Inside it is http://test-gateway.gateway-system.
func (c *Cluster) TestGatewayURL() string { return "http://" + c.ForwardAddr("test-gateway") }

// TestGateway makes the test gateway go wrong.
func (c *Cluster) TestGateway() *gateway.Control {
	return &gateway.Control{URL: "http://" + c.ForwardAddr("test-gateway-control")}
}

// PrometheusURL is the URL of Prometheus, outside. Inside it is PrometheusURLInCluster.
func (c *Cluster) PrometheusURL() string { return "http://" + c.ForwardAddr("prometheus") }

// PrometheusURLInCluster is the URL of Prometheus, for pods.
func (c *Cluster) PrometheusURLInCluster() string {
	return "http://prometheus.monitoring.svc.cluster.local:9090"
}

// GatewayURLInCluster is the URL of the Gateway's listener, for pods.
func (c *Cluster) GatewayURLInCluster() string {
	return "http://gateway.gateway-system.svc.cluster.local"
}

// GitURL is the URL of a repository, outside.
func (c *Cluster) GitURL(name string) string {
	return "http://" + c.ForwardAddr("git") + "/" + name + ".git"
}

// GitURLInCluster is the URL of a repository, for pods.
func (c *Cluster) GitURLInCluster(name string) string {
	return "http://git.git-system.svc.cluster.local/" + name + ".git"
}

// GitSSHURLInCluster is the URL of a repository over SSH, for pods. AuthorizeGitKey lets a key in.
func (c *Cluster) GitSSHURLInCluster(name string) string {
	return "ssh://git@git.git-system.svc.cluster.local/" + name + ".git"
}

// SlackURLInCluster is the base URL of the Slack Web API, for pods ("…/api/"). The webhook is beside it.
func (c *Cluster) SlackURLInCluster() string {
	return "http://slack.slack-system.svc.cluster.local/api/"
}

// SlackWebhookURLInCluster is an incoming webhook, for pods.
func (c *Cluster) SlackWebhookURLInCluster() string {
	return "http://slack.slack-system.svc.cluster.local/webhook"
}

// SlackURL is the base URL of the Slack Web API, outside.
func (c *Cluster) SlackURL() string { return "http://" + c.ForwardAddr("slack") + "/api/" }

// ProxyURL is an HTTP proxy that resolves and reaches the names and addresses inside.
func (c *Cluster) ProxyURL() *url.URL {
	return &url.URL{Scheme: "http", Host: "127.0.0.1:" + strconv.Itoa(c.ports["proxy"])}
}

// HTTPClient returns a client that reaches the names and addresses inside.
func (c *Cluster) HTTPClient() *http.Client {
	// Not with http.ProxyURL: a request through a proxy cannot have another Host than its URL.
	return &http.Client{Transport: &http.Transport{DialContext: c.DialContext}}
}

// DialContext connects to a name or address inside. The network is always TCP.
func (c *Cluster) DialContext(ctx context.Context, _, addr string) (net.Conn, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", c.ProxyURL().Host)
	if err != nil {
		return nil, fmt.Errorf("dialling the cluster: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	err = connect(conn, addr)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("dialling %s inside the cluster: %w", addr, err)
	}
	return conn, nil
}

// connect sends CONNECT and reads the answer, byte by byte so as not to read what follows.
func connect(conn net.Conn, addr string) error {
	if _, err := fmt.Fprintf(conn, "CONNECT %s HTTP/1.1\r\nHost: %s\r\n\r\n", addr, addr); err != nil {
		return err
	}
	var head []byte
	for b := make([]byte, 1); !bytes.HasSuffix(head, []byte("\r\n\r\n")); {
		if _, err := conn.Read(b); err != nil {
			return err
		}
		head = append(head, b[0])
	}
	resp, err := http.ReadResponse(bufio.NewReader(io.MultiReader(bytes.NewReader(head), conn)), &http.Request{Method: http.MethodConnect})
	if err != nil {
		return err
	}
	if resp.StatusCode == http.StatusOK {
		return nil
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1000))
	return errors.Join(err, errors.New(string(bytes.TrimSpace(body))))
}

// call calls the supervisor.
func (c *Cluster) call(ctx context.Context, method, path string, query url.Values, out any) error {
	u := url.URL{Scheme: "http", Host: "127.0.0.1:" + strconv.Itoa(c.ports["control"]), Path: path, RawQuery: query.Encode()}
	req, err := http.NewRequestWithContext(ctx, method, u.String(), nil)
	if err != nil {
		return fmt.Errorf("calling the supervisor: %w", err)
	}
	req.Header.Set("Authorization", "Bearer "+c.token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("calling the supervisor: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		return fmt.Errorf("calling the supervisor: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		return errors.New(string(bytes.TrimSpace(data)))
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(data, out); err != nil {
		return fmt.Errorf("reading the supervisor's answer: %w", err)
	}
	return nil
}

// Kubectl runs kubectl and returns what it prints.
func (c *Cluster) Kubectl(ctx context.Context, args ...string) (string, error) {
	return c.kubectl(ctx, nil, args...)
}

func (c *Cluster) kubectl(ctx context.Context, stdin io.Reader, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, filepath.Join(c.bin, "kubectl"), append([]string{"--kubeconfig=" + c.Kubeconfig()}, args...)...)
	cmd.Stdin = stdin
	out, err := cmd.CombinedOutput()
	if err != nil {
		return string(out), fmt.Errorf("kubectl %v: %w: %s", args, err, out)
	}
	return string(out), nil
}

// Apply applies a manifest of any number of documents, on the server's side.
func (c *Cluster) Apply(ctx context.Context, manifest []byte) error {
	_, err := c.kubectl(ctx, bytes.NewReader(manifest), "apply", "--server-side", "--force-conflicts", "-f", "-")
	return err
}

// PodLogs returns the logs of all containers of a pod, of all their lives, also after the pod is gone.
func (c *Cluster) PodLogs(namespace, name string) string {
	files, err := filepath.Glob(filepath.Join(c.dir, "pods", namespace+"_"+name+"_*.log"))
	if err != nil {
		return err.Error()
	}
	var out bytes.Buffer
	for _, f := range files {
		_, _ = fmt.Fprintf(&out, "--- %s\n%s\n", filepath.Base(f), tail(f, 200))
	}
	return out.String()
}

// KillPod sends a signal to the processes of a pod. To the node this is a crash: it restarts them.
func (c *Cluster) KillPod(ctx context.Context, namespace, name string, signal syscall.Signal) error {
	return c.call(ctx, http.MethodPost, "/pods/"+namespace+"/"+name+"/kill", url.Values{"signal": {strconv.Itoa(int(signal))}}, nil)
}

// StopComponent kills a server ("etcd", "apiserver", "controller-manager", "traefik", "test-gateway", "prometheus") with
// SIGKILL.
func (c *Cluster) StopComponent(ctx context.Context, name string) error {
	return c.call(ctx, http.MethodPost, "/components/"+name+"/stop", nil, nil)
}

// StartComponent starts a stopped server and waits until it is ready.
func (c *Cluster) StartComponent(ctx context.Context, name string) error {
	return c.call(ctx, http.MethodPost, "/components/"+name+"/start", nil, nil)
}

// PauseComponent makes a server hang (SIGSTOP): it accepts connections and does not answer.
func (c *Cluster) PauseComponent(ctx context.Context, name string) error {
	return c.call(ctx, http.MethodPost, "/components/"+name+"/pause", nil, nil)
}

// ResumeComponent lets a paused server go on.
func (c *Cluster) ResumeComponent(ctx context.Context, name string) error {
	return c.call(ctx, http.MethodPost, "/components/"+name+"/resume", nil, nil)
}

// Trouble is what goes wrong with the connections of a Service.
type Trouble = proxy.Trouble

// HamperAPI makes the API server slow, or refuse connections, for pods alone: they reach it by a Service that nobody else uses. The
// zero Trouble ends it.
func (c *Cluster) HamperAPI(ctx context.Context, t Trouble) error {
	return c.call(ctx, http.MethodPost, "/services/default/kubernetes/trouble",
		url.Values{"delay": {t.Delay.String()}, "refuse": {strconv.FormatBool(t.Refuse)}}, nil)
}

// CreateRepo makes an empty bare git repository. One named "private/…" needs a user, see SetGitUser.
func (c *Cluster) CreateRepo(ctx context.Context, name string) error {
	return c.call(ctx, http.MethodPost, "/git/repo", url.Values{"name": {name}}, nil)
}

// SetGitUser lets a user into private repositories over HTTP.
func (c *Cluster) SetGitUser(ctx context.Context, user, password string) error {
	return c.call(ctx, http.MethodPost, "/git/user", url.Values{"user": {user}, "password": {password}}, nil)
}

// AuthorizeGitKey lets a public key (a line of authorized_keys) in over SSH and returns the host key, as a line of
// known_hosts without the host.
func (c *Cluster) AuthorizeGitKey(ctx context.Context, publicKey string) (string, error) {
	var host string
	err := c.call(ctx, http.MethodPost, "/git/key", url.Values{"key": {publicKey}}, &host)
	return host, err
}

// SetLoad makes the ready pods of a namespace that selector selects share milli thousandths of a CPU, as the metrics API tells them.
// Pods that no load selects have no metrics. It needs Options.MetricsAPI.
func (c *Cluster) SetLoad(ctx context.Context, namespace, selector string, milli int) error {
	q := url.Values{"namespace": {namespace}, "selector": {selector}, "milli": {strconv.Itoa(milli)}}
	return c.call(ctx, http.MethodPost, "/load", q, nil)
}

// GitDown makes the git server refuse everything, or work again.
func (c *Cluster) GitDown(ctx context.Context, down bool) error {
	return c.call(ctx, http.MethodPost, "/git/down", url.Values{"down": {strconv.FormatBool(down)}}, nil)
}

// SlackMessages returns every message that Slack has received.
func (c *Cluster) SlackMessages(ctx context.Context) ([]SlackMessage, error) {
	var out []SlackMessage
	err := c.call(ctx, http.MethodGet, "/slack/messages", nil, &out)
	return out, err
}

// SlackDown makes Slack answer 500, or work again.
func (c *Cluster) SlackDown(ctx context.Context, down bool) error {
	mode := "up"
	if down {
		mode = "error"
	}
	return c.call(ctx, http.MethodPost, "/slack/mode/"+mode, nil, nil)
}

// SlackHang makes Slack accept requests and not answer them, until SlackDown is called.
func (c *Cluster) SlackHang(ctx context.Context) error {
	return c.call(ctx, http.MethodPost, "/slack/mode/hang", nil, nil)
}
