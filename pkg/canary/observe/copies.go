package observe

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/canary/target"
	"github.com/siskin-dev/siskin/pkg/internal/async"
)

// Lost is a copy of configuration that somebody deleted, and that pods of a revision in use read: those that run go on, but none can
// start.
type Lost struct {
	target.Item

	// Revision whose pods read it.
	Revision string
	// Found tells that the original still has the content, so that the copy can be made again.
	Found bool
}

// String tells what is wrong with a copy that is not made again in this pass, and what to do, in one line.
func (l Lost) String() string {
	remedy := fmt.Sprintf("release another revision, or bring the content back that %s %s had then", l.Kind, l.Name)
	if l.Found {
		remedy = "it is made again when spec.suspend is false"
	}
	return fmt.Sprintf("%s %s, the copy of %s that the pods of revision %s read, was deleted, and none of them can start without it: %s",
		l.Kind, l.Copy, l.Name, l.Revision, remedy)
}

// copies finds the copies that are lost. What cannot be found out is looked at again soon, and holds nothing up.
func (o *Observer) copies(ctx context.Context, w *World) {
	if o.Config == nil || w.Canary.DeletionTimestamp != nil {
		return
	}
	if o.Config.Reads == nil {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, configTimeout)
		defer cancel()
	}
	needed, who := w.needed(), client.ObjectKeyFromObject(w.Canary)
	o.Config.noteCopies(who, needed) // first: what changes from now on is told
	for _, l := range needed {
		again, err := o.Config.lost(ctx, who, &l)
		switch {
		case errors.Is(err, async.ErrSlow): // this Canary is looked at again when it has been read
		case err != nil:
			log.FromContext(ctx).Error(err, "looking for a copy of configuration", "revision", l.Revision)
			again = missingAgain
		}
		if again > 0 && (w.ConfigAgain == 0 || again < w.ConfigAgain) {
			w.ConfigAgain = again
		}
		if err == nil && l.Copy != "" {
			w.Lost = append(w.Lost, l)
		}
	}
}

// needed lists the copies that pods read which run or may have to start at any moment, each once.
func (w *World) needed() []Lost {
	var out []Lost
	for _, name := range w.inUse() {
		stored, ok := w.Snapshots[name]
		if !ok || !target.Complete(stored) {
			continue // while not all was copied, no pods were started
		}
		r, err := w.Read(stored)
		if err != nil {
			continue // it equals nothing, and is told when it is needed
		}
		for _, it := range r.Config.Copies() {
			if !slices.ContainsFunc(out, func(l Lost) bool { return l.Kind == it.Kind && l.Copy == it.Copy }) {
				out = append(out, Lost{Item: it, Revision: name})
			}
		}
	}
	return out
}

// inUse names the revisions that serve, are on trial, or are what a bake goes back to.
func (w *World) inUse() []string {
	st := w.Canary.Status
	names := []string{revisionOf(st.Stable), candidate(st)}
	if st.Phase == siskinv1.PhaseBaking && st.Rollout != nil {
		names = append(names, st.Rollout.Previous)
	}
	for _, clone := range []client.Object{w.Primary, w.Trial} {
		if w.ours(clone) && target.Observe(clone).Replicas > 0 {
			names = append(names, clone.GetAnnotations()[siskinv1.RevisionAnnotation])
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// noteCopies remembers which ConfigMaps decide about the copies that a Canary needs: the copies and their originals.
func (t *ConfigTracker) noteCopies(who types.NamespacedName, needed []Lost) {
	var names []string
	for _, l := range needed {
		if l.Kind == target.ConfigMap {
			names = append(names, l.Copy, l.Name)
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.readers.set(reading{who: who, copies: true}, names)
}

// lost finds out whether a copy is lost, and whether it can be made again; it empties l if it is there. It returns when to look again
// without being told; 0 never.
func (t *ConfigTracker) lost(ctx context.Context, who types.NamespacedName, l *Lost) (time.Duration, error) {
	is, err := t.copyOf(ctx, who, object{l.Kind, who.Namespace, l.Copy})
	if err != nil {
		return 0, err
	}
	again := time.Duration(0)
	if l.Kind == target.Secret && t.Poll > 0 {
		again = max(t.Poll-t.now().Sub(is.at), time.Second)
	}
	if is.version != "" {
		*l = Lost{}
		return again, nil
	}
	l.Found, err = t.has(ctx, who, object{l.Kind, who.Namespace, l.Name}, l.Hash)
	return again, err
}

// copyOf looks whether a copy is there. A Secret's is asked for once per Poll; a look that is nearly due is made now, so that all
// looks of a Canary come at once. A ConfigMap is asked for only if the cache, which may be behind, does not know it. What a copy holds
// nobody can change.
func (t *ConfigTracker) copyOf(ctx context.Context, who types.NamespacedName, o object) (digest, error) {
	var meta metav1.PartialObjectMetadata
	meta.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind(o.kind))
	key := types.NamespacedName{Namespace: o.namespace, Name: o.name}
	if o.kind == target.ConfigMap {
		err := t.Cache.Get(ctx, key, &meta)
		if err == nil {
			return digest{version: version(&meta), at: t.now()}, nil
		}
		if !apierrors.IsNotFound(err) {
			return digest{}, unreadable(o, err)
		}
	}
	if have, ok := t.recent(o); ok {
		return have, nil
	}
	return t.beside(ctx, who, o, func(ctx context.Context) (digest, error) { return t.lookForCopy(ctx, o) })
}

func (t *ConfigTracker) lookForCopy(ctx context.Context, o object) (digest, error) {
	var meta metav1.PartialObjectMetadata
	meta.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind(o.kind))
	is := digest{at: t.now()}
	switch err := t.Live.Get(ctx, types.NamespacedName{Namespace: o.namespace, Name: o.name}, &meta); {
	case err == nil:
		is.version = version(&meta)
	case !apierrors.IsNotFound(err):
		return is, unreadable(o, err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.copies == nil || len(t.copies) >= memoLimit {
		t.copies = map[object]digest{}
	}
	if t.copies[o] = is; o.kind == target.ConfigMap && is.version != "" {
		delete(t.copies, o) // if it goes, the cache tells
	}
	return is, nil
}

// recent is what is known of a copy, if it need not be looked at again yet.
func (t *ConfigTracker) recent(o object) (digest, bool) {
	t.mu.Lock()
	have, ok := t.copies[o]
	t.mu.Unlock()
	age := t.now().Sub(have.at)
	if have.version == "" {
		return have, ok && age < missingAgain
	}
	return have, t.Poll == 0 || age < t.Poll-t.Poll/10
}

// has tells whether an object has the content of a digest, also one whose author keeps it out of revisions. No digest:
// it does not exist.
func (t *ConfigTracker) has(ctx context.Context, who types.NamespacedName, o object, hash string) (bool, error) {
	d, err := t.lookAt(ctx, who, o, false)
	if err == nil && d.version != "" && !d.tracked && d.hash == "" {
		d, err = t.beside(ctx, who, o, func(ctx context.Context) (digest, error) { return t.content(ctx, o) })
	}
	return err == nil && (d.version != "") == (hash != "") && d.hash == hash, err
}
