package gitsync

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/gitsync/fetch"
	"github.com/siskin-dev/siskin/pkg/gitsync/inventory"
)

// note is what is remembered of one GitSync between two reconciles. It only saves work: without it, as after a restart,
// everything is fetched and compared once more.
type note struct {
	uid        types.UID
	generation int64
	// checked is when the cluster was last compared with git.
	checked time.Time
	// credentials that were read at credentialsAt.
	credentials   fetch.Credentials
	credentialsAt time.Time
	// broken is a revision that cannot be built, and why, and until when it is not tried again; zero: it never is.
	broken       string
	brokenReason outcome
	brokenUntil  time.Time
	// kept are the objects whose pod template was not git's when they were last applied; see apply.Change.
	kept []inventory.Ref
	// failures in a row.
	failures int
}

// memory holds the notes of all GitSyncs.
type memory struct {
	mu    sync.Mutex
	notes map[types.NamespacedName]note
}

// get returns the note of a GitSync; an edited one starts with an empty note.
func (m *memory) get(gs *siskinv1.GitSync) note {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, ok := m.notes[types.NamespacedName{Namespace: gs.Namespace, Name: gs.Name}]
	if !ok || n.uid != gs.UID || n.generation != gs.Generation {
		return note{uid: gs.UID, generation: gs.Generation}
	}
	return n
}

func (m *memory) put(gs *siskinv1.GitSync, n note) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.notes == nil {
		m.notes = map[types.NamespacedName]note{}
	}
	m.notes[types.NamespacedName{Namespace: gs.Namespace, Name: gs.Name}] = n
}

func (m *memory) forget(key types.NamespacedName) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.notes, key)
}
