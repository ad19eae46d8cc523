package plan

import (
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// mutant is a plan with a mistake in it. If the random worlds let one live, they would let a real mistake of that kind live too.
type mutant struct {
	mistake string
	decide  func(Snapshot) Decision
}

// after makes a mutant that changes what Decide says.
func after(change func(Snapshot, *Decision)) func(Snapshot) Decision {
	return func(s Snapshot) Decision {
		d := Decide(s)
		if !s.Spec.Suspend && !s.Deleting {
			change(s, &d)
		}
		return d
	}
}

// before makes a mutant that sees something else than what is.
func before(change func(*Snapshot)) func(Snapshot) Decision {
	return func(s Snapshot) Decision {
		change(&s)
		return Decide(s)
	}
}

// drop removes the effects of a kind.
func drop[T Effect](d *Decision) {
	d.Effects = slices.DeleteFunc(slices.Clone(d.Effects), func(e Effect) bool { _, ok := e.(T); return ok })
}

// ready makes the canary look ready.
func ready(s *Snapshot) {
	c := &s.Canary
	c.Revision, c.Current, c.Updated, c.Pods = s.State.Candidate, true, c.Replicas, c.Replicas
	c.Available, c.Endpoints = c.Replicas, c.Replicas
}

func mutants() []mutant {
	return slices.Concat(mutantsOfRollouts(), mutantsOfStrategies(), mutantsOfPeople(), mutantsOfScalers(), mutantsOfWaits(), mutantsOfFixes(), mutantsOfDoubts(), mutantsOfEnds(), mutantsOfTargets(), mutantsOfParts(), mutantsOfHooks(), mutantsOfNotices(), mutantsOfViews())
}

func mutantsOfRollouts() []mutant {
	return []mutant{
		{"weight before the canary is ready", before(func(s *Snapshot) {
			if s.State.Phase == Progressing && s.State.Step == 0 && s.Canary.Found {
				ready(s)
			}
		})},
		{"scale to zero under traffic", after(func(s Snapshot, d *Decision) {
			if d.Next.Phase == RollingBack && s.Canary.Replicas > 0 {
				d.Effects = append(d.Effects, ApplyCanary{s.Canary.Revision, 0})
			}
		})},
		{"promote the live target instead of the candidate", after(func(s Snapshot, d *Decision) {
			for i, e := range d.Effects {
				if p, ok := e.(ApplyPrimary); ok && d.Next.Phase == Promoting && s.Target.Found {
					d.Effects[i] = ApplyPrimary{s.Target.Revision, p.Replicas}
				}
			}
		})},
		{"a failed check is skipped", before(func(s *Snapshot) {
			answers := map[string]Answer{}
			for k, a := range s.Answers {
				if a.Verdict == Fail && strings.Contains(k, "/metric/") {
					a.Verdict = Pass
				}
				answers[k] = a
			}
			s.Answers = answers
		})},
		{"a revision is lost after a failure", after(func(s Snapshot, d *Decision) {
			if d.Next.Phase == Failed && s.Target.Found && s.Target.Revision != d.Next.Stable {
				d.Next.Rejected = s.Target.Revision
			}
		})},
		{"a gate is not asked again for a new revision", after(func(s Snapshot, d *Decision) {
			if d.Next.Rollout > s.State.Rollout {
				d.Next.Passed = s.State.Passed
			}
		})},
		{"gates are skipped when a revision replaces another", after(func(s Snapshot, d *Decision) {
			if d.Next.Rollout > s.State.Rollout && !s.State.Phase.Idle() {
				d.Next.Phase = Progressing
			}
		})},
		{"a gate is waited for without a deadline", after(func(_ Snapshot, d *Decision) {
			if d.Next.Halted || d.Next.Phase == Waiting {
				d.Next.Deadline = epoch.Add(1e5 * time.Hour)
			}
		})},
		{"a wait wakes nobody", after(func(_ Snapshot, d *Decision) {
			if d.Next.Phase == Progressing {
				d.Wake = 0
			}
		})},
		{"a restart shortens a step", before(func(s *Snapshot) { s.Since = time.Time{} })},
		{"a late route shortens a step", before(func(s *Snapshot) { s.State.Late = false })},
		{"steps last half their time", after(func(s Snapshot, d *Decision) {
			if d.Next.StepAt != s.State.StepAt && d.Next.Step > 0 {
				d.Next.CheckAt = s.Now.Add(d.Next.CheckAt.Sub(s.Now) / 2)
			}
		})},
		{"pods of a new revision under weight", after(func(s Snapshot, d *Decision) {
			if d.Next.Rollout > s.State.Rollout {
				drop[ApplyCanary](d)
				d.Effects = append(d.Effects, ApplyCanary{d.Next.Candidate, max(s.Canary.Replicas, 1)})
			}
		})},
		{"the drain is left out", after(func(_ Snapshot, d *Decision) { d.Next.DrainUntil = time.Time{} })},
		{"traffic goes back to a primary that is dead", after(func(_ Snapshot, d *Decision) {
			if d.Next.Phase == RollingBack {
				d.Next.Split = AllPrimary()
			}
		})},
		{"success before the primary is ready", before(func(s *Snapshot) {
			if s.State.Phase == Promoting {
				p := &s.Primary
				p.Revision, p.Current, p.Updated, p.Pods = s.State.Candidate, true, p.Replicas, p.Replicas
				p.Available, p.Endpoints = p.Replicas, max(p.Endpoints, 1)
			}
		})},
		{"a primary that does not come up is left as it is", after(func(_ Snapshot, d *Decision) {
			if d.Next.Phase == RollingBack || d.Next.Phase == Failed {
				drop[ApplyPrimary](d)
			}
		})},
		{"an unhealthy route keeps rollback hooks from being heard", before(func(s *Snapshot) {
			if !s.Route.Confirmed {
				s.Spec.Hooks = slices.DeleteFunc(slices.Clone(s.Spec.Hooks), func(h Hook) bool { return h.Type == RollbackHook })
			}
		})},
		{"one failed check more than the threshold", before(func(s *Snapshot) { s.Spec.Threshold++ })},
		{"no data counts as a failure", before(func(s *Snapshot) { s.Spec.NoData = PolicyFail })},
		{"a revert is analysed", before(func(s *Snapshot) {
			if s.State.Phase == Progressing && s.Target.Revision == s.State.Stable {
				s.Target.Revision = s.State.Candidate
			}
		})},
		{"a rejected revision is tried again", after(func(s Snapshot, d *Decision) {
			if d.Next.Phase == Failed && s.State.Phase == Failed {
				d.Next.Rejected = ""
			}
		})},
		{"two notices for one transition", after(func(_ Snapshot, d *Decision) {
			if n := len(d.Notices); n > 0 && d.Next.Phase == Succeeded {
				d.Notices = append(d.Notices, d.Notices[n-1])
			}
		})},
		{"a transition is not told", after(func(_ Snapshot, d *Decision) {
			if d.Next.Phase == RollingBack {
				d.Notices = nil
			}
		})},
		{"suspended, but the route is repaired", func(s Snapshot) Decision {
			d := Decide(s)
			if s.Spec.Suspend && s.Route.Known && s.Route.Current != s.State.Split {
				d.Effects = []Effect{ApplySplit{s.State.Split}}
			}
			return d
		}},
		{"the target is restored too late", func(s Snapshot) Decision {
			d := Decide(s)
			if s.Deleting && !s.Spec.Orphan && len(d.Effects) > 0 {
				d.Effects = append([]Effect{RestoreServices{}}, d.Effects...)
			}
			return d
		}},
		{"the target is held too early", after(func(s Snapshot, d *Decision) {
			if d.Next.Phase == Initializing && s.Target.Found && s.Primary.Found {
				d.Effects = append(d.Effects, HoldTarget{s.Target.Replicas})
			}
		})},
		{"the primary is taken below its size", after(func(_ Snapshot, d *Decision) {
			for i, e := range d.Effects {
				if p, ok := e.(ApplyPrimary); ok && d.Next.Phase == Progressing {
					d.Effects[i] = ApplyPrimary{p.Revision, max(p.Replicas-1, 1)}
				}
			}
		})},
		{"a step is left out", after(func(s Snapshot, d *Decision) {
			if d.Next.Step == 1 && s.State.Step == 0 && len(s.Spec.Steps) > 1 {
				d.Next.Step, d.Next.Split = 2, ToCanary(s.Spec.Steps[1].Weight)
			}
		})},
		{"pre-rollout hooks are not asked", before(func(s *Snapshot) {
			s.Spec.Hooks = slices.DeleteFunc(slices.Clone(s.Spec.Hooks), func(h Hook) bool { return h.Type == PreRollout })
		})},
		{"questions are not new after a restart of the steps", after(func(s Snapshot, d *Decision) {
			if d.Next.Step != s.State.Step {
				d.Next.Attempt = 1
			}
		})},
		{"a canary that lost a pod is not judged again", after(func(s Snapshot, d *Decision) {
			z := &d.Next
			if z.judging() && z.Phase == s.State.Phase && z.StepAt.Equal(s.State.StepAt) && z.FailedChecks == s.State.FailedChecks && !s.canaryReady() && s.checkDue() {
				z.Attempt, z.CheckAt = s.State.Attempt, s.State.CheckAt
			}
		})},
		{"a paused rollout is not judged again", after(func(s Snapshot, d *Decision) {
			if z := &d.Next; s.State.Paused && z.Paused && z.FailedChecks == s.State.FailedChecks && s.checkDue() {
				z.Attempt, z.CheckAt = s.State.Attempt, s.State.CheckAt
			}
		})},
		{"a new revision keeps the end of a rollout from being told", before(func(s *Snapshot) {
			if s.State.Phase.Idle() && s.Target.Revision != s.State.Stable {
				s.Spec.Hooks = slices.DeleteFunc(slices.Clone(s.Spec.Hooks), func(h Hook) bool { return h.Type == PostRollout })
			}
		})},
		{"effects land only once", after(func(s Snapshot, d *Decision) {
			if sameState(s.State, d.Next) {
				d.Effects = nil
			}
		})},
	}
}

// exposed tells that something but a share of the users reaches the canary.
func exposed(p Split) bool { return p.Canary == 0 && p.Reaches() }

func mutantsOfStrategies() []mutant {
	first := func(s *Snapshot, is func(Step) bool) bool {
		z := s.State
		return z.Phase == Progressing && z.Step == 0 && s.Canary.Found && len(s.Spec.Steps) > 0 && is(s.Spec.Steps[0])
	}
	steps := func(change func(*Step)) func(Snapshot) Decision {
		return before(func(s *Snapshot) {
			s.Spec.Steps = slices.Clone(s.Spec.Steps)
			for i := range s.Spec.Steps {
				change(&s.Spec.Steps[i])
			}
		})
	}
	return []mutant{
		{"mirrored traffic before the canary is ready", before(func(s *Snapshot) {
			if first(s, func(t Step) bool { return t.Mirror > 0 && t.Weight == 0 }) {
				ready(s)
			}
		})},
		{"an audience before the canary is ready", before(func(s *Snapshot) {
			if first(s, func(t Step) bool { return t.Audience && t.Weight == 0 }) {
				ready(s)
			}
		})},
		{"the drain is left out after an audience or copies", after(func(s Snapshot, d *Decision) {
			if exposed(s.State.Split) && !d.Next.Split.Reaches() {
				d.Next.DrainUntil = time.Time{}
			}
		})},
		{"pods that get copies or an audience are replaced", after(func(s Snapshot, d *Decision) {
			if d.Next.Rollout > s.State.Rollout && exposed(s.State.Split) {
				drop[ApplyCanary](d)
				d.Effects = append(d.Effects, ApplyCanary{d.Next.Candidate, max(s.Canary.Replicas, 1)})
			}
		})},
		{"dead pods keep their audience", before(func(s *Snapshot) {
			if exposed(s.State.Split) {
				s.Canary.Endpoints = max(s.Canary.Endpoints, 1)
			}
		})},
		{"copies are left out", steps(func(t *Step) { t.Mirror = 0 })},
		{"the audience is left out", steps(func(t *Step) { t.Audience = false })},
		{"the pause of a step is left out", steps(func(t *Step) { t.Pause = 0 })},
		{"a pause until resumed ends by itself", steps(func(t *Step) {
			if t.Pause == UntilResumed {
				t.Pause = time.Second
			}
		})},
		{"a slow route shortens a step", before(func(s *Snapshot) { s.Unsettled = time.Time{} })},
		{"freeze is left out", before(func(s *Snapshot) { s.Spec.Freeze = false })},
		{"what is frozen thaws by itself", after(func(s Snapshot, d *Decision) {
			if s.State.Phase == Frozen && d.Next.Phase == Frozen && s.Now.After(s.State.StepAt.Add(30*time.Second)) {
				d.Next.Phase, d.Next.CheckAt = Progressing, s.Now
				d.notify(Notice{Reason: "Thawed", Severity: Info, Message: "thawed"})
			}
		})},
		{"what is frozen waits for ever", after(func(_ Snapshot, d *Decision) {
			if d.Next.Phase == Frozen {
				d.Next.Deadline = epoch.Add(1e5 * time.Hour)
			}
		})},
		{"the bake is left out", before(func(s *Snapshot) { s.Spec.Bake = 0 })},
		{"the bake is too short", after(func(s Snapshot, d *Decision) {
			if d.Next.Phase == Baking && s.State.Phase != Baking {
				d.Next.BakeUntil = s.Now.Add(time.Second)
				d.Next.CheckAt = d.Next.BakeUntil
			}
		})},
		{"a bake that fails is ignored", before(func(s *Snapshot) { s.Spec.BakeThreshold += 1000 })},
		{"a bake that fails goes back to itself", after(func(s Snapshot, d *Decision) {
			if s.State.Phase == Baking && d.Next.Phase == RollingBack {
				d.Next.Stable = s.State.Stable
			}
		})},
		{"a bake goes back to a snapshot that is gone", before(func(s *Snapshot) {
			if s.State.Phase == Baking {
				s.Kept = append(slices.Clone(s.Kept), s.State.Previous)
			}
		})},
		{"an unusable spec goes forward", before(func(s *Snapshot) { s.Spec.Invalid = "" })},
		{"an unusable spec starts a rollout", before(func(s *Snapshot) {
			if s.State.Phase.Idle() || s.State.Phase == Baking {
				s.Spec.Invalid = ""
			}
		})},
		{"an unusable spec keeps a version from being taken back", func(s Snapshot) Decision {
			if s.Spec.Invalid != "" && !s.Deleting && s.State.Phase != "" {
				return Decision{Next: s.State, Stalled: s.Spec.InvalidReason, Why: s.Spec.Invalid, Wake: time.Minute}
			}
			return Decide(s)
		}},
	}
}

func mutantsOfPeople() []mutant {
	return []mutant{
		{"a pause is ignored", before(func(s *Snapshot) { s.State.Paused = false })},
		{"a pause has no end", after(func(_ Snapshot, d *Decision) {
			if d.Next.Paused {
				d.Next.Deadline = epoch.Add(1e5 * time.Hour)
			}
		})},
		{"a failed check prolongs a pause", after(func(s Snapshot, d *Decision) {
			if d.Next.Paused && d.Next.FailedChecks > s.State.FailedChecks {
				d.Next.Deadline = d.Next.Deadline.Add(time.Minute)
			}
		})},
		{"a request is answered twice", before(func(s *Snapshot) { s.State.Request = Reply{} })},
		{"a request is never answered", before(func(s *Snapshot) { s.Request = "" })},
		{"nonsense is accepted", after(func(s Snapshot, d *Decision) {
			if d.Next.Request != s.State.Request {
				d.Next.Request.Accepted = true
			}
		})},
		{"a request is carried out without a word", after(func(s Snapshot, d *Decision) {
			if d.Next.Request != s.State.Request && d.Next.Request.Accepted {
				d.Notices = nil
			}
		})},
		{"a forced promotion without a ready canary", before(func(s *Snapshot) {
			if s.State.Forced && s.Canary.Found {
				ready(s)
			}
		})},
		{"a promotion is forced on a revision that is replaced", before(func(s *Snapshot) {
			if strings.HasPrefix(s.Request, "promote") && !s.State.Phase.Idle() {
				s.Target.Revision = s.State.Candidate
			}
		})},
		{"a promotion is forced for ever", before(func(s *Snapshot) {
			s.State.Forced = s.State.Forced || s.State.Request.Accepted && strings.HasPrefix(s.State.Request.Value, "promote")
		})},
		{"a direct rollout to a revision that is not kept", before(func(s *Snapshot) { s.Kept = []string{"r1", "r2", "r3", "r4", "r5", "r6"} })},
		{"a direct rollout that was taken back is analysed", after(func(s Snapshot, d *Decision) {
			if s.State.Direct && d.Next.Phase == Failed {
				d.Next.Rejected = ""
			}
		})},
		{"an abort is not one", after(func(s Snapshot, d *Decision) {
			if d.Next.Request != s.State.Request && strings.HasPrefix(d.Next.Request.Value, "abort") && d.Next.Phase == RollingBack {
				d.Next.Phase, d.Next.Split = s.State.Phase, s.State.Split
			}
		})},
	}
}

func mutantsOfScalers() []mutant {
	return []mutant{
		{"the floor is dropped in the rollout", after(func(_ Snapshot, d *Decision) {
			if d.Next.Phase == Promoting {
				d.Next.Floor = 0
			}
		})},
		{"the floor is too low", after(func(_ Snapshot, d *Decision) { d.Next.Floor = min(d.Next.Floor, 1) })},
		{"the floor stays", after(func(s Snapshot, d *Decision) { d.Next.Floor = max(d.Next.Floor, s.State.Floor) })},
		{"the target is held before its autoscaler left it", after(func(s Snapshot, d *Decision) {
			if d.Next.Phase != Initializing && s.Scaler.Found && !s.Scaler.OnPrimary && s.Target.Found && !s.Target.Held {
				d.Effects = append(d.Effects, HoldTarget{s.Target.Replicas})
			}
		})},
		{"the primary shrinks while its autoscaler points elsewhere", before(func(s *Snapshot) {
			if !s.Scaler.OnPrimary {
				s.Scaler = Scaler{}
			}
		})},
		{"the autoscaler is not given back", func(s Snapshot) Decision {
			d := Decide(s)
			if s.Deleting {
				drop[RestoreScaler](&d)
			}
			return d
		}},
		{"the autoscaler is given back before the target serves", func(s Snapshot) Decision {
			d := Decide(s)
			if s.Deleting && s.Scaler.OnPrimary && !s.Spec.Orphan {
				d.Effects = append([]Effect{RestoreScaler{}}, d.Effects...)
			}
			return d
		}},
		{"an app that was switched off goes on", before(func(s *Snapshot) { s.Target.Off = false })},
		{"what an autoscaler takes away is recorded as the user's zero", after(func(s Snapshot, d *Decision) {
			for i, e := range d.Effects {
				if _, ok := e.(HoldTarget); ok && s.scaled() && s.Primary.Replicas == 0 {
					d.Effects[i] = HoldTarget{0}
				}
			}
		})},
		{"git's autoscaler is left where it is", after(func(s Snapshot, d *Decision) {
			if s.State.Phase.Idle() {
				drop[ApplyScaler](d)
			}
		})},
	}
}

// TestRandomWorldsCatchMutants ends in one line with its figures.
func TestRandomWorldsCatchMutants(t *testing.T) {
	const most = 20000
	// Few worlds notice these mistakes: the search begins where one does.
	rare := map[string]uint64{"a retry takes the traffic from all that serves": 55200}
	var mu sync.Mutex
	var worlds, caught, longest uint64
	t.Run("each", func(t *testing.T) {
		for _, m := range mutants() {
			t.Run(strings.ReplaceAll(m.mistake, " ", "-"), func(t *testing.T) {
				t.Parallel()
				for n := uint64(1); n <= most; n++ {
					w := randomWorld(rare[m.mistake] + n)
					w.decide, w.cfg.deep = m.decide, false
					if live(w) == "" {
						continue
					}
					mu.Lock()
					defer mu.Unlock()
					worlds, caught, longest = worlds+n, caught+1, max(longest, n)
					return
				}
				t.Errorf("no invariant noticed it in %d worlds", most)
			})
		}
	})
	t.Logf("figures: %d of %d mutants caught, %d worlds needed, at most %d for one", caught, len(mutants()), worlds, longest)
}
