package prometheus_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/siskin-dev/siskin/pkg/metrics"
	"github.com/siskin-dev/siskin/pkg/metrics/prometheus"
)

// exposition is what the scraped server says after n scrapes: three apps with traffic of their own.
func exposition(n int) string {
	const traefik = `httproute-test-%[1]s-gw-default-gw-ep-web-0-svc-test-%[1]s-canary-1@kubernetesgateway`
	var b strings.Builder
	requests := func(app string, good, bad int) {
		pod := app + "-canary-7d9c5b8f6d-x2x4z"
		service := fmt.Sprintf(traefik, app)
		for status, count := range map[string]int{"200": good, "503": bad} {
			if count == 0 {
				continue // a series begins with its first request
			}
			_, _ = fmt.Fprintf(&b, "http_request_duration_seconds_count{namespace=%q,pod=%q,path=\"api\",status=%q} %d\n", "test", pod, status, count)
			_, _ = fmt.Fprintf(&b, "traefik_service_requests_total{service=%q,code=%q} %d\n", service, status, count)
			_, _ = fmt.Fprintf(&b, "istio_requests_total{reporter=\"destination\",destination_workload_namespace=\"test\",destination_workload=%q,response_code=%q} %d\n",
				app+"-canary", status, count)
		}
		_, _ = fmt.Fprintf(&b, "http_request_duration_seconds_count{namespace=\"test\",pod=%q,path=\"healthz\",status=\"200\"} %d\n", pod, 100*n)
		for _, le := range []string{"0.1", "0.2", "+Inf"} {
			count := good + bad
			if le == "0.1" {
				count = 0
			}
			_, _ = fmt.Fprintf(&b, "http_request_duration_seconds_bucket{namespace=\"test\",pod=%q,path=\"api\",le=%q} %d\n", pod, le, count)
			_, _ = fmt.Fprintf(&b, "traefik_service_request_duration_seconds_bucket{service=%q,le=%q} %d\n", service, le, count)
			_, _ = fmt.Fprintf(&b, "istio_request_duration_milliseconds_bucket{reporter=\"destination\",destination_workload_namespace=\"test\",destination_workload=%q,le=%q} %d\n",
				app+"-canary", map[string]string{"0.1": "100", "0.2": "200", "+Inf": "+Inf"}[le], count)
		}
	}
	requests("healthy", 10*n, 0)
	requests("quarter", 3*n, n)
	requests("dead", 0, 5*n)
	requests("idle", 0, 0)
	return b.String()
}

// TestBuiltinQueriesAgainstARealPrometheus needs the path of a Prometheus in SISKIN_PROMETHEUS.
func TestBuiltinQueriesAgainstARealPrometheus(t *testing.T) {
	binary := os.Getenv("SISKIN_PROMETHEUS")
	if binary == "" {
		t.Skip("SISKIN_PROMETHEUS is not set")
	}
	var scrapes atomic.Int64
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4")
		_, _ = io.WriteString(w, exposition(int(scrapes.Add(1))))
	}))
	defer app.Close()
	p, err := prometheus.New(prometheus.Config{Address: startPrometheus(t, binary, app.Listener.Addr().String())})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = p.Close() }()
	for _, kind := range []string{metrics.KindApp, metrics.KindTraefik, metrics.KindIstio} {
		for app, success := range map[string]float64{"healthy": 100, "quarter": 75, "dead": 0, "idle": -1} {
			t.Run(kind+"/"+app, func(t *testing.T) {
				subject := metrics.Subject{Namespace: "test", Service: app + "-canary", Workload: app + "-canary"}
				expect(t, p, kind, metrics.RequestSuccessRate, subject, success)
				duration := 199.0
				if app == "idle" {
					duration = -1
				}
				expect(t, p, kind, metrics.RequestDuration, subject, duration)
			})
		}
	}
}

// expect asks until there is a value; -1 stands for no data.
func expect(t *testing.T, p *prometheus.Provider, kind, name string, s metrics.Subject, want float64) {
	t.Helper()
	text, err := metrics.Builtin(name, kind, s, 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	sample, err := p.Query(t.Context(), metrics.Query{Text: text, At: time.Now()})
	switch {
	case want < 0 && !errors.Is(err, metrics.ErrNoData):
		t.Errorf("%s: got %v, %v, want no data", name, sample.Value, err)
	case want >= 0 && (err != nil || sample.Value < want-0.01 || sample.Value > want+0.01):
		t.Errorf("%s: got %v, %v, want %v", name, sample.Value, err, want)
	}
}

func startPrometheus(t *testing.T, binary, target string) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	_ = l.Close()
	dir := t.TempDir()
	config := "global: {scrape_interval: 200ms}\nscrape_configs:\n- job_name: app\n  honor_labels: true\n  static_configs: [{targets: [" + target + "]}]\n"
	if err := os.WriteFile(filepath.Join(dir, "prometheus.yml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), binary, "--config.file="+filepath.Join(dir, "prometheus.yml"),
		"--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address="+address, "--log.level=error")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Wait() }) // the context has ended by then
	p, err := prometheus.New(prometheus.Config{Address: "http://" + address})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = p.Close() }()
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); <-time.After(100 * time.Millisecond) {
		s, err := p.Query(t.Context(), metrics.Query{Text: "count_over_time(up[1m])", At: time.Now()})
		if err == nil && s.Value >= 10 {
			return "http://" + address
		}
	}
	t.Fatal("Prometheus did not scrape in time")
	return ""
}
