package observe

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/siskin-dev/siskin/pkg/canary/target"
	"github.com/siskin-dev/siskin/pkg/internal/async"
)

// missingAgain is how soon a Secret that pods cannot start without is looked for again: nobody tells when it comes.
const missingAgain = 10 * time.Second

// forbiddenAgain is how soon it is tried again to read what Siskin had no right to.
const forbiddenAgain = time.Minute

// ConfigTracker knows the content of the ConfigMaps and Secrets that targets read, by digest. ConfigMaps are watched, metadata only, so
// that one that has not changed costs nothing. Secrets can be neither listed nor watched: their metadata is read by name, once per
// Poll and whenever a target has changed; their data only if they have changed.
type ConfigTracker struct {
	// Cache reads the metadata of ConfigMaps.
	Cache client.Reader
	// Live reads from the API server, by name.
	Live client.Reader
	// Poll is how often each Secret is looked at; 0: only when a target that reads it has changed.
	Poll time.Duration
	// Clock tells when; nil: the real time.
	Clock clock.PassiveClock
	// Reads makes reads from the API server beside the reconcile; nil: whoever needs one waits for its end.
	Reads *async.Reads

	mu      sync.Mutex
	known   map[object]digest
	awaited map[object]awaited
	reads   int               // how many have ended
	copies  map[object]digest // without hash; see copyOf
	readers readers
}

type object struct{ kind, namespace, name string }

// digest is what was found at an object's version.
type digest struct {
	version string // "" : it does not exist
	hash    string
	tracked bool
	origin  target.Origin
	at      time.Time
	read    int // its number
}

// awaited is a read that a look went on without.
type awaited struct {
	at    time.Time
	after int // the number of what was known
}

// Readers lists the Canaries whose target, or pods of whose revisions, read a ConfigMap, as of when they were last looked at.
func (t *ConfigTracker) Readers(namespace, configMap string) []types.NamespacedName {
	if t == nil {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.readers.of(types.NamespacedName{Namespace: namespace, Name: configMap})
}

// Forget drops what is known of a Canary that is gone.
func (t *ConfigTracker) Forget(who types.NamespacedName) {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.readers.set(reading{who: who}, nil)
	t.readers.set(reading{who: who, copies: true}, nil)
}

// Expire has an object looked at again: somebody found another content than what is known.
func (t *ConfigTracker) Expire(kind, namespace, name string) {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.known, object{kind, namespace, name})
	delete(t.copies, object{kind, namespace, name})
}

// configTimeout bounds a read of configuration, so that an API server that cannot decrypt Secrets holds no rollback up. What was read is
// remembered: the next look goes on from there.
const configTimeout = 5 * time.Second

// found is what a target reads.
type found struct {
	config *target.Config
	// origins are the commits that changed what is tracked last, by kind and name.
	origins map[string]target.Origin
	// missing is the first that the pods cannot start without.
	missing *target.RefusedError
	// again is when to look again without being told; 0 never.
	again time.Duration
}

// lookAgain has all be looked at again after a while, or sooner.
func (f *found) lookAgain(after time.Duration) {
	if f.again == 0 || after < f.again {
		f.again = after
	}
}

// read finds out what the pods of a template read. fresh: Secrets are looked at now, whenever that was last done. An error means that
// it is not known.
func (t *ConfigTracker) read(ctx context.Context, who types.NamespacedName, spec *corev1.PodSpec, fresh bool) (found, error) {
	var out found
	if t.Reads == nil {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, configTimeout)
		defer cancel()
	}
	refs := target.Refs(spec)
	t.note(who, refs) // first: what changes from now on is told
	if len(refs) == 0 {
		return out, nil
	}
	var slow error
	out.config, out.origins = &target.Config{Items: make([]target.Item, 0, len(refs))}, map[string]target.Origin{}
	for _, ref := range refs {
		d, err := t.lookAt(ctx, who, object{ref.Kind, who.Namespace, ref.Name}, fresh)
		if errors.Is(err, async.ErrSlow) { // the others are read meanwhile
			slow = err
			continue
		}
		if apierrors.IsForbidden(err) {
			return found{again: forbiddenAgain, missing: &target.RefusedError{Reason: target.ReasonConfigForbidden, Message: fmt.Sprintf(
				"Siskin may not read %s %s, which is read by %s: give it the right to get it, or run it with --config-tracking=false",
				ref.Kind, ref.Name, ref.Where)}}, nil
		}
		if err != nil {
			return out, err
		}
		again := t.Poll
		switch {
		case d.version == "" && !ref.Optional:
			again = missingAgain
			if out.missing == nil {
				out.missing = &target.RefusedError{Reason: target.ReasonConfigMissing, Message: fmt.Sprintf(
					"%s %s does not exist and is read by %s: create it, or make the reference optional", ref.Kind, ref.Name, ref.Where)}
			}
		case d.version != "" && !d.tracked:
			out.config.Items = append(out.config.Items, target.Item{Kind: ref.Kind, Name: ref.Name, Untracked: true})
		default:
			out.config.Items = append(out.config.Items, target.Track(who.Name, ref, d.hash))
			out.origins[ref.Kind+"/"+ref.Name] = d.origin
		}
		if ref.Kind == target.Secret && again > 0 {
			out.lookAgain(max(again-t.now().Sub(d.at), time.Second))
		}
	}
	return out, slow
}

