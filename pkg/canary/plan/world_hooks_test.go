package plan

import (
	"maps"
	"strings"
	"time"
)

// hookState is the outside: webhooks, gates, metric providers.
type hookState struct {
	answers map[string]Answer
	asked   map[string]time.Time
	// open gates by name; a gate that is missing is closed.
	open map[string]bool
	// locked keeps all gates closed.
	locked bool
	// rollback is what a rollback hook says.
	rollback bool
	// dark tells that providers give no data, mute that they never answer.
	dark, mute bool
	muted      time.Time // when they last were
	invalid    bool
	preFails   int // so many pre-rollout hooks fail
	postFails  bool
	// passed tells in which rollout a hook agreed last.
	passed map[string]int64
}

func newHookState() hookState {
	return hookState{answers: map[string]Answer{}, asked: map[string]time.Time{}, open: map[string]bool{}, passed: map[string]int64{}}
}

// forget is a restart of the process that asks.
func (h *hookState) forget() {
	h.answers, h.asked = map[string]Answer{}, map[string]time.Time{}
}

// keep forgets what is not asked any more. The real asker does so in every pass; here it is done only where nothing is asked for a long
// time, so that a key which comes again too early is found out.
func (h *hookState) keep(due map[string]bool) {
	maps.DeleteFunc(h.asked, func(key string, _ time.Time) bool { return !due[key] })
	maps.DeleteFunc(h.answers, func(key string, _ Answer) bool { return !due[key] })
}

// ask puts the questions that are due; answers that are there at once may lead to more questions.
func (w *simulation) ask(s Snapshot) {
	due := map[string]bool{}
	if s.Spec.Suspend || s.Spec.Invalid != "" {
		defer w.hooks.keep(due)
	}
	for range 3 {
		fresh := false
		for _, q := range Ask(s) {
			if s.Spec.Suspend && !s.Deleting {
				w.violated("13: %s is asked while suspended", q.Key)
			}
			w.checkAsked(s, q)
			due[q.Key] = true
			if _, ok := w.hooks.asked[q.Key]; ok {
				continue
			}
			w.hooks.asked[q.Key] = w.now
			fresh = w.put(q) || fresh
		}
		if !fresh {
			return
		}
	}
}

// put asks one question; it returns true if the answer is there at once.
func (w *simulation) put(q Question) bool {
	if w.hooks.mute || w.forever == noAnswers {
		w.hooks.muted = w.now
		return false
	}
	a, rollout := w.answer(q), w.state.Rollout
	if w.cfg.slowAnswer == 0 || !w.chance(w.cfg.slowAnswer) {
		w.deliver(q, a, rollout)
		return true
	}
	answers, asked := w.hooks.answers, w.hooks.asked
	w.at(w.upTo(8*time.Second), func() {
		if _, ok := asked[q.Key]; !ok {
			return // nobody wants to know any more
		}
		answers[q.Key] = a // of that process: after a restart nobody reads it
		w.remember(q, a, rollout)
		w.poke()
	})
	return false
}

func (w *simulation) deliver(q Question, a Answer, rollout int64) {
	w.hooks.answers[q.Key] = a
	w.remember(q, a, rollout)
}

func (w *simulation) remember(q Question, a Answer, rollout int64) {
	w.notef("        %s %s: %s %s", q.Kind, q.Name, a.Verdict, a.Message)
	if a.Verdict == Pass {
		w.hooks.passed[passedName(q)] = max(rollout, w.hooks.passed[passedName(q)])
	}
}

func (w *simulation) answer(q Question) Answer {
	h := &w.hooks
	dark := h.dark || w.forever == noData
	if q.Kind == AskShare {
		return w.share(q)
	}
	if q.Kind == AskMetric || q.Type == RolloutHook {
		t := w.traits(w.state.Candidate)
		switch {
		case dark:
			return Answer{Verdict: Inconclusive, Message: "no data", Invalid: h.invalid}
		case t.badMetrics && !q.Primary, t.badLater && q.Primary, w.chance(t.flaky):
			return Answer{Verdict: Fail, Value: "17 %", Limit: "<= 1 %"}
		}
		return Answer{Verdict: Pass, Value: "0.1 %", Limit: "<= 1 %"}
	}
	switch q.Type {
	case RollbackHook:
		switch {
		case h.dark && !h.rollback:
			return Answer{Verdict: Inconclusive, Message: "no answer"}
		case h.rollback:
			return Answer{Verdict: Pass, Message: "alarm"}
		}
		return Answer{Verdict: Fail}
	case PreRollout:
		if h.preFails > 0 {
			h.preFails--
			return Answer{Verdict: Fail, Message: "smoke test failed"}
		}
	case PostRollout:
		if h.postFails {
			return Answer{Verdict: Fail, Message: "500"}
		}
	case ConfirmRollout, ConfirmTrafficIncrease, ConfirmPromotion:
		if !h.open[q.Name] || h.locked {
			return Answer{Verdict: Fail, Message: "closed"}
		}
	case RolloutHook:
	}
	if dark {
		return Answer{Verdict: Inconclusive, Message: "timeout"}
	}
	return Answer{Verdict: Pass}
}

// gates are the hooks that the world can open.
func gates(hooks []Hook) []string {
	var out []string
	for _, h := range hooks {
		if strings.HasPrefix(string(h.Type), "confirm-") {
			out = append(out, h.Name)
		}
	}
	return out
}
