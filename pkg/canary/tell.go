package canary

import (
	"fmt"
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

// Teller tells people: Kubernetes events, notices, event hooks. What it remembers only keeps it from repeating itself.
type Teller struct {
	Recorder   events.EventRecorder
	Dispatcher *notifier.Dispatcher
	Asker      *Asker
	Clock      clock.PassiveClock

	mu       sync.Mutex
	texts    map[types.UID]time.Time // since when the texts in status are not as they should be
	failures map[types.UID]failure
	foreign  map[types.UID]time.Time // when somebody else's write to a route was undone last
}

// foreignSpell is how long nobody else must have written to a route until the next who does is told anew: a GitOps tool writes once in
// some minutes, and for hours.
const foreignSpell = time.Hour

// failure is what was told last of a Canary.
type failure struct {
	reason, text string
	at           time.Time
}

// notice tells one transition: one event, and one message if it is for people's channels.
func (t *Teller) notice(c *siskinv1.Canary, z plan.State, n plan.Notice, r siskinv1.RevisionStatus, now time.Time) {
	kind := corev1.EventTypeNormal
	if n.Severity != plan.Info {
		kind = corev1.EventTypeWarning
	}
	text := report.EventText(n, r)
	t.event(c, kind, n.Reason, text)
	t.Asker.Event(c, kind, text, now)
	if n.Alert && len(c.Spec.Analysis.Alerts) > 0 && !muted(c, n) {
		t.Dispatcher.Send(c.Spec.Analysis.Alerts, report.Message(c, z, n, r, now))
	}
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

// failure tells an effect that failed, once per text.
func (t *Teller) failure(c *siskinv1.Canary, err error) { t.once(c, "ActionFailed", err.Error()) }

func (t *Teller) once(c *siskinv1.Canary, reason, text string) {
	t.mu.Lock()
	if t.failures == nil {
		t.failures = map[types.UID]failure{}
	}
	// A text may hold a port or an id that is new each time: the same reason is told once a minute at most.
	now, last := t.Clock.Now(), t.failures[c.UID]
	told := last.reason == reason && (last.text == text || now.Sub(last.at) < time.Minute)
	if !told {
		t.failures[c.UID] = failure{reason: reason, text: text, at: now}
	}
	t.mu.Unlock()
	if !told {
		t.event(c, corev1.EventTypeWarning, reason, text)
	}
}

// textDue returns how long a change of texts alone has to wait. Only a text that lasts is worth a write: what waits for an answer
// that comes in a moment is not.
func (t *Teller) textDue(uid types.UID, now time.Time) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.texts == nil {
		t.texts = map[types.UID]time.Time{}
	}
	since, ok := t.texts[uid]
	if !ok {
		since, t.texts[uid] = now, now
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
	delete(t.texts, uid)
	delete(t.failures, uid)
	delete(t.foreign, uid)
}
