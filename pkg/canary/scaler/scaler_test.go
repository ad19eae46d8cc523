package scaler

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
)

const hpa = `
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: web, namespace: shop, annotations: {team: a}, labels: {argocd.argoproj.io/instance: shop}}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}
  minReplicas: 2
  maxReplicas: 9
  behavior: {scaleDown: {stabilizationWindowSeconds: 0}}
`

const scaledObject = `
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata: {name: web, namespace: shop, annotations: {autoscaling.keda.sh/paused: "true"}}
spec:
  scaleTargetRef: {name: web}
  idleReplicaCount: 0
  advanced: {horizontalPodAutoscalerConfig: {name: web-hpa}}
  triggers:
  - type: prometheus
    name: load
    metadata: {threshold: "5", query: 'sum(rate(http_requests{app="web"}[1m])) / sum(kube_pods{pod=~"web-canary-.*"})'}
  - type: prometheus
    metadata: {query: 'sum(rate(http_requests{app="web-api"}[1m]))'}
  - type: cron
    name: shift
    metadata: {start: "0 8 * * *"}
`

func parsed(t *testing.T, manifest string) *unstructured.Unstructured {
	t.Helper()
	u := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(manifest), &u.Object); err != nil {
		t.Fatal(err)
	}
	data, err := u.MarshalJSON() // numbers as the API server's are read
	if err != nil {
		t.Fatal(err)
	}
	if err := u.UnmarshalJSON(data); err != nil {
		t.Fatal(err)
	}
	return u
}

func of(obj *unstructured.Unstructured) *Scaler {
	return Of(obj, siskinv1.TargetRef{APIVersion: "apps/v1", Kind: "Deployment", Name: "web"}, pods())
}

// pods of the target, which all have its name in a label.
func pods() *corev1.PodTemplateSpec {
	return &corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "web"}}}
}

func ref(edits ...func(*siskinv1.AutoscalerRef)) *siskinv1.AutoscalerRef {
	r := &siskinv1.AutoscalerRef{Kind: KindHPA, Name: "web"}
	for _, edit := range edits {
		edit(r)
	}
	return r
}

func replicas(least, most int32) *siskinv1.ScalerReplicas {
	r := &siskinv1.ScalerReplicas{}
	if least > 0 {
		r.MinReplicas = &least
	}
	if most > 0 {
		r.MaxReplicas = &most
	}
	return r
}

// look is an autoscaler in one line.
func look(u *unstructured.Unstructured) string {
	name, _, _ := unstructured.NestedString(u.Object, "spec", "scaleTargetRef", "name")
	return fmt.Sprintf("%s %s", name, read(u))
}

