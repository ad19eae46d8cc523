package metrics

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/siskin-dev/siskin/pkg/internal/promql"
	"github.com/siskin-dev/siskin/pkg/metrics/meter"
)

// The built-in metrics.
const (
	// RequestSuccessRate is the percentage of requests that did not fail with a server error.
	RequestSuccessRate = "request-success-rate"
	// RequestDuration is the 99th percentile of the duration in milliseconds.
	RequestDuration = "request-duration"
)

// Subject is what a built-in query is about: one version of one app.
type Subject struct {
	Namespace string
	// Service that only this version's pods are behind.
	Service string
	// Workload that runs this version.
	Workload string
	// Kind of the workload: Deployment (the default), DaemonSet or StatefulSet, whose pods are named each in its way; or Service, of
	// which the pods are not known.
	Kind string
}

// series is one way in which requests to a Subject may be recorded.
type series struct {
	counter   string // counts requests; "": the histogram does
	histogram string // of durations: classic (with _bucket and _count), or native under this very name
	factor    string // from the histogram's unit to milliseconds
	match     string // matchers of the subject
	counted   string // further matchers of requests that have a status
	bad       []string
}

// IsBuiltin tells whether name is a built-in metric.
func IsBuiltin(name string) bool { return name == RequestSuccessRate || name == RequestDuration }

// Builtin renders a built-in metric as PromQL. Errors are *TemplateError.
func Builtin(name string, kind meter.Kind, s Subject, window time.Duration) (string, error) {
	if !IsBuiltin(name) {
		return "", &TemplateError{Message: fmt.Sprintf(
			"%q is not a built-in metric: use %s or %s, or give the metric a templateRef", name, RequestSuccessRate, RequestDuration)}
	}
	all, err := seriesOf(kind, s)
	if err != nil {
		return "", err
	}
	queries := make([]string, 0, len(all))
	for _, one := range all {
		for _, q := range one.queries(name, PromDuration(window)) {
			if !slices.Contains(queries, q) {
				queries = append(queries, q)
			}
		}
	}
	return strings.Join(queries, "\nor\n"), nil
}

func seriesOf(kind meter.Kind, s Subject) ([]series, error) {
	switch kind {
	case meter.App, "":
		if s.Kind == targetService {
			return nil, &TemplateError{Message: "a target of kind Service has pods that only the user knows, so that what the app exports cannot be " +
				"told apart: give the metric a templateRef, or use a gateway whose own metrics are known"}
		}
		return appSeries(s), nil
	case meter.Traefik:
		return []series{traefikSeries(s)}, nil
	case meter.Istio:
		return istioSeries(s), nil
	}
	return nil, &TemplateError{Message: fmt.Sprintf("no built-in metrics for kind %q: use one of %v, or give the metric a templateRef",
		kind, meter.Kinds())}
}

// queries answer nothing, rather than NaN, when there is no traffic, so that the next way of recording gets its turn. A Prometheus that
// keeps native histograms, or makes such of classic ones, has no series named _bucket and _count.
func (s series) queries(name, window string) []string {
	if name == RequestDuration {
		classic := fmt.Sprintf("sum by (le) (%s)", added(s.histogram+"_bucket", s.match, window))
		native := fmt.Sprintf("sum(%s)", addedNative(s.histogram, s.match, window))
		const format = "%shistogram_quantile(0.99, %s) >= 0"
		return []string{fmt.Sprintf(format, s.factor, classic), fmt.Sprintf(format, s.factor, native)}
	}
	if s.counter != "" {
		return []string{s.success(func(match string) string { return added(s.counter, match, window) })}
	}
	return []string{
		s.success(func(match string) string { return added(s.histogram+"_count", match, window) }),
		s.success(func(match string) string { return "histogram_count(" + addedNative(s.histogram, match, window) + ")" }),
	}
}

// success is the percentage of requests that did not fail; count is what each series with these labels grew by.
func (s series) success(count func(match string) string) string {
	total := s.match
	if s.counted != "" {
		total += "," + s.counted
	}
	bad := make([]string, 0, len(s.bad))
	for _, b := range s.bad {
		// Without a failed request there is no such series: that is zero, not nothing.
		bad = append(bad, fmt.Sprintf("(sum(%s) or vector(0))", count(s.match+","+b)))
	}
	return fmt.Sprintf("100 * (1 - (%s) / (sum(%s) > 0))", strings.Join(bad, " + "), count(total))
}

// known is how far before the window a series is looked for. It bridges failed scrapes and a restart of Prometheus.
const known = "5m"

