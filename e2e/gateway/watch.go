package gateway

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// again is how soon a watch that ended begins anew. An informer backs off up to 30 s, and a data plane that is blind for so long
// after a restart of the API server would be the test's fault and not Siskin's.
const again = 100 * time.Millisecond

// store mirrors the objects of one kind.
type store[T client.Object] struct {
	list client.ObjectList

	mu      sync.RWMutex
	objects map[client.ObjectKey]T
	synced  bool
}

func newStore[T client.Object](list client.ObjectList) *store[T] {
	return &store[T]{list: list, objects: map[client.ObjectKey]T{}}
}

func (s *store[T]) get(key client.ObjectKey) (T, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	obj, ok := s.objects[key]
	return obj, ok
}

func (s *store[T]) all() []T {
	s.mu.RLock()
	defer s.mu.RUnlock()
	out := make([]T, 0, len(s.objects))
	for _, obj := range s.objects {
		out = append(out, obj)
	}
	return out
}

func (s *store[T]) isSynced() bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.synced
}

// follow keeps the store in step until ctx ends; changed is called after each change.
func (s *store[T]) follow(ctx context.Context, c client.WithWatch, clk clock.Clock, changed func(), logf func(string, ...any)) {
	last := ""
	for ctx.Err() == nil {
		if err := s.once(ctx, c, changed); err != nil && ctx.Err() == nil && err.Error() != last {
			last = err.Error() // ten times a second the same helps nobody
			logf("%v", err)
		}
		select {
		case <-ctx.Done():
		case <-clk.After(again):
		}
	}
}

// once lists and watches until the watch ends.
func (s *store[T]) once(ctx context.Context, c client.WithWatch, changed func()) error {
	list, err := s.load(ctx, c)
	if err != nil {
		return err
	}
	changed()
	w, err := c.Watch(ctx, list, &client.ListOptions{Raw: &metav1.ListOptions{ResourceVersion: list.GetResourceVersion(), AllowWatchBookmarks: true}})
	if err != nil {
		return fmt.Errorf("watching: %w", err)
	}
	defer w.Stop()
	for ev := range w.ResultChan() {
		if ev.Type == watch.Error {
			return fmt.Errorf("watching: %w", apierrors.FromObject(ev.Object))
		}
		if s.take(ev) {
			changed()
		}
	}
	return nil
}

// load lists.
func (s *store[T]) load(ctx context.Context, c client.Client) (client.ObjectList, error) {
	list, ok := s.list.DeepCopyObject().(client.ObjectList)
	if !ok {
		return nil, errors.New("not a list")
	}
	limited, cancel := context.WithTimeout(ctx, 10*time.Second)
	err := c.List(limited, list)
	cancel()
	if err != nil {
		return nil, fmt.Errorf("listing: %w", err)
	}
	objects := map[client.ObjectKey]T{}
	err = meta.EachListItem(list, func(obj runtime.Object) error {
		if o, ok := obj.DeepCopyObject().(T); ok {
			objects[client.ObjectKeyFromObject(o)] = o
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading a list: %w", err)
	}
	s.mu.Lock()
	s.objects, s.synced = objects, true
	s.mu.Unlock()
	return list, nil
}

func (s *store[T]) take(ev watch.Event) bool {
	obj, ok := ev.Object.(T)
	if !ok || ev.Type == watch.Bookmark {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if ev.Type == watch.Deleted {
		delete(s.objects, client.ObjectKeyFromObject(obj))
	} else {
		s.objects[client.ObjectKeyFromObject(obj)] = obj
	}
	return true
}
