package scenarios

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/e2e/fixtures"
)

// TestRequestsSurviveKills : Siskin is killed around the moment in which a person asks for something: while it is down, or just after.
// Each request is carried out exactly once, also when Siskin is killed once more after it has answered.
func TestRequestsSurviveKills(t *testing.T) {
	s, _ := story(t, fixtures.App{})
	s.Start(s.App.Canary(slow))
	users := s.Users(50)
	s.Release("1.1.0")
	s.Weight(20, 40*time.Second)
	// Each step tells what must have come of the request before it.
	for i, step := range []struct {
		verb string
		done func(*siskinv1.Canary) string
		id   int64
	}{
		{"pause", func(c *siskinv1.Canary) string { return unless(c.Status.Step.Paused, "not paused") }, 1},
		{"resume", func(c *siskinv1.Canary) string { return unless(!c.Status.Step.Paused, "paused") }, 1},
		{"abort", func(c *siskinv1.Canary) string {
			return unless(c.Status.Phase == siskinv1.PhaseFailed, "not taken back")
		}, 1},
		{"retry", func(c *siskinv1.Canary) string { return unless(c.Status.CanaryWeight == 20, "not tried again") }, 2},
		{"promote", func(c *siskinv1.Canary) string {
			return unless(c.Status.Phase == siskinv1.PhaseSucceeded, "not promoted")
		}, 2},
		{"rollback", func(c *siskinv1.Canary) string {
			return unless(c.Status.Phase == siskinv1.PhaseSucceeded && c.Status.Rollout.Direct, "not back")
		}, 3},
	} {
		request := fmt.Sprintf("%s@%d", step.verb, i)
		if i%2 == 0 { // while it is down
			die(t, s.Env, podAndLeaseLost) // a container that crashes again and again would be held back
			s.Ask(request)
		} else { // about when it answers
			s.Ask(request)
			rest(t, time.Duration(rand.Int64N(int64(20*time.Millisecond))))
			die(t, s.Env, podAndLeaseLost)
		}
		c := s.When(90*time.Second, func(c *siskinv1.Canary) string {
			if c.Status.Request == nil || c.Status.Request.Value != request {
				return "request " + request + " is not answered"
			}
			return step.done(c)
		})
		if !c.Status.Request.Accepted || c.Status.Rollout.ID != step.id {
			t.Fatalf("request %+v, rollout %d", c.Status.Request, c.Status.Rollout.ID)
		}
		at := c.Status.Request.At
		if i%3 == 2 { // once more, when all is done
			takeOver(t, s.Env, podAndLeaseLost)
			c = s.Now()
			if missing := step.done(c); missing != "" || !c.Status.Request.At.Equal(at) || c.Status.Rollout.ID != step.id {
				t.Errorf("after another restart: %s; request %+v, rollout %d", missing, c.Status.Request, c.Status.Rollout.ID)
			}
		}
	}
	users.Stop()
	s.NobodyFailed("users while Siskin was killed", users, time.Time{})
	var outcomes []string
	for _, h := range s.Now().Status.History {
		outcomes = append(outcomes, h.Outcome+": "+h.Cause)
	}
	if len(outcomes) != 3 || outcomes[2] != "Failed: ann aborted it" {
		t.Errorf("the history tells %q", outcomes)
	}
	events, err := s.EventsOf(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	told := map[string]int{}
	for _, e := range events {
		told[e.Reason] += e.Count
	}
	for _, reason := range []string{"Paused", "Resumed", "RollingBack", "PromotionRequested", "DirectRollout"} {
		if told[reason] > 1 { // a crash between storing and telling may lose one
			t.Errorf("%s was told %d times", reason, told[reason])
		}
	}
	t.Logf("%v", told)
}

func unless(ok bool, missing string) string {
	if ok {
		return ""
	}
	return missing
}

// TestRequestsAndGit : what people ask for is in no manifest. Applying the Canary again, by git-sync or by kubectl, neither repeats nor
// loses a request.
func TestRequestsAndGit(t *testing.T) {
	t.Parallel()
	for name, begin := range map[string]func(*fixtures.Story) (apply func(map[string]string)){
		"kubectl": func(s *fixtures.Story) func(map[string]string) {
			return func(files map[string]string) {
				for _, manifest := range files {
					s.Apply(manifest)
				}
			}
		},
		"git-sync": func(s *fixtures.Story) func(map[string]string) {
			repo := s.Repo(s, s.NS, "", "")
			first := true
			return func(files map[string]string) {
				repo.Commit("again", files)
				if first {
					s.Apply("apiVersion: siskin.dev/v1\nkind: GitSync\nmetadata: {name: shop}\nspec: {interval: 1s, url: \"" + s.GitURLInCluster(s.NS) + "\"}\n")
					first = false
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, _ := story(t, fixtures.App{})
			apply := begin(s)
			canary := s.App.Canary(slow)
			apply(map[string]string{"app.yaml": s.App.Deployment(), "canary.yaml": canary})
			s.Phase(siskinv1.PhaseInitialized, time.Minute)
			s.App.Version = "1.1.0"
			apply(map[string]string{"app.yaml": s.App.Deployment()})
			s.Weight(20, time.Minute)
			s.Accepted("pause@1")
			again := func(threshold int) *siskinv1.Canary {
				t.Helper()
				apply(map[string]string{"canary.yaml": strings.Replace(canary, "threshold: 1", fmt.Sprintf("threshold: %d", threshold), 1)})
				return s.When(30*time.Second, func(c *siskinv1.Canary) string {
					return unless(c.Spec.Analysis.Threshold == int32(threshold) && c.Status.ObservedGeneration == c.Generation, "the new manifest is not seen")
				})
			}
			c := again(2)
			if !c.Status.Step.Paused || c.Annotations[siskinv1.RequestAnnotation] != "pause@1" || c.Annotations[siskinv1.RequestedByAnnotation] != "ann" {
				t.Errorf("applying it again: paused %t, annotations %v", c.Status.Step.Paused, c.Annotations)
			}
			s.Accepted("resume@2")
			if c = again(3); c.Status.Step.Paused {
				t.Error("applying it again repeated a request that was taken back since")
			}
			s.Accepted("abort@3")
			endsAs(s, siskinv1.PhaseFailed, 30*time.Second)
			c = again(4)
			if c.Status.Phase != siskinv1.PhaseFailed || c.Status.Rollout.ID != 1 || c.Status.Request.Value != "abort@3" {
				t.Errorf("applying it again: %s, rollout %d, request %+v", c.Status.Phase, c.Status.Rollout.ID, c.Status.Request)
			}
			for _, reason := range []string{"Paused", "Resumed", "RollingBack"} {
				s.OneEvent(reason)
			}
		})
	}
}
