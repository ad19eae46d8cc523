package plan

import (
	"slices"
	"strconv"
	"time"
)

// checkJudgement: a step ends only when its time is over and its checks passed; what is unclear is not a failure.
func (w *simulation) checkJudgement(s Snapshot, d Decision) {
	a, b := s.State, d.Next
	if b.Rollout != a.Rollout {
		w.checkBegin(s, d)
		return
	}
	if b.FailedChecks > a.FailedChecks {
		w.checkFailure(s)
	}
	if a.Phase == Waiting && b.Phase == Progressing {
		for _, h := range s.Spec.hooks(ConfirmRollout) {
			if w.hooks.passed[passedName(Question{Type: h.Type, Name: h.Name})] != a.Rollout {
				w.violated("2: gate %s did not agree to rollout %d", h.Name, a.Rollout)
			}
		}
	}
	judged := (a.Phase == Progressing || a.Phase == WaitingPromotion) && a.Step > 0
	onward := b.Phase == Promoting && a.Phase != Finalising || b.Phase == Progressing && b.Step > 0 && b.StepAt != a.StepAt
	if judged && onward {
		w.checkStepDone(s)
	}
}

// checkBegin: everything starts anew.
func (w *simulation) checkBegin(s Snapshot, d Decision) {
	b := d.Next
	if b.FailedChecks != 0 || b.Step != 0 || len(b.Passed) != 0 || b.Split.Canary > 0 || b.Candidate != s.Target.Revision {
		w.violated("2: a new rollout starts with what is left of another: %+v", b)
	}
	if (len(s.Spec.hooks(ConfirmRollout)) > 0) != (b.Phase == Waiting) {
		w.violated("2: a new rollout starts in %s", b.Phase)
	}
	if s.State.Phase.Idle() && b.Candidate == s.State.Rejected {
		w.violated("3: rejected revision %s is tried again", b.Candidate)
	}
	if b.Candidate == b.Stable {
		w.violated("12: the promoted revision is released")
	}
}

