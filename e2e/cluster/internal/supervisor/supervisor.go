// Package supervisor is the inside of a cluster: PID 1 of the namespaces, which starts every server, runs the
// node, and ends, and with it everything, when its parent does.
package supervisor

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/siskin-dev/siskin/e2e/cluster/internal/gitserver"
	"github.com/siskin-dev/siskin/e2e/cluster/internal/metricsserver"
	"github.com/siskin-dev/siskin/e2e/cluster/internal/sandbox"
	"github.com/siskin-dev/siskin/e2e/cluster/internal/slackserver"
	"github.com/siskin-dev/siskin/e2e/cluster/internal/wire"
	"github.com/siskin-dev/siskin/e2e/cluster/node"
	"github.com/siskin-dev/siskin/e2e/cluster/proxy"
)

// Supervisor holds the parts of a running cluster.
type Supervisor struct {
	cfg    wire.Config
	log    io.Writer
	data   string // tmpfs
	token  string // of the administrator
	pki    *pki
	net    *sandbox.Network
	client kubernetes.Interface
	dyn    dynamic.Interface

	agent    *node.Agent
	services *proxy.Services
	git      *gitserver.Server
	slack    *slackserver.Server
	metrics  *metricsserver.Server

	eventMu sync.Mutex
	events  *json.Encoder

	// ready is set when all fields above are: the control API is there before.
	ready atomic.Bool

	mu        sync.Mutex
	processes map[string]*process
}

// Run starts the cluster described by the file and runs it until standard input ends. It never returns: the
// process is PID 1, and its end is the end of every other process of the cluster.
func Run(ctx context.Context, configFile string) error {
	data, err := os.ReadFile(configFile)
	if err != nil {
		return fmt.Errorf("reading the configuration: %w", err)
	}
	var cfg wire.Config
	if err := json.Unmarshal(data, &cfg); err != nil {
		return fmt.Errorf("reading the configuration: %w", err)
	}
	s := &Supervisor{cfg: cfg, log: os.Stderr, processes: map[string]*process{}}
	s.events = json.NewEncoder(os.NewFile(uintptr(cfg.StatusFD), "status"))
	lock, err := os.OpenFile(filepath.Join(cfg.Dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("opening the lock: %w", err)
	}
	// As long as this process lives nobody takes the directory for a dead one's.
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return fmt.Errorf("locking %s: %w", cfg.Dir, err)
	}
	go s.endWithParent()
	go reap(ctx)

	startCtx, cancel := context.WithTimeout(ctx, cfg.StartTimeout)
	err = s.start(ctx, startCtx)
	cancel()
	if err != nil {
		s.event("failed", err.Error())
	} else {
		s.ready.Store(true)
		s.event("ready", "")
	}
	<-ctx.Done() // until standard input ends
	return errors.Join(err, lock.Close())
}

// endWithParent waits for the end of standard input, a pipe whose other end only the parent has. However the
// parent ends, the kernel closes it.
func (s *Supervisor) endWithParent() {
	_, _ = io.Copy(io.Discard, os.Stdin)
	// From PID 1 this reaches every process of the cluster, and no other.
	_ = syscall.Kill(-1, syscall.SIGKILL)
	if !s.cfg.KeepDir {
		_ = syscall.Unmount(filepath.Join(s.cfg.Dir, "data"), syscall.MNT_DETACH)
		_ = os.RemoveAll(s.cfg.Dir)
	}
	os.Exit(0)
}

func (s *Supervisor) event(kind, message string) {
	s.eventMu.Lock()
	defer s.eventMu.Unlock()
	_, _ = fmt.Fprintf(s.log, "%s %s %s\n", time.Now().Format("15:04:05.000"), kind, message)
	_ = s.events.Encode(wire.Event{Type: kind, Message: message})
}

func (s *Supervisor) start(ctx, startCtx context.Context) error {
	if err := s.prepare(); err != nil {
		return err
	}
	if err := s.listen(ctx); err != nil {
		return err
	}
	if err := s.startControlPlane(startCtx); err != nil {
		return err
	}
	if err := s.startNode(ctx, startCtx); err != nil {
		return err
	}
	if err := s.startServers(startCtx); err != nil {
		return err
	}
	return s.startMetricsAPI(ctx, startCtx)
}

