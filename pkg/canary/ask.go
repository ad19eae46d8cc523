package canary

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/canary/observe"
	"github.com/siskin-dev/siskin/pkg/canary/plan"
	"github.com/siskin-dev/siskin/pkg/canary/target"
	"github.com/siskin-dev/siskin/pkg/hook"
	"github.com/siskin-dev/siskin/pkg/internal/async"
	"github.com/siskin-dev/siskin/pkg/metrics"
	"github.com/siskin-dev/siskin/pkg/router"
)

const (
	// metricDeadline bounds one metric: reading template and Secret, and the query.
	metricDeadline = 15 * time.Second
	// hookTimeout is the default timeout of one attempt of a webhook; hookBackoff is what the pauses between attempts may take.
	hookTimeout = 10 * time.Second
	hookBackoff = 30 * time.Second
	// mostRivals bounds the query about the share that reached the canary, and the names in its message.
	mostRivals = 3
	// rounds bounds how often new questions may follow from answers within one pass.
	rounds = 4
)

// Pool answers questions outside of the reconcile.
type Pool = async.Pool[string, plan.Answer]

// NewPool makes a pool of workers; wake is told whose answer is there.
func NewPool(workers int, wake func(types.NamespacedName)) *Pool {
	return async.New[string, plan.Answer](workers, wake, func(recovered any) plan.Answer {
		return plan.Answer{Verdict: plan.Inconclusive, Message: fmt.Sprintf("internal error: %v", recovered)}
	})
}

// Reads makes reads that may be slow beside the reconcile.
type Reads = async.Reads

// NewReads makes a Reads of workers; wake is told for whom a read has ended that took long.
func NewReads(workers int, clk clock.PassiveClock, wake func(types.NamespacedName)) *Reads {
	return async.NewReads(workers, clk, wake)
}

// Asker has the plan's questions answered outside of the reconcile: nothing that is slow holds a worker.
type Asker struct {
	// Pool runs the questions and wakes the Canary when an answer is there.
	Pool *Pool
	// Hooks calls webhooks; Secrets reads their keys, live and by name.
	Hooks   *hook.Client
	Secrets client.Reader
	// Metrics asks metrics providers.
	Metrics *metrics.Evaluator

	polls  polls
	checks checks
}

// Forget drops all that is known of a Canary.
func (a *Asker) Forget(who types.NamespacedName) {
	a.Pool.Forget(who, nil)
	a.polls.forget(who, nil)
	a.checks.forget(who)
}

// Answer fills in the answers that are there and has the others found out. It returns the questions that are open.
func (a *Asker) Answer(w *observe.World, s *plan.Snapshot) []string {
	who := client.ObjectKeyFromObject(w.Canary)
	asked, used := map[string]bool{}, map[string]bool{a.checks.get(who).question: true}
	var open []string
	s.Said = map[string]string{}
	for range rounds {
		news := false
		for _, q := range plan.Ask(*s) {
			if asked[q.Key] {
				continue
			}
			asked[q.Key], news = true, true
			key := a.polls.key(who, q.Key)
			used[key] = true
			answer, done := a.ask(who, w, s, q, key)
			if !done {
				if said := a.polls.said(who, q.Key); said != "" { // it holds, and is only asked anew
					s.Said[q.Name] = said
				} else {
					open = append(open, fmt.Sprintf("an answer of %s %s", q.Kind, q.Name))
				}
				continue
			}
			a.polls.heard(who, q.Key, answer.Message)
			s.Answers[q.Key] = answer
		}
		if !news {
			break
		}
	}
	a.Pool.Forget(who, func(key string) bool { return used[key] })
	a.polls.forget(who, asked)
	return open
}