func TestPointedAndRestored(t *testing.T) {
	for name, tc := range map[string]struct {
		reason, manifest string
		ref              *siskinv1.AutoscalerRef
		floor            int32
		want             string
	}{
		"idle":                  {"the user's limits act", hpa, ref(), 0, "web-primary 2-9"},
		"a rollout":             {"it must not shrink", hpa, ref(), 5, "web-primary 5-9"},
		"a floor under the min": {"the user's is higher", hpa, ref(), 1, "web-primary 2-9"},
		"a floor over the max":  {"max never lies below min", hpa, ref(), 12, "web-primary 12-12"},
		"given limits":          {"the spec's", hpa, ref(func(r *siskinv1.AutoscalerRef) { r.PrimaryScalerReplicas = replicas(3, 20) }), 0, "web-primary 3-20"},
		"one given limit":       {"the other is the user's", hpa, ref(func(r *siskinv1.AutoscalerRef) { r.PrimaryScalerReplicas = replicas(0, 20) }), 0, "web-primary 2-20"},
		"given over the max":    {"max never lies below min", hpa, ref(func(r *siskinv1.AutoscalerRef) { r.PrimaryScalerReplicas = replicas(11, 0) }), 0, "web-primary 11-11"},
		"given and a floor":     {"the floor is higher", hpa, ref(func(r *siskinv1.AutoscalerRef) { r.PrimaryScalerReplicas = replicas(3, 20) }), 7, "web-primary 7-20"},
		"KEDA":                  {"without limits it has none", scaledObject, ref(), 0, "web-primary -"},
		"KEDA in a rollout":     {"it must not go to zero", scaledObject, ref(), 3, "web-primary 3-"},
		"KEDA above its most":   {"its default for max is 100", scaledObject, ref(), 300, "web-primary 300-300"},
	} {
		t.Run(name, func(t *testing.T) {
			before := parsed(t, tc.manifest)
			if s := of(before); s.OnPrimary() || s.Marked() || s.Foreign() != "" {
				t.Fatal("it has never been seen")
			}
			pointed := of(before).Pointed(tc.ref, tc.floor)
			s := of(pointed)
			if got := look(pointed); got != tc.want || !s.OnPrimary() || s.Floor() != tc.floor || !s.Marked() {
				t.Errorf("%s: %s, want %s; floor %d", tc.reason, got, tc.want, s.Floor())
			}
			if again := s.Pointed(tc.ref, tc.floor); !Same(pointed, again) {
				t.Errorf("it never comes to rest:\n%s", cmp.Diff(pointed.Object, again.Object))
			}
			if diff := cmp.Diff(before.Object, s.Restored().Object); diff != "" {
				t.Errorf("restored: -was +is\n%s", diff)
			}
			if diff := cmp.Diff(before.Object, of(s.Pointed(tc.ref, 0)).Restored().Object); diff != "" {
				t.Errorf("restored after the rollout: -was +is\n%s", diff)
			}
			if diff := cmp.Diff(parsed(t, tc.manifest).Object, before.Object); diff != "" {
				t.Errorf("what was read was changed:\n%s", diff)
			}
		})
	}
}

// TestAnEditIsTheNewWish : whatever Siskin wrote last, a value that is not so is the user's, at once and after the rollout.
func TestLeft(t *testing.T) {
	idles := func(u *unstructured.Unstructured) {
		_ = unstructured.SetNestedField(u.Object, int64(0), "spec", "minReplicas")
	}
	elsewhere := func(u *unstructured.Unstructured) { setString(u, "shop", "spec", "scaleTargetRef", "name") }
	for name, tc := range map[string]struct {
		reason, manifest string
		edit             func(*unstructured.Unstructured)
		want             string
		marked           bool
	}{
		"an HPA":              {"it does nothing at zero", hpa, nil, "web 2-9", false},
		"one that may idle":   {"it wakes what is at zero", hpa, idles, "web-primary 0-9", true},
		"KEDA":                {"it wakes what is at zero", scaledObject, nil, "web-primary -", true},
		"of something else":   {"a person pointed it there", scaledObject, elsewhere, "shop -", false},
		"an HPA of something": {"a person pointed it there", hpa, elsewhere, "shop 2-9", false},
	} {
		before := of(parsed(t, tc.manifest).DeepCopy()).Pointed(ref(func(r *siskinv1.AutoscalerRef) { r.PrimaryScalerReplicas = replicas(0, 20) }), 5)
		if tc.edit != nil {
			tc.edit(before)
		}
		left := of(before).Left()
		if got := look(left); got != tc.want || of(left).Marked() != tc.marked {
			t.Errorf("%s: %s: %s, want %s, marked %t", name, tc.reason, got, tc.want, of(left).Marked())
		}
		if again := of(left).Left(); !Same(left, again) {
			t.Errorf("%s: it is written again and again", name)
		}
	}
}

