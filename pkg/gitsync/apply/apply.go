// Package apply brings objects into the cluster with server-side apply, and prunes those that left git.
//
// All objects are tried as a dry run before the first one is written, so that one that the API server refuses leaves the
// cluster untouched. Objects that cannot be tried before another object of the same commit is there - in a new Namespace,
// of a new or changed CustomResourceDefinition - are tried after that one is written.
package apply

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/gitsync/inventory"
)

const (
	// parallel bounds the dry runs under way.
	parallel = 4
	// attempts to write an object that changes under our hands.
	attempts = 3
	// pollCRD is the time between two looks at a new CustomResourceDefinition.
	pollCRD = 200 * time.Millisecond
)

// Action tells what an apply did to an object.
type Action string

// What an apply may do to an object.
const (
	Created    Action = "created"
	Configured Action = "configured"
	Unchanged  Action = "unchanged"
)

// Change is one object that was applied.
type Change struct {
	Ref    inventory.Ref
	Action Action
	// Kept tells that git's pod template was not applied: the deletion of the Canary has just put the promoted one in its
	// place.
	Kept bool
}

// Result tells what an apply did. With failures some objects may not have been looked at.
type Result struct {
	Changes  []Change
	Failures []Failure
	// Wrote tells whether anything was written to the cluster.
	Wrote bool
}

// Applier writes objects to a cluster.
type Applier struct {
	// Client must read unstructured objects from the API server and not from a cache.
	Client client.Client
	Clock  clock.Clock
	// Claimed tells whether the GitSync owner exists and still has ref in its inventory.
	Claimed func(ctx context.Context, owner types.NamespacedName, ref inventory.Ref) (bool, error)
}

// prepared is an object that the API server would take.
type prepared struct {
	git     *unstructured.Unstructured // as it is in git
	desired *unstructured.Unstructured // as it is to be applied
	live    *unstructured.Unstructured // as it was read, nil if it is not there
	action  Action
	kept    bool // the pod template is not git's
	wanted  bool // a Canary of the same commit is for it
}

// Apply brings objs, of which SetScope has seen to the namespaces, into the cluster on behalf of the GitSync owner. timeout
// bounds the wait for new CustomResourceDefinitions.
func (a *Applier) Apply(ctx context.Context, objs []*unstructured.Unstructured, owner types.NamespacedName, stamp Stamp, timeout time.Duration) Result {
	job := &job{Applier: a, owner: owner, stamp: stamp}
	var foundation, rest []*unstructured.Unstructured
	for _, o := range sorted(objs) {
		if isFoundation(o.GroupVersionKind().GroupKind()) {
			foundation = append(foundation, o)
		} else {
			rest = append(rest, o)
		}
	}
	base := job.prepareAll(ctx, foundation)
	now, later := job.split(base, rest)
	ready := job.prepareAll(ctx, now)
	if job.failed() {
		return job.result
	}
	job.writeAll(ctx, base)
	if job.failed() {
		return job.result
	}
	if len(later) > 0 {
		job.awaitCRDs(ctx, base, timeout)
		ready = append(ready, job.prepareAll(ctx, later)...)
		if job.failed() {
			return job.result
		}
	}
	if job.announce(ctx, ready); job.failed() {
		return job.result
	}
	job.writeAll(ctx, ready)
	return job.result
}

// job is one Apply.
type job struct {
	*Applier

	owner  types.NamespacedName
	stamp  Stamp
	result Result
}

func (j *job) failed() bool { return len(j.result.Failures) > 0 }

func (j *job) fail(o *unstructured.Unstructured, err error) {
	j.result.Failures = append(j.result.Failures, Failure{RefOf(o), err})
}

