package plan

import (
	"fmt"
	"slices"
	"strconv"
	"time"
)

// QuestionKind tells who answers a question.
type QuestionKind string

// The kinds of questions.
const (
	AskHook   QuestionKind = "webhook"
	AskMetric QuestionKind = "metric"
	// AskShare asks what the gateway counted; the answer is in Answer.Share.
	AskShare QuestionKind = "routing"
)

// Question is asked outside: a webhook or a metric.
type Question struct {
	Kind QuestionKind
	Name string
	// Type of the hook.
	Type HookType
	// Primary tells that the metric is that of the primary, which is judged after its promotion.
	Primary bool
	// From is since when the split that a share is asked for is carried out, or how far to look back.
	From time.Time
	// Key identifies this asking of it: the same key is the same question, to be asked once and answered once.
	Key string
}

// Ask returns the questions that are due now, in order. It is called again when their answers are in: gates are asked only
// after the checks passed.
func Ask(s Snapshot) []Question {
	if s.Spec.Suspend || s.Deleting {
		return nil
	}
	qs := rollbackQuestions(s)
	if p := s.State.Phase; s.Spec.Invalid != "" && !p.Idle() && !p.ending() {
		return qs
	}
	switch s.State.Phase {
	case Waiting:
		if !s.State.approvalUntold() {
			qs = append(qs, s.gates(ConfirmRollout)...)
		}
	case Progressing:
		if s.State.Step == 0 {
			qs = append(qs, startQuestions(s)...)
		} else {
			qs = append(qs, checkQuestions(s)...)
		}
	case WaitingPromotion:
		qs = append(qs, checkQuestions(s)...)
	case Baking:
		qs = append(qs, s.bakeQuestions()...)
	case Initialized, Succeeded, Failed, Cancelled:
		qs = append(qs, s.endQuestions()...)
	case Initializing, Frozen, Promoting, Finalising, RollingBack, Terminating:
	}
	return qs
}

// rollbackQuestions ask the rollback hooks once an interval for as long as there is something to take back.
func rollbackQuestions(s Snapshot) []Question {
	z := s.State
	if z.Direct || !z.Phase.OnTrial() && z.Phase != Waiting && z.Phase != Baking {
		return nil
	}
	return s.hookQuestions(RollbackHook, s.tick(s.State.StartedAt))
}

// endQuestions tell the post-rollout hooks how the rollout ended; each is told once.
func (s Snapshot) endQuestions() []Question {
	if s.State.Rollout == 0 {
		return nil
	}
	return s.unpassed(s.hookQuestions(PostRollout, "end"))
}

// startQuestions are asked between a canary that is ready and its first traffic.
func startQuestions(s Snapshot) []Question {
	if s.State.Forced || s.State.Paused || !s.canaryMayServe() || s.State.Split != AllPrimary() || s.Now.Before(s.State.CheckAt) {
		return nil
	}
	pre := s.preQuestions()
	if s.verdict(pre).worst != Pass {
		return pre
	}
	return append(pre, s.increaseGates()...)
}

// preQuestions are the pre-rollout hooks that have not agreed yet.
func (s Snapshot) preQuestions() []Question {
	return s.unpassed(s.hookQuestions(PreRollout, fmt.Sprintf("a%d", s.State.Attempt)))
}

// checkQuestions are those of a check: hooks and metrics, then, when they passed, the gates before the next step.
func checkQuestions(s Snapshot) []Question {
	if s.State.Forced || !s.checkDue() {
		return nil
	}
	qs := append(s.checks(), s.shareQuestions()...)
	if !s.agree(s.judged()) || s.shareAwaited() || s.pauses() || !s.canaryReady() || s.unsure() != "" {
		return qs
	}
	if s.Spec.next(s.State) == 0 {
		return append(qs, s.promotionGates()...)
	}
	return append(qs, s.increaseGates()...)
}

// checks are the rollout hooks and the metrics of one check.
func (s Snapshot) checks() []Question {
	at := fmt.Sprintf("s%d/a%d", s.State.Step, s.State.Attempt)
	qs := s.hookQuestions(RolloutHook, at)
	for _, m := range s.Spec.Metrics {
		qs = append(qs, Question{Kind: AskMetric, Name: m, Key: s.key(at, "metric", m)})
	}
	return qs
}

// increaseGates ask whether the canary may get more; only a rise needs them.
func (s Snapshot) increaseGates() []Question {
	n := s.Spec.next(s.State)
	if n == 0 || !s.Spec.Steps[n-1].serves(s.State.Split) {
		return nil
	}
	if s.State.Step == 0 {
		return s.hookQuestions(ConfirmTrafficIncrease, fmt.Sprintf("%s/a%d", s.tick(s.State.StepAt), s.State.Attempt))
	}
	return s.hookQuestions(ConfirmTrafficIncrease, fmt.Sprintf("s%d/a%d", s.State.Step, s.State.Attempt))
}

