package scenarios

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/e2e/cluster"
	"github.com/siskin-dev/siskin/e2e/fixtures"
	"github.com/siskin-dev/siskin/e2e/load"
	"github.com/siskin-dev/siskin/pkg/canary/target"
)

// judged is brisk with a check on what the gateway sees.
const judged = `    interval: 3s
    threshold: 1
    stepWeights: [20, 50]
    metrics:
    - {name: request-success-rate, interval: 10s, thresholdRange: {min: 99}}`

// TestDaemonSet : a DaemonSet is released like a Deployment, a bad version is taken back, git that applies it again brings no pod of it
// up, and at the end it is as git wrote it.
func TestDaemonSet(t *testing.T) {
	t.Parallel()
	s, _ := story(t, fixtures.App{Kind: target.DaemonSet})
	// With one node, the new pod must come before the old one goes: that is the user's choice.
	manifest := func() string {
		return strings.NewReplacer("spec:\n  selector", "spec:\n  updateStrategy: {rollingUpdate: {maxSurge: 1, maxUnavailable: 0}}\n  selector",
			"terminationGracePeriodSeconds", "nodeSelector: {kubernetes.io/os: linux}\n      terminationGracePeriodSeconds").Replace(s.App.Deployment())
	}
	s.Apply(manifest())
	before := daemonSet(s, "")
	s.Apply(s.App.Canary(judged))
	s.Phase(siskinv1.PhaseInitialized, time.Minute)
	users := s.Users(100)
	heldNodes(s)

	s.App.Version = "1.1.0"
	s.Apply(manifest())
	begun(s, 0)
	endsAs(s, siskinv1.PhaseSucceeded, time.Minute)
	if sum := s.NobodyFailed("users of the good release", users, time.Time{}); sum.ByVersion["1.1.0"] == 0 {
		t.Error("nobody saw the new version")
	}
	bad := time.Now()
	s.App.Version, s.App.FailRatio = "1.2.0", "0.5"
	s.Apply(manifest())
	begun(s, 1)
	endsAs(s, siskinv1.PhaseFailed, time.Minute)
	s.NobodyFailed("users of the bad release", users, bad, "1.2.0")
	serves(s, "1.1.0", s.App.Name+"-primary-", 10*time.Second)
	heldNodes(s)

	// As a GitOps tool does it: on the server's side, with force.
	applied(s, manifest())
	heldNodes(s)

	s.App.Version, s.App.FailRatio = "1.1.0", ""
	s.Apply(manifest())
	remove(s)
	clonesGone(s, &appsv1.DaemonSet{})
	after := daemonSet(s, "")
	if fmt.Sprint(after.Spec.Template.Spec.NodeSelector) != fmt.Sprint(before.Spec.Template.Spec.NodeSelector) || after.Status.NumberAvailable != 1 {
		t.Errorf("the target was not given back: nodes %v, %d available", after.Spec.Template.Spec.NodeSelector, after.Status.NumberAvailable)
	}
	unmarked(s, after)
	serves(s, "1.1.0", s.App.Name+"-", 10*time.Second)
	users.Stop()
	s.NobodyFailed("users", users, time.Time{}, "1.2.0")
}

// TestStatefulSet : one without volume claims is released like a Deployment, and given back; one with them is refused.
func TestStatefulSet(t *testing.T) {
	t.Parallel()
	s, _ := story(t, fixtures.App{Kind: target.StatefulSet, Replicas: 2})
	s.Apply(headless(s.App))
	s.Start(s.App.Canary(judged))
	users := s.Users(100)
	s.Release("1.1.0")
	begun(s, 0)
	endsAs(s, siskinv1.PhaseSucceeded, 90*time.Second)
	var set appsv1.StatefulSet
	cluster.Eventually(t, 30*time.Second, func(ctx context.Context) error {
		err := s.API.Get(ctx, client.ObjectKey{Namespace: s.NS, Name: s.App.Name}, &set)
		if err == nil && (*set.Spec.Replicas != 0 || set.Status.Replicas != 0) {
			err = fmt.Errorf("the target has %d replicas, %d pods", *set.Spec.Replicas, set.Status.Replicas)
		}
		return err
	})
	if set.Annotations[siskinv1.ReplicasAnnotation] != "2" {
		t.Errorf("recorded %q", set.Annotations[siskinv1.ReplicasAnnotation])
	}
	serves(s, "1.1.0", s.App.Name+"-primary-", 10*time.Second)
	remove(s)
	clonesGone(s, &appsv1.StatefulSet{})
	if err := s.API.Get(t.Context(), client.ObjectKey{Namespace: s.NS, Name: s.App.Name}, &set); err != nil || *set.Spec.Replicas != 2 || set.Status.AvailableReplicas != 2 {
		t.Errorf("the target was not given back: %v, %+v", err, set.Status)
	}
	unmarked(s, &set)
	users.Stop()
	s.NobodyFailed("users", users, time.Time{})

	stateful, _ := story(t, fixtures.App{Kind: target.StatefulSet})
	stateful.Apply(stateful.App.Deployment() + `  volumeClaimTemplates:
  - metadata: {name: data}
    spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
`)
	stateful.Apply(stateful.App.Canary(brisk))
	c := stateful.When(20*time.Second, stalled(target.ReasonUnsupportedTarget))
	if !strings.Contains(c.Status.Message, "volumeClaimTemplates") {
		t.Errorf("message %q", c.Status.Message)
	}
}

