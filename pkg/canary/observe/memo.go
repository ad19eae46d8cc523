package observe

import (
	"sync"

	"k8s.io/apimachinery/pkg/types"
)

// memo keeps one answer per object for as long as the object's version is the same. It is lost with the process, which costs one
// computation. The zero value is ready for use.
type memo struct {
	mu  sync.Mutex
	all map[types.UID]answer
}

type answer struct{ version, value string }

// memoLimit bounds what objects that are gone may leave behind.
const memoLimit = 20000

func (m *memo) get(uid types.UID, version string) (string, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	have, ok := m.all[uid]
	return have.value, ok && have.version == version
}

// latest returns the last answer, whatever version it was of.
func (m *memo) latest(uid types.UID) (string, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	have, ok := m.all[uid]
	return have.value, ok
}

func (m *memo) set(uid types.UID, version, value string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.all == nil || len(m.all) >= memoLimit {
		m.all = map[types.UID]answer{}
	}
	m.all[uid] = answer{version: version, value: value}
}
