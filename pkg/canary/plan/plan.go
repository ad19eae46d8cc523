package plan

import (
	"strings"
	"time"
)

// Decide returns what to do next. It is total and deterministic.
//
// The order is law: deletion and suspension first, then whatever takes a bad version back, then what goes forward. Reads that
// failed are not part of the Snapshot, so that no provider, webhook or route can hold a rollback up.
func Decide(s Snapshot) Decision {
	d := Decision{Next: s.State}
	switch {
	case s.Spec.Suspend && !s.Deleting:
		d.because("suspended: traffic stays where it is until spec.suspend is false")
	case s.Deleting:
		begun(s, &d)
		terminate(s, &d)
	default:
		begun(s, &d)
		decide(s, &d)
	}
	remember(s, &d)
	return d
}

// begun gives a Canary that is new its first phase.
func begun(s Snapshot, d *Decision) {
	if d.Next.Phase == "" {
		d.Next.Phase, d.Next.Since, d.Next.Split = Initializing, s.Now, AllPrimary()
	}
}

// decide is Decide for a Canary that is neither suspended nor being deleted.
func decide(s Snapshot, d *Decision) {
	d.Next.Replicas = s.replicas()
	switch {
	case unwanted(s, d), asked(s, d), takenBack(s, d), unselected(s, d):
	case s.Spec.Invalid != "" && !d.Next.Phase.Idle() && !d.Next.Phase.ending():
		unusable(s, d)
	default:
		forward(s, d)
	}
	reached(s, d)
	settle(s, d)
	releaseFloor(s, d)
	stand(s, d)
	amiss(s, d)
	if d.Next.Split == AllPrimary() {
		d.wakeAt(s.Now, s.drainUntil(d.Next))
	} else { // the canary does not drain, however late the route to it is; the target may
		d.wakeAt(s.Now, d.Next.DrainUntil)
	}
	if d.Next.Phase != s.State.Phase {
		d.wake(time.Millisecond) // a phase that begins may be over already
	}
	d.Effects = append(d.Effects, world(s, d)...)
	if s.scaled() && d.Next.Phase == s.State.Phase && !s.switched() { // what an autoscaler makes of it is nobody's wish, and not worth a write
		d.Next.Replicas = s.State.Replicas
	}
}

// unselected takes from the canary the requests that an edit has ceased to select: no route could say any more which they are. The clock of
// the step begins anew when the rest is confirmed.
func unselected(s Snapshot, d *Decision) bool {
	z := &d.Next
	if s.Spec.Invalid != "" || !z.Split.Audience || s.Spec.selects() {
		return false
	}
	z.Split.Audience = false
	if z.Split == AllPrimary() {
		z.DrainUntil = s.Now.Add(Settle + s.Spec.Drain)
	}
	if z.judging() {
		z.Attempt, z.CheckAt = z.Attempt+1, latest(z.CheckAt, s.Now.Add(Settle+s.interval(*z)))
	}
	d.because("spec.analysis.match selects nothing any more: the canary keeps %s", z.Split)
	d.wake(time.Millisecond)
	return true
}

// reached lets a canary drain anew that somebody else's edit of the route has sent traffic to, in a step that gives it none. Outside of steps,
// settle does that for all that the data plane carries out late.
func reached(s Snapshot, d *Decision) {
	z := &d.Next
	if !z.judging() || z.Split != AllPrimary() || s.State.Split != AllPrimary() || !s.Route.Known || !s.Route.Current.Reaches() {
		return
	}
	if z.DrainUntil.Before(s.Now.Add(s.Spec.Drain)) {
		z.DrainUntil = s.Now.Add(Settle + s.Spec.Drain)
	}
}

// unusable holds a rollout that would go forward: only an edit of the spec helps. It still ends at its deadline.
func unusable(s Snapshot, d *Decision) {
	d.because("%s", s.Spec.Invalid)
	d.wakeAt(s.Now, s.deadline(d.Next))
}

// amiss says what only a person can mend, whatever else goes on.
func amiss(s Snapshot, d *Decision) {
	if s.Spec.Invalid != "" {
		d.Stalled = s.Spec.InvalidReason
		if !d.Next.Phase.ending() {
			d.because("%s", s.Spec.Invalid)
		}
	}
	if s.Spec.Unmeasurable != "" && d.Next.Phase.Idle() && d.Stalled == "" {
		d.Stalled = "AnalysisInvalid"
		if !strings.Contains(d.Why, s.Spec.Unmeasurable) {
			d.because("%s; the next rollout waits: %s", d.Why, s.Spec.Unmeasurable)
		}
	}
	if s.Scaler.Missing && d.Stalled == "" {
		d.Stalled = "AutoscalerNotFound"
		d.wait("the autoscaler: %s", s.Scaler.Message)
		d.because("the autoscaler: %s; %s", s.Scaler.Message, d.Why) // the reason is about it, and the rollout goes on
	}
}

