package act

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/router"
)

const (
	// firstTruce is how long a route that was repaired once is left alone by repairs; each further repair doubles it, up to longestTruce, or
	// to shortTruce where all traffic is the primary's: what somebody else sends to the canary then may be answered by nobody.
	firstTruce, shortTruce, longestTruce = time.Second, 2 * time.Second, 30 * time.Second
	// peace is how long a route must not have needed a repair until the next one is immediate again.
	peace = time.Minute
)

// fights remembers how often a route had to be repaired, so that two controllers which disagree about it do not write at the speed of
// events. A repair writes what was written before; what was decided anew waits for nothing. It is lost with the process, which costs one
// repair that is immediate. The zero value is ready for use.
type fights struct {
	mu  sync.Mutex
	all map[types.UID]fight
}

// fight over one Canary's route: what was written last, how often in a row it had to be written again, and when that was last.
type fight struct {
	over    wish
	repairs int
	last    time.Time
}

// wish tells intents of one Canary from each other.
type wish struct {
	generation          int64
	split               router.Split
	token, primaryToken string
}

func wishOf(c *siskinv1.Canary, in router.Intent) wish {
	w := wish{generation: c.Generation, split: in.Split}
	if in.Affinity != nil {
		w.token, w.primaryToken = in.Affinity.Token, in.Affinity.PrimaryToken
	}
	return w
}

// truce returns for how long a repair is put off; 0: it is due, or it is none.
func (f *fights) truce(uid types.UID, w wish, now time.Time) time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	have := f.all[uid]
	if have.over != w || have.repairs == 0 {
		return 0
	}
	pause := longestTruce
	if n := have.repairs - 1; n < 5 { // 2^5 s are more than the longest
		pause = min(firstTruce<<n, longestTruce)
	}
	if w.split.Canary == 0 {
		pause = min(pause, shortTruce)
	}
	return max(have.last.Add(pause).Sub(now), 0)
}

// wrote notes that what is wished was applied, and whether something had to be written for that. What an author writes into
// an adopted route is no fight: it is taken as it is, and the split put into it again at once, but not more than once in
// firstTruce.
func (f *fights) wrote(uid types.UID, w wish, receipt router.Receipt, now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	have, known := f.all[uid]
	if repair := known && receipt.Changed && have.over == w; repair {
		if now.Sub(have.last) >= peace || receipt.Adopted {
			have.repairs = 0
		}
		have.repairs, have.last = have.repairs+1, now
	}
	have.over = w
	if f.all == nil {
		f.all = map[types.UID]fight{}
	}
	f.all[uid] = have
}

// Forget drops what is remembered of a Canary that is gone.
func (a *Actor) Forget(uid types.UID) {
	a.Memo.Drop(uid)
	a.fights.mu.Lock()
	defer a.fights.mu.Unlock()
	delete(a.fights.all, uid)
}
