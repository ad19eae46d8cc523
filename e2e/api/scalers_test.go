package api_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/e2e/fixtures"
	"github.com/siskin-dev/siskin/pkg/canary/act"
	"github.com/siskin-dev/siskin/pkg/canary/observe"
	"github.com/siskin-dev/siskin/pkg/canary/plan"
	"github.com/siskin-dev/siskin/pkg/canary/scaler"
	"github.com/siskin-dev/siskin/pkg/router"
	"github.com/siskin-dev/siskin/pkg/router/service"
)

const hpaInGit = `apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: finch}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: finch}
  minReplicas: 2
  maxReplicas: 9
  behavior: {scaleDown: {stabilizationWindowSeconds: 60}}
`

const soInGit = `apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata: {name: finch}
spec:
  scaleTargetRef: {name: finch}
  idleReplicaCount: 0
  maxReplicaCount: 9
  triggers:
  - {type: prometheus, metadata: {threshold: "5", query: 'sum(rate(requests{app="finch"}[1m]))'}}
  - {type: cron, metadata: {timezone: UTC, start: "0 8 * * *", end: "0 9 * * *", desiredReplicas: "2"}}
`

// aviary is a Canary whose effects the test carries out itself: it is suspended, so that the Siskin of the cluster leaves it alone.
type aviary struct {
	*testing.T

	actor  *act.Actor
	e      *fixtures.Env
	ns     string
	canary *siskinv1.Canary
}

func newAviary(t *testing.T, ref string) *aviary {
	t.Helper()
	e := given(t)
	a := &aviary{T: t, e: e, ns: e.Namespace(t), canary: &siskinv1.Canary{}}
	policed(t, e, a.ns)
	a.actor = &act.Actor{Client: e.API, Services: service.New(e.API, e.API), Memo: act.NewServiceMemo()}
	apply(t, e, a.ns, "git", deployment("3", ""))
	apply(t, e, a.ns, "git", `apiVersion: siskin.dev/v1
kind: Canary
metadata: {name: finch}
spec:
  targetRef: {kind: Deployment, name: finch}
  provider: kubernetes
  suspend: true
  service: {port: 80}
  analysis: {iterations: 1}
  autoscalerRef: `+ref+`
`)
	a.get("finch", a.canary)
	return a
}

func (a *aviary) get(name string, obj client.Object) {
	a.Helper()
	if err := a.e.API.Get(a.Context(), client.ObjectKey{Namespace: a.ns, Name: name}, obj); err != nil {
		a.Fatal(err)
	}
}

func (a *aviary) observer() *observe.Observer {
	return &observe.Observer{
		Client:  a.e.API,
		Scalers: observe.ScalerSource{Kinds: []schema.GroupVersionKind{scaler.HPA(), scaler.ScaledObject()}},
	}
}

func (a *aviary) world() *observe.World {
	a.Helper()
	w, err := a.observer().World(a.Context(), a.canary, nil, router.Capabilities{})
	if err != nil {
		a.Fatal(err)
	}
	return w
}

func (a *aviary) scaler() plan.Scaler {
	a.Helper()
	w := a.world()
	return a.observer().Snapshot(w, plan.Spec{}, w.Canary.CreationTimestamp.Time, w.Canary.CreationTimestamp.Time).Scaler
}

func (a *aviary) do(w *observe.World, effects ...plan.Effect) {
	a.Helper()
	if _, err := a.actor.Run(a.Context(), w, effects); err != nil {
		a.Fatal(err)
	}
}

func (a *aviary) primary() *appsv1.Deployment {
	a.Helper()
	var d appsv1.Deployment
	a.get("finch-primary", &d)
	return &d
}

// scale writes the scale subresource, as the horizontal-pod-autoscaler controller does.
func (a *aviary) scale(n int32) {
	a.Helper()
	d := a.primary()
	scale := &autoscalingv1.Scale{ObjectMeta: metav1.ObjectMeta{Namespace: a.ns, Name: d.Name}, Spec: autoscalingv1.ScaleSpec{Replicas: n}}
	if err := a.e.API.SubResource("scale").Update(a.Context(), d, client.WithSubResourceBody(scale), client.FieldOwner("kube-controller-manager")); err != nil {
		a.Fatal(err)
	}
}

