package canary_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/hook"
	"github.com/siskin-dev/siskin/pkg/notifier"
)

// restart is a new process on the same cluster: what the old one remembered is lost. Its goroutines tell nothing any
// more.
func (s *stage) restart() {
	s.t.Helper()
	s.Observer.Forget("canary-uid")
	s.wire(false)
}

// mute makes a process tell nothing: as one that is killed between store and tell. The function that it returns ends
// that.
func (s *stage) mute() func() {
	teller := s.Teller
	teller.Events, s.chat.Do = deaf{}, func(ctx context.Context, _ notifier.Message) error {
		<-ctx.Done() // it never gets there
		return ctx.Err()
	}
	return func() { s.chat.Do = nil }
}

type deaf struct{}

func (deaf) Create(context.Context, client.Object, ...client.CreateOption) error {
	return errors.New("the process is being killed")
}

// TestWhatAKilledProcessDidNotTellIsTold : the decision is stored, and the process dies before it tells anybody.
func TestWhatAKilledProcessDidNotTellIsTold(t *testing.T) {
	play(t, newCanary(), func(s *stage) {
		t := s.t
		s.until(siskinv1.PhaseInitialized)
		s.quiet()
		sent := len(s.chat.Sent())
		s.image("web:2")
		speak := s.mute()
		s.pass()
		if told := s.events.take(); len(told) > 0 || len(s.chat.Sent()) > sent || s.canary().Status.Phase != siskinv1.PhaseProgressing {
			t.Fatalf("the test needs a decision that nobody was told: %v", told)
		}
		if n := s.canary().Status.Notices; len(n) != 1 || n[0].Reason != "NewRevision" || !n[0].Alert || n[0].Number != s.canary().Status.LastNotice {
			t.Errorf("the status keeps what is to be told: %+v", n)
		}
		speak()
		s.restart()
		s.pass()
		if told := s.events.take(); reasons(told) != "NewRevision" || !strings.Contains(told[0], "image web:2") {
			t.Errorf("told %v", told)
		}
		all := s.chat.Sent()[sent:]
		if len(all) != 1 || all[0].Title != "shop/web: New revision" || fieldOf(all[0].Fields, "Told again") == "" {
			t.Errorf("alerted with %+v", all)
		}
		s.pass() // woken: what people's channels have is stored at once
		if n := s.canary().Status.Notices; len(n) != 0 {
			t.Errorf("it stays untold: %+v", n)
		}
		s.until(siskinv1.PhaseSucceeded)
		if n := strings.Count(reasons(s.events.take()), "NewRevision"); n != 0 {
			t.Errorf("told %d times more", n)
		}
	})
}

// TestWhatAKilledProcessToldIsNotSeenTwice : it told, and died before that was stored. The event has a name, so that
// there is one.
func TestWhatAKilledProcessToldIsNotSeenTwice(t *testing.T) {
	play(t, newCanary(func(c *siskinv1.Canary) { c.Spec.Analysis.Alerts = nil }), func(s *stage) {
		t := s.t
		s.until(siskinv1.PhaseInitialized)
		s.quiet()
		s.image("web:2")
		s.pass()
		if told := s.events.take(); reasons(told) != "NewRevision" || len(s.canary().Status.Notices) != 1 {
			t.Fatalf("the test needs a notice of which it is not stored that it was told: %v, %+v", told, s.canary().Status.Notices)
		}
		names := len(s.events.names)
		s.restart()
		s.pass()
		if told := s.events.take(); len(told) != 0 || len(s.events.names) != names {
			t.Errorf("told again as another: %v", told)
		}
		s.until(siskinv1.PhaseSucceeded)
		if n := s.canary().Status.Notices; len(n) != 0 {
			t.Errorf("at rest all was told: %+v", n)
		}
	})
}

// TestToldCostsNoWriteOfItsOwnDuringSteps : it goes along with the next decision, and at rest with one write.
func TestToldCostsNoWriteOfItsOwnDuringSteps(t *testing.T) {
	play(t, newCanary(func(c *siskinv1.Canary) { c.Spec.Analysis.Alerts = nil }), func(s *stage) {
		s.until(siskinv1.PhaseInitialized)
		s.image("web:2")
		s.reach(siskinv1.PhaseProgressing)
		for s.canary().Status.CanaryWeight == 0 {
			s.kubelet()
			s.rest(s.pass())
		}
		if n := s.canary().Status.Notices; len(n) != 1 || n[0].Reason != "StepAdvanced" {
			s.t.Errorf("the step's notice: %+v", n)
		}
		s.quiet()
		for s.canary().Status.CanaryWeight == 20 {
			s.kubelet()
			woken := s.woken
			if res := s.pass(); s.woken == woken {
				s.sleep(res.RequeueAfter)
			}
		}
		if s.stored != 1 {
			s.t.Errorf("%d writes of status for one step", s.stored)
		}
	})
}

// TestAnEventThatCannotBeWrittenIsTriedAgain : until it is there, or the API server says that it will never be.
func TestAnEventThatCannotBeWrittenIsTriedAgain(t *testing.T) {
	for name, tc := range map[string]struct {
		err  error
		want string
	}{
		"for a while":     {errors.New("etcdserver: request timed out"), "NewRevision"},
		"it never can be": {apierrors.NewForbidden(siskinv1.GroupVersion.WithResource("events").GroupResource(), "x", errors.New("the namespace is being terminated")), ""},
	} {
		t.Run(name, func(t *testing.T) {
			play(t, newCanary(), func(s *stage) {
				s.until(siskinv1.PhaseInitialized)
				s.quiet()
				s.image("web:2")
				s.events.failing = tc.err
				s.pass()
				s.events.failing = nil
				var told []string
				for range 4 {
					s.sleep(min(s.pass().RequeueAfter, 5*time.Second))
					told = append(told, s.events.take()...)
				}
				if reasons(told) != tc.want {
					s.t.Errorf("told %v, want %q", told, tc.want)
				}
			})
		})
	}
}

