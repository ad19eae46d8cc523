package supervisor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"

	"github.com/siskin-dev/siskin/e2e/cluster/internal/gitserver"
	"github.com/siskin-dev/siskin/e2e/cluster/internal/slackserver"
	"github.com/siskin-dev/siskin/e2e/cluster/internal/wire"
)

// serviceTemplate gives a server that is no pod a name in the cluster.
const serviceTemplate = `
apiVersion: v1
kind: Namespace
metadata: {name: %[1]s}
---
apiVersion: v1
kind: Service
metadata: {name: %[2]s, namespace: %[1]s}
spec:
  ports: [%[4]s]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: %[2]s, namespace: %[1]s, labels: {kubernetes.io/service-name: %[2]s}}
addressType: IPv4
endpoints: [{addresses: [%[3]s]}]
ports: [%[5]s]
`

type servicePort struct {
	name         string
	port, target int
}

func serviceManifest(namespace, name, ip string, ports ...servicePort) string {
	var service, slice []string
	for _, p := range ports {
		service = append(service, fmt.Sprintf("{name: %s, port: %d}", p.name, p.port))
		slice = append(slice, fmt.Sprintf("{name: %s, port: %d, protocol: TCP}", p.name, p.target))
	}
	return fmt.Sprintf(serviceTemplate, namespace, name, ip, strings.Join(service, ", "), strings.Join(slice, ", "))
}

const gatewayManifest = `
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: traefik}
spec: {controllerName: traefik.io/gateway-controller}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: gateway, namespace: gateway-system}
spec:
  gatewayClassName: traefik
  listeners:
  - {name: http, protocol: HTTP, port: 8080, allowedRoutes: {namespaces: {from: All}}}
`

const testGatewayManifest = `
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: siskin-test}
spec: {controllerName: siskin.dev/test-gateway}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: test, namespace: gateway-system}
spec:
  gatewayClassName: siskin-test
  listeners:
  - {name: http, protocol: HTTP, port: 8080, allowedRoutes: {namespaces: {from: All}}}
`

const nginxManifest = `
apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata: {name: nginx}
spec: {controller: k8s.io/ingress-nginx}
`

// startServers starts everything around the API: the data plane, metrics, git and Slack.
func (s *Supervisor) startServers(ctx context.Context) error {
	if err := s.installCRDs(ctx); err != nil {
		return err
	}
	var waiting []*process
	if s.cfg.Prometheus {
		p, err := s.prometheus(ctx)
		if err != nil {
			return err
		}
		waiting = append(waiting, p)
	}
	if s.cfg.Traefik {
		manifests := serviceManifest("gateway-system", "gateway", wire.TraefikIP, servicePort{"http", 80, 8080}, servicePort{"http-alt", 8080, 8080}) + "---" + gatewayManifest
		if s.cfg.Nginx {
			manifests += "\n---" + nginxManifest
		}
		if err := s.apply(ctx, manifests); err != nil {
			return err
		}
		waiting = append(waiting, s.traefik())
	}
	if s.cfg.TestGateway {
		p, err := s.testGateway(ctx)
		if err != nil {
			return err
		}
		waiting = append(waiting, p)
	}
	for _, p := range waiting {
		if err := p.spawn(); err != nil {
			return err
		}
	}
	if err := s.startGitAndSlack(ctx); err != nil {
		return err
	}
	for _, p := range waiting {
		if err := poll(ctx, p.ready); err != nil {
			return fmt.Errorf("waiting for %s (see %s): %w", p.name, p.log, err)
		}
		s.event("progress", p.name+" is ready")
	}
	return s.waitCore(ctx)
}

// waitCore waits for what only the controller manager makes: a pod cannot be created before.
func (s *Supervisor) waitCore(ctx context.Context) error {
	return poll(ctx, func(ctx context.Context) error {
		if _, err := s.client.CoreV1().ServiceAccounts("default").Get(ctx, "default", metav1.GetOptions{}); err != nil {
			return fmt.Errorf("waiting for the controller manager: %w", err)
		}
		_, err := s.client.CoreV1().ConfigMaps("default").Get(ctx, "kube-root-ca.crt", metav1.GetOptions{})
		if err != nil {
			return fmt.Errorf("waiting for the controller manager: %w", err)
		}
		return nil
	})
}

