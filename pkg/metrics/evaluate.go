package metrics

import (
	"context"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/internal/promql"
	"github.com/siskin-dev/siskin/pkg/metrics/meter"
)

// Names are the names that queries are rendered with; all of them live in the Canary's namespace.
type Names struct {
	// Apex, Primary and Canary are the Services.
	Apex, Primary, Canary string
	// Target is the user's workload.
	Target string
	// PrimaryWorkload and CanaryWorkload are its clones.
	PrimaryWorkload, CanaryWorkload string
	// Route is the name of the route. Default: Apex.
	Route string
	// Ingress is the name of the Ingress, if there is one.
	Ingress string
}

// NamesOf returns the names that Siskin gives by default.
func NamesOf(c *siskinv1.Canary) Names {
	apex := c.Spec.Service.Name
	if apex == "" {
		apex = c.Spec.TargetRef.Name
	}
	target := c.Spec.TargetRef.Name
	return Names{
		Apex: apex, Primary: apex + "-primary", Canary: apex + "-canary",
		Target: target, PrimaryWorkload: target + "-primary", CanaryWorkload: target + "-canary",
		Route: apex,
	}
}

// OfPrimary returns the names by which a query about the canary asks about the primary.
func (n Names) OfPrimary() Names {
	n.Canary, n.CanaryWorkload = n.Primary, n.PrimaryWorkload
	return n
}

// Reasons of a Result whose verdict is not pass.
const (
	// ReasonOutOfRange : the value is outside of the limits.
	ReasonOutOfRange = "OutOfRange"
	// ReasonNoData : the query matched nothing.
	ReasonNoData = "NoData"
	// ReasonSeveralSeries : the query gave more than one series.
	ReasonSeveralSeries = "SeveralSeries"
	// ReasonProviderUnavailable : the metrics server, or the API server behind a template, did not answer.
	ReasonProviderUnavailable = "ProviderUnavailable"
	// ReasonAccessDenied : the metrics server refused the credentials, or a reference to another namespace is not allowed.
	ReasonAccessDenied = "AccessDenied"
	// ReasonTemplateInvalid : the query or the metric itself is wrong.
	ReasonTemplateInvalid = "TemplateInvalid"
	// ReasonTemplateNotFound : the MetricTemplate or its Secret does not exist.
	ReasonTemplateNotFound = "TemplateNotFound"
)

// Input is one metric of one Canary.
type Input struct {
	Canary *siskinv1.Canary
	Metric siskinv1.CanaryMetric
	// Kind of the built-in queries: "" is meter.App.
	Kind  meter.Kind
	Names Names
	// Pods is the template of the pods that the query is about; nil: not known.
	Pods *corev1.PodTemplateSpec
	// Revision on trial.
	Revision string
	// TrafficAt is when the version first got traffic; the window never reaches back before it. Zero: no bound.
	TrafficAt time.Time
	Now       time.Time
}

// Result is a judged metric.
type Result struct {
	Name string
	// Value and Limit as people read them; empty without a value.
	Value, Limit string
	// Raw is the value, 0 without one.
	Raw     float64
	Verdict Verdict
	// Message is one sentence for every verdict but pass.
	Message string
	// Reason is one of the Reason constants, or "" for pass.
	Reason string
	// Invalid tells that only an edit helps.
	Invalid bool
	// Warnings are the provider's remarks on the query.
	Warnings []string
	// Query that was asked, rendered; empty if it could not be.
	Query string
}

// Finding is something wrong with a metric that shows before any query is asked.
type Finding struct {
	// Metric is the metric's name, Field its place in the Canary.
	Metric, Field string
	// Reason is one of the Reason constants.
	Reason, Message string
}

// EvaluatorConfig is what an Evaluator needs.
type EvaluatorConfig struct {
	// Templates reads MetricTemplates, from the cache.
	Templates client.Reader
	// Secrets reads Secrets by name, live.
	Secrets client.Reader
	// Providers makes and keeps the providers.
	Providers *Factory
	// MetricsServer is the address for built-in and inline queries, and for templates without one.
	MetricsServer string
	// NoCrossNamespaceRefs refuses templates of other namespaces.
	NoCrossNamespaceRefs bool
}

// Evaluator asks and judges the metrics of Canaries. It keeps no state of them.
type Evaluator struct {
	cfg EvaluatorConfig
}

// NewEvaluator returns an Evaluator.
func NewEvaluator(cfg EvaluatorConfig) *Evaluator { return &Evaluator{cfg: cfg} }

// Evaluate does one metric end to end. It never fails: what went wrong is in the Result.
func (e *Evaluator) Evaluate(ctx context.Context, in Input) Result {
	limits, _ := LimitsOf(in.Metric)
	result := Result{Name: in.Metric.Name, Limit: limits.String(), Verdict: Inconclusive}
	sample, err := e.ask(ctx, in, &result)
	if err != nil {
		p := problemOf(err)
		result.Reason, result.Invalid, result.Message = p.reason, p.invalid, oneLine(p.Error())
		if p.reason == ReasonNoData {
			result.Message += advice(in, result.Query)
		}
		return result
	}
	result.Raw, result.Warnings = sample.Value, sample.Warnings
	result.Value = formatAgainst(sample.Value, limits)
	result.Verdict, _ = Judge(sample.Value, limits)
	switch result.Verdict {
	case Pass:
	case Fail:
		result.Reason = ReasonOutOfRange
		result.Message = fmt.Sprintf("%s is %s, the limit is %s", in.Metric.Name, result.Value, result.Limit)
	case Inconclusive:
		result.Value, result.Raw = "", 0
		result.Reason, result.Message = ReasonNoData, ErrNoData.Error()+advice(in, result.Query)
	}
	return result
}

