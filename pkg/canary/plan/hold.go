package plan

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// hold stops the rollout where it is until a person resumes it; the wait has the deadline of gates.
func (s Snapshot) hold(d *Decision) {
	d.Next.Paused, d.Next.Halted, d.Next.Deadline = true, false, s.Now.Add(s.Spec.GateDeadline)
	d.wakeAt(s.Now, d.Next.Deadline)
}

// stepPause is the pause after the present step, if it did not begin yet.
func (s Snapshot) stepPause() time.Duration {
	z := s.State
	if z.Step == 0 || !z.PausedUntil.IsZero() || slices.Contains(z.Passed, pauseName(z.Step)) {
		return 0
	}
	return s.Spec.present(z).Pause
}

// pauses tells whether a pause, of a person or of the step, keeps a check that passes from leading on. A pause that began lasts as
// long as was told, whatever becomes of the spec.
func (s Snapshot) pauses() bool {
	return s.State.Paused || s.Now.Before(s.State.PausedUntil) || s.stepPause() != 0
}

// paused holds a rollout that would go on, if there is a pause. The pause of a step begins here.
func (s Snapshot) paused(d *Decision) bool {
	z := &d.Next
	if !s.pauses() {
		if !z.PausedUntil.IsZero() {
			s.endPause(z)
		}
		return false
	}
	switch pause := s.stepPause(); {
	case z.Paused:
		sayPaused(d)
	case pause == UntilResumed:
		s.endPause(z) // it holds once
		s.hold(d)
		sayPaused(d)
		d.notify(Notice{Reason: "Paused", Severity: Warning, Alert: true, Revision: z.Candidate, Message: d.Why})
	case pause > 0:
		z.PausedUntil, z.Halted = s.Now.Add(pause), false
		z.Deadline = z.PausedUntil.Add(s.Spec.Deadline)
		sayPaused(d)
		d.notify(Notice{Reason: "Paused", Severity: Info, Revision: z.Candidate, Message: d.Why})
	default:
		sayPaused(d)
	}
	return true
}

// sayPaused says what a rollout waits for that is paused.
func sayPaused(d *Decision) {
	z := d.Next
	if z.Paused {
		d.because("revision %s is paused at %s; annotate siskin.dev/request=resume@<token> to go on", z.Candidate, z.Split)
		d.wait("resume")
		return
	}
	d.because("step %d pauses revision %s at %s until %s", z.Step, z.Candidate, z.Split, z.PausedUntil.UTC().Format("15:04:05Z"))
	d.wait("the pause of step %d", z.Step)
}

// nextPaused is when a paused step is judged again: in an interval, but not after the end of the pause.
func (s Snapshot) nextPaused(z State) time.Time {
	next := s.Now.Add(s.interval(s.State))
	if z.PausedUntil.After(s.Now) && z.PausedUntil.Before(next) {
		return z.PausedUntil
	}
	return next
}

// endPause notes that the pause of the step is over.
func (s Snapshot) endPause(z *State) {
	z.PausedUntil = time.Time{}
	if name := pauseName(z.Step); z.Step > 0 && !slices.Contains(z.Passed, name) {
		z.Passed = append(slices.Clone(z.Passed), name)
	}
}

// unpaused is Passed without the pauses that were over: steps that begin anew have them again.
func unpaused(passed []string) []string {
	return slices.DeleteFunc(slices.Clone(passed), func(name string) bool { return strings.HasPrefix(name, "pause/") })
}

func pauseName(step int) string { return fmt.Sprintf("pause/%d", step) }

// giveUp ends a rollout whose failed checks reached the threshold: it is taken back, or frozen while its canary can serve.
func giveUp(s Snapshot, d *Decision, cause string, r *Result) {
	if s.Spec.Freeze && s.Canary.Endpoints > 0 {
		freeze(s, d, cause, r)
		return
	}
	rollback(s, d, Failed, cause, r)
}

// freeze leaves the traffic where it is until a person decides, or the deadline of gates passes.
func freeze(s Snapshot, d *Decision, cause string, r *Result) {
	z := &d.Next
	d.enter(Frozen, s.Now)
	z.Cause, z.Paused, z.Halted, z.PausedUntil = cause, false, false, time.Time{}
	z.StepAt, z.Deadline = s.Now, s.Now.Add(s.Spec.GateDeadline)
	d.WaitingFor = nil
	frozen(s, d)
	d.notify(Notice{
		Reason: "Frozen", Severity: Error, Alert: true, Revision: z.Candidate, Result: r,
		Message: fmt.Sprintf("revision %s is frozen at %s: %s; annotate siskin.dev/request=abort, retry, resume or promote (with @<token>); it is taken back at %s",
			z.Candidate, z.Split, cause, z.Deadline.UTC().Format("2006-01-02 15:04Z")),
	})
}

// frozen waits for a person.
func frozen(s Snapshot, d *Decision) {
	z := &d.Next
	d.Stalled = "Frozen"
	d.because("revision %s is frozen at %s: %s", z.Candidate, z.Split, z.Cause)
	d.wait("a person: abort, retry, resume or promote")
	d.wakeAt(s.Now, s.deadline(*z))
}
