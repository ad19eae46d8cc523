package canary

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/clock"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/canary/act"
	"github.com/siskin-dev/siskin/pkg/canary/plan"
	"github.com/siskin-dev/siskin/pkg/canary/report"
	"github.com/siskin-dev/siskin/pkg/notifier"
	"github.com/siskin-dev/siskin/pkg/router"
)

// Teller tells people: Kubernetes events, notices, event hooks. What is still to be told of a stored decision is in the
// Canary's status; what it remembers itself only keeps it from repeating itself.
type Teller struct {
	// Recorder takes the events that are no notices.
	Recorder events.EventRecorder
	// Events takes those that are, each under a name of its own, and Instance is who reports them.
	Events     EventWriter
	Instance   string
	Dispatcher *notifier.Dispatcher
	Asker      *Asker
	Clock      clock.PassiveClock
	// Wake has a Canary looked at again; nil: nobody is woken.
	Wake Wake

	mu       sync.Mutex
	tellings map[types.UID]map[int64]*telling // by number: the notices that are stored as untold
	texts    map[types.UID]time.Time          // since when the texts in status are not as they should be
	said     map[types.UID][]saying
	foreign  map[types.UID]time.Time // when somebody else's write to a route was undone last
}

// foreignSpell is how long nobody else must have written to a route until the next who does is told anew: a GitOps tool writes once in
// some minutes, and for hours.
const foreignSpell = time.Hour

const (
	// sameAgain is how long something must not have been the case until it is told anew: as long as Kubernetes keeps the
	// event that told it.
	sameAgain = time.Hour
	// sameReason is how long another text of the same reason is not told: it may hold a port or an id that is new each
	// time.
	sameReason = time.Minute
	// sayings bounds what is remembered of one Canary.
	sayings = 16
)

// saying is something that was told of a Canary, beside notices.
type saying struct {
	reason, text string
	told, seen   time.Time // when it was told, and when it was the case last
}

// muted tells whether the notice is about a hook whose refusals are to be kept out of alerts.
func muted(c *siskinv1.Canary, n plan.Notice) bool {
	if n.Result == nil || n.Result.Kind != string(plan.AskHook) || n.Severity == plan.Error {
		return false
	}
	for _, h := range c.Spec.Analysis.Webhooks {
		if h.Name == n.Result.Name {
			return h.MuteAlert
		}
	}
	return false
}

// wanted tells whether any of the Canary's alerts wants the notice.
func wanted(c *siskinv1.Canary, n plan.Notice) bool {
	return slices.ContainsFunc(c.Spec.Analysis.Alerts, func(a siskinv1.CanaryAlert) bool {
		return notifier.Wants(a.Severity, siskinv1.AlertSeverity(n.Severity))
	})
}

func (t *Teller) event(c *siskinv1.Canary, kind, reason, text string) {
	t.Recorder.Eventf(c, nil, kind, reason, "Reconcile", "%s", report.Note(text))
}

// services tells which of the user's Services were adopted.
func (t *Teller) services(c *siskinv1.Canary, out act.Outcome) {
	if len(out.Adopted) > 0 {
		t.event(c, corev1.EventTypeNormal, "ServicesAdopted", "adopted Services "+strings.Join(out.Adopted, ", ")+
			": they select the primary from now on and are given back at the end; annotate siskin.dev/adopt: disabled to opt out")
	}
	if len(out.Shared) > 0 {
		text := "Services " + strings.Join(out.Shared, ", ") + " select other workloads too and cannot be adopted: a part of their traffic reaches the canary"
		t.once(c, "ServicesShared", text)
	}
}

// copies tells which copies of configuration were made again. Somebody deletes them, perhaps a tool, again and again.
func (t *Teller) copies(c *siskinv1.Canary, out act.Outcome) {
	if len(out.Recopied) == 0 {
		return
	}
	names := make([]string, 0, len(out.Recopied))
	for _, l := range out.Recopied {
		names = append(names, fmt.Sprintf("%s %s (of %s)", l.Kind, l.Copy, l.Name))
	}
	t.once(c, "ConfigCopyRestored", fmt.Sprintf("copies that the pods of revision %s read were deleted, and made again: %s; keep what deletes them from doing so",
		out.Recopied[0].Revision, strings.Join(names, ", ")))
}

