package canary

import (
	"strings"
	"sync"

	"k8s.io/apimachinery/pkg/types"
)

// polls lets a hook that answers more slowly than it is asked be heard all the same. The plan numbers its askings by time: a
// newer one replaces an older one that is still open. Here the call that is under way answers the newer asking, and a new call
// begins only after it.
type polls struct {
	mu  sync.Mutex
	all map[types.NamespacedName]map[string]*poll
}

// poll is one hook that is asked again and again.
type poll struct {
	// call is the key of the call that was made, serves that of the asking that it answers.
	call, serves string
	// heard tells that its answer was used, said is what it said last.
	heard bool
	said  string
}

// key returns the key of the call that answers the asking q.
func (p *polls) key(who types.NamespacedName, q string) string {
	base := pollOf(q)
	if base == "" {
		return q
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.all == nil {
		p.all = map[types.NamespacedName]map[string]*poll{}
	}
	if p.all[who] == nil {
		p.all[who] = map[string]*poll{}
	}
	have := p.all[who][base]
	switch {
	case have == nil:
		have = &poll{call: q, serves: q}
		p.all[who][base] = have
	case have.heard && have.serves != q:
		have.call, have.serves, have.heard = q, q, false
	case !have.heard:
		have.serves = q
	}
	return have.call
}

// heard notes that the asking q was answered, and with what.
func (p *polls) heard(who types.NamespacedName, q, said string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if have := p.all[who][pollOf(q)]; have != nil && have.serves == q {
		have.heard, have.said = true, said
	}
}

// said is what was said last to whom is asked by q, or "".
func (p *polls) said(who types.NamespacedName, q string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if have := p.all[who][pollOf(q)]; have != nil {
		return have.said
	}
	return ""
}

// forget drops the polls that none of asked belongs to.
func (p *polls) forget(who types.NamespacedName, asked map[string]bool) {
	keep := map[string]bool{}
	for q := range asked {
		keep[pollOf(q)] = true
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for base := range p.all[who] {
		if !keep[base] {
			delete(p.all[who], base)
		}
	}
	if len(p.all[who]) == 0 {
		delete(p.all, who)
	}
}

// pollOf returns what the askings of one hook have in common, or "" for a question that is asked once. The third part of a key
// tells when it is asked: "t" and the number of the interval for polls.
func pollOf(q string) string {
	parts := strings.SplitN(q, "/", 4)
	if len(parts) < 4 || !strings.HasPrefix(parts[2], "t") {
		return ""
	}
	return parts[0] + "/" + parts[1] + "/" + parts[3]
}
