package scenarios

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/e2e/cluster"
	"github.com/siskin-dev/siskin/e2e/fixtures"
)

// stalls waits until the Canary says that a person must act: Stalled and not Ready for a reason, with words that help.
func stalls(s *fixtures.Story, reason string, words ...string) *siskinv1.Canary {
	s.Helper()
	return s.When(45*time.Second, func(c *siskinv1.Canary) string {
		stalled := meta.FindStatusCondition(c.Status.Conditions, siskinv1.ConditionStalled)
		ready := meta.FindStatusCondition(c.Status.Conditions, siskinv1.ConditionReady)
		if stalled == nil || ready == nil || stalled.Reason != reason || ready.Status != metav1.ConditionFalse || ready.Reason != reason {
			return fmt.Sprintf("not stalled as %s: %+v", reason, c.Status.Conditions)
		}
		for _, w := range words {
			if !strings.Contains(stalled.Message, w) {
				return fmt.Sprintf("the message lacks %q: %s", w, stalled.Message)
			}
		}
		return ""
	})
}

// warnings waits for an event that tells people, and checks that it is the only one. It comes after the status.
func warnings(s *fixtures.Story, word string) {
	s.Helper()
	var all []fixtures.Event
	n := 0
	cluster.Eventually(s, 15*time.Second, func(ctx context.Context) error {
		var err error
		if all, err = s.EventsOf(ctx, ""); err != nil {
			return err
		}
		n = 0
		for _, e := range all {
			if e.Type == "Warning" && strings.Contains(e.Note, word) {
				n += e.Count
			}
		}
		if n == 0 {
			return fmt.Errorf("no warning names %q: %+v", word, all)
		}
		return nil
	})
	if n != 1 {
		s.Errorf("%d warnings name %q, not one: %+v", n, word, all)
	}
}

// TestTargetMissing : a Canary may come before its target.
func TestTargetMissing(t *testing.T) {
	t.Parallel()
	s, _ := story(t, fixtures.App{})
	s.Apply(s.App.Canary(brisk))
	stalls(s, "TargetNotFound", "does not exist")
	s.OneEvent("TargetNotFound")
	nothingMade(s)
	s.Apply(s.App.Deployment())
	s.Phase(siskinv1.PhaseInitialized, time.Minute)
}

// TestNoPorts : without a port there can be no Service.
func TestNoPorts(t *testing.T) {
	t.Parallel()
	s, _ := story(t, fixtures.App{})
	s.Apply(s.App.Deployment())
	s.Apply(strings.Replace(s.App.Canary(brisk), "    port: 80\n    targetPort: http\n", "", 1))
	stalls(s, "InvalidSpec", "port")
	warnings(s, "port")
	if n := *s.Deployment("").Spec.Replicas; n != 1 {
		t.Errorf("the target was scaled to %d although nothing else serves", n)
	}
	s.Patch(`{"service": {"port": 80, "targetPort": "http"}}`)
	s.Phase(siskinv1.PhaseInitialized, time.Minute)
}

// TestUnknownProvider : a provider that this Siskin does not have is named, and nothing is done by default.
func TestUnknownProvider(t *testing.T) {
	t.Parallel()
	s, _ := story(t, fixtures.App{})
	s.Apply(s.App.Deployment())
	s.Apply(strings.Replace(s.App.Canary(brisk), "provider: gatewayapi", "provider: istoi", 1))
	stalls(s, "UnknownProvider", "istoi", "gatewayapi", "kubernetes")
	s.OneEvent("UnknownProvider")
	nothingMade(s)
	s.Patch(`{"provider": "gatewayapi"}`)
	s.Phase(siskinv1.PhaseInitialized, time.Minute)
}

// nothingMade checks that nothing half-done is left.
func nothingMade(s *fixtures.Story) {
	s.Helper()
	out, err := s.Kubectl(s.Context(), "-n", s.NS, "get", "deployments,services,httproutes,controllerrevisions",
		"-l", siskinv1.CanaryLabel, "-o", "name")
	if err != nil {
		s.Fatal(err)
	}
	if strings.Contains(out, "/") {
		s.Errorf("something was made all the same: %s", out)
	}
}