func (a *Asker) ask(who types.NamespacedName, w *observe.World, s *plan.Snapshot, q plan.Question, key string) (plan.Answer, bool) {
	if answer, done, known := a.Pool.Known(who, key); known { // nothing is copied for it again
		return answer, done
	}
	c := w.Canary
	switch q.Kind {
	case plan.AskMetric:
		for _, m := range c.Spec.Analysis.Metrics {
			if m.Name == q.Name {
				in := metrics.Input{
					Canary: c.DeepCopy(), Metric: m, Kind: w.Observation.MetricsKind, Names: metrics.NamesOf(c), Pods: podsOnTrial(w),
					Revision: s.State.Candidate, TrafficAt: s.State.TrafficAt, Now: s.Now,
				}
				if q.Primary { // all that is asked of the canary is asked of the primary
					in.Names, in.TrafficAt = in.Names.OfPrimary(), bakedFrom(s)
				}
				return a.Pool.Ask(who, key, metricDeadline, func(ctx context.Context) plan.Answer { return a.metric(ctx, in) })
			}
		}
	case plan.AskShare:
		in := metrics.ShareInput{
			Canary: c.DeepCopy(), Kind: w.Observation.MetricsKind, From: q.From, Now: s.Now,
			Wanted: float64(s.State.Split.Canary), Tolerance: plan.ShareTolerance, Sample: plan.ShareSample,
			Routed: metrics.Routed{Namespace: c.Namespace, Route: w.Intent.Apex, Primary: w.Intent.Primary, Canary: w.Intent.Canary},
		}
		intent := w.Intent
		intent.Owner = in.Canary
		return a.Pool.Ask(who, key, metricDeadline, func(ctx context.Context) plan.Answer { return a.share(ctx, w.Router, intent, in) })
	case plan.AskHook:
		for _, h := range c.Spec.Analysis.Webhooks {
			if h.Name == q.Name {
				c := c.DeepCopy()
				return a.Pool.Ask(who, key, hookDeadline(h), func(ctx context.Context) plan.Answer { return a.hook(ctx, c, h, key) })
			}
		}
	}
	return plan.Answer{Verdict: plan.Inconclusive, Message: fmt.Sprintf("%s %s is not in the spec any more", q.Kind, q.Name)}, true
}

// podsOnTrial is the template of the pods that are judged; nil if there are none, or if they are the user's.
func podsOnTrial(w *observe.World) *corev1.PodTemplateSpec {
	if pods := target.Pods(w.Trial); pods != nil {
		return pods.DeepCopy()
	}
	return w.Pods().DeepCopy() // of a bake
}

// bakedFrom is since when the primary's metrics are those of the promoted revision. Queries begin to count at the last scrape before
// their window, and what the version before did until the promotion must not be held against this one: its failures may be what it
// mends. So a part of the first interval is left out, in which a scrape comes.
func bakedFrom(s *plan.Snapshot) time.Time {
	return s.State.Since.Add(min(s.Spec.Interval, s.Spec.Bake) / 4)
}

func (a *Asker) metric(ctx context.Context, in metrics.Input) plan.Answer {
	r := a.Metrics.Evaluate(ctx, in)
	answer := plan.Answer{Verdict: plan.Verdict(r.Verdict), Value: r.Value, Limit: r.Limit, Invalid: r.Invalid}
	if r.Verdict != metrics.Pass && r.Reason != metrics.ReasonOutOfRange {
		answer.Message = r.Message
	}
	return answer
}

// share tells what the gateway counted. What could not be found out is nothing to hold a rollout up for: the metrics
// are asked of the same server.
func (a *Asker) share(ctx context.Context, r router.Router, intent router.Intent, in metrics.ShareInput) plan.Answer {
	out := plan.Answer{Verdict: plan.Pass}
	var names []string
	if contested, ok := r.(router.Contested); ok {
		rivals, err := contested.Rivals(ctx, intent)
		if err != nil {
			ctrl.Log.V(1).Info("cannot look for other routes", "canary", client.ObjectKeyFromObject(in.Canary).String(), "error", err.Error())
		}
		for _, rival := range rivals[:min(len(rivals), mostRivals)] {
			in.Routed.Rivals = append(in.Routed.Rivals, metrics.Rival{Route: rival.Name, Rules: rival.Rules})
			names = append(names, "HTTPRoute "+rival.Name)
		}
	}
	canary, total, err := a.Metrics.Share(ctx, in)
	if err != nil {
		ctrl.Log.V(1).Info("cannot compare the canary's share", "canary", client.ObjectKeyFromObject(in.Canary).String(), "error", err.Error())
		return out
	}
	out.Share = plan.Share{Canary: canary, Total: total, Rival: strings.Join(names, " and ")}
	return out
}

