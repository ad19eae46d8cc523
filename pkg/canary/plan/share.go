package plan

import (
	"fmt"
	"math"
	"slices"
	"time"
)

// A split is what the route says. That requests follow it is another thing: a second route that claims the same hosts
// and paths may take some of them, or all, and then a step judges a canary that nobody sees. So each check of a
// weighted step compares the share that reached the canary, by the gateway's own counts, with the share wanted.

const (
	// ShareTolerance is by how many percentage points the share may differ, whatever the number of requests.
	ShareTolerance = 2.0
	// ShareSample is how many requests are needed at least to tell anything.
	ShareSample = 100
	// shareZ is the number of standard deviations beyond which a share is no chance: less than one check in a million.
	shareZ = 5.0
	// shareWindow is how far a check looks back at least, if the step has lasted that long.
	shareWindow = 30 * time.Second
)

// Share is what a gateway counted while the split of the time was carried out. The zero value: nothing is known.
type Share struct {
	// Canary and Total are numbers of requests: that reached the canary, and all that the route was to split.
	Canary, Total float64
	// Rival names a route that claims the same requests, "HTTPRoute old"; "": none is known.
	Rival string
}

// differs tells whether no chance explains that the share is not wanted; least is the smallest share of the rollout's
// steps, both as fractions. Without a rival only a canary that gets next to nothing, or next to everything, counts:
// long requests end under a later split than the one that they began under, and gateways that are told of changes all
// the time begin their turns anew with the larger side.
func (h Share) differs(wanted, least float64) bool {
	if h.Total < ShareSample {
		return false
	}
	share := h.Canary / h.Total
	off := math.Abs(share - wanted)
	if off*100 <= ShareTolerance || off <= shareZ*math.Sqrt(wanted*(1-wanted)/h.Total) {
		return false
	}
	if h.Rival == "" {
		return share < least/4 || 1-share < (1-wanted)/4
	}
	return off > min(wanted, 1-wanted)/4
}

// shareQuestions ask which share of the requests reached the canary: in steps in which nothing but the weights decides
// that. They go along with metrics: without any there may be no server to ask.
func (s Snapshot) shareQuestions() []Question {
	z := s.State
	w := z.Split.Canary
	if !s.Counted || len(s.Spec.Metrics) == 0 || z.Split != ToCanary(w) || w <= 0 || w >= 100 {
		return nil
	}
	at := fmt.Sprintf("s%d/a%d", z.Step, z.Attempt)
	from := latest(latest(z.StepAt.Add(Settle), z.EffectiveAt), s.Settled)
	return []Question{{
		Kind: AskShare, Name: "share", Key: s.key(at, string(AskShare), "share"),
		From: latest(from, s.Now.Add(-max(s.interval(z), shareWindow))),
	}}
}

// shareAwaited tells whether the share is worth a moment: a check waits for it as long as a failed one does for its
// other answers.
func (s Snapshot) shareAwaited() bool {
	return s.Now.Before(s.checkAt(s.State).Add(Patience)) && slices.ContainsFunc(s.shareQuestions(), func(q Question) bool {
		_, answered := s.Answers[q.Key]
		return !answered
	})
}

// judged is the outcome of the step's checks. A share that is not the one wanted makes it unclear: the canary was not
// seen by those who were to see it.
func (s Snapshot) judged() outcome {
	o := s.verdict(s.checks())
	r, odd := s.mismatch()
	if !odd {
		return o
	}
	o.results = append([]Result{r}, o.results...)
	if o.worst == Pass {
		o.worst = Inconclusive
	}
	return o
}

// mismatch returns the result of a share that is not the one wanted.
func (s Snapshot) mismatch() (Result, bool) {
	wanted := s.State.Split.Canary
	least := wanted
	for _, t := range s.Spec.Steps {
		if t.Weight > 0 {
			least = min(least, t.Weight)
		}
	}
	for _, q := range s.shareQuestions() {
		h := s.Answers[q.Key].Share
		if !h.differs(float64(wanted)/100, float64(least)/100) {
			continue
		}
		cause := "look for another route, or a proxy before the gateway, that takes the others"
		if h.Rival != "" {
			cause = "the same hosts and paths are claimed by " + h.Rival + ": delete it, or give it others"
		}
		return Result{Name: q.Name, Kind: string(q.Kind), Answer: Answer{
			Verdict: Inconclusive, Value: fmt.Sprintf("%.1f%%", 100*h.Canary/h.Total),
			Message: fmt.Sprintf("%.0f of %.0f requests reached the canary, and %d%% is wanted; %s", h.Canary, h.Total, wanted, cause),
		}}, true
	}
	return Result{}, false
}

// mismatched returns the result of a share that is not the one wanted, if there is one.
func mismatched(results []Result) (Result, bool) {
	i := slices.IndexFunc(results, func(r Result) bool { return r.Kind == string(AskShare) && r.Verdict == Inconclusive })
	if i < 0 {
		return Result{}, false
	}
	return results[i], true
}

// astray holds a step whose share is not the one wanted, and says so between its checks too.
func astray(d *Decision, r Result) {
	d.Held = ReasonRoutingMismatch
	d.because("step %d holds: %s", d.Next.Step, describe(r))
}

// stillAstray says so until a check says otherwise.
func stillAstray(s Snapshot, d *Decision) {
	r, odd := mismatched(s.State.Results)
	if odd && s.Spec.NoData != PolicyPass && s.Spec.NoData != PolicyFail {
		astray(d, r)
		d.wait("%s", describe(r))
	}
}

// warn tells a share that is not the one wanted where the policy lets the step pass all the same. It is stored and told
// before the step goes on, in a pass of its own.
func warn(s Snapshot, d *Decision, o outcome) bool {
	r, odd := mismatched(o.results)
	if !odd || toldUnclear(s.State.Results, r) {
		return false
	}
	d.Next.Results = o.results
	d.notify(Notice{
		Reason: ReasonRoutingMismatch, Severity: Warning, Alert: true, Revision: d.Next.Candidate, Result: &r,
		Message: fmt.Sprintf("step %d goes on at %d%% all the same: %s", d.Next.Step, d.Next.Split.Canary, describe(r)),
	})
	d.wake(time.Millisecond)
	return true
}
