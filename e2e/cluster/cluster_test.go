package cluster_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/siskin-dev/siskin/e2e/cluster"
)

// TestCluster runs everything against one cluster: starting one is the expensive part.
func TestCluster(t *testing.T) {
	outside := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprint(w, "from outside") }))
	t.Cleanup(outside.Close)
	_, port, err := net.SplitHostPort(outside.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	c := cluster.Start(t, cluster.Options{
		Traefik: true, IngressNGINX: true, Prometheus: true, Git: true, Slack: true, MetricsAPI: true, OutsidePorts: []int{n},
		Forwards: map[string]string{"web": "podinfo.web.svc.cluster.local:80"},
		Programs: map[string]cluster.Program{imageHidden: {Path: hiddenProgram(t), HostFlag: "--host"}},
	})
	t.Run("outside", func(t *testing.T) {
		waitGet(t, c.HTTPClient(), "http://"+net.JoinHostPort(cluster.OutsideIP, port), "", "from outside")
	})
	for name, test := range map[string]func(*testing.T, *cluster.Cluster){
		"gateway": testGateway, "container": testContainer, "crash": testCrash, "readiness": testReadiness, "liveness": testLiveness, "grace": testGrace,
		"rolling update": testRollingUpdate, "pause": testPause, "git": testGit, "git auth": testGitAuth, "slack": testSlack, "apiserver": testAPIServer,
		"nginx": testNginx, "hidden paths": testHiddenPaths, "autoscaling": testAutoscaling,
	} {
		t.Run(strings.ReplaceAll(name, " ", "-"), func(t *testing.T) { test(t, c) })
	}
}

const podinfo = `
apiVersion: v1
kind: Namespace
metadata: {name: web}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: podinfo, namespace: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: podinfo}}
  template:
    metadata:
      labels: {app: podinfo, siskin.dev/role: stable}
      annotations: {prometheus.io/scrape: "true", prometheus.io/port: "9797"}
    spec:
      containers:
      - name: podinfod
        image: ghcr.io/stefanprodan/podinfo:6.9.2
        command: [./podinfo, --port=9898, --port-metrics=9797]
        ports: [{name: http, containerPort: 9898}, {name: metrics, containerPort: 9797}]
        env: [{name: PODINFO_UI_MESSAGE, value: "hello from $(HOSTNAME)"}]
        readinessProbe: {exec: {command: [podcli, check, http, localhost:9898/readyz]}, timeoutSeconds: 5} # podcli sleeps 1 s first
        livenessProbe: {httpGet: {path: /healthz, port: http}}
---
apiVersion: v1
kind: Service
metadata: {name: podinfo, namespace: web}
spec: {selector: {app: podinfo}, ports: [{name: http, port: 80, targetPort: http}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: podinfo, namespace: web}
spec:
  parentRefs: [{name: gateway, namespace: gateway-system}]
  hostnames: [web.test]
  rules: [{backendRefs: [{name: podinfo, port: 80}]}]
`

func testGateway(t *testing.T, c *cluster.Cluster) {
	apply(t, c, podinfo)
	t.Cleanup(func() {
		if t.Failed() {
			out, err := c.Kubectl(context.Background(), "describe", "pods", "-n", "web")
			t.Log(out, err)
			for _, p := range pods(t, c, "web", "podinfo") {
				t.Log(c.PodLogs("web", p.Name))
			}
		}
	})
	waitAvailable(t, c, "web", "podinfo")
	waitGet(t, http.DefaultClient, c.GatewayURL()+"/api/info", "web.test", "hello from podinfo-")
	// Both pods, each on its own address with the same port, and by the Service's name.
	seen := map[string]bool{}
	cluster.Eventually(t, 10*time.Second, func(ctx context.Context) error {
		body, _, err := get(ctx, http.DefaultClient, c.GatewayURL()+"/", "web.test")
		if err != nil {
			return err
		}
		var info struct{ Hostname string }
		if err := json.Unmarshal([]byte(body), &info); err != nil {
			return err
		}
		if seen[info.Hostname] = true; len(seen) < 2 {
			return errors.New("only one pod has answered")
		}
		return nil
	})
	waitGet(t, c.HTTPClient(), "http://podinfo.web.svc.cluster.local/", "", "hello from")
	waitGet(t, http.DefaultClient, "http://"+c.ForwardAddr("web"), "", "hello from")
	waitGet(t, c.HTTPClient(), "http://gateway.gateway-system.svc.cluster.local/", "web.test", "hello from")

	for _, query := range []string{
		`sum(traefik_service_requests_total{service=~".*web-podinfo.*@kubernetesgateway"}) > 0`,
		`sum(http_requests_total{namespace="web",siskin_dev_role="stable",app="podinfo",pod=~"podinfo-.*"}) > 0`,
	} {
		waitGet(t, http.DefaultClient, c.PrometheusURL()+"/api/v1/query?query="+url.QueryEscape(query), "", `"value":[`)
	}
	series, _, err := get(t.Context(), http.DefaultClient, c.PrometheusURL()+"/api/v1/series?match[]=traefik_service_requests_total", "")
	t.Log(series, err)
	logs, err := c.Kubectl(t.Context(), "logs", "-n", "web", "deploy/podinfo", "--tail=3")
	if err != nil || !strings.Contains(logs, "podinfo") {
		t.Errorf("kubectl logs: %v: %s", err, logs)
	}
}

