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
	// Apex is the Service that clients know, and Ingress the one that leads to it, for series that name these.
	Apex, Ingress string
	// Workload that runs this version.
	Workload string
	// Kind of the workload: Deployment (the default), DaemonSet or StatefulSet, whose pods are named each in its way; or Service, of
	// which the pods are not known.
	Kind string
}

// series is one way in which requests to a Subject may be recorded.
type series struct {
	counter string // counts requests
	buckets string // classic histogram of durations
	factor  string // from the histogram's unit to milliseconds
	match   string // matchers of the subject
	counted string // further matchers of requests that have a status
	bad     []string
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
		if q := one.query(name, PromDuration(window)); !slices.Contains(queries, q) {
			queries = append(queries, q)
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
	case meter.IngressNGINX:
		return ingressSeries(s), nil
	}
	return nil, &TemplateError{Message: fmt.Sprintf("no built-in metrics for kind %q: use one of %v, or give the metric a templateRef",
		kind, meter.Kinds())}
}

// query answers nothing, rather than NaN, when there is no traffic, so that the next way of recording gets its turn.
func (s series) query(name, window string) string {
	if name == RequestDuration {
		return fmt.Sprintf("%shistogram_quantile(0.99, sum by (le) (%s)) >= 0", s.factor, added(s.buckets, s.match, window))
	}
	total := s.match
	if s.counted != "" {
		total += "," + s.counted
	}
	bad := make([]string, 0, len(s.bad))
	for _, b := range s.bad {
		// Without a failed request there is no such series: that is zero, not nothing.
		bad = append(bad, fmt.Sprintf("(sum(%s) or vector(0))", added(s.counter, s.match+","+b, window)))
	}
	return fmt.Sprintf("100 * (1 - (%s) / (sum(%s) > 0))", strings.Join(bad, " + "), added(s.counter, total, window))
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

// traefikSeries : Traefik names the service of a backend <route>-svc-<namespace>-<service>-<index>, where <route> begins with
// the kind and namespace of the route. Codes of gRPC have one or two digits, so both kinds fit in one matcher.
func traefikSeries(s Subject) series {
	ns, svc := regexp.QuoteMeta(s.Namespace), regexp.QuoteMeta(s.Service)
	return series{
		counter: "traefik_service_requests_total",
		buckets: "traefik_service_request_duration_seconds_bucket",
		factor:  "1000 * ",
		match:   matchRegex("service", "(http|grpc)route-"+regexp.QuoteMeta(dashed(s.Namespace))+"-.+-svc-"+ns+"-"+svc+"-[0-9]+@kubernetesgateway"),
		bad:     []string{`code=~"5..|2|4|8|1[2345]"`},
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
			counter: "istio_requests_total",
			buckets: "istio_request_duration_milliseconds_bucket",
			match:   reporter + "," + subject,
			bad: []string{
				`response_code=~"5.."`,
				`response_code!~"5..",request_protocol="grpc",grpc_response_status=~"2|4|8|1[2345]"`,
			},
		}
	}
	return []series{seen(`reporter=~"destination|waypoint"`, subject), seen(`reporter="source"`, service)}
}

// ingressSeries : ingress-nginx counts what goes to the canary by the name of the apex too, and tells by the label canary, whose value is
// <namespace>-<service>-<port>, that it went there. Where the scraper has a label namespace of its own, that of the app is renamed.
// Traefik names its services <namespace>-<ingress>-<apex>-<port>, with -canary behind it. ingress-nginx does not see the codes of gRPC.
func ingressSeries(s Subject) []series {
	canary, behind := matchRegex("canary", regexp.QuoteMeta(s.Namespace)+"-"+regexp.QuoteMeta(s.Service)+"-.+"), "-canary"
	if s.Service != s.Apex+"-canary" {
		canary, behind = match("canary", ""), ""
	}
	var out []series
	for _, labels := range [][2]string{{"namespace", "service"}, {"exported_namespace", "exported_service"}, {"exported_namespace", "service"}} {
		out = append(out, series{
			counter: "nginx_ingress_controller_requests",
			buckets: "nginx_ingress_controller_request_duration_seconds_bucket",
			factor:  "1000 * ",
			match:   match(labels[0], s.Namespace) + "," + match(labels[1], s.Apex) + "," + canary,
			bad:     []string{`status=~"5.."`},
		})
	}
	name := dashed(s.Namespace) + "-" + dashed(s.Ingress) + "-" + dashed(s.Apex) + "-[a-z0-9]+" + behind + "@kubernetesingressnginx"
	return append(out, series{
		counter: "traefik_service_requests_total",
		buckets: "traefik_service_request_duration_seconds_bucket",
		factor:  "1000 * ",
		match:   matchRegex("service", name),
		bad:     []string{`code=~"5..|2|4|8|1[2345]"`},
	})
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
				counter: n.histogram + "_count",
				buckets: n.histogram + "_bucket",
				factor:  "1000 * ",
				match:   pods + "," + n.path + "!~" + notTraffic,
				counted: n.status + `!=""`,
				bad:     []string{n.status + `=~"5.."`},
			})
		}
	}
	return all
}

// targetService is the kind of targets whose pods only the user knows.
const targetService = "Service"

func match(label, value string) string { return label + "=" + strconv.Quote(value) }

func matchRegex(label, pattern string) string { return label + "=~" + strconv.Quote(pattern) }
