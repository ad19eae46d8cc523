package canary

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/canary/observe"
	"github.com/siskin-dev/siskin/pkg/canary/plan"
	"github.com/siskin-dev/siskin/pkg/metrics"
	"github.com/siskin-dev/siskin/pkg/metrics/meter"
)

const (
	// checkAgain is how soon metrics are checked again with which something is wrong: nobody tells when a Secret comes.
	checkAgain = 15 * time.Second
	// checkWait bounds how long a rollout waits for the check of its metrics.
	checkWait = 5 * time.Second
	// mostFindings bounds how many are told in one line.
	mostFindings = 3
)

// checks remembers, by Canary, what was found wrong with its metrics. The zero value is ready for use.
type checks struct {
	mu  sync.Mutex
	all map[types.NamespacedName]check
}

// check of the metrics of a Canary.
type check struct {
	version  string    // of what was checked
	question string    // in the pool; "": it was answered at once
	asked    time.Time // when it was first asked about version
	known    bool
	at       time.Time // when it was found
	problem  string    // what was; "": nothing is wrong
}

// Measurable finds out whether what the analysis of a Canary measures can be measured, as far as that shows without
// asking a provider, and tells the plan. A template and its Secret are read outside of the reconcile, once for each
// version of the Canary and its templates, and again after a while if something was wrong.
func (a *Asker) Measurable(ctx context.Context, w *observe.World, s *plan.Snapshot) {
	c := w.Canary
	if a.Metrics == nil || !measures(c, s) {
		return
	}
	who := client.ObjectKeyFromObject(c)
	is := a.checks.get(who)
	kind := w.Observation.MetricsKind
	if version := a.Metrics.Version(ctx, c) + " " + string(kind); version != is.version {
		is = check{version: version, question: "metrics/" + version, asked: s.Now, problem: is.problem}
	}
	if is.known && is.problem != "" && s.Now.Sub(is.at) >= checkAgain {
		is.known, is.question = false, fmt.Sprintf("metrics/%s/%d", is.version, s.Now.Unix())
	}
	if !is.known {
		a.check(ctx, who, c, kind, s.Now, &is)
	}
	a.checks.set(who, is)
	s.Spec.Unmeasurable = is.problem
	s.Spec.Unchecked = !is.known && is.problem == "" && s.Now.Sub(is.asked) < checkWait
	if is.problem != "" {
		w.CapsAgain = sooner(w.CapsAgain, checkAgain)
	}
	if s.Spec.Unchecked {
		w.CapsAgain = sooner(w.CapsAgain, checkWait)
	}
}

// measures tells whether a Canary that rests, or begins, will measure anything in its next rollout.
func measures(c *siskinv1.Canary, s *plan.Snapshot) bool {
	resting := s.State.Phase.Idle() || s.State.Phase == plan.Initializing
	return resting && !s.Deleting && !c.Spec.Suspend && !s.Spec.SkipAnalysis && len(c.Spec.Analysis.Metrics) > 0
}

// check asks what is wrong, and notes the answer if it is there.
func (a *Asker) check(
	ctx context.Context, who types.NamespacedName, c *siskinv1.Canary, kind meter.Kind, now time.Time, is *check,
) {
	find := func(ctx context.Context, c *siskinv1.Canary) plan.Answer {
		return plan.Answer{Message: findingsOf(a.Metrics.Validate(ctx, c, kind))}
	}
	var answer plan.Answer
	done := true
	if !templated(c) { // all that it takes is here
		answer = find(ctx, c)
		is.question = ""
	} else {
		c := c.DeepCopy()
		ask := func(ctx context.Context) plan.Answer { return find(ctx, c) }
		answer, done = a.Pool.Ask(who, is.question, metricDeadline, ask)
	}
	if done {
		is.known, is.at, is.problem = true, now, answer.Message
	}
}

func templated(c *siskinv1.Canary) bool {
	for _, m := range c.Spec.Analysis.Metrics {
		if m.TemplateRef != nil {
			return true
		}
	}
	return false
}

// findingsOf tells in one line what is wrong with metrics; "": nothing is.
func findingsOf(findings []metrics.Finding) string {
	var out []string
	for i, f := range findings {
		if i == mostFindings {
			out = append(out, fmt.Sprintf("and %d more", len(findings)-i))
			break
		}
		out = append(out, fmt.Sprintf("%s (%s): %s", f.Field, f.Metric, f.Message))
	}
	return strings.Join(out, "; ")
}

func (m *checks) get(who types.NamespacedName) check {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.all[who]
}

func (m *checks) set(who types.NamespacedName, is check) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.all == nil {
		m.all = map[types.NamespacedName]check{}
	}
	m.all[who] = is
}

func (m *checks) forget(who types.NamespacedName) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.all, who)
}
