package prometheus_test

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/siskin-dev/siskin/pkg/metrics"
	"github.com/siskin-dev/siskin/pkg/metrics/meter"
	"github.com/siskin-dev/siskin/pkg/metrics/prometheus"
)

// phase is a time of steady traffic. Times are seconds before the check, as negative numbers.
type phase struct {
	from, to  float64
	rate      float64 // requests per second
	bad       float64 // share of them that fail, and that are slow
	restarted bool    // the counters begin at 0 again
	replaced  bool    // by another pod: the old series end
}

// story is what happened to one canary, and what a check must make of it.
type story struct {
	phases  []phase
	unseen  [2]float64 // Prometheus was down
	grpc    bool       // failures are told by the code of gRPC; apps do not export that
	gateway bool       // Istio's series are those of the gateway: the pods have no sidecar
	ambient bool       // Istio's series are those of a waypoint
	code    bool       // the app's status is in the label code, and there is an idle series with the label status
	window  time.Duration
	success float64 // in percent; -1: no data
	within  float64 // of it, default 0.01
}

const (
	always = -605.0
	step   = 15.0 // between two scrapes
	last   = -5.0 // scrape before the check
	noData = -1.0
)

// The window of a minute begins between the scrapes at -65 and -50, so the check is about what came after -65.
var stories = map[string]story{
	"old, good":              {phases: []phase{{from: always, rate: 10}}, success: 100},
	"old, a quarter fails":   {phases: []phase{{from: always, rate: 40, bad: 0.25}}, success: 75},
	"old, all fail":          {phases: []phase{{from: always, rate: 10, bad: 1}}, success: 0},
	"new, good":              {phases: []phase{{from: -50, rate: 10}}, success: 100},
	"new, every third fails": {phases: []phase{{from: -48, rate: 9, bad: 1. / 3}}, success: 100 * 2. / 3},
	"new, every ninth fails": {phases: []phase{{from: -48, rate: 9, bad: 1. / 9}}, success: 100 * 8. / 9},
	// Traefik keeps the series of a Service from one rollout to the next: the successes are old, the failures new.
	"used before, every third fails":   {phases: []phase{{from: always, to: -300, rate: 10}, {from: -300, to: -48}, {from: -48, rate: 9, bad: 1. / 3}}, success: 100 * 2. / 3},
	"used before, every ninth fails":   {phases: []phase{{from: always, to: -300, rate: 10}, {from: -300, to: -48}, {from: -48, rate: 9, bad: 1. / 9}}, success: 100 * 8. / 9},
	"used before, all fail":            {phases: []phase{{from: always, to: -300, rate: 10}, {from: -300, to: -48}, {from: -48, rate: 9, bad: 1}}, success: 0},
	"used before, first checks":        {phases: []phase{{from: always, to: -300, rate: 10}, {from: -300, to: -19}, {from: -19, rate: 9, bad: 1. / 9}}, window: 19 * time.Second, success: 100 * 8. / 9},
	"new, all fail":                    {phases: []phase{{from: -48, rate: 10, bad: 1}}, success: 0},
	"seen by one scrape only":          {phases: []phase{{from: -14, rate: 9, bad: 1. / 3}}, window: 14 * time.Second, success: 100 * 2. / 3},
	"failures in the first scrape":     {phases: []phase{{from: -47, to: -37, rate: 9, bad: 1}, {from: -37, rate: 9}}, success: 100 * (1 - 90./(42*9))},
	"old, one failure":                 {phases: []phase{{from: always, to: -21, rate: 2}, {from: -21, to: -20.5, rate: 2, bad: 1}, {from: -20.5, rate: 2}}, success: 100 * (1 - 1./120)},
	"old, begins to fail":              {phases: []phase{{from: always, to: -30, rate: 20}, {from: -30, rate: 20, bad: 0.2}}, success: 100 * (1 - 25*0.2/60)},
	"old, ceased to fail":              {phases: []phase{{from: always, to: -90, rate: 20, bad: 0.5}, {from: -90, rate: 20}}, success: 100},
	"old, good at a tenth of the rate": {phases: []phase{{from: always, to: -65, rate: 100}, {from: -65, rate: 10, bad: 0.1}}, success: 90},
	"restarted":                        {phases: []phase{{from: always, to: -33, rate: 40, bad: 0.25}, {from: -33, rate: 40, bad: 0.25, restarted: true}}, success: 75},
	"restarted before the window's first scrape": {phases: []phase{
		{from: always, to: -60, rate: 40, bad: 0.25},
		{from: -60, rate: 40, bad: 0.5, restarted: true},
	}, success: 50},
	"restarted before the window": {phases: []phase{{from: always, to: -100, rate: 40}, {from: -100, rate: 40, bad: 0.25, restarted: true}}, success: 75},
	"begins to fail, then restarted": {phases: []phase{
		{from: always, to: -80, rate: 40},
		{from: -80, to: -34, rate: 40, bad: 0.5},
		{from: -34, rate: 40, bad: 0.5, restarted: true},
	}, success: 50},
	// No function of PromQL gives what a restarted counter had before, so its part is extrapolated.
	"failed, then restarted": {phases: []phase{
		{from: always, to: -65, rate: 40},
		{from: -65, to: -34, rate: 40, bad: 1},
		{from: -34, rate: 40, restarted: true},
	}, success: 50, within: 0.15},
	"replaced by another pod": {phases: []phase{{from: always, to: -35, rate: 40, bad: 0.25}, {from: -35, rate: 40, bad: 0.25, replaced: true}}, success: 75},
	"not seen as the window began": {
		phases: []phase{{from: always, to: -95, rate: 20, bad: 0.5}, {from: -95, rate: 20}},
		unseen: [2]float64{-85, -52}, success: 100,
	},
	"seen by the gateway alone":           {phases: []phase{{from: -48, rate: 40, bad: 0.25}}, gateway: true, success: 75},
	"seen by the gateway alone, all fail": {phases: []phase{{from: -48, rate: 10, bad: 1}}, gateway: true, success: 0},
	"seen by a waypoint":                  {phases: []phase{{from: -48, rate: 40, bad: 0.25}}, ambient: true, success: 75},
	"seen by a waypoint, all fail":        {phases: []phase{{from: -48, rate: 10, bad: 1}}, ambient: true, success: 0},
	"label code":                          {phases: []phase{{from: -48, rate: 40, bad: 0.25}}, code: true, success: 75},
	"gRPC, every fourth fails":            {phases: []phase{{from: -48, rate: 40, bad: 0.25}}, grpc: true, success: 75},
	"gRPC, old, a quarter fails":          {phases: []phase{{from: always, rate: 40, bad: 0.25}}, grpc: true, success: 75},
	"no request any more":                 {phases: []phase{{from: always, to: -70, rate: 10, bad: 0.5}}, success: noData},
	"no request yet":                      {phases: []phase{{from: -50, rate: 0}}, success: noData},
	"no scrape yet":                       {success: noData},
	"gone with its last pod":              {phases: []phase{{from: always, to: -120, rate: 10, bad: 0.5}, {from: -120, rate: 0, replaced: true}}, success: noData},
	"all scrapes failed since":            {phases: []phase{{from: always, rate: 10, bad: 0.5}}, unseen: [2]float64{-62, 0}, success: noData},
	"restarted, and no more asked":        {phases: []phase{{from: always, to: -70, rate: 10}, {from: -70, rate: 0, restarted: true}}, success: noData},
}

