package target

import (
	"maps"

	"sigs.k8s.io/controller-runtime/pkg/client"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
)

// Whole marks a clone that is written as a whole, and not applied.
func Whole(clone client.Object) {
	clone.SetAnnotations(with(clone.GetAnnotations(), siskinv1.WholeAnnotation, "true"))
}

// Replace makes live, a clone, what want is, and marks it. Only what Kubernetes itself keeps on it stays, and the
// pods, if nothing of the revision differs: what others added to the template restarts nothing.
func Replace(live, want client.Object) {
	is, to := workloadOf(live), workloadOf(want)
	if is == nil || to == nil {
		return
	}
	annotations := maps.Clone(live.GetAnnotations())
	maps.DeleteFunc(annotations, func(key, _ string) bool { return copies(key) })
	if annotations == nil {
		annotations = map[string]string{}
	}
	maps.Copy(annotations, want.GetAnnotations())
	runs := live.GetAnnotations()[siskinv1.RevisionAnnotation] == want.GetAnnotations()[siskinv1.RevisionAnnotation] &&
		(Numbered(live) || Observe(live).Replicas == Observe(want).Replicas) && Runs(live, want)
	live.SetAnnotations(annotations)
	live.SetLabels(maps.Clone(want.GetLabels()))
	live.SetOwnerReferences(want.GetOwnerReferences())
	Whole(live)
	from, have := to.parts(), is.parts()
	if !runs {
		*have.template = *from.template.DeepCopy()
	}
	*have.minReady, *have.history = *from.minReady, copied(*from.history)
	if have.replicas != nil && *from.replicas != nil {
		*have.replicas = copied(*from.replicas)
	}
	var w Workload
	to.take(&w)
	is.give(w)
}