// owners of the number of the primary's pods.
func (a *aviary) owners() []string {
	var out []string
	for _, m := range a.primary().ManagedFields {
		if m.FieldsV1 != nil && strings.Contains(m.FieldsV1.GetRawString(), `"f:replicas":{}`) && m.Subresource != "status" {
			out = append(out, m.Manager+" "+string(m.Operation))
		}
	}
	return out
}

// TestTheAutoscalerOwnsThePrimarysSize : a promotion, a repair and a repeated decision write the primary over and over; its size is the
// autoscaler's, whoever owns the field at the moment, and whatever size the decision was made on.
func TestTheAutoscalerOwnsThePrimarysSize(t *testing.T) {
	a := newAviary(t, "{kind: HorizontalPodAutoscaler, name: finch}")
	apply(t, a.e, a.ns, "git", hpaInGit)
	w := a.world()
	first := w.RevisionName
	a.do(w, plan.TakeSnapshot{Revision: first}, plan.ApplyPrimary{Revision: first, Replicas: 3})
	a.do(a.world(), plan.ApplyScaler{})
	size := func(step string, n int32) {
		t.Helper()
		if got := *a.primary().Spec.Replicas; got != n {
			t.Errorf("%s: %d replicas, want %d; owned by %v", step, got, n, a.owners())
		}
	}
	size("begin", 3)
	for range 2 {
		a.do(a.world(), plan.ApplyPrimary{Revision: first, Replicas: 3})
		size("solely owned, applied again", 3)
	}
	apply(t, a.e, a.ns, "git", strings.Replace(deployment("3", ""), "pause:1", "pause:2", 1))
	stale := a.world()
	second := stale.RevisionName
	if second == first {
		t.Fatal("no new revision")
	}
	a.scale(6)
	size("scaled up", 6)
	a.do(stale, plan.TakeSnapshot{Revision: second}, plan.ApplyPrimary{Revision: second, Replicas: 3})
	size("promoted, decided on 3", 6)
	if image := a.primary().Spec.Template.Spec.Containers[0].Image; image != "siskin.dev/pause:2" {
		t.Errorf("the primary runs %s", image)
	}
	stale = a.world()
	a.scale(4)
	size("scaled down", 4)
	a.do(stale, plan.ApplyPrimary{Revision: first, Replicas: 6})
	size("back, decided on 6", 4)
	a.scale(8)
	for range 2 {
		a.do(a.world(), plan.ApplyPrimary{Revision: second, Replicas: 8})
		size("applied again", 8)
	}
	a.do(a.world(), plan.RestoreScaler{})
	a.do(a.world(), plan.ApplyPrimary{Revision: second, Replicas: 5})
	size("without an autoscaler", 5)
}