// note remembers which ConfigMaps a Canary's target reads.
func (t *ConfigTracker) note(who types.NamespacedName, refs []target.Ref) {
	var names []string
	for _, ref := range refs {
		if ref.Kind == target.ConfigMap {
			names = append(names, ref.Name)
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.readers.set(reading{who: who}, names)
}

// lookAt returns the digest of an object, from memory if its version is known to be the same. Errors: async.ErrSlow, when
// it is still being read: who is looked at again then.
func (t *ConfigTracker) lookAt(ctx context.Context, who types.NamespacedName, o object, fresh bool) (digest, error) {
	have, ok := t.remembered(o)
	if o.kind == target.ConfigMap {
		return t.look(ctx, who, o, t.Cache, have)
	}
	age := t.now().Sub(have.at)
	switch {
	case ok && fresh && t.since(o, have): // this is the look that went on without it
		return have, nil
	case ok && !fresh && (t.Poll == 0 || age < t.Poll) && (have.version != "" || age < missingAgain):
		return have, nil
	}
	return t.beside(ctx, who, o, func(ctx context.Context) (digest, error) { return t.look(ctx, who, o, t.Live, have) })
}

// look reads the metadata of an object, and its content if that is not what is known.
func (t *ConfigTracker) look(
	ctx context.Context, who types.NamespacedName, o object, reader client.Reader, have digest,
) (digest, error) {
	var meta metav1.PartialObjectMetadata
	meta.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind(o.kind))
	is := digest{at: t.now()}
	err := reader.Get(ctx, types.NamespacedName{Namespace: o.namespace, Name: o.name}, &meta)
	switch {
	case apierrors.IsNotFound(err):
		t.set(o, is)
		return is, nil
	case err != nil:
		return is, unreadable(o, err)
	}
	is.version, is.tracked = version(&meta), target.Tracked(&meta)
	switch {
	case have.version == is.version:
		is.hash, is.origin = have.hash, have.origin
	case !is.tracked:
	case o.kind == target.ConfigMap: // its content is in no cache
		return t.beside(ctx, who, o, func(ctx context.Context) (digest, error) { return t.content(ctx, o) })
	default:
		return t.content(ctx, o)
	}
	t.set(o, is)
	return is, nil
}

// content reads an object's content and remembers it.
func (t *ConfigTracker) content(ctx context.Context, o object) (digest, error) {
	is, err := t.digest(ctx, o)
	if err == nil {
		t.set(o, is)
	}
	return is, err
}

// beside makes a read of an object that may take long. Errors: async.ErrSlow, when it does.
func (t *ConfigTracker) beside(
	ctx context.Context, who types.NamespacedName, o object, read func(context.Context) (digest, error),
) (digest, error) {
	if t.Reads == nil {
		return read(ctx)
	}
	var is digest
	var err error
	key := o.kind + "/" + o.namespace + "/" + o.name
	have, _ := t.remembered(o)
	if t.Reads.Read(ctx, who, key, configTimeout, func(ctx context.Context) { is, err = read(ctx) }) {
		return is, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.awaited == nil || len(t.awaited) >= memoLimit {
		t.awaited = map[object]awaited{}
	}
	t.awaited[o] = awaited{at: t.now(), after: have.read}
	return digest{}, unreadable(o, async.ErrSlow) // the read may still write what it finds
}

// since reports whether a look went on lately without the read that has found have.
func (t *ConfigTracker) since(o object, have digest) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	is, ok := t.awaited[o]
	return ok && have.read > is.after && t.now().Before(is.at.Add(2*configTimeout))
}

func (t *ConfigTracker) remembered(o object) (digest, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	have, ok := t.known[o]
	return have, ok
}

// digest reads an object's content.
func (t *ConfigTracker) digest(ctx context.Context, o object) (digest, error) {
	obj := target.NewConfig(o.kind)
	is := digest{at: t.now()}
	err := t.Live.Get(ctx, types.NamespacedName{Namespace: o.namespace, Name: o.name}, obj)
	if apierrors.IsNotFound(err) {
		return is, nil
	}
	if err != nil {
		return is, unreadable(o, err)
	}
	is.version, is.tracked, is.origin = version(obj), target.Tracked(obj), target.OriginOf(obj)
	is.hash, err = target.Hash(obj)
	return is, err
}

func (t *ConfigTracker) set(o object, d digest) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.known == nil || len(t.known) >= memoLimit {
		t.known = map[object]digest{}
	}
	t.reads++
	d.read = t.reads
	t.known[o] = d
}

func (t *ConfigTracker) now() time.Time {
	if t.Clock == nil {
		return clock.RealClock{}.Now()
	}
	return t.Clock.Now()
}

func version(obj metav1.Object) string { return string(obj.GetUID()) + "/" + obj.GetResourceVersion() }

// unreadable tells which object could not be read, never what is in it.
func unreadable(o object, err error) error {
	return fmt.Errorf("reading %s %s: %w", o.kind, o.name, err)
}