// TestTheLastNoticeIsToldBeforeTheCanaryGoes : with it goes the list of what is still to be told.
func TestTheLastNoticeIsToldBeforeTheCanaryGoes(t *testing.T) {
	play(t, newCanary(func(c *siskinv1.Canary) { c.Spec.DeletionPolicy = siskinv1.DeletionPolicyOrphan }), func(s *stage) {
		s.until(siskinv1.PhaseInitialized)
		s.quiet()
		if err := s.api.Delete(s.t.Context(), s.canary()); err != nil {
			s.t.Fatal(err)
		}
		s.mute()
		s.pass()
		if s.api.Get(s.t.Context(), web, &siskinv1.Canary{}) != nil {
			s.t.Fatal("it went before anybody was told")
		}
		s.chat.Do = nil
		s.restart()
		for i := 0; i < 20 && s.api.Get(s.t.Context(), web, &siskinv1.Canary{}) == nil; i++ {
			s.rest(s.pass())
		}
		if told := s.events.take(); reasons(told) != "Terminating" {
			s.t.Errorf("told %v", told)
		}
	})
}

// TestAnEventHookIsToldWithOneKey : however often a notice is told to it.
func TestAnEventHookIsToldWithOneKey(t *testing.T) {
	var mu sync.Mutex
	var keys []string
	f := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		keys = append(keys, r.Header.Get(hook.HeaderIdempotencyKey))
	}))
	f.Config.SetKeepAlivesEnabled(false)
	t.Cleanup(f.Close)
	play(t, newCanary(func(c *siskinv1.Canary) {
		c.Spec.Analysis.Alerts = nil
		c.Spec.Analysis.Webhooks = []siskinv1.CanaryWebhook{{Name: "log", Type: siskinv1.HookEvent, URL: f.URL}}
	}), func(s *stage) {
		s.until(siskinv1.PhaseInitialized)
		s.image("web:2")
		s.pass()
		s.restart()
		s.pass()
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		last := keys[len(keys)-1]
		if !strings.HasPrefix(last, "canary-uid/event/log/r1/web-") || !strings.HasSuffix(last, "/NewRevision/n2") || keys[len(keys)-2] != last {
			s.t.Errorf("told with %v", keys)
		}
		if slices.Contains(keys[:len(keys)-2], last) {
			s.t.Errorf("another notice has the key: %v", keys)
		}
	})
}

// TestWhatAlternatesIsToldOnce : A, B, A, B ... is told as A, B.
func TestWhatAlternatesIsToldOnce(t *testing.T) {
	play(t, newCanary(), func(s *stage) {
		s.until(siskinv1.PhaseInitialized)
		s.quiet()
		for i := range 12 {
			s.edit(func(c *siskinv1.Canary) { c.Spec.Provider = []string{"nowhere", "elsewhere"}[i%2] })
			s.pass()
			s.sleep(2 * time.Minute)
			s.edit(func(c *siskinv1.Canary) { c.Spec.Provider = "" })
			s.pass()
			s.sleep(2 * time.Minute)
		}
		if told := s.events.take(); len(told) != 2 {
			s.t.Errorf("told %d times: %v", len(told), told)
		}
		s.sleep(2 * time.Hour)
		s.edit(func(c *siskinv1.Canary) { c.Spec.Provider = "nowhere" })
		s.pass()
		if told := s.events.take(); len(told) != 1 {
			s.t.Errorf("after a long time it is news: %v", told)
		}
	})
}

// TestANewCanaryTakesOverWhatOneLeftThatWentWithoutItsFinalizer : the API server has taken the clones, and the target
// is held at zero.
func TestANewCanaryTakesOverWhatOneLeftThatWentWithoutItsFinalizer(t *testing.T) {
	play(t, newCanary(), func(s *stage) {
		t := s.t
		s.until(siskinv1.PhaseInitialized)
		old := s.canary()
		old.Finalizers = nil
		if err := s.api.Update(t.Context(), old); err != nil {
			t.Fatal(err)
		}
		if err := s.api.Delete(t.Context(), old); err != nil {
			t.Fatal(err)
		}
		s.pass()
		s.remove(&appsv1.Deployment{}, "web-primary")
		for _, owned := range []client.Object{&corev1.Service{}, &appsv1.ControllerRevision{}} {
			if err := s.api.DeleteAllOf(t.Context(), owned, client.InNamespace("shop")); err != nil {
				t.Fatal(err)
			}
		}
		next := newCanary()
		next.UID = "another-uid"
		if err := s.api.Create(t.Context(), next); err != nil {
			t.Fatal(err)
		}
		s.until(siskinv1.PhaseInitialized)
		if p := s.deployment("web-primary"); *p.Spec.Replicas != 2 || p.Spec.Template.Spec.Containers[0].Image != "web:1" {
			t.Errorf("the primary has %d pods of %s", *p.Spec.Replicas, p.Spec.Template.Spec.Containers[0].Image)
		}
	})
}