const template = `apiVersion: siskin.dev/v1
kind: MetricTemplate
metadata: {name: answers}
spec:
  provider: {type: prometheus, address: "http://prometheus.monitoring.svc.cluster.local:9090"}
  query: |
    %s
`

const answersMetric = `
    metrics:
    - {name: answers, templateRef: {name: answers}, thresholdRange: {min: 1}}`

// TestTemplatesAreCheckedBeforeARollout : one that cannot be used is told at rest, by the metric's field; a new version
// waits, and begins when the template is mended.
func TestTemplatesAreCheckedBeforeARollout(t *testing.T) {
	t.Parallel()
	s, _ := story(t, fixtures.App{})
	s.Apply(fmt.Sprintf(template, "vector({{ nonsense"))
	s.Start(s.App.Canary(brisk + answersMetric))
	stalls(s, "AnalysisInvalid", "spec.analysis.metrics[0] (answers)", "the next rollout waits")
	s.Release("1.1.0")
	c := stalls(s, "AnalysisInvalid", "waits until its metrics can be asked")
	if c.Status.Phase != siskinv1.PhaseInitialized {
		t.Errorf("it is %s", c.Status.Phase)
	}
	s.OneEvent("AnalysisInvalid")
	s.Apply(fmt.Sprintf(template, "vector(1)"))
	endsAs(s, siskinv1.PhaseSucceeded, time.Minute)
}

// TestTemplateWithSyntaxError : a template that cannot be used any more is no bad release: the step holds, counts
// nothing, names the template, and goes on once it is mended.
func TestTemplateWithSyntaxError(t *testing.T) {
	t.Parallel()
	s, _ := story(t, fixtures.App{ReadyAfter: 4})
	s.Apply(fmt.Sprintf(template, "vector(1)"))
	s.Start(s.App.Canary(brisk + answersMetric))
	s.Release("1.1.0")
	begun(s, 0)
	s.Apply(fmt.Sprintf(template, "vector({{ nonsense")) // before its pods are ready
	c := stalls(s, "AnalysisInvalid", "answers")
	if c.Status.FailedChecks != 0 || c.Status.Phase != siskinv1.PhaseProgressing {
		t.Errorf("%d failed checks in phase %s", c.Status.FailedChecks, c.Status.Phase)
	}
	s.OneEvent("CheckInconclusive")
	staysStalled(s, c.Status.Step.Attempt+2)
	s.Apply(fmt.Sprintf(template, "vector(1)"))
	c = endsAs(s, siskinv1.PhaseSucceeded, time.Minute)
	if meta.FindStatusCondition(c.Status.Conditions, siskinv1.ConditionStalled) != nil {
		t.Errorf("still stalled: %+v", c.Status.Conditions)
	}
}

// staysStalled watches the Canary until its check was repeated so often: the condition must not come and go with each check.
func staysStalled(s *fixtures.Story, attempt int32) {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.Context(), 90*time.Second)
	defer cancel()
	watcher, err := s.API.Watch(ctx, &siskinv1.CanaryList{}, client.InNamespace(s.NS))
	if err != nil {
		s.Fatal(err)
	}
	defer watcher.Stop()
	for event := range watcher.ResultChan() {
		c, ok := event.Object.(*siskinv1.Canary)
		if !ok {
			continue
		}
		if meta.FindStatusCondition(c.Status.Conditions, siskinv1.ConditionStalled) == nil {
			s.Fatalf("not stalled any more in attempt %d although nobody acted: %s", c.Status.Step.Attempt, c.Status.Message)
		}
		if c.Status.Step.Attempt >= attempt {
			return
		}
	}
	s.Fatalf("the check was not repeated until attempt %d", attempt)
}
