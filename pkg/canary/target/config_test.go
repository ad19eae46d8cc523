package target_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/canary/target"
)

func hash(t *testing.T, obj client.Object) string {
	t.Helper()
	h, err := target.Hash(obj)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func configMap(edits ...func(*corev1.ConfigMap)) *corev1.ConfigMap {
	cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "settings", Namespace: "shop"}, Data: map[string]string{"a": "1", "b": "2"}}
	for _, edit := range edits {
		edit(cm)
	}
	return cm
}

func secret(edits ...func(*corev1.Secret)) *corev1.Secret {
	s := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "settings", Namespace: "shop"}, Type: corev1.SecretTypeOpaque, Data: map[string][]byte{"a": []byte("hunter2")}}
	for _, edit := range edits {
		edit(s)
	}
	return s
}

func TestWhatOfConfigurationCounts(t *testing.T) {
	for name, tc := range map[string]struct {
		reason string
		a, b   client.Object
		same   bool
	}{
		"metadata": {"labels, owners and versions are not content", configMap(), configMap(func(c *corev1.ConfigMap) {
			c.Labels, c.ResourceVersion, c.Immutable = map[string]string{"x": "y"}, "7", new(true)
		}), true},
		"a value":           {"the usual change", configMap(), configMap(func(c *corev1.ConfigMap) { c.Data["a"] = "2" }), false},
		"a key":             {"one more file", configMap(), configMap(func(c *corev1.ConfigMap) { c.Data["c"] = "" }), false},
		"binary data":       {"files that are no text are files", configMap(), configMap(func(c *corev1.ConfigMap) { c.BinaryData = map[string][]byte{"c": {0xff}} }), false},
		"another binary":    {"byte for byte", configMap(func(c *corev1.ConfigMap) { c.BinaryData = map[string][]byte{"c": {0xfe}} }), configMap(func(c *corev1.ConfigMap) { c.BinaryData = map[string][]byte{"c": {0xff}} }), false},
		"no binary data":    {"none is none", configMap(), configMap(func(c *corev1.ConfigMap) { c.BinaryData = map[string][]byte{} }), true},
		"a secret":          {"the usual change", secret(), secret(func(s *corev1.Secret) { s.Data["a"] = []byte("hunter3") }), false},
		"the same secret":   {"nothing changed", secret(), secret(func(s *corev1.Secret) { s.ResourceVersion = "9" }), true},
		"the secret's type": {"it says how the data is meant", secret(), secret(func(s *corev1.Secret) { s.Type = corev1.SecretTypeTLS }), false},
	} {
		t.Run(name, func(t *testing.T) {
			if same := hash(t, tc.a) == hash(t, tc.b); same != tc.same {
				t.Errorf("%s: same = %t", tc.reason, same)
			}
		})
	}
	if _, err := target.Hash(&corev1.Pod{}); err == nil {
		t.Error("a Pod has no configuration")
	}
}