// split tells which objects can be tried now and which only after the foundation is written.
func (j *job) split(foundation []*prepared, rest []*unstructured.Unstructured) (now, later []*unstructured.Unstructured) {
	newNamespaces := map[string]struct{}{}
	newKinds := map[schema.GroupKind]struct{}{}
	for _, p := range foundation {
		if gk, ok := declares(p.git); ok && p.action != Unchanged {
			newKinds[gk] = struct{}{}
		}
		if p.git.GetKind() == "Namespace" && p.action == Created {
			newNamespaces[p.git.GetName()] = struct{}{}
		}
	}
	for _, o := range rest {
		_, inNew := newNamespaces[o.GetNamespace()]
		_, ofNew := newKinds[o.GroupVersionKind().GroupKind()]
		if inNew || ofNew {
			later = append(later, o)
		} else {
			now = append(now, o)
		}
	}
	return now, later
}

// prepareAll tries objs as a dry run, some at a time, and returns those that passed in their order.
func (j *job) prepareAll(ctx context.Context, objs []*unstructured.Unstructured) []*prepared {
	all, errs := make([]*prepared, len(objs)), make([]error, len(objs))
	var g errgroup.Group
	g.SetLimit(parallel)
	for i, o := range objs {
		g.Go(func() error {
			all[i], errs[i] = j.prepare(ctx, o)
			return nil // one bad object must not hide the others
		})
	}
	_ = g.Wait()
	out := make([]*prepared, 0, len(objs))
	for i, o := range objs {
		if errs[i] != nil {
			j.fail(o, errs[i])
			continue
		}
		out = append(out, all[i])
	}
	return out
}

// prepare reads an object and tries to apply it as a dry run.
func (j *job) prepare(ctx context.Context, git *unstructured.Unstructured) (*prepared, error) {
	live, err := j.read(ctx, git)
	if err != nil {
		return nil, err
	}
	if err := j.mayTake(ctx, live); err != nil {
		return nil, err
	}
	desired := git.DeepCopy()
	labels := desired.GetLabels()
	if labels == nil {
		labels = map[string]string{}
	}
	labels[siskinv1.GitSyncNameLabel], labels[siskinv1.GitSyncNamespaceLabel] = j.owner.Name, j.owner.Namespace
	desired.SetLabels(labels)
	if err := respect(desired, live); err != nil {
		return nil, err
	}
	p := &prepared{git: git, desired: desired, live: live, action: Created}
	if live != nil {
		j.stamp.keep(desired, live)
	}
	merged, err := j.rehearse(ctx, p)
	if err != nil {
		return nil, fmt.Errorf("trying it as a dry run: %w", err)
	}
	switch {
	case p.live == nil:
	case same(p.live, merged):
		p.action = Unchanged
		return p, nil
	default:
		p.action = Configured
	}
	j.stamp.put(desired)
	return p, nil
}

// rehearse applies an object as a dry run and returns what would come of it. Where that would take back what a Canary has
// restored, or the split of an adopted route, the object is changed to leave that, and tried again.
func (j *job) rehearse(ctx context.Context, p *prepared) (*unstructured.Unstructured, error) {
	live, merged, err := j.try(ctx, p.desired, p.live)
	for i, keep := range []func(desired, live, merged *unstructured.Unstructured) (bool, error){keepRestored, keepAdopted} {
		if err != nil || live == nil || same(live, merged) {
			break
		}
		var keeps bool
		if keeps, err = keep(p.desired, live, merged); keeps && err == nil {
			live, merged, err = j.try(ctx, p.desired, live)
		}
		p.kept = p.kept || keeps && i == 0
	}
	p.live = live
	return merged, err
}

func (j *job) read(ctx context.Context, git *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	live := &unstructured.Unstructured{}
	live.SetGroupVersionKind(git.GroupVersionKind())
	err := j.Client.Get(ctx, client.ObjectKeyFromObject(git), live)
	if apierrors.IsNotFound(err) {
		return nil, nil //nolint:nilnil // nil is an object that is not there
	}
	// a kind whose CustomResourceDefinition is being created in this very job is not known to the API server yet
	if err != nil {
		return nil, fmt.Errorf("reading it: %w", err)
	}
	return live, nil
}

