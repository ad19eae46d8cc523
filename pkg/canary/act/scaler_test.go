package act_test

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/canary/observe"
	"github.com/siskin-dev/siskin/pkg/canary/plan"
	"github.com/siskin-dev/siskin/pkg/canary/scaler"
	"github.com/siskin-dev/siskin/pkg/router"
)

func scaledCanary(edits ...func(*siskinv1.AutoscalerRef)) *siskinv1.Canary {
	return canary(func(c *siskinv1.Canary) {
		c.Spec.AutoscalerRef = &siskinv1.AutoscalerRef{Kind: scaler.KindHPA, Name: "web"}
		for _, edit := range edits {
			edit(c.Spec.AutoscalerRef)
		}
	})
}

func autoscaler(name string, edits ...func(*autoscalingv2.HorizontalPodAutoscaler)) *autoscalingv2.HorizontalPodAutoscaler {
	h := &autoscalingv2.HorizontalPodAutoscaler{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "shop"}}
	h.Spec = autoscalingv2.HorizontalPodAutoscalerSpec{
		ScaleTargetRef: autoscalingv2.CrossVersionObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Name: "web"},
		MinReplicas:    new(int32(2)), MaxReplicas: 9,
	}
	for _, edit := range edits {
		edit(h)
	}
	return h
}

// scaledWorld is what is observed now, autoscalers included.
func (s *stage) scaledWorld() *observe.World {
	s.t.Helper()
	o := &observe.Observer{
		Client: s.api, Routers: map[string]router.Router{"fake": s.router}, Default: "fake",
		Scalers: observe.ScalerSource{Kinds: []schema.GroupVersionKind{scaler.HPA(), scaler.ScaledObject()}},
	}
	w, err := o.World(s.t.Context(), s.canary, s.router, s.router.Capabilities(s.t.Context(), s.canary))
	if err != nil {
		s.t.Fatal(err)
	}
	return w
}

func (s *stage) scaler(name string) *autoscalingv2.HorizontalPodAutoscaler {
	s.t.Helper()
	var h autoscalingv2.HorizontalPodAutoscaler
	s.get(name, &h)
	return &h
}

// on carries effects out on what was observed.
func (s *stage) on(w *observe.World, effects ...plan.Effect) {
	s.t.Helper()
	if _, err := s.Run(s.t.Context(), w, effects); err != nil {
		s.t.Fatal(err)
	}
}

func TestScalerIsPointedAndGivenBack(t *testing.T) {
	s := newStage(t, scaledCanary(func(r *siskinv1.AutoscalerRef) {
		r.Canary = &siskinv1.ScalerReplicas{MinReplicas: new(int32(1)), MaxReplicas: new(int32(3))}
	}),
		deployment("web:1"), autoscaler("web"))
	before := s.scaler("web")
	for range 2 { // the second time nothing is written
		s.on(s.scaledWorld(), plan.ApplyScaler{Floor: 5, Canary: true})
		h := s.scaler("web")
		if h.Spec.ScaleTargetRef.Name != "web-primary" || *h.Spec.MinReplicas != 5 || h.Spec.MaxReplicas != 9 {
			t.Errorf("%+v", h.Spec)
		}
		if own := s.scaler("web-canary"); own.Spec.ScaleTargetRef.Name != "web-canary" || *own.Spec.MinReplicas != 1 || own.Spec.MaxReplicas != 3 || !metav1.IsControlledBy(own, s.canary) {
			t.Errorf("the canary's own: %+v", own)
		}
	}
	if n := s.counter.Writes(); n != 2 {
		t.Errorf("%d writes, want 2: one for each autoscaler", n)
	}
	s.on(s.scaledWorld(), plan.ApplyScaler{})
	if h := s.scaler("web"); *h.Spec.MinReplicas != 2 || h.Spec.ScaleTargetRef.Name != "web-primary" {
		t.Errorf("after the rollout: %+v", h.Spec)
	}
	if s.scaledWorld().Scalers.Copy != nil {
		t.Error("it would wake the canary")
	}
	for range 2 {
		s.on(s.scaledWorld(), plan.RestoreScaler{})
		h := s.scaler("web")
		if diff := cmp.Diff(before.Spec, h.Spec) + cmp.Diff(before.Annotations, h.Annotations); diff != "" {
			t.Errorf("-was +is\n%s", diff)
		}
	}
	if n := s.counter.Writes(); n != 3 {
		t.Errorf("%d writes, want 3: floor, copy, restored", n)
	}
}