// ask renders the query and sends it. It notes the query in the result.
func (e *Evaluator) ask(ctx context.Context, in Input, result *Result) (Sample, error) {
	if result.Limit == "" {
		return Sample{}, noLimit()
	}
	src, err := e.resolve(ctx, in.Canary, in.Metric)
	if err != nil {
		return Sample{}, err
	}
	if result.Query, err = render(in, src); err != nil {
		return Sample{}, err
	}
	provider, err := e.cfg.Providers.Get(src.owner, src.providerType, src.cfg)
	if err != nil {
		return Sample{}, &problemError{reason: ReasonTemplateInvalid, invalid: true, err: err}
	}
	return provider.Query(ctx, Query{Text: result.Query, At: in.Now})
}

// Version names all that Validate of the Canary depends on, but for Secrets: the Canary itself, and the templates as the
// cache has them.
func (e *Evaluator) Version(ctx context.Context, c *siskinv1.Canary) string {
	parts := []string{fmt.Sprintf("%s/%d", c.UID, c.Generation)}
	for _, m := range c.Spec.Analysis.Metrics {
		if m.TemplateRef == nil {
			continue
		}
		key := templateKey(c.Namespace, *m.TemplateRef)
		if e.cfg.NoCrossNamespaceRefs && key.Namespace != c.Namespace { // it is not read
			continue
		}
		var t siskinv1.MetricTemplate
		if err := e.cfg.Templates.Get(ctx, key, &t, client.UnsafeDisableDeepCopy); err != nil {
			parts = append(parts, "none") // also if it could not be read: that is seen by the next look
			continue
		}
		parts = append(parts, fmt.Sprintf("%s/%s", t.UID, t.ResourceVersion))
	}
	return strings.Join(parts, " ")
}

// Validate finds what is wrong with the Canary's metrics without asking any provider. kind is that of the built-in
// queries. What could not be read at the moment is no finding.
func (e *Evaluator) Validate(ctx context.Context, c *siskinv1.Canary, kind meter.Kind) []Finding {
	var findings []Finding
	for i, m := range c.Spec.Analysis.Metrics {
		err := e.check(ctx, c, m, kind)
		if err == nil {
			continue
		}
		p := problemOf(err)
		if !p.invalid {
			continue
		}
		findings = append(findings, Finding{
			Metric: m.Name, Field: fmt.Sprintf("spec.analysis.metrics[%d]", i), Reason: p.reason, Message: oneLine(p.Error()),
		})
	}
	return findings
}

func (e *Evaluator) check(ctx context.Context, c *siskinv1.Canary, m siskinv1.CanaryMetric, kind meter.Kind) error {
	if _, ok := LimitsOf(m); !ok {
		return noLimit()
	}
	src, err := e.resolve(ctx, c, m)
	if err != nil {
		return err
	}
	if _, err := render(Input{Canary: c, Metric: m, Kind: kind, Names: NamesOf(c), Revision: "revision"}, src); err != nil {
		return err
	}
	if _, err := e.cfg.Providers.Get(src.owner, src.providerType, src.cfg); err != nil {
		return &problemError{reason: ReasonTemplateInvalid, invalid: true, err: err}
	}
	return nil
}

func noLimit() error {
	return invalidf(ReasonTemplateInvalid, "the metric has no limit: give thresholdRange with min, max or both")
}

func render(in Input, src source) (string, error) {
	interval, err := ParseInterval(in.Metric.Interval)
	if err != nil {
		return "", err
	}
	window := Window(interval, in.TrafficAt, in.Now)
	if src.query == "" {
		subject := Subject{Namespace: in.Canary.Namespace, Service: in.Names.Canary, Workload: in.Names.CanaryWorkload, Kind: in.Canary.Spec.TargetRef.Kind}
		return Builtin(in.Metric.Name, in.Kind, subject, window)
	}
	query, err := Render(src.query, TemplateInput{
		Name: in.Canary.Name, Namespace: in.Canary.Namespace, Names: in.Names, Revision: in.Revision,
		Window: window, Variables: in.Metric.TemplateVariables,
	})
	if err != nil || src.providerType != prometheusType {
		return query, err
	}
	return promql.TargetOf(in.Canary.Spec.TargetRef, in.Pods).Narrow(query), nil
}

// advice says what to write in a query of one's own that found nothing because of how it selects the version, "" if it
// is not that.
func advice(in Input, query string) string {
	if in.Metric.TemplateRef == nil && in.Metric.Query == "" {
		return ""
	}
	if text := promql.TargetOf(in.Canary.Spec.TargetRef, in.Pods).Advice(query); text != "" {
		return ": " + text
	}
	return ""
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }
