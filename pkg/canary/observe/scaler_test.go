package observe_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/canary/plan"
	"github.com/siskin-dev/siskin/pkg/canary/scaler"
	"github.com/siskin-dev/siskin/pkg/router/routertest"
)

func scaled(edits ...func(*siskinv1.AutoscalerRef)) *siskinv1.Canary {
	return canary(func(c *siskinv1.Canary) {
		c.Spec.AutoscalerRef = &siskinv1.AutoscalerRef{Kind: scaler.KindHPA, Name: "web"}
		c.Status.Phase, c.Status.Replicas = siskinv1.PhaseInitialized, new(int32(3))
		c.Status.Stable = &siskinv1.RevisionStatus{Revision: "web-1"}
		for _, edit := range edits {
			edit(c.Spec.AutoscalerRef)
		}
	})
}

func hpa(edits ...func(*autoscalingv2.HorizontalPodAutoscaler)) *autoscalingv2.HorizontalPodAutoscaler {
	h := &autoscalingv2.HorizontalPodAutoscaler{ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "shop"}}
	h.Spec = autoscalingv2.HorizontalPodAutoscalerSpec{
		ScaleTargetRef: autoscalingv2.CrossVersionObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Name: "web"},
		MinReplicas:    new(int32(2)), MaxReplicas: 9,
	}
	for _, edit := range edits {
		edit(h)
	}
	return h
}

// pointed is an HPA as Siskin leaves it.
func pointed(floor, least int32) func(*autoscalingv2.HorizontalPodAutoscaler) {
	return func(h *autoscalingv2.HorizontalPodAutoscaler) {
		h.Spec.ScaleTargetRef.Name, h.Spec.MinReplicas = "web-primary", &least
		h.Annotations = map[string]string{
			siskinv1.ScalesAnnotation: "web-primary", siskinv1.LimitsAnnotation: "2-9", siskinv1.LimitsHeldAnnotation: "2-9",
		}
		if floor > 0 {
			h.Annotations[siskinv1.FloorAnnotation], h.Annotations[siskinv1.LimitsHeldAnnotation] = "5", "5-9"
		}
	}
}

func ownedBy(name string, uid string) func(*autoscalingv2.HorizontalPodAutoscaler) {
	return func(h *autoscalingv2.HorizontalPodAutoscaler) {
		h.OwnerReferences = []metav1.OwnerReference{{Name: name, Kind: "Any", APIVersion: "v1", UID: "x", Controller: new(true)}}
		if uid != "" {
			h.OwnerReferences[0].UID = "canary-uid"
		}
	}
}

func onCanary(h *autoscalingv2.HorizontalPodAutoscaler) { h.Spec.ScaleTargetRef.Name = "web-canary" }

func applied(h *autoscalingv2.HorizontalPodAutoscaler) {
	metav1.SetMetaDataAnnotation(&h.ObjectMeta, siskinv1.ClaimedAnnotation, "kubectl apply")
}

func named(name string) func(*autoscalingv2.HorizontalPodAutoscaler) {
	return func(h *autoscalingv2.HorizontalPodAutoscaler) { h.Name = name }
}

