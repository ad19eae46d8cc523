package target

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
)

// Config is what the pods of a revision read: names and digests, never content. nil means that it was not recorded, or that there
// is none.
type Config struct {
	Items []Item `json:"items"`
}

// Item is one ConfigMap or Secret.
type Item struct {
	Kind string `json:"kind"`
	Name string `json:"name"`
	// Hash is a digest of the content; "" for an optional one that does not exist.
	Hash string `json:"hash,omitempty"`
	// Copy is the name that clones read it by; "" for the original's own.
	Copy string `json:"copy,omitempty"`
	// Untracked tells that its author keeps it out of revisions: its changes are none of the Canary's.
	Untracked bool `json:"untracked,omitempty"`
}

// Track returns the item of a reference that has this digest, with the name of its copy. A reference to what does not exist gets a
// name that nothing has, so that nobody's pods get it later without a trial.
func Track(canary string, ref Ref, hash string) Item {
	it := Item{Kind: ref.Kind, Name: ref.Name, Hash: hash}
	sum := sha256.Sum256([]byte(strings.Join([]string{ref.Kind, canary, ref.Name, hash}, "\x00")))
	suffix := "-" + hex.EncodeToString(sum[:5])
	if hash == "" {
		suffix = "-absent" + suffix
	}
	const limit = 253
	base := canary + "-" + ref.Name
	it.Copy = strings.TrimRight(base[:min(len(base), limit-len(suffix))], "-.") + suffix
	return it
}

// hashes are the digests of what is tracked and exists, by kind and name.
func (c *Config) hashes() map[string]string {
	if c == nil {
		return nil
	}
	out := map[string]string{}
	for _, it := range c.Items {
		if !it.Untracked && it.Hash != "" {
			out[it.Kind+"/"+it.Name] = it.Hash
		}
	}
	return out
}

// Copies lists the items that must be copied before pods can start.
func (c *Config) Copies() []Item {
	if c == nil {
		return nil
	}
	var out []Item
	for _, it := range c.Items {
		if it.Copy != "" && it.Hash != "" {
			out = append(out, it)
		}
	}
	return out
}

// Lacks tells whether c does not say what its pods read of what now tracks.
func (c *Config) Lacks(now *Config) bool {
	if c == nil || now == nil {
		return now != nil
	}
	tracked := now.tracked()
	return slices.ContainsFunc(c.Items, func(it Item) bool {
		_, ok := tracked[it.Kind+"/"+it.Name]
		return it.Untracked && ok
	})
}

// Record returns c with the digests of now for what it lacks, without copies: its pods read the originals of that.
func (c *Config) Record(now *Config) *Config {
	out := &Config{}
	if c == nil {
		for _, it := range now.Items {
			it.Copy = ""
			out.Items = append(out.Items, it)
		}
		return out
	}
	tracked := now.tracked()
	for _, it := range c.Items {
		if is, ok := tracked[it.Kind+"/"+it.Name]; ok && it.Untracked {
			it.Hash, it.Untracked = is.Hash, false
		}
		out.Items = append(out.Items, it)
	}
	return out
}

// tracked are the items whose changes are releases, by kind and name.
func (c *Config) tracked() map[string]Item {
	out := map[string]Item{}
	for _, it := range c.Items {
		if !it.Untracked {
			out[it.Kind+"/"+it.Name] = it
		}
	}
	return out
}

// Changed lists what c tracks and has another content in since, or is not in it, by kind and name, sorted.
func (c *Config) Changed(since *Config) []string {
	was := since.hashes()
	var out []string
	for key, hash := range c.hashes() {
		if was[key] != hash {
			out = append(out, key)
		}
	}
	slices.Sort(out)
	return out
}

// agrees tells whether nothing that both have recorded differs.
func (c *Config) agrees(other *Config) bool {
	if c == nil || other == nil {
		return true
	}
	theirs := map[string]Item{}
	for _, it := range other.Items {
		theirs[it.Kind+"/"+it.Name] = it
	}
	for _, it := range c.Items {
		have, ok := theirs[it.Kind+"/"+it.Name]
		if ok && !it.Untracked && !have.Untracked && it.Hash != have.Hash {
			return false
		}
	}
	return true
}