// record is what Prometheus keeps of a story: the text format with a time at each sample, as one scrape can bring it in.
func record(b io.Writer, app string, s story, check time.Time) {
	for at := always; at <= last; at += step {
		if at > s.unseen[0] && at < s.unseen[1] {
			continue
		}
		pod, good, bad := "x2x4a", 0.0, 0.0
		for _, p := range s.phases {
			if at < p.from {
				break
			}
			if p.restarted || p.replaced {
				good, bad = 0, 0
			}
			if p.replaced {
				pod = "x2x4b"
			}
			n := p.rate * (min(at, p.to) - p.from) // to is 0: it goes on
			good, bad = good+n*(1-p.bad), bad+n*p.bad
		}
		if len(s.phases) > 0 && at >= s.phases[0].from {
			millis := check.UnixMilli() + int64(at*1000)
			recordAt(b, app, pod, s, math.Round(good), math.Round(bad), millis)
		}
	}
}

// recordAt writes one scrape. Good requests take 100 ms to 200 ms, bad ones 200 ms to 400 ms.
func recordAt(b io.Writer, app, pod string, s story, good, bad float64, millis int64) {
	pod = fmt.Sprintf(`namespace="test",pod="%s-canary-7d9c5b8f6d-%s"`, app, pod)
	service := fmt.Sprintf(`service="httproute-test-%[1]s-gw-default-gw-ep-web-0-svc-test-%[1]s-canary-1@kubernetesgateway",instance=%[2]q`, app, pod)
	workload := fmt.Sprintf(`reporter="destination",destination_workload_namespace="test",destination_workload="%s-canary",instance=%q`, app, pod)
	if s.ambient {
		workload = strings.ReplaceAll(workload, `reporter="destination"`, `reporter="waypoint"`)
	}
	if s.gateway {
		workload = fmt.Sprintf(`reporter="source",destination_service_namespace="test",destination_service_name="%s-canary",instance="gateway"`, app)
	}
	line := func(series string, value float64, labels ...string) {
		_, _ = fmt.Fprintf(b, "%s{%s} %v %d\n", series, strings.Join(labels, ","), value, millis)
	}
	histogram := func(name string, unit, good, bad float64, labels ...string) {
		_, _ = fmt.Fprintf(b, "# TYPE %s histogram\n", name) // or it is not made a native one
		for _, h := range []struct{ le, n float64 }{{0.1, 0}, {0.2, good}, {0.4, good + bad}, {math.Inf(1), good + bad}} {
			line(name+"_bucket", h.n, append(labels, fmt.Sprintf("le=\"%v\"", h.le*unit))...)
		}
		line(name+"_sum", unit*(0.15*good+0.3*bad), labels...)
		line(name+"_count", good+bad, labels...)
		_, _ = fmt.Fprintln(b, "# TYPE traefik_service_requests_total counter\n# TYPE istio_requests_total counter")
	}
	const app1, traefik1, istio1 = "http_request_duration_seconds", "traefik_service_request_duration_seconds", "istio_request_duration_milliseconds"
	histogram(app1, 1, 100+(float64(millis)/1000-1e9), 0, pod, `path="healthz"`, `status="200"`)
	status := "status"
	if s.code {
		status = "code"
		histogram(app1, 1, 0, 0, pod, `path="idle"`, `status="200"`)
	}
	if s.grpc && good+bad > 0 {
		histogram(app1, 1, good, bad, pod, `path="api"`)
	}
	for i, n := range []float64{good, bad} {
		if n == 0 {
			continue // a series begins with its first request
		}
		part := [2]float64{}
		part[i] = n
		if s.grpc {
			code := []string{"0", "13"}[i]
			line("traefik_service_requests_total", n, service, fmt.Sprintf("code=%q", code))
			line("istio_requests_total", n, workload, `request_protocol="grpc",response_code="200"`, fmt.Sprintf("grpc_response_status=%q", code))
			histogram(traefik1, 1, part[0], part[1], service, fmt.Sprintf("code=%q", code))
			histogram(istio1, 1000, part[0], part[1], workload, fmt.Sprintf("grpc_response_status=%q", code))
			continue
		}
		code := []string{"200", "503"}[i]
		line("traefik_service_requests_total", n, service, fmt.Sprintf("code=%q", code))
		line("istio_requests_total", n, workload, `request_protocol="http"`, fmt.Sprintf("response_code=%q", code))
		histogram(app1, 1, part[0], part[1], pod, `path="api"`, fmt.Sprintf("%s=%q", status, code))
		histogram(traefik1, 1, part[0], part[1], service, fmt.Sprintf("code=%q", code))
		histogram(istio1, 1000, part[0], part[1], workload, `request_protocol="http"`, fmt.Sprintf("response_code=%q", code))
	}
}