// A write of somebody else between our read and ours: his wish counts, and nothing of it is overwritten.
func TestAScalerThatIsEditedMeanwhile(t *testing.T) {
	s := newStage(t, scaledCanary(), deployment("web:1"), autoscaler("web"))
	stale := s.scaledWorld()
	h := s.scaler("web")
	h.Spec.MinReplicas, h.Spec.MaxReplicas, h.Labels = new(int32(3)), 30, map[string]string{"team": "a"}
	if err := s.api.Update(t.Context(), h); err != nil {
		t.Fatal(err)
	}
	s.on(stale, plan.ApplyScaler{Floor: 4})
	if h := s.scaler("web"); h.Spec.MaxReplicas != 30 || *h.Spec.MinReplicas != 4 || h.Labels["team"] != "a" {
		t.Errorf("%+v", h)
	}
	s.on(s.scaledWorld(), plan.RestoreScaler{})
	if h := s.scaler("web"); h.Spec.MaxReplicas != 30 || *h.Spec.MinReplicas != 3 {
		t.Errorf("restored: %+v", h.Spec)
	}
}

func TestAScalerThatIsGone(t *testing.T) {
	s := newStage(t, scaledCanary(), deployment("web:1"), autoscaler("web"))
	stale := s.scaledWorld()
	if err := s.api.Delete(t.Context(), s.scaler("web")); err != nil {
		t.Fatal(err)
	}
	s.on(stale, plan.ApplyScaler{Floor: 4}, plan.RestoreScaler{})
	s.on(s.scaledWorld(), plan.ApplyScaler{Floor: 4}, plan.RestoreScaler{})
}

// One that the spec does not name any more goes back to the target; what size it gave the primary is then the user's wish.
func TestAScalerThatTheSpecLeftIsGivenBack(t *testing.T) {
	s := newStage(t, scaledCanary(), deployment("web:1"), autoscaler("web"), autoscaler("other"))
	rev := s.revision()
	s.must(plan.TakeSnapshot{Revision: rev}, plan.ApplyPrimary{Revision: rev, Replicas: 7}, plan.HoldTarget{Replicas: 3})
	s.on(s.scaledWorld(), plan.ApplyScaler{})
	s.canary.Spec.AutoscalerRef.Name = "other"
	s.on(s.scaledWorld(), plan.ApplyScaler{})
	if a, b := s.scaler("web"), s.scaler("other"); a.Spec.ScaleTargetRef.Name != "web" || len(a.Annotations) != 0 || b.Spec.ScaleTargetRef.Name != "web-primary" {
		t.Errorf("one scales %s, the other %s", a.Spec.ScaleTargetRef.Name, b.Spec.ScaleTargetRef.Name)
	}
	if got := s.deployment("web").Annotations[siskinv1.ReplicasAnnotation]; got != "3" {
		t.Errorf("recorded %s: the other autoscaler decides", got)
	}
	s.canary.Spec.AutoscalerRef = nil
	s.on(s.scaledWorld(), plan.ApplyScaler{})
	if h := s.scaler("other"); h.Spec.ScaleTargetRef.Name != "web" || len(h.Annotations) != 0 {
		t.Errorf("%+v", h)
	}
	if got := s.deployment("web").Annotations[siskinv1.ReplicasAnnotation]; got != "7" {
		t.Errorf("recorded %s: the primary would shrink", got)
	}
}

