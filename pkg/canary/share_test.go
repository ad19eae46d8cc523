package canary_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/metrics"
	"github.com/siskin-dev/siskin/pkg/router"
)

// askedShare is a part of the query for the share that no other has.
const askedShare = "count(resets("

func longSteps(c *siskinv1.Canary) {
	c.Spec.Analysis.Interval, c.Spec.Analysis.StepWeights = "30s", []int32{20}
}

// A route that takes the canary's requests is told once and holds the step until it is gone; then the rollout goes on.
func TestRoutingMismatchIsToldOnceAndHolds(t *testing.T) {
	play(t, newCanary(longSteps), func(s *stage) {
		s.router.Count(router.Rival{Name: "old", Rules: []int{0}}, router.Rival{Name: "older", Rules: []int{1}})
		s.metrics.Answer(2000) // requests
		s.metrics.AnswerTo("errors", 0.5)
		s.metrics.AnswerPart(askedShare, 3, nil)
		s.until(siskinv1.PhaseInitialized)
		s.image("web:2")
		s.events.take()
		for end := s.clock.Now().Add(3 * time.Minute); s.clock.Now().Before(end); {
			s.kubelet()
			s.sleep(max(s.pass().RequeueAfter, time.Millisecond))
		}
		c := s.canary()
		ready := meta.FindStatusCondition(c.Status.Conditions, siskinv1.ConditionReady)
		if c.Status.Step.Index != 1 || ready.Reason != "RoutingMismatch" || c.Status.FailedChecks != 0 ||
			!strings.Contains(ready.Message, "claimed by HTTPRoute old and HTTPRoute older") || !strings.Contains(ready.Message, "60 of 2000") {
			t.Errorf("step %d, %d failed, %+v", c.Status.Step.Index, c.Status.FailedChecks, ready)
		}
		told := strings.Join(s.events.take(), "\n")
		if strings.Count(told, "RoutingMismatch") != 1 || strings.Count(told, "CheckInconclusive") != 0 {
			t.Errorf("told:\n%s", told)
		}
		alerts := 0
		for _, m := range s.chat.Sent() {
			if strings.Contains(m.Text, "claimed by HTTPRoute old") {
				alerts++
			}
		}
		if alerts != 1 {
			t.Errorf("%d alerts", alerts)
		}
		s.metrics.AnswerPart(askedShare, 20, nil)
		s.until(siskinv1.PhaseSucceeded)
	})
}

// Of a rollout whose canary has its share, of a gateway that cannot be asked, and of one whose users are kept at a
// version, nothing is said.
func TestNothingIsSaidOfACleanRollout(t *testing.T) {
	affinity := func(c *siskinv1.Canary) {
		longSteps(c)
		c.Spec.Analysis.SessionAffinity = &siskinv1.SessionAffinity{CookieName: "web"}
	}
	for name, tt := range map[string]struct {
		edit    func(*siskinv1.Canary)
		percent float64
		err     error
		rivals  error
		queries bool
	}{
		"no data":                           {longSteps, 0, metrics.ErrNoData, nil, true},
		"no answer":                         {longSteps, 0, metrics.ErrUnavailable, nil, true},
		"users are kept":                    {affinity, 1, nil, nil, false},
		"other routes cannot be looked for": {longSteps, 20, metrics.ErrNoData, errors.New("no cache"), true},
	} {
		t.Run(name, func(t *testing.T) {
			play(t, newCanary(tt.edit), func(s *stage) {
				s.router.SetCapabilities(able())
				s.router.Count()
				s.router.FailNext("Rivals", tt.rivals)
				s.metrics.AnswerPart(askedShare, tt.percent, tt.err)
				s.until(siskinv1.PhaseInitialized)
				s.image("web:2")
				s.until(siskinv1.PhaseSucceeded)
				if told := strings.Join(s.events.take(), "\n"); strings.Contains(told, "RoutingMismatch") {
					t.Errorf("told:\n%s", told)
				}
				asked := false
				for _, q := range s.metrics.Queries() {
					asked = asked || strings.Contains(q.Text, askedShare)
				}
				if asked != tt.queries {
					t.Errorf("asked: %v", asked)
				}
			})
		})
	}
}
