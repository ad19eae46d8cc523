package metrics_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/metrics"
	"github.com/siskin-dev/siskin/pkg/metrics/meter"
	"github.com/siskin-dev/siskin/pkg/metrics/metricstest"
)

func scheme(t *testing.T) *runtime.Scheme {
	t.Helper()
	s := runtime.NewScheme()
	if err := errors.Join(siskinv1.AddToScheme(s), corev1.AddToScheme(s)); err != nil {
		t.Fatal(err)
	}
	return s
}

func template(namespace, name, query string, change func(*siskinv1.MetricProvider)) *siskinv1.MetricTemplate {
	m := &siskinv1.MetricTemplate{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec: siskinv1.MetricTemplateSpec{
			Provider: siskinv1.MetricProvider{Type: "prometheus", Address: "http://prom"}, Query: query,
		},
	}
	if change != nil {
		change(&m.Spec.Provider)
	}
	return m
}

func canary(m ...siskinv1.CanaryMetric) *siskinv1.Canary {
	return &siskinv1.Canary{
		ObjectMeta: metav1.ObjectMeta{Namespace: "test", Name: "podinfo"},
		Spec: siskinv1.CanarySpec{
			TargetRef: siskinv1.TargetRef{Kind: "Deployment", Name: "podinfo"},
			Analysis:  siskinv1.CanaryAnalysis{Metrics: m},
		},
	}
}

// stage is an evaluator with its surroundings.
type stage struct {
	*metrics.Evaluator

	fake    *metricstest.Fake
	configs []metrics.Config
}

func newStage(t *testing.T, change func(*metrics.EvaluatorConfig), objects ...client.Object) *stage {
	t.Helper()
	s := &stage{fake: &metricstest.Fake{}}
	c := fake.NewClientBuilder().WithScheme(scheme(t)).WithObjects(objects...).Build()
	cfg := metrics.EvaluatorConfig{
		Templates: c, Secrets: c, MetricsServer: "http://default",
		Providers: metrics.NewFactory(metrics.Registry{"prometheus": func(cfg metrics.Config) (metrics.Provider, error) {
			s.configs = append(s.configs, cfg)
			return s.fake, nil
		}}, nil),
	}
	if change != nil {
		change(&cfg)
	}
	s.Evaluator = metrics.NewEvaluator(cfg)
	return s
}

func (s *stage) evaluate(t *testing.T, m siskinv1.CanaryMetric) metrics.Result {
	t.Helper()
	c := canary(m)
	now := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	return s.Evaluate(t.Context(), metrics.Input{
		Canary: c, Metric: m, Names: metrics.NamesOf(c), Kind: meter.Traefik, TrafficAt: now.Add(-30 * time.Second), Now: now,
	})
}

func ref(namespace, name string) siskinv1.CanaryMetric {
	return siskinv1.CanaryMetric{
		Name: "errors", ThresholdRange: &siskinv1.ThresholdRange{Max: new(1.0)},
		TemplateRef: &siskinv1.NamespacedRef{Namespace: namespace, Name: name},
	}
}

func TestEvaluateJudgesAValue(t *testing.T) {
	s := newStage(t, nil)
	s.fake.Answer(97.256)
	got := s.evaluate(t, siskinv1.CanaryMetric{Name: "request-success-rate", ThresholdRange: &siskinv1.ThresholdRange{Min: new(99.0)}})
	want := metrics.Result{
		Name: "request-success-rate", Value: "97.26", Limit: ">= 99", Raw: 97.256, Verdict: metrics.Fail,
		Message: "request-success-rate is 97.26, the limit is >= 99", Reason: metrics.ReasonOutOfRange,
	}
	got.Query = ""
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	q := s.fake.Queries()[0]
	if !strings.Contains(q.Text, "[30s]") || !strings.Contains(q.Text, "traefik_service_requests_total") {
		t.Errorf("the query is not of the kind, or reaches back too far: %s", q.Text)
	}
}