func TestAnEditIsTheNewWish(t *testing.T) {
	set := func(value int64, field string) func(*unstructured.Unstructured) {
		return func(u *unstructured.Unstructured) { _ = unstructured.SetNestedField(u.Object, value, "spec", field) }
	}
	for name, tc := range map[string]struct {
		reason          string
		edit            func(*unstructured.Unstructured)
		during, after   string
		restoredExactly string
	}{
		"git again":      {"the same wish as before", set(2, "minReplicas"), "web-primary 5-9", "web-primary 2-9", "web 2-9"},
		"a lower min":    {"it acts after the rollout", set(1, "minReplicas"), "web-primary 5-9", "web-primary 1-9", "web 1-9"},
		"a higher min":   {"it acts at once", set(7, "minReplicas"), "web-primary 7-9", "web-primary 7-9", "web 7-9"},
		"a higher max":   {"it acts at once", set(30, "maxReplicas"), "web-primary 5-30", "web-primary 2-30", "web 2-30"},
		"a max too low":  {"the floor holds", set(3, "maxReplicas"), "web-primary 5-5", "web-primary 2-3", "web 2-3"},
		"pointed back":   {"it is pointed again", func(u *unstructured.Unstructured) { setString(u, "web", "spec", "scaleTargetRef", "name") }, "web-primary 5-9", "web-primary 2-9", "web 2-9"},
		"replaced whole": {"nothing is known any more", func(u *unstructured.Unstructured) { u.Object = parsed(t, strings.Replace(hpa, "9", "8", 1)).Object }, "web-primary 5-8", "web-primary 2-8", "web 2-8"},
	} {
		t.Run(name, func(t *testing.T) {
			u := of(parsed(t, hpa)).Pointed(ref(), 5)
			tc.edit(u)
			during := of(u).Pointed(ref(), 5)
			if got := look(during); got != tc.during {
				t.Errorf("%s: during the rollout %s, want %s", tc.reason, got, tc.during)
			}
			after := of(during).Pointed(ref(), 0)
			if got := look(after); got != tc.after {
				t.Errorf("%s: after the rollout %s, want %s", tc.reason, got, tc.after)
			}
			for when, u := range map[string]*unstructured.Unstructured{"edited": u, "during": during, "after": after} {
				if got := of(u).Restored(); look(got) != tc.restoredExactly || of(got).Marked() {
					t.Errorf("%s: restored (%s) %s, want %s", tc.reason, when, look(got), tc.restoredExactly)
				}
			}
		})
	}
}

func TestMarksThatSomebodyBrokeAreNotTrusted(t *testing.T) {
	for _, value := range []string{"", "x-y", "3", "-1-4", "2-9-1"} {
		u := of(parsed(t, hpa)).Pointed(ref(), 5)
		annotate(u, map[string]string{siskinv1.LimitsAnnotation: value, siskinv1.FloorAnnotation: "many", siskinv1.AutoscalerAnnotation: "{"})
		s := of(u)
		if got := look(s.Restored()); got != "web 5-9" || s.Floor() != 0 {
			t.Errorf("%q: restored %s, floor %d: what is there is all that is known", value, got, s.Floor())
		}
	}
}

func queriesOf(u *unstructured.Unstructured) []string {
	var out []string
	for _, t := range triggers(u) {
		q, _ := t.query()
		out = append(out, q)
	}
	return out
}

