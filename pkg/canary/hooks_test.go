package canary_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/hook"
)

// faithful is a webhook that honours keys: what it answered to a key it answers again. It belongs to no bubble.
type faithful struct {
	*httptest.Server

	mu      sync.Mutex
	answers map[string]int
}

func newFaithful(t *testing.T, answer func(asked int) int) *faithful {
	t.Helper()
	f := &faithful{answers: map[string]int{}}
	f.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.mu.Lock()
		defer f.mu.Unlock()
		key := r.Header.Get(hook.HeaderIdempotencyKey)
		if _, known := f.answers[key]; !known {
			f.answers[key] = answer(len(f.answers))
		}
		w.WriteHeader(f.answers[key])
	}))
	f.Config.SetKeepAlivesEnabled(false)
	t.Cleanup(f.Close)
	return f
}

// TestAReceiverThatHonoursKeysIsAskedAnew : it says no at first and yes to the third question.
func TestAReceiverThatHonoursKeysIsAskedAnew(t *testing.T) {
	later := func(asked int) int {
		if asked < 2 {
			return http.StatusForbidden
		}
		return http.StatusOK
	}
	for name, tc := range map[string]struct {
		reason string
		hook   siskinv1.HookType
		want   siskinv1.Phase
	}{
		"before the canary":         {"the gate opens", siskinv1.HookConfirmRollout, siskinv1.PhaseSucceeded},
		"before each step":          {"the gate opens", siskinv1.HookConfirmTrafficIncrease, siskinv1.PhaseSucceeded},
		"before the promotion":      {"the gate opens", siskinv1.HookConfirmPromotion, siskinv1.PhaseSucceeded},
		"what takes a version back": {"it is heard", siskinv1.HookRollback, siskinv1.PhaseFailed},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFaithful(t, later)
			play(t, newCanary(func(c *siskinv1.Canary) {
				c.Spec.Analysis.Webhooks = []siskinv1.CanaryWebhook{{Name: "ask", Type: tc.hook, URL: f.URL}}
			}), func(s *stage) {
				s.until(siskinv1.PhaseInitialized)
				s.image("web:2")
				s.reach(tc.want)
				f.mu.Lock()
				defer f.mu.Unlock()
				for key := range f.answers {
					if !strings.HasPrefix(key, "canary-uid/r1/") || !strings.HasSuffix(key, "/"+string(tc.hook)+"/ask") {
						s.t.Errorf("%s: asked with key %s", tc.reason, key)
					}
				}
			})
		})
	}
}

// TestASecretThatCannotBeReadIsNoFailedCheck : the first failed check takes a version back. A hook that was not called found nothing bad.
func TestASecretThatCannotBeReadIsNoFailedCheck(t *testing.T) {
	f := newFaithful(t, func(int) int { return http.StatusOK })
	for _, kind := range []siskinv1.HookType{siskinv1.HookPreRollout, siskinv1.HookRollout, siskinv1.HookConfirmTrafficIncrease, siskinv1.HookRollback} {
		t.Run(string(kind), func(t *testing.T) {
			play(t, newCanary(func(c *siskinv1.Canary) {
				c.Spec.Analysis.Webhooks = []siskinv1.CanaryWebhook{{Name: "load", Type: kind, URL: f.URL, SecretRef: &siskinv1.SecretRef{Name: "hooks"}}}
			}), func(s *stage) {
				secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "hooks", Namespace: "shop"}, Data: map[string][]byte{"token": []byte("t")}}
				if err := s.api.Create(s.t.Context(), secret); err != nil {
					s.t.Fatal(err)
				}
				late := 2
				s.Asker.Secrets = interceptor.NewClient(s.api, interceptor.Funcs{
					Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, obj client.Object, opts ...client.GetOption) error {
						if late--; late >= 0 || kind == siskinv1.HookRollback {
							return errors.New("etcdserver: request timed out")
						}
						return c.Get(ctx, key, obj, opts...)
					},
				})
				s.until(siskinv1.PhaseInitialized)
				s.image("web:2")
				s.until(siskinv1.PhaseSucceeded)
				if late >= 0 {
					s.t.Errorf("the Secret was to be late %d more times", late)
				}
				if n := s.canary().Status.FailedChecks; n != 0 {
					s.t.Errorf("%d failed checks", n)
				}
			})
		})
	}
}

