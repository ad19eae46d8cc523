package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	"sigs.k8s.io/yaml"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/e2e/cluster"
	"github.com/siskin-dev/siskin/e2e/fleet"
)

const (
	installed = "siskin-system"
	account   = "system:serviceaccount:" + installed + ":siskin"
)

// world is a control plane without nodes, Siskin, and those who play the rest.
type world struct {
	o        options
	log      io.Writer
	env      *envtest.Environment
	api      client.WithWatch
	fleet    *fleet.Fleet
	recorder *recorder
	siskin   *exec.Cmd
	metrics  string // URL
	pprof    string
	dir      string
	exited   chan struct{}

	cancel context.CancelFunc
	actors sync.WaitGroup
}

func (w *world) say(format string, args ...any) { _, _ = fmt.Fprintf(w.log, format+"\n", args...) }

// start starts everything but the rollouts.
func start(ctx context.Context, o options, root string, log io.Writer) (*world, error) {
	w := &world{o: o, log: log, exited: make(chan struct{})}
	ctx, w.cancel = context.WithCancel(ctx)
	if err := w.boot(ctx, root); err != nil {
		return nil, errors.Join(err, w.stop())
	}
	return w, nil
}

func (w *world) boot(ctx context.Context, root string) error {
	var err error
	if w.dir, err = os.MkdirTemp("", "siskin-scale-"); err != nil {
		return fmt.Errorf("making a directory: %w", err)
	}
	if err := w.controlPlane(ctx, root); err != nil {
		return err
	}
	prom, err := fleet.ServePrometheus(ctx)
	if err != nil {
		return err
	}
	w.fleet = &fleet.Fleet{
		API: w.api, Prefix: "scale", Canaries: w.o.canaries, Namespaces: min(w.o.namespaces, w.o.canaries), Interval: w.o.interval,
		Image: "example.com/app", Prometheus: "http://127.0.0.1:" + strconv.Itoa(prom),
	}
	for i := range w.o.steps {
		w.fleet.Weights = append(w.fleet.Weights, int32(10*(i+1)))
	}
	if err := w.install(ctx, root); err != nil {
		return err
	}
	w.act(func() { fleet.AcceptRoutes(ctx, w.api, w.say) })
	workloads, err := newWorkloads(w.env.Config)
	if err != nil {
		return err
	}
	w.act(func() { workloads.run(ctx, w.say) })
	w.recorder = &recorder{}
	w.act(func() { w.recorder.run(ctx, w.api, w.say) })
	return w.startSiskin(ctx)
}

func (w *world) act(f func()) { w.actors.Go(f) }

func (w *world) controlPlane(ctx context.Context, root string) error {
	crds, err := cluster.GatewayCRDs(ctx)
	if err != nil {
		return fmt.Errorf("finding the Gateway API's CRDs: %w", err)
	}
	w.env = &envtest.Environment{
		CRDDirectoryPaths: append([]string{filepath.Join(root, "kustomize", "crd")}, crds...), ErrorIfCRDPathMissing: true,
		BinaryAssetsDirectory: binaries(), ControlPlaneStartTimeout: 2 * time.Minute,
	}
	// Room for three Services of each Canary.
	w.env.ControlPlane.GetAPIServer().Configure().Set("service-cluster-ip-range", "10.0.0.0/12").Set("event-ttl", "1h")
	cfg, err := w.env.Start()
	if err != nil {
		return fmt.Errorf("starting the control plane: %w", err)
	}
	cfg.QPS = -1
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, gatewayv1.Install, siskinv1.AddToScheme} {
		if err := add(scheme); err != nil {
			return fmt.Errorf("building the scheme: %w", err)
		}
	}
	if w.api, err = client.NewWithWatch(cfg, client.Options{Scheme: scheme}); err != nil {
		return fmt.Errorf("making a client: %w", err)
	}
	return nil
}

func binaries() string {
	if dir := os.Getenv("KUBEBUILDER_ASSETS"); dir != "" {
		return dir
	}
	if dir := os.Getenv("SISKIN_CACHE"); dir != "" {
		return filepath.Join(dir, "bin")
	}
	home, _ := os.UserHomeDir()
	return filepath.Join(home, ".cache", "siskin", "bin")
}

