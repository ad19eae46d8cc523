package canary

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/canary/plan"
	"github.com/siskin-dev/siskin/pkg/canary/report"
)

const (
	// eventTimeout bounds the write of one event.
	eventTimeout = 10 * time.Second
	// tellAgain is how soon what could not be told is tried again.
	tellAgain = 5 * time.Second
	// mostRoomless bounds the notices of a Canary that its status has no room for and this process remembers.
	mostRoomless = 4 * plan.UntoldLimit
)

// EventWriter creates Kubernetes events: a client without a cache.
type EventWriter interface {
	Create(ctx context.Context, obj client.Object, opts ...client.CreateOption) error
}

// telling is a notice on its way. It goes to Kubernetes' events, to each webhook of type event, and to alerts.
type telling struct {
	notice plan.Notice
	parts  map[string]*part
	// again tells that it was decided in an earlier process, which may have told it.
	again bool
	// loud tells that it goes to alerts, which cannot be told twice unnoticed.
	loud bool
	// doneAt is when the last part was told; zero: not yet.
	doneAt time.Time
}

// part is one way of a notice.
type part struct {
	underWay, done bool
	// retry is when it may be tried again.
	retry time.Time
}

// waits tells that it is time to begin with p.
func (p *part) waits(now time.Time) bool { return !p.underWay && !p.done && !now.Before(p.retry) }

// The parts.
const (
	eventPart = "event"
	alertPart = "alert"
	hookPart  = "hook/" // and its name
)

// notices begins to tell what the stored state has still to tell, and what it has no room for. It returns how soon it
// wants to be called again. fresh are the notices of the decision of this pass: all others an earlier process may have
// told.
func (t *Teller) notices(c *siskinv1.Canary, z plan.State, fresh []plan.Notice, describe func(string) siskinv1.RevisionStatus) time.Duration {
	now := t.Clock.Now()
	var events []plan.Notice
	for _, n := range t.owed(c.UID, z.Untold, fresh) {
		tl := t.begin(c, n, !slices.ContainsFunc(fresh, func(f plan.Notice) bool { return f.Number == n.Number }))
		text := report.EventText(n, known(c, n.Revision, describe))
		if t.take(tl, eventPart, now) {
			events = append(events, n)
		}
		for _, h := range c.Spec.Analysis.Webhooks {
			if h.Type == siskinv1.HookEvent && t.take(tl, hookPart+h.Name, now) {
				done := func() { t.done(c, n.Number, hookPart+h.Name) }
				if !t.Asker.Event(c, h, report.EventType(n), text, n.At, n.Key(), done) {
					t.failed(c, n.Number, hookPart+h.Name, now)
				}
			}
		}
		if t.take(tl, alertPart, now) {
			m := report.Message(c, z, n, known(c, n.Revision, describe), tl.again)
			t.Dispatcher.Send(c.Spec.Analysis.Alerts, m, func() { t.done(c, n.Number, alertPart) })
		}
	}
	t.writeEvents(c, events, describe, now)
	return t.prune(c, now)
}

// owed are the notices that are to be told, the oldest first: those of the status, and those that it has no room for.
func (t *Teller) owed(uid types.UID, stored, fresh []plan.Notice) []plan.Notice {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := slices.Clone(stored)
	add := func(n plan.Notice) {
		if !slices.ContainsFunc(out, func(m plan.Notice) bool { return m.Number == n.Number }) {
			out = append(out, n)
		}
	}
	for _, tl := range t.tellings[uid] {
		if tl.doneAt.IsZero() {
			add(tl.notice)
		}
	}
	for _, n := range fresh {
		add(n)
	}
	slices.SortFunc(out, func(a, b plan.Notice) int { return cmp.Compare(a.Number, b.Number) })
	return out[max(len(out)-len(stored)-mostRoomless, 0):]
}

// known is what is known of a revision whose snapshot may be gone by now.
func known(c *siskinv1.Canary, revision string, describe func(string) siskinv1.RevisionStatus) siskinv1.RevisionStatus {
	r := describe(revision)
	for _, st := range []*siskinv1.RevisionStatus{c.Status.Canary, c.Status.Stable} {
		if r.Image == "" && st != nil && st.Revision == revision && revision != "" {
			r = *st
		}
	}
	return r
}

// begin returns the telling of a notice.
func (t *Teller) begin(c *siskinv1.Canary, n plan.Notice, old bool) *telling {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.tellings == nil {
		t.tellings = map[types.UID]map[int64]*telling{}
	}
	if t.tellings[c.UID] == nil {
		t.tellings[c.UID] = map[int64]*telling{}
	}
	tl := t.tellings[c.UID][n.Number]
	if tl != nil {
		return tl
	}
	tl = &telling{notice: n, again: old, parts: map[string]*part{eventPart: {}}}
	for _, h := range c.Spec.Analysis.Webhooks {
		if h.Type == siskinv1.HookEvent {
			tl.parts[hookPart+h.Name] = &part{}
		}
	}
	if n.Alert && !muted(c, n) && wanted(c, n) {
		tl.loud, tl.parts[alertPart] = true, &part{}
	}
	t.tellings[c.UID][n.Number] = tl
	return tl
}

// take tells whether a part is to be told now; it is under way then.
func (t *Teller) take(tl *telling, name string, now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	p := tl.parts[name]
	if p == nil || !p.waits(now) {
		return false
	}
	p.underWay = true
	return true
}