const container = `
apiVersion: v1
kind: Namespace
metadata: {name: box}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: conf, namespace: box}
data: {file.txt: from a config map, MODE: fast}
---
apiVersion: v1
kind: Secret
metadata: {name: sec, namespace: box}
stringData: {password: from a secret}
---
apiVersion: v1
kind: Pod
metadata: {name: box, namespace: box, labels: {color: blue}}
spec:
  restartPolicy: Never
  initContainers:
  - name: init
    image: siskin.dev/testapp
    command: [sh, -c, "echo from init > /shared/init"]
    volumeMounts: [{name: shared, mountPath: /shared}]
  containers:
  - name: box
    image: siskin.dev/testapp
    command: [sh, -c, 'cat /etc/app/file.txt /secrets/deep/password /shared/init /labels/labels /usr/share/new/file.txt; echo; echo $MODE $POD $NS $IP $PASS "$ARG"; ls /var/run/secrets/kubernetes.io/serviceaccount; cat /proc/net/route | wc -l; exit 3']
    env:
    - {name: POD, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
    - {name: NS, valueFrom: {fieldRef: {fieldPath: metadata.namespace}}}
    - {name: IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}
    - {name: PASS, valueFrom: {secretKeyRef: {name: sec, key: password}}}
    - {name: ARG, value: "$(POD)-$$(POD)"}
    envFrom: [{configMapRef: {name: conf}}]
    volumeMounts:
    - {name: conf, mountPath: /etc/app}
    - {name: conf, mountPath: /usr/share/new/file.txt, subPath: file.txt}
    - {name: sec, mountPath: /secrets/deep}
    - {name: shared, mountPath: /shared}
    - {name: labels, mountPath: /labels}
  volumes:
  - {name: conf, configMap: {name: conf}}
  - {name: sec, secret: {secretName: sec}}
  - {name: shared, emptyDir: {}}
  - {name: labels, downwardAPI: {items: [{path: labels, fieldRef: {fieldPath: metadata.labels}}]}}
---
apiVersion: v1
kind: Pod
metadata: {name: api, namespace: box}
spec:
  restartPolicy: Never
  containers:
  - name: api
    image: siskin.dev/testapp
    command: [sh, -c, 'D=/var/run/secrets/kubernetes.io/serviceaccount; kubectl --server=https://kubernetes.default.svc --certificate-authority=$D/ca.crt --token=$(cat $D/token) auth whoami']
    env: [{name: PATH, value: "BIN:/usr/bin:/bin"}]
---
apiVersion: v1
kind: Pod
metadata: {name: unknown, namespace: box}
spec:
  containers: [{name: x, image: "nowhere.test/unknown:1"}]
`

func testContainer(t *testing.T, c *cluster.Cluster) {
	home, err := os.UserHomeDir()
	if err != nil {
		t.Fatal(err)
	}
	apply(t, c, strings.ReplaceAll(container, "BIN:", filepath.Join(home, ".cache/siskin/bin")+":"))
	waitPod := func(name string, ok func(p *corev1.Pod) bool) *corev1.Pod {
		var p corev1.Pod
		cluster.Eventually(t, 30*time.Second, func(ctx context.Context) error {
			if err := c.Client().Get(ctx, client.ObjectKey{Namespace: "box", Name: name}, &p); err != nil {
				return err
			}
			if !ok(&p) {
				return fmt.Errorf("%+v", p.Status)
			}
			return nil
		})
		return &p
	}
	p := waitPod("box", func(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodFailed })
	if code := p.Status.ContainerStatuses[0].State.Terminated.ExitCode; code != 3 {
		t.Errorf("exit code %d, want 3", code)
	}
	logs := c.PodLogs("box", "box")
	for _, want := range []string{
		"from a config map", "from a secret", "from init", `color="blue"`, "fast box box " + p.Status.PodIP + " from a secret box-$(POD)", "ca.crt\nnamespace\ntoken",
	} {
		if !strings.Contains(logs, want) {
			t.Errorf("the log has no %q:\n%s", want, logs)
		}
	}
	for _, dir := range []string{"/etc/app", "/secrets", "/usr/share/new", "/shared", "/labels"} {
		if _, err := os.Stat(dir); err == nil {
			t.Errorf("%s has come into being on the host", dir)
		}
	}
	waitPod("api", func(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodSucceeded })
	if logs := c.PodLogs("box", "api"); !strings.Contains(logs, "system:serviceaccount:box:default") {
		t.Error(logs)
	}
	waitPod("unknown", func(p *corev1.Pod) bool {
		s := p.Status.ContainerStatuses
		return p.Status.Phase == corev1.PodPending && len(s) == 1 && s[0].State.Waiting != nil && s[0].State.Waiting.Reason == "ErrImagePull"
	})
}