// TestStatefulSetTakenBack : a version of a StatefulSet that its check refuses at weight is taken back, and so is one that crashes again and again
// under traffic. The pods of the good version are the same all the time and answer all the time; pods that crash do not keep the fix from
// being tried, and promoted.
func TestStatefulSetTakenBack(t *testing.T) {
	t.Parallel()
	s, r := story(t, fixtures.App{Kind: target.StatefulSet, Replicas: 2})
	check := s.NS + "/check"
	s.Apply(headless(s.App))
	c := s.App.Canary(`    interval: 3s
    threshold: 1
    stepWeights: [30]
    canaryReplicas: 1
    webhooks: [{name: check, type: rollout, url: "` + r.URL(check) + `"}]`)
	s.Start(c)
	good := primaryPods(s)
	users := s.Users(100)
	same := func(when string) {
		t.Helper()
		if now := primaryPods(s); !maps.Equal(now, good) {
			t.Errorf("%s: the good version's pods are %v, not %v", when, now, good)
		}
	}

	r.Set(check, fixtures.No)
	s.Release("1.1.0")
	s.Weight(30, time.Minute)
	seen(s, users, "1.1.0")
	failed := endsAs(s, siskinv1.PhaseFailed, time.Minute)
	if !strings.Contains(failed.Status.Rollout.Cause, "webhook check") || failed.Status.Stable.Image != "siskin.dev/testapp:1.0.0" {
		t.Errorf("cause %q, stable %+v", failed.Status.Rollout.Cause, failed.Status.Stable)
	}
	canarySetGone(s)
	same("after the refused version")
	s.NobodyFailed("users of the refused version", users, time.Time{})

	r.Set(check, fixtures.Yes)
	s.Apply(strings.Replace(c, "interval: 3s", "interval: 5m", 1)) // only the crash ends it
	s.App.Env = map[string]string{"CRASH_AFTER_START": "8s"}
	s.Release("1.2.0")
	begun(s, 1)
	failed = endsAs(s, siskinv1.PhaseFailed, time.Minute)
	if !strings.Contains(failed.Status.Rollout.Cause, "canary pods") || failed.Status.Rollout.TrafficAt == nil {
		t.Errorf("cause %q, traffic at %s", failed.Status.Rollout.Cause, failed.Status.Rollout.TrafficAt)
	}
	back := time.Now()
	canarySetGone(s)
	same("after the version that crashes")
	answersAllTheTime(s, users, "1.0.0")

	s.Apply(c)
	s.App.Env = nil
	s.Release("1.3.0")
	begun(s, 2)
	endsAs(s, siskinv1.PhaseSucceeded, 90*time.Second)
	serves(s, "1.3.0", s.App.Name+"-primary-", 10*time.Second)
	users.Stop()
	s.NobodyFailed("users of the fix", users, back.Add(10*time.Second))
}

// primaryPods are the pods of the primary: who is who, and how often their containers were restarted.
func primaryPods(s *fixtures.Story) map[string]string {
	s.Helper()
	var list corev1.PodList
	if err := s.API.List(s.Context(), &list, client.InNamespace(s.NS), client.MatchingLabels{siskinv1.RoleLabel: siskinv1.RolePrimary}); err != nil {
		s.Fatal(err)
	}
	out := map[string]string{}
	for i := range list.Items {
		restarts := int32(0)
		for _, st := range list.Items[i].Status.ContainerStatuses {
			restarts += st.RestartCount
		}
		out[list.Items[i].Name] = fmt.Sprintf("%s, %d restarts", list.Items[i].UID, restarts)
	}
	return out
}

