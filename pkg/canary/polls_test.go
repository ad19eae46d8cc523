package canary

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/canary/observe"
	"github.com/siskin-dev/siskin/pkg/canary/plan"
	"github.com/siskin-dev/siskin/pkg/hook"
)

// receiver is a webhook that notes the keys of its calls.
type receiver struct {
	*httptest.Server

	mu   sync.Mutex
	keys []string
}

// newReceiver starts a webhook. It belongs to no bubble, and leaves no connection open that would belong to one.
func newReceiver(t *testing.T, answer func(key string, calls int) int) *receiver {
	t.Helper()
	r := &receiver{}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		r.mu.Lock()
		defer r.mu.Unlock()
		key := req.Header.Get(hook.HeaderIdempotencyKey)
		r.keys = append(r.keys, key)
		w.WriteHeader(answer(key, len(r.keys)))
	}))
	r.Config.SetKeepAlivesEnabled(false)
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) called() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.keys)
}

// slowly takes its time to read Secrets, so that a hook is slow in a bubble.
type slowly struct {
	client.Reader

	takes time.Duration
}

func (s slowly) Get(ctx context.Context, key client.ObjectKey, obj client.Object, _ ...client.GetOption) error {
	select {
	case <-time.After(s.takes):
	case <-ctx.Done():
		return ctx.Err()
	}
	secret, ok := obj.(*corev1.Secret)
	if !ok {
		return errors.New("only Secrets are read of " + key.String())
	}
	secret.Data = map[string][]byte{"token": []byte("t")}
	return nil
}

// TestSlowGatesAreHeard : gates are asked every 10 s and answer after 12. The key of each call is that of the asking that it began with.
func TestSlowGatesAreHeard(t *testing.T) {
	for name, tc := range map[string]struct {
		reason string
		gate   plan.HookType
		state  func(*plan.State)
		want   []string // what the keys say of when the asking was
	}{
		"before the canary":     {"it is asked by the clock", plan.ConfirmRollout, func(z *plan.State) { z.Phase = plan.Waiting }, []string{"t0", "t2", "t4"}},
		"before the first step": {"so is this one", plan.ConfirmTrafficIncrease, func(*plan.State) {}, []string{"t0/a1", "t2/a1", "t4/a1"}},
		"after the first step":  {"it is asked once for each check", plan.ConfirmTrafficIncrease, firstStep, []string{"s1/a1"}},
	} {
		t.Run(name, func(t *testing.T) {
			r := newReceiver(t, func(string, int) int { return http.StatusForbidden })
			synctest.Test(t, func(t *testing.T) {
				h := siskinv1.CanaryWebhook{Name: "slow", Type: siskinv1.HookType(tc.gate), URL: r.URL, Timeout: "30s", SecretRef: &siskinv1.SecretRef{Name: "hooks"}}
				c := &siskinv1.Canary{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web", UID: "uid"}}
				c.Spec.Analysis.Webhooks = []siskinv1.CanaryWebhook{h}
				a := &Asker{
					Pool: NewPool(4, func(types.NamespacedName) {}), Hooks: hook.NewClient(hook.Options{}), Secrets: slowly{takes: 12 * time.Second},
				}
				go func() { _ = a.Pool.Start(t.Context()) }()
				s := gated(plan.Hook{Name: "slow", Type: tc.gate})
				tc.state(&s.State)
				s.Route.Current = s.State.Split
				heard := 0
				for range 59 {
					s.Now, s.Answers = time.Now(), map[string]plan.Answer{}
					a.Answer(&observe.World{Canary: c}, &s)
					heard += len(s.Answers)
					<-time.After(time.Second) // of the bubble's time
					synctest.Wait()
				}
				if heard == 0 {
					t.Errorf("%s, and never heard", tc.reason)
				}
			})
			want := slices.Clone(tc.want)
			for i, at := range want {
				want[i] = "uid/r1/web-2/" + at + "/" + string(tc.gate) + "/slow"
			}
			if got := r.called(); !slices.Equal(got, want) {
				t.Errorf("%s: called with %v, want %v", tc.reason, got, want)
			}
		})
	}
}

// gated is a rollout whose canary is ready before its first step, and that only a gate holds.
func gated(gate plan.Hook) plan.Snapshot {
	now := time.Now()
	up := func(rev string) plan.Workload {
		return plan.Workload{Found: true, Revision: rev, Replicas: 1, Pods: 1, Updated: 1, Available: 1, Endpoints: 1, Current: true}
	}
	return plan.Snapshot{
		Spec: plan.Spec{
			Steps: plan.Ladder(20, 60, 10*time.Second), Interval: 10 * time.Second, Threshold: 1, Deadline: 10 * time.Minute, GateDeadline: time.Hour,
			Hooks: []plan.Hook{gate}, CanarySize: plan.Size{Count: 1}, PrimaryReady: 100, CanaryReady: 100,
		},
		State: plan.State{
			Phase: plan.Progressing, Stable: "web-1", Candidate: "web-2", Rollout: 1, Attempt: 1, Split: plan.AllPrimary(), Replicas: 1,
			StartedAt: now, StepAt: now, CheckAt: now,
		},
		Primary: up("web-1"), Canary: up("web-2"), Target: plan.Target{Found: true, Revision: "web-2", Replicas: 1, Held: true, Stored: true},
		Route: plan.Route{Known: true, Current: plan.AllPrimary(), Confirmed: true},
	}
}

func firstStep(z *plan.State) { z.Step, z.Split = 1, plan.ToCanary(20) }

func TestASlowHookIsHeard(t *testing.T) {
	var p polls
	who := types.NamespacedName{Namespace: "n", Name: "c"}
	t0, t1, t2 := "r1/rev/t0/rollback/abort", "r1/rev/t1/rollback/abort", "r1/rev/t2/rollback/abort"
	if key := p.key(who, t0); key != t0 {
		t.Errorf("the first asking is its own call: %s", key)
	}
	if key := p.key(who, t1); key != t0 {
		t.Errorf("a call that is under way answers the next asking too: %s", key)
	}
	p.heard(who, t1, "")
	if key := p.key(who, t1); key != t0 {
		t.Errorf("the answer stays for the asking that it answered: %s", key)
	}
	if key := p.key(who, t2); key != t2 {
		t.Errorf("after the answer a new asking is a new call: %s", key)
	}
	if once := "r1/rev/s1/a1/rollout/check"; p.key(who, once) != once {
		t.Error("a question that is asked once is its own call")
	}
	p.forget(who, map[string]bool{t2: true})
	if len(p.all[who]) != 1 {
		t.Error("a poll that goes on was dropped")
	}
	p.forget(who, nil)
	if len(p.all) != 0 {
		t.Errorf("left: %v", p.all)
	}
}
