package scenarios

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/e2e/cluster"
	"github.com/siskin-dev/siskin/e2e/fixtures"
)

// hpa is the manifest of an autoscaler that wants a pod for each 100m of load.
func hpa(s *fixtures.Story, least, most int) string {
	return fmt.Sprintf(`apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: %[1]s, annotations: {example.org/owner: aviary}}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: %[1]s}
  minReplicas: %[2]d
  maxReplicas: %[3]d
  metrics: [{type: Resource, resource: {name: cpu, target: {type: AverageValue, averageValue: 100m}}}]
  behavior: {scaleDown: {stabilizationWindowSeconds: 0}, scaleUp: {policies: [{type: Pods, value: 10, periodSeconds: 1}]}}
`, s.App.Name, least, most)
}

// busy makes all pods of the app share milli thousandths of a CPU.
func busy(s *fixtures.Story, milli int) {
	s.Helper()
	if err := s.SetLoad(s.Context(), s.NS, "app="+s.App.Name, milli); err != nil {
		s.Fatal(err)
	}
}

func scalerOf(s *fixtures.Story, suffix string) *autoscalingv2.HorizontalPodAutoscaler {
	s.Helper()
	var h autoscalingv2.HorizontalPodAutoscaler
	if err := s.API.Get(s.Context(), client.ObjectKey{Namespace: s.NS, Name: s.App.Name + suffix}, &h); err != nil {
		s.Fatal(err)
	}
	return &h
}

// grown waits until the primary has a number of pods that ok likes.
func grown(s *fixtures.Story, what string, ok func(n int32) bool) {
	s.Helper()
	cluster.Eventually(s, 45*time.Second, func(ctx context.Context) error {
		if n := *s.Deployment("-primary").Spec.Replicas; !ok(n) {
			out, _ := s.Kubectl(ctx, "-n", s.NS, "describe", "hpa")
			return fmt.Errorf("%s: the primary has %d pods; %s", what, n, out)
		}
		return nil
	})
}

// least is the smallest size that the primary was told to have, from a version of it on until the rollout reached a phase, in the API server's
// order of writes: in the next moment its autoscaler may be free to shrink it.
func least(s *fixtures.Story, h *fixtures.History, from uint64, until siskinv1.Phase) int32 {
	s.Helper()
	var out int32
	cluster.Eventually(s, 10*time.Second, func(context.Context) error { // the watch may tell later than a read
		out = 1 << 30
		for _, change := range h.Changes() {
			switch o := change.Object.(type) {
			case *siskinv1.Canary:
				if o.Status.Phase == until {
					return nil
				}
			case *appsv1.Deployment:
				if o.Name == s.App.Name+"-primary" && change.Version >= from {
					out = min(out, fixtures.Replicas(o))
				}
			}
		}
		return fmt.Errorf("%s was not seen", until)
	})
	return out
}

// most is the largest size that the primary was told to have.
func most(s *fixtures.Story, h *fixtures.History) (out int32) {
	for _, change := range h.Changes() {
		if d, ok := change.Object.(*appsv1.Deployment); ok && d.Name == s.App.Name+"-primary" {
			out = max(out, fixtures.Replicas(d))
		}
	}
	return out
}

