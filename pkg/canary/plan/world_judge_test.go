package plan

import (
	"slices"
	"strconv"
)

// checkJudgement: a step ends only when its time is over and its checks passed; what is unclear is not a failure.
func (w *simulation) checkJudgement(s Snapshot, d Decision) {
	a, b := s.State, d.Next
	if b.Rollout != a.Rollout {
		w.checkBegin(s, d)
		return
	}
	if b.FailedChecks > a.FailedChecks && a.Phase != Baking {
		w.checkFailure(s, d)
	}
	_, _, asked := accepted(s, d)
	if a.Phase == Waiting && b.Phase == Progressing && !asked {
		for _, h := range s.Spec.hooks(ConfirmRollout) {
			if w.hooks.passed[passedName(Question{Type: h.Type, Name: h.Name})] != a.Rollout {
				w.violated("2: gate %s did not agree to rollout %d", h.Name, a.Rollout)
			}
		}
	}
	if b.Step != a.Step && b.Step > 0 && b.Phase == Progressing && s.Spec.Steps[b.Step-1].split() != b.Split {
		w.violated("3: step %d has %v", b.Step, b.Split)
	}
	judged := (a.Phase == Progressing || a.Phase == WaitingPromotion) && a.Step > 0
	onward := b.Phase == Promoting && !a.Forced || b.Phase == Progressing && b.Step > 0 && b.StepAt != a.StepAt
	if judged && onward && !asked {
		w.checkStepDone(s)
	}
}

// checkPrevious: the revision before is the one that was promoted before, whatever was tried and taken back since.
func (w *simulation) checkPrevious(s Snapshot, d Decision) {
	a, b := s.State, d.Next
	want := a.Previous
	if (b.Phase == Succeeded || b.Phase == Baking) && (a.Phase == Promoting || a.Phase == Finalising) && a.Candidate != a.Stable {
		want = a.Stable
	}
	if b.Previous != want {
		w.violated("3: the revision before %s is %q, not %q", b.Stable, b.Previous, want)
	}
}

// checkBegin: everything starts anew.
func (w *simulation) checkBegin(s Snapshot, d Decision) {
	b := d.Next
	if b.FailedChecks != 0 || b.Step != 0 || len(b.Passed) != 0 || b.Forced || b.Paused {
		w.violated("2: a new rollout starts with what is left of another: %+v", b)
	}
	if b.Direct {
		return // checkDirect
	}
	if b.Split != AllPrimary() || b.Candidate != s.Target.Revision {
		w.violated("2: a new rollout of %s starts at %v: %s", s.Target.Revision, b.Split, b.Candidate)
	}
	if (len(s.Spec.hooks(ConfirmRollout)) > 0) != (b.Phase == Waiting) {
		w.violated("2: a new rollout starts in %s", b.Phase)
	}
	verb, _, asked := accepted(s, d)
	if until := latest(s.State.Since, s.Since).Add(s.Spec.Deadline); s.State.Phase.Idle() && !asked && w.now.Before(until) {
		for _, q := range s.endQuestions() {
			if _, ok := s.Answers[q.Key]; !ok {
				w.violated("14: rollout %d begins before post-rollout hook %s was told the end of the one before", b.Rollout, q.Name)
			}
		}
	}
	if again := asked && verb == Retry; b.Candidate == w.ledger.refused && !again {
		w.violated("3: rejected revision %s is tried again", b.Candidate)
	}
	if b.Candidate == b.Stable {
		w.violated("12: the promoted revision is released")
	}
}

func (w *simulation) checkFailure(s Snapshot, d Decision) {
	if n := d.Next; n.FailedChecks >= s.Spec.Threshold && (n.Phase == Frozen) != (s.Spec.Freeze && s.Canary.Endpoints > 0) {
		w.violated("4: the threshold is reached, freeze is %v: %s", s.Spec.Freeze, n.Phase)
	}
	qs := s.checks()
	if s.State.Step == 0 {
		qs = s.hookQuestions(PreRollout, "a"+strconv.Itoa(s.State.Attempt))
	}
	for _, q := range qs {
		v := s.Answers[q.Key].Verdict
		if v == Fail || v == Inconclusive && s.Spec.NoData == PolicyFail {
			return
		}
	}
	if s.State.Split.Reaches() && s.Canary.Endpoints == 0 || w.goneAstray(s) && s.Spec.NoData == PolicyFail {
		return
	}
	w.violated("9: a failed check is counted where none failed")
}

