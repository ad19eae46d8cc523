package canary_test

import (
	"context"
	"reflect"
	goruntime "runtime"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/router/service"
)

// shared is a client that reads as an informer's cache does: at no cost, and without a copy where none is asked for.
type shared struct {
	client.Client

	objects map[reflect.Type][]client.Object
}

// share keeps all objects of the lists' kinds.
func share(tb testing.TB, c client.Client, lists ...client.ObjectList) *shared {
	tb.Helper()
	out := &shared{Client: c, objects: map[reflect.Type][]client.Object{}}
	for _, list := range lists {
		if err := c.List(tb.Context(), list); err != nil {
			tb.Fatal(err)
		}
		_ = meta.EachListItem(list, func(o runtime.Object) error {
			if obj, ok := o.(client.Object); ok {
				out.objects[reflect.TypeOf(o)] = append(out.objects[reflect.TypeOf(o)], obj)
			}
			return nil
		})
	}
	return out
}

func (s *shared) Get(_ context.Context, key client.ObjectKey, obj client.Object, opts ...client.GetOption) error {
	var o client.GetOptions
	o.ApplyOptions(opts)
	for _, have := range s.objects[reflect.TypeOf(obj)] {
		if client.ObjectKeyFromObject(have) != key {
			continue
		}
		from := runtime.Object(have)
		if o.UnsafeDisableDeepCopy == nil || !*o.UnsafeDisableDeepCopy {
			from = have.DeepCopyObject()
		}
		reflect.ValueOf(obj).Elem().Set(reflect.ValueOf(from).Elem())
		return nil
	}
	return apierrors.NewNotFound(schema.GroupResource{}, key.Name)
}

func (s *shared) List(_ context.Context, list client.ObjectList, opts ...client.ListOption) error {
	var o client.ListOptions
	o.ApplyOptions(opts)
	items := reflect.ValueOf(list).Elem().FieldByName("Items")
	for _, have := range s.objects[reflect.PointerTo(items.Type().Elem())] {
		if o.LabelSelector == nil || o.LabelSelector.Matches(labelsOf(have)) {
			items.Set(reflect.Append(items, reflect.ValueOf(have).Elem()))
		}
	}
	return nil
}

type labelSet map[string]string

func (l labelSet) Has(key string) bool                       { _, ok := l[key]; return ok }
func (l labelSet) Get(key string) string                     { return l[key] }
func (l labelSet) Lookup(key string) (value string, ok bool) { value, ok = l[key]; return value, ok }
func labelsOf(o client.Object) labelSet                      { return o.GetLabels() }

// A pass in the middle of a step has nothing to do. It takes no more memory than it needs for looking: what it decodes, encodes and copies
// shows here first. And nobody looks again before the step ends.
func TestAPassThatHasNothingToDoIsCheap(t *testing.T) {
	play(t, newCanary(), func(s *stage) {
		s.router.AcceptAfter(1) // a split is first seen as it is not yet
		s.until(siskinv1.PhaseInitialized)
		s.image("web:2")
		for range 20 {
			s.kubelet()
			if st := s.canary().Status.Step; st != nil && st.Index == 1 && s.canary().Status.Phase == siskinv1.PhaseProgressing {
				break
			}
			s.pass()
		}
		s.pass()
		if got, want := s.pass().RequeueAfter, s.canary().Status.Step.EndsAt.Sub(s.clock.Now()); got != want {
			t.Errorf("it looks again in %s, and the step ends in %s: nothing is to be done before", got, want)
		}
		held := share(t, s.api, &siskinv1.CanaryList{}, &appsv1.DeploymentList{}, &corev1.ServiceList{}, &discoveryv1.EndpointSliceList{},
			&appsv1.ControllerRevisionList{})
		s.Client, s.Observer.Client, s.Observer.Guard = held, held, nil
		s.Actor.Client, s.Actor.Services = held, service.New(held, held)
		run := func(n int) {
			for range n {
				if _, err := s.Reconcile(s.t.Context(), reconcile.Request{NamespacedName: web}); err != nil {
					t.Fatal(err)
				}
			}
		}
		run(3)
		s.quiet()
		const passes, most = 200, 54 << 10
		var before, after goruntime.MemStats
		goruntime.ReadMemStats(&before)
		run(passes)
		goruntime.ReadMemStats(&after)
		if n := s.writes.Writes() + s.stored; n > 0 {
			t.Fatalf("%d writes: it has something to do", n)
		}
		if each := (after.TotalAlloc - before.TotalAlloc) / passes; each > most {
			t.Errorf("a pass takes %d bytes in %d pieces, more than %d bytes", each, (after.Mallocs-before.Mallocs)/passes, most)
		} else {
			t.Logf("%d bytes in %d pieces", each, (after.Mallocs-before.Mallocs)/passes)
		}
	})
}
