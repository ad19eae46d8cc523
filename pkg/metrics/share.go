package metrics

import (
	"context"
	"errors"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/metrics/meter"
)

const (
	// propagation is how long a gateway may take to carry out a route after its controller accepted it: Traefik waits for
	// 2 s.
	propagation = 3 * time.Second
	// shortestBase is the least time in which a scrape must come before the window, and in which the window must have one.
	shortestBase = time.Second
)

// Routed is one app's route, of which the share is asked that reached the canary.
type Routed struct {
	Namespace string
	// Route is its name; Primary and Canary are the Services.
	Route, Primary, Canary string
	// Rivals are other routes of the namespace that claim the same requests.
	Rivals []Rival
}

// Rival is a route of which these rules, counted from 0, claim requests that another one is to split.
type Rival struct {
	Route string
	Rules []int
}

// ShareInput asks which share of the requests to a route reached the canary.
type ShareInput struct {
	Canary *siskinv1.Canary
	// Kind of the series: see meter.Kind.Counted.
	Kind   meter.Kind
	Routed Routed
	// From is since when the split is carried out, as far as is known.
	From, Now time.Time
	// Wanted is the share that is wanted, in percent. One that differs by no more than Tolerance percentage points is not
	// looked into. Sample is how many requests are needed.
	Wanted, Tolerance, Sample float64
}

// Share returns the numbers of requests that reached the canary and that the route, or a rival, got in all. Zeros mean
// that nothing can be told, or that the share is as wanted: one query is all that it costs then.
func (e *Evaluator) Share(ctx context.Context, in ShareInput) (canary, total float64, err error) {
	base, window, ok := halves(in.From, in.Now)
	if !ok || !in.Kind.Counted() {
		return 0, 0, nil
	}
	src, err := e.resolve(ctx, in.Canary, siskinv1.CanaryMetric{Name: RequestSuccessRate})
	if err != nil {
		return 0, 0, err
	}
	provider, err := e.cfg.Providers.Get(src.owner, src.providerType, src.cfg)
	if err != nil {
		return 0, 0, &problemError{reason: ReasonTemplateInvalid, invalid: true, err: err}
	}
	q := newShareQuery(in.Routed, base, window)
	percent, err := provider.Query(ctx, Query{Text: q.percent(in.Sample), At: in.Now})
	if errors.Is(err, ErrNoData) || err == nil && math.Abs(percent.Value-in.Wanted) <= in.Tolerance {
		return 0, 0, nil
	}
	if err != nil {
		return 0, 0, fmt.Errorf("asking for the canary's share: %w", err)
	}
	all, err := provider.Query(ctx, Query{Text: q.total(), At: in.Now})
	if err != nil {
		return 0, 0, fmt.Errorf("asking for the number of requests: %w", err)
	}
	return all.Value * percent.Value / 100, all.Value, nil
}

// halves divides the time since the split is carried out: counters are compared with a scrape in the first third of it,
// and the rest counts. ok is false if it is too short.
func halves(from, now time.Time) (base, window time.Duration, ok bool) {
	lasted := now.Sub(from.Add(propagation))
	base = (lasted / 3).Truncate(time.Second)
	return base, (lasted - base).Truncate(time.Second), base >= shortestBase
}

// shareQuery are the queries about one route.
type shareQuery struct {
	// canary and all are the series of the canary's requests and of all.
	canary, all string
	// base and window are those of halves, before is how far back a series is looked for that is not new, whole is base
	// and window together.
	base, window, before, whole string
}

func newShareQuery(r Routed, base, window time.Duration) shareQuery {
	series := func(services ...string) string {
		return "traefik_service_requests_total{" + matchRegex("service", strings.Join(services, "|")) + "}"
	}
	own := func(service string) string {
		return traefikBackend(r.Namespace, r.Route, "[0-9]+", r.Namespace+"-"+service)
	}
	all := []string{own(r.Primary), own(r.Canary)}
	for _, rival := range r.Rivals {
		rules := make([]string, 0, len(rival.Rules))
		for _, i := range rival.Rules {
			rules = append(rules, strconv.Itoa(i))
		}
		all = append(all, traefikBackend(r.Namespace, rival.Route, "("+strings.Join(rules, "|")+")", ""))
	}
	return shareQuery{
		canary: series(own(r.Canary)), all: series(all...),
		base: PromDuration(base), window: PromDuration(window), before: PromDuration(max(base, knownFor)),
		whole: PromDuration(base + window),
	}
}

// knownFor is known as a duration.
const knownFor = 5 * time.Minute

// traefikBackend matches the services of one rule of an HTTPRoute: Traefik names them
// <route>-svc-<namespace>-<service>-<index>, where <route> is the kind, the namespace and the name of the route, those
// of the Gateway, the entry point and the number of the rule, all joined by single dashes, and a digest of the match.
// "" is any service.
func traefikBackend(namespace, route, rule, service string) string {
	backend := ".+"
	if service != "" {
		backend = regexp.QuoteMeta(service)
	}
	return "httproute-" + regexp.QuoteMeta(dashed(namespace+"-"+route)) + "-gw-.+-ep-.+-" + rule + "(-[0-9a-f]{20})?" +
		"-svc-" + backend + "-[0-9]+@kubernetesgateway"
}

// dashed is how Traefik makes one name of several: all but letters and digits are dashes, and never two in a row.
func dashed(name string) string {
	return strings.Join(strings.FieldsFunc(name, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsNumber(r) }), "-")
}

// grown is what each counter grew by in the window: since its last scrape before it, which must not be older than the
// split, or, if it is new, as a whole.
func (q shareQuery) grown(series string) string {
	return fmt.Sprintf(`(
    last_over_time(%[1]s[%[2]s]) - last_over_time(%[1]s[%[3]s] offset %[2]s) >= 0
    or (last_over_time(%[1]s[%[2]s]) unless last_over_time(%[1]s[%[4]s] offset %[2]s))
  )`, series, q.window, q.base, q.before)
}

// percent is the share of the canary, if there are enough requests. It answers nothing where a series that was there
// before the window was not scraped under the present split, and where a counter was reset: what the split before made
// of the requests must not count.
func (q shareQuery) percent(sample float64) string {
	return fmt.Sprintf(`
  100 * (sum(%s) or vector(0)) / (sum(%s) >= %g)
  and (count(last_over_time(%[4]s[%[5]s] offset %[6]s)) == count(last_over_time(%[4]s[%[7]s] offset %[6]s)))
  unless count(resets(%[4]s[%[8]s]) > 0)
`, q.grown(q.canary), q.grown(q.all), sample, q.all, q.before, q.window, q.base, q.whole)
}

func (q shareQuery) total() string { return "sum(" + q.grown(q.all) + ")" }