// checkStepDone: long enough under the split, and every check of it passed after that.
func (w *simulation) checkStepDone(s Snapshot) {
	r := w.route
	if r.effective != s.State.Split {
		w.violated("10: step %d ends, but the data plane has %v instead of %v", s.State.Step, r.effective, s.State.Split)
	}
	from := w.ledger.stepStored
	if r.since.After(from) {
		from = r.since
	}
	lasted := w.now.Sub(from)
	if lasted+w.slack() < w.ledger.interval {
		w.violated("10: step %d lasted %v of %v", s.State.Step, lasted, w.ledger.interval)
	}
	w.checkPaused(s)
	for _, q := range s.checks() {
		a, ok := s.Answers[q.Key]
		unclear := a.Verdict == Inconclusive && s.Spec.NoData == PolicyPass && !a.Invalid
		if !ok || a.Verdict != Pass && !unclear {
			w.violated("3: step %d ends though %s %s says %q", s.State.Step, q.Kind, q.Name, a.Verdict)
		}
		w.checkFresh(s, q)
		if w.hooks.asked[q.Key].Before(from.Add(w.ledger.interval - w.slack())) {
			w.violated("10: %s %s was asked too early: %v, step of %v", q.Kind, q.Name, clock(w.hooks.asked[q.Key]), clock(from))
		}
	}
	for _, q := range slices.Concat(s.increaseGates(), s.promotionGates()) {
		if _, ok := s.Answers[q.Key]; ok {
			w.checkFresh(s, q)
		}
	}
	if !s.Canary.Ready(s.State.Candidate, s.Spec.CanaryReady) && !s.Scaler.OnPrimary {
		w.violated("3: step %d ends with a canary that is not ready", s.State.Step)
	}
	w.ledger.checked[s.State.Step] = true
}

// checkPromotion: only what passed everything is promoted, and it is promoted only when the primary has it.
func (w *simulation) checkPromotion(s Snapshot, d Decision) {
	a, b := s.State, d.Next
	if b.Phase == Promoting && b.Rollout == a.Rollout && a.Phase != Promoting && a.Phase != Finalising {
		w.checkPassed(s)
	}
	if b.Stable != a.Stable && a.Phase != "" && a.Phase != Initializing {
		switch {
		case a.Phase == Baking && b.Phase == RollingBack: // checkBake
		case b.Phase != Succeeded && b.Phase != Baking, b.Stable != a.Candidate, !w.ledger.primaryMay[b.Stable]:
			w.violated("3: %s becomes the promoted revision in %s", b.Stable, b.Phase)
		case a.Phase == Promoting && !serves(s, b.Stable):
			w.violated("3: %s succeeded before its primary was ready", b.Stable)
		}
	}
	gone := b.Direct && b.Rejected == s.Target.Revision
	if b.Rejected != a.Rejected && b.Rejected != "" && b.Rejected != a.Candidate && !gone {
		w.violated("3: %s is rejected, which was not on trial", b.Rejected)
	}
	if b.Candidate != a.Candidate && b.Rollout == a.Rollout && !s.gathering() {
		w.violated("3: the candidate changes within a rollout")
	}
}

// checkPassed: a promotion that nobody forced passed every step.
func (w *simulation) checkPassed(s Snapshot) {
	a := s.State
	switch {
	case !s.Canary.Ready(a.Candidate, s.Spec.CanaryReady) && !s.Scaler.OnPrimary, s.Canary.Endpoints == 0, !w.canary.only(a.Candidate):
		w.violated("3: promoted without a ready canary")
	case a.Forced, s.Spec.SkipAnalysis && a.Step == 0:
	case a.Paused || a.PausedUntil.After(w.now):
		w.violated("8: promoted while paused")
	default:
		for i, step := range s.Spec.Steps {
			if !w.ledger.checked[i+1] && !w.ledger.edited {
				w.violated("3: promoted without a check of step %d", i+1)
			}
			if step.Weight > a.Split.Canary {
				w.violated("3: promoted at %d%% before %d%%", a.Split.Canary, step.Weight)
			}
		}
		w.checkGates(s, ConfirmPromotion, s.promotionGates(), w.ledger.stepStored)
	}
}