func TestQueries(t *testing.T) {
	before := parsed(t, scaledObject)
	pointed := of(before).Pointed(ref(), 3)
	want := []string{
		`sum(rate(http_requests{app="web"}[1m])) / sum(kube_pods{pod=~"web-primary-.*"})`,
		`sum(rate(http_requests{app="web-api"}[1m]))`, "",
	}
	if diff := cmp.Diff(want, queriesOf(pointed)); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	if _, idle := number(pointed, fieldIdle); idle {
		t.Error("KEDA could go to zero during a rollout")
	}
	if n, idle := number(of(pointed).Pointed(ref(), 0), fieldIdle); !idle || n != 0 {
		t.Error("after the rollout it may")
	}
	if pointed.GetAnnotations()["autoscaling.keda.sh/paused"] != "true" {
		t.Error("a pause is the user's")
	}

	given := ref(func(r *siskinv1.AutoscalerRef) {
		r.PrimaryScalerQueries = map[string]string{"load": `load{app="web-primary"}`, "shift": "no query", "": "x"}
	})
	other := of(pointed).Pointed(given, 3)
	want[0] = `load{app="web"}` // as Flagger's primary has it: here no pod has that label
	if diff := cmp.Diff(want, queriesOf(other)); diff != "" {
		t.Errorf("given: -want +got\n%s", diff)
	}

	// An edit of one trigger, and another order of them.
	list, _, _ := unstructured.NestedSlice(other.Object, "spec", "triggers")
	list[1].(map[string]any)["metadata"].(map[string]any)["query"] = `up{deployment="web"}`
	list[0], list[1] = list[1], list[0]
	_ = unstructured.SetNestedSlice(other.Object, list, "spec", "triggers")
	edited := of(other).Pointed(ref(), 3)
	want = []string{`up{deployment="web-primary"}`, `sum(rate(http_requests{app="web"}[1m])) / sum(kube_pods{pod=~"web-primary-.*"})`, ""}
	if diff := cmp.Diff(want, queriesOf(edited)); diff != "" {
		t.Errorf("edited: -want +got\n%s", diff)
	}
	want[0], want[1] = `up{deployment="web"}`, queriesOf(before)[0]
	if diff := cmp.Diff(want, queriesOf(of(edited).Restored())); diff != "" {
		t.Errorf("restored: -want +got\n%s", diff)
	}
}

func TestCopyForTheCanary(t *testing.T) {
	canary := &siskinv1.Canary{}
	canary.Name, canary.Namespace, canary.UID = "web", "shop", "uid"
	for name, tc := range map[string]struct {
		reason, manifest string
		limits           *siskinv1.ScalerReplicas
		want             string
	}{
		"given":      {"the spec's limits", hpa, replicas(1, 3), "web-canary 1-3"},
		"half given": {"the rest is the user's, and not the floor", hpa, replicas(0, 4), "web-canary 2-4"},
		"KEDA":       {"never zero", scaledObject, replicas(0, 3), "web-canary 1-3"},
	} {
		t.Run(name, func(t *testing.T) {
			u := of(parsed(t, tc.manifest)).Pointed(ref(), 6)
			got, err := of(u).Copy(canary, tc.limits)
			if err != nil {
				t.Fatal(err)
			}
			if look(got) != tc.want || got.GetName() != "web-canary" || len(got.GetOwnerReferences()) != 1 || of(got).Marked() {
				t.Errorf("%s: %s %s", tc.reason, look(got), got.GetName())
			}
			if got.GetLabels()["argocd.argoproj.io/instance"] != "" || got.GetAnnotations()["team"] != "" {
				t.Error("a GitOps tool would take it for its own and delete it")
			}
			if strings.Contains(fmt.Sprint(got.Object["spec"]), "web-primary") {
				t.Errorf("it looks at the primary: %v", got.Object["spec"])
			}
			live := got.DeepCopy()
			_ = unstructured.SetNestedField(live.Object, "defaulted by the server", "spec", "more")
			if !Runs(live, got) {
				t.Error("what the server adds is no drift")
			}
			other := parsed(t, strings.Replace(tc.manifest, "prometheus", "kafka", 1))
			if again, err := of(other).Copy(canary, replicas(2, 5)); err != nil || Runs(got, again) {
				t.Errorf("other limits are drift (%v)", err)
			}
		})
	}
	so, err := of(parsed(t, scaledObject)).Copy(canary, replicas(1, 2))
	if err != nil {
		t.Fatal(err)
	}
	if name, _, _ := unstructured.NestedString(so.Object, "spec", "advanced", "horizontalPodAutoscalerConfig", "name"); name != "web-hpa-canary" {
		t.Errorf("KEDA would make two autoscalers %s", name)
	}
}