func (w *simulation) checkFailure(s Snapshot) {
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
	if s.State.Split.Canary > 0 && s.Canary.Endpoints == 0 {
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
	if lasted := w.now.Sub(from); lasted+w.slack() < w.ledger.interval {
		w.violated("10: step %d lasted %v of %v", s.State.Step, lasted, w.ledger.interval)
	}
	for _, q := range s.checks() {
		a, ok := s.Answers[q.Key]
		unclear := a.Verdict == Inconclusive && s.Spec.NoData == PolicyPass && !a.Invalid
		if !ok || a.Verdict != Pass && !unclear {
			w.violated("3: step %d ends though %s %s says %q", s.State.Step, q.Kind, q.Name, a.Verdict)
		}
		if w.hooks.asked[q.Key].Before(from.Add(w.ledger.interval - w.slack())) {
			w.violated("10: %s %s was asked too early: %v, step of %v", q.Kind, q.Name, clock(w.hooks.asked[q.Key]), clock(from))
		}
	}
	if !s.Canary.Ready(s.State.Candidate, s.Spec.CanaryReady) {
		w.violated("3: step %d ends with a canary that is not ready", s.State.Step)
	}
	w.ledger.checked[s.State.Split.Canary] = true
}

// checkPromotion: only what passed everything is promoted, and it is promoted only when the primary has it.
func (w *simulation) checkPromotion(s Snapshot, d Decision) {
	a, b := s.State, d.Next
	if b.Phase == Promoting && a.Phase != Promoting && a.Phase != Finalising {
		skip := s.Spec.SkipAnalysis && a.Step == 0
		switch {
		case !s.Canary.Ready(a.Candidate, s.Spec.CanaryReady):
			w.violated("3: promoted without a ready canary")
		case skip:
		default:
			for _, step := range s.Spec.Steps {
				if !w.ledger.checked[step.Weight] && !w.ledger.edited {
					w.violated("3: promoted without a check at %d%%", step.Weight)
				}
				if step.Weight > a.Split.Canary {
					w.violated("3: promoted at %d%% before %d%%", a.Split.Canary, step.Weight)
				}
			}
			w.checkGates(s, ConfirmPromotion, s.promotionGates(), w.ledger.stepStored)
		}
	}
	if b.Stable != a.Stable && a.Phase != "" && a.Phase != Initializing {
		if b.Phase != Succeeded || b.Stable != a.Candidate || !w.ledger.primaryMay[b.Stable] {
			w.violated("3: %s becomes the promoted revision in %s", b.Stable, b.Phase)
		}
		if a.Phase == Promoting && !s.Primary.Ready(b.Stable, s.Spec.PrimaryReady) {
			w.violated("3: %s succeeded before its primary was ready", b.Stable)
		}
	}
	if b.Rejected != a.Rejected && b.Rejected != "" && b.Rejected != a.Candidate {
		w.violated("3: %s is rejected, which was not on trial", b.Rejected)
	}
	if b.Candidate != a.Candidate && b.Rollout == a.Rollout {
		w.violated("3: the candidate changes within a rollout")
	}
}

// checkEffect holds one effect against the world as it is when the decision is made.
func (w *simulation) checkEffect(s Snapshot, d Decision, i int, e Effect) {
	traffic := w.route.known && (w.route.effective.Canary > 0 || w.route.current.Canary > 0)
	switch e := e.(type) {
	case ApplyPrimary:
		first := (s.State.Phase == "" || s.State.Phase == Initializing) && e.Revision == s.Target.Revision
		passed := d.Next.Phase == Promoting && e.Revision == s.State.Candidate // checkPromotion sees to it that it did
		if e.Revision != s.State.Stable && !w.ledger.primaryMay[e.Revision] && !first && !passed {
			w.violated("3: the primary gets %s, which has not passed", e.Revision)
		}
		if s.Target.Found && e.Replicas != s.Target.Replicas {
			w.violated("5: the primary gets %d pods instead of %d", e.Replicas, s.Target.Replicas)
		}
	case ApplyCanary:
		same := w.canary.found && w.canary.rev == e.Revision
		switch {
		case traffic && w.canary.found && !same && len(w.canary.pods) > 0:
			w.violated("2: canary pods of %s are replaced by %s under traffic", w.canary.rev, e.Revision)
		case traffic && same && e.Replicas == 0 && w.canary.replicas > 0:
			w.violated("5: a canary with traffic is scaled to zero")
		case !same && e.Revision != d.Next.Candidate:
			w.violated("2: the canary gets %s, which is not on trial", e.Revision)
		case w.early() && (!same || e.Replicas == 0) && w.canary.available() > 0:
			w.violated("5: the canary is taken away %v after it lost its traffic; the drain is %v", w.now.Sub(w.route.since), s.Spec.Drain)
		}
	case ApplySplit:
		if e.Split != d.Next.Split {
			w.violated("15: split %v is applied, %v is stored", e.Split, d.Next.Split)
		}
	case ApplyServices:
		switch {
		case e.Serving && !s.Services.Serving && d.Next.Phase == Initializing && s.Primary.Endpoints == 0 && s.Primary.Replicas > 0 && s.Target.Available > 0:
			w.violated("5: the apex moves to a primary without pods")
		case !e.Serving && s.Services.Serving && s.Target.Available == 0 && s.Primary.Endpoints > 0:
			w.violated("5: the apex moves back to a target without pods")
		}
	case HoldTarget:
		serving := s.Services.Serving || slices.ContainsFunc(d.Effects[:i], func(e Effect) bool { v, ok := e.(ApplyServices); return ok && v.Serving })
		if d.Next.Phase == Initializing || !serving || e.Replicas != s.Target.Replicas {
			w.violated("5: the target is held in %s, serving %v, %d replicas recorded", d.Next.Phase, serving, e.Replicas)
		}
	case ReleaseTarget, RestoreServices, Abandon, Finish:
		w.violated("%T without deletion", e)
	case TakeSnapshot:
		if e.Revision != s.Target.Revision {
			w.violated("3: snapshot of %s from %s", e.Revision, s.Target.Revision)
		}
	}
}

// early tells whether the canary lost its traffic so shortly ago that requests may still be under way.
func (w *simulation) early() bool {
	if w.route.since.IsZero() || w.route.effective.Canary > 0 || w.ledger.drainEdited {
		return false
	}
	return w.now.Sub(w.route.since)+w.slack() < w.spec.Drain
}

// checkDeletion: nothing goes before what replaces it serves.
func (w *simulation) checkDeletion(s Snapshot, d Decision) {
	needed := s.Target.Found && s.State.Stable != "" && !s.Spec.Orphan
	if d.Next.Phase != Terminating {
		w.violated("deleted, but %s", d.Next.Phase)
	}
	serves := s.Target.Released && s.Target.Available >= s.Target.Replicas
	for _, e := range d.Effects {
		switch e := e.(type) {
		case RestoreServices:
			if needed && !serves && !s.Services.Restored {
				w.violated("deletion: Services are restored before the target serves")
			}
		case Finish:
			if needed && (!s.Services.Restored || d.Next.DrainUntil.After(w.now)) {
				w.violated("deletion: finished before the Services are restored and the clones drained")
			}
		case ReleaseTarget:
			if e.Replicas != s.Target.Replicas {
				w.violated("deletion: the target gets %d replicas instead of %d", e.Replicas, s.Target.Replicas)
			}
		case ApplySplit:
			if e.Split.Primary > s.State.Split.Primary && s.Target.Replicas > 0 && s.Primary.Endpoints == 0 && s.Canary.Endpoints > 0 {
				w.violated("5: traffic goes to a primary without pods while the canary serves")
			}
		case Abandon:
		default:
			w.violated("deletion: %T", e)
		}
	}
}

// checkRest is held against a world where nothing happens any more.
func (w *simulation) checkRest() {
	z := w.state
	switch {
	case w.failure != "" || w.orphan && w.gone:
		return
	case w.gone:
		if w.target.found && z.Stable != "" && (w.target.held || w.target.available() == 0 && w.user.replicas > 0 || !w.services.Restored) {
			w.violated("deletion: at the end the target does not serve")
		}
		return
	case z.Overdue, w.spec.Suspend, !w.target.found:
		return
	case w.traits(z.Stable).primaryFails || w.traits(z.Stable).neverReady: // became stable while the user wanted no pods, so that nobody could know
		return
	case !z.Phase.Idle() || w.user.deleting:
		w.violated("8: the world rests in %s", z.Phase)
	case w.user.replicas > 0 && w.target.rev != z.Stable && w.target.rev != z.Rejected:
		w.violated("8: revision %s is lost (%s, stable %s, rejected %s)", w.target.rev, z.Phase, z.Stable, z.Rejected)
	case z.Split != AllPrimary() || w.route.effective != AllPrimary():
		w.violated("5: at the end the split is %v, %v in the data plane", z.Split, w.route.effective)
	case len(w.canary.pods) > 0 || len(w.target.pods) > 0 || !w.target.held:
		w.violated("5: at the end %d canary pods and %d target pods are left", len(w.canary.pods), len(w.target.pods))
	case w.primary.rev != z.Stable || w.primary.replicas != w.user.replicas || w.primary.available() < w.user.replicas:
		w.violated("5: at the end the primary has %d pods of %s", w.primary.available(), w.primary.rev)
	case z.Phase == Failed && z.Cause == "":
		w.violated("14: failed without a cause")
	}
}

// rests is how long a world may take to come to rest after the last fault.
const rests = 8 * time.Hour
