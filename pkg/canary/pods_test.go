package canary_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/canary/observe"
)

// slowPods reads pods when the API server gets to it.
type slowPods struct {
	client.Reader

	answer chan struct{}
	asked  int
}

func (r *slowPods) List(ctx context.Context, list client.ObjectList, _ ...client.ListOption) error {
	r.asked++
	select {
	case <-r.answer:
		return r.Reader.List(ctx, list)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// TestNoDecisionWaitsForALookAtPods : the API server takes its time to list pods. The rollback is decided meanwhile, and
// what is found shows when it is there.
func TestNoDecisionWaitsForALookAtPods(t *testing.T) {
	for name, answers := range map[string]bool{"it answers": true, "it never does": false} {
		t.Run(name, func(t *testing.T) {
			play(t, newCanary(func(c *siskinv1.Canary) { c.Spec.ProgressDeadlineSeconds = new(int32(60)) }), func(s *stage) {
				pods := &slowPods{Reader: s.api, answer: make(chan struct{}, 1)}
				s.Observer.Ailing = &observe.Ailing{Live: pods, Clock: s.clock, Run: s.Asker.Looks(s.wake)}
				s.until(siskinv1.PhaseInitialized)
				s.sick["web-canary"] = true
				s.image("web:2")
				s.reach(siskinv1.PhaseProgressing)
				began := s.clock.Now()
				for pods.asked == 0 && s.clock.Now().Before(began.Add(time.Minute)) {
					s.kubelet()
					s.sleep(min(s.look(began).RequeueAfter, 5*time.Second))
				}
				if pods.asked != 1 {
					t.Fatalf("the pods were looked at %d times", pods.asked)
				}
				if answers {
					s.pod("web-canary-1")
					woken := s.woken
					pods.answer <- struct{}{}
					synctest.Wait()
					if s.woken == woken {
						t.Error("nobody is woken")
					}
				}
				for s.canary().Status.Phase == siskinv1.PhaseProgressing && s.clock.Now().Before(began.Add(2*time.Minute)) {
					s.kubelet()
					s.sleep(min(s.look(began).RequeueAfter, 5*time.Second))
				}
				st := s.canary().Status
				if st.Phase != siskinv1.PhaseFailed && st.Phase != siskinv1.PhaseRollingBack {
					t.Errorf("it is %s: %s", st.Phase, st.Message)
				}
				var told string
				for _, e := range s.events.take() {
					if strings.Contains(e, " RollingBack ") {
						told = e
					}
				}
				if strings.Contains(told, "ErrImagePull") != answers {
					t.Errorf("told %q", told)
				}
			})
		})
	}
}

// look makes a pass in which nobody waits for what is asked outside of it.
func (s *stage) look(began time.Time) (res struct{ RequeueAfter time.Duration }) {
	s.t.Helper()
	at := time.Now()
	res.RequeueAfter = s.pass().RequeueAfter
	if took := time.Since(at); took > 0 {
		s.t.Errorf("after %v a pass takes %v", s.clock.Now().Sub(began), took)
	}
	return res
}

// pod is one of the canary's that cannot pull its image.
func (s *stage) pod(name string) {
	s.t.Helper()
	clone := s.deployment("web-canary")
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "shop", Labels: clone.Spec.Template.Labels},
		Spec:       *clone.Spec.Template.Spec.DeepCopy(),
	}
	p.Status.ContainerStatuses = []corev1.ContainerStatus{{
		Name: "web", Image: "web:2", State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ErrImagePull"}},
	}}
	if err := s.api.Create(s.t.Context(), p); err != nil {
		s.t.Fatal(err)
	}
}
