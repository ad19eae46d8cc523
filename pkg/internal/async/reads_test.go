package async_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"

	"github.com/siskin-dev/siskin/pkg/internal/async"
)

// reading runs a Reads inside a synctest bubble.
func reading(t *testing.T, woken map[string]int) *async.Reads {
	t.Helper()
	r := async.NewReads(0, clock.RealClock{}, func(who types.NamespacedName) { woken[who.Name]++ })
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- r.Start(ctx) }()
	t.Cleanup(func() {
		cancel()
		t.Logf("ended: %v", <-done)
	})
	return r
}

func TestAReadIsWaitedForOnlyForAMoment(t *testing.T) {
	for takes, ended := range map[time.Duration]bool{
		0: true, async.Patience / 2: true, 2 * async.Patience: false, time.Hour: false,
	} {
		t.Run(takes.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				woken := map[string]int{}
				r, found := reading(t, woken), ""
				read := func(ctx context.Context) { found = after(takes, "it")(ctx) }
				began := time.Now()
				if got := r.Read(t.Context(), name("a"), "k", 5*time.Second, read); got != ended {
					t.Errorf("ended: %t", got)
				}
				if took := time.Since(began); took > async.Patience {
					t.Errorf("it took %s", took)
				}
				if !ended { // nobody waits for it twice
					began = time.Now()
					if r.Read(t.Context(), name("b"), "k", time.Hour, func(context.Context) { t.Error("read twice") }) {
						t.Error("another read has ended")
					}
					if took := time.Since(began); took != 0 {
						t.Errorf("the next one takes %s", took)
					}
				}
				pass(6 * time.Second)
				want := 0
				if !ended {
					want = 1
				}
				if woken["a"] != want || woken["b"] != want {
					t.Errorf("woken: %v", woken)
				}
				if want := map[bool]string{true: "cut off", false: "it"}[takes > 5*time.Second]; found != want {
					t.Errorf("found %q", found)
				}
			})
		})
	}
}

func TestAReadOfTheSameIsMadeWhenTheOneThatGoesOnHasEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, made := reading(t, map[string]int{}), 0
		read := func(ctx context.Context) { made++; after(async.Patience/4, "")(ctx) }
		both := make(chan bool, 2)
		for _, who := range []string{"a", "b"} {
			go func() { both <- r.Read(t.Context(), name(who), "k", time.Second, read) }()
		}
		first, second := <-both, <-both
		if !first || !second || made != 2 {
			t.Errorf("made %d", made)
		}
	})
}

func TestWithoutAPoolAReadIsMadeAtOnceAndBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r *async.Reads
		found := ""
		if !r.Read(t.Context(), name("a"), "k", time.Second, func(ctx context.Context) { found = after(time.Hour, "it")(ctx) }) || found != "cut off" {
			t.Errorf("found %q", found)
		}
	})
}
