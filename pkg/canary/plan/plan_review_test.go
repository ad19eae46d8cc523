package plan

import "testing"

// What reviews found.
func TestWhatReviewsFound(t *testing.T) {
	decideAll(t, map[string]phaseCase{
		"pods that never came up make room first": {
			reason: "a StatefulSet does not replace a pod that never became ready, and the fix would wait for ever",
			in: given(Progressing).but(func(s *Snapshot) {
				s.Canary = dead("r9", 1)
				s.State.Deadline = noon.Add(s.Spec.Deadline)
			}),
			want: seen{Phase: Progressing, Effects: []Effect{ApplyCanary{"r9", 0}}},
		},
		"deletion where nothing was taken": {
			reason: "the target serves as well as it did before Siskin came, also if that is badly: nobody waits for it to become better",
			in: given(Initializing).but(func(s *Snapshot) {
				s.Deleting = true
				s.Target = Target{Found: true, Revision: "r1", Replicas: 3, Available: 2, Released: true}
				s.Services, s.Route = Services{Restored: true}, Route{}
			}),
			want: seen{Phase: Terminating, Told: []string{"Terminating"}, Effects: []Effect{RestoreServices{}}},
		},
		"a route that is changed again and again": {
			reason: "the cause is named, and not answers that nobody was asked for",
			in: given(Progressing).atStep(1).but(func(s *Snapshot) {
				s.State.CheckAt, s.State.Deadline = noon.Add(s.Spec.Interval), noon
			}),
			want: seen{Phase: RollingBack, Step: 1, Told: []string{"RollingBack"}, Effects: []Effect{ApplySplit{AllPrimary()}}},
			more: func(d Decision) string {
				if d.Next.Cause != "the route was not confirmed long enough at a time for a check before the deadline: something changes it again and again" {
					return "cause " + d.Next.Cause
				}
				return ""
			},
		},
	})
}
