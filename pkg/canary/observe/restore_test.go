package observe_test

import (
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/canary/observe"
	"github.com/siskin-dev/siskin/pkg/canary/plan"
	"github.com/siskin-dev/siskin/pkg/canary/target"
)

// sized is what a target says of its size; TestWhatATargetServes is about the rest.
func sized(t plan.Target) plan.Target {
	t.ChangedAt, t.RestlessAt = time.Time{}, time.Time{}
	t.Serving, t.Old, t.Current, t.Paused, t.Promoted, t.Unpaused, t.Message = 0, 0, false, false, false, false, ""
	return t
}

func TestWhatATargetServes(t *testing.T) {
	counts := func(pods, updated, available int32) func(*appsv1.Deployment) {
		return func(d *appsv1.Deployment) {
			d.Status = appsv1.DeploymentStatus{ObservedGeneration: 1, Replicas: pods, UpdatedReplicas: updated, AvailableReplicas: available}
		}
	}
	for name, tc := range map[string]struct {
		reason string
		target client.Object
		want   plan.Target
	}{
		"all":            {"all pods run it", deployment(counts(3, 3, 3)), plan.Target{Serving: 3, Current: true}},
		"a rollout":      {"which of them are available is not known for sure", deployment(counts(4, 2, 3)), plan.Target{Serving: 1, Old: 2, Current: true}},
		"only old pods":  {"none runs it", deployment(counts(3, 0, 3)), plan.Target{Old: 3, Current: true}},
		"not seen":       {"the counts are of what it said before", deployment(counts(3, 3, 3), func(d *appsv1.Deployment) { d.Generation = 2 }), plan.Target{}},
		"paused":         {"a new revision waits", deployment(counts(3, 0, 3), func(d *appsv1.Deployment) { d.Spec.Paused = true }), plan.Target{Old: 3, Current: true, Paused: true}},
		"unpaused":       {"the pause is to be put back", deployment(counts(3, 3, 3), marks(siskinv1.UnpausedAnnotation)), plan.Target{Serving: 3, Current: true, Unpaused: true}},
		"a DaemonSet":    {"all nodes have a pod of it", daemonSet(), plan.Target{Serving: 1, Current: true}},
		"an old node":    {"one has not", daemonSet(func(d *appsv1.DaemonSet) { d.Status.UpdatedNumberScheduled-- }), plan.Target{Old: 1, Current: true}},
		"a StatefulSet":  {"as a Deployment", statefulSet(), plan.Target{Serving: 3, Current: true}},
		"its old pods":   {"with OnDelete or a partition they stay", statefulSet(func(s *appsv1.StatefulSet) { s.Status.UpdatedReplicas = 1 }), plan.Target{Serving: 1, Old: 2, Current: true}},
		"a failed quota": {"people are told", deployment(counts(0, 0, 0), refusedPods), plan.Target{Current: true, Message: "(exceeded quota)"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newPlace(t, canary(ofKind(target.KindOf(tc.target))), tc.target).snapshot(t)
			got := plan.Target{
				Serving: s.Target.Serving, Old: s.Target.Old, Current: s.Target.Current, Paused: s.Target.Paused, Unpaused: s.Target.Unpaused,
				Message: s.Target.Message,
			}
			if got != tc.want {
				t.Errorf("%s: %+v instead of %+v", tc.reason, got, tc.want)
			}
		})
	}
}

func marks(annotation string) func(*appsv1.Deployment) {
	return func(d *appsv1.Deployment) { metav1.SetMetaDataAnnotation(&d.ObjectMeta, annotation, "true") }
}

func refusedPods(d *appsv1.Deployment) {
	d.Status.Conditions = []appsv1.DeploymentCondition{{Type: appsv1.DeploymentReplicaFailure, Status: corev1.ConditionTrue, Message: "exceeded quota"}}
}

