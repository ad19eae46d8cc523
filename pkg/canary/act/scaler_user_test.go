package act_test

import (
	"errors"
	"strings"
	"testing"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/canary/observe"
	"github.com/siskin-dev/siskin/pkg/canary/plan"
	"github.com/siskin-dev/siskin/pkg/canary/scaler"
)

// ofCanary is an autoscaler of the user's for the canary's pods.
func ofCanary(h *autoscalingv2.HorizontalPodAutoscaler) {
	h.Spec.ScaleTargetRef.Name, h.Spec.MinReplicas, h.Spec.MaxReplicas = "web-canary", new(int32(4)), 44
}

func trialLimits(r *siskinv1.AutoscalerRef) {
	r.Canary = &siskinv1.ScalerReplicas{MinReplicas: new(int32(1)), MaxReplicas: new(int32(3))}
}

// kubectlApplies writes over a generated autoscaler as kubectl apply does, which leaves what it does not name.
func (s *stage) kubectlApplies(h *autoscalingv2.HorizontalPodAutoscaler) {
	s.t.Helper()
	h.Spec.ScaleTargetRef.Name, h.Spec.MaxReplicas = "web-canary", 44
	h.Annotations[corev1.LastAppliedConfigAnnotation] = `{"metadata":{"name":"web-canary"},"spec":{"maxReplicas":44,` +
		`"scaleTargetRef":{"apiVersion":"apps/v1","kind":"Deployment","name":"web-canary"}}}`
	if err := s.api.Update(s.t.Context(), h, client.FieldOwner("kubectl-client-side-apply")); err != nil {
		s.t.Fatal(err)
	}
}

// A later autoscaler of the name of the one that Siskin made is its writer's from then on, and takes its place; when it
// is gone, Siskin makes its own again.
func TestAnAutoscalerOfTheUsersForTheCanary(t *testing.T) {
	trial := plan.ApplyScaler{Floor: 5, Canary: true}
	for name, arrive := range map[string]func(*testing.T, *stage){
		"first": func(t *testing.T, s *stage) {
			t.Helper()
			if err := s.api.Create(t.Context(), autoscaler("web-canary", ofCanary)); err != nil {
				t.Fatal(err)
			}
		},
		"later, by kubectl apply": func(_ *testing.T, s *stage) {
			s.on(s.scaledWorld(), trial)
			s.kubectlApplies(s.scaler("web-canary"))
		},
		"later, by server-side apply": func(t *testing.T, s *stage) {
			t.Helper()
			s.on(s.scaledWorld(), trial)
			h := autoscaler("web-canary", ofCanary)
			h.APIVersion, h.Kind = "autoscaling/v2", "HorizontalPodAutoscaler"
			if err := s.api.Patch(t.Context(), h, client.Apply, client.FieldOwner("argocd"), client.ForceOwnership); err != nil { //nolint:staticcheck // as tools do
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t, scaledCanary(trialLimits), deployment("web:1"), autoscaler("web"))
			arrive(t, s)
			for range 2 {
				w := s.scaledWorld()
				s.on(w, plan.ApplyScaler{Floor: 5, Canary: w.Scalers.User == nil})
				h := s.scaler("web-canary")
				if h.Spec.MaxReplicas != 44 || len(h.OwnerReferences) != 0 || len(h.Labels) != 0 || h.Annotations[siskinv1.AppliedAnnotation] != "" {
					t.Fatalf("%+v %+v", h.ObjectMeta, h.Spec)
				}
				for _, e := range h.ManagedFields {
					if e.Manager == siskinv1.FieldManager && e.FieldsV1 != nil && strings.Contains(e.FieldsV1.GetRawString(), "f:spec") {
						t.Errorf("its writer would meet a conflict: %s", e.FieldsV1.GetRawString())
					}
				}
			}
			if st := s.snapshotOf(s.scaledWorld()).Scaler; st.Drifted || st.Canary || !st.CanaryUsers {
				t.Errorf("it does not settle: %+v", st)
			}
			s.on(s.scaledWorld(), plan.ApplyScaler{})
			s.on(s.scaledWorld(), plan.RestoreScaler{})
			if err := s.api.Delete(t.Context(), s.scaler("web-canary")); err != nil { // it has outlived rollout and Canary
				t.Fatal(err)
			}
			s.on(s.scaledWorld(), trial)
			if h := s.scaler("web-canary"); !metav1.IsControlledBy(h, s.canary) || h.Spec.MaxReplicas != 3 {
				t.Errorf("%+v %+v", h.ObjectMeta, h.Spec)
			}
		})
	}
}

// One that the spec has ceased to name is its writer's too, and is not deleted.
func TestALeftoverThatIsClaimedStays(t *testing.T) {
	s := newStage(t, scaledCanary(trialLimits), deployment("web:1"), autoscaler("web"), autoscaler("other"))
	s.on(s.scaledWorld(), plan.ApplyScaler{Floor: 5, Canary: true})
	s.kubectlApplies(s.scaler("web-canary"))
	s.canary.Spec.AutoscalerRef.Name = "other"
	if st := s.snapshotOf(s.scaledWorld()).Scaler; !st.Drifted {
		t.Errorf("nobody would give it up: %+v", st)
	}
	s.on(s.scaledWorld(), plan.ApplyScaler{})
	if h := s.scaler("web-canary"); len(h.OwnerReferences) != 0 || h.Spec.MaxReplicas != 44 {
		t.Errorf("%+v %+v", h.ObjectMeta, h.Spec)
	}
}

// What cannot take the place of the canary's own is refused, in words that tell why.
func TestAnAutoscalerThatCannotBeTheCanarys(t *testing.T) {
	for name, tc := range map[string]struct {
		edit func(*autoscalingv2.HorizontalPodAutoscaler)
		why  string
	}{
		"scales another": {func(*autoscalingv2.HorizontalPodAutoscaler) {}, "it scales Deployment web and not Deployment web-canary"},
		"goes to zero": {func(h *autoscalingv2.HorizontalPodAutoscaler) {
			ofCanary(h)
			h.Spec.MinReplicas = new(int32(0))
		}, "it would wake a canary that rests"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t, scaledCanary(trialLimits), deployment("web:1"), autoscaler("web"), autoscaler("web-canary", tc.edit))
			_, err := s.Run(t.Context(), s.scaledWorld(), []plan.Effect{plan.ApplyScaler{Floor: 2, Canary: true}})
			if invalid, ok := errors.AsType[*observe.InvalidSpecError](err); !ok || !strings.Contains(invalid.Message, tc.why) {
				t.Errorf("%v", err)
			}
		})
	}
	so := scaler.New(scaler.ScaledObject(), "shop", "web-canary")
	so.Object["spec"] = map[string]any{"scaleTargetRef": map[string]any{"name": "web-canary"}}
	if scaler.Unfit(so, siskinv1.TargetRef{Kind: "Deployment", Name: "web"}) == "" {
		t.Error("KEDA would wake the canary")
	}
}

// A decision on an autoscaler that is gone by now changes nothing.
func TestAClaimedAutoscalerThatIsGone(t *testing.T) {
	s := newStage(t, scaledCanary(trialLimits), deployment("web:1"), autoscaler("web"))
	s.on(s.scaledWorld(), plan.ApplyScaler{Floor: 5, Canary: true})
	s.kubectlApplies(s.scaler("web-canary"))
	w := s.scaledWorld()
	if err := s.api.Delete(t.Context(), s.scaler("web-canary")); err != nil {
		t.Fatal(err)
	}
	s.on(w, plan.ApplyScaler{})
}
