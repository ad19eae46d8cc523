package apply

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
)

// A commit is written object by object, and a Canary must not take half of it for a revision, nor begin with half of it.
// So a workload that a Canary holds, or that one of the commit is for, is marked before the first of the ConfigMaps and Secrets beside it is written, and the mark is taken
// away when the workload itself has been: all that it reads comes before it. A mark that nobody takes away, because
// GitSync went or a write failed, ends by itself (GitApplyLimit).

// announce marks the workloads that Canaries hold or are for and of which, with what they may read, more than one object is about
// to be written.
func (j *job) announce(ctx context.Context, all []*prepared) {
	parts, wanted := map[string]int{}, map[workload]bool{}
	for _, p := range all {
		if ref, ok := targetOf(p.git); ok {
			wanted[ref] = true
		}
		if p.action != Unchanged && isConfig(p.git) {
			parts[p.git.GetNamespace()]++
		}
	}
	for _, p := range all {
		n := parts[p.git.GetNamespace()]
		p.wanted = wanted[workload{p.git.GetKind(), p.git.GetNamespace(), p.git.GetName()}]
		if !p.markable() || n == 0 || n == 1 && p.action == Unchanged {
			continue
		}
		if err := j.mark(ctx, p); err != nil {
			j.fail(p.git, err)
		}
	}
}

// workload names a workload of the group apps.
type workload struct{ kind, namespace, name string }

// targetOf is what a Canary is for; false: o is no Canary.
func targetOf(o *unstructured.Unstructured) (workload, bool) {
	if gvk := o.GroupVersionKind(); gvk.Group != siskinv1.GroupVersion.Group || gvk.Kind != "Canary" {
		return workload{}, false
	}
	kind, _, errKind := unstructured.NestedString(o.Object, "spec", "targetRef", "kind")
	name, _, errName := unstructured.NestedString(o.Object, "spec", "targetRef", "name")
	return workload{kind, o.GetNamespace(), name}, errKind == nil && errName == nil
}

// markable tells whether a Canary holds a workload, or is about to.
func (p *prepared) markable() bool {
	if p.live == nil || p.git.GroupVersionKind().Group != "apps" {
		return false
	}
	_, held := p.live.GetAnnotations()[siskinv1.HeldAnnotation]
	return held || p.wanted
}

func (p *prepared) marked() bool {
	return p.live != nil && p.live.GetAnnotations()[siskinv1.GitApplyingAnnotation] != ""
}

func isConfig(o *unstructured.Unstructured) bool {
	gvk := o.GroupVersionKind()
	return gvk.Group == "" && (gvk.Kind == "ConfigMap" || gvk.Kind == "Secret")
}

// mark notes on a workload that an apply is under way. A mark of the same commit stays as it is, so that a commit that
// fails again and again holds nothing up for longer than once.
func (j *job) mark(ctx context.Context, p *prepared) error {
	for try := 1; ; try++ {
		if what, _, _ := strings.Cut(p.live.GetAnnotations()[siskinv1.GitApplyingAnnotation], " "); what == j.stamp.Revision {
			return nil
		}
		value := j.stamp.Revision + " " + j.Clock.Now().UTC().Format(time.RFC3339)
		live, err := j.note(ctx, p.live, value, p.live.GetResourceVersion())
		if err == nil {
			p.live = live
			return nil
		}
		if !apierrors.IsConflict(err) || try == attempts {
			return fmt.Errorf("marking it as being applied: %w", err)
		}
		fresh, err := j.prepare(ctx, p.git)
		if err != nil {
			return err
		}
		fresh.wanted = p.wanted
		if *p = *fresh; !p.markable() {
			return nil
		}
	}
}

// note writes the mark, or with "" takes it away; with a version only over that one.
func (j *job) note(ctx context.Context, live *unstructured.Unstructured, value, version string) (*unstructured.Unstructured, error) {
	var mark any
	if value != "" {
		mark = value
	}
	meta := map[string]any{"annotations": map[string]any{siskinv1.GitApplyingAnnotation: mark}}
	if version != "" {
		meta["resourceVersion"] = version
	}
	patch, err := json.Marshal(map[string]any{"metadata": meta})
	if err != nil {
		return nil, fmt.Errorf("writing the mark: %w", err)
	}
	out := named(live)
	return out, j.Client.Patch(ctx, out, client.RawPatch(types.MergePatchType, patch), client.FieldOwner(siskinv1.GitSyncFieldManager))
}

// unmark tells that all of a workload and of what it may read has been written.
func (j *job) unmark(ctx context.Context, p *prepared) error {
	if !p.marked() || j.failed() {
		return nil
	}
	if _, err := j.note(ctx, p.live, "", ""); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("taking away the mark of its apply: %w", err)
	}
	return nil
}

// named is an object of live's kind and name, and nothing else.
func named(live *unstructured.Unstructured) *unstructured.Unstructured {
	out := &unstructured.Unstructured{}
	out.SetGroupVersionKind(live.GroupVersionKind())
	out.SetName(live.GetName())
	out.SetNamespace(live.GetNamespace())
	return out
}