// TestAWebhookThatGivesNoAnswerIsNoFailedCheck : the first failed check takes a version back. A receiver that is down
// says nothing about the version, and a gate that is not open is closed.
func TestAWebhookThatGivesNoAnswerIsNoFailedCheck(t *testing.T) {
	for _, kind := range []siskinv1.HookType{
		siskinv1.HookConfirmRollout, siskinv1.HookPreRollout, siskinv1.HookRollout, siskinv1.HookConfirmTrafficIncrease,
		siskinv1.HookConfirmPromotion, siskinv1.HookRollback, siskinv1.HookPostRollout,
	} {
		t.Run(string(kind), func(t *testing.T) {
			down := newDying(t, 2, kind == siskinv1.HookRollback)
			play(t, newCanary(func(c *siskinv1.Canary) {
				c.Spec.Analysis.Webhooks = []siskinv1.CanaryWebhook{{Name: "ask", Type: kind, URL: down.URL}}
			}), func(s *stage) {
				s.until(siskinv1.PhaseInitialized)
				s.image("web:2")
				if kind == siskinv1.HookConfirmRollout {
					s.reach(siskinv1.PhaseWaiting)
					s.pass()
					s.pass()
					s.sleep(20 * time.Second) // a text that lasts is written
					s.pass()
					if waits := s.canary().Status.WaitingFor; !slices.ContainsFunc(waits, func(w string) bool { return strings.Contains(w, "no answer") }) {
						s.t.Errorf("a gate that gives no answer says why it is closed: %v", waits)
					}
				}
				s.reach(siskinv1.PhaseSucceeded)
				if n := s.canary().Status.FailedChecks; n != 0 {
					s.t.Errorf("%d failed checks", n)
				}
			})
		})
	}
}

// TestWhatNoAnswerMeansIsThePolicys : as it is for a metric without a value.
func TestWhatNoAnswerMeansIsThePolicys(t *testing.T) {
	for name, tc := range map[string]struct {
		reason string
		hook   siskinv1.HookType
		policy siskinv1.NoDataPolicy
		want   siskinv1.Phase
	}{
		"a check fails":                {"noData: Fail", siskinv1.HookRollout, siskinv1.NoDataFail, siskinv1.PhaseFailed},
		"a check passes":               {"noData: Pass", siskinv1.HookRollout, siskinv1.NoDataPass, siskinv1.PhaseSucceeded},
		"before the traffic it fails":  {"noData: Fail", siskinv1.HookPreRollout, siskinv1.NoDataFail, siskinv1.PhaseFailed},
		"nothing is taken back for it": {"noData: Fail is about checks", siskinv1.HookRollback, siskinv1.NoDataFail, siskinv1.PhaseSucceeded},
	} {
		t.Run(name, func(t *testing.T) {
			down := newDying(t, 0, true)
			play(t, newCanary(func(c *siskinv1.Canary) {
				c.Spec.Analysis.NoData = tc.policy
				c.Spec.Analysis.Webhooks = []siskinv1.CanaryWebhook{{Name: "ask", Type: tc.hook, URL: down.URL}}
			}), func(s *stage) {
				s.until(siskinv1.PhaseInitialized)
				s.image("web:2")
				s.reach(tc.want)
			})
		})
	}
}

// TestAnAnswerThatIsNotAYesIsAFailedCheck : whatever its status says.
func TestAnAnswerThatIsNotAYesIsAFailedCheck(t *testing.T) {
	for _, status := range []int{http.StatusFound, http.StatusNotFound, http.StatusTooManyRequests, http.StatusInternalServerError, http.StatusServiceUnavailable} {
		t.Run(http.StatusText(status), func(t *testing.T) {
			f := newFaithful(t, func(int) int { return status })
			play(t, newCanary(func(c *siskinv1.Canary) {
				c.Spec.Analysis.Webhooks = []siskinv1.CanaryWebhook{{Name: "load", URL: f.URL}}
			}), func(s *stage) {
				s.until(siskinv1.PhaseInitialized)
				s.image("web:2")
				s.reach(siskinv1.PhaseFailed)
				if cause := s.canary().Status.Rollout.Cause; !strings.Contains(cause, strconv.Itoa(status)) {
					s.t.Errorf("taken back because %q", cause)
				}
			})
		})
	}
}

// newDying is a receiver that closes the first connections without an answer, or all.
func newDying(t *testing.T, first int, always bool) *httptest.Server {
	t.Helper()
	var asked atomic.Int32
	f := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if n := int(asked.Add(1)); n > first && !always {
			return
		}
		h, ok := w.(http.Hijacker)
		if !ok {
			return
		}
		if conn, _, err := h.Hijack(); err == nil {
			_ = conn.Close()
		}
	}))
	f.Config.SetKeepAlivesEnabled(false) // a connection that stays open keeps a bubble from resting
	t.Cleanup(f.Close)
	return f
}