// A check is judged by what is at its time, and nothing is kept from the check before (W29 in docs/flagger.md).
func TestW29EachCheckAsksAnewAndForItsOwnTime(t *testing.T) {
	s := newStage(t, nil)
	m := siskinv1.CanaryMetric{Name: "request-success-rate", ThresholdRange: &siskinv1.ThresholdRange{Min: new(99.0)}}
	c := canary(m)
	began := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	for i, value := range []float64{100, 50} {
		now := began.Add(time.Duration(i+1) * time.Minute)
		s.fake.Answer(value)
		got := s.Evaluate(t.Context(), metrics.Input{Canary: c, Metric: m, Names: metrics.NamesOf(c), Kind: meter.Traefik, TrafficAt: began, Now: now})
		qs := s.fake.Queries()
		if got.Raw != value || len(qs) != i+1 || !qs[i].At.Equal(now) {
			t.Errorf("check %d at %s: value %v of %v, queries %+v", i+1, now, got.Raw, value, qs)
		}
	}
}

func TestAValueOutOfRangeNeverLooksLikeTheLimit(t *testing.T) {
	s := newStage(t, nil)
	s.fake.Answer(98.9999)
	got := s.evaluate(t, siskinv1.CanaryMetric{Name: "request-success-rate", ThresholdRange: &siskinv1.ThresholdRange{Min: new(99.0)}})
	if got.Value != "98.9999" || got.Verdict != metrics.Fail {
		t.Errorf("got %+v", got)
	}
}

func TestWhatGoesWrongIsInconclusiveWithAReason(t *testing.T) {
	for name, c := range map[string]struct {
		fail    error
		metric  siskinv1.CanaryMetric
		reason  string
		invalid bool
		message string
	}{
		"no data":        {metrics.ErrNoData, ref("", "good"), metrics.ReasonNoData, false, "no data"},
		"server down":    {fmt.Errorf("%w: refused", metrics.ErrUnavailable), ref("", "good"), metrics.ReasonProviderUnavailable, false, "provider unavailable: refused"},
		"denied":         {metrics.ErrDenied, ref("", "good"), metrics.ReasonAccessDenied, false, "access denied"},
		"wrong query":    {metrics.ErrInvalidQuery, ref("", "good"), metrics.ReasonTemplateInvalid, true, "invalid query"},
		"several series": {&metrics.SeveralSeriesError{Count: 3}, ref("", "good"), metrics.ReasonSeveralSeries, true, "the query returned 3 series instead of one: aggregate them, for example with sum()"},
		"no template":    {nil, ref("", "absent"), metrics.ReasonTemplateNotFound, true, "MetricTemplate test/absent does not exist"},
		"no secret":      {nil, ref("", "no-secret"), metrics.ReasonTemplateNotFound, true, "Secret test/absent does not exist"},
		"empty secret":   {nil, ref("", "empty-secret"), metrics.ReasonTemplateInvalid, true, `Secret test/empty has no key "token", "username" or "ca.crt"`},
		"bad template":   {nil, ref("", "bad"), metrics.ReasonTemplateInvalid, true, `variable "x" is not set: add it to templateVariables of the metric (set are: none)`},
		"unknown type":   {nil, ref("", "graphite"), metrics.ReasonTemplateInvalid, true, `MetricTemplate test/graphite: unknown metrics provider "graphite": use one of [prometheus]`},
		"not built in": {
			nil,
			siskinv1.CanaryMetric{Name: "x", ThresholdRange: &siskinv1.ThresholdRange{Max: new(1.0)}},
			metrics.ReasonTemplateInvalid, true, `metric "x" is not built in: give it a templateRef, or name it request-success-rate or request-duration`,
		},
		"no limit": {nil, siskinv1.CanaryMetric{Name: "request-duration"}, metrics.ReasonTemplateInvalid, true, "the metric has no limit: give thresholdRange with min, max or both"},
		"a bad interval": {
			nil,
			siskinv1.CanaryMetric{Name: "request-duration", ThresholdRange: &siskinv1.ThresholdRange{Max: new(1.0)}, Interval: "0s"},
			metrics.ReasonTemplateInvalid, true, `interval "0s" is not a positive duration: use for example 1m or 30s`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t, nil,
				template("test", "good", "vector(1)", nil),
				template("test", "bad", "{{ variables.x }}", nil),
				template("test", "graphite", "x", func(p *siskinv1.MetricProvider) { p.Type = "graphite" }),
				template("test", "no-secret", "x", func(p *siskinv1.MetricProvider) { p.SecretRef = &siskinv1.SecretRef{Name: "absent"} }),
				template("test", "empty-secret", "x", func(p *siskinv1.MetricProvider) { p.SecretRef = &siskinv1.SecretRef{Name: "empty"} }),
				&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "test", Name: "empty"}},
			)
			s.fake.Fail(c.fail)
			got := s.evaluate(t, c.metric)
			if got.Verdict != metrics.Inconclusive || got.Reason != c.reason || got.Invalid != c.invalid || got.Message != c.message || got.Value != "" {
				t.Errorf("got %+v", got)
			}
			findings := s.Validate(t.Context(), canary(c.metric), meter.Traefik)
			if wrongBefore := c.invalid && c.fail == nil; (len(findings) == 1) != wrongBefore {
				t.Errorf("findings %+v", findings)
			} else if wrongBefore && (findings[0].Message != c.message || findings[0].Field != "spec.analysis.metrics[0]") {
				t.Errorf("finding %+v", findings[0])
			}
		})
	}
}

