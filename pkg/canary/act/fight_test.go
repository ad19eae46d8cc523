package act

import (
	"testing"
	"time"

	"github.com/siskin-dev/siskin/pkg/router"
)

// What an author applies to an adopted route every few seconds is no fight, however long it goes on: no write is put
// off for more than a second. A repair of what somebody else changed is, for longer each time.
func TestAnAuthorIsNoRival(t *testing.T) {
	for name, tt := range map[string]struct {
		receipt router.Receipt
		longest time.Duration
	}{
		"an author":      {router.Receipt{Changed: true, Adopted: true}, firstTruce},
		"somebody else":  {router.Receipt{Changed: true, Foreign: true}, longestTruce},
		"nothing at all": {router.Receipt{}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			var f fights
			now, w := time.Unix(0, 0), wish{split: router.Split{Primary: 50, Canary: 50}}
			longest := time.Duration(0)
			for range 20 {
				f.wrote("u", w, tt.receipt, now)
				longest = max(longest, f.truce("u", w, now))
				now = now.Add(5 * time.Second)
			}
			if longest != tt.longest {
				t.Errorf("a write is put off for %s, not %s", longest, tt.longest)
			}
		})
	}
}