// percentile is the 99th by interpolation within the buckets of recordAt.
func percentile(success float64) float64 {
	switch bad := 1 - success/100; {
	case success == noData:
		return noData
	case bad <= 0.01:
		return 100 + 100*0.99/(1-bad)
	default:
		return 200 + 200*(bad-0.01)/bad
	}
}

// TestBuiltinQueriesAgainstARealPrometheus runs where `make servers` has built one, or with the path of one in
// SISKIN_PROMETHEUS.
func TestBuiltinQueriesAgainstARealPrometheus(t *testing.T) {
	builtinQueries(t, "", func(string, meter.Kind) bool { return true })
}

// TestBuiltinQueriesOfNativeHistograms : the same, where Prometheus makes native histograms of all that it scrapes, so that
// nothing is named _bucket or _count.
func TestBuiltinQueriesOfNativeHistograms(t *testing.T) {
	builtinQueries(t, "convert_classic_histograms_to_nhcb: true, ", func(metric string, kind meter.Kind) bool {
		return metric == metrics.RequestDuration || kind == meter.App // others count by counters
	})
}

func builtinQueries(t *testing.T, global string, asks func(metric string, kind meter.Kind) bool) {
	t.Helper()
	binary := binaryOf(t)
	check := time.Now().Add(-time.Minute).Truncate(time.Second)
	var history strings.Builder
	apps := map[string]string{} // by story
	for i, name := range slices.Sorted(maps.Keys(stories)) {
		apps[name] = fmt.Sprintf("app%d", i)
		record(&history, apps[name], stories[name], check)
	}
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4")
		_, _ = io.WriteString(w, history.String())
	}))
	defer app.Close()
	p := startPrometheusWith(t, binary, app.Listener.Addr().String(), global)
	for _, kind := range meter.Kinds() {
		for name, s := range stories {
			t.Run(string(kind)+"/"+name, func(t *testing.T) {
				ask := func(metric string, want float64) {
					t.Helper()
					if !asks(metric, kind) {
						return
					}
					subject := metrics.Subject{Namespace: "test", Service: apps[name] + "-canary", Workload: apps[name] + "-canary"}
					text, err := metrics.Builtin(metric, kind, subject, cmp.Or(s.window, time.Minute))
					if err != nil {
						t.Fatal(err)
					}
					sample, err := p.Query(t.Context(), metrics.Query{Text: text, At: check})
					switch {
					case want == noData && !errors.Is(err, metrics.ErrNoData):
						t.Errorf("%s: got %v, %v, want no data", metric, sample.Value, err)
					case want != noData && (err != nil || math.Abs(sample.Value-want) > cmp.Or(s.within, 0.01)*max(want, 10)):
						t.Errorf("%s: got %v, %v, want %v", metric, sample.Value, err, want)
					}
				}
				success := s.success
				if s.grpc && kind == meter.App {
					success = noData
				}
				ask(metrics.RequestSuccessRate, success)
				ask(metrics.RequestDuration, percentile(s.success))
			})
		}
	}
}

