package scenarios

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/e2e/fixtures"
)

// TestFreeze : at the threshold nothing moves until a person decides, whatever they decide; when nobody does, the version is taken
// back at the deadline.
func TestFreeze(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		request string
		outcome siskinv1.Phase
		id      int64
		extra   string
		weights string // of the rollout that ended, from the freeze on
		cause   string
	}{
		"abort":    {request: "abort@1", outcome: siskinv1.PhaseFailed, id: 1, weights: "[20 0]", cause: "ann aborted it"},
		"resume":   {request: "resume@1", outcome: siskinv1.PhaseSucceeded, id: 1, weights: "[20 50 0]"},
		"promote":  {request: "promote@1", outcome: siskinv1.PhaseSucceeded, id: 1, weights: "[20 0]"},
		"retry":    {request: "retry@1", outcome: siskinv1.PhaseSucceeded, id: 2, weights: "[20 0 20 50 0]"},
		"deadline": {outcome: siskinv1.PhaseFailed, id: 1, extra: "\n    gateDeadlineSeconds: 20", weights: "[20 0]", cause: "nobody decided before the deadline"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, r := story(t, fixtures.App{})
			check := s.NS + "/rollout"
			r.Set(check, fixtures.No)
			s.Start(s.App.Canary(gated(s, r, "rollout") + tc.extra + "\n    onFailure: Freeze"))
			users := s.Users(50)
			s.Release("1.1.0")
			c := s.Phase(siskinv1.PhaseFrozen, time.Minute)
			frozen := c.Status.LastTransitionTime.Time
			if tc.request == "abort@1" {
				describe(s, "frozen")
			}
			stalled := meta.FindStatusCondition(c.Status.Conditions, siskinv1.ConditionStalled)
			if stalled == nil || stalled.Status != metav1.ConditionTrue || stalled.Reason != "Frozen" || !strings.Contains(stalled.Message, "webhook rollout") {
				t.Errorf("a person must act, and the conditions are %+v", c.Status.Conditions)
			}
			if e := s.OneEvent("Frozen"); e.Type != "Warning" || !strings.Contains(e.Note, "annotate siskin.dev/request=abort, retry, resume or promote") {
				t.Errorf("the event says %+v", e)
			}
			log := watchWeights(s)
			asked := len(r.Calls(check))
			select {
			case <-time.After(7 * time.Second): // two intervals and more
			case at := <-log.changes:
				t.Fatalf("the traffic moved while frozen: %+v", at)
			}
			if n := len(r.Calls(check)); n != asked {
				t.Errorf("a frozen rollout is judged: %d calls more", n-asked)
			}
			r.Set(check, fixtures.Yes)
			if tc.request != "" {
				s.Accepted(tc.request)
			}
			if tc.id > 1 {
				begun(s, 1)
			}
			c = endsAs(s, tc.outcome, time.Minute)
			if c.Status.Rollout.ID != tc.id || !strings.Contains(c.Status.Rollout.Cause, tc.cause) {
				t.Errorf("rollout %d ended with cause %q", c.Status.Rollout.ID, c.Status.Rollout.Cause)
			}
			var got []int32
			for _, w := range log.until(s, 0) {
				got = append(got, w.Canary)
			}
			if fmt.Sprint(got) != tc.weights {
				t.Errorf("the canary had %v, not %s", got, tc.weights)
			}
			if took := c.Status.LastTransitionTime.Sub(frozen); tc.request == "" && took < 20*time.Second {
				t.Errorf("a freeze of 20 s ended after %s", took)
			}
			users.Stop()
			s.NobodyFailed("users", users, time.Time{})
		})
	}
}
