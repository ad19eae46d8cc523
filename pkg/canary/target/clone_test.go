package target_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/canary/target"
)

func clone(d *appsv1.Deployment, role string) *appsv1.Deployment {
	return cloned(canary(), role, "web-1", target.From(d), 2)
}

func TestCloneKeepsAllLabelsAndGetsTheRole(t *testing.T) {
	d := deployment(func(d *appsv1.Deployment) {
		d.Spec.Selector.MatchExpressions = []metav1.LabelSelectorRequirement{{Key: "tier", Operator: metav1.LabelSelectorOpIn, Values: []string{"front"}}}
		d.Spec.MinReadySeconds, d.Spec.ProgressDeadlineSeconds, d.Spec.RevisionHistoryLimit = 7, new(int32(60)), new(int32(3))
		d.Spec.Strategy.Type = appsv1.RecreateDeploymentStrategyType
		d.Annotations = map[string]string{"deployment.kubernetes.io/revision": "4", siskinv1.HeldAnnotation: "web"}
	})
	for _, role := range []string{siskinv1.RolePrimary, siskinv1.RoleCanary} {
		t.Run(role, func(t *testing.T) {
			got := clone(d, role)
			want := &appsv1.Deployment{
				ObjectMeta: metav1.ObjectMeta{
					Name: "web-" + role, Namespace: "shop",
					Labels:          map[string]string{"app": "web", siskinv1.CanaryLabel: "web", siskinv1.RoleLabel: role},
					Annotations:     map[string]string{siskinv1.RevisionAnnotation: "web-1", siskinv1.AppliedAnnotation: "78f3858be6fac0e3"},
					OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(canary(), siskinv1.GroupVersion.WithKind("Canary"))},
				},
				Spec: *d.Spec.DeepCopy(),
			}
			want.Spec.Replicas = new(int32(2))
			want.Spec.Template.Labels = map[string]string{"app": "web", "tier": "front", siskinv1.RoleLabel: role, siskinv1.CloneLabel: "web"}
			want.Spec.Selector.MatchLabels = map[string]string{"app": "web", siskinv1.RoleLabel: role, siskinv1.CloneLabel: "web"}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
		})
	}
}

func TestASelectorOfExpressionsAloneGetsTheRole(t *testing.T) {
	d := deployment(func(d *appsv1.Deployment) {
		d.Spec.Selector = &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "app", Operator: metav1.LabelSelectorOpExists}}}
	})
	got := clone(d, "canary").Spec.Selector
	want := &metav1.LabelSelector{
		MatchLabels:      map[string]string{siskinv1.RoleLabel: "canary", siskinv1.CloneLabel: "web"},
		MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "app", Operator: metav1.LabelSelectorOpExists}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("primary and canary would own each other's pods: -want +got\n%s", diff)
	}
}

func TestACloneOfAnEmptyRevisionIsComplete(t *testing.T) {
	got := cloned(canary(), "primary", "web-1", target.Revision{}, 0)
	if got.Spec.Selector.MatchLabels[siskinv1.RoleLabel] != "primary" || got.Spec.Template.Labels[siskinv1.RoleLabel] != "primary" ||
		got.Labels[siskinv1.CanaryLabel] != "web" || *got.Spec.Replicas != 0 {
		t.Errorf("clone: %+v", got)
	}
}

func TestOnlyTermsThatSelectTheOwnPodsAreNarrowed(t *testing.T) {
	exp := func(key string, op metav1.LabelSelectorOperator, values ...string) *metav1.LabelSelector {
		return &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: key, Operator: op, Values: values}}}
	}
	labels := func(kv ...string) *metav1.LabelSelector {
		s := &metav1.LabelSelector{MatchLabels: map[string]string{}}
		for i := 0; i < len(kv); i += 2 {
			s.MatchLabels[kv[i]] = kv[i+1]
		}
		return s
	}
	for name, tc := range map[string]struct {
		reason string
		in     *metav1.LabelSelector
		narrow bool
	}{
		"own label":           {"keep apart from your like: canary pods are not the primary's like", labels("app", "web"), true},
		"both own labels":     {"all of them match", labels("app", "web", "tier", "front"), true},
		"another app":         {"stay near the cache: the cache has no role", labels("app", "cache"), false},
		"half another":        {"one label that differs selects somebody else", labels("app", "web", "tier", "back"), false},
		"own by expression":   {"an expression selects as labels do", exp("app", metav1.LabelSelectorOpIn, "web", "api"), true},
		"exists":              {"the own pods have the label", exp("tier", metav1.LabelSelectorOpExists), true},
		"not own":             {"everybody but the own pods", exp("app", metav1.LabelSelectorOpNotIn, "web"), false},
		"all pods":            {"an empty selector means all pods, of other apps too", &metav1.LabelSelector{}, false},
		"none":                {"no selector selects nothing", nil, false},
		"an invalid selector": {"the API server will say so; it is not ours to mend", exp("app", "Like", "web"), false},
	} {
		t.Run(name, func(t *testing.T) {
			d := deployment(func(d *appsv1.Deployment) {
				term := func() corev1.PodAffinityTerm {
					return corev1.PodAffinityTerm{TopologyKey: "zone", LabelSelector: tc.in.DeepCopy()}
				}
				weighted := func() []corev1.WeightedPodAffinityTerm {
					return []corev1.WeightedPodAffinityTerm{{Weight: 1, PodAffinityTerm: term()}}
				}
				d.Spec.Template.Spec.TopologySpreadConstraints = []corev1.TopologySpreadConstraint{{MaxSkew: 1, TopologyKey: "zone", LabelSelector: tc.in.DeepCopy()}}
				d.Spec.Template.Spec.Affinity = &corev1.Affinity{
					PodAffinity: &corev1.PodAffinity{
						RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{term()}, PreferredDuringSchedulingIgnoredDuringExecution: weighted(),
					},
					PodAntiAffinity: &corev1.PodAntiAffinity{
						RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{term()}, PreferredDuringSchedulingIgnoredDuringExecution: weighted(),
					},
				}
			})
			want := tc.in.DeepCopy()
			if tc.narrow {
				if want.MatchLabels == nil {
					want.MatchLabels = map[string]string{}
				}
				want.MatchLabels[siskinv1.RoleLabel] = "canary"
			}
			spec := clone(d, "canary").Spec.Template.Spec
			for where, got := range map[string]*metav1.LabelSelector{
				"topology spread":         spec.TopologySpreadConstraints[0].LabelSelector,
				"required affinity":       spec.Affinity.PodAffinity.RequiredDuringSchedulingIgnoredDuringExecution[0].LabelSelector,
				"preferred affinity":      spec.Affinity.PodAffinity.PreferredDuringSchedulingIgnoredDuringExecution[0].PodAffinityTerm.LabelSelector,
				"required anti-affinity":  spec.Affinity.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution[0].LabelSelector,
				"preferred anti-affinity": spec.Affinity.PodAntiAffinity.PreferredDuringSchedulingIgnoredDuringExecution[0].PodAffinityTerm.LabelSelector,
			} {
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("%s: %s: -want +got\n%s", where, tc.reason, diff)
				}
			}
			if diff := cmp.Diff(tc.in, d.Spec.Template.Spec.TopologySpreadConstraints[0].LabelSelector); diff != "" {
				t.Errorf("the target was changed: -was +is\n%s", diff)
			}
		})
	}
}

