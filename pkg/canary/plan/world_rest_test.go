package plan

import (
	"slices"
	"strings"
	"time"
)

// checkDeletion: nothing goes before what replaces it serves.
func (w *simulation) checkDeletion(s Snapshot, d Decision) {
	needed := s.Target.Found && s.State.Stable != "" && !s.Spec.Orphan
	w.checkGivenBack(s, d)
	if d.Next.Phase != Terminating {
		w.violated("deleted, but %s", d.Next.Phase)
	}
	serves := s.Target.Released && s.Target.Available >= s.Target.Replicas
	for i, e := range d.Effects {
		switch e := e.(type) {
		case RestoreServices:
			if needed && !serves && !s.Services.Restored {
				w.violated("deletion: Services are restored before the target serves")
			}
		case RestoreScaler:
			if needed && !serves && !s.Services.Restored {
				w.violated("deletion: the autoscaler is restored before the target serves")
			}
		case Finish:
			if needed && (!s.Services.Restored || d.Next.DrainUntil.After(w.now)) {
				w.violated("deletion: finished before the Services are restored and the clones drained")
			}
			if r := w.route; needed && (r.known || w.now.Before(r.left.Add(s.Spec.Drain)) && !s.expired(s.State)) {
				w.violated("deletion: finished before the clones drained since the route left them (known %v, left %v)", r.known, clock(r.left))
			}
			if s.Scaler.Found && !s.Scaler.Restored && !s.Spec.Orphan && !slices.Contains(d.Effects[:i], Effect(RestoreScaler{})) {
				w.violated("deletion: finished before the autoscaler is restored")
			}
		case ReleaseTarget:
			// An autoscaler's pods are taken over, but not those of an app that the user has switched off while nobody took them away.
			want, scaled := s.Target.Replicas, w.scaler.named && !s.Target.Off
			if scaled && s.Primary.Found {
				want = max(want, s.Primary.Replicas)
			}
			if follows := scaled && e.Replicas >= s.Primary.Replicas; e.Replicas != want && !follows {
				w.violated("deletion: the target gets %d replicas instead of %d", e.Replicas, want)
			}
		case ApplySplit:
			if e.Split.Primary > s.State.Split.Primary && s.Target.Replicas > 0 && s.Primary.Endpoints == 0 && s.Canary.Endpoints > 0 {
				w.violated("5: traffic goes to a primary without pods while the canary serves")
			}
		case RestoreTarget, PauseTarget, Abandon: // checkGivenBack
		case ApplyPrimary:
			if e.Revision != w.restored() {
				w.violated("18: at a deletion the primary is given %s instead of %s", e.Revision, w.restored())
			}
		case ApplyCanary:
			if r := w.route; e.Replicas > 0 || r.known && (r.effective.Reaches() || w.now.Before(r.since.Add(s.Spec.Drain))) {
				w.violated("deletion: the canary is made %d pods while requests reach it (%s since %s)", e.Replicas, r.effective, clock(r.since))
			}
		default:
			w.violated("deletion: %T", e)
		}
	}
}

// checkRest is held against a world where nothing happens any more.
func (w *simulation) checkRest() {
	z := w.state
	w.checkHeard()
	switch {
	case w.failure != "" || w.orphan && w.gone:
		return
	case w.gone:
		if w.target.found && z.Stable != "" && (w.target.held || w.ledger.taken && w.target.available() == 0 && w.user.replicas > 0 || !w.services.Restored) {
			w.violated("deletion: at the end the target does not serve")
		}
		if c := w.scaler; c.named && c.exists && (c.onPrimary || c.floor > 0 || c.canary) {
			w.violated("deletion: at the end the autoscaler is not the user's: %+v", c)
		}
		return
	case z.Overdue, w.spec.Suspend, !w.target.found:
		return
	case w.traits(z.Stable).primaryFails || w.traits(z.Stable).neverReady: // became stable while the user wanted no pods, so that nobody could know
		return
	}
	w.checkAtRest()
	w.checkEdited()
}

func (w *simulation) checkAtRest() {
	z, c := w.state, w.scaler
	size := w.user.replicas
	if c.named && !w.off() {
		size = w.primary.replicas
	}
	want := size
	if w.nodes > 0 && size > 0 {
		want = w.nodes
	}
	switch {
	case !z.Phase.Idle() || w.user.deleting:
		w.violated("8: the world rests in %s", z.Phase)
	case size > 0 && w.target.rev != z.Stable && w.target.rev != z.Rejected:
		w.violated("8: revision %s is lost (%s, stable %s, rejected %s)", w.target.rev, z.Phase, z.Stable, z.Rejected)
	case z.Split != AllPrimary() || w.route.effective != AllPrimary():
		w.violated("5: at the end the split is %v, %v in the data plane", z.Split, w.route.effective)
	case len(w.canary.pods) > 0 || !w.service && (len(w.target.pods) > 0 || !w.target.held):
		w.violated("5: at the end %d canary pods and %d target pods are left", len(w.canary.pods), len(w.target.pods))
	case c.named && c.exists && !c.zero && size == 0 && !w.off():
		w.violated("5: at the end the app has no pods, and nobody has switched it off")
	case w.primary.rev != z.Stable || w.primary.replicas != size || w.primary.available() < want:
		w.violated("5: at the end the primary has %d pods of %s", w.primary.available(), w.primary.rev)
	case z.Phase == Failed && z.Cause == "":
		w.violated("14: failed without a cause")
	case c.named && c.exists && (!c.onPrimary || c.floor > 0 || c.canary || c.drifted || z.Floor > 0):
		w.violated("5: at the end the autoscaler is %+v, the floor %d", c, z.Floor)
	case strings.TrimSpace(w.user.request) != "" && strings.TrimSpace(w.user.request) != z.Request.Value:
		w.violated("14: request %q was never answered", w.user.request)
	}
}

// rests is how long a world may take to come to rest after the last fault.
const rests = 8 * time.Hour
