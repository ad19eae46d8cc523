package plan

import (
	"slices"
	"strings"
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

func mutants() []mutant {
	return []mutant{
		{"weight before the canary is ready", before(func(s *Snapshot) {
			if s.State.Phase == Progressing && s.State.Step == 0 && s.Canary.Found {
				c := &s.Canary
				c.Revision, c.Current, c.Updated, c.Pods = s.State.Candidate, true, c.Replicas, c.Replicas
				c.Available, c.Endpoints = c.Replicas, c.Replicas
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
		{"effects land only once", after(func(s Snapshot, d *Decision) {
			if sameState(s.State, d.Next) {
				d.Effects = nil
			}
		})},
	}
}

func TestRandomWorldsCatchMutants(t *testing.T) {
	const most = 20000
	for _, m := range mutants() {
		t.Run(strings.ReplaceAll(m.mistake, " ", "-"), func(t *testing.T) {
			t.Parallel()
			for seed := uint64(1); seed <= most; seed++ {
				w := randomWorld(seed)
				w.decide, w.cfg.deep = m.decide, false
				if violation := live(w); violation != "" {
					t.Logf("caught in world %d: %s", seed, violation)
					return
				}
			}
			t.Errorf("no invariant noticed it in %d worlds", most)
		})
	}
}