func TestNodeAffinityAloneIsLeftAlone(t *testing.T) {
	affinity := &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{}}
	d := deployment(func(d *appsv1.Deployment) { d.Spec.Template.Spec.Affinity = affinity.DeepCopy() })
	if diff := cmp.Diff(affinity, clone(d, "primary").Spec.Template.Spec.Affinity); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

func TestRuns(t *testing.T) {
	for name, tc := range map[string]struct {
		reason string
		edit   func(*appsv1.Deployment)
		want   bool
	}{
		"as written":  {"nothing happened", func(*appsv1.Deployment) {}, true},
		"defaulted":   {"the API server's defaults are no drift", defaulted, true},
		"image":       {"somebody ran kubectl set image on a clone", func(d *appsv1.Deployment) { d.Spec.Template.Spec.Containers[0].Image = "evil:1" }, false},
		"other label": {"a label was taken away", func(d *appsv1.Deployment) { delete(d.Spec.Template.Labels, "tier") }, false},
		"other value": {"a label was changed", func(d *appsv1.Deployment) { d.Spec.Template.Labels["tier"] = "x" }, false},
		"restart": {"kubectl rollout restart on a clone: its pods are still the revision's", func(d *appsv1.Deployment) {
			d.Spec.Template.Annotations = map[string]string{"kubectl.kubernetes.io/restartedAt": "now"}
		}, true},
		"injected label": {"another controller's label is its own", func(d *appsv1.Deployment) { d.Spec.Template.Labels["injected"] = "yes" }, true},
		"another volume": {"the revision has none and says nothing of them", func(d *appsv1.Deployment) { d.Spec.Template.Spec.Volumes = []corev1.Volume{{Name: "x"}} }, true},
		"no container":   {"the app is gone", func(d *appsv1.Deployment) { d.Spec.Template.Spec.Containers = nil }, false},
		"replicas":       {"the size is told apart from the content", func(d *appsv1.Deployment) { d.Spec.Replicas = new(int32(9)) }, true},
		"a default apart": {"it is not the API server's", func(d *appsv1.Deployment) {
			defaulted(d)
			d.Spec.Template.Spec.Containers[0].Ports[0].ContainerPort = 1
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			want := clone(deployment(), "primary")
			live := want.DeepCopy()
			tc.edit(live)
			if got := target.Runs(live, want); got != tc.want {
				t.Errorf("%s: runs = %t", tc.reason, got)
			}
		})
	}
}

func TestRunsAfterARoundTripOfADefaultedTarget(t *testing.T) {
	// The snapshot of a live target has the defaults; so has the live clone.
	cr, err := target.Snapshot(canary(), "web-1", 1, target.From(deployment(defaulted)))
	if err != nil {
		t.Fatal(err)
	}
	r, err := target.Read(cr)
	if err != nil {
		t.Fatal(err)
	}
	live := clone(deployment(), "canary")
	defaulted(live)
	if !target.Runs(live, cloned(canary(), "canary", "web-1", r, 5)) {
		t.Error("a clone that was just written counts as drifted: it would be written for ever")
	}
}

// Snapshots of an earlier Siskin have the label still; pods are selected by it.
func TestACloneOfAnOldSnapshotIsNotTracked(t *testing.T) {
	r := target.From(deployment(func(d *appsv1.Deployment) { d.Spec.Template.Labels[target.Tracking] = "web" }))
	r.Workload.Labels[target.Tracking] = "web"
	if d := cloned(canary(), siskinv1.RolePrimary, "r1", r, 1); d.Labels[target.Tracking] != "" || d.Spec.Template.Labels[target.Tracking] != "web" {
		t.Errorf("the clone has %v, its pods %v", d.Labels, d.Spec.Template.Labels)
	}
}
