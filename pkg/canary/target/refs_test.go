package target_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/siskin-dev/siskin/pkg/canary/target"
)

// reading is a way in which pods read, or do not read, the objects a and b.
type reading struct {
	reason string
	edit   func(*corev1.PodSpec)
	want   string // kind/name, "?" if optional, and where
}

func env(ref corev1.EnvVarSource) []corev1.EnvVar {
	return []corev1.EnvVar{{Name: "PLAIN", Value: "1"}, {Name: "A", ValueFrom: &ref}}
}

func named(name string) corev1.LocalObjectReference { return corev1.LocalObjectReference{Name: name} }

func volume(v corev1.VolumeSource) func(*corev1.PodSpec) {
	return func(p *corev1.PodSpec) { p.Volumes = []corev1.Volume{{Name: "v", VolumeSource: v}} }
}

func readings() map[string]reading {
	keyOfMap := corev1.EnvVarSource{ConfigMapKeyRef: &corev1.ConfigMapKeySelector{LocalObjectReference: named("a"), Key: "k"}}
	keyOfSecret := corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: named("a"), Key: "k"}}
	fromMap := []corev1.EnvFromSource{{ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: named("a")}}}
	fromSecret := []corev1.EnvFromSource{{Prefix: "X_", SecretRef: &corev1.SecretEnvSource{LocalObjectReference: named("a"), Optional: new(true)}}}
	return map[string]reading{
		"a volume of a ConfigMap": {"files", volume(corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: named("a")}}), "ConfigMap/a volume v"},
		"a volume of a Secret":    {"files", volume(corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "a"}}), "Secret/a volume v"},
		"an optional volume": {
			"pods start without it", volume(corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "a", Optional: new(true)}}), "Secret/a? volume v",
		},
		"a projected volume": {"several in one", volume(corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
			{ConfigMap: &corev1.ConfigMapProjection{LocalObjectReference: named("a")}},
			{Secret: &corev1.SecretProjection{LocalObjectReference: named("b"), Optional: new(true)}},
			{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Path: "t"}},
			{DownwardAPI: &corev1.DownwardAPIProjection{}},
		}}}), "ConfigMap/a volume v, Secret/b? volume v"},
		"a variable of a ConfigMap":    {"one key", func(p *corev1.PodSpec) { p.Containers[0].Env = env(keyOfMap) }, "ConfigMap/a container web (env A)"},
		"a variable of a Secret":       {"one key", func(p *corev1.PodSpec) { p.Containers[0].Env = env(keyOfSecret) }, "Secret/a container web (env A)"},
		"all variables of a ConfigMap": {"every key", func(p *corev1.PodSpec) { p.Containers[0].EnvFrom = fromMap }, "ConfigMap/a container web (envFrom)"},
		"all variables of a Secret":    {"every key", func(p *corev1.PodSpec) { p.Containers[0].EnvFrom = fromSecret }, "Secret/a? container web (envFrom)"},
		"init containers, variable":    {"they run before", func(p *corev1.PodSpec) { p.InitContainers = []corev1.Container{{Name: "i", Env: env(keyOfMap)}} }, "ConfigMap/a init container i (env A)"},
		"init containers, all":         {"they run before", func(p *corev1.PodSpec) { p.InitContainers = []corev1.Container{{Name: "i", EnvFrom: fromSecret}} }, "Secret/a? init container i (envFrom)"},
		"ephemeral containers": {"they run in the pod", func(p *corev1.PodSpec) {
			p.EphemeralContainers = []corev1.EphemeralContainer{{EphemeralContainerCommon: corev1.EphemeralContainerCommon{Name: "e", Env: env(keyOfSecret), EnvFrom: fromMap}}}
		}, "ConfigMap/a ephemeral container e (envFrom), Secret/a ephemeral container e (env A)"},
		"other variables": {"they come from elsewhere", func(p *corev1.PodSpec) {
			p.Containers[0].Env = env(corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "x"}})
		}, ""},
		"nothing":                       {"most pods", func(*corev1.PodSpec) {}, ""},
		"twice":                         {"it is one object", func(p *corev1.PodSpec) { p.Containers[0].Env, p.Containers[0].EnvFrom = env(keyOfMap), fromMap }, "ConfigMap/a container web (envFrom)"},
		"twice, optional only once":     {"the pods do not start without it", func(p *corev1.PodSpec) { p.Containers[0].Env, p.Containers[0].EnvFrom = env(keyOfSecret), fromSecret }, "Secret/a container web (env A)"},
		"credentials to pull images":    {"the kubelet's, not the app's", func(p *corev1.PodSpec) { p.ImagePullSecrets = []corev1.LocalObjectReference{named("a")} }, ""},
		"credentials of a CSI driver":   {"the driver's, not the app's", volume(corev1.VolumeSource{CSI: &corev1.CSIVolumeSource{Driver: "d", NodePublishSecretRef: new(named("a"))}}), ""},
		"credentials of another driver": {"the driver's, not the app's", volume(corev1.VolumeSource{CephFS: &corev1.CephFSVolumeSource{SecretRef: new(named("a"))}}), ""},
	}
}

