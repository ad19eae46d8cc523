package notifier_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/notifier"
)

// receipts counts how often each message was done with.
type receipts struct {
	mu  sync.Mutex
	all map[string]int
}

func (r *receipts) of(key string) func() {
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.all == nil {
			r.all = map[string]int{}
		}
		r.all[key]++
	}
}

func (r *receipts) got() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return fmt.Sprint(r.all)
}

// TestDoneIsCalledOnceWhenEachPlaceIsDoneWith : whatever becomes of the message there. A notice that is never done with
// would stay in the Canary's status for ever, and one that is too early would be lost in a crash.
func TestDoneIsCalledOnceWhenEachPlaceIsDoneWith(t *testing.T) {
	quiet := alert("good")
	quiet.Severity = siskinv1.SeverityError
	for name, tc := range map[string]struct {
		alerts []siskinv1.CanaryAlert
		bad    func(start time.Time) error
		early  string // while the slow place has not answered
		late   string
	}{
		"nobody wants it":             {nil, nil, "map[m:1]", "map[m:1]"},
		"its severity is not wanted":  {[]siskinv1.CanaryAlert{quiet}, nil, "map[m:1]", "map[m:1]"},
		"one place":                   {[]siskinv1.CanaryAlert{alert("good")}, nil, "map[m:1]", "map[m:1]"},
		"one of two is slow":          {[]siskinv1.CanaryAlert{alert("good"), alert("bad")}, until(time.Minute), "map[]", "map[m:1]"},
		"one of two is dead":          {[]siskinv1.CanaryAlert{alert("good"), alert("bad")}, until(time.Hour), "map[]", "map[m:1]"},
		"a place refuses it":          {[]siskinv1.CanaryAlert{alert("bad")}, func(time.Time) error { return notifier.ErrRejected }, "map[m:1]", "map[m:1]"},
		"a place that does not exist": {[]siskinv1.CanaryAlert{alert("absent")}, nil, "map[m:1]", "map[m:1]"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStage(t, nil)
				start := time.Now()
				s.bad.Do = func(context.Context, notifier.Message) error {
					if tc.bad == nil {
						return nil
					}
					return tc.bad(start)
				}
				s.start(t)
				var r receipts
				s.Send(tc.alerts, message("m"), r.of("m"))
				pass(time.Second)
				if r.got() != tc.early {
					t.Errorf("at once %s, want %s", r.got(), tc.early)
				}
				pass(10 * time.Minute)
				if r.got() != tc.late {
					t.Errorf("in the end %s, want %s", r.got(), tc.late)
				}
			})
		})
	}
}

// until is a place that is down for so long.
func until(d time.Duration) func(time.Time) error {
	return func(start time.Time) error {
		if time.Since(start) < d {
			return errors.New("down")
		}
		return nil
	}
}

// TestWhatIsTheSameAsAnotherIsDoneWith : the other one is on its way, or was sent.
func TestWhatIsTheSameAsAnotherIsDoneWith(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, nil)
		s.start(t)
		var r receipts
		for i := range 3 {
			s.Send([]siskinv1.CanaryAlert{alert("good")}, message("same"), r.of(strconv.Itoa(i)))
		}
		pass(time.Second)
		if r.got() != "map[0:1 1:1 2:1]" || titles(s.good) != "same" {
			t.Errorf("done with %s, sent %q", r.got(), titles(s.good))
		}
	})
}

// TestWhatIsDroppedIsDoneWith : nobody waits for what there is no room for, also not the message that takes its room.
func TestWhatIsDroppedIsDoneWith(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, nil)
		var r receipts
		for i := range 1026 {
			s.Send([]siskinv1.CanaryAlert{alert("bad")}, message(strconv.Itoa(i)), r.of(strconv.Itoa(i)))
		}
		if r.got() != "map[0:1 1:1]" {
			t.Errorf("done with %s before anything was sent", r.got())
		}
		s.start(t)
		pass(time.Second)
		if len(r.all) != 1026 {
			t.Errorf("%d are done with", len(r.all))
		}
		for key, n := range r.all {
			if n != 1 {
				t.Errorf("%s is done with %d times", key, n)
			}
		}
	})
}

// TestWhatTheEndOfTheProcessCutsOffIsNotDoneWith : the next process tells it.
func TestWhatTheEndOfTheProcessCutsOffIsNotDoneWith(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, nil)
		s.bad.Do = func(ctx context.Context, _ notifier.Message) error {
			<-ctx.Done()
			return ctx.Err()
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- s.Start(ctx) }()
		var r receipts
		s.Send([]siskinv1.CanaryAlert{alert("bad")}, message("on its way"), r.of("on its way"))
		s.Send([]siskinv1.CanaryAlert{alert("bad")}, message("waiting"), r.of("waiting"))
		synctest.Wait()
		cancel()
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
		if r.got() != "map[]" {
			t.Errorf("done with %s", r.got())
		}
	})
}