// canarySetGone waits until the StatefulSet of the canary has no pods.
func canarySetGone(s *fixtures.Story) {
	s.Helper()
	cluster.Eventually(s, 45*time.Second, func(ctx context.Context) error {
		var set appsv1.StatefulSet
		if err := s.API.Get(ctx, client.ObjectKey{Namespace: s.NS, Name: s.App.Name + "-canary"}, &set); err != nil {
			return err
		}
		if *set.Spec.Replicas != 0 || set.Status.Replicas != 0 {
			return fmt.Errorf("the canary has %d replicas, %d pods", *set.Spec.Replicas, set.Status.Replicas)
		}
		return nil
	})
}

// answersAllTheTime checks that users never asked for long in vain, however the canary's share of them fared: at 30 % of the traffic nobody else
// than a version answers a few requests in a row, not many.
func answersAllTheTime(s *fixtures.Story, users *load.Generator, version string) {
	s.Helper()
	samples := users.Samples()
	slices.SortFunc(samples, func(a, b load.Sample) int { return a.At.Compare(b.At) })
	without, worst := 0, 0
	for _, sample := range samples {
		without++
		if sample.Version == version && !sample.Failed() {
			without = 0
		}
		worst = max(worst, without)
	}
	if worst > 30 {
		s.Errorf("%d requests in a row were not answered by %s", worst, version)
	}
}

// TestServiceTarget : the pods are the user's, who moves a Service from one version to the next by its selector. The gateway's
// traffic follows step by step; the Service itself is left alone, and gets all the traffic when the Canary goes.
func TestServiceTarget(t *testing.T) {
	t.Parallel()
	s, _ := story(t, fixtures.App{})
	for _, version := range []string{"1.0.0", "1.1.0", "1.2.0"} {
		app := s.App
		app.Name, app.Version = "pods-"+version[2:3], version
		if version == "1.2.0" {
			app.FailRatio = "0.5"
		}
		s.Apply(app.Deployment())
	}
	service := func(pods string) string {
		return strings.Replace(s.App.Service(), "{app: "+s.App.Name+"}", "{app: "+pods+"}", 1)
	}
	s.Apply(service("pods-0"))
	s.App.Kind = target.Service
	s.Apply(strings.Replace(s.App.Canary(judged), "    targetPort: http\n", "", 1))
	s.Phase(siskinv1.PhaseInitialized, time.Minute)
	var before corev1.Service
	key := client.ObjectKey{Namespace: s.NS, Name: s.App.Name}
	if err := s.API.Get(t.Context(), key, &before); err != nil {
		t.Fatal(err)
	}
	users := s.Users(100)
	s.Apply(service("pods-1"))
	begun(s, 0)
	endsAs(s, siskinv1.PhaseSucceeded, time.Minute)
	if sum := s.NobodyFailed("users of the good release", users, time.Time{}); sum.ByVersion["1.1.0"] == 0 || sum.ByVersion["1.0.0"] == 0 {
		t.Errorf("the traffic was not moved: %v", sum)
	}
	var trial corev1.Service
	s.When(20*time.Second, func(*siskinv1.Canary) string {
		if err := s.API.Get(t.Context(), client.ObjectKey{Namespace: s.NS, Name: s.App.Name + "-canary"}, &trial); err != nil {
			return err.Error()
		}
		if trial.Annotations[siskinv1.HeldAnnotation] == "" || trial.Spec.Selector[siskinv1.HeldAnnotation] == "" {
			return "the canary still leads somewhere"
		}
		return ""
	})
	bad := time.Now()
	s.Apply(service("pods-2"))
	begun(s, 1)
	endsAs(s, siskinv1.PhaseFailed, time.Minute)
	s.NobodyFailed("users of the bad release", users, bad, "1.2.0")
	s.Apply(service("pods-1"))
	s.Phase(siskinv1.PhaseInitialized, 20*time.Second)
	remove(s)
	clonesGone(s, &corev1.Service{})
	routeLeadsHome(s)
	var after corev1.Service
	if err := s.API.Get(t.Context(), key, &after); err != nil {
		t.Fatal(err)
	}
	after.Spec.Selector = before.Spec.Selector
	if diff := cmp.Diff(before.Spec, after.Spec); diff != "" || len(after.OwnerReferences) > 0 {
		t.Errorf("the Service is not as it was: owners %v, spec -was +is\n%s", after.OwnerReferences, diff)
	}
	unmarked(s, &after)
	users.Stop()
	s.NobodyFailed("users", users, time.Time{}, "1.2.0")
}

