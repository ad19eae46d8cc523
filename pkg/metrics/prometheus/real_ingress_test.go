package prometheus_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/siskin-dev/siskin/pkg/metrics"
	"github.com/siskin-dev/siskin/pkg/metrics/meter"
)

// TestVersionsBehindAnIngressAreToldApart : the canary fails from its first request and is slow, the primary never fails. Both are
// counted by the name of the apex, and so are neighbours of which nothing may count.
func TestVersionsBehindAnIngressAreToldApart(t *testing.T) {
	check := time.Now().Add(-time.Minute).Truncate(time.Second)
	nginx := func(namespace, service, canary string) string {
		return fmt.Sprintf(`namespace=%q,ingress="site",service=%q,canary=%q`, namespace, service, canary)
	}
	pod := func(namespace, service, canary string) string { // as a PodMonitor's labels have it
		return fmt.Sprintf(`namespace="infra",exported_namespace=%q,ingress="site",service=%q,canary=%q`, namespace, service, canary)
	}
	traefik := func(name string) string { return fmt.Sprintf("service=%q", name+"@kubernetesingressnginx") }
	var history strings.Builder
	for at := always; at <= last; at += step {
		millis := check.UnixMilli() + int64(at*1000)
		record := func(prefix, labels, status string, slow bool, rate, since float64) {
			n := rate * (at - since)
			if n <= 0 {
				return
			}
			counter, buckets := prefix+"_requests", prefix+"_request_duration_seconds_bucket"
			if strings.HasPrefix(prefix, "traefik") {
				counter += "_total"
			}
			_, _ = fmt.Fprintf(&history, "%s{%s,%s} %v %d\n", counter, labels, status, n, millis)
			fast := n
			if slow {
				fast = 0
			}
			for le, v := range map[string]float64{"0.1": fast, "1": n, "+Inf": n} {
				_, _ = fmt.Fprintf(&history, "%s{%s,%s,le=%q} %v %d\n", buckets, labels, status, le, v, millis)
			}
		}
		const ngx, tfk = "nginx_ingress_controller", "traefik_service"
		for service, labels := range map[string]func(string, string, string) string{"web": nginx, "pod": pod} {
			record(ngx, labels("test", service, "test-"+service+"-canary-80"), `status="503"`, true, 10, -50)
			record(ngx, labels("test", service, ""), `status="200"`, false, 90, always)
			record(ngx, labels("test", "a-"+service, "test-a-"+service+"-canary-80"), `status="200"`, false, 500, always)
			record(ngx, labels("other", service, "other-"+service+"-canary-80"), `status="200"`, false, 500, always)
			record(ngx, labels("other", service, ""), `status="503"`, true, 500, always)
		}
		record(tfk, traefik("test-site-tfk-80-canary"), `code="503"`, true, 10, -50)
		record(tfk, traefik("test-site-tfk-80"), `code="200"`, false, 90, always)
		record(tfk, traefik("test-site-a-tfk-80-canary"), `code="200"`, false, 500, always)
		record(tfk, traefik("test-site-tfk-a-80"), `code="503"`, true, 500, always)
	}
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4")
		_, _ = io.WriteString(w, history.String())
	}))
	defer app.Close()
	p := startPrometheus(t, binaryOf(t), app.Listener.Addr().String())
	for _, app := range []string{"web", "pod", "tfk"} {
		for role, want := range map[string]struct{ success, least, most float64 }{"canary": {0, 900, 1000}, "primary": {100, 0, 100}} {
			t.Run(app+"/"+role, func(t *testing.T) {
				subject := metrics.Subject{Namespace: "test", Service: app + "-" + role, Apex: app, Ingress: "site", Workload: app + "-" + role}
				ask := func(metric string) float64 {
					text, err := metrics.Builtin(metric, meter.IngressNGINX, subject, time.Minute)
					if err != nil {
						t.Fatal(err)
					}
					sample, err := p.Query(t.Context(), metrics.Query{Text: text, At: check})
					if err != nil {
						t.Fatalf("%s: %v", metric, err)
					}
					return sample.Value
				}
				if got := ask(metrics.RequestSuccessRate); got != want.success {
					t.Errorf("success %v, not %v", got, want.success)
				}
				if got := ask(metrics.RequestDuration); got < want.least || got > want.most {
					t.Errorf("99th percentile %v ms, not %v to %v", got, want.least, want.most)
				}
			})
		}
	}
}
