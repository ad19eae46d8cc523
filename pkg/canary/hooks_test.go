package canary_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

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