// KEDA wakes a target that is held at zero, and its number would pass for the user's wish: what the spec has left goes on scaling the
// primary until the Canary is deleted.
func TestAScalerThatWouldWakeTheTargetStaysOnThePrimary(t *testing.T) {
	so := scaler.New(scaler.ScaledObject(), "shop", "web")
	so.Object["spec"] = map[string]any{
		"scaleTargetRef": map[string]any{"name": "web"}, "minReplicaCount": int64(2), "maxReplicaCount": int64(30), "idleReplicaCount": int64(0),
		"triggers": []any{map[string]any{"type": "prometheus", "name": "load", "metadata": map[string]any{"query": `load{deployment="web"}`}}},
	}
	c := scaledCanary(func(r *siskinv1.AutoscalerRef) {
		r.Kind, r.PrimaryScalerQueries = scaler.KindScaledObject, map[string]string{"load": "primary"}
		r.PrimaryScalerReplicas = &siskinv1.ScalerReplicas{MaxReplicas: new(int32(40))}
	})
	s := newStage(t, c, deployment("web:1"), so.DeepCopy())
	read := func() *unstructured.Unstructured {
		live := scaler.New(scaler.ScaledObject(), "shop", "web")
		s.get("web", live)
		return live
	}
	rev := s.revision()
	s.must(plan.TakeSnapshot{Revision: rev}, plan.ApplyPrimary{Revision: rev, Replicas: 20}, plan.HoldTarget{Replicas: 3})
	s.on(s.scaledWorld(), plan.ApplyScaler{Floor: 20})
	s.canary.Spec.AutoscalerRef = nil
	for _, size := range []int32{20, 25} { // it goes on scaling: whenever it is deleted, the size that it gave is known
		p := s.deployment("web-primary")
		p.Spec.Replicas = new(size)
		if err := s.api.Update(t.Context(), p); err != nil {
			t.Fatal(err)
		}
		if st := s.snapshotOf(s.scaledWorld()); !st.Scaler.Drifted || !st.Scaler.OnPrimary || st.Target.Replicas != size {
			t.Errorf("%+v, the user wants %d", st.Scaler, st.Target.Replicas)
		}
		s.on(s.scaledWorld(), plan.ApplyScaler{})
		if got := s.deployment("web").Annotations[siskinv1.ReplicasAnnotation]; got != strconv.Itoa(int(size)) {
			t.Errorf("recorded %s, want %d: the primary would change its size", got, size)
		}
		if st := s.snapshotOf(s.scaledWorld()); st.Scaler.Drifted {
			t.Errorf("it goes on for ever: %+v", st.Scaler)
		}
	}
	want := so.DeepCopy().Object["spec"].(map[string]any)
	want["scaleTargetRef"] = map[string]any{"name": "web-primary"}
	want["triggers"].([]any)[0].(map[string]any)["metadata"] = map[string]any{"query": `load{deployment="web-primary"}`}
	if diff := cmp.Diff(want, read().Object["spec"]); diff != "" {
		t.Errorf("-want +is\n%s", diff)
	}
	s.canary.Spec.AutoscalerRef = &siskinv1.AutoscalerRef{Kind: scaler.KindHPA, Name: "web"} // also when another takes its place
	if st := s.snapshotOf(s.scaledWorld()); st.Scaler.Drifted {
		t.Errorf("it goes on for ever: %+v", st.Scaler)
	}
	s.on(s.scaledWorld(), plan.RestoreScaler{})
	if live := read(); !cmp.Equal(live.Object["spec"], so.Object["spec"]) || len(live.GetAnnotations()) != 0 {
		t.Errorf("not given back: %+v", live.Object)
	}
}

// The canary's own of an autoscaler that the spec has ceased to name in the middle of a rollout would scale the canary for ever.
func TestACopyOfAScalerThatTheSpecLeftGoes(t *testing.T) {
	for name, edit := range map[string]func(*siskinv1.Canary){
		"removed": func(c *siskinv1.Canary) { c.Spec.AutoscalerRef = nil },
		"renamed": func(c *siskinv1.Canary) { c.Spec.AutoscalerRef.Name = "other" },
		"missing": func(c *siskinv1.Canary) { c.Spec.AutoscalerRef.Name = "none" },
		"kind":    func(c *siskinv1.Canary) { c.Spec.AutoscalerRef.Kind = scaler.KindScaledObject },
	} {
		for _, effect := range []plan.Effect{plan.ApplyScaler{Floor: 5}, plan.RestoreScaler{}} {
			t.Run(fmt.Sprintf("%s, %T", name, effect), func(t *testing.T) {
				s := newStage(t, scaledCanary(func(r *siskinv1.AutoscalerRef) {
					r.Canary = &siskinv1.ScalerReplicas{MinReplicas: new(int32(1)), MaxReplicas: new(int32(3))}
				}), deployment("web:1"), autoscaler("web"), autoscaler("other"), autoscaler("other-canary"))
				s.on(s.scaledWorld(), plan.ApplyScaler{Floor: 5, Canary: true})
				edit(s.canary)
				if err := s.api.Delete(t.Context(), s.scaler("web")); err != nil { // only the copy is left, which is to be seen too
					t.Fatal(err)
				}
				if st := s.snapshotOf(s.scaledWorld()).Scaler; !st.Drifted || !st.Found || st.Restored {
					t.Errorf("nobody would take it away: %+v", st)
				}
				s.on(s.scaledWorld(), effect)
				var h autoscalingv2.HorizontalPodAutoscaler
				if err := s.api.Get(t.Context(), client.ObjectKey{Namespace: "shop", Name: "web-canary"}, &h); !apierrors.IsNotFound(err) {
					t.Errorf("web-canary still scales %s (%v)", h.Spec.ScaleTargetRef.Name, err)
				}
				if len(s.scaledWorld().Scalers.Leftover) != 0 {
					t.Error("it goes on for ever")
				}
				s.scaler("other-canary") // that is somebody's
			})
		}
	}
}