func (s *Supervisor) startGitAndSlack(ctx context.Context) error {
	if s.cfg.Git {
		g, err := gitserver.New(filepath.Join(s.data, "git"), s.env())
		if err != nil {
			return err
		}
		if err := g.Start(wire.GitHTTPAddr, wire.GitSSHAddr); err != nil {
			return err
		}
		s.git = g
		if err := s.apply(ctx, serviceManifest("git-system", "git", wire.GitIP, servicePort{"http", 80, 80}, servicePort{"ssh", 22, 22})); err != nil {
			return err
		}
	}
	if s.cfg.Slack {
		s.slack = slackserver.New()
		if err := s.slack.Start(wire.SlackAddr); err != nil {
			return err
		}
		if err := s.apply(ctx, serviceManifest("slack-system", "slack", wire.SlackIP, servicePort{"http", 80, 80})); err != nil {
			return err
		}
	}
	return nil
}

func (s *Supervisor) traefik() *process {
	args := []string{
		"--global.checknewversion=false", "--global.sendanonymoususage=false", "--log.level=INFO",
		"--entrypoints.web.address=" + wire.GatewayAddr, "--entrypoints.metrics.address=" + wire.TraefikMetrics,
		"--ping=true", "--ping.entrypoint=metrics", "--metrics.prometheus=true", "--metrics.prometheus.entrypoint=metrics",
		"--metrics.prometheus.addrouterslabels=true", "--metrics.prometheus.addserviceslabels=true",
		"--metrics.prometheus.buckets=0.005,0.01,0.025,0.05,0.1,0.25,0.5,1,2.5,5,10",
		"--providers.providersthrottleduration=0.2s",
		"--providers.kubernetesgateway=true", "--providers.kubernetesgateway.endpoint=https://" + wire.APIServerAddr,
		"--providers.kubernetesgateway.token=" + s.token, "--providers.kubernetesgateway.certauthfilepath=" + s.pki.ca,
		"--providers.kubernetesgateway.statusaddress.ip=" + wire.TraefikIP,
		"--providers.kubernetesgateway.qps=500", "--providers.kubernetesgateway.burst=1000",
	}
	if s.cfg.Nginx {
		args = append(args, "--providers.kubernetesingressnginx=true", "--providers.kubernetesingressnginx.endpoint=https://"+wire.APIServerAddr,
			"--providers.kubernetesingressnginx.token="+s.token, "--providers.kubernetesingressnginx.certauthfilepath="+s.pki.ca,
			"--providers.kubernetesingressnginx.publishstatusaddress="+wire.TraefikIP)
	}
	return s.process("traefik", "traefik", s.httpReady("http://"+wire.TraefikMetrics+"/ping"), args...)
}

// testGateway is package gateway, in a process of its own.
func (s *Supervisor) testGateway(ctx context.Context) (*process, error) {
	manifests := serviceManifest("gateway-system", "test-gateway", wire.GatewayIP, servicePort{"http", 80, 8080}) + "---" + testGatewayManifest
	if err := s.apply(ctx, manifests); err != nil {
		return nil, err
	}
	p := s.process("test-gateway", "", s.httpReady("http://"+wire.TestGatewayControl+"/ready"),
		"gateway", filepath.Join(s.data, "kubeconfig"), wire.TestGatewayAddr, wire.TestGatewayControl)
	p.path = s.cfg.Self
	return p, nil
}

const prometheusConfig = `
global: {scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}
scrape_configs:
- job_name: traefik
  static_configs: [{targets: ["%[3]s"]}]
- job_name: kubernetes-pods
  kubernetes_sd_configs:
  - role: pod
    api_server: https://%[1]s
    authorization: {credentials_file: %[4]s}
    tls_config: {ca_file: %[2]s}
  relabel_configs:
  - {source_labels: [__meta_kubernetes_pod_annotation_prometheus_io_scrape], action: keep, regex: "true"}
  - {source_labels: [__meta_kubernetes_pod_phase], action: drop, regex: "Pending|Succeeded|Failed"}
  - {source_labels: [__meta_kubernetes_pod_annotation_prometheus_io_path], action: replace, target_label: __metrics_path__, regex: (.+)}
  - {source_labels: [__meta_kubernetes_pod_annotation_prometheus_io_scheme], action: replace, target_label: __scheme__, regex: (.+)}
  - source_labels: [__meta_kubernetes_pod_ip, __meta_kubernetes_pod_annotation_prometheus_io_port]
    action: replace
    regex: (.+);(\d+)
    replacement: $1:$2
    target_label: __address__
  - {action: labelmap, regex: __meta_kubernetes_pod_label_(.+)}
  - {source_labels: [__meta_kubernetes_namespace], target_label: namespace}
  - {source_labels: [__meta_kubernetes_pod_name], target_label: pod}
`