func (s Snapshot) promotionGates() []Question {
	return s.hookQuestions(ConfirmPromotion, fmt.Sprintf("s%d/a%d", s.State.Step, s.State.Attempt))
}

// gates are hooks that are asked once an interval until they agree.
func (s Snapshot) gates(t HookType) []Question {
	return s.unpassed(s.hookQuestions(t, s.tick(s.State.StepAt)))
}

func (s Snapshot) unpassed(qs []Question) []Question {
	return slices.DeleteFunc(qs, s.State.passed)
}

func (s Snapshot) hookQuestions(t HookType, at string) []Question {
	var qs []Question
	for _, h := range s.Spec.hooks(t) {
		qs = append(qs, Question{Kind: AskHook, Name: h.Name, Type: t, Key: s.key(at, string(t), h.Name)})
	}
	return qs
}

func (s Snapshot) key(at, kind, name string) string {
	return "r" + strconv.FormatInt(s.State.Rollout, 10) + "/" + s.State.Candidate + "/" + at + "/" + kind + "/" + name
}

// tick numbers the intervals since from, so that asking again needs nothing stored.
func (s Snapshot) tick(from time.Time) string {
	return "t" + strconv.FormatInt(s.ticks(from), 10)
}

func (s Snapshot) ticks(from time.Time) int64 {
	if s.Spec.Interval <= 0 || s.Now.Before(from) {
		return 0
	}
	return int64(s.Now.Sub(from) / s.Spec.Interval)
}

// untilTick returns how long it is until the next tick.
func (s Snapshot) untilTick(from time.Time) time.Duration {
	if s.Spec.Interval <= 0 {
		return Recheck
	}
	next := from.Add(time.Duration(s.ticks(from)+1) * s.Spec.Interval)
	return max(next.Sub(s.Now), time.Millisecond)
}

// checkDue tells whether the step has lasted long enough under a confirmed split.
func (s Snapshot) checkDue() bool {
	return s.settled() && !s.State.Late && !s.unseen(s.State, s.State.StepAt) && !s.Now.Before(s.checkAt(s.State))
}

// settled tells whether the data plane carries out the split that is stored.
func (s Snapshot) settled() bool {
	return s.Route.Known && s.Route.Current == s.State.Split && s.Route.Confirmed
}

// canaryMayServe is invariant 1: the pods run the candidate, are ready, and all traffic is at the primary until now.
func (s Snapshot) canaryMayServe() bool {
	return s.canaryReady() && s.settled() && !s.State.Late
}

func (z State) passed(q Question) bool {
	return slices.Contains(z.Passed, passedName(q))
}

func passedName(q Question) string { return string(q.Type) + "/" + q.Name }

// outcome sums answers up.
type outcome struct {
	// worst verdict; Inconclusive also when an answer is missing.
	worst Verdict
	// pending are questions without an answer.
	pending []string
	results []Result
}

// first returns the first result with the verdict v.
func (o outcome) first(v Verdict) (Result, bool) {
	for _, r := range o.results {
		if r.Verdict == v {
			return r, true
		}
	}
	return Result{}, false
}

// unclear returns the inconclusive result that matters most: one that only an edit of the spec helps.
func (o outcome) unclear() (Result, bool) {
	for _, r := range o.results {
		if r.Verdict == Inconclusive && r.Invalid {
			return r, true
		}
	}
	return o.first(Inconclusive)
}

// agree tells whether checks let the rollout go on: all passed, or lack only data that the policy does without.
func (s Snapshot) agree(o outcome) bool {
	if o.worst != Inconclusive || len(o.pending) > 0 || s.Spec.NoData != PolicyPass {
		return o.worst == Pass
	}
	r, _ := o.unclear()
	return !r.Invalid
}

// verdict of questions: a failure outweighs a missing answer, that an inconclusive one.
func (s Snapshot) verdict(qs []Question) outcome {
	o := outcome{worst: Pass}
	for _, q := range qs {
		a, ok := s.Answers[q.Key]
		if !ok {
			o.pending = append(o.pending, fmt.Sprintf("%s %s", q.Kind, q.Name))
			continue
		}
		o.results = append(o.results, Result{Name: q.Name, Kind: string(q.Kind), Answer: a})
	}
	_, failed := o.first(Fail)
	_, unclear := o.first(Inconclusive)
	switch {
	case failed:
		o.worst = Fail
	case len(o.pending) > 0 || unclear:
		o.worst = Inconclusive
	}
	return o
}