// forward goes on in the phase that is stored.
func forward(s Snapshot, d *Decision) {
	switch d.Next.Phase {
	case Initializing:
		initialize(s, d)
	case Initialized, Succeeded, Failed, Cancelled:
		idle(s, d)
	case Waiting:
		waitForRollout(s, d)
	case Progressing:
		progress(s, d)
	case WaitingPromotion:
		check(s, d)
	case Frozen:
		frozen(s, d)
	case Baking:
		bake(s, d)
	case Promoting:
		promoting(s, d)
	case Finalising:
		finalise(s, d)
	case RollingBack:
		rollBack(s, d)
	case Terminating: // the deletion was the Canary's own; a stored phase without it cannot be, but must not be a dead end
		d.enter(Initializing, s.Now)
		initialize(s, d)
	}
}

// settle watches whether the data plane confirms the split in time. What it confirms within Settle costs nothing to store; a
// later confirmation moves the clock that runs on it, so that no step is shorter than its interval and no drain than its time.
func settle(s Snapshot, d *Decision) {
	z := &d.Next
	var began time.Time
	switch {
	case z.Split != s.State.Split:
		z.Late = false
		return
	case z.judging():
		began = z.StepAt
	case !z.DrainUntil.IsZero() && z.Split == AllPrimary() && !s.drained(*z):
		began = s.drainBegan(*z)
	default:
		z.Late = false
		return
	}
	due := began.Add(Settle)
	late := due.Add(min(s.interval(*z), Recheck))
	switch {
	case s.settled() && (z.Late || s.unseen(*z, began) && !s.drained(*z)):
		effective(s, z)
	case s.settled():
	case s.Now.Before(due):
		d.wakeAt(s.Now, due)
	case s.Now.Before(late) && z.EffectiveAt.Before(began): // what is stored as seen was changed since: only Late starts the clock again
		d.wait("the route: %s", s.routeMessage())
		d.wakeAt(s.Now, late)
	default:
		z.Late = true
		d.wait("the route: %s", s.routeMessage())
		d.wake(Recheck)
	}
	if z.judging() {
		d.wakeAt(s.Now, s.checkAt(*z))
	}
}

// unseen tells that nobody watched when the split of began should have been confirmed, and nobody has seen it since.
func (s Snapshot) unseen(z State, began time.Time) bool {
	return s.Since.After(began.Add(Settle)) && z.EffectiveAt.Before(began)
}

// effective starts the clock that runs on the split, which was confirmed only now. The deadline of a step makes room for that
// once: a route that somebody changes again and again must not keep a rollout from ending.
func effective(s Snapshot, z *State) {
	first := z.EffectiveAt.Before(z.StepAt)
	z.Late, z.EffectiveAt = false, s.Now
	if z.Split == AllPrimary() { // whoever had traffic until now drains
		z.DrainUntil = s.Now.Add(s.Spec.Drain)
	}
	if !z.judging() {
		return
	}
	z.Attempt, z.CheckAt = z.Attempt+1, latest(z.CheckAt, s.Now.Add(s.interval(*z))) // what was answered before does not count
	if first {
		s.allow(z)
	}
}

// allow makes room for a check that is due later. What a person or a gate is waited for has the deadline that it was told with.
func (s Snapshot) allow(z *State) {
	if !z.Paused && !z.Halted {
		z.Deadline = latest(z.Deadline, z.CheckAt.Add(s.Spec.Deadline))
	}
}

// checkAt is when the checks of the step are due. A split that was carried out late, but soon enough that nothing was stored, has
// its interval from then.
func (s Snapshot) checkAt(z State) time.Time {
	if s.slow(z.StepAt) {
		return latest(z.CheckAt, s.Settled.Add(s.interval(z)))
	}
	return z.CheckAt
}

// drainBegan is when the canary lost its traffic.
func (s Snapshot) drainBegan(z State) time.Time { return z.DrainUntil.Add(-s.Spec.Drain - Settle) }

// drainUntil is when a side that lost its traffic may be scaled down.
func (s Snapshot) drainUntil(z State) time.Time {
	if !z.DrainUntil.IsZero() && s.slow(s.drainBegan(z)) {
		return latest(z.DrainUntil, s.Settled.Add(s.Spec.Drain))
	}
	return z.DrainUntil
}

