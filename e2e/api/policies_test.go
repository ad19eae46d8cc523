package api_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/client"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/e2e/cluster"
	"github.com/siskin-dev/siskin/e2e/fixtures"
	"github.com/siskin-dev/siskin/pkg/canary/act"
	"github.com/siskin-dev/siskin/pkg/canary/observe"
	"github.com/siskin-dev/siskin/pkg/canary/plan"
	"github.com/siskin-dev/siskin/pkg/router/service"
)

const (
	held = `  annotations: {siskin.dev/held: finch, siskin.dev/replicas: "3"}
`
	serving = `apiVersion: v1
kind: Service
metadata:
  name: finch
  annotations: {siskin.dev/serving: primary}
spec:
  selector: {app: finch, siskin.dev/role: primary}
  ports: [{port: 80}]
`
)

// deployment as git has it.
func deployment(replicas string, annotations string) string {
	return `apiVersion: apps/v1
kind: Deployment
metadata:
  name: finch
` + annotations + `spec:
  replicas: ` + replicas + `
  selector: {matchLabels: {app: finch}}
  template:
    metadata: {labels: {app: finch}}
    spec: {containers: [{name: app, image: "siskin.dev/pause:1"}]}
`
}

// apply applies as a GitOps tool does: on the server's side, with force.
func apply(t *testing.T, e *fixtures.Env, namespace, manager, manifest string) {
	t.Helper()
	obj := parsed(t, manifest)
	err := e.API.Apply(t.Context(), config(obj, namespace), client.FieldOwner(manager), client.ForceOwnership)
	if err != nil {
		t.Fatal(err)
	}
}

// policed waits until the admission policies are in force, the last one too: the API server takes a moment to compile them, and some seconds
// to know a new CRD well enough for them.
func policed(t *testing.T, e *fixtures.Env, namespace string) {
	t.Helper()
	cluster.Eventually(t, 30*time.Second, func(ctx context.Context) error {
		obj := parsed(t, strings.Replace(deployment("2", held), "name: finch", "name: probe", 1))
		u := unstructuredIn(obj, namespace)
		if err := e.API.Create(ctx, u, client.DryRunAll); err != nil {
			return err
		}
		svc := unstructuredIn(parsed(t, strings.Replace(serving, "name: finch", "name: probe", 1)), namespace)
		svc.Object["spec"].(map[string]any)["selector"] = map[string]any{"app": "finch"}
		if err := e.API.Create(ctx, svc, client.DryRunAll); err != nil {
			return err
		}
		for _, manifest := range []string{`apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: probe, annotations: {siskin.dev/scales: probe-primary}}
spec: {maxReplicas: 3, scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: probe}}
`, `apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata: {name: probe, annotations: {siskin.dev/scales: probe-primary}}
spec: {scaleTargetRef: {name: probe}, triggers: []}
`} {
			scaler := unstructuredIn(parsed(t, manifest), namespace)
			if err := e.API.Create(ctx, scaler, client.DryRunAll); err != nil {
				return err
			}
			if scales, _, _ := unstructured.NestedString(scaler.Object, "spec", "scaleTargetRef", "name"); scales != "probe-primary" {
				return errors.New("the policies are not in force yet")
			}
		}
		n := u.Object["spec"].(map[string]any)["replicas"]
		role := svc.Object["spec"].(map[string]any)["selector"].(map[string]any)[siskinv1.RoleLabel]
		if n != int64(0) || role != "primary" {
			return errors.New("the policies are not in force yet")
		}
		return nil
	})
}

