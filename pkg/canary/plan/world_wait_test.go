package plan

import (
	"slices"
	"strings"
	"time"
)

// The laws of requests, pauses, freezes, bakes, unusable specs and autoscalers.

// accepted returns the request that this decision carries out.
func accepted(s Snapshot, d Decision) (Verb, string, bool) {
	if d.Next.Request == s.State.Request || !d.Next.Request.Accepted {
		return "", "", false
	}
	verb, rev, err := ParseRequest(d.Next.Request.Value)
	return verb, rev, err == nil
}

// checkAsked: nobody is asked what cannot matter now.
func (w *simulation) checkAsked(s Snapshot, q Question) {
	w.checkAskedParts(s, q)
	gate := q.Type == ConfirmTrafficIncrease || q.Type == ConfirmPromotion
	switch {
	case gate && (s.State.Paused || s.State.PausedUntil.After(s.Now)):
		w.violated("2: gate %s is asked while the rollout is paused", q.Name)
	case gate && s.State.Step > 0 && !s.canaryReady():
		w.violated("2: gate %s is asked while the canary is not ready", q.Name)
	case s.Spec.Invalid != "" && !s.State.Phase.ending() && !s.State.Phase.Idle() && q.Type != RollbackHook:
		w.violated("11: %s is asked under a spec that cannot be used", q.Key)
	case s.State.Forced && q.Type != RollbackHook && q.Type != PostRollout && !q.Primary:
		w.violated("3: %s is asked although the promotion was forced", q.Key)
	}
}

// checkRequest: each is answered once, and says no more than it does.
func (w *simulation) checkRequest(s Snapshot, d Decision) {
	a, b := s.State, d.Next
	verb, rev, ok := accepted(s, d)
	if b.Request != a.Request {
		value := strings.TrimSpace(s.Request)
		switch {
		case value == "" || b.Request.Value != value || value == a.Request.Value:
			w.violated("14: %q is answered, %q was asked, %q was answered", b.Request.Value, value, a.Request.Value)
		case w.ledger.answered[value] > 0:
			w.violated("14: request %q is answered again", value)
		case b.Request.Message == "" || !b.Request.At.Equal(s.Now) || b.Request.By != s.RequestedBy:
			w.violated("14: the reply lacks something: %+v", b.Request)
		}
		if _, _, err := ParseRequest(value); err != nil && b.Request.Accepted {
			w.violated("14: nonsense %q is accepted", value)
		}
	}
	begins := b.Rollout != a.Rollout
	switch {
	case b.Direct && begins:
		w.checkDirect(s, d)
	case b.Forced && !a.Forced && (!ok || verb != Promote || rev != "" && rev != a.Candidate || b.Candidate != a.Candidate || begins):
		w.violated("3: the promotion of %s is forced, which nobody asked for", b.Candidate)
	case b.Forced && !a.Forced && s.Target.Found && s.Target.Revision != b.Candidate:
		w.violated("3: the promotion of %s is forced while the target is %s", b.Candidate, s.Target.Revision)
	}
	if ok && rev != "" && (verb == Abort || verb == Retry) && b.Candidate != rev {
		w.violated("3: %s of %s was accepted for %s", verb, rev, b.Candidate)
	}
	if ok && verb == Abort && b.Phase != RollingBack {
		w.violated("4: aborted, but %s -> %s", a.Phase, b.Phase)
	}
	if ok && verb == Pause && !b.Paused || ok && verb == Resume && (b.Paused || b.Phase == Frozen) {
		w.violated("14: %s was accepted: paused %v in %s", verb, b.Paused, b.Phase)
	}
	if asked := ok && verb == Pause; b.Paused && !a.Paused && !asked && w.ledger.pause != UntilResumed && !w.ledger.edited {
		w.violated("14: paused without a reason")
	}
}

// checkDirect: without analysis goes only what a person named.
func (w *simulation) checkDirect(s Snapshot, d Decision) {
	a, b := s.State, d.Next
	verb, rev, ok := accepted(s, d)
	if !ok || b.Phase != Promoting {
		w.violated("3: %s is brought to the primary directly, which nobody asked for", b.Candidate)
		return
	}
	switch verb {
	case Promote:
		if b.Candidate != s.Target.Revision || rev != "" && rev != b.Candidate {
			w.violated("3: %s is promoted, but the target is %s", b.Candidate, s.Target.Revision)
		}
	case Rollback:
		switch {
		case rev != "":
		case a.Split != AllPrimary():
			rev = a.Stable
		default:
			rev = a.Previous
		}
		if b.Candidate != rev || !w.stored[rev] {
			w.violated("3: %s is gone back to instead of %s (kept: %v)", b.Candidate, rev, w.stored[b.Candidate])
		}
	default:
		w.violated("3: %s led to a direct rollout", verb)
	}
}