// mayTake refuses objects that are being deleted or that another GitSync answers for.
func (j *job) mayTake(ctx context.Context, live *unstructured.Unstructured) error {
	if live == nil {
		return nil
	}
	if live.GetDeletionTimestamp() != nil {
		return &RefusedError{"it is being deleted; it is applied again when it is gone"}
	}
	labels := live.GetLabels()
	other := types.NamespacedName{Namespace: labels[siskinv1.GitSyncNamespaceLabel], Name: labels[siskinv1.GitSyncNameLabel]}
	if other.Name == "" || other == j.owner || j.Claimed == nil {
		return nil
	}
	claimed, err := j.Claimed(ctx, other, RefOf(live))
	if err != nil {
		return fmt.Errorf("asking GitSync %s for it: %w", other, err)
	}
	if claimed {
		return &RefusedError{fmt.Sprintf("GitSync %s applies it too: remove it from one of the two paths (to move it, annotate it %s: disabled in the old one first)", other, siskinv1.GitSyncPruneAnnotation)}
	}
	return nil
}

// send applies an object and returns what the server made of it.
func (j *job) send(ctx context.Context, o *unstructured.Unstructured, opts ...client.ApplyOption) (*unstructured.Unstructured, error) {
	out := o.DeepCopy()
	opts = append(opts, client.FieldOwner(siskinv1.GitSyncFieldManager), client.ForceOwnership)
	if err := j.Client.Apply(ctx, client.ApplyConfigurationFromUnstructured(out), opts...); err != nil {
		return nil, err
	}
	return out, nil
}

// writeAll writes what differs, in order. One that fails does not stop the others: all of them passed the dry run.
func (j *job) writeAll(ctx context.Context, all []*prepared) {
	for _, p := range all {
		action, err := j.write(ctx, p)
		if err != nil {
			j.fail(p.git, err)
			continue
		}
		j.result.Wrote = j.result.Wrote || action != Unchanged
		j.result.Changes = append(j.result.Changes, Change{RefOf(p.git), action, p.kept})
		if err := j.unmark(ctx, p); err != nil {
			j.fail(p.git, err)
		}
	}
}

// write applies one object. What a Canary may hold is written only if it still is as it was read: a Canary that takes hold
// in between must not see its target scaled up.
func (j *job) write(ctx context.Context, p *prepared) (Action, error) {
	for try := 1; ; try++ {
		if p.action == Unchanged {
			return Unchanged, nil
		}
		o := p.desired.DeepCopy()
		if p.live != nil && holdable(p.live) {
			o.SetResourceVersion(p.live.GetResourceVersion())
		}
		_, err := j.send(ctx, o)
		if err == nil {
			return p.action, nil
		}
		if !apierrors.IsConflict(err) || try == attempts {
			return "", fmt.Errorf("applying it: %w", err)
		}
		if p, err = j.prepare(ctx, p.git); err != nil {
			return "", err
		}
	}
}

// awaitCRDs waits until the API server serves the kinds of the CustomResourceDefinitions just written.
func (j *job) awaitCRDs(ctx context.Context, foundation []*prepared, timeout time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	for _, p := range foundation {
		if _, ok := declares(p.git); !ok || p.action == Unchanged {
			continue
		}
		if err := j.awaitCRD(ctx, p.git); err != nil {
			j.fail(p.git, err)
		}
	}
}

func (j *job) awaitCRD(ctx context.Context, crd *unstructured.Unstructured) error {
	for {
		live, err := j.read(ctx, crd)
		if err == nil && live != nil && established(live) {
			gk, _ := declares(crd)
			if _, err := j.Client.RESTMapper().RESTMapping(gk); err == nil {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return errors.Join(&RefusedError{"the API server did not establish it within spec.timeout"}, err)
		case <-j.Clock.After(pollCRD):
		}
	}
}

func established(crd *unstructured.Unstructured) bool {
	conditions, _, _ := unstructured.NestedSlice(crd.Object, "status", "conditions")
	for _, c := range conditions {
		if m, ok := c.(map[string]any); ok && m["type"] == "Established" {
			return m["status"] == "True"
		}
	}
	return false
}
