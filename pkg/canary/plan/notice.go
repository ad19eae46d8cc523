package plan

import (
	"fmt"
	"slices"
	"time"
)

// UntoldLimit is how many notices a state keeps until they were told.
const UntoldLimit = 12

// Notice tells one transition.
type Notice struct {
	// Number counts the notices of a Canary, Rollout is the one that it belongs to, At the time of the decision. Decide
	// fills them in.
	Number, Rollout int64
	At              time.Time
	// Reason in CamelCase; the event's reason.
	Reason   string
	Severity Severity
	// Message in one line: what, why, what next.
	Message string
	// Alert tells that it goes to people's channels, not only into an event.
	Alert bool
	// Revision that it is about.
	Revision string
	// Result that led to it, if one did.
	Result *Result
}

// Key tells the notices of one Canary apart. It is the same however often a notice is told.
func (n Notice) Key() string {
	return fmt.Sprintf("r%d/%s/%s/n%d", n.Rollout, n.Revision, n.Reason, n.Number)
}

// remember numbers the notices of a decision and keeps them in its state, next to those of earlier decisions, until
// they were told: what is stored is told, even if the process ends before it could.
func remember(s Snapshot, d *Decision) {
	z := &d.Next
	var untold []Notice
	for _, n := range z.Untold {
		if !slices.Contains(s.Told, n.Number) {
			untold = append(untold, n)
		}
	}
	for i := range d.Notices {
		n := &d.Notices[i]
		z.LastNotice++
		n.Number, n.Rollout, n.At = z.LastNotice, z.Rollout, s.Now
		untold = append(untold, *n)
	}
	for len(untold) > UntoldLimit {
		least := max(slices.IndexFunc(untold, func(n Notice) bool { return n.Severity == Info }), 0)
		untold = slices.Delete(untold, least, least+1)
		d.Dropped++
	}
	z.Untold = untold
	tellFirst(s, d)
}

// tellFirst keeps a Canary that would go for a moment, in which what it still has to tell can be told: with it goes the
// list.
func tellFirst(s Snapshot, d *Decision) {
	z := d.Next
	last := slices.Index(d.Effects, Effect(Finish{}))
	if last < 0 || len(z.Untold) == 0 || !s.Now.Before(z.Since.Add(Recheck)) {
		return
	}
	d.Effects = slices.Delete(slices.Clone(d.Effects), last, last+1)
	d.wake(Settle)
}