// TestWhatADeletionGivesBack: r1 is promoted, r2 on trial.
func TestWhatADeletionGivesBack(t *testing.T) {
	restored := func(d *appsv1.Deployment) {
		metav1.SetMetaDataAnnotation(&d.ObjectMeta, siskinv1.RestoredAnnotation, "r1")
	}
	mutated := func(d *appsv1.Deployment) { d.Spec.Template.Spec.DNSPolicy = corev1.DNSClusterFirst }
	settings := func(value string) *corev1.ConfigMap {
		return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "settings", Namespace: "shop"}, Data: map[string]string{"a": value}}
	}
	copied := target.Track("web", target.Ref{Kind: target.ConfigMap, Name: "settings"}, hashOf(t, settings("1")))
	reads := func(name string) func(*appsv1.Deployment) {
		return func(d *appsv1.Deployment) {
			d.Spec.Template.Spec.Containers[0].EnvFrom = []corev1.EnvFromSource{{ConfigMapRef: &corev1.ConfigMapEnvSource{
				LocalObjectReference: corev1.LocalObjectReference{Name: name},
			}}}
		}
	}
	for name, tc := range map[string]struct {
		reason   string
		phase    siskinv1.Phase
		target   *appsv1.Deployment
		stable   *appsv1.Deployment // what r1 is
		config   *corev1.ConfigMap  // as it is now
		promoted bool
		name     string
	}{
		"the promoted content":         {"nothing is to be written", "Succeeded", deployment(), deployment(), nil, true, "r1"},
		"what failed":                  {"nobody is to get it", "Failed", deployment(image("web:2")), deployment(), nil, false, "r2"},
		"what nobody has tried":        {"nor that", "Succeeded", deployment(image("web:3")), deployment(), nil, false, target.Name("web", canonical(t, deployment(image("web:3"))))},
		"what the primary passed":      {"it is promoted", "Finalising", deployment(image("web:2")), deployment(), nil, true, "r2"},
		"while it is promoted":         {"it is not yet", "Promoting", deployment(image("web:2")), deployment(), nil, false, "r2"},
		"a snapshot that is gone":      {"nothing could be given back", "Failed", deployment(image("web:2")), nil, nil, true, "r1"},
		"a webhook changed it":         {"it was given back", "Terminating", deployment(restored, mutated), deployment(), nil, true, "r1"},
		"somebody changed it":          {"it was not", "Terminating", deployment(mutated), deployment(), nil, false, ""},
		"somebody wrote another again": {"that is no addition", "Terminating", deployment(restored, image("web:2")), deployment(), nil, false, "r2"},
		"the same configuration":       {"it reads what it read", "Failed", deployment(reads("settings")), deployment(reads("settings")), settings("1"), true, "r1"},
		"another configuration":        {"that was not promoted either", "Failed", deployment(reads("settings")), deployment(reads("settings")), settings("2"), false, ""},
		"no configuration":             {"its pods could not start", "Failed", deployment(reads("settings")), deployment(reads("settings")), nil, false, ""},
		"the copy":                     {"it is what it read", "Failed", deployment(reads(copied.Copy)), deployment(reads("settings")), settings("2"), true, "r1"},
		"what was left of it":          {"there was no better", "Terminating", deployment(restored, reads("settings")), deployment(reads("settings")), settings("2"), true, "r1"},
	} {
		t.Run(name, func(t *testing.T) {
			c := canary(func(c *siskinv1.Canary) {
				c.DeletionTimestamp, c.Finalizers = new(metav1.Now()), []string{siskinv1.Finalizer}
				c.Status.Phase, c.Status.Stable, c.Status.Canary = tc.phase, &siskinv1.RevisionStatus{Revision: "r1"}, &siskinv1.RevisionStatus{Revision: "r2"}
				c.Status.Rejected = "r2"
			})
			objs := []client.Object{tc.target, snapshot(t, "r2", deployment(image("web:2")))}
			if tc.stable != nil {
				r := target.From(tc.stable)
				if r.Template.Spec.Containers[0].EnvFrom != nil {
					r.Config = &target.Config{Items: []target.Item{copied}}
				}
				cr, err := target.Snapshot(canary(), "r1", 1, r)
				if err != nil {
					t.Fatal(err)
				}
				objs = append(objs, cr)
			}
			if tc.config != nil {
				objs = append(objs, tc.config)
			}
			p := newPlace(t, c, objs...)
			p.Config = &observe.ConfigTracker{Cache: p.client, Live: p.client}
			w := p.world(t)
			if w.Promoted != tc.promoted || tc.name != "" && w.RevisionName != tc.name {
				t.Errorf("%s: promoted %v, %s", tc.reason, w.Promoted, w.RevisionName)
			}
			if (tc.name == "") && w.RevisionName == "r1" && !tc.promoted {
				t.Error("what is not promoted has the name of what is")
			}
		})
	}
}

func hashOf(t *testing.T, obj client.Object) string {
	t.Helper()
	hash, err := target.Hash(obj)
	if err != nil {
		t.Fatal(err)
	}
	return hash
}
