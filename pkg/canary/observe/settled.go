package observe

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/siskin-dev/siskin/pkg/canary/plan"
)

// settled remembers since when the data plane of each Canary carries its split out without a break, so that a confirmation that comes
// a little late costs no write. It is lost with the process; plan.Snapshot.Since makes up for that. The zero value is ready for use.
type settled struct {
	mu  sync.Mutex
	all map[types.UID]carried
}

type carried struct {
	split plan.Split
	since time.Time
}

// since returns when the data plane began to carry split out, as far as this process has seen; zero: it does not now. A memory that
// was lost makes it later, never earlier, so that a step may get longer but not shorter.
func (m *settled) since(uid types.UID, r plan.Route, split plan.Split, now time.Time) time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !r.Known || !r.Confirmed || r.Current != split {
		delete(m.all, uid)
		return time.Time{}
	}
	if have, ok := m.all[uid]; ok && have.split == split {
		return have.since
	}
	if m.all == nil || len(m.all) >= memoLimit {
		m.all = map[types.UID]carried{}
	}
	m.all[uid] = carried{split: split, since: now}
	return now
}