// TestPolicyHoldsDeployments : applying a held Deployment again, as git has it, leaves it at zero, records the number, and a
// number that is already recorded changes nothing at all.
func TestPolicyHoldsDeployments(t *testing.T) {
	e := given(t)
	ns := e.Namespace(t)
	policed(t, e, ns)
	key := client.ObjectKey{Namespace: ns, Name: "finch"}
	read := func() *appsv1.Deployment {
		t.Helper()
		var d appsv1.Deployment
		if err := e.API.Get(t.Context(), key, &d); err != nil {
			t.Fatal(err)
		}
		return &d
	}
	apply(t, e, ns, "git", deployment("3", ""))
	if n := *read().Spec.Replicas; n != 3 {
		t.Fatalf("a Deployment that is not held has %d replicas", n)
	}
	apply(t, e, ns, siskinv1.FieldManager, `apiVersion: apps/v1
kind: Deployment
metadata:
  name: finch
`+held+`spec: {replicas: 0}
`)
	// Its own controller writes the status; what is compared is the generation.
	before := read()
	if *before.Spec.Replicas != 0 {
		t.Fatalf("Siskin could not hold it: %d replicas", *before.Spec.Replicas)
	}
	apply(t, e, ns, "git", deployment("3", ""))
	if after := read(); *after.Spec.Replicas != 0 || after.Generation != before.Generation || after.Annotations[siskinv1.ReplicasAnnotation] != "3" {
		t.Errorf("applying it again: %d replicas, generation %d → %d, recorded %q", *after.Spec.Replicas, before.Generation, after.Generation,
			after.Annotations[siskinv1.ReplicasAnnotation])
	}
	apply(t, e, ns, "git", deployment("5", ""))
	if after := read(); *after.Spec.Replicas != 0 || after.Annotations[siskinv1.ReplicasAnnotation] != "5" {
		t.Errorf("a new number: %d replicas, recorded %q", *after.Spec.Replicas, after.Annotations[siskinv1.ReplicasAnnotation])
	}
	apply(t, e, ns, "git", strings.Replace(deployment("5", ""), "pause:1", "pause:2", 1))
	if after := read(); *after.Spec.Replicas != 0 || after.Spec.Template.Spec.Containers[0].Image != "siskin.dev/pause:2" {
		t.Errorf("a new image did not get through: %+v", after.Spec)
	}
}

// TestPolicyHoldsStatefulSets : as Deployments.
func TestPolicyHoldsStatefulSets(t *testing.T) {
	e := given(t)
	ns := e.Namespace(t)
	policed(t, e, ns)
	asGit := func(n string) string {
		return strings.Replace(strings.Replace(deployment(n, ""), "kind: Deployment", "kind: StatefulSet", 1), "  selector", "  serviceName: finch\n  selector", 1)
	}
	apply(t, e, ns, "git", asGit("3"))
	apply(t, e, ns, siskinv1.FieldManager, "apiVersion: apps/v1\nkind: StatefulSet\nmetadata:\n  name: finch\n"+held+"spec: {replicas: 0}\n")
	apply(t, e, ns, "git", asGit("5"))
	var s appsv1.StatefulSet
	if err := e.API.Get(t.Context(), client.ObjectKey{Namespace: ns, Name: "finch"}, &s); err != nil {
		t.Fatal(err)
	}
	if *s.Spec.Replicas != 0 || s.Annotations[siskinv1.ReplicasAnnotation] != "5" {
		t.Errorf("applying it again: %d replicas, recorded %q", *s.Spec.Replicas, s.Annotations[siskinv1.ReplicasAnnotation])
	}
}