// writeEvents has the events of notices written one after the other.
func (t *Teller) writeEvents(c *siskinv1.Canary, notices []plan.Notice, describe func(string) siskinv1.RevisionStatus, now time.Time) {
	if len(notices) == 0 {
		return
	}
	events := make([]*eventsv1.Event, 0, len(notices))
	for _, n := range notices {
		events = append(events, report.Event(c, n, report.EventText(n, known(c, n.Revision, describe)), t.Instance))
	}
	who := types.NamespacedName{Namespace: c.Namespace, Name: c.Name + "/notices"}
	last := notices[len(notices)-1].Key()
	sent := t.Asker.Pool.Tell(who, last, time.Duration(len(notices))*eventTimeout, func(ctx context.Context) plan.Answer {
		for i, n := range notices {
			if t.write(ctx, events[i]) {
				t.done(c, n.Number, eventPart)
				continue
			}
			t.failed(c, n.Number, eventPart, t.Clock.Now())
			t.wake(c)
		}
		return plan.Answer{}
	})
	for _, n := range notices {
		if !sent {
			t.failed(c, n.Number, eventPart, now)
		}
	}
}

// write creates one event, which may exist since an earlier process wrote it. It returns false if it may be tried
// again.
func (t *Teller) write(ctx context.Context, e *eventsv1.Event) bool {
	err := t.Events.Create(ctx, e)
	switch {
	case err == nil, apierrors.IsAlreadyExists(err):
		return true
	case apierrors.IsForbidden(err), apierrors.IsNotFound(err), apierrors.IsInvalid(err), apierrors.IsRequestEntityTooLargeError(err):
		// The namespace is terminating, or the API server will never take it.
		ctrl.Log.Info("an event was refused", "canary", e.Namespace+"/"+e.Regarding.Name, "reason", e.Reason, "note", e.Note, "problem", err.Error())
		return true
	}
	return false
}

// done notes that a part was told. What was told to people's channels is stored soon: until then a crash would tell it
// once more.
func (t *Teller) done(c *siskinv1.Canary, number int64, name string) {
	if t.settle(c.UID, number, name, t.Clock.Now()) {
		t.wake(c)
	}
}

// settle tells whether a loud notice has been told with this part.
func (t *Teller) settle(uid types.UID, number int64, name string, now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	tl := t.tellings[uid][number]
	if tl == nil || tl.parts[name] == nil {
		return false
	}
	tl.parts[name].done, tl.parts[name].underWay = true, false
	for _, p := range tl.parts {
		if !p.done {
			return false
		}
	}
	tl.doneAt = now
	return tl.loud
}

// failed has a part tried again later.
func (t *Teller) failed(c *siskinv1.Canary, number int64, name string, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if tl := t.tellings[c.UID][number]; tl != nil && tl.parts[name] != nil {
		*tl.parts[name] = part{retry: now.Add(tellAgain)}
	}
}

func (t *Teller) wake(c *siskinv1.Canary) {
	if t.Wake != nil {
		t.Wake(client.ObjectKeyFromObject(c))
	}
}

// told lists the notices that were told, by number.
func (t *Teller) told(uid types.UID) []int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	var out []int64
	for number, tl := range t.tellings[uid] {
		if !tl.doneAt.IsZero() {
			out = append(out, number)
		}
	}
	slices.Sort(out)
	return out
}

// prune forgets what was told and the stored status no longer has; what that has no room for stays. It returns how soon a part is to be tried again; zero: none is.
func (t *Teller) prune(c *siskinv1.Canary, now time.Time) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	var later time.Duration
	for number, tl := range t.tellings[c.UID] {
		stored := slices.ContainsFunc(c.Status.Notices, func(n siskinv1.NoticeStatus) bool { return n.Number == number })
		if !stored && (!tl.doneAt.IsZero() || number+plan.UntoldLimit+mostRoomless < c.Status.LastNotice) {
			delete(t.tellings[c.UID], number)
			continue
		}
		for _, p := range tl.parts {
			if !p.underWay && !p.done {
				later = sooner(later, max(p.retry.Sub(now), time.Millisecond))
			}
		}
	}
	if len(t.tellings[c.UID]) == 0 {
		delete(t.tellings, c.UID)
	}
	return later
}

// toldSince tells since when the notices that were and no longer are in a status have been told, and whether one of
// them is loud; zero: none.
func (t *Teller) toldSince(uid types.UID, was, is []siskinv1.NoticeStatus) (since time.Time, loud bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, n := range was {
		if slices.ContainsFunc(is, func(m siskinv1.NoticeStatus) bool { return m.Number == n.Number }) {
			continue
		}
		tl := t.tellings[uid][n.Number]
		if tl == nil {
			continue
		}
		if since.IsZero() || tl.doneAt.Before(since) {
			since = tl.doneAt
		}
		loud = loud || tl.loud
	}
	return since, loud
}

// dropped tells that there is no room in the status for all that has still to be told.
func (t *Teller) dropped(c *siskinv1.Canary, n int) {
	if n > 0 {
		t.once(c, "NoticesDropped", fmt.Sprintf(
			"status.notices keeps at most %d notices that nobody has received yet: %d of the older ones would be lost if Siskin were restarted now; "+
				"check the AlertProviders and the webhooks of type event", plan.UntoldLimit, n))
	}
}