// The digests are golden: another one for the same content would be a rollout of everything that reads a ConfigMap.
func TestDigestsAreStable(t *testing.T) {
	r := target.From(deployment())
	r.Config = &target.Config{Items: []target.Item{
		target.Track("web", target.Ref{Kind: "ConfigMap", Name: "settings"}, hash(t, configMap())),
		target.Track("web", target.Ref{Kind: "Secret", Name: "settings"}, hash(t, secret())),
		target.Track("web", target.Ref{Kind: "Secret", Name: "maybe"}, ""),
		{Kind: "ConfigMap", Name: "own", Untracked: true},
	}}
	raw, err := json.Marshal(r.Config)
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"items":[` +
		`{"kind":"ConfigMap","name":"settings","hash":"e14e6d5948d05a4e447006ff35cf8364","copy":"web-settings-f51a153e44"},` +
		`{"kind":"Secret","name":"settings","hash":"a951104d8e78cac91c6ec82ad94f3f97","copy":"web-settings-891a13e760"},` +
		`{"kind":"Secret","name":"maybe","copy":"web-maybe-absent-ec48f3c602"},` +
		`{"kind":"ConfigMap","name":"own","untracked":true}]}`
	if diff := cmp.Diff(want, string(raw)); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	canonical := canonical(t, r)
	const config = `{"config":{"ConfigMap/settings":"e14e6d5948d05a4e447006ff35cf8364","Secret/settings":"a951104d8e78cac91c6ec82ad94f3f97"},"template":`
	if !strings.HasPrefix(canonical, config) {
		t.Errorf("canonical form %s", canonical)
	}
	if got, want := target.Name("web", []byte(canonical)), "web-10eafd976d"; got != want {
		t.Errorf("name %s, want %s", got, want)
	}
	if strings.Contains(string(raw), "hunter") {
		t.Error("a snapshot holds a secret")
	}
}

func TestWithoutConfigurationNothingIsNew(t *testing.T) {
	plain := canonical(t, target.From(deployment()))
	for name, config := range map[string]*target.Config{
		"none":      nil,
		"empty":     {},
		"untracked": {Items: []target.Item{{Kind: "ConfigMap", Name: "a", Untracked: true}}},
		"absent":    {Items: []target.Item{{Kind: "ConfigMap", Name: "a", Copy: "x"}}},
	} {
		r := target.From(deployment())
		r.Config = config
		if got := canonical(t, r); got != plain {
			t.Errorf("%s: an upgrade would rename the revision: %s", name, got)
		}
	}
}

func TestSame(t *testing.T) {
	item := func(hash string) *target.Config {
		return &target.Config{Items: []target.Item{{Kind: "ConfigMap", Name: "a", Hash: hash}}}
	}
	untracked := &target.Config{Items: []target.Item{{Kind: "ConfigMap", Name: "a", Untracked: true}}}
	for name, tc := range map[string]struct {
		reason string
		a, b   *target.Config
		image  string
		want   bool
	}{
		"equal":             {"nothing changed", item("1"), item("1"), "web:1", true},
		"changed":           {"a release of configuration", item("1"), item("2"), "web:1", false},
		"another template":  {"a release of code", item("1"), item("1"), "web:2", false},
		"not recorded":      {"an upgrade is no release", nil, item("1"), "web:1", true},
		"tracking is off":   {"a flag is no release", item("1"), nil, "web:1", true},
		"opted out":         {"an annotation is no release", item("1"), untracked, "web:1", true},
		"opted in":          {"an annotation is no release", untracked, item("1"), "web:1", true},
		"came to be":        {"an optional one that appears is new content", item(""), item("1"), "web:1", false},
		"went away":         {"an optional one that goes is new content", item("1"), item(""), "web:1", false},
		"another of a kind": {"kinds are told apart", &target.Config{Items: []target.Item{{Kind: "Secret", Name: "a", Hash: "1"}}}, item("2"), "web:1", true},
	} {
		t.Run(name, func(t *testing.T) {
			a, b := target.From(deployment()), target.From(deployment())
			b.Template.Spec.Containers[0].Image = tc.image
			a.Config, b.Config = tc.a, tc.b
			for range 2 {
				if got, err := target.Same(a, b); err != nil || got != tc.want {
					t.Errorf("%s: %t, %v", tc.reason, got, err)
				}
				a, b = b, a
			}
		})
	}
}

// Two Canaries that read one ConfigMap have a copy each; so have two contents, and a ConfigMap and a Secret of one name.
func TestCopiesAreNobodyElses(t *testing.T) {
	ref := target.Ref{Kind: "ConfigMap", Name: "settings"}
	names := map[string]bool{}
	for _, it := range []target.Item{
		target.Track("web", ref, "1"), target.Track("web", ref, "2"), target.Track("api", ref, "1"),
		target.Track("web", target.Ref{Kind: "Secret", Name: "settings"}, "1"),
		target.Track("web-a", target.Ref{Kind: "ConfigMap", Name: "b"}, "1"), target.Track("web", target.Ref{Kind: "ConfigMap", Name: "a-b"}, "1"),
		target.Track("web", ref, ""),
		target.Track("web", target.Ref{Kind: "ConfigMap", Name: strings.Repeat("x", 250) + "1"}, "1"),
		target.Track("web", target.Ref{Kind: "ConfigMap", Name: strings.Repeat("x", 250) + "2"}, "1"),
	} {
		if names[it.Copy] {
			t.Errorf("%s is the copy of two", it.Copy)
		}
		names[it.Copy] = true
		if len(it.Copy) > 253 {
			t.Errorf("%s is too long", it.Copy)
		}
	}
	if again := target.Track("web", ref, "1"); !names[again.Copy] {
		t.Error("the same content has the same copy")
	}
}

func TestCopies(t *testing.T) {
	owner := metav1.OwnerReference{APIVersion: "apps/v1", Kind: "ControllerRevision", Name: "web-1", UID: "u"}
	cm := configMap(func(c *corev1.ConfigMap) {
		c.Labels, c.BinaryData = map[string]string{"kustomize.toolkit.fluxcd.io/name": "apps"}, map[string][]byte{"c": {0xff}}
	})
	got, err := target.CopyConfig("web", target.Item{Kind: "ConfigMap", Copy: "web-settings-1"}, cm, owner)
	if err != nil {
		t.Fatal(err)
	}
	want := &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{
			Name: "web-settings-1", Namespace: "shop", Labels: map[string]string{siskinv1.CanaryLabel: "web"},
			Annotations: map[string]string{siskinv1.CopyOfAnnotation: "settings"}, OwnerReferences: []metav1.OwnerReference{owner},
		},
		Data: cm.Data, BinaryData: cm.BinaryData, Immutable: new(true),
	}
	if diff := cmp.Diff(client.Object(want), got); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	for from, to := range map[corev1.SecretType]corev1.SecretType{
		corev1.SecretTypeOpaque: corev1.SecretTypeOpaque, corev1.SecretTypeTLS: corev1.SecretTypeTLS, "example.org/own": "example.org/own",
		corev1.SecretTypeDockerConfigJson: corev1.SecretTypeDockerConfigJson, corev1.SecretTypeBasicAuth: corev1.SecretTypeBasicAuth,
		// Kubernetes fills in and deletes these by itself.
		corev1.SecretTypeServiceAccountToken: corev1.SecretTypeOpaque, corev1.SecretTypeBootstrapToken: corev1.SecretTypeOpaque,
	} {
		got, err := target.CopyConfig("web", target.Item{Kind: "Secret", Copy: "c"}, secret(func(s *corev1.Secret) { s.Type = from }), owner)
		if s, ok := got.(*corev1.Secret); err != nil || !ok || s.Type != to || string(s.Data["a"]) != "hunter2" || !*s.Immutable {
			t.Errorf("a Secret of type %s was copied as %+v, %v", from, got, err)
		}
	}
	if _, err := target.CopyConfig("web", target.Item{}, &corev1.Pod{}, owner); err == nil {
		t.Error("a Pod has no copy")
	}
}
