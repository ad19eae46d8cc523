package target

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/equality"
	"sigs.k8s.io/controller-runtime/pkg/client"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
)

// Tracking is the label by which Argo CD tracks its objects where it is set to. Many charts set it too, so that only
// the objects themselves do without: their pods keep it.
const Tracking = "app.kubernetes.io/instance"

// notCopied are prefixes of labels and annotations (what stands before the "/") that are about one object, and not
// about the app: clones that had them would be pruned by the tool that applied the target, written by the one that
// watches it, or show a state that is not theirs. What stands before a prefix, with a dot, belongs to it.
func notCopied() []string {
	return []string{
		siskinv1.GroupVersion.Group,
		"toolkit.fluxcd.io", "fluxcd.io", "argoproj.io", "helm.sh", "k14s.io", "config.kubernetes.io", "config.k8s.io", "cattle.io",
		"deployment.kubernetes.io", "deprecated.daemonset.template.generation",
		"reloader.stakater.com", "keel.sh", "wave.pusher.com", "downscaler",
	}
}

// copies tells whether clones get a label or an annotation of the target, by its key.
func copies(key string) bool {
	if key == Tracking || key == "kubectl.kubernetes.io/last-applied-configuration" {
		return false
	}
	prefix, _, _ := strings.Cut(key, "/")
	return !slices.ContainsFunc(notCopied(), func(not string) bool { return prefix == not || strings.HasSuffix(prefix, "."+not) })
}

// copiedOf returns what of labels or annotations clones get.
func copiedOf(all map[string]string) map[string]string {
	out := map[string]string{}
	for k, v := range all {
		if copies(k) {
			out[k] = v
		}
	}
	return out
}

// Only keeps the labels and annotations whose keys begin with one of the prefixes. "*" is all, and so are no prefixes.
func (w Workload) Only(prefixes []string) Workload {
	if len(prefixes) == 0 || slices.Contains(prefixes, "*") {
		return w
	}
	only := func(m map[string]string) map[string]string {
		out := maps.Clone(m)
		maps.DeleteFunc(out, func(key, _ string) bool {
			return !slices.ContainsFunc(prefixes, func(prefix string) bool { return strings.HasPrefix(key, prefix) })
		})
		return out
	}
	w.Labels, w.Annotations = only(w.Labels), only(w.Annotations)
	return w
}

// Managed returns w with how now manages its pods: what an edit changes without a new revision. The selector, and
// what of a StatefulSet tells its pods apart, are as they were.
func (w Workload) Managed(now Workload) Workload {
	w.Strategy, w.DaemonSetStrategy, w.MinReadySeconds = now.Strategy, now.DaemonSetStrategy, now.MinReadySeconds
	w.ProgressDeadlineSeconds, w.RevisionHistoryLimit = now.ProgressDeadlineSeconds, now.RevisionHistoryLimit
	if w.StatefulSet != nil && now.StatefulSet != nil {
		own := *w.StatefulSet
		own.UpdateStrategy = now.StatefulSet.UpdateStrategy
		w.StatefulSet = &own
	}
	return w
}

// Keeps tells whether live, a clone, still has the metadata of want and manages its pods as that does. Labels and
// annotations that others added do not count; those that want has no longer are noticed by the digest, which clones
// from before it lack.
func Keeps(live, want client.Object) bool {
	if workloadOf(want) == nil {
		return true
	}
	if have := live.GetAnnotations()[siskinv1.AppliedAnnotation]; have != "" && have != want.GetAnnotations()[siskinv1.AppliedAnnotation] {
		return false
	}
	var is, to Workload
	workloadOf(live).take(&is)
	workloadOf(want).take(&to)
	a, b := workloadOf(live).parts(), workloadOf(want).parts()
	return covers(live.GetLabels(), want.GetLabels()) && covers(live.GetAnnotations(), want.GetAnnotations()) &&
		*a.minReady == *b.minReady && equality.Semantic.DeepDerivative(*b.history, *a.history) && equality.Semantic.DeepDerivative(to, is)
}

// covers tells whether all has what part has, but for the digest.
func covers(all, part map[string]string) bool {
	for k, v := range part {
		if have, ok := all[k]; k != siskinv1.AppliedAnnotation && (!ok || have != v) {
			return false
		}
	}
	return true
}

// seal notes on a clone a digest of the labels and annotations that it has of the target.
func seal(clone client.Object, w Workload) {
	raw, err := json.Marshal([]map[string]string{filled(w.Labels), filled(w.Annotations)})
	if err != nil { // strings can always be encoded
		return
	}
	sum := sha256.Sum256(raw)
	clone.SetAnnotations(with(clone.GetAnnotations(), siskinv1.AppliedAnnotation, hex.EncodeToString(sum[:8])))
}