func TestScaler(t *testing.T) {
	found := plan.Scaler{Found: true, OnPrimary: true, Least: 2}
	with := func(s plan.Scaler, edit func(*plan.Scaler)) plan.Scaler { edit(&s); return s }
	none := func(c *siskinv1.Canary) *siskinv1.Canary { c.Spec.AutoscalerRef = nil; return c }
	limits := func(r *siskinv1.AutoscalerRef) { r.Canary = &siskinv1.ScalerReplicas{MaxReplicas: new(int32(3))} }
	for name, tc := range map[string]struct {
		reason string
		canary *siskinv1.Canary
		objs   []client.Object
		want   plan.Scaler
	}{
		"none":             {"the spec names none", none(scaled()), []client.Object{hpa()}, plan.Scaler{Restored: true}},
		"not there":        {"a person must create it", scaled(), nil, plan.Scaler{Missing: true, Restored: true, Message: "HorizontalPodAutoscaler web does not exist"}},
		"not pointed yet":  {"as the user wrote it", scaled(), []client.Object{hpa()}, plan.Scaler{Found: true, Least: 2, Restored: true}},
		"pointed":          {"nothing to do", scaled(), []client.Object{hpa(pointed(0, 2))}, found},
		"floor":            {"nothing to do", scaled(), []client.Object{hpa(pointed(5, 5))}, with(found, func(s *plan.Scaler) { s.Floor, s.Least = 5, 5 })},
		"floor undermined": {"git wrote its number again", scaled(), []client.Object{hpa(pointed(5, 2))}, with(found, func(s *plan.Scaler) { s.Floor, s.Drifted = 5, true })},
		"pointed back":     {"git wrote it again", scaled(), []client.Object{hpa(pointed(0, 2), func(h *autoscalingv2.HorizontalPodAutoscaler) { h.Spec.ScaleTargetRef.Name = "web" })}, plan.Scaler{Found: true, Least: 2}},
		"new limits in the spec": {
			"they are to be written", scaled(func(r *siskinv1.AutoscalerRef) {
				r.PrimaryScalerReplicas = &siskinv1.ScalerReplicas{MaxReplicas: new(int32(20))}
			}),
			[]client.Object{hpa(pointed(0, 2))},
			with(found, func(s *plan.Scaler) { s.Drifted = true }),
		},
		"a copy":                    {"it is the Canary's", scaled(limits), []client.Object{hpa(pointed(0, 2)), hpa(named("web-canary"), ownedBy("web", "canary-uid"))}, with(found, func(s *plan.Scaler) { s.Canary, s.Drifted = true, true })},
		"another's copy":            {"it is somebody's", scaled(limits), []client.Object{hpa(pointed(0, 2)), hpa(named("web-canary"))}, found},
		"the user's for the canary": {"it takes the place of a copy", scaled(limits), []client.Object{hpa(pointed(0, 2)), hpa(named("web-canary"), onCanary)}, with(found, func(s *plan.Scaler) { s.CanaryUsers = true })},
		"a copy that was applied": {
			"it is to be given up", scaled(limits),
			[]client.Object{hpa(pointed(0, 2)), hpa(named("web-canary"), onCanary, ownedBy("web", "canary-uid"), applied)},
			with(found, func(s *plan.Scaler) { s.CanaryUsers, s.Drifted = true, true }),
		},
		"a stray":           {"it is to be given back", scaled(), []client.Object{hpa(pointed(0, 2)), hpa(named("old"), pointed(0, 2))}, with(found, func(s *plan.Scaler) { s.Drifted = true })},
		"only a stray":      {"it is to be given back", none(scaled()), []client.Object{hpa(named("old"), pointed(0, 2))}, plan.Scaler{Found: true, OnPrimary: true, Drifted: true}},
		"KEDA's own":        {"KEDA gives it the marks of its ScaledObject", none(scaled()), []client.Object{hpa(named("keda-hpa-web"), pointed(0, 2), ownedBy("web", ""))}, plan.Scaler{Restored: true}},
		"of another target": {"taking it would leave that without", scaled(), []client.Object{hpa(func(h *autoscalingv2.HorizontalPodAutoscaler) { h.Spec.ScaleTargetRef.Name = "shop" })}, plan.Scaler{Missing: true, Restored: true, Message: "HorizontalPodAutoscaler web scales Deployment shop"}},
		"KEDA is not there": {"its CRD is not", scaled(func(r *siskinv1.AutoscalerRef) { r.Kind = scaler.KindScaledObject }), []client.Object{hpa()}, plan.Scaler{Missing: true, Restored: true, Message: "this cluster has no ScaledObject of keda.sh/v1alpha1"}},
		"of no known group": {"the spec is wrong", scaled(func(r *siskinv1.AutoscalerRef) { r.APIVersion = "example.com/v1" }), []client.Object{hpa()}, plan.Scaler{Missing: true, Restored: true, Message: "spec.autoscalerRef: HorizontalPodAutoscaler of example.com/v1"}},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t, tc.canary, append(tc.objs, deployment())...)
			p.Scalers.Kinds = []schema.GroupVersionKind{scaler.HPA()}
			got := p.snapshot(t).Scaler
			if !strings.HasPrefix(got.Message, tc.want.Message) || (got.Message == "") != (tc.want.Message == "") {
				t.Errorf("%s: message %q, want %q", tc.reason, got.Message, tc.want.Message)
			}
			got.Message = tc.want.Message
			if got.Window != 0 && got.Window != 5*time.Minute { // Kubernetes' default; how it is read is tested in package scaler
				t.Errorf("it looks back for %s", got.Window)
			}
			got.Window = 0
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("%s: -want +got\n%s", tc.reason, diff)
			}
		})
	}
}

