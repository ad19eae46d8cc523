package async_test

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/siskin-dev/siskin/pkg/internal/async"
)

func name(s string) types.NamespacedName { return types.NamespacedName{Namespace: "test", Name: s} }

// fixture runs a pool inside a synctest bubble and counts wake-ups.
type fixture struct {
	*async.Pool[string, string]

	mu    sync.Mutex
	wakes map[types.NamespacedName]int
}

func start(t *testing.T, workers int) *fixture {
	t.Helper()
	f := &fixture{wakes: map[types.NamespacedName]int{}}
	f.Pool = async.New[string, string](workers, func(who types.NamespacedName) {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.wakes[who]++
	}, func(r any) string { return fmt.Sprint("panic: ", r) })
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- f.Start(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return f
}

func (f *fixture) woken(who types.NamespacedName) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.wakes[who]
}

func after(d time.Duration, answer string) func(context.Context) string {
	return func(ctx context.Context) string {
		select {
		case <-ctx.Done():
			return "cut off"
		case <-time.After(d):
			return answer
		}
	}
}

// pass lets the bubble's clock run.
func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

func TestAnAnswerIsGivenOnceAskedAndKeptUntilForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, runs := start(t, 0), 0
		ask := func() (string, bool) {
			return f.Ask(name("a"), "k", time.Minute, func(ctx context.Context) string { runs++; return after(time.Second, "yes")(ctx) })
		}
		for range 3 {
			if _, ok := ask(); ok {
				t.Fatal("answered too early")
			}
		}
		pass(2 * time.Second)
		for range 3 {
			if v, ok := ask(); !ok || v != "yes" {
				t.Fatalf("got %q, %v", v, ok)
			}
		}
		if runs != 1 || f.woken(name("a")) != 1 {
			t.Fatalf("ran %d times, woke %d times: want one each", runs, f.woken(name("a")))
		}
		f.Forget(name("a"), func(k string) bool { return k == "k" })
		if _, ok := ask(); !ok {
			t.Fatal("a kept answer is gone")
		}
		f.Forget(name("a"), nil)
		if _, ok := ask(); ok {
			t.Fatal("a forgotten answer is still there")
		}
		pass(2 * time.Second)
		if runs != 2 {
			t.Fatalf("ran %d times: want 2", runs)
		}
	})
}

func TestADeadlineEndsAHangingQuestion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := start(t, 0)
		f.Ask(name("a"), "k", 5*time.Second, after(time.Hour, "never"))
		pass(6 * time.Second)
		if v, ok := f.Ask(name("a"), "k", 0, nil); !ok || v != "cut off" {
			t.Fatalf("got %q, %v", v, ok)
		}
	})
}

func TestAPanicIsAnAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := start(t, 0)
		f.Ask(name("a"), "k", time.Second, func(context.Context) string { panic("boo") })
		synctest.Wait()
		if v, ok := f.Ask(name("a"), "k", 0, nil); !ok || v != "panic: boo" {
			t.Fatalf("got %q, %v", v, ok)
		}
		if f.woken(name("a")) != 1 {
			t.Fatal("nobody was woken")
		}
	})
}

func TestAForgottenQuestionIsCancelledAndWakesNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := start(t, 1)
		f.Ask(name("a"), "running", time.Hour, after(time.Hour, ""))
		synctest.Wait()
		f.Ask(name("a"), "queued", time.Hour, func(context.Context) string { t.Error("a forgotten question ran"); return "" })
		f.Forget(name("a"), nil)
		pass(time.Second)
		if n := f.woken(name("a")); n != 0 {
			t.Fatalf("woke %d times", n)
		}
		f.Ask(name("b"), "k", time.Second, after(0, "free"))
		pass(time.Millisecond)
		if _, ok := f.Ask(name("b"), "k", 0, nil); !ok {
			t.Fatal("the worker was not freed")
		}
	})
}

func TestAHangingOwnerDoesNotStarveOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := start(t, async.PerOwner+1)
		for i := range 10 * async.PerOwner {
			f.Ask(name("hangs"), strconv.Itoa(i), time.Hour, after(time.Hour, ""))
		}
		for i := range 5 {
			f.Ask(name("works"), strconv.Itoa(i), time.Hour, after(time.Second, "ok"))
		}
		pass(6 * time.Second)
		if n := f.woken(name("works")); n != 5 {
			t.Fatalf("%d of 5 questions were answered", n)
		}
	})
}

func TestOwnersTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, order := start(t, 1), ""
		say := func(s string) func(context.Context) string {
			return func(context.Context) string { order += s; return "" }
		}
		f.Ask(name("a"), "first", time.Hour, after(time.Second, ""))
		synctest.Wait()
		for i := range 3 {
			f.Ask(name("a"), strconv.Itoa(i), time.Hour, say("a"))
		}
		f.Ask(name("b"), "1", time.Hour, say("b"))
		pass(2 * time.Second)
		if order != "abaa" {
			t.Fatalf("order %q: want abaa", order)
		}
	})
}

func TestWhatIsAskedBeforeStartRunsThenAndNothingRunsAfterTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := async.New[string, string](2, nil, nil)
		p.Ask(name("a"), "k", time.Second, after(0, "yes"))
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- p.Start(ctx) }()
		pass(time.Second)
		if v, ok := p.Ask(name("a"), "k", 0, nil); !ok || v != "yes" {
			t.Fatalf("got %q, %v", v, ok)
		}
		p.Ask(name("a"), "hangs", time.Hour, after(time.Hour, ""))
		synctest.Wait()
		cancel()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		p.Ask(name("c"), "k", time.Second, func(context.Context) string { t.Error("ran after the end"); return "" })
		synctest.Wait()
	})
}

func TestTellKeepsNothingAndWakesNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		woken := 0
		p := async.New[string, int](1, func(types.NamespacedName) { woken++ }, nil)
		ended := make(chan struct{})
		go func() { defer close(ended); _ = p.Start(ctx) }()
		who := types.NamespacedName{Name: "who"}
		done := 0
		for i := range async.PerOwner {
			if !p.Tell(who, strconv.Itoa(i), time.Minute, func(context.Context) int { done++; return 1 }) {
				t.Errorf("%d has no room", i)
			}
		}
		if p.Tell(who, "one more", time.Minute, func(context.Context) int { return 1 }) {
			t.Error("there is room without end")
		}
		synctest.Wait()
		if done != async.PerOwner || woken != 0 {
			t.Errorf("%d done, woken %d times", done, woken)
		}
		if !p.Tell(who, "0", time.Minute, func(context.Context) int { done++; return 1 }) {
			t.Error("what is done is kept")
		}
		synctest.Wait()
		cancel()
		<-ended
	})
}