// TestAutoscalerScalesInEveryPhase : the real horizontal-pod-autoscaler scales up and down while the primary comes up, while the canary
// is judged, while the primary is replaced, while the traffic goes back, and when nothing goes on. Nothing waits for it, nobody
// notices, and during the rollout the primary is never smaller than before it.
func TestAutoscalerScalesInEveryPhase(t *testing.T) {
	t.Parallel()
	s, r := story(t, fixtures.App{ReadyAfter: 3})
	gate := s.NS + "/promotion"
	r.Set(gate, fixtures.No) // however long the autoscaler takes, no phase passes unseen
	s.Apply(s.App.Deployment())
	s.Apply(hpa(s, 1, 8))
	busy(s, 100)
	s.Apply(s.App.Canary(`    interval: 4s
    threshold: 1
    stepWeights: [20, 50]
    stepWeightPromotion: 20
    webhooks: [{name: promotion, type: confirm-promotion, url: "`+r.URL(gate)+`"}]`, "autoscalerRef: {apiVersion: autoscaling/v2, kind: HorizontalPodAutoscaler, name: "+s.App.Name+"}"))
	s.Phase(siskinv1.PhaseInitializing, 30*time.Second)
	busy(s, 300)
	s.Phase(siskinv1.PhaseInitialized, time.Minute)
	grown(s, "idle", func(n int32) bool { return n == 3 })
	if user := scalerOf(s, ""); user.Spec.ScaleTargetRef.Name != s.App.Name+"-primary" {
		t.Errorf("it scales %s", user.Spec.ScaleTargetRef.Name)
	}
	sized(s, 3)
	users := s.Users(100)
	h := s.Follow()

	began := time.Now()
	s.Release("1.1.0")
	s.Weight(20, time.Minute)
	if c := s.Now(); c.Status.Rollout.Floor != 3 {
		t.Errorf("the floor is %d, not 3", c.Status.Rollout.Floor)
	}
	busy(s, 900)
	grown(s, "Progressing, under load", func(n int32) bool { return n > 3 })
	busy(s, 100)
	r.Set(gate, fixtures.Yes)
	s.Phase(siskinv1.PhasePromoting, time.Minute)
	busy(s, 700)
	s.Phase(siskinv1.PhaseFinalising, time.Minute)
	busy(s, 100)
	c := endsAs(s, siskinv1.PhaseSucceeded, time.Minute)
	t.Logf("the rollout took %s; %s", time.Since(began).Round(time.Second), c.Status.Message)
	grown(s, "after the rollout, without load", func(n int32) bool { return n == 1 })
	if n := least(s, h, 0, siskinv1.PhaseSucceeded); n < 3 {
		t.Errorf("the primary shrank to %d during the rollout", n)
	}
	stepped(s, h, 0, 20, 50, 30, 10, 0)
	users.Stop()
	s.NobodyFailed("users", users, time.Time{})
}

// TestW21AutoscalerEdit : an edit of the user's autoscaler acts at once, without a release, also one during a rollout; git that applies
// it again during a rollout does not shrink the primary; the canary has its own for as long as it is on trial; a deletion gives it back
// exactly.
func TestW21AutoscalerEdit(t *testing.T) {
	t.Parallel()
	s, _ := story(t, fixtures.App{Replicas: 2})
	s.Apply(s.App.Deployment())
	s.Apply(hpa(s, 2, 6))
	busy(s, 100)
	ref := "autoscalerRef: {kind: HorizontalPodAutoscaler, name: " + s.App.Name + ", canary: {minReplicas: 1, maxReplicas: 2}}"
	s.Start(s.App.Canary(`    interval: 5s
    threshold: 1
    stepWeights: [20, 50]`, ref))
	sized(s, 2)
	s.Apply(hpa(s, 4, 6))
	sized(s, 4)
	if c := s.Now(); c.Status.Rollout != nil {
		t.Errorf("an edit of the autoscaler started a rollout: %+v", c.Status.Rollout)
	}

	users := s.Users(50)
	followed := s.Follow()
	s.Release("1.1.0")
	s.Weight(20, time.Minute)
	if own := scalerOf(s, "-canary"); own.Spec.ScaleTargetRef.Name != s.App.Name+"-canary" || own.Spec.MaxReplicas != 2 {
		t.Errorf("the canary's own: %+v", own.Spec)
	}
	s.Apply(hpa(s, 1, 7)) // git: it may go down to 1, which has to wait, and up to 7
	cluster.Eventually(t, 20*time.Second, func(context.Context) error {
		h := scalerOf(s, "")
		if h.Spec.ScaleTargetRef.Name != s.App.Name+"-primary" || *h.Spec.MinReplicas != 4 || h.Spec.MaxReplicas != 7 {
			return fmt.Errorf("%s from %d to %d", h.Spec.ScaleTargetRef.Name, *h.Spec.MinReplicas, h.Spec.MaxReplicas)
		}
		return nil
	})
	endsAs(s, siskinv1.PhaseSucceeded, time.Minute)
	grown(s, "what git wrote during the rollout", func(n int32) bool { return n == 1 })
	if n := least(s, followed, 0, siskinv1.PhaseSucceeded); n < 4 {
		t.Errorf("the primary shrank to %d during the rollout", n)
	}
	var own autoscalingv2.HorizontalPodAutoscaler
	if err := s.API.Get(t.Context(), client.ObjectKey{Namespace: s.NS, Name: s.App.Name + "-canary"}, &own); !apierrors.IsNotFound(err) {
		t.Errorf("the canary's own is still there (%v)", err)
	}

	if err := s.API.Delete(t.Context(), s.Now()); err != nil {
		t.Fatal(err)
	}
	cluster.Eventually(t, time.Minute, func(ctx context.Context) error {
		if c, err := s.Canary(ctx, s.NS, s.App.Name); err == nil {
			return fmt.Errorf("the Canary is still there: %s", c.Status.Message)
		}
		return nil
	})
	h := scalerOf(s, "")
	if h.Spec.ScaleTargetRef.Name != s.App.Name || *h.Spec.MinReplicas != 1 || h.Spec.MaxReplicas != 7 {
		t.Errorf("given back: %+v", h.Spec)
	}
	for key := range h.Annotations {
		if strings.Contains(key, "siskin.dev") {
			t.Errorf("annotation %s was left", key)
		}
	}
	busy(s, 300)
	cluster.Eventually(t, 30*time.Second, func(context.Context) error {
		if n := *s.Deployment("").Spec.Replicas; n != 3 {
			return fmt.Errorf("the target has %d pods, not 3", n)
		}
		return nil
	})
	users.Stop()
	s.NobodyFailed("users", users, time.Time{})
}