// TestSizeUnderAnAutoscaler : what was recorded when the target was held is an old number, also while somebody points the autoscaler
// elsewhere for a moment.
func TestSizeUnderAnAutoscaler(t *testing.T) {
	held := deployment(func(d *appsv1.Deployment) {
		d.Spec.Replicas = new(int32(0))
		d.Annotations = map[string]string{siskinv1.HeldAnnotation: "web", siskinv1.ReplicasAnnotation: "3"}
	})
	primary := func(n int32) *appsv1.Deployment {
		return clone(siskinv1.RolePrimary, "web-1", deployment(), func(d *appsv1.Deployment) { d.Spec.Replicas = &n })
	}
	none := func(c *siskinv1.Canary) *siskinv1.Canary { c.Spec.AutoscalerRef = nil; return c }
	for name, tc := range map[string]struct {
		canary *siskinv1.Canary
		target *appsv1.Deployment
		n      int32
		scaler *autoscalingv2.HorizontalPodAutoscaler
		want   int32
	}{
		"on the primary":        {scaled(), held, 7, hpa(pointed(0, 2)), 7},
		"pointed back by git":   {scaled(), held, 7, hpa(), 7},
		"gone":                  {scaled(), held, 7, nil, 7},
		"none":                  {none(scaled()), held, 7, nil, 3},
		"primary at zero":       {scaled(), held, 0, hpa(pointed(0, 2)), 3},
		"before it was held":    {scaled(), deployment(), 7, hpa(), 3},
		"at deletion, released": {scaled(), deployment(), 7, hpa(pointed(0, 2)), 3},
	} {
		objs := []client.Object{tc.target.DeepCopy(), primary(tc.n)}
		if tc.scaler != nil {
			objs = append(objs, tc.scaler)
		}
		p := newPlace(t, tc.canary, objs...)
		p.Scalers.Kinds = []schema.GroupVersionKind{scaler.HPA()}
		if got := p.snapshot(t).Target.Replicas; got != tc.want {
			t.Errorf("%s: %d, want %d", name, got, tc.want)
		}
	}
}

// TestSwitchedOff : only a zero that the user recorded switches an app off that a HorizontalPodAutoscaler sizes. Siskin's own zero does
// not, and KEDA is told itself.
func TestSwitchedOff(t *testing.T) {
	keda := func(pausedAt string) *unstructured.Unstructured {
		u := scaler.New(scaler.ScaledObject(), "shop", "web")
		u.Object["spec"] = map[string]any{"scaleTargetRef": map[string]any{"name": "web-primary"}, "minReplicaCount": int64(2)}
		u.SetAnnotations(map[string]string{siskinv1.ScalesAnnotation: "web-primary"})
		if pausedAt != "" {
			u.SetAnnotations(map[string]string{siskinv1.ScalesAnnotation: "web-primary", "autoscaling.keda.sh/paused-replicas": pausedAt})
		}
		return u
	}
	byKEDA := func(r *siskinv1.AutoscalerRef) { r.Kind = scaler.KindScaledObject }
	unmarked := func(d *appsv1.Deployment) { delete(d.Annotations, siskinv1.HeldAnnotation) }
	none := func(c *siskinv1.Canary) *siskinv1.Canary { c.Spec.AutoscalerRef = nil; return c }
	for name, tc := range map[string]struct {
		reason string
		canary *siskinv1.Canary
		target *appsv1.Deployment
		scaler client.Object
		want   bool
	}{
		"held":                  {"the zero is Siskin's", scaled(), deployment(held("3", 0)), hpa(pointed(0, 2)), false},
		"zero is recorded":      {"the user wrote it", scaled(), deployment(held("0", 0)), hpa(pointed(0, 2)), true},
		"it is missing too":     {"the user wrote it", scaled(), deployment(held("0", 0)), nil, true},
		"a number is written":   {"that is the new wish", scaled(), deployment(held("0", 3)), hpa(pointed(0, 2)), false},
		"no record":             {"nobody wished that", scaled(), deployment(held("", 0)), hpa(pointed(0, 2)), false},
		"a broken record":       {"nobody wished that", scaled(), deployment(held("off", 0)), hpa(pointed(0, 2)), false},
		"not held":              {"the safe side is to serve", scaled(), deployment(held("0", 0), unmarked), hpa(pointed(0, 2)), false},
		"without an autoscaler": {"the number is enough", none(scaled()), deployment(held("0", 0)), nil, false},
		"KEDA":                  {"it scales from zero", scaled(byKEDA), deployment(held("0", 0)), keda(""), false},
		"KEDA at zero":          {"it was told so", scaled(byKEDA), deployment(held("3", 0)), keda("0"), true},
		"KEDA at two":           {"it was told so", scaled(byKEDA), deployment(held("0", 0)), keda("2"), false},
	} {
		t.Run(name, func(t *testing.T) {
			objs := []client.Object{tc.target, clone(siskinv1.RolePrimary, "web-1", deployment())}
			if tc.scaler != nil {
				objs = append(objs, tc.scaler)
			}
			p := newPlace(t, tc.canary, objs...)
			p.Scalers.Kinds = []schema.GroupVersionKind{scaler.HPA(), scaler.ScaledObject()}
			got := p.snapshot(t).Target
			if got.Off != tc.want {
				t.Errorf("%s: off is %t", tc.reason, got.Off)
			}
			if recorded := tc.target.Annotations[siskinv1.ReplicasAnnotation]; tc.want && recorded == "0" && got.Replicas != 0 {
				t.Errorf("%d replicas are wanted", got.Replicas)
			}
		})
	}
}