// Digest of c, for comparing two of them at once.
func (c *Config) Digest() string {
	raw, err := json.Marshal(c)
	if err != nil {
		return err.Error() // strings and booleans can always be encoded
	}
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:8])
}

// rewrite lets a pod read the copies.
func (c *Config) rewrite(spec *corev1.PodSpec) {
	if c == nil {
		return
	}
	names := map[string]string{}
	for _, it := range c.Items {
		if it.Copy != "" {
			names[it.Kind+"/"+it.Name] = it.Copy
		}
	}
	visit(spec, func(kind string, name *string, _ *bool, _ string) {
		if copied, ok := names[kind+"/"+*name]; ok {
			*name = copied
		}
	})
}

// Tracked tells whether the content of a ConfigMap or Secret belongs to revisions.
func Tracked(obj metav1.Object) bool {
	return obj.GetAnnotations()[siskinv1.ConfigTrackingAnnotation] != "disabled"
}

// NewConfig returns an empty ConfigMap or Secret.
func NewConfig(kind string) client.Object {
	if kind == Secret {
		return &corev1.Secret{}
	}
	return &corev1.ConfigMap{}
}

// Hash is the digest of the content of a ConfigMap or Secret.
func Hash(obj client.Object) (string, error) {
	var content any
	switch o := obj.(type) {
	case *corev1.ConfigMap:
		content = struct {
			Data   map[string]string
			Binary map[string][]byte
		}{filled(o.Data), filled(o.BinaryData)}
	case *corev1.Secret:
		content = struct {
			Type corev1.SecretType
			Data map[string][]byte
		}{o.Type, filled(o.Data)}
	default:
		return "", fmt.Errorf("%T has no configuration", obj)
	}
	raw, err := json.Marshal(content)
	if err != nil {
		return "", fmt.Errorf("encoding %s %s: %w", obj.GetObjectKind().GroupVersionKind().Kind, obj.GetName(), err)
	}
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:16]), nil
}

// filled is m, never nil: nothing and an empty map are the same content.
func filled[V any](m map[string]V) map[string]V {
	out := maps.Clone(m)
	if out == nil {
		out = map[string]V{}
	}
	return out
}

// Resemble gives a copy the labels and annotations of its original, as clones have those of the target.
func Resemble(obj, original client.Object) {
	labels, annotations := copiedOf(original.GetLabels()), copiedOf(original.GetAnnotations())
	maps.Copy(labels, obj.GetLabels())
	maps.Copy(annotations, obj.GetAnnotations())
	obj.SetLabels(labels)
	obj.SetAnnotations(annotations)
}

// CopyConfig makes the immutable copy of a ConfigMap or Secret that revisions read. It belongs to the snapshots that need it, and goes
// with the last of them. It has no label of the original, by which others may look for that: see Resemble.
func CopyConfig(canary string, it Item, original client.Object, owner metav1.OwnerReference) (client.Object, error) {
	meta := metav1.ObjectMeta{
		Name: it.Copy, Namespace: original.GetNamespace(),
		Labels:          map[string]string{siskinv1.CanaryLabel: canary},
		Annotations:     map[string]string{siskinv1.CopyOfAnnotation: original.GetName()},
		OwnerReferences: []metav1.OwnerReference{owner},
	}
	switch o := original.(type) {
	case *corev1.ConfigMap:
		return &corev1.ConfigMap{ObjectMeta: meta, Data: o.Data, BinaryData: o.BinaryData, Immutable: new(true)}, nil
	case *corev1.Secret:
		out := &corev1.Secret{ObjectMeta: meta, Data: o.Data, Type: o.Type, Immutable: new(true)}
		switch o.Type { // pods do not see the type; Kubernetes itself acts on these two
		case corev1.SecretTypeServiceAccountToken, corev1.SecretTypeBootstrapToken:
			out.Type = corev1.SecretTypeOpaque
		}
		return out, nil
	}
	return nil, fmt.Errorf("%T has no configuration", original)
}
