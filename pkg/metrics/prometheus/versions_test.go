package prometheus_test

import (
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/internal/promql"
	"github.com/siskin-dev/siskin/pkg/metrics"
)

// The pods of one app as the discovery of pods labels their series: all labels of the pod, and its namespace and name.
// They have the target's name in the label app, whichever version they run, and so has the container.
const versions = `
requests{namespace="shop",pod="web-primary-7d9c5b8f6d-x2x4a",app="web",container="web",siskin_dev_role="primary",code="200"} 900
requests{namespace="shop",pod="web-primary-7d9c5b8f6d-x2x4b",app="web",container="web",siskin_dev_role="primary",code="500"} 9
requests{namespace="shop",pod="web-canary-5b8f6d7d9c-x2x4c",app="web",container="web",siskin_dev_role="canary",code="200"} 60
requests{namespace="shop",pod="web-canary-5b8f6d7d9c-x2x4c",app="web",container="web",siskin_dev_role="canary",code="500"} 40
requests{namespace="shop",pod="web-canary-api-5b8f6d7d9c-x2x4d",app="web-canary-api",code="200"} 7000
requests{namespace="other",pod="web-canary-5b8f6d7d9c-x2x4e",app="web",code="200"} 70000
old{kubernetes_namespace="shop",kubernetes_pod_name="web-primary-7d9c5b8f6d-x2x4a",app="web"} 3
old{kubernetes_namespace="shop",kubernetes_pod_name="web-canary-5b8f6d7d9c-x2x4c",app="web"} 5
mesh{destination_workload_namespace="shop",destination_workload="web-primary",destination_app="web"} 11
mesh{destination_workload_namespace="shop",destination_workload="web-canary",destination_app="web"} 13
kube_deployment_status_replicas{namespace="shop",deployment="web"} 0
kube_deployment_status_replicas{namespace="shop",deployment="web-primary"} 4
kube_deployment_status_replicas{namespace="shop",deployment="web-canary"} 1
`

// TestQueriesFindTheVersionTheyAreAbout asks a real Prometheus, with series labelled as Kubernetes' discovery labels
// them: a query that selects a version in Flagger's way is about the pods of that version here, and a rewritten query
// of an autoscaler finds what it is to go by. A fake would answer whatever is asked.
func TestQueriesFindTheVersionTheyAreAbout(t *testing.T) {
	binary := binaryOf(t)
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4")
		_, _ = io.WriteString(w, strings.TrimSpace(versions)+"\n")
	}))
	defer app.Close()
	p := startPrometheus(t, binary, app.Listener.Addr().String())
	pods := &corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "web"}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "web"}}},
	}
	evaluator := metrics.NewEvaluator(metrics.EvaluatorConfig{
		MetricsServer: "http://unused",
		Providers: metrics.NewFactory(metrics.Registry{"prometheus": func(metrics.Config) (metrics.Provider, error) {
			return p, nil
		}}, nil),
	})
	c := &siskinv1.Canary{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web"}}
	c.Spec.TargetRef = siskinv1.TargetRef{Kind: "Deployment", Name: "web"}
	for name, tc := range map[string]struct {
		query string
		want  float64
		bake  bool
	}{
		"Flagger's label":            {`sum(requests{namespace="{{ namespace }}",app="{{ target }}"})`, 100, false},
		"the share that fails":       {`100 * sum(requests{namespace="{{ namespace }}",app="{{ target }}",code!~"5.*"}) / sum(requests{namespace="{{ namespace }}",app="{{ target }}"})`, 60, false},
		"an expression":              {`sum(requests{namespace="{{ namespace }}",app=~"{{ target }}"})`, 100, false},
		"the primary's":              {`sum(requests{namespace="{{ namespace }}",app="{{ target }}-primary"})`, 909, false},
		"the canary beside it":       {`sum(requests{namespace="{{ namespace }}",app="{{ target }}"}) / sum(requests{namespace="{{ namespace }}",app="{{ target }}-primary"})`, 100. / 909, false},
		"not the primary's":          {`sum(requests{namespace="{{ namespace }}",app!="{{ target }}-primary",app!="web-canary-api"})`, 100, false},
		"in a bake":                  {`sum(requests{namespace="{{ namespace }}",app="{{ target }}"})`, 909, true},
		"Flagger's pods":             {`sum(requests{namespace="{{ namespace }}",pod=~"{{ target }}-[0-9a-zA-Z]+(-[0-9a-zA-Z]+)"})`, 100, false},
		"label and pods":             {`sum(requests{namespace="{{ namespace }}",app="{{ target }}",pod=~"{{ target }}-.*"})`, 100, false},
		"a container":                {`sum(requests{namespace="{{ namespace }}",container="{{ target }}"})`, 100, false},
		"a workload":                 {`sum(kube_deployment_status_replicas{namespace="{{ namespace }}",deployment="{{ target }}"})`, 1, false},
		"an older scrape":            {`sum(old{kubernetes_namespace="{{ namespace }}",app="{{ target }}"})`, 5, false},
		"a mesh":                     {`sum(mesh{destination_workload_namespace="{{ namespace }}",destination_app="{{ target }}"})`, 13, false},
		"no namespace in the query":  {`sum(old{kubernetes_pod_name!="",app="{{ target }}-primary"})`, 3, false},
		"a variable instead of text": {`sum(requests{namespace="shop",app="{{ variables.app }}-canary"})`, 100, false},
	} {
		t.Run(name, func(t *testing.T) {
			in := metrics.Input{Canary: c, Names: metrics.NamesOf(c), Pods: pods, Now: time.Now(), Metric: siskinv1.CanaryMetric{
				Name: "own", Query: tc.query, ThresholdRange: &siskinv1.ThresholdRange{Max: new(1e9)}, TemplateVariables: map[string]string{"app": "web"},
			}}
			if tc.bake {
				in.Names = in.Names.OfPrimary()
			}
			if got := evaluator.Evaluate(t.Context(), in); got.Verdict != metrics.Pass || math.Abs(got.Raw-tc.want) > 1e-6 {
				t.Errorf("%s\nsays %v, want %v (%s)", got.Query, got.Raw, tc.want, got.Message)
			}
		})
	}
	target := promql.TargetOf(c.Spec.TargetRef, pods)
	for query, want := range map[string][2]float64{ // of the primary's autoscaler, and of the canary's
		`sum(requests{namespace="shop",app="web"})`:                                   {1009, 100},
		`sum(requests{namespace="shop",app="web-primary"})`:                           {1009, 100},
		`sum(requests{namespace="shop",pod=~"web-[0-9a-z]+-[0-9a-z]+"})`:              {909, 100},
		`sum(requests{namespace="shop",container="web"})`:                             {1009, 100},
		`sum(kube_deployment_status_replicas{namespace="shop",deployment="web"})`:     {4, 1},
		`sum(mesh{destination_workload_namespace="shop",destination_workload="web"})`: {11, 13},
	} {
		for i, text := range []string{target.OfPrimary(query), target.OfCanary(query)} {
			t.Run(fmt.Sprintf("scaler %d of %s", i, query), func(t *testing.T) {
				got, err := p.Query(t.Context(), metrics.Query{Text: text, At: time.Now()})
				if err != nil || math.Abs(got.Value-want[i]) > 1e-6 {
					t.Errorf("%s\nsays %v (%v), want %v", text, got.Value, err, want[i])
				}
			})
		}
	}
}