// TestADeletionDoesNotWaitForTheAutoscaler : it goes on scaling the primary until the target is at full size; that number is the one
// that the target was released with.
func TestADeletionDoesNotWaitForTheAutoscaler(t *testing.T) {
	c := scaled()
	c.DeletionTimestamp, c.Finalizers = new(metav1.Now()), []string{siskinv1.Finalizer}
	p := newPlace(t, c, deployment(), clone(siskinv1.RolePrimary, "web-1", deployment(), func(d *appsv1.Deployment) { d.Spec.Replicas = new(int32(7)) }),
		hpa(pointed(0, 2)))
	p.Scalers.Kinds = []schema.GroupVersionKind{scaler.HPA()}
	if s := p.snapshot(t); s.Scaler.OnPrimary || s.Scaler.Restored || s.Target.Replicas != 3 {
		t.Errorf("the target is waited for until it has %d pods: %+v", s.Target.Replicas, s.Scaler)
	}
}

// TestKEDAAtZero : an app without work stays at zero; a new revision brings one pod to be judged.
func TestKEDAAtZero(t *testing.T) {
	so := &unstructured.Unstructured{Object: map[string]any{
		"spec": map[string]any{"scaleTargetRef": map[string]any{"name": "web-primary"}, "triggers": []any{}},
	}}
	so.SetGroupVersionKind(scaler.ScaledObject())
	so.SetName("web")
	so.SetNamespace("shop")
	so.SetAnnotations(map[string]string{siskinv1.ScalesAnnotation: "web-primary", siskinv1.LimitsAnnotation: "-", siskinv1.LimitsHeldAnnotation: "-"})
	for name, tc := range map[string]struct {
		phase                      siskinv1.Phase
		stable, rejected, revision string
		want                       int32
	}{
		"idle":       {siskinv1.PhaseSucceeded, "web-1", "", "web-1", 0},
		"a revision": {siskinv1.PhaseSucceeded, "web-1", "", "web-2", 1},
		"a rollout":  {siskinv1.PhaseProgressing, "web-1", "", "web-2", 1},
		"rejected":   {siskinv1.PhaseFailed, "web-1", "web-2", "web-2", 0},
		"beginning":  {"", "", "", "web-1", 1},
	} {
		c := scaled(func(r *siskinv1.AutoscalerRef) { r.Kind = scaler.KindScaledObject })
		c.Status.Phase, c.Status.Rejected, c.Status.Stable = tc.phase, tc.rejected, nil
		if tc.stable != "" {
			c.Status.Stable = &siskinv1.RevisionStatus{Revision: tc.stable}
		}
		p := newPlace(t, c, deployment(), so.DeepCopy())
		p.Scalers.Kinds = []schema.GroupVersionKind{scaler.HPA(), scaler.ScaledObject()}
		w := p.world(t)
		w.RevisionName = tc.revision
		if got := p.Snapshot(w, plan.Spec{}, now, now).Scaler; got.Least != tc.want || !got.OnPrimary || got.Drifted {
			t.Errorf("%s: %+v, want at least %d", name, got, tc.want)
		}
	}
}

func TestAScalerThatCannotBeReadIsAnError(t *testing.T) {
	p := newPlace(t, scaled(), deployment())
	broken := &routertest.Counter{Client: p.client}
	broken.Fail(errors.New("boom"))
	p.Scalers.Kinds, p.Scalers.Reader = []schema.GroupVersionKind{scaler.HPA()}, broken
	if _, err := p.World(t.Context(), p.canary, p.router, p.router.Capabilities(t.Context(), p.canary)); err == nil || !strings.Contains(err.Error(), "boom") {
		t.Errorf("error %v: nothing would be known of it", err)
	}
}