const testapp = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: %[1]s, namespace: default}
spec:
  replicas: %[2]d
  selector: {matchLabels: {app: %[1]s}}
  template:
    metadata: {labels: {app: %[1]s}}
    spec:
      containers:
      - name: app
        image: %[4]s
        env: [%[3]s]
        ports: [{name: http, containerPort: 8080}]
        readinessProbe: {httpGet: {path: /readyz, port: 8080}, periodSeconds: 1, failureThreshold: 1}
---
apiVersion: v1
kind: Service
metadata: {name: %[1]s, namespace: default}
spec: {selector: {app: %[1]s}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: %[1]s, namespace: default}
spec:
  parentRefs: [{name: gateway, namespace: gateway-system}]
  hostnames: [%[1]s.test]
  rules: [{backendRefs: [{name: %[1]s, port: 80}]}]
`

func app(name string, replicas int, env string) string {
	return fmt.Sprintf(testapp, name, replicas, env, cluster.ImageTestapp+":1")
}

func testCrash(t *testing.T, c *cluster.Cluster) {
	apply(t, c, app("crash", 1, `{name: CRASH_AFTER_START, value: 0s}`))
	cluster.Eventually(t, 30*time.Second, func(context.Context) error {
		for _, p := range pods(t, c, "default", "crash") {
			for _, s := range p.Status.ContainerStatuses {
				if w, l := s.State.Waiting, s.LastTerminationState.Terminated; s.RestartCount >= 2 && w != nil && w.Reason == "CrashLoopBackOff" && l != nil && l.ExitCode == 1 {
					return nil
				}
			}
		}
		return errors.New("no crash loop")
	})
	apply(t, c, app("killed", 1, `{name: VERSION, value: "1"}`))
	waitAvailable(t, c, "default", "killed")
	name := pods(t, c, "default", "killed")[0].Name
	if err := c.KillPod(t.Context(), "default", name, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	cluster.Eventually(t, 30*time.Second, func(context.Context) error {
		p := pods(t, c, "default", "killed")[0]
		s := p.Status.ContainerStatuses[0]
		if p.Name != name || s.RestartCount != 1 || !s.Ready || s.LastTerminationState.Terminated.ExitCode != 137 {
			return fmt.Errorf("%+v", s)
		}
		return nil
	})
}

const unhealthy = `
apiVersion: v1
kind: Pod
metadata: {name: unhealthy, namespace: default}
spec:
  containers:
  - name: podinfo
    image: ghcr.io/stefanprodan/podinfo:6.9.2
    args: [--unhealthy]
    livenessProbe: {httpGet: {path: /healthz, port: 9898}, periodSeconds: 1, failureThreshold: 2}
