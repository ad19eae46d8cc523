// Package cluster runs a real Kubernetes without containers: etcd, kube-apiserver and kube-controller-manager,
// a node that runs pods as processes, a service network, Traefik as Gateway API data plane, Prometheus, a git
// server and a Slack server, all inside namespaces of their own, as any user. See README.md.
package cluster

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	gatewayv1beta1 "sigs.k8s.io/gateway-api/apis/v1beta1"

	"github.com/siskin-dev/siskin/e2e/cluster/internal/sandbox"
	"github.com/siskin-dev/siskin/e2e/cluster/internal/wire"
)

// Program is what the node runs for an image.
type Program = wire.Program

// SlackMessage is a message that the Slack server received.
type SlackMessage = wire.SlackMessage

// Images that every cluster knows, without tag: any tag will do.
const (
	// ImagePodinfo is the real podinfo.
	ImagePodinfo = "ghcr.io/stefanprodan/podinfo"
	// ImageTestapp is an application with exact failure ratios, see package testapp.
	ImageTestapp = "siskin.dev/testapp"
	// ImagePause has no process: its pods are ready at once and cost nothing, so there may be thousands.
	ImagePause = "siskin.dev/pause"
	// ImageSiskin is Options.Siskin.
	ImageSiskin = "ghcr.io/siskin-dev/siskin"
)

// OutsideIP is an address inside the cluster that leads to 127.0.0.1 outside, for Options.OutsidePorts.
const OutsideIP = wire.OutsideIP

// Options say what a cluster consists of. The zero value is an API server, a node and nothing else.
type Options struct {
	// Siskin is the path of the siskin binary that image ImageSiskin runs, or empty.
	Siskin string
	// Traefik runs the Gateway API data plane, with Gateway gateway-system/gateway.
	Traefik bool
	// TestGateway runs the data plane that goes wrong as told (package gateway), with GatewayClass siskin-test and Gateway
	// gateway-system/test. It may run beside Traefik.
	TestGateway bool
	// IngressNGINX makes Traefik also serve Ingresses of class nginx with their canary annotations.
	IngressNGINX bool
	// Prometheus runs Prometheus, as prometheus.monitoring:9090.
	Prometheus bool
	// Git runs a git server, as git.git-system, over HTTP and SSH.
	Git bool
	// Slack runs a Slack server, as slack.slack-system.
	Slack bool
	// MetricsAPI serves metrics.k8s.io, from which the horizontal-pod-autoscaler controller reads what SetLoad says.
	MetricsAPI bool
	// PodEnv is in the environment of every container, as NAME=value.
	PodEnv []string
	// Programs add images, by name without tag, or replace known ones.
	Programs map[string]Program
	// CRDs are files of CRDs (and other cluster-wide objects) that are there before New returns.
	CRDs []string
	// Forwards are further addresses inside ("siskin.siskin-system.svc.cluster.local:8080") that get a port on
	// 127.0.0.1, by any name; see Cluster.ForwardAddr.
	Forwards map[string]string
	// OutsidePorts are ports of 127.0.0.1 outside that processes inside reach as OutsideIP:port (webhooks of
	// a controller that runs in the test itself).
	OutsidePorts []int
	// SharedNetwork does without a network namespace for each pod, as on a machine without veth devices: programs
	// have to bind their own address.
	SharedNetwork bool
	// Dir holds logs and the kubeconfig and is kept. By default it is a temporary directory that Stop removes.
	Dir string
	// Log receives progress, one line per step. Default: nothing.
	Log io.Writer
	// StartTimeout bounds New, without building. Default: 2 minutes.
	StartTimeout time.Duration
}

// Cluster is a running cluster.
type Cluster struct {
	o       Options
	dir     string
	id      string
	token   string
	cmd     *exec.Cmd
	stdin   io.Closer
	exited  chan struct{}
	config  *rest.Config
	client  client.Client
	bin     string
	ports   map[string]int
	reverse net.Listener

	stop    sync.Once
	stopErr error
}