// install gives Siskin's ServiceAccount the role that an install has, so that it is treated as any client of its kind: an administrator
// would be exempt from the API server's fairness.
func (w *world) install(ctx context.Context, root string) error {
	data, err := os.ReadFile(filepath.Join(root, "kustomize", "rbac", "role.yaml"))
	if err != nil {
		return fmt.Errorf("reading Siskin's role: %w", err)
	}
	var role rbacv1.ClusterRole
	if err := yaml.Unmarshal(data, &role); err != nil {
		return fmt.Errorf("reading Siskin's role: %w", err)
	}
	role.Rules = append(role.Rules, rbacv1.PolicyRule{ // its own, which it has in its namespace only
		APIGroups: []string{"coordination.k8s.io"}, Resources: []string{"leases"}, Verbs: []string{"get", "create", "update", "patch"},
	})
	for _, obj := range []client.Object{
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: installed}}, &role,
		&rbacv1.ClusterRoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: role.Name},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role.Name},
			Subjects:   []rbacv1.Subject{{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: account}},
		},
	} {
		if err := w.api.Create(ctx, obj); err != nil {
			return fmt.Errorf("installing Siskin: %w", err)
		}
	}
	return nil
}

func (w *world) startSiskin(ctx context.Context) error {
	user, err := w.env.AddUser(envtest.User{Name: account, Groups: []string{"system:serviceaccounts", "system:serviceaccounts:" + installed}}, nil)
	if err != nil {
		return fmt.Errorf("making Siskin's user: %w", err)
	}
	kubeconfig, err := user.KubeConfig()
	if err != nil {
		return fmt.Errorf("making Siskin's user: %w", err)
	}
	path := filepath.Join(w.dir, "kubeconfig")
	if err := os.WriteFile(path, kubeconfig, 0o600); err != nil {
		return fmt.Errorf("writing Siskin's kubeconfig: %w", err)
	}
	ports, err := freePorts(3)
	if err != nil {
		return err
	}
	args := append([]string{
		"controller", "--metrics-bind-address=127.0.0.1:" + ports[0], "--health-probe-bind-address=127.0.0.1:" + ports[1],
		"--pprof-bind-address=127.0.0.1:" + ports[2], "--leader-election-namespace=" + installed,
	}, strings.Fields(w.o.args)...)
	w.metrics, w.pprof = "http://127.0.0.1:"+ports[0]+"/metrics", "http://127.0.0.1:"+ports[2]+"/debug/pprof/"
	cmd := exec.Command(w.o.siskin, args...) //nolint:noctx // it is stopped by a signal
	cmd.Env = append(os.Environ(), "KUBECONFIG="+path)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if w.o.log != "" {
		f, err := os.Create(w.o.log)
		if err != nil {
			return fmt.Errorf("opening the log: %w", err)
		}
		cmd.Stderr = f
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("starting Siskin: %w", err)
	}
	w.siskin = cmd
	go func() {
		_ = cmd.Wait()
		close(w.exited)
	}()
	return w.untilReady(ctx, "http://127.0.0.1:"+ports[1]+"/readyz")
}

func (w *world) untilReady(ctx context.Context, url string) error {
	for range 100 {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return fmt.Errorf("asking whether Siskin is ready: %w", err)
		}
		if resp, err := http.DefaultClient.Do(req); err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
		}
		if err := fleet.Pause(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
	return errors.New("siskin is not ready after 10 s: see --keeplog")
}

func freePorts(n int) ([]string, error) {
	var out []string
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, fmt.Errorf("finding a port: %w", err)
		}
		defer func() { _ = l.Close() }()
		_, port, err := net.SplitHostPort(l.Addr().String())
		if err != nil {
			return nil, fmt.Errorf("finding a port: %w", err)
		}
		out = append(out, port)
	}
	return out, nil
}

// stop ends everything that start started.
func (w *world) stop() error {
	w.cancel()
	if w.siskin != nil {
		_ = w.siskin.Process.Signal(syscall.SIGTERM)
		select {
		case <-w.exited: // after a signal any end is as good
		case <-time.After(20 * time.Second):
			_ = w.siskin.Process.Kill()
			<-w.exited
		}
	}
	var err error
	if w.env != nil {
		err = w.env.Stop()
	}
	w.actors.Wait()
	return errors.Join(err, os.RemoveAll(w.dir))
}
