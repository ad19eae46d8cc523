package observe

import (
	"encoding/json"
	"fmt"
	"sync"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/canary/target"
	"github.com/siskin-dev/siskin/pkg/router/service"
)

// books keep what was decoded for each Canary, so that a pass decodes only what has changed since the one before. They
// are lost with the process. The zero value is ready for use.
type books struct {
	mu  sync.Mutex
	all map[types.UID]*book
}

// Guard is told that somebody has changed what passes share.
type Guard func(what string)

// book is what was decoded for one Canary. No two passes of one Canary run at once. What it holds is shared by all
// passes: whoever changes it copies it first.
type book struct {
	// now is what this pass has asked for, before what the last one had: what no pass asks for any more is dropped.
	now, before map[string]*page
	live        page // of the target
	guarded     bool
}

// page is what was decoded of one version of an object.
type page struct {
	uid      types.UID
	version  string
	revision target.Revision
	err      error
	// view is what the snapshot says of Services; viewed tells that it says so.
	view   service.View
	viewed bool
	// print is what revision and view were like when they were decoded; only if somebody guards them.
	print string
}

func (p page) of(obj client.Object) bool {
	return p.version != "" && p.version == obj.GetResourceVersion() && p.uid == obj.GetUID()
}

// printed is what the content of a page is like now.
func (p page) printed() string {
	raw, err := json.Marshal([]any{p.revision, p.view})
	return fmt.Sprint(string(raw), err)
}

func (p page) changed() bool { return p.print != "" && p.print != p.printed() }

// open returns the book of a Canary for a new pass. A guard, unless it is nil, is told what was changed in it.
func (b *books) open(uid types.UID, guard Guard) *book {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := b.all[uid]
	if out == nil {
		out = &book{}
		if b.all == nil {
			b.all = map[types.UID]*book{}
		}
		b.all[uid] = out
	}
	out.guarded = guard != nil
	for name, p := range out.now {
		if p.changed() {
			guard("what was decoded of snapshot " + name)
		}
	}
	if out.live.changed() {
		guard("what was read of the target of Canary " + string(uid))
	}
	out.now, out.before = map[string]*page{}, out.now
	return out
}

func (b *books) forget(uid types.UID) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.all, uid)
}

// page decodes a snapshot, unless that version of it has been.
func (b *book) page(s *appsv1.ControllerRevision) *page {
	if p, ok := b.now[s.Name]; ok && p.of(s) {
		return p
	}
	p, ok := b.before[s.Name]
	if !ok || !p.of(s) {
		decoded := b.noted(decode(s))
		p = &decoded
	}
	b.now[s.Name] = p
	return p
}

func decode(s *appsv1.ControllerRevision) page {
	p := page{uid: s.UID, version: s.ResourceVersion}
	p.revision, p.err = target.Read(s)
	if text := s.Annotations[siskinv1.ViewAnnotation]; text != "" {
		p.view, p.viewed = service.DecodeView(text)
	}
	return p
}

func (b *book) noted(p page) page {
	if b.guarded {
		p.print = p.printed()
	}
	return p
}

// present is the content that a target has.
func (b *book) present(obj client.Object) target.Revision {
	if b == nil {
		return target.From(obj)
	}
	if !b.live.of(obj) {
		b.live = b.noted(page{uid: obj.GetUID(), version: obj.GetResourceVersion(), revision: target.From(obj)})
	}
	return b.live.revision
}

// Read returns the revision that a snapshot of this Canary keeps. It is shared, as the objects of a World are.
func (w *World) Read(s *appsv1.ControllerRevision) (target.Revision, error) {
	if w.book == nil {
		return target.Read(s)
	}
	p := w.book.page(s)
	return p.revision, p.err
}

// recorded is the view that a snapshot has noted.
func (w *World) recorded(revision string) (service.View, bool) {
	s := w.Snapshots[revision]
	switch {
	case s == nil:
		return service.View{}, false
	case w.book == nil:
		return service.DecodeView(s.Annotations[siskinv1.ViewAnnotation])
	}
	p := w.book.page(s)
	return p.view, p.viewed
}