// TestTheCanarysAutoscalerThatIsApplied : whoever applies the autoscaler that Siskin made for the canary has it from
// then on as it was applied, meets no conflict at the next apply, and gets Siskin's when it is deleted.
func TestTheCanarysAutoscalerThatIsApplied(t *testing.T) {
	own := strings.NewReplacer("name: finch}", "name: finch-canary}", "maxReplicas: 9", "maxReplicas: 44").Replace(hpaInGit)
	own, _, _ = strings.Cut(own, "  behavior") // what Siskin's has beside it goes
	for how, applies := range map[string]func(*aviary, string){
		"kubectl": func(a *aviary, manifest string) { a.e.Given(a, a.ns, manifest) },
		"server":  func(a *aviary, manifest string) { apply(a.T, a.e, a.ns, "argocd", manifest) },
	} {
		t.Run(how, func(t *testing.T) {
			a := newAviary(t, "{kind: HorizontalPodAutoscaler, name: finch, canary: {minReplicas: 1, maxReplicas: 2}}")
			apply(t, a.e, a.ns, "git", hpaInGit)
			made := plan.ApplyScaler{Floor: 2, Canary: true}
			read := func() *unstructured.Unstructured {
				u := scaler.New(scaler.HPA(), a.ns, "finch-canary")
				a.get("finch-canary", u)
				return u
			}
			a.do(a.world(), made)
			applies(a, own)
			if s := a.scaler(); !s.Drifted || !s.CanaryUsers {
				t.Errorf("nobody would give it up: %+v", s)
			}
			for range 2 {
				a.do(a.world(), plan.ApplyScaler{Floor: 2})
				u := read()
				least, _, _ := unstructured.NestedInt64(u.Object, "spec", "minReplicas")
				most, _, _ := unstructured.NestedInt64(u.Object, "spec", "maxReplicas")
				_, behaves, _ := unstructured.NestedMap(u.Object, "spec", "behavior")
				if least != 2 || most != 44 || behaves || len(u.GetOwnerReferences()) > 0 || len(u.GetLabels()) > 0 {
					t.Errorf("%v %v", u.Object["spec"], u.Object["metadata"])
				}
				applies(a, strings.Replace(own, "44", "44 # again", 1))
			}
			if s := a.scaler(); s.Drifted {
				t.Errorf("it does not come to rest: %+v", s)
			}
			if err := a.e.API.Delete(t.Context(), read()); err != nil {
				t.Fatal(err)
			}
			a.do(a.world(), made)
			if u := read(); len(u.GetOwnerReferences()) != 1 {
				t.Errorf("Siskin's is not back: %v", u.Object)
			}
		})
	}
}

// TestAutoscalersComeToRest : what the API server makes of what Siskin writes is as Siskin wants it, at once: of both kinds, with and
// without a rollout, with a copy for the canary; what is given back is what git wrote.
func TestAutoscalersComeToRest(t *testing.T) {
	looksBack := map[string]time.Duration{scaler.KindHPA: time.Minute, scaler.KindScaledObject: 5 * time.Minute} // its own, and Kubernetes' default
	for kind, inGit := range map[string]string{scaler.KindHPA: hpaInGit, scaler.KindScaledObject: soInGit} {
		t.Run(kind, func(t *testing.T) {
			a := newAviary(t, fmt.Sprintf("{kind: %s, name: finch, canary: {minReplicas: 1, maxReplicas: 2}, primaryScalerReplicas: {maxReplicas: 20}}", kind))
			apply(t, a.e, a.ns, "git", inGit)
			read := func(name string) *unstructured.Unstructured {
				t.Helper()
				u := &unstructured.Unstructured{}
				u.SetGroupVersionKind(parsedIn(t, inGit).GroupVersionKind())
				a.get(name, u)
				return u
			}
			before := read("finch")
			for _, e := range []plan.ApplyScaler{{}, {Floor: 12, Canary: true}, {Floor: 30, Canary: true}, {Floor: 12}, {}} {
				a.do(a.world(), e)
				got := a.scaler()
				want := plan.Scaler{Found: true, OnPrimary: true, Floor: e.Floor, Canary: e.Canary, Least: got.Least, Window: looksBack[kind]}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("%+v: -want +got\n%s", e, diff)
				}
				held := read("finch") // its own controller writes the status meanwhile
				a.do(a.world(), e)
				again := read("finch")
				if diff := cmp.Diff(held.Object["spec"], again.Object["spec"]) + cmp.Diff(held.GetAnnotations(), again.GetAnnotations()); diff != "" {
					t.Errorf("%+v does not come to rest: -once +twice\n%s", e, diff)
				}
				apply(t, a.e, a.ns, "git", inGit) // git does not know better
				a.do(a.world(), e)
				if got := a.scaler(); got.Drifted || got.Floor != e.Floor || !got.OnPrimary {
					t.Errorf("%+v after git: %+v", e, got)
				}
			}
			apply(t, a.e, a.ns, "git", strings.Replace(inGit, ": 9", ": 11", 1))
			a.do(a.world(), plan.ApplyScaler{Floor: 3}, plan.RestoreScaler{})
			if got := a.scaler(); !got.Restored {
				t.Errorf("given back: %+v", got)
			}
			apply(t, a.e, a.ns, "git", inGit)
			after := read("finch")
			if diff := cmp.Diff(before.Object["spec"], after.Object["spec"]) + cmp.Diff(before.GetAnnotations(), after.GetAnnotations()); diff != "" {
				t.Errorf("-was +is\n%s", diff)
			}
		})
	}
}