`

func testLiveness(t *testing.T, c *cluster.Cluster) {
	apply(t, c, unhealthy)
	cluster.Eventually(t, 30*time.Second, func(ctx context.Context) error {
		var p corev1.Pod
		if err := c.Client().Get(ctx, client.ObjectKey{Namespace: "default", Name: "unhealthy"}, &p); err != nil {
			return err
		}
		if s := p.Status.ContainerStatuses; len(s) != 1 || s[0].RestartCount == 0 || s[0].LastTerminationState.Terminated == nil {
			return fmt.Errorf("%+v", s)
		}
		return nil
	})
}

// testGrace deletes a pod that does not care about SIGTERM.
func testGrace(t *testing.T, c *cluster.Cluster) {
	pod := `{apiVersion: v1, kind: Pod, metadata: {name: deaf, namespace: default}, spec: {terminationGracePeriodSeconds: 2, containers: [
		{name: a, image: siskin.dev/testapp, command: [sh, -c, "trap '' TERM; echo up; while true; do sleep 0.1; done"]}]}}`
	apply(t, c, pod)
	cluster.Eventually(t, 10*time.Second, func(context.Context) error {
		if !strings.Contains(c.PodLogs("default", "deaf"), "up\n") {
			return errors.New("not up")
		}
		return nil
	})
	began := time.Now()
	if _, err := c.Kubectl(t.Context(), "delete", "pod", "deaf", "--timeout=20s"); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took < 2*time.Second || took > 15*time.Second { // 30 s would be the default
		t.Errorf("the pod was gone after %s, want 2 s", took)
	}
}

func testReadiness(t *testing.T, c *cluster.Cluster) {
	apply(t, c, app("unready", 1, `{name: NOT_READY, value: "true"}`))
	cluster.Eventually(t, 30*time.Second, func(context.Context) error {
		for _, p := range pods(t, c, "default", "unready") {
			if p.Status.Phase == corev1.PodRunning && !p.Status.ContainerStatuses[0].Ready && *p.Status.ContainerStatuses[0].Started {
				return nil
			}
		}
		return errors.New("not running and unready")
	})
	if _, _, err := get(t.Context(), c.HTTPClient(), "http://unready.default.svc.cluster.local/", ""); err == nil {
		t.Error("a Service without ready endpoints has answered")
	}
}

// testRollingUpdate sends 100 requests per second through the gateway during an update.
func testRollingUpdate(t *testing.T, c *cluster.Cluster) {
	apply(t, c, app("roll", 3, `{name: VERSION, value: "1"}`))
	waitAvailable(t, c, "default", "roll")
	waitGet(t, http.DefaultClient, c.GatewayURL(), "roll.test", `"version":"1"`)
	ctx, cancel := context.WithCancel(t.Context())
	var sent, failed, second atomic.Int64
	var wg sync.WaitGroup
	load := func(hc *http.Client, url string) {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			wg.Go(func() {
				limit, cancel := context.WithTimeout(t.Context(), 5*time.Second)
				defer cancel()
				_, header, err := get(limit, hc, url, "roll.test")
				sent.Add(1)
				if err != nil {
					failed.Add(1)
					t.Logf("%s: %v", url, err)
				} else if header.Get("X-Version") == "2" {
					second.Add(1)
				}
			})
		}
	}
	wg.Go(func() { load(http.DefaultClient, c.GatewayURL()) })
	wg.Go(func() { load(&http.Client{Transport: http.DefaultTransport}, c.GatewayURL()+"/two") })
	apply(t, c, app("roll", 3, `{name: VERSION, value: "2"}`))
	waitAvailable(t, c, "default", "roll")
	before := second.Load()
	cluster.Eventually(t, 30*time.Second, func(context.Context) error {
		if second.Load() < before+100 || len(pods(t, c, "default", "roll")) != 3 {
			return errors.New("the old pods are not gone")
		}
		return nil
	})
	cancel()
	wg.Wait()
	t.Logf("%d requests, %d to the second version, %d failed", sent.Load(), second.Load(), failed.Load())
	if failed.Load() > 0 {
		t.Errorf("%d of %d requests failed", failed.Load(), sent.Load())
	}
}

func testPause(t *testing.T, c *cluster.Cluster) {
	began := time.Now()
	apply(t, c, strings.Replace(app("pause", 300, ""), cluster.ImageTestapp, cluster.ImagePause, 1))
	waitAvailable(t, c, "default", "pause")
	t.Logf("300 pods without processes in %s", time.Since(began))
	apply(t, c, strings.Replace(app("pause", 0, ""), cluster.ImageTestapp, cluster.ImagePause, 1))
	waitAvailable(t, c, "default", "pause")
}

func testAPIServer(t *testing.T, c *cluster.Cluster) {
	for _, name := range []string{"prometheus", "apiserver"} {
		if err := c.StopComponent(t.Context(), name); err != nil {
			t.Fatal(err)
		}
		if err := c.StartComponent(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
	apply(t, c, app("after", 1, `{name: VERSION, value: "1"}`))
	waitAvailable(t, c, "default", "after")
}

const ingress = `
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: %[1]s, namespace: default, annotations: {%[3]s}}
spec:
  ingressClassName: nginx
  rules:
  - host: nginx.test
    http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: %[2]s, port: {number: 80}}}}]}
---
`

func testNginx(t *testing.T, c *cluster.Cluster) {
	apply(t, c, app("nga", 1, `{name: VERSION, value: "a"}`)+"---"+app("ngb", 1, `{name: VERSION, value: "b"}`)+"---"+
		fmt.Sprintf(ingress, "main", "nga", "")+
		fmt.Sprintf(ingress, "canary", "ngb", `nginx.ingress.kubernetes.io/canary: "true", nginx.ingress.kubernetes.io/canary-weight: "50"`))
	waitGet(t, http.DefaultClient, c.GatewayURL(), "nginx.test", `"version":"a"`)
	waitGet(t, http.DefaultClient, c.GatewayURL(), "nginx.test", `"version":"b"`)
}