// checkWaits: waits have the deadline that they began with, and its outcome.
func (w *simulation) checkWaits(s Snapshot, d Decision) {
	a, b := s.State, d.Next
	asked := b.Request != a.Request && b.Request.Accepted
	if asked || b.Rollout != a.Rollout {
		return
	}
	waits := a.Phase == Waiting || a.Phase == Frozen || a.Paused || a.Halted
	still := b.Phase == a.Phase && b.Paused == a.Paused && b.Halted == a.Halted && b.StepAt.Equal(a.StepAt)
	if waits && still && !a.approvalUntold() && !b.Deadline.Equal(a.Deadline) {
		w.violated("8: the deadline of what waits in %s moves from %s to %s", a.Phase, clock(a.Deadline), clock(b.Deadline))
	}
	began := b.Phase == Frozen && a.Phase != Frozen || b.Paused && !a.Paused || b.Halted && !a.Halted
	if began && !b.Deadline.Equal(w.now.Add(s.Spec.GateDeadline)) {
		w.violated("8: what begins to wait in %s ends at %s", b.Phase, clock(b.Deadline))
	}
	trial := a.Phase.OnTrial() && a.Phase != Finalising || a.Phase == Waiting
	if trial && s.expired(a) && b.Phase != RollingBack && b.Phase != Frozen {
		w.violated("8: the deadline of %s passed without an outcome: %s", a.Phase, b.Phase)
	}
	if a.Phase == Frozen && b.Phase != Frozen && b.Phase != RollingBack {
		w.violated("8: a frozen rollout goes on by itself: %s", b.Phase)
	}
	moved := b.Split != a.Split && s.Spec.selects() == a.Split.Audience
	if a.Phase == Frozen && b.Phase == Frozen && (moved || b.FailedChecks != a.FailedChecks || b.Step != a.Step) {
		w.violated("8: a frozen rollout moves: %v -> %v", a.Split, b.Split)
	}
	if a.PausedUntil.IsZero() && !b.PausedUntil.IsZero() && !w.ledger.edited && !b.PausedUntil.Equal(w.now.Add(w.ledger.pause)) {
		w.violated("8: a pause of %v ends at %s", w.ledger.pause, clock(b.PausedUntil))
	}
}

// checkPaused: the step that ends had its pause.
func (w *simulation) checkPaused(s Snapshot) {
	pause, lasted := w.ledger.pause, w.now.Sub(w.ledger.stepStored)
	switch {
	case w.ledger.edited, !w.ledger.resumed.Before(w.ledger.stepStored):
	case s.State.Paused || s.State.PausedUntil.After(w.now):
		w.violated("8: step %d ends though it is paused", s.State.Step)
	case pause == UntilResumed:
		w.violated("8: step %d ends, but nobody resumed it", s.State.Step)
	case lasted+w.slack() < w.ledger.interval+pause:
		w.violated("8: step %d lasted %v with a pause of %v", s.State.Step, lasted, pause)
	}
}

// checkBake: a promoted revision is judged for as long as the spec says, and goes when it fails.
func (w *simulation) checkBake(s Snapshot, d Decision) {
	a, b := s.State, d.Next
	if a.Phase != Baking {
		due := s.Spec.Bake > 0 && !a.Direct && !s.Spec.SkipAnalysis && a.Candidate != a.Stable
		if done := a.Phase == Promoting || a.Phase == Finalising; done && due && b.Phase == Succeeded {
			w.violated("8: the bake is left out")
		}
		if b.Phase == Baking && !b.BakeUntil.Equal(w.now.Add(s.Spec.Bake)) {
			w.violated("8: the bake ends at %s", clock(b.BakeUntil))
		}
		return
	}
	verb, _, asked := accepted(s, d)
	kept := slices.Contains(s.Kept, a.Previous) && a.Previous != a.Stable
	failed := s.Primary.Endpoints == 0
	for _, q := range s.bakeQuestions() {
		v := s.Answers[q.Key].Verdict
		failed = failed || v == Fail || v == Inconclusive && s.Spec.NoData == PolicyFail
	}
	if begins := b.Rollout != a.Rollout; begins && !asked && len(s.endQuestions()) > 0 {
		w.violated("14: rollout %d begins before a post-rollout hook was told the end of the one that was judged on", b.Rollout)
	}
	hook, back := false, asked && (verb == Abort || verb == Rollback)
	for _, q := range rollbackQuestions(s) {
		hook = hook || s.Answers[q.Key].Verdict == Pass
	}
	switch {
	case b.FailedChecks > a.FailedChecks && !failed:
		w.violated("9: a failed check is counted after the promotion where none failed")
	case hook && kept && b.Phase != RollingBack:
		w.violated("4: a rollback hook agreed, but Baking -> %s", b.Phase)
	case b.Phase == Baking && b.FailedChecks >= s.Spec.BakeThreshold:
		w.violated("4: %d failed checks of %d after the promotion, and nothing happens", b.FailedChecks, s.Spec.BakeThreshold)
	case b.Phase == Baking && s.expired(a) && b.FailedChecks == a.FailedChecks:
		w.violated("8: the deadline of the bake passed without an outcome")
	case b.Phase == Succeeded && s.Target.Revision != a.Stable && len(s.endQuestions()) > 0: // that is told before the next begins
	case b.Phase == Succeeded && w.now.Before(w.ledger.bakeUntil) && kept:
		w.violated("8: the bake ends %v too early", w.ledger.bakeUntil.Sub(w.now))
	case b.Phase == RollingBack && (b.Stable != a.Previous || !kept):
		w.violated("3: a bake that failed goes back to %s instead of %s", b.Stable, a.Previous)
	case b.Phase == RollingBack && !hook && b.FailedChecks < s.Spec.BakeThreshold && !back:
		w.violated("9: a bake ends after %d failed checks", b.FailedChecks)
	}
}