func binaryOf(t *testing.T) string {
	t.Helper()
	if named := os.Getenv("SISKIN_PROMETHEUS"); named != "" {
		return named
	}
	cache := os.Getenv("SISKIN_CACHE")
	if cache == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			t.Fatal(err)
		}
		cache = filepath.Join(home, ".cache", "siskin")
	}
	binary := filepath.Join(cache, "bin", "prometheus")
	if _, err := os.Stat(binary); err != nil {
		t.Skipf("no Prometheus here, `make servers` builds one: %v", err)
	}
	return binary
}

// startPrometheus returns when the target has been scraped once: a scrape is kept as a whole.
func startPrometheus(t *testing.T, binary, target string) *prometheus.Provider {
	t.Helper()
	return startPrometheusWith(t, binary, target, "")
}

// startPrometheusWith has further global settings, each followed by a comma.
func startPrometheusWith(t *testing.T, binary, target, global string) *prometheus.Provider {
	t.Helper()
	run, end := context.WithCancel(t.Context())
	ctx, cancel := context.WithTimeout(run, time.Minute)
	defer cancel()
	dir := t.TempDir()
	config := "global: {" + global + "scrape_interval: 200ms}\nscrape_configs:\n- job_name: app\n  honor_labels: true\n  static_configs: [{targets: [" + target + "]}]\n"
	if err := os.WriteFile(filepath.Join(dir, "prometheus.yml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(run, binary, "--config.file="+filepath.Join(dir, "prometheus.yml"),
		"--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address=127.0.0.1:0")
	log, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { end(); _ = cmd.Wait() })
	p, err := prometheus.New(prometheus.Config{Address: "http://" + addressIn(t, log), Timeout: 30 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	for {
		_, err := p.Query(ctx, metrics.Query{Text: "up == 1", At: time.Now()})
		if err == nil {
			return p
		}
		select {
		case <-ctx.Done():
			t.Fatalf("Prometheus did not scrape in time: %v", err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// addressIn finds in Prometheus' log where it listens, and reads on so that it can write on.
func addressIn(t *testing.T, log io.Reader) string {
	t.Helper()
	var said strings.Builder
	for lines := bufio.NewScanner(log); lines.Scan(); {
		if _, rest, ok := strings.Cut(lines.Text(), `msg="Listening on"`); ok {
			if _, rest, ok = strings.Cut(rest, "address="); ok {
				go func() { _, _ = io.Copy(io.Discard, log) }()
				address, _, _ := strings.Cut(rest, " ")
				return address
			}
		}
		said.WriteString(lines.Text() + "\n")
	}
	t.Fatalf("Prometheus ended before it listened:\n%s", said.String())
	return ""
}