// TestThePortOfAServiceTarget : the number by which the gateway gets to a Service changes together with what it selects.
func TestThePortOfAServiceTarget(t *testing.T) {
	t.Parallel()
	s, _ := story(t, fixtures.App{Name: "moves", Gateway: fixtures.TestGateway})
	for _, version := range []string{"1.0.0", "1.1.0"} {
		app := s.App
		app.Name, app.Version = "pods-"+version[2:3], version
		s.Apply(app.Deployment())
	}
	service := func(pods string, number int) string {
		return strings.NewReplacer("{app: "+s.App.Name+"}", "{app: "+pods+"}", "port: 80,", fmt.Sprintf("port: %d,", number)).Replace(s.App.Service())
	}
	s.Apply(service("pods-0", 80))
	s.App.Kind = target.Service
	s.Apply(strings.Replace(s.App.Canary(brisk), "    port: 80\n    targetPort: http\n", "", 1))
	s.Phase(siskinv1.PhaseInitialized, time.Minute)
	users := s.Users(50)
	s.Apply(service("pods-1", 81))
	begun(s, 0)
	endsAs(s, siskinv1.PhaseSucceeded, time.Minute)
	cluster.Eventually(t, 20*time.Second, func(ctx context.Context) error {
		var route gatewayv1.HTTPRoute
		if err := s.API.Get(ctx, client.ObjectKey{Namespace: s.NS, Name: s.App.Name}, &route); err != nil {
			return fmt.Errorf("reading the route: %w", err)
		}
		if port := *route.Spec.Rules[0].BackendRefs[0].Port; port != 81 {
			return fmt.Errorf("the route leads by port %d", port)
		}
		return nil
	})
	remove(s)
	routeLeadsHome(s)
	users.Stop()
	if sum := s.NobodyFailed("users", users, time.Time{}); sum.ByVersion["1.1.0"] == 0 || sum.ByVersion["1.0.0"] == 0 {
		t.Errorf("the traffic was not moved: %v", sum)
	}
}

func daemonSet(s *fixtures.Story, suffix string) *appsv1.DaemonSet {
	s.Helper()
	var d appsv1.DaemonSet
	if err := s.API.Get(s.Context(), client.ObjectKey{Namespace: s.NS, Name: s.App.Name + suffix}, &d); err != nil {
		s.Fatal(err)
	}
	return &d
}

// heldNodes waits until the target has no pod, and checks that the primary has.
func heldNodes(s *fixtures.Story) {
	s.Helper()
	cluster.Eventually(s, 45*time.Second, func(context.Context) error {
		d := daemonSet(s, "")
		if st := d.Status; st.DesiredNumberScheduled != 0 || st.CurrentNumberScheduled != 0 || st.NumberMisscheduled != 0 || st.ObservedGeneration != d.Generation {
			return fmt.Errorf("the target still has pods: %+v, nodes %v", st, d.Spec.Template.Spec.NodeSelector)
		}
		return nil
	})
	if n := daemonSet(s, "-primary").Status.NumberAvailable; n != 1 {
		s.Errorf("the primary has %d available pods", n)
	}
}

// applied applies a manifest as GitOps tools do.
func applied(s *fixtures.Story, manifest string) {
	s.Helper()
	file := filepath.Join(s.TempDir(), "manifest.yaml")
	if err := os.WriteFile(file, []byte(manifest), 0o600); err != nil {
		s.Fatal(err)
	}
	out, err := s.Kubectl(s.Context(), "-n", s.NS, "apply", "--server-side", "--force-conflicts", "--field-manager=git", "-f", file)
	if err != nil {
		s.Fatalf("%v: %s", err, out)
	}
}

// clonesGone waits until the clones of a kind are gone.
func clonesGone(s *fixtures.Story, kind client.Object) {
	s.Helper()
	cluster.Eventually(s, time.Minute, func(ctx context.Context) error {
		for _, role := range []string{"-primary", "-canary"} {
			if err := s.API.Get(ctx, client.ObjectKey{Namespace: s.NS, Name: s.App.Name + role}, kind); !apierrors.IsNotFound(err) {
				return fmt.Errorf("%T %s is still there (%v): %v", kind, s.App.Name+role, err, kind) //nolint:errorlint // nil when it is there
			}
		}
		return nil
	})
}

// unmarked checks that nothing of Siskin is left on an object.
func unmarked(s *fixtures.Story, obj client.Object) {
	s.Helper()
	for key := range obj.GetAnnotations() {
		if strings.HasPrefix(key, "siskin.dev/") {
			s.Errorf("%T %s still has annotation %s", obj, obj.GetName(), key)
		}
	}
}

// stalled waits for a reason why a person must act.
func stalled(reason string) func(*siskinv1.Canary) string {
	return func(c *siskinv1.Canary) string {
		for _, cond := range c.Status.Conditions {
			if cond.Type == siskinv1.ConditionStalled && cond.Reason == reason {
				return ""
			}
		}
		return "not stalled: " + reason
	}
}