func (s *Supervisor) prometheus(ctx context.Context) (*process, error) {
	dir := filepath.Join(s.data, "prometheus")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("making %s: %w", dir, err)
	}
	token := filepath.Join(s.pki.dir, "token")
	config := filepath.Join(dir, "prometheus.yml")
	for path, text := range map[string]string{
		token: s.token, config: fmt.Sprintf(prometheusConfig, wire.APIServerAddr, s.pki.ca, wire.TraefikMetrics, token),
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			return nil, fmt.Errorf("writing %s: %w", path, err)
		}
	}
	if err := s.apply(ctx, serviceManifest("monitoring", "prometheus", wire.PrometheusIP, servicePort{"http", 9090, 9090})); err != nil {
		return nil, err
	}
	return s.process("prometheus", "prometheus", s.httpReady("http://"+wire.PrometheusAddr+"/-/ready"),
		"--config.file="+config, "--storage.tsdb.path="+filepath.Join(dir, "data"), "--storage.tsdb.retention.time=3h",
		"--web.listen-address="+wire.PrometheusAddr, "--web.enable-lifecycle"), nil
}

func (s *Supervisor) installCRDs(ctx context.Context) error {
	if len(s.cfg.CRDs) == 0 {
		return nil
	}
	for _, file := range s.cfg.CRDs {
		data, err := os.ReadFile(file)
		if err != nil {
			return fmt.Errorf("reading a CRD: %w", err)
		}
		if err := s.apply(ctx, string(data)); err != nil {
			return fmt.Errorf("installing %s: %w", file, err)
		}
	}
	crds := s.dyn.Resource(schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"})
	return poll(ctx, func(ctx context.Context) error {
		list, err := crds.List(ctx, metav1.ListOptions{})
		if err != nil {
			return fmt.Errorf("listing CRDs: %w", err)
		}
		for i := range list.Items {
			if !established(&list.Items[i]) {
				return errors.New(list.Items[i].GetName() + " is not established")
			}
		}
		return nil
	})
}

func established(crd *unstructured.Unstructured) bool {
	conditions, _, _ := unstructured.NestedSlice(crd.Object, "status", "conditions")
	for _, c := range conditions {
		if m, ok := c.(map[string]any); ok && m["type"] == "Established" {
			return m["status"] == "True"
		}
	}
	return false
}

// apply applies the documents of a manifest. The kinds are few, so the plural is made from the kind.
func (s *Supervisor) apply(ctx context.Context, manifest string) error {
	for doc := range strings.SplitSeq(manifest, "\n---") {
		if strings.TrimSpace(strings.TrimPrefix(doc, "---")) == "" {
			continue
		}
		obj := &unstructured.Unstructured{}
		if err := yaml.Unmarshal([]byte(doc), &obj.Object); err != nil {
			return fmt.Errorf("reading a manifest: %w", err)
		}
		if len(obj.Object) == 0 {
			continue
		}
		gvk := obj.GroupVersionKind()
		plural := strings.ToLower(gvk.Kind) + "s"
		if strings.HasSuffix(plural, "ss") {
			plural = strings.TrimSuffix(plural, "s") + "es"
		}
		data, err := obj.MarshalJSON()
		if err != nil {
			return fmt.Errorf("encoding %s: %w", obj.GetName(), err)
		}
		r := s.dyn.Resource(gvk.GroupVersion().WithResource(plural))
		force := metav1.PatchOptions{FieldManager: "siskin-localcluster", Force: new(true)}
		if ns := obj.GetNamespace(); ns != "" {
			_, err = r.Namespace(ns).Patch(ctx, obj.GetName(), types.ApplyPatchType, data, force)
		} else {
			_, err = r.Patch(ctx, obj.GetName(), types.ApplyPatchType, data, force)
		}
		if err != nil {
			return fmt.Errorf("applying %s %s: %w", gvk.Kind, obj.GetName(), err)
		}
	}
	return nil
}
