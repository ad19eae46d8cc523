package plan

import (
	"fmt"
	"slices"
	"time"
)

// startBake begins to judge the primary after a promotion.
func startBake(s Snapshot, d *Decision) {
	z := &d.Next
	d.enter(Baking, s.Now)
	z.FailedChecks, z.Attempt, z.Results = 0, z.Attempt+1, nil
	z.StepAt, z.BakeUntil = s.Now, s.Now.Add(s.Spec.Bake)
	z.Deadline = z.BakeUntil.Add(s.Spec.Deadline)
	z.CheckAt = s.nextBake(*z)
	d.wakeAt(s.Now, z.CheckAt)
}

// nextBake is when the next check of a bake is due: in an interval, but not after its end or its deadline.
func (s Snapshot) nextBake(z State) time.Time {
	next := s.Now.Add(s.Spec.Interval)
	for _, end := range []time.Time{s.deadline(z), z.BakeUntil} {
		if s.Now.Before(end) && end.Before(next) {
			next = end
		}
	}
	return next
}

// bakeQuestions are the metrics of the primary.
func (s Snapshot) bakeQuestions() []Question {
	if s.Now.Before(s.State.CheckAt) {
		return nil
	}
	var qs []Question
	at := fmt.Sprintf("bake/a%d", s.State.Attempt)
	for _, m := range s.Spec.Metrics {
		qs = append(qs, Question{Kind: AskMetric, Name: m, Primary: true, Key: s.key(at, "metric", m)})
	}
	return qs
}

// bake judges the primary until the bake is over, or a new revision is there.
func bake(s Snapshot, d *Decision) {
	z := &d.Next
	if r, ok := s.rollbackAsked(); ok && s.mayReturn(*z) {
		rollback(s, d, Failed, askedFor(r), &r)
		return
	}
	if len(s.Spec.hooks(RollbackHook)) > 0 {
		d.wake(s.untilTick(z.StartedAt))
	}
	if s.Target.Found && !s.Target.Paused && s.Target.Revision != z.Stable && z.Replicas > 0 && s.Spec.Invalid == "" && s.early(d) == "" {
		replaceBake(s, d)
		return
	}
	d.because("revision %s is promoted and goes on being judged until %s", z.Stable, z.BakeUntil.UTC().Format("15:04:05Z"))
	d.wakeAt(s.Now, z.CheckAt)
	d.wakeAt(s.Now, s.deadline(*z))
	if s.Now.Before(z.CheckAt) {
		return
	}
	judgeBake(s, d, s.bakeOutcome())
}

// replaceBake ends the bake for a new revision, whose rollout begins at once, or when the end of this one was told.
func replaceBake(s Snapshot, d *Decision) {
	if len(s.endQuestions()) == 0 {
		begin(s, d, s.Target.Revision)
		return
	}
	z := &d.Next
	endBake(s, d)
	d.because("revision %s is judged no longer: revision %s takes its turn", z.Stable, s.Target.Revision)
	d.notify(Notice{Reason: "Baked", Severity: Info, Revision: z.Stable, Message: d.Why})
}

// bakeOutcome sums the check of the primary up; a primary without a ready pod fails it.
func (s Snapshot) bakeOutcome() outcome {
	o := s.verdict(s.bakeQuestions())
	if s.Primary.Endpoints == 0 && s.replicas() > 0 {
		o.worst = Fail
		o.results = append(o.results, lost("primary pods", s.Primary.explain(s.State.Stable)))
	}
	return o
}

func judgeBake(s Snapshot, d *Decision, o outcome) {
	z := &d.Next
	r, failed := o.first(Fail)
	unclear, isUnclear := o.unclear()
	if isUnclear && s.Spec.NoData == PolicyFail && !unclear.Invalid && !failed {
		r, failed = unclear, true
	}
	switch {
	case failed:
		z.Results = o.results
		overbaked(s, d, r)
	case len(o.pending) > 0 && !s.expired(*z):
		d.wait("answers of %s", join(o.pending))
	case s.agree(o) && !s.Now.Before(z.BakeUntil), s.expired(*z):
		z.Results = o.results
		baked(s, d, o)
	default: // passed, or no verdict yet: the next check may have one
		z.Results = o.results
		z.Attempt, z.CheckAt = z.Attempt+1, s.nextBake(*z)
		d.wakeAt(s.Now, z.CheckAt)
	}
}

// overbaked counts a failed check of the primary, and returns to the previous revision at the threshold.
func overbaked(s Snapshot, d *Decision, r Result) {
	z := &d.Next
	z.FailedChecks++
	if z.FailedChecks >= s.Spec.BakeThreshold {
		spoilt(s, d, r)
		return
	}
	z.Attempt, z.CheckAt = z.Attempt+1, s.nextBake(*z)
	z.Deadline = latest(z.Deadline, z.CheckAt.Add(s.Spec.Deadline))
	d.because("check %d of at most %d failed after the promotion: %s", z.FailedChecks, s.Spec.BakeThreshold, describe(r))
	d.notify(Notice{Reason: "CheckFailed", Severity: Warning, Revision: z.Stable, Result: &r, Message: d.Why})
	d.wakeAt(s.Now, z.CheckAt)
}

// spoilt returns to the previous revision; when that is gone, the one that failed has to serve on.
func spoilt(s Snapshot, d *Decision, r Result) {
	if s.mayReturn(d.Next) {
		rollback(s, d, Failed, "after the promotion "+describe(r), &r)
		return
	}
	z := &d.Next
	endBake(s, d)
	d.notify(Notice{
		Reason: "BakeFailed", Severity: Error, Alert: true, Revision: z.Stable, Result: &r,
		Message: fmt.Sprintf("revision %s fails after its promotion and serves on: %s; the snapshot of the previous revision %s is gone: commit a fix",
			z.Stable, describe(r), z.Previous),
	})
}

// mayReturn tells whether the previous revision is still there to go back to.
func (s Snapshot) mayReturn(z State) bool {
	return z.Previous != "" && z.Previous != z.Stable && slices.Contains(s.Kept, z.Previous)
}

func baked(s Snapshot, d *Decision, o outcome) {
	z := &d.Next
	endBake(s, d)
	n := Notice{
		Reason: "Baked", Severity: Info, Alert: true, Revision: z.Stable,
		Message: fmt.Sprintf("revision %s passed the checks after its promotion", z.Stable),
	}
	if !s.agree(o) {
		n.Severity, n.Message = Warning, fmt.Sprintf("the checks after the promotion of revision %s ended without a verdict", z.Stable)
	}
	d.notify(n)
}

func endBake(s Snapshot, d *Decision) {
	z := &d.Next
	d.enter(Succeeded, s.Now)
	z.CheckAt, z.Deadline, z.BakeUntil = time.Time{}, time.Time{}, time.Time{}
	d.because("%s", serving(*z))
}

// lost is the result of pods that are gone.
func lost(name, why string) Result {
	return Result{Name: name, Kind: "pods", Answer: Answer{Verdict: Fail, Value: "0 ready", Limit: ">= 1 ready", Message: why}}
}