// slow tells that the split of began is carried out, and that this controller, which watched all the time, saw that it was not when
// it was due. One that was started since stores when it saw it first.
func (s Snapshot) slow(began time.Time) bool {
	due := began.Add(Settle)
	return s.settled() && !s.Unsettled.Before(due) && !s.Since.After(due)
}

// judging tells whether a step's clock runs.
func (z State) judging() bool {
	return (z.Phase == Progressing && z.Step > 0) || z.Phase == WaitingPromotion || z.Phase == Finalising
}

// drained tells that whatever lost its traffic had time to drain and is gone.
func (s Snapshot) drained(z State) bool {
	return !z.judging() && !s.Now.Before(s.drainUntil(z)) && s.Canary.Pods == 0 && (s.Target.Held || !s.Target.Found)
}

// primaryReady tells whether the primary serves revision at its full size. Under an autoscaler that is its size before the rollout:
// pods that are added to it meanwhile hold nothing up.
func (s Snapshot) primaryReady(revision string) bool {
	p := s.Primary
	if s.Scaler.OnPrimary && s.State.Floor > 0 {
		if p.Replicas == 0 && !s.Target.Off { // its autoscaler was changed, which is being put right
			return false
		}
		p.Replicas = min(p.Replicas, s.State.Floor)
	}
	return s.Primary.Replicas >= s.replicas() && p.Ready(revision, s.Spec.PrimaryReady)
}

// canaryReady tells whether the canary runs the candidate at the size that it should have.
func (s Snapshot) canaryReady() bool {
	c, need := s.Canary, max(s.Spec.CanarySize.Of(s.judgedSize()), 1)
	if s.Spec.CanaryScaled {
		need = 1
	}
	if s.Scaler.OnPrimary {
		c.Replicas = min(c.Replicas, need)
	}
	return s.Canary.Replicas >= need && c.Ready(s.State.Candidate, s.Spec.CanaryReady)
}

// judgedSize is the number of pods of the primary that the canary is measured by: under an autoscaler its size before the rollout.
func (s Snapshot) judgedSize() int32 {
	if s.Scaler.OnPrimary && s.State.Floor > 0 {
		return min(s.State.Floor, s.replicas())
	}
	return s.replicas()
}

// replicas is the number of pods that the primary should have: what the user wants of the target, or, when an autoscaler sees to
// the primary, what that made. While the autoscaler is away or points elsewhere the primary keeps its size.
func (s Snapshot) replicas() int32 {
	n := s.State.Replicas
	if s.Target.Found {
		n = s.Target.Replicas
	}
	switch begun := s.State.Phase != "" && s.State.Phase != Initializing; {
	case !s.scaled():
		return n
	case s.Target.Off:
		return 0
	case !begun:
	case !s.Primary.Found:
		n = max(n, s.State.Replicas, s.State.Floor)
	case s.Scaler.Missing:
		n = max(n, s.Primary.Replicas)
	default:
		n = s.Primary.Replicas
	}
	return max(n, s.Scaler.Least) // what it does not do by itself, such as coming back from zero, is done for it
}

// scaled tells that an autoscaler sees to the primary, or should.
func (s Snapshot) scaled() bool { return s.Scaler.Found || s.Scaler.Missing }

// switched tells that the user has switched the app off, or that it was off and has to have pods again.
func (s Snapshot) switched() bool {
	return s.Target.Off || s.State.Replicas == 0 && s.Scaler.Least > 0
}

// deadline is when waiting ends. While nobody watched nobody could act, so that no wait ends sooner after Since than it may last.
func (s Snapshot) deadline(z State) time.Time {
	return latest(z.Deadline, s.Since.Add(s.Spec.Deadline))
}

func (s Snapshot) expired(z State) bool { return !s.Now.Before(s.deadline(z)) }

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// interval of the step, or of giving back, that is under way: the split must be carried out for so long, and checks are
// repeated so often. It is what the step began with; what an earlier Siskin did not store is looked up in the spec.
func (s Snapshot) interval(z State) time.Duration {
	if z.Interval > 0 {
		return z.Interval
	}
	if t := s.Spec.present(z); t.Interval > 0 && z.Phase != Finalising {
		return t.Interval
	}
	return s.Spec.Interval
}

func (s Snapshot) routeMessage() string {
	if s.Route.Message == "" {
		return "not confirmed yet"
	}
	return s.Route.Message
}