func TestWhatItMayDo(t *testing.T) {
	for name, tc := range map[string]struct {
		manifest string
		least    int32
		idle     bool
		foreign  string
	}{
		"HPA":                  {hpa, 2, false, ""},
		"HPA without min":      {strings.Replace(hpa, "minReplicas: 2", "", 1), 1, false, ""},
		"KEDA":                 {scaledObject, 0, true, ""},
		"KEDA with both":       {scaledObject + "  minReplicaCount: 3\n", 0, true, ""},
		"KEDA without zero":    {strings.Replace(scaledObject, "idleReplicaCount: 0", "minReplicaCount: 3", 1), 3, false, ""},
		"another target":       {strings.Replace(hpa, "Deployment, name: web", "Deployment, name: shop", 1), 2, false, "Deployment shop"},
		"another kind":         {strings.Replace(hpa, "kind: Deployment, name", "kind: StatefulSet, name", 1), 2, false, "StatefulSet web"},
		"pointed at a primary": {strings.Replace(hpa, "Deployment, name: web", "Deployment, name: web-primary", 1), 2, false, ""},
	} {
		s := of(parsed(t, tc.manifest))
		if s.Least() != tc.least || s.MayIdle() != tc.idle || s.Foreign() != tc.foreign {
			t.Errorf("%s: at least %d, idles %t, foreign %q", name, s.Least(), s.MayIdle(), s.Foreign())
		}
	}
}

func TestWindow(t *testing.T) {
	const own, other = "stabilizationWindowSeconds: 0", "stabilizationWindowSeconds: 30"
	for name, tc := range map[string]struct {
		manifest string
		want     time.Duration
	}{
		"HPA":               {strings.Replace(hpa, own, "", 1), 5 * time.Minute},
		"HPA without any":   {hpa, 0},
		"HPA with its own":  {strings.Replace(hpa, own, other, 1), 30 * time.Second},
		"KEDA":              {scaledObject, 5 * time.Minute},
		"KEDA with its own": {scaledObject + "  advanced: {horizontalPodAutoscalerConfig: {behavior: {scaleDown: {" + other + "}}}}\n", 30 * time.Second},
	} {
		if got := of(parsed(t, tc.manifest)).Window(); got != tc.want {
			t.Errorf("%s: %s, want %s", name, got, tc.want)
		}
	}
}

// KEDA keeps a workload at the number that its annotation says, whatever the limits are.
func TestPausedByKEDA(t *testing.T) {
	for name, tc := range map[string]struct {
		kind, value string
		least       int32
		off         bool
	}{
		"not paused":     {KindScaledObject, "", 3, false},
		"at zero":        {KindScaledObject, "0", 0, true},
		"at a number":    {KindScaledObject, "7", 7, false},
		"not understood": {KindScaledObject, "some", 3, false},
		"of another":     {KindHPA, "0", 1, false},
	} {
		obj := New(ScaledObject(), "shop", "web")
		obj.SetKind(tc.kind)
		obj.Object["spec"] = map[string]any{"minReplicaCount": int64(3)}
		if tc.value != "" {
			obj.SetAnnotations(map[string]string{"autoscaling.keda.sh/paused-replicas": tc.value})
		}
		if s := of(obj); s.Least() != tc.least || s.Off() != tc.off {
			t.Errorf("%s: at least %d, off %t", name, s.Least(), s.Off())
		}
	}
}

func TestReferences(t *testing.T) {
	for name, tc := range map[string]struct {
		kind, apiVersion string
		want             string
	}{
		"HPA":        {KindHPA, "", "autoscaling/v2, Kind=HorizontalPodAutoscaler"},
		"an old HPA": {KindHPA, "autoscaling/v2beta2", "autoscaling/v2, Kind=HorizontalPodAutoscaler"},
		"KEDA":       {KindScaledObject, "keda.sh/v1alpha1", "keda.sh/v1alpha1, Kind=ScaledObject"},
		"mixed up":   {KindScaledObject, "autoscaling/v2", ""},
		"unknown":    {"Rollout", "", ""},
	} {
		gvk, err := GVK(&siskinv1.AutoscalerRef{Kind: tc.kind, APIVersion: tc.apiVersion})
		if (err != nil) != (tc.want == "") || (err == nil && gvk.String() != tc.want) {
			t.Errorf("%s: %s, %v", name, gvk, err)
		}
	}
}