// New starts a cluster and returns when it is usable. It ends with Stop, or when this process ends, however that
// happens.
func New(ctx context.Context, o Options) (*Cluster, error) {
	if o.Log == nil {
		o.Log = io.Discard
	}
	if o.StartTimeout == 0 {
		o.StartTimeout = 2 * time.Minute
	}
	removeStale()
	c := &Cluster{o: o, id: strings.ToLower(rand.Text()[:10]), token: rand.Text(), ports: map[string]int{}, exited: make(chan struct{})}
	self, err := c.binaries(ctx)
	if err != nil {
		return nil, err
	}
	if err := c.makeDir(); err != nil {
		return nil, err
	}
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, o.StartTimeout)
	defer cancel()
	if err := c.launch(ctx, self); err != nil {
		return nil, errors.Join(err, c.Stop())
	}
	if err := c.connect(); err != nil {
		return nil, errors.Join(err, c.Stop())
	}
	_, _ = fmt.Fprintf(o.Log, "the cluster is ready after %s\n", time.Since(began).Round(10*time.Millisecond))
	return c, nil
}

func (c *Cluster) makeDir() error {
	if c.o.Dir != "" {
		dir, err := filepath.Abs(c.o.Dir)
		if err != nil {
			return fmt.Errorf("resolving the directory: %w", err)
		}
		c.dir = dir
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("making the directory: %w", err)
		}
		return nil
	}
	dir, err := os.MkdirTemp(sandbox.TempDir(), dirPrefix)
	if err != nil {
		return fmt.Errorf("making the directory: %w", err)
	}
	c.dir = dir
	return nil
}

const dirPrefix = "siskin-cluster-"

// removeStale removes the directories of clusters that died with their parent. A living one holds its lock.
func removeStale() {
	dirs, err := filepath.Glob(filepath.Join(sandbox.TempDir(), dirPrefix+"*"))
	if err != nil {
		return
	}
	for _, dir := range dirs {
		info, err := os.Stat(dir)
		if err != nil || time.Since(info.ModTime()) < time.Minute {
			continue // perhaps one that is starting
		}
		f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
		if err != nil {
			continue
		}
		if syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil {
			_ = os.RemoveAll(dir)
		}
		_ = f.Close()
	}
}

// connect makes the clients.
func (c *Cluster) connect() error {
	config, err := clientcmd.BuildConfigFromFlags("", c.Kubeconfig())
	if err != nil {
		return fmt.Errorf("reading the kubeconfig: %w", err)
	}
	config.QPS = -1
	// Without a handler controller-runtime complains that no logger is set.
	config.WarningHandlerWithContext = rest.NoWarnings{}
	c.config = config
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		clientgoscheme.AddToScheme, apiextensionsv1.AddToScheme, gatewayv1.Install, gatewayv1beta1.Install,
	} {
		if err := add(scheme); err != nil {
			return fmt.Errorf("building the scheme: %w", err)
		}
	}
	if c.client, err = client.New(config, client.Options{Scheme: scheme}); err != nil {
		return fmt.Errorf("making a client: %w", err)
	}
	return nil
}

// Stop ends every process of the cluster and removes its directory. It may be called again.
func (c *Cluster) Stop() error {
	c.stop.Do(func() { c.stopErr = c.shutdown() })
	return c.stopErr
}

func (c *Cluster) shutdown() error {
	if c.reverse != nil {
		_ = c.reverse.Close()
	}
	if c.cmd != nil {
		_ = c.stdin.Close()
		t := time.NewTimer(10 * time.Second)
		defer t.Stop()
		select {
		case <-c.exited:
		case <-t.C:
			_ = c.cmd.Process.Kill()
			<-c.exited
		}
	}
	if c.o.Dir != "" || c.dir == "" {
		return nil
	}
	if err := os.RemoveAll(c.dir); err != nil {
		return fmt.Errorf("removing the directory: %w", err)
	}
	return nil
}

// programs is the table of images.
func (c *Cluster) programs(self string) map[string]Program {
	table := map[string]Program{
		ImagePodinfo: {Path: filepath.Join(c.bin, "podinfo"), HostFlag: "--host"},
		ImageTestapp: {Path: self, Args: []string{"testapp"}, HostFlag: "--host"},
		ImagePause:   {},
	}
	if c.o.Siskin != "" {
		table[ImageSiskin] = Program{Path: c.o.Siskin}
	}
	maps.Copy(table, c.o.Programs)
	return table
}

func (c *Cluster) writeConfig(cfg wire.Config) (string, error) {
	data, err := json.MarshalIndent(cfg, "", "  ")
	if err != nil {
		return "", fmt.Errorf("encoding the configuration: %w", err)
	}
	path := filepath.Join(c.dir, "config.json")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		return "", fmt.Errorf("writing the configuration: %w", err)
	}
	return path, nil
}