// prepare makes the network, the file system and the keys.
func (s *Supervisor) prepare() error {
	own := []string{wire.NodeIP, wire.PrometheusIP, wire.TraefikIP, wire.GitIP, wire.SlackIP, wire.OutsideIP, wire.MetricsIP, wire.GatewayIP}
	n, err := sandbox.SetupNetwork(wire.PodCIDR, wire.ServiceCIDR, own, s.cfg.SharedNetwork)
	if err != nil {
		return err
	}
	s.net = n
	if n.Shared {
		s.event("progress", "no network namespaces for pods on this machine ("+n.Reason.Error()+"): pods must bind their own address")
	}
	if err := sandbox.SetupRoot(s.cfg.Dir); err != nil {
		return err
	}
	s.data = filepath.Join(s.cfg.Dir, "data")
	if err := sandbox.MountTmpfs(s.data); err != nil {
		return err
	}
	for _, d := range []string{"logs", "pods"} {
		if err := os.MkdirAll(filepath.Join(s.cfg.Dir, d), 0o755); err != nil {
			return fmt.Errorf("making %s: %w", d, err)
		}
	}
	if err := s.placePrograms(); err != nil {
		return err
	}
	for path, text := range map[string]string{
		"/etc/resolv.conf": "search svc.cluster.local cluster.local\nnameserver " + wire.DNSIP + "\noptions ndots:5\n",
		"/etc/hosts":       "127.0.0.1 localhost\n",
	} {
		_ = os.Remove(path)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			return fmt.Errorf("writing %s: %w", path, err)
		}
	}
	s.token = rand.Text()
	if s.pki, err = newPKI(filepath.Join(s.data, "pki"), s.token); err != nil {
		return err
	}
	return s.writeKubeconfigs()
}

func (s *Supervisor) writeKubeconfigs() error {
	inside := filepath.Join(s.data, "kubeconfig")
	if err := writeKubeconfig(inside, "https://"+wire.APIServerAddr, s.token, s.pki.caPEM); err != nil {
		return err
	}
	for _, f := range s.cfg.Forwards {
		if f.Name == "apiserver" {
			return writeKubeconfig(filepath.Join(s.cfg.Dir, "kubeconfig"), fmt.Sprintf("https://127.0.0.1:%d", f.Port), s.token, s.pki.caPEM)
		}
	}
	return nil
}

func listener(fd int) (net.Listener, error) {
	f := os.NewFile(uintptr(fd), "listener")
	defer func() { _ = f.Close() }()
	l, err := net.FileListener(f)
	if err != nil {
		return nil, fmt.Errorf("taking over listener %d: %w", fd, err)
	}
	return l, nil
}

// listen serves the listeners that were opened outside.
func (s *Supervisor) listen(ctx context.Context) error {
	resolver := proxy.Resolver(wire.DNSIP + ":53")
	for _, f := range s.cfg.Forwards {
		l, err := listener(f.FD)
		if err != nil {
			return err
		}
		dialer := &net.Dialer{Resolver: resolver}
		go proxy.Forward(l, func(ctx context.Context) (net.Conn, error) { return dialer.DialContext(ctx, "tcp", f.Target) })
	}
	for _, port := range s.cfg.ReversePorts {
		l, err := net.Listen("tcp", fmt.Sprintf("%s:%d", wire.OutsideIP, port))
		if err != nil {
			return fmt.Errorf("listening for the way out: %w", err)
		}
		go proxy.Forward(l, func(ctx context.Context) (net.Conn, error) { return dialOut(ctx, s.cfg.Reverse, port) })
	}
	for fd, h := range map[int]http.Handler{s.cfg.ProxyFD: proxy.HTTP(resolver), s.cfg.ControlFD: s.control()} {
		l, err := listener(fd)
		if err != nil {
			return err
		}
		go func() {
			_ = (&http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second, BaseContext: func(net.Listener) context.Context { return ctx }}).Serve(l)
		}()
	}
	return nil
}

// dialOut opens a connection to a port of 127.0.0.1 outside: a unix socket knows no network namespace.
func dialOut(ctx context.Context, socket string, port int) (net.Conn, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", socket)
	if err != nil {
		return nil, fmt.Errorf("dialling the parent: %w", err)
	}
	if _, err := fmt.Fprintf(conn, "%05d", port); err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("dialling the parent: %w", err)
	}
	return conn, nil
}

func (s *Supervisor) rest() *rest.Config {
	return &rest.Config{
		Host: "https://" + wire.APIServerAddr, BearerToken: s.token, QPS: -1,
		TLSClientConfig: rest.TLSClientConfig{CAData: s.pki.caPEM},
	}
}

func (s *Supervisor) env() []string {
	return []string{"PATH=" + s.path(), "HOME=/root", wire.MarkerEnv + "=" + s.cfg.ID}
}

func (s *Supervisor) path() string {
	return wire.ProgramsDir + ":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
}

func (s *Supervisor) logFile(name string) string {
	return filepath.Join(s.cfg.Dir, "logs", name+".log")
}

func (s *Supervisor) openLog(name string) (*os.File, error) {
	f, err := os.OpenFile(s.logFile(name), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, fmt.Errorf("opening the log of %s: %w", name, err)
	}
	return f, nil
}

func base64Std(b []byte) string { return base64.StdEncoding.EncodeToString(b) }
