package supervisor

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"time"

	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"

	"github.com/siskin-dev/siskin/e2e/cluster/internal/wire"
	"github.com/siskin-dev/siskin/e2e/cluster/node"
	"github.com/siskin-dev/siskin/e2e/cluster/proxy"
)

func (s *Supervisor) process(name, bin string, ready func(ctx context.Context) error, args ...string) *process {
	p := &process{
		name: name, path: filepath.Join(s.cfg.BinDir, bin), args: args, env: s.env(), log: s.logFile(name), ready: ready,
		exited: func(name string, err error) { s.event("exited", fmt.Sprintf("%s has exited: %v", name, err)) },
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.processes[name] = p
	return p
}

func (s *Supervisor) startProcess(ctx context.Context, p *process) error {
	began := time.Now()
	if err := p.start(ctx); err != nil {
		return err
	}
	s.event("progress", fmt.Sprintf("%s is ready after %s", p.name, time.Since(began).Round(10*time.Millisecond)))
	return nil
}

// httpReady says that a GET is answered with 200.
func (s *Supervisor) httpReady(url string) func(ctx context.Context) error {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(s.pki.caPEM)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}}}
	return func(ctx context.Context) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		if strings.HasPrefix(url, "https://"+wire.APIServerAddr) {
			req.Header.Set("Authorization", "Bearer "+s.token)
		}
		resp, err := client.Do(req)
		if err != nil {
			return err
		}
		defer func() { _ = resp.Body.Close() }()
		if resp.StatusCode != http.StatusOK {
			body, _ := io.ReadAll(io.LimitReader(resp.Body, 2000))
			return fmt.Errorf("%s: %s: %s", url, resp.Status, body)
		}
		return nil
	}
}

func (s *Supervisor) startControlPlane(ctx context.Context) error {
	etcd := s.process("etcd", "etcd", s.httpReady("http://127.0.0.1:2379/health"),
		"--data-dir="+filepath.Join(s.data, "etcd"), "--unsafe-no-fsync",
		"--listen-client-urls=http://127.0.0.1:2379", "--advertise-client-urls=http://127.0.0.1:2379",
		"--listen-peer-urls=http://127.0.0.1:2380", "--initial-advertise-peer-urls=http://127.0.0.1:2380",
		"--initial-cluster=default=http://127.0.0.1:2380", "--log-level=warn", "--quota-backend-bytes=4294967296",
	)
	// The API server waits for etcd by itself.
	if err := etcd.spawn(); err != nil {
		return err
	}
	api := s.process("apiserver", "kube-apiserver", s.httpReady("https://"+wire.APIServerAddr+"/readyz"),
		"--etcd-servers=http://127.0.0.1:2379", "--bind-address="+wire.NodeIP, "--advertise-address="+wire.NodeIP, "--secure-port=6443",
		"--tls-cert-file="+s.pki.cert, "--tls-private-key-file="+s.pki.key, "--cert-dir="+s.pki.dir,
		"--service-account-issuer=https://kubernetes.default.svc.cluster.local",
		"--service-account-key-file="+s.pki.saPub, "--service-account-signing-key-file="+s.pki.saKey,
		"--token-auth-file="+s.pki.tokens, "--authorization-mode=Node,RBAC", "--service-cluster-ip-range="+wire.ServiceCIDR,
		"--allow-privileged=true", "--kubelet-preferred-address-types=InternalIP", "--event-ttl=2h",
		// Admission would keep the node tainted until a controller that does not run says that it is ready.
		"--disable-admission-plugins=TaintNodesByCondition", "--watch-cache-sizes=pods#5000", "--shutdown-delay-duration=0s",
	)
	if err := s.startProcess(ctx, api); err != nil {
		return err
	}
	// Its health is served with a certificate of its own; that Deployments move tells enough.
	manager := s.process("controller-manager", "kube-controller-manager", nil, s.managerArgs()...)
	if err := manager.spawn(); err != nil {
		return err
	}
	var err error
	if s.client, err = kubernetes.NewForConfig(s.rest()); err != nil {
		return fmt.Errorf("making a client: %w", err)
	}
	if s.dyn, err = dynamic.NewForConfig(s.rest()); err != nil {
		return fmt.Errorf("making a client: %w", err)
	}
	return nil
}

func (s *Supervisor) managerArgs() []string {
	controllers := []string{
		"deployment-controller", "replicaset-controller", "daemonset-controller", "statefulset-controller", "job-controller", "cronjob-controller",
		"endpointslice-controller", "endpointslice-mirroring-controller", "endpoints-controller", "garbage-collector-controller",
		"namespace-controller", "serviceaccount-controller", "serviceaccount-token-controller", "root-ca-certificate-publisher-controller",
		"horizontal-pod-autoscaler-controller", "disruption-controller", "clusterrole-aggregation-controller", "resourcequota-controller",
		"validatingadmissionpolicy-status-controller", "ttl-after-finished-controller",
	}
	return []string{
		"--kubeconfig=" + filepath.Join(s.data, "kubeconfig"), "--leader-elect=false", "--bind-address=127.0.0.1", "--cert-dir=" + s.pki.dir,
		"--controllers=" + strings.Join(controllers, ","), "--use-service-account-credentials=false",
		"--service-account-private-key-file=" + s.pki.saKey, "--root-ca-file=" + s.pki.ca,
		"--kube-api-qps=1000", "--kube-api-burst=2000", "--concurrent-deployment-syncs=10", "--concurrent-replicaset-syncs=10",
		"--concurrent-service-endpoint-syncs=10", "--concurrent-gc-syncs=20", "--concurrent-namespace-syncs=10",
		"--endpointslice-updates-batch-period=0s", "--endpoint-updates-batch-period=0s",
		"--horizontal-pod-autoscaler-sync-period=2s", "--min-resync-period=1h",
	}
}

// startNode starts what makes pods run and reach each other.
func (s *Supervisor) startNode(ctx, startCtx context.Context) error {
	nodeLog, err := s.openLog("node")
	if err != nil {
		return err
	}
	proxyLog, err := s.openLog("proxy")
	if err != nil {
		return err
	}
	s.services = proxy.NewServices(s.client, proxyLog)
	dns, err := proxy.ListenDNS(wire.DNSIP+":53", wire.Domain, s.services)
	if err != nil {
		return err
	}
	s.agent = node.New(node.Options{
		Client: s.client, Network: s.net, Self: s.cfg.Self, LogDir: filepath.Join(s.cfg.Dir, "pods"), DataDir: s.data,
		Path: s.path(), Programs: s.cfg.Programs, Env: append([]string{wire.MarkerEnv + "=" + s.cfg.ID}, s.cfg.PodEnv...), Log: nodeLog,
	})
	for name, run := range map[string]func(context.Context) error{"proxy": s.services.Run, "dns": dns.Run, "node": s.agent.Run} {
		go func() {
			if err := run(ctx); err != nil {
				s.event("exited", fmt.Sprintf("%s has ended: %v", name, err))
			}
		}()
	}
	go func() {
		if err := s.agent.ServeLogs(ctx, wire.KubeletAddr, s.pki.cert, s.pki.key); err != nil {
			s.event("exited", fmt.Sprintf("the kubelet API has ended: %v", err))
		}
	}()
	err = poll(startCtx, func(context.Context) error {
		if !s.services.Synced() {
			return errors.New("services are not known yet")
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("waiting for the service proxy: %w", err)
	}
	return nil
}
