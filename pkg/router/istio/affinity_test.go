package istio_test

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"testing"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/router"
)

// users asks 50 times as each user, and returns how many of them were at the canary; each must have stayed where he was.
func users(t *testing.T, p proxy, all []browser) int {
	t.Helper()
	canary := 0
	for i, user := range all {
		first := user.ask(p, "/").host
		for range 49 {
			if host := user.ask(p, "/").host; host != first {
				t.Fatalf("user %d was at %s, and is at %s", i, first, host)
			}
		}
		if strings.Contains(first, "-canary") {
			canary++
		}
	}
	return canary
}

// T7: shares are shares of users, however often they ask; they rise with the steps, and nobody leaves the canary before its end.
func TestT7UsersStayAndSharesAreExact(t *testing.T) {
	for name, build := range map[string]func(t *testing.T) world{
		"generated": func(t *testing.T) world { t.Helper(); return newWorld(t, finch()) },
		"adopted":   func(t *testing.T) world { t.Helper(); return newWorld(t, finch(), theirs()) },
	} {
		t.Run(name, func(t *testing.T) {
			w := build(t)
			all := make([]browser, 1000)
			for i := range all {
				all[i] = browser{"tracking": strconv.Itoa(i)}
			}
			affinity := siskinv1.SessionAffinity{CookieName: "finch-canary", PrimaryCookieName: "finch-primary"}
			var earlier []router.Draw
			at := map[int]bool{}
			for step, share := range []int32{5, 20, 50, 80} {
				w.in.Split = router.Split{Primary: 100 - share, Canary: share}
				w.in.Affinity = &router.Affinity{
					SessionAffinity: affinity, Token: "0123456789abcdef", PrimaryToken: fmt.Sprintf("step%d", step), Earlier: earlier,
				}
				w.apply(t)
				p := newProxy(t, w.spec(t))
				n := users(t, p, all)
				want := 1000 * float64(share) / 100
				if sigma := math.Sqrt(want * (1 - float64(share)/100)); math.Abs(float64(n)-want) > 4*sigma {
					t.Errorf("%d%%: %d of 1000 users are at the canary", share, n)
				}
				for i, user := range all {
					now := user["finch-canary"] != ""
					if at[i] && !now {
						t.Fatalf("user %d left the canary at %d%%", i, share)
					}
					at[i] = now
				}
				earlier = append([]router.Draw{{PrimaryToken: w.in.Affinity.PrimaryToken, Canary: share}}, earlier...)
			}
			// The rollback is for everybody, cookies or not, and cookies are dropped.
			w.in.Split, w.in.Affinity, w.in.Expired = router.Split{Primary: 100}, nil, &affinity
			w.apply(t)
			p := newProxy(t, w.spec(t))
			if n := users(t, p, all); n > 0 {
				t.Errorf("after the rollback %d users are at the canary", n)
			}
			for i, user := range all {
				if len(user) != 1 {
					t.Fatalf("user %d still has %v", i, user)
				}
			}
			// A cookie of that rollout is nothing to the next one.
			w.in.Split, w.in.Expired = router.Split{Primary: 99, Canary: 1}, nil
			w.in.Affinity = &router.Affinity{SessionAffinity: affinity, Token: "another", PrimaryToken: "first"}
			w.apply(t)
			p = newProxy(t, w.spec(t))
			canary := 0
			for range 1000 {
				old := browser{"finch-canary": "0123456789abcdef"}
				if strings.Contains(old.ask(p, "/").host, "-canary") {
					canary++
				}
			}
			if canary > 30 {
				t.Errorf("%d of 1000 old cookies lead to the canary", canary)
			}
		})
	}
}

// T8: a cookie whose name or value ends or begins like the token is another one.
func TestT8OtherCookiesAreNotTheToken(t *testing.T) {
	w := newWorld(t, finch())
	w.in.Split = router.Split{Primary: 99, Canary: 1}
	w.in.Affinity = &router.Affinity{SessionAffinity: siskinv1.SessionAffinity{CookieName: "c"}, Token: "token", PrimaryToken: "p"}
	w.apply(t)
	for header, want := range map[string]bool{
		"c=token": true, "a=1; c=token; b=2": true,
		"xc=token": false, "c=tokenx": false, "c=xtoken": false, "a=c=token": false, "a=1, c=token": false,
	} {
		canary := 0
		p := newProxy(t, w.spec(t))
		for range 200 {
			if strings.Contains(p.ask(asked{path: "/", headers: map[string]string{"cookie": header}}).host, "-canary") {
				canary++
			}
		}
		if (canary > 20) != want {
			t.Errorf("%q: %d of 200 requests reach the canary", header, canary)
		}
	}
}