// TestSwitchedOffUnderAnAutoscaler : a recorded zero takes all pods away, and the real autoscaler leaves that alone, however often git is
// applied; a number brings the app back, and the autoscaler takes over.
func TestSwitchedOffUnderAnAutoscaler(t *testing.T) {
	t.Parallel()
	s, _ := story(t, fixtures.App{})
	// Who has an autoscaler leaves the number out of git.
	git := func() string { return strings.Replace(s.App.Deployment(), "\n  replicas: 1", "", 1) }
	s.Apply(git())
	s.Apply(hpa(s, 2, 4))
	busy(s, 300)
	s.Apply(s.App.Canary(brisk, "autoscalerRef: {kind: HorizontalPodAutoscaler, name: "+s.App.Name+"}"))
	s.Phase(siskinv1.PhaseInitialized, time.Minute)
	sized(s, 3)
	record := func(value string) {
		t.Helper()
		if out, err := s.Kubectl(t.Context(), "-n", s.NS, "annotate", "deployment", s.App.Name, siskinv1.ReplicasAnnotation+"="+value, "--overwrite"); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	record("0")
	sized(s, 0)
	h := s.Follow()
	s.Apply(git())
	cluster.Eventually(t, 45*time.Second, func(context.Context) error {
		for _, c := range scalerOf(s, "").Status.Conditions {
			if c.Type == autoscalingv2.ScalingActive && c.Reason == "ScalingDisabled" {
				return nil
			}
		}
		return errors.New("the autoscaler has not seen that the primary is off")
	})
	s.App.Version = "1.1.0"
	s.Apply(git())
	s.When(20*time.Second, func(c *siskinv1.Canary) string {
		if !strings.Contains(c.Status.Message, "waits until the target has replicas") || c.Status.Rollout != nil {
			return "it does not wait: " + c.Status.Message
		}
		return ""
	})
	if n := most(s, h); n != 0 {
		t.Errorf("somebody brought %d pods up", n)
	}
	record("1")
	grown(s, "on again", func(n int32) bool { return n >= 2 })
	begun(s, 0)
	endsAs(s, siskinv1.PhaseSucceeded, time.Minute)
	sized(s, 3)
}

// TestScaledObject : KEDA's object is pointed at the primary with queries of the primary, keeps away from zero during a rollout, and is
// given back as it was. KEDA itself does not run here.
func TestScaledObject(t *testing.T) {
	t.Parallel()
	s, _ := story(t, fixtures.App{Replicas: 2})
	s.Apply(s.App.Deployment())
	manifest := fmt.Sprintf(`apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata: {name: %[1]s, annotations: {example.org/owner: aviary}}
spec:
  scaleTargetRef: {name: %[1]s}
  idleReplicaCount: 0
  maxReplicaCount: 5
  advanced: {horizontalPodAutoscalerConfig: {behavior: {scaleDown: {stabilizationWindowSeconds: 0}}}} # for so long the floor would stay
  triggers:
  - {type: prometheus, metadata: {serverAddress: "http://prometheus", threshold: "100", query: 'sum(rate(requests{app="%[1]s"}[1m]))'}}
  - {type: prometheus, name: queue, metadata: {serverAddress: "http://prometheus", threshold: "5", query: 'queue_of("%[1]s")'}}
`, s.App.Name)
	s.Apply(manifest)
	read := func() *unstructured.Unstructured {
		t.Helper()
		u := &unstructured.Unstructured{}
		u.SetAPIVersion("keda.sh/v1alpha1")
		u.SetKind("ScaledObject")
		if err := s.API.Get(t.Context(), client.ObjectKey{Namespace: s.NS, Name: s.App.Name}, u); err != nil {
			t.Fatal(err)
		}
		return u
	}
	before := read()
	s.Start(s.App.Canary(brisk, "autoscalerRef: {kind: ScaledObject, name: "+s.App.Name+`, primaryScalerQueries: {queue: "queue_of_primary"}}`))
	sized(s, 2)
	look := func() string {
		spec := read().Object["spec"].(map[string]any)
		text := []string{fmt.Sprint(spec["scaleTargetRef"].(map[string]any)["name"], " ", spec["minReplicaCount"], " ", spec["idleReplicaCount"], " ", spec["maxReplicaCount"])}
		for _, trigger := range spec["triggers"].([]any) {
			text = append(text, trigger.(map[string]any)["metadata"].(map[string]any)["query"].(string))
		}
		return strings.Join(text, " ")
	}
	name := s.App.Name + "-primary"
	queries := ` sum(rate(requests{app="` + s.App.Name + `"}[1m])) queue_of_primary` // all pods have that label
	rests := func(when, want string) {
		t.Helper()
		cluster.Eventually(t, 30*time.Second, func(context.Context) error {
			if got := look(); got != want {
				return fmt.Errorf("%s: %s, want %s", when, got, want)
			}
			return nil
		})
	}
	rests("idle", name+" <nil> 0 5"+queries)
	s.Release("1.1.0")
	s.Weight(20, time.Minute)
	rests("during the rollout", name+" 2 <nil> 5"+queries)
	s.Apply(manifest)
	rests("after git", name+" 2 <nil> 5"+queries)
	endsAs(s, siskinv1.PhaseSucceeded, time.Minute)
	rests("after the rollout", name+" <nil> 0 5"+queries)
	if err := s.API.Delete(t.Context(), s.Now()); err != nil {
		t.Fatal(err)
	}
	cluster.Eventually(t, time.Minute, func(ctx context.Context) error {
		if c, err := s.Canary(ctx, s.NS, s.App.Name); err == nil {
			return fmt.Errorf("the Canary is still there: %s", c.Status.Message)
		}
		return nil
	})
	after := read()
	if diff := cmp.Diff(before.Object["spec"], after.Object["spec"]) + cmp.Diff(before.GetAnnotations(), after.GetAnnotations()); diff != "" {
		t.Errorf("-was +is\n%s", diff)
	}
}

// TestAutoscalerThatIsMissing : status names it, the app goes on, and it is taken as soon as it is there.
func TestAutoscalerThatIsMissing(t *testing.T) {
	t.Parallel()
	s, _ := story(t, fixtures.App{Replicas: 2})
	s.Start(s.App.Canary(brisk, "autoscalerRef: {kind: HorizontalPodAutoscaler, name: "+s.App.Name+"}"))
	s.When(20*time.Second, func(*siskinv1.Canary) string {
		out, _ := s.Kubectl(t.Context(), "-n", s.NS, "get", "canary", s.App.Name, "-o", "jsonpath={.status.conditions}{.status.waitingFor}{.status.message}")
		if !strings.Contains(out, "HorizontalPodAutoscaler "+s.App.Name+" does not exist") || !strings.Contains(out, "AutoscalerNotFound") {
			return "status does not name it: " + out
		}
		return ""
	})
	s.Release("1.1.0")
	endsAs(s, siskinv1.PhaseSucceeded, time.Minute)
	busy(s, 100)
	s.Apply(hpa(s, 3, 4))
	sized(s, 3)
}