// added is what each counter grew by within the window. rate() and increase() miss the value that a series begins with, and a
// series of failures begins with the first failure; they also extrapolate, so that old series and new ones do not add up.
// The alternatives, one per line: a counter that was reset within the window, one that there was before, one that began at 0.
func added(counter, match, window string) string {
	const format = `
  increase(%[1]s[%[2]s]) and resets(%[1]s[%[2]s]) > 0
  or last_over_time(%[1]s[%[2]s]) - last_over_time(%[1]s[%[3]s] offset %[2]s) >= 0
  or last_over_time(%[1]s[%[2]s])
`
	return fmt.Sprintf(format, counter+"{"+match+"}", window, known)
}

// addedNative is added for native histograms, of which only the counts can be compared with 0.
func addedNative(histogram, match, window string) string {
	const format = `
  increase(%[1]s[%[2]s]) and resets(%[1]s[%[2]s]) > 0
  or last_over_time(%[1]s[%[2]s]) - last_over_time(%[1]s[%[3]s] offset %[2]s)
    and histogram_count(last_over_time(%[1]s[%[2]s])) - histogram_count(last_over_time(%[1]s[%[3]s] offset %[2]s)) >= 0
  or last_over_time(%[1]s[%[2]s])
`
	return fmt.Sprintf(format, histogram+"{"+match+"}", window, known)
}

// traefikSeries : Traefik names the service of a backend <route>-svc-<namespace>-<service>-<index>, where <route> begins with
// the kind and namespace of the route. Codes of gRPC have one or two digits, so both kinds fit in one matcher.
func traefikSeries(s Subject) series {
	ns, svc := regexp.QuoteMeta(s.Namespace), regexp.QuoteMeta(s.Service)
	return series{
		counter:   "traefik_service_requests_total",
		histogram: "traefik_service_request_duration_seconds",
		factor:    "1000 * ",
		match:     matchRegex("service", "(http|grpc)route-"+regexp.QuoteMeta(dashed(s.Namespace))+"-.+-svc-"+ns+"-"+svc+"-[0-9]+@kubernetesgateway"),
		bad:       []string{`code=~"5..|2|4|8|1[2345]"`},
	}
}

// istioSeries : of the destination's sidecar, or of the waypoint in ambient mode; of pods without either, of those who ask them, such as an
// ingress gateway, which know the Service.
func istioSeries(s Subject) []series {
	service := match("destination_service_namespace", s.Namespace) + "," + match("destination_service_name", s.Service)
	subject := match("destination_workload_namespace", s.Namespace) + "," + match("destination_workload", s.Workload)
	if s.Kind == targetService {
		subject = service
	}
	seen := func(reporter, subject string) series {
		return series{
			counter:   "istio_requests_total",
			histogram: "istio_request_duration_milliseconds",
			match:     reporter + "," + subject,
			bad: []string{
				`response_code=~"5.."`,
				`response_code!~"5..",request_protocol="grpc",grpc_response_status=~"2|4|8|1[2345]"`,
			},
		}
	}
	return []series{seen(`reporter=~"destination|waypoint"`, subject), seen(`reporter="source"`, service)}
}

// appSeries : Prometheus' and OpenTelemetry's name of the histogram, today's and yesterday's names of the pod's labels, and
// the two usual names of the status. Probes and scrapes are not traffic. A histogram without a status is no data: it would
// look like success.
func appSeries(s Subject) []series {
	const notTraffic = `"/?(healthz|readyz|livez|metrics)"`
	var all []series
	for _, l := range []struct{ namespace, pod string }{{"namespace", "pod"}, {"kubernetes_namespace", "kubernetes_pod_name"}} {
		pods := match(l.namespace, s.Namespace) + "," + matchRegex(l.pod, promql.PodPattern(s.Kind, s.Workload))
		for _, n := range []struct{ histogram, status, path string }{
			{"http_request_duration_seconds", "status", "path"},
			{"http_request_duration_seconds", "code", "path"},
			{"http_server_request_duration_seconds", "http_response_status_code", "http_route"},
		} {
			all = append(all, series{
				histogram: n.histogram,
				factor:    "1000 * ",
				match:     pods + "," + n.path + "!~" + notTraffic,
				counted:   n.status + `!=""`,
				bad:       []string{n.status + `=~"5.."`},
			})
		}
	}
	return all
}

// targetService is the kind of targets whose pods only the user knows.
const targetService = "Service"

func match(label, value string) string { return label + "=" + strconv.Quote(value) }

func matchRegex(label, pattern string) string { return label + "=~" + strconv.Quote(pattern) }