func TestAnAPIServerThatDoesNotAnswerIsNoFinding(t *testing.T) {
	broken := fake.NewClientBuilder().WithScheme(scheme(t)).WithInterceptorFuncs(interceptor.Funcs{
		Get: func(context.Context, client.WithWatch, client.ObjectKey, client.Object, ...client.GetOption) error {
			return errors.New("timeout")
		},
	}).Build()
	s := newStage(t, func(c *metrics.EvaluatorConfig) { c.Templates = broken })
	got := s.evaluate(t, ref("", "x"))
	if got.Reason != metrics.ReasonProviderUnavailable || got.Invalid {
		t.Errorf("got %+v", got)
	}
	if f := s.Validate(t.Context(), canary(ref("", "x")), meter.Traefik); len(f) != 0 {
		t.Errorf("findings %+v", f)
	}
}

func TestATemplateOfAnotherNamespace(t *testing.T) {
	objects := []client.Object{
		template("shared", "t", "vector(1)", func(p *siskinv1.MetricProvider) { p.SecretRef = &siskinv1.SecretRef{Name: "s"} }),
		&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "shared", Name: "s"}, Data: map[string][]byte{"token": []byte("abc")}},
	}
	s := newStage(t, nil, objects...)
	s.fake.Answer(1)
	if got := s.evaluate(t, ref("shared", "t")); got.Verdict != metrics.Pass || s.configs[0].Token != "abc" || got.Value != "1" {
		t.Errorf("got %+v", got)
	}
	s = newStage(t, func(c *metrics.EvaluatorConfig) { c.NoCrossNamespaceRefs = true }, objects...)
	if got := s.evaluate(t, ref("shared", "t")); got.Reason != metrics.ReasonAccessDenied || !got.Invalid || len(s.configs) != 0 {
		t.Errorf("got %+v", got)
	}
}

func TestTheServerOfTheCanaryGoesBeforeTheControllers(t *testing.T) {
	s := newStage(t, nil)
	m := siskinv1.CanaryMetric{Name: "mine", Query: `up{app="{{ name }}"}`, ThresholdRange: &siskinv1.ThresholdRange{Max: new(1.0)}}
	s.evaluate(t, m)
	c := canary(m)
	c.Spec.MetricsServer = "http://own"
	s.Evaluate(t.Context(), metrics.Input{Canary: c, Metric: m, Names: metrics.NamesOf(c)})
	if len(s.configs) != 2 || s.configs[0].Address != "http://default" || s.configs[1].Address != "http://own" {
		t.Errorf("got %+v", s.configs)
	}
	if q := s.fake.Queries()[0].Text; q != `up{app="podinfo"}` {
		t.Errorf("asked %s", q)
	}
}

type closing struct {
	metricstest.Fake

	closed bool
}

func (c *closing) Close() error { c.closed = true; return nil }

func TestTheFactoryKeepsAProviderUntilItsConfigurationChanges(t *testing.T) {
	var made []*closing
	reg := prometheus.NewRegistry()
	f := metrics.NewFactory(metrics.Registry{"x": func(metrics.Config) (metrics.Provider, error) {
		made = append(made, &closing{})
		return made[len(made)-1], nil
	}}, metrics.NewInstruments(reg, clock.RealClock{}))
	get := func(owner, token string) metrics.Provider {
		p, err := f.Get(owner, "x", metrics.Config{Token: token})
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	first := get("a", "1")
	if get("a", "1") != first || len(made) != 1 {
		t.Error("a provider was made anew")
	}
	get("b", "1")
	if get("a", "2") == first || !made[0].closed || made[1].closed {
		t.Error("a changed provider was not replaced and closed, or another one was")
	}
	if _, err := f.Get("a", "y", metrics.Config{}); err == nil {
		t.Error("an unknown type was accepted")
	}
	_, _ = get("b", "1").Query(t.Context(), metrics.Query{})
	if n := testutil.CollectAndCount(reg, "siskin_metric_query_duration_seconds"); n != 1 {
		t.Errorf("%d series", n)
	}
	for i := range 300 {
		get(strconv.Itoa(i), "1")
	}
	if !made[1].closed || made[len(made)-1].closed {
		t.Error("the oldest provider was not the one to go")
	}
	if err := f.Close(); err != nil || !made[len(made)-1].closed {
		t.Error("not closed", err)
	}
}

// A query that selects a version by a label which all pods share is asked about that version's pods; where that is not
// possible, no data says what to write.
func TestAQueryByASharedLabelIsAboutItsVersion(t *testing.T) {
	s := newStage(t, nil, template("test", "errors", `e{namespace="{{ namespace }}",app="{{ target }}"}`, nil))
	m := ref("", "errors")
	c := canary(m)
	in := metrics.Input{Canary: c, Metric: m, Names: metrics.NamesOf(c), Pods: &corev1.PodTemplateSpec{}}
	const narrowed = `, for app="podinfo" is on the pods of all versions: if yours name pods by another label than pod, write it in the query`
	for name, tc := range map[string]struct {
		label, want, message string
		primary              bool
	}{
		"the target's name": {
			"podinfo", `e{namespace="test",app="podinfo",pod=~"podinfo-canary-[a-z0-9]+-[a-z0-9]+"}`,
			`no data: only series with pod=~"podinfo-canary-[a-z0-9]+-[a-z0-9]+" were looked at` + narrowed, false,
		},
		"in a bake": {
			"podinfo", `e{namespace="test",app="podinfo",pod=~"podinfo-primary-[a-z0-9]+-[a-z0-9]+"}`,
			`no data: only series with pod=~"podinfo-primary-[a-z0-9]+-[a-z0-9]+" were looked at` + narrowed, true,
		},
		"another value": {
			"shop", `e{namespace="test",app="podinfo-canary"}`, `no data: app="podinfo-canary" names no pod, for the label's value is "shop" on all pods: ` +
				`write app="shop",pod=~"{{ canary }}-.+"`, false,
		},
	} {
		in.Pods.Labels = map[string]string{"app": tc.label}
		in := in
		if tc.primary {
			in.Names = in.Names.OfPrimary()
		}
		s.fake.Fail(metrics.ErrNoData)
		got := s.Evaluate(t.Context(), in)
		if got.Query != tc.want || got.Message != tc.message || got.Reason != metrics.ReasonNoData {
			t.Errorf("%s: asked %s\nsays %s (%s)", name, got.Query, got.Message, got.Reason)
		}
	}
}