// TestPolicyHoldsDaemonSets : applying a held DaemonSet again, as git has it, leaves it without nodes; a new nodeSelector gets through,
// also when git gives it up; and once it is released, nothing is added.
func TestPolicyHoldsDaemonSets(t *testing.T) {
	e := given(t)
	ns := e.Namespace(t)
	policed(t, e, ns)
	asGit := func(nodes string) string {
		text := strings.Replace(strings.Replace(deployment("3", ""), "kind: Deployment", "kind: DaemonSet", 1), "  replicas: 3\n", "", 1)
		return strings.Replace(text, "spec: {containers", "spec: {"+nodes+"containers", 1)
	}
	read := func() *appsv1.DaemonSet {
		t.Helper()
		var d appsv1.DaemonSet
		if err := e.API.Get(t.Context(), client.ObjectKey{Namespace: ns, Name: "finch"}, &d); err != nil {
			t.Fatal(err)
		}
		return &d
	}
	nodes := func(why, disk string, fenced bool) {
		t.Helper()
		want := map[string]string{}
		if disk != "" {
			want["disk"] = disk
		}
		if fenced {
			want[siskinv1.HeldAnnotation] = "true"
		}
		if got := read().Spec.Template.Spec.NodeSelector; len(got) != len(want) || got["disk"] != disk || got[siskinv1.HeldAnnotation] != want[siskinv1.HeldAnnotation] {
			t.Errorf("%s: nodes %v, not %v", why, got, want)
		}
	}
	hold := func(c *siskinv1.Canary, effect plan.Effect) {
		t.Helper()
		actor := &act.Actor{Client: e.API, Live: e.API, Services: service.New(e.API, e.API), Memo: act.NewServiceMemo()}
		// The DaemonSet's own controller writes its status meanwhile: a pass that comes too late is repeated.
		err := retry.OnError(retry.DefaultBackoff, apierrors.IsConflict, func() error {
			_, err := actor.Run(t.Context(), &observe.World{Canary: c, Target: read()}, []plan.Effect{effect})
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	c := &siskinv1.Canary{}
	c.Name, c.Namespace, c.Spec.TargetRef.Kind = "finch", ns, "DaemonSet"

	apply(t, e, ns, "git", asGit("nodeSelector: {disk: ssd}, "))
	hold(c, plan.HoldTarget{Replicas: 1})
	nodes("held", "ssd", true)
	before := read()
	apply(t, e, ns, "git", asGit("nodeSelector: {disk: ssd}, "))
	if after := read(); after.Generation != before.Generation {
		t.Errorf("applying it again changed it: %v", after.Spec.Template.Spec.NodeSelector)
	}
	apply(t, e, ns, "git", asGit("nodeSelector: {disk: nvme}, "))
	nodes("another selector", "nvme", true)
	apply(t, e, ns, "git", asGit(""))
	nodes("git gives its selector up", "", true)
	apply(t, e, ns, "git", asGit("nodeSelector: {disk: hdd}, "))
	nodes("and has one again", "hdd", true)
	hold(c, plan.ReleaseTarget{Replicas: 1})
	nodes("released", "hdd", false)
	if d := read(); len(d.Annotations) > 1 || d.Annotations[siskinv1.HeldAnnotation] != "" { // the DaemonSet controller has one of its own
		t.Errorf("annotations %v", d.Annotations)
	}
	apply(t, e, ns, "git", asGit(""))
	nodes("git owns its selector as before", "", false)
}

// TestPolicyHoldsServices : applying an adopted Service again keeps the role in its selector, and what git changes gets through.
func TestPolicyHoldsServices(t *testing.T) {
	e := given(t)
	ns := e.Namespace(t)
	policed(t, e, ns)
	if err := e.API.Create(t.Context(), unstructuredIn(parsed(t, serving), ns), client.FieldOwner(siskinv1.FieldManager)); err != nil {
		t.Fatal(err)
	}
	asGit := strings.NewReplacer("  annotations: {siskin.dev/serving: primary}\n", "", ", siskin.dev/role: primary", "").Replace(serving)
	if strings.Contains(asGit, "siskin") {
		t.Fatal(asGit)
	}
	read := func() *corev1.Service {
		t.Helper()
		var svc corev1.Service
		if err := e.API.Get(t.Context(), client.ObjectKey{Namespace: ns, Name: "finch"}, &svc); err != nil {
			t.Fatal(err)
		}
		return &svc
	}
	apply(t, e, ns, "git", asGit)
	first := read()
	if first.Spec.Selector[siskinv1.RoleLabel] != siskinv1.RolePrimary || first.Spec.Selector["app"] != "finch" {
		t.Errorf("the selector became %v", first.Spec.Selector)
	}
	apply(t, e, ns, "git", asGit)
	if again := read(); again.ResourceVersion != first.ResourceVersion {
		t.Errorf("applying it once more changed it: %v", again.Spec)
	}
	apply(t, e, ns, "git", strings.Replace(asGit, "{app: finch}", "{app: finch, tier: web}", 1))
	if svc := read(); svc.Spec.Selector["tier"] != "web" || svc.Spec.Selector[siskinv1.RoleLabel] != siskinv1.RolePrimary {
		t.Errorf("a new selector became %v", svc.Spec.Selector)
	}
	apply(t, e, ns, "git", strings.ReplaceAll(strings.Replace(asGit, "name: finch", "name: free", 1), "80", "81"))
	var free corev1.Service
	if err := e.API.Get(t.Context(), client.ObjectKey{Namespace: ns, Name: "free"}, &free); err != nil || free.Spec.Selector[siskinv1.RoleLabel] != "" {
		t.Errorf("a Service that is not adopted selects %v (%v)", free.Spec.Selector, err)
	}
}

// TestPolicyHoldsAutoscalers : an autoscaler that was pointed at the primary stays there.
func TestPolicyHoldsAutoscalers(t *testing.T) {
	e := given(t)
	ns := e.Namespace(t)
	policed(t, e, ns)
	const asGit = `apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: finch}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: finch}
  minReplicas: 2
  maxReplicas: 9
`
	apply(t, e, ns, "git", asGit)
	apply(t, e, ns, siskinv1.FieldManager, `apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: finch, annotations: {siskin.dev/scales: finch-primary}}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: finch-primary}
`)
	apply(t, e, ns, "git", strings.Replace(asGit, "9", "12", 1))
	var hpa autoscalingv2.HorizontalPodAutoscaler
	if err := e.API.Get(t.Context(), client.ObjectKey{Namespace: ns, Name: "finch"}, &hpa); err != nil {
		t.Fatal(err)
	}
	if hpa.Spec.ScaleTargetRef.Name != "finch-primary" || hpa.Spec.MaxReplicas != 12 {
		t.Errorf("it scales %s up to %d", hpa.Spec.ScaleTargetRef.Name, hpa.Spec.MaxReplicas)
	}
}