// reasserted tells, once per spell, that somebody else writes to the route.
func (t *Teller) reasserted(c *siskinv1.Canary, z plan.Split, r *router.Receipt) {
	if r == nil {
		return
	}
	if r.Adopted {
		t.adopted(c, z, r)
		return
	}
	t.mu.Lock()
	if t.foreign == nil {
		t.foreign = map[types.UID]time.Time{}
	}
	now := t.Clock.Now()
	last, known := t.foreign[c.UID]
	t.foreign[c.UID] = now
	t.mu.Unlock()
	if known && now.Sub(last) < foreignSpell {
		return
	}
	who := r.By
	if who == "" {
		who = "somebody else"
	}
	t.event(c, corev1.EventTypeWarning, "RouteReasserted", fmt.Sprintf(
		"%s was changed by %s and put back to %s: exclude it from the tool that writes it, or change spec.service", r.Object, who, z))
}

// adopted tells that a route of somebody else carries the split from now on, or does so again: the latter once per spell, as a
// tool may apply it every few seconds.
func (t *Teller) adopted(c *siskinv1.Canary, z plan.Split, r *router.Receipt) {
	reason, text := "RouteAdopted", fmt.Sprintf("adopted %s: where it leads to the apex Service, traffic is split %s; all else stays as its author wants it", r.Object, z)
	if r.By != "" {
		reason = "RouteMerged"
		text = fmt.Sprintf("%s was written by %s: what it says counts, and the split was put into it again", r.Object, r.By)
	}
	if r.Note != "" {
		text += "; " + r.Note
	}
	if t.news(c.UID, reason, text) {
		t.event(c, corev1.EventTypeNormal, reason, text)
	}
}

// failure tells an effect that failed, once per text.
func (t *Teller) failure(c *siskinv1.Canary, err error) { t.once(c, "ActionFailed", told(err)) }

// once tells something that may go on, or alternate with something else, and is told anew only after a while in which
// it was not so.
func (t *Teller) once(c *siskinv1.Canary, reason, text string) {
	if t.news(c.UID, reason, text) {
		t.event(c, corev1.EventTypeWarning, reason, text)
	}
}

// news tells whether something was not told yet, and remembers that it is.
func (t *Teller) news(uid types.UID, reason, text string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.said == nil {
		t.said = map[types.UID][]saying{}
	}
	now := t.Clock.Now()
	said := slices.DeleteFunc(t.said[uid], func(s saying) bool { return now.Sub(s.seen) >= sameAgain })
	t.said[uid] = said
	recent := false
	for i := range said {
		if said[i].reason != reason {
			continue
		}
		if said[i].text == text {
			said[i].seen = now
			return false
		}
		recent = recent || now.Sub(said[i].told) < sameReason
	}
	if recent {
		return false
	}
	if len(said) >= sayings { // what was so longest ago is forgotten
		oldest := slices.MinFunc(said, func(a, b saying) int { return a.seen.Compare(b.seen) })
		said = slices.DeleteFunc(said, func(s saying) bool { return s == oldest })
	}
	t.said[uid] = append(said, saying{reason: reason, text: text, told: now, seen: now})
	return true
}

// textDue returns how long a change of texts alone has to wait, which is so since a time, or since now. Only a text
// that lasts is worth a write: what waits for an answer that comes in a moment is not.
func (t *Teller) textDue(uid types.UID, now, from time.Time) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.texts == nil {
		t.texts = map[types.UID]time.Time{}
	}
	since, ok := t.texts[uid]
	if !ok {
		since, t.texts[uid] = now, now
	}
	if !from.IsZero() && from.Before(since) {
		since = from
	}
	return max(textDelay-now.Sub(since), 0)
}

// textSettled notes that the texts in status are as they should be.
func (t *Teller) textSettled(uid types.UID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.texts, uid)
}

// forget drops what is remembered of a Canary that is gone.
func (t *Teller) forget(uid types.UID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.tellings, uid)
	delete(t.texts, uid)
	delete(t.said, uid)
	delete(t.foreign, uid)
}