// checkEffect holds one effect against the world as it is when the decision is made.
func (w *simulation) checkEffect(s Snapshot, d Decision, i int, e Effect) {
	w.checkStranger(s, e)
	switch e := e.(type) {
	case ApplyPrimary:
		w.checkPrimary(s, d, e)
		w.checkCrossing(s, e)
	case ApplyCanary:
		w.checkStandIn(s, e)
		w.checkCanary(s, d, e)
	case ApplySplit:
		if e.Split != d.Next.Split {
			w.violated("15: split %v is applied, %v is stored", e.Split, d.Next.Split)
		}
	case ApplyServices:
		w.checkReturn(s, e)
		switch {
		case e.Serving && !s.Services.Serving && d.Next.Phase == Initializing && s.Primary.Endpoints == 0 && s.Primary.Replicas > 0 && s.Target.Available > 0:
			w.violated("5: the apex moves to a primary without pods")
		case !e.Serving && s.Services.Serving && s.Target.Available == 0 && s.Primary.Endpoints > 0:
			w.violated("5: the apex moves back to a target without pods")
		}
	case HoldTarget:
		serving := s.Services.Serving || slices.ContainsFunc(d.Effects[:i], func(e Effect) bool { v, ok := e.(ApplyServices); return ok && v.Serving })
		if d.Next.Phase == Initializing || !serving || !w.scaler.named && e.Replicas != s.Target.Replicas {
			w.violated("5: the target is held in %s, serving %v, %d replicas recorded", d.Next.Phase, serving, e.Replicas)
		}
		if w.scaler.named && e.Replicas == 0 {
			w.violated("5: what an autoscaler made of it is recorded as the user's zero")
		}
		if s.Scaler.Found && !s.Scaler.OnPrimary {
			w.violated("5: the target is held while the autoscaler scales it")
		}
	case ApplyScaler:
		w.checkScaler(s, d, e)
	case RestoreTarget, PauseTarget, ReleaseTarget, RestoreServices, RestoreScaler, Abandon, Finish:
		w.violated("%T without deletion", e)
	case TakeSnapshot:
		if e.Revision != s.Target.Revision {
			w.violated("3: snapshot of %s from %s", e.Revision, s.Target.Revision)
		}
	}
}

func (w *simulation) checkPrimary(s Snapshot, d Decision, e ApplyPrimary) {
	first := (s.State.Phase == "" || s.State.Phase == Initializing) && e.Revision == s.Target.Revision
	passed := d.Next.Phase == Promoting && e.Revision == d.Next.Candidate // checkPromotion sees to it that it did
	back := s.State.Phase == Baking && d.Next.Phase == RollingBack && e.Revision == d.Next.Stable
	if e.Revision != s.State.Stable && !w.ledger.primaryMay[e.Revision] && !first && !passed && !back {
		w.violated("3: the primary gets %s, which has not passed", e.Revision)
	}
	switch {
	case w.off():
		if e.Replicas != 0 {
			w.violated("5: the primary gets %d pods, and the user has switched it off", e.Replicas)
		}
	case w.scaler.named && s.Primary.Found && d.Next.Phase != Initializing:
		if e.Replicas < s.Primary.Replicas {
			w.violated("5: the primary gets %d pods instead of the %d that its autoscaler made", e.Replicas, s.Primary.Replicas)
		}
	case s.Target.Found && !w.scaler.named && e.Replicas != s.Target.Replicas:
		w.violated("5: the primary gets %d pods instead of %d", e.Replicas, s.Target.Replicas)
	}
}

func (w *simulation) checkCanary(s Snapshot, d Decision, e ApplyCanary) {
	traffic := w.route.known && (w.route.effective.Reaches() || w.route.current.Reaches())
	same := w.canary.found && w.canary.rev == e.Revision
	switch {
	case traffic && w.canary.found && !same && len(w.canary.pods) > 0:
		w.violated("2: canary pods of %s are replaced by %s under traffic", w.canary.rev, e.Revision)
	case traffic && same && e.Replicas == 0 && w.canary.replicas > 0:
		w.violated("5: a canary with traffic is scaled to zero")
	case !same && e.Revision != d.Next.Candidate && (!w.views.on || e.Revision != goal(d.Next)): // or it is to stand in
		w.violated("2: the canary gets %s, which is not on trial", e.Revision)
	case w.early() && w.route.served && (!same || e.Replicas == 0) && w.canary.available() > 0:
		w.violated("5: the canary is taken away %v after it lost its traffic; the drain is %v", w.now.Sub(w.route.since), s.Spec.Drain)
	}
}

// early tells whether the canary lost its traffic so shortly ago that requests may still be under way.
func (w *simulation) early() bool {
	if w.route.since.IsZero() || w.route.effective.Reaches() || w.ledger.drainEdited {
		return false
	}
	return w.now.Sub(w.route.since)+w.slack() < w.spec.Drain
}
