package canary_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/canary/plan"
	"github.com/siskin-dev/siskin/pkg/hook"
)

// listener is a webhook of type event that keeps the Idempotency-Keys.
type listener struct {
	mu   sync.Mutex
	keys []string
	url  string
}

func listen(t *testing.T) *listener {
	t.Helper()
	l := &listener{}
	f := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.keys = append(l.keys, r.Header.Get(hook.HeaderIdempotencyKey))
	}))
	f.Config.SetKeepAlivesEnabled(false)
	t.Cleanup(f.Close)
	l.url = f.URL
	return l
}

// heard are the reasons of what was told, each key once.
func (l *listener) heard() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var keys, out []string
	for _, key := range l.keys {
		if slices.Contains(keys, key) {
			continue
		}
		keys = append(keys, key)
		out = append(out, key[strings.LastIndex(key[:strings.LastIndex(key, "/")], "/")+1:strings.LastIndex(key, "/")])
	}
	slices.Sort(out) // hooks do not wait for each other
	return strings.Join(out, " ")
}

// TestKilledAfterEachStore : each process dies in the moment in which it has stored a decision, before it has carried
// out or told anything, through a rollout that succeeds and one that is taken back. People are told what they would be
// told otherwise: each notice in one event, under one key to webhooks, and in one alert.
func TestKilledAfterEachStore(t *testing.T) {
	type heard struct{ events, hooks, alerts string }
	rollouts := func(t *testing.T, dies bool) (out heard, deaths int) {
		t.Helper()
		l := listen(t)
		play(t, newCanary(func(c *siskinv1.Canary) {
			c.Spec.Analysis.Webhooks = []siskinv1.CanaryWebhook{{Name: "log", Type: siskinv1.HookEvent, URL: l.url}}
		}), func(s *stage) {
			s.until(siskinv1.PhaseInitialized)
			s.quiet()
			s.dies = dies
			for _, turn := range []struct {
				image string
				value float64
				end   siskinv1.Phase
			}{{"web:2", 0.5, siskinv1.PhaseSucceeded}, {"web:3", 7, siskinv1.PhaseFailed}} {
				s.metrics.Answer(turn.value)
				s.image(turn.image)
				for i := 0; ; i++ {
					if i == 150 {
						s.t.Fatalf("never %s and all told: %+v", turn.end, s.canary().Status)
					}
					s.kubelet()
					woken := s.woken
					res, err := s.once()
					switch {
					case errors.Is(err, errKilled):
						deaths++
						s.restart()
						continue
					case err != nil:
						s.t.Fatal(err)
					}
					if st := s.canary().Status; st.Phase == turn.end && len(st.Notices) == 0 && res.RequeueAfter == 0 {
						break
					}
					if s.woken == woken {
						s.rest(res)
					}
				}
			}
			synctest.Wait()
			var alerts []string
			for _, m := range s.chat.Sent() {
				alerts = append(alerts, m.Title)
			}
			out = heard{reasons(s.events.take()), l.heard(), strings.Join(alerts, ", ")}
		})
		return out, deaths
	}
	want, _ := rollouts(t, false)
	got, deaths := rollouts(t, true)
	if deaths < 8 || !strings.Contains(want.events, "RollingBack") || !strings.Contains(want.hooks, "NewRevision") {
		t.Fatalf("the test needs more to happen: %d deaths, %+v", deaths, want)
	}
	if got != want {
		t.Errorf("killed %d times:\n%+v\nelse:\n%+v", deaths, got, want)
	}
}

// TestWhatTheStatusHasNoRoomForIsTold : nobody takes events for a while, and more is to be told than the status keeps.
// All of it is told in the end, and people hear what a crash would have cost.
func TestWhatTheStatusHasNoRoomForIsTold(t *testing.T) {
	play(t, newCanary(func(c *siskinv1.Canary) { c.Spec.Analysis.Alerts = nil }), func(s *stage) {
		t := s.t
		s.until(siskinv1.PhaseInitialized)
		s.quiet()
		s.events.failing = apierrors.NewTimeoutError("etcd", 1)
		for i := range plan.UntoldLimit {
			s.ask("nonsense@" + string(rune('a'+i)))
			s.pass()
		}
		if told := s.events.take(); len(told) != 0 || len(s.canary().Status.Notices) != plan.UntoldLimit {
			t.Fatalf("the test needs a full status: %v, %d", told, len(s.canary().Status.Notices))
		}
		s.image("web:2") // good news: of a row of warnings it has no room
		s.pass()
		if n := s.canary().Status.Notices; len(n) != plan.UntoldLimit || n[len(n)-1].Reason != "RequestRefused" {
			t.Fatalf("the test needs a notice without room: %+v", n)
		}
		s.ask("nonsense@z")
		s.pass()
		told := s.events.take()
		if len(told) != 1 || reasons(told) != "NoticesDropped" || !strings.Contains(told[0], "check the AlertProviders") {
			t.Errorf("what a crash would cost is told once: %v", told)
		}
		s.events.failing = nil
		for range 6 {
			s.sleep(5 * time.Second)
			s.pass()
			told = append(told, s.events.take()...)
		}
		if all := reasons(told); strings.Count(all, "RequestRefused") != plan.UntoldLimit+1 || strings.Count(all, "NewRevision") != 1 ||
			strings.Count(all, "NoticesDropped") != 1 {
			t.Errorf("told %v", told)
		}
	})
}

// TestReasonsThatAlternateAreToldOnceEach : A, B, A, B without a good moment between them.
func TestReasonsThatAlternateAreToldOnceEach(t *testing.T) {
	play(t, newCanary(), func(s *stage) {
		s.until(siskinv1.PhaseInitialized)
		s.quiet()
		for i := range 12 {
			s.edit(func(c *siskinv1.Canary) {
				c.Spec.Provider = []string{"nowhere", ""}[i%2]
				c.Spec.Analysis.Interval = []string{"10s", "soon"}[i%2]
			})
			s.pass()
			s.sleep(2 * time.Minute)
		}
		if told := s.events.take(); reasons(told) != "UnknownProvider InvalidSpec" {
			s.t.Errorf("told %d times: %v", len(told), told)
		}
	})
}