func TestACopyThatIsSomebodysIsLeftAlone(t *testing.T) {
	limits := func(r *siskinv1.AutoscalerRef) { r.Canary = &siskinv1.ScalerReplicas{MaxReplicas: new(int32(3))} }
	s := newStage(t, scaledCanary(limits), deployment("web:1"), autoscaler("web"), autoscaler("web-canary"))
	_, err := s.Run(t.Context(), s.scaledWorld(), []plan.Effect{plan.ApplyScaler{Floor: 2, Canary: true}})
	if _, ok := errors.AsType[*observe.InvalidSpecError](err); !ok {
		t.Errorf("error %v", err)
	}
	s.on(s.scaledWorld(), plan.RestoreScaler{})
	if h := s.scaler("web-canary"); h.Spec.MaxReplicas != 9 {
		t.Errorf("%+v", h.Spec)
	}
}

// The autoscaler owns the number of the primary's pods: a decision that was made on another number does not take it back.
func TestAPromotionKeepsTheSizeOfTheAutoscaler(t *testing.T) {
	for name, tc := range map[string]struct {
		reason               string
		observed, now, wants int32
		want                 int32
	}{
		"the same":         {"what was decided", 3, 3, 3, 3},
		"scaled meanwhile": {"the autoscaler's", 3, 6, 3, 6},
		"scaled down":      {"the autoscaler's", 6, 4, 6, 4},
		"from zero":        {"no autoscaler brings it back", 0, 0, 2, 2},
		"to zero":          {"that is no size to promote to", 3, 0, 3, 3},
		"raised":           {"below its minimum", 1, 1, 2, 2},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t, scaledCanary(), deployment("web:1"), autoscaler("web"))
			rev := s.revision()
			s.must(plan.TakeSnapshot{Revision: rev}, plan.ApplyPrimary{Revision: rev, Replicas: tc.observed})
			s.on(s.scaledWorld(), plan.ApplyScaler{})
			w := s.scaledWorld()
			if tc.now != tc.observed { // what the real API server does with a version that has passed
				p := s.deployment("web-primary")
				p.Spec.Replicas = new(tc.now)
				if err := s.api.Update(t.Context(), p); err != nil {
					t.Fatal(err)
				}
				s.refuse = func(obj client.Object) error {
					if _, ok := obj.(*appsv1.Deployment); ok && len(s.tried) == 0 {
						return apierrors.NewConflict(appsv1.Resource("deployments"), obj.GetName(), errBoom)
					}
					return nil
				}
			}
			s.tried = nil
			_, err := s.Run(t.Context(), w, []plan.Effect{plan.ApplyPrimary{Revision: rev, Replicas: tc.wants}})
			if got := *s.deployment("web-primary").Spec.Replicas; err != nil || got != tc.want {
				t.Errorf("%s: %d replicas, want %d (%v)", tc.reason, got, tc.want, err)
			}
		})
	}
}

func TestAFailedScalerIsTold(t *testing.T) {
	s := newStage(t, scaledCanary(), deployment("web:1"), autoscaler("web"))
	w := s.scaledWorld()
	s.counter.Fail(errBoom)
	for _, e := range []plan.Effect{plan.ApplyScaler{Floor: 2}} {
		if _, err := s.Run(t.Context(), w, []plan.Effect{e}); !errors.Is(err, errBoom) || !strings.Contains(err.Error(), "HorizontalPodAutoscaler web") {
			t.Errorf("%T: %v", e, err)
		}
	}
}
