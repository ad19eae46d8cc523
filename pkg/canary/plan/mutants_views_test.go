package plan

import (
	"slices"
	"time"
)

// mutantsOfViews forget where Services lead.
func mutantsOfViews() []mutant {
	return []mutant{
		{"the primary is replaced behind a Service that leads elsewhere", before(func(s *Snapshot) {
			s.Services.Clashing, s.Services.Misfits = nil, nil
		})},
		{"a primary all of whose pods go at once is replaced in front of its users", before(func(s *Snapshot) {
			s.Services.Clashing = nil
		})},
		{"the Service does not lead to what comes before it comes", before(func(s *Snapshot) { s.Services.Misfits = nil })},
		{"the Service is given back at once", after(func(s Snapshot, d *Decision) {
			d.Effects = slices.Clone(d.Effects)
			for i, e := range d.Effects {
				if v, ok := e.(ApplyServices); ok && s.Services.Lent {
					v.Lent = false
					d.Effects[i] = v
				}
			}
			if s.Services.Lent && s.Services.Standing && len(d.Effects) == 0 {
				d.Effects = append(d.Effects, ApplyServices{Serving: s.Services.Serving, Split: d.Next.Split})
			}
		})},
		{"nobody waits for what drains behind a Service", before(func(s *Snapshot) { s.Services.StandingSince = time.Time{} })},
		{"a canary that stands in is taken away", after(func(s Snapshot, d *Decision) {
			if s.Services.Lent && s.Canary.Replicas > 0 {
				d.Effects = append(slices.Clone(d.Effects), ApplyCanary{s.Canary.Revision, 0})
			}
		})},
		{"a Service that was edited alone stays as it was", before(func(s *Snapshot) {
			if s.State.Phase.Idle() && s.Services.Serving {
				s.Services.Complete = true
			}
		})},
		{"a rollback gives the apex back to the target's labels", after(func(s Snapshot, d *Decision) {
			if d.Next.Phase == RollingBack && s.Services.Serving {
				d.Effects = append(slices.Clone(d.Effects), ApplyServices{Split: d.Next.Split})
			}
		})},
		{"the apex is given back while the Canary is there", after(func(s Snapshot, d *Decision) {
			if d.Next.Phase == Failed && s.State.Phase == Failed && s.Services.Serving {
				d.Effects = append(slices.Clone(d.Effects), RestoreServices{})
			}
		})},
	}
}
