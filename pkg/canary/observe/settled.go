package observe

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/siskin-dev/siskin/pkg/canary/plan"
)

// settled remembers when the data plane of each Canary was last seen not to carry the split out, and when it was first seen to do so
// after that, so that a confirmation that comes a little late costs no write. It is lost with the process; plan.Snapshot.Since makes
// up for that. The zero value is ready for use.
type settled struct {
	mu  sync.Mutex
	all map[types.UID]seen
}

// seen of a data plane. since is zero while the split is not carried out.
type seen struct{ unsettled, since time.Time }

// look notes what r says of split now and returns what is remembered: times that are zero if it was never seen unsettled.
func (m *settled) look(uid types.UID, r plan.Route, split plan.Split, now time.Time) seen {
	m.mu.Lock()
	defer m.mu.Unlock()
	s, known := m.all[uid]
	switch {
	case !r.Known || !r.Confirmed || r.Current != split:
		s = seen{unsettled: now}
	case !known || !s.since.IsZero():
		return s
	default:
		s.since = now
	}
	if m.all == nil {
		m.all = map[types.UID]seen{}
	}
	m.all[uid] = s
	return s
}

func (m *settled) forget(uid types.UID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.all, uid)
}

// Forget drops what is remembered of a Canary that is gone.
func (o *Observer) Forget(uid types.UID) {
	o.books.forget(uid)
	o.splits.forget(uid)
	o.changes.forget(uid)
	o.quiet.forget(uid)
	o.moved.forget(uid)
	o.standing.forget(uid)
	o.renewed.forget(uid)
}