// checkUnusable: nothing goes forward under a spec that cannot be used.
func (w *simulation) checkUnusable(s Snapshot, d Decision) {
	a, b := s.State, d.Next
	if s.Spec.Invalid == "" {
		return
	}
	verb, _, asked := accepted(s, d)
	back := asked && verb == Rollback
	switch {
	case d.Stalled == "":
		w.violated("11: the spec cannot be used, and nobody is told")
	case b.Rollout != a.Rollout && !back,
		b.Phase == Promoting && a.Phase != Promoting && !back,
		a.Phase == Initializing && b.Phase != Initializing,
		a.Phase == Waiting && b.Phase == Progressing,
		a.Phase == Frozen && b.Phase == Progressing,
		b.Step > a.Step && !a.Phase.ending(),
		b.Split.exceeds(a.Split) && !a.Phase.ending():
		w.violated("11: under a spec that cannot be used %s -> %s, %v", a.Phase, b.Phase, b.Split)
	case b.FailedChecks > a.FailedChecks && a.Phase != Baking && (s.Canary.Endpoints > 0 || !a.Split.Reaches()):
		w.violated("11: a check is judged under a spec that cannot be used")
	}
	for _, e := range d.Effects {
		if v, ok := e.(ApplyServices); ok && v.Serving && !s.Services.Serving && b.Phase == Initializing {
			w.violated("11: the apex moves under a spec that cannot be used")
		}
	}
}

// checkFloor: the autoscaler keeps the primary's size while a rollout lasts, and only then. An app that is switched off has no size to
// keep, even if its pods are not gone yet: what a person promotes then goes to a primary without pods, as the user wants it.
func (w *simulation) checkFloor(s Snapshot, d Decision) {
	a, b := s.State, d.Next
	if !s.Scaler.Found {
		return
	}
	underway := b.Phase.OnTrial() || b.Phase == RollingBack && a.Phase != Waiting && a.Phase != Baking
	began := underway && (b.Rollout != a.Rollout || a.Phase == Waiting)
	switch {
	case underway && b.Rollout == a.Rollout && b.Floor < a.Floor:
		w.violated("5: the floor falls from %d to %d in %s", a.Floor, b.Floor, b.Phase)
	case began && s.Primary.Found && s.Scaler.OnPrimary && !s.Target.Off && b.Phase != RollingBack && b.Floor < s.Primary.Replicas:
		w.violated("5: a rollout of a primary with %d pods begins with a floor of %d", s.Primary.Replicas, b.Floor)
	case b.Floor > 0 && (a.Phase.Idle() && b.Phase.Idle() || a.Phase == Waiting && b.Phase == Waiting) && a.Split == AllPrimary() &&
		b.Split == AllPrimary() && w.now.After(latest(b.Since, a.DrainUntil).Add(s.Scaler.Window+time.Minute)) && w.now.After(s.Since.Add(time.Minute)):
		w.violated("5: the floor stays at %d after the rollout", b.Floor)
	case b.Floor < a.Floor && b.Rollout == a.Rollout && !s.Target.Off && w.now.Before(a.Since.Add(s.Scaler.Window)):
		w.violated("5: the floor falls from %d to %d in %s, while what was measured without the traffic counts", a.Floor, b.Floor, b.Phase)
	case b.Split != AllPrimary() && b.Rollout == a.Rollout && b.Floor < a.Floor:
		w.violated("5: the floor falls while the canary has traffic")
	}
}

// checkScaler holds the effect against what it is for.
func (w *simulation) checkScaler(s Snapshot, d Decision, e ApplyScaler) {
	b := d.Next
	trial := b.Phase == Progressing || b.Phase == WaitingPromotion || b.Phase == Frozen
	if b.Phase == Initializing || e.Floor != b.Floor || e.Canary != (trial && s.Spec.CanaryScaled) {
		w.violated("5: the autoscaler gets %+v in %s with a floor of %d", e, b.Phase, b.Floor)
	}
	if s.Scaler.OnPrimary && s.Scaler.Floor == e.Floor && s.Scaler.Canary == e.Canary && !s.Scaler.Drifted {
		w.violated("15: the autoscaler is written again though nothing differs")
	}
}
