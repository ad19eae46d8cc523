package cluster

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/siskin-dev/siskin/e2e/cluster/internal/sandbox"
	"github.com/siskin-dev/siskin/e2e/cluster/internal/wire"
	"github.com/siskin-dev/siskin/e2e/cluster/proxy"
)

// firstFD is the number of the first of exec.Cmd's ExtraFiles in the child.
const firstFD = 3

// inheritance collects the files that the child gets.
type inheritance struct{ files []*os.File }

func (in *inheritance) add(f *os.File) int {
	in.files = append(in.files, f)
	return firstFD + len(in.files) - 1
}

// listen opens a port of 127.0.0.1. The socket stays in the network namespace in which it was opened, also when
// a process in another one accepts its connections.
func (in *inheritance) listen() (fd, port int, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, 0, fmt.Errorf("listening: %w", err)
	}
	defer func() { _ = l.Close() }()
	tcp, ok := l.(*net.TCPListener)
	if !ok {
		return 0, 0, errors.New("not a TCP listener")
	}
	f, err := tcp.File()
	if err != nil {
		return 0, 0, fmt.Errorf("passing on a listener: %w", err)
	}
	_, p, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		return 0, 0, fmt.Errorf("reading the port: %w", err)
	}
	port, err = strconv.Atoi(p)
	return in.add(f), port, err
}

func (in *inheritance) close() {
	for _, f := range in.files {
		_ = f.Close()
	}
}

func (c *Cluster) forwards() map[string]string {
	out := map[string]string{"apiserver": wire.APIServerAddr}
	if c.o.Traefik {
		out["gateway"] = wire.GatewayAddr
	}
	if c.o.TestGateway {
		out["test-gateway"], out["test-gateway-control"] = wire.TestGatewayAddr, wire.TestGatewayControl
	}
	if c.o.Prometheus {
		out["prometheus"] = wire.PrometheusAddr
	}
	if c.o.Git {
		out["git"], out["git-ssh"] = wire.GitHTTPAddr, wire.GitSSHAddr
	}
	if c.o.Slack {
		out["slack"] = wire.SlackAddr
	}
	maps.Copy(out, c.o.Forwards)
	return out
}

// launch starts the supervisor and waits until it says that the cluster is ready.
func (c *Cluster) launch(ctx context.Context, self string) error {
	in := &inheritance{}
	defer in.close()
	cfg := wire.Config{
		ID: c.id, Dir: c.dir, KeepDir: c.o.Dir != "", BinDir: c.bin, Self: self, Token: c.token, Programs: c.programs(self),
		Traefik: c.o.Traefik, TestGateway: c.o.TestGateway, Nginx: c.o.IngressNGINX, Prometheus: c.o.Prometheus, Git: c.o.Git, Slack: c.o.Slack, MetricsAPI: c.o.MetricsAPI,
		StartTimeout: c.o.StartTimeout, CRDs: c.o.CRDs, SharedNetwork: c.o.SharedNetwork, PodEnv: c.o.PodEnv,
	}
	if c.o.Traefik || c.o.TestGateway {
		crds, err := gatewayCRDs(ctx)
		if err != nil {
			return err
		}
		cfg.CRDs = append(crds, cfg.CRDs...)
	}
	statusR, statusW, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("making a pipe: %w", err)
	}
	cfg.StatusFD = in.add(statusW)
	targets := c.forwards()
	for _, name := range slices.Sorted(maps.Keys(targets)) {
		fd, port, err := in.listen()
		if err != nil {
			return err
		}
		c.ports[name] = port
		cfg.Forwards = append(cfg.Forwards, wire.Forward{Name: name, FD: fd, Port: port, Target: targets[name]})
	}
	if cfg.ControlFD, c.ports["control"], err = in.listen(); err != nil {
		return err
	}
	if cfg.ProxyFD, c.ports["proxy"], err = in.listen(); err != nil {
		return err
	}
	if err := c.openWayOut(&cfg); err != nil {
		return err
	}
	if err := c.spawn(self, cfg, in); err != nil {
		return err
	}
	return c.waitReady(ctx, statusR)
}