// TestPolicyHoldsLimits : while Siskin holds an autoscaler, git may write what it wrote before as often as it likes: nothing changes. A
// new wish gets through.
func TestPolicyHoldsLimits(t *testing.T) {
	for kind, inGit := range map[string]string{scaler.KindHPA: hpaInGit, scaler.KindScaledObject: strings.Replace(soInGit, "  maxReplicaCount: 9", "  minReplicaCount: 2\n  maxReplicaCount: 9", 1)} {
		t.Run(kind, func(t *testing.T) {
			a := newAviary(t, fmt.Sprintf("{kind: %s, name: finch, primaryScalerReplicas: {maxReplicas: 20}}", kind))
			apply(t, a.e, a.ns, "git", inGit)
			a.do(a.world(), plan.ApplyScaler{Floor: 5})
			read := func() *unstructured.Unstructured {
				t.Helper()
				u := &unstructured.Unstructured{}
				u.SetGroupVersionKind(parsedIn(t, inGit).GroupVersionKind())
				a.get("finch", u)
				return u
			}
			apply(t, a.e, a.ns, "git", inGit) // the fields get one owner more
			before := read()
			apply(t, a.e, a.ns, "git", inGit)
			if diff := cmp.Diff(unwatched(before), unwatched(read())); diff != "" {
				t.Errorf("git's apply changed it:\n%s", diff)
			}
			if got := a.scaler(); got.Drifted || got.Floor != 5 || got.Least != 5 {
				t.Errorf("%+v", got)
			}
			limits := func() string {
				spec := read().Object["spec"].(map[string]any)
				if kind == scaler.KindHPA {
					return fmt.Sprint(spec["minReplicas"], "-", spec["maxReplicas"])
				}
				return fmt.Sprint(spec["minReplicaCount"], "-", spec["maxReplicaCount"])
			}
			for _, tc := range []struct{ reason, from, to, raw, want string }{
				{"a new minimum", ": 2", ": 7", "7-20", "7-20"},
				{"a new maximum, which the spec has a word on", ": 9", ": 30", "5-30", "5-20"},
				{"a maximum below the floor is not refused", ": 9", ": 3", "2-3", "5-20"},
			} {
				apply(t, a.e, a.ns, "git", strings.Replace(inGit, tc.from, tc.to, 1))
				if got := limits(); got != tc.raw {
					t.Errorf("%s: git's apply made it %s, want %s", tc.reason, got, tc.raw)
				}
				a.do(a.world(), plan.ApplyScaler{Floor: 5})
				if got := limits(); got != tc.want {
					t.Errorf("%s: %s, want %s", tc.reason, got, tc.want)
				}
				apply(t, a.e, a.ns, "git", inGit)
				a.do(a.world(), plan.ApplyScaler{Floor: 5})
			}
			a.do(a.world(), plan.RestoreScaler{})
			if got := limits(); got != "2-9" {
				t.Errorf("given back: %s", got)
			}
		})
	}
}

// unwatched is an object without what its own controller writes whenever it likes: the status, and what comes of it.
func unwatched(u *unstructured.Unstructured) map[string]any {
	out := u.DeepCopy()
	delete(out.Object, "status")
	out.SetResourceVersion("")
	out.SetManagedFields(slices.DeleteFunc(out.GetManagedFields(), func(m metav1.ManagedFieldsEntry) bool { return m.Subresource == "status" }))
	return out.Object
}

func parsedIn(t *testing.T, manifest string) *unstructured.Unstructured {
	t.Helper()
	return unstructuredIn(parsed(t, manifest), "")
}