func TestWhatPodsRead(t *testing.T) {
	for name, tc := range readings() {
		t.Run(name, func(t *testing.T) {
			d := deployment(func(d *appsv1.Deployment) { tc.edit(&d.Spec.Template.Spec) })
			var got []string
			for _, ref := range target.Refs(&d.Spec.Template.Spec) {
				mark := ""
				if ref.Optional {
					mark = "?"
				}
				got = append(got, fmt.Sprintf("%s/%s%s %s", ref.Kind, ref.Name, mark, ref.Where))
			}
			if diff := cmp.Diff(tc.want, strings.Join(got, ", ")); diff != "" {
				t.Errorf("%s: -want +got\n%s", tc.reason, diff)
			}
		})
	}
}

// Every reference of a clone is to a copy, and nothing else of the pod is touched: read back with the names undone, it is the template.
func TestClonesReadTheCopies(t *testing.T) {
	for name, tc := range readings() {
		t.Run(name, func(t *testing.T) {
			d := deployment(func(d *appsv1.Deployment) { tc.edit(&d.Spec.Template.Spec) })
			r := target.From(d)
			back := map[string]string{}
			for _, ref := range target.Refs(&r.Template.Spec) {
				it := target.Track("web", ref, "hash-of-"+ref.Name)
				back[it.Kind+"/"+it.Copy] = it.Name
				if r.Config == nil {
					r.Config = &target.Config{}
				}
				r.Config.Items = append(r.Config.Items, it)
			}
			got := cloned(canary(), "primary", "web-1", r, 1)
			refs := target.Refs(&got.Spec.Template.Spec)
			if len(refs) != len(back) {
				t.Fatalf("%s: %d references became %v", tc.reason, len(back), refs)
			}
			for _, ref := range refs {
				if back[ref.Kind+"/"+ref.Name] == "" {
					t.Errorf("%s: %s %s is no copy", tc.reason, ref.Kind, ref.Name)
				}
			}
			undone := target.From(got)
			undone.Config = &target.Config{}
			for copied, original := range back {
				kind, name, _ := strings.Cut(copied, "/")
				undone.Config.Items = append(undone.Config.Items, target.Item{Kind: kind, Name: name, Copy: original})
			}
			want := cloned(canary(), "primary", "web-1", target.From(d), 1)
			if diff := cmp.Diff(want.Spec.Template, cloned(canary(), "primary", "web-1", undone, 1).Spec.Template); diff != "" {
				t.Errorf("%s: more than names was changed: -want +got\n%s", tc.reason, diff)
			}
			if diff := cmp.Diff(target.From(d), func() target.Revision { r.Config = nil; return r }()); diff != "" {
				t.Errorf("the revision itself was changed: %s", diff)
			}
		})
	}
}

func TestUntrackedAndTakenOverConfigurationIsReadFromTheOriginal(t *testing.T) {
	d := deployment(func(d *appsv1.Deployment) {
		d.Spec.Template.Spec.Containers[0].EnvFrom = []corev1.EnvFromSource{
			{ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: named("own")}}, {SecretRef: &corev1.SecretEnvSource{LocalObjectReference: named("old")}},
		}
	})
	r := target.From(d)
	r.Config = &target.Config{Items: []target.Item{{Kind: "ConfigMap", Name: "own", Untracked: true}, {Kind: "Secret", Name: "old", Hash: "1"}}}
	got := target.Refs(&cloned(canary(), "primary", "web-1", r, 1).Spec.Template.Spec)
	if len(got) != 2 || got[0].Name != "own" || got[1].Name != "old" {
		t.Errorf("references %v", got)
	}
	if n := len(r.Config.Copies()); n != 0 {
		t.Errorf("%d copies are needed for nothing", n)
	}
}
