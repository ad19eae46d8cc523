package fleet

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// Reading is one look at Siskin's own metrics.
type Reading struct {
	// Calls to the API server but for reads and the lease; CPU in seconds, RSS in bytes.
	Calls, CPU, RSS float64
	Reconciles      float64
	// ByVerb counts calls, by verb and code.
	ByVerb map[string]float64
}

// Since tells what was called since an earlier reading, divided by n.
func (r Reading) Since(before Reading, n float64) string {
	var parts []string
	for _, verb := range slices.Sorted(maps.Keys(r.ByVerb)) {
		if d := r.ByVerb[verb] - before.ByVerb[verb]; d > 0 {
			parts = append(parts, fmt.Sprintf("%s=%.2f", verb, d/n))
		}
	}
	return strings.Join(parts, " ")
}

// Scrape reads Siskin's metrics. The leader's lease is renewed by one GET or PUT every two seconds whatever Siskin does, and client-go
// does not tell what a call was about, so that GETs and PUTs count as lease traffic: Siskin itself uses neither (reads come from
// caches, writes are POST, PATCH and DELETE).
func Scrape(ctx context.Context, hc *http.Client, url string) (Reading, error) {
	var r Reading
	families, err := Get(ctx, hc, url)
	if err != nil {
		return r, err
	}
	r.ByVerb = map[string]float64{}
	for _, m := range families["rest_client_requests_total"].GetMetric() {
		verb := Label(m, "method")
		r.ByVerb[verb+" "+Label(m, "code")] += m.GetCounter().GetValue()
		switch verb {
		case http.MethodGet, http.MethodPut: // the lease, see above, and watches that begin anew
		default:
			r.Calls += m.GetCounter().GetValue()
		}
	}
	for _, m := range families["controller_runtime_reconcile_total"].GetMetric() {
		r.Reconciles += m.GetCounter().GetValue()
	}
	r.CPU, r.RSS = single(families["process_cpu_seconds_total"]), single(families["process_resident_memory_bytes"])
	return r, nil
}

// Get reads the metrics at a URL.
func Get(ctx context.Context, hc *http.Client, url string) (map[string]*dto.MetricFamily, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, fmt.Errorf("asking for metrics: %w", err)
	}
	resp, err := hc.Do(req)
	if err != nil {
		return nil, fmt.Errorf("asking for metrics: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	return Families(io.LimitReader(resp.Body, 64<<20))
}

// Families reads metrics in Prometheus' text format.
func Families(in io.Reader) (map[string]*dto.MetricFamily, error) {
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(in)
	if err != nil {
		return nil, fmt.Errorf("parsing metrics: %w", err)
	}
	return families, nil
}

// ServerWrites counts the API server's writes by verb and resource, of all clients, from its metrics.
func ServerWrites(metrics io.Reader) (map[string]float64, error) {
	families, err := Families(metrics)
	if err != nil {
		return nil, err
	}
	out := map[string]float64{}
	for _, m := range families["apiserver_request_total"].GetMetric() {
		switch verb := Label(m, "verb"); verb {
		case "POST", "APPLY", "PATCH", "PUT", "DELETE":
			resource := Label(m, "resource")
			if sub := Label(m, "subresource"); sub != "" {
				resource += "/" + sub
			}
			out[verb+" "+resource] += m.GetCounter().GetValue()
		}
	}
	return out, nil
}

// Label returns a label of a series.
func Label(m *dto.Metric, name string) string {
	for _, l := range m.GetLabel() {
		if l.GetName() == name {
			return l.GetValue()
		}
	}
	return ""
}

func single(f *dto.MetricFamily) float64 {
	for _, m := range f.GetMetric() {
		return m.GetCounter().GetValue() + m.GetGauge().GetValue()
	}
	return 0
}