// hook calls a webhook. One that could not be called, or gave no answer, said neither yes nor no, as a metric whose
// provider could not be asked. An answer that is not 2xx is a no, whatever its status.
func (a *Asker) hook(ctx context.Context, c *siskinv1.Canary, h siskinv1.CanaryWebhook, key string) plan.Answer {
	req, err := hook.Resolve(ctx, a.Secrets, c, h, key)
	if err != nil {
		_, invalid := errors.AsType[*hook.InvalidError](err)
		return plan.Answer{Verdict: plan.Inconclusive, Message: err.Error(), Invalid: invalid}
	}
	res := a.Hooks.Call(ctx, req)
	switch {
	case res.OK:
		return plan.Answer{Verdict: plan.Pass, Message: res.Said}
	case !res.Answered():
		return plan.Answer{Verdict: plan.Inconclusive, Message: res.Message, Invalid: res.Kind == hook.KindInvalid}
	}
	return plan.Answer{Verdict: plan.Fail, Message: res.Message, Invalid: res.Kind == hook.KindInvalid}
}

// hookDeadline bounds all attempts of a hook.
func hookDeadline(h siskinv1.CanaryWebhook) time.Duration {
	each, err := time.ParseDuration(h.Timeout)
	if err != nil || each <= 0 {
		each = hookTimeout
	}
	return time.Duration(h.Retries+1)*each + time.Duration(h.Retries)*hookBackoff
}

// Looks has looks at pods made outside of the reconcile, for observe.Ailing, which wake the Canary when they have ended.
func (a *Asker) Looks(wake Wake) func(who types.NamespacedName, key string, within time.Duration, look func(context.Context)) bool {
	return func(who types.NamespacedName, key string, within time.Duration, look func(context.Context)) bool {
		// Looks have an owner of their own: they are no questions of the plan, which would be forgotten with those.
		owner := types.NamespacedName{Namespace: who.Namespace, Name: who.Name + "/pods"}
		return a.Pool.Tell(owner, key, within, func(ctx context.Context) plan.Answer {
			defer wake(who)
			look(ctx)
			return plan.Answer{}
		})
	}
}

// Event tells an event to a webhook of type event; nobody waits for it. key tells it apart from others, and is the same
// when it is told again. done is called when the webhook has answered or was given up on. Event returns false if too
// many are under way.
func (a *Asker) Event(c *siskinv1.Canary, h siskinv1.CanaryWebhook, kind, message string, at time.Time, key string, done func()) bool {
	c = c.DeepCopy()
	// Events have an owner of their own: a receiver that is down takes no room from gates and metrics.
	who := types.NamespacedName{Namespace: c.Namespace, Name: c.Name + "/events"}
	return a.Pool.Tell(who, h.Name+"/"+key, hookDeadline(h), func(ctx context.Context) plan.Answer {
		var problem string
		req, err := hook.Resolve(ctx, a.Secrets, c, h, "event/"+h.Name)
		if err != nil {
			problem = err.Error()
		} else {
			problem = a.Hooks.Call(ctx, req.WithEvent(kind, message, at, key)).Message
		}
		if ctx.Err() != nil && errors.Is(context.Cause(ctx), context.Canceled) { // the process ends: the next one tells it
			return plan.Answer{}
		}
		if problem != "" {
			ctrl.Log.Info("a webhook did not take an event", "canary", client.ObjectKeyFromObject(c).String(), "webhook", h.Name, "problem", problem)
		}
		done()
		return plan.Answer{Verdict: plan.Pass}
	})
}