// openWayOut serves the unix socket through which processes inside reach OutsidePorts.
func (c *Cluster) openWayOut(cfg *wire.Config) error {
	if len(c.o.OutsidePorts) == 0 {
		return nil
	}
	cfg.Reverse, cfg.ReversePorts = filepath.Join(c.dir, "out.sock"), c.o.OutsidePorts
	l, err := net.Listen("unix", cfg.Reverse)
	if err != nil {
		return fmt.Errorf("listening for the way out: %w", err)
	}
	c.reverse = l
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return // closed by Stop
			}
			go wayOut(conn, c.o.OutsidePorts)
		}
	}()
	return nil
}

func wayOut(conn net.Conn, allowed []int) {
	head := make([]byte, 5)
	_ = conn.SetReadDeadline(time.Now().Add(5 * time.Second))
	_, err := io.ReadFull(conn, head)
	_ = conn.SetReadDeadline(time.Time{})
	port, convErr := strconv.Atoi(string(head))
	if err != nil || convErr != nil || !slices.Contains(allowed, port) {
		_ = conn.Close()
		return
	}
	up, err := net.DialTimeout("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), 5*time.Second)
	if err != nil {
		_ = conn.Close()
		return
	}
	proxy.Join(conn, up)
}

// spawn starts the supervisor in its namespaces.
func (c *Cluster) spawn(self string, cfg wire.Config, in *inheritance) error {
	configFile, err := c.writeConfig(cfg)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(c.dir, "logs"), 0o755); err != nil {
		return fmt.Errorf("making the log directory: %w", err)
	}
	log, err := os.Create(filepath.Join(c.dir, "logs", "supervisor.log"))
	if err != nil {
		return fmt.Errorf("opening the log: %w", err)
	}
	defer func() { _ = log.Close() }()
	cmd := exec.Command(self, "supervise", configFile) //nolint:noctx // it outlives the context of New
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=/root", "TMPDIR=" + os.TempDir(), wire.MarkerEnv + "=" + c.id}
	cmd.ExtraFiles = in.files
	cmd.Dir = "/"
	cmd.SysProcAttr = sandbox.Namespaces()
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return fmt.Errorf("making a pipe: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("starting the cluster in its own user, network, mount and PID namespaces (are unprivileged user namespaces allowed here?): %w", err)
	}
	c.cmd, c.stdin = cmd, stdin
	go func() {
		_ = cmd.Wait()
		close(c.exited)
	}()
	return nil
}

// waitReady reads the supervisor's events until it is ready, and goes on passing them to the log.
func (c *Cluster) waitReady(ctx context.Context, status *os.File) error {
	ready := make(chan error, 1)
	go func() { // ends with the supervisor
		defer func() { _ = status.Close() }()
		lines := bufio.NewScanner(status)
		for lines.Scan() {
			var e wire.Event
			if json.Unmarshal(lines.Bytes(), &e) != nil {
				continue
			}
			switch e.Type {
			case "ready":
				ready <- nil
			case "failed":
				ready <- errors.New(e.Message)
			default:
				_, _ = fmt.Fprintln(c.o.Log, e.Message)
			}
		}
		select {
		case ready <- errors.New("the supervisor has ended:\n" + c.LogTail("supervisor", 20)):
		default:
		}
	}()
	select {
	case err := <-ready:
		if err != nil {
			return fmt.Errorf("starting the cluster: %w", err)
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("starting the cluster: %w:\n%s", ctx.Err(), c.LogTail("supervisor", 20))
	}
}

// LogTail returns the last lines of a component's log: "supervisor", "node", "proxy", "etcd", "apiserver",
// "controller-manager", "traefik", "test-gateway", "prometheus".
func (c *Cluster) LogTail(component string, lines int) string {
	return tail(filepath.Join(c.dir, "logs", component+".log"), lines)
}

func tail(path string, n int) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimRight(string(data), "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
