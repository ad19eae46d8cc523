package routertest

import (
	"context"
	"fmt"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/managedfields"
	clientapply "k8s.io/client-go/applyconfigurations"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
)

// TB is what NewClient needs of a test.
type TB interface {
	Helper()
	Fatalf(format string, args ...any)
}

// API is the API of a gateway, for NewClientWith.
type API struct {
	// AddToScheme adds its kinds.
	AddToScheme func(*runtime.Scheme) error
	// Kinds that have a status of their own.
	Kinds []Kind
	// Converter knows how its lists are merged; nil: that is deduced from the objects.
	Converter func(*runtime.Scheme) managedfields.TypeConverter
}

// Kind is one kind of an API.
type Kind struct {
	// Object is an empty object of the kind.
	Object client.Object
	// Finish does to after, which was written just now over before, what the API server would have done in that write: defaults, and a
	// generation that counts changes. It reports whether it changed anything; before is empty if there was nothing. nil: nothing is done.
	Finish func(before, after client.Object) bool
}

// NewClient returns controller-runtime's fake client, taught what a router depends on of a real API server: defaults of Services.
// Objects given to it are stored without defaults.
func NewClient(t TB, objects ...client.Object) client.WithWatch {
	t.Helper()
	return NewClientWith(t, nil, objects...)
}

// NewClientWith returns NewClient's client, taught the APIs of gateways too.
func NewClientWith(t TB, apis []API, objects ...client.Object) client.WithWatch {
	t.Helper()
	s := runtime.NewScheme()
	adders := []func(*runtime.Scheme) error{scheme.AddToScheme, siskinv1.AddToScheme}
	var converters []managedfields.TypeConverter
	served := finisher{{Object: &corev1.Service{}, Finish: finishService}}
	status := []client.Object{&siskinv1.Canary{}}
	for _, api := range apis {
		adders = append(adders, api.AddToScheme)
		served = append(served, api.Kinds...)
		for _, kind := range api.Kinds {
			status = append(status, kind.Object)
		}
	}
	for _, add := range adders {
		if err := add(s); err != nil {
			t.Fatalf("building the scheme: %v", err)
		}
	}
	for _, api := range apis {
		if api.Converter != nil {
			converters = append(converters, api.Converter(s))
		}
	}
	base := fake.NewClientBuilder().WithScheme(s).WithObjects(objects...).
		WithStatusSubresource(status...).
		WithReturnManagedFields().
		WithTypeConverters(append(converters, clientapply.NewTypeConverter(scheme.Scheme), managedfields.NewDeducedTypeConverter())...).
		Build()
	return interceptor.NewClient(base, interceptor.Funcs{
		Create: func(ctx context.Context, c client.WithWatch, obj client.Object, opts ...client.CreateOption) error {
			return served.finish(ctx, c, client.ObjectKeyFromObject(obj), func() error { return c.Create(ctx, obj, opts...) })
		},
		Update: func(ctx context.Context, c client.WithWatch, obj client.Object, opts ...client.UpdateOption) error {
			return served.finish(ctx, c, client.ObjectKeyFromObject(obj), func() error { return c.Update(ctx, obj, opts...) })
		},
		Patch: func(ctx context.Context, c client.WithWatch, obj client.Object, patch client.Patch, opts ...client.PatchOption) error {
			return served.finish(ctx, c, client.ObjectKeyFromObject(obj), func() error { return c.Patch(ctx, obj, patch, opts...) })
		},
		Apply: func(ctx context.Context, c client.WithWatch, obj runtime.ApplyConfiguration, opts ...client.ApplyOption) error {
			key := client.ObjectKey{}
			if o, ok := obj.(interface {
				GetName() string
				GetNamespace() string
			}); ok {
				key = client.ObjectKey{Namespace: o.GetNamespace(), Name: o.GetName()}
			}
			return served.finish(ctx, c, key, func() error { return c.Apply(ctx, obj, opts...) })
		},
	})
}

// finisher finishes writes. A name may be that of several kinds.
type finisher []Kind

func (f finisher) finish(ctx context.Context, c client.WithWatch, key client.ObjectKey, write func() error) error {
	before := make([]client.Object, len(f))
	for i, kind := range f {
		if kind.Finish != nil {
			before[i], _ = read(ctx, c, key, kind.Object)
		}
	}
	if err := write(); err != nil {
		return err
	}
	for i, kind := range f {
		if kind.Finish == nil {
			continue
		}
		after, found := read(ctx, c, key, kind.Object)
		if !found || !kind.Finish(before[i], after) {
			continue
		}
		if err := c.Update(ctx, after, client.FieldOwner("apiserver")); err != nil {
			return err
		}
	}
	return nil
}

// read returns an object and whether there is one; else it is empty.
func read(ctx context.Context, c client.Reader, key client.ObjectKey, empty client.Object) (client.Object, bool) {
	obj, ok := empty.DeepCopyObject().(client.Object)
	if !ok {
		return empty, false
	}
	return obj, c.Get(ctx, key, obj) == nil
}

func finishService(_, after client.Object) bool {
	svc, ok := after.(*corev1.Service)
	base := after.DeepCopyObject()
	if ok {
		defaultService(svc)
	}
	return !equality.Semantic.DeepEqual(base, after)
}

func defaultService(svc *corev1.Service) {
	if svc.Spec.Type == "" {
		svc.Spec.Type = corev1.ServiceTypeClusterIP
	}
	if svc.Spec.SessionAffinity == "" {
		svc.Spec.SessionAffinity = corev1.ServiceAffinityNone
	}
	if svc.Spec.InternalTrafficPolicy == nil && svc.Spec.Type != corev1.ServiceTypeExternalName {
		svc.Spec.InternalTrafficPolicy = new(corev1.ServiceInternalTrafficPolicyCluster)
	}
	for i := range svc.Spec.Ports {
		p := &svc.Spec.Ports[i]
		if p.Protocol == "" {
			p.Protocol = corev1.ProtocolTCP
		}
		if p.TargetPort == (intstr.IntOrString{}) {
			p.TargetPort = intstr.FromInt32(p.Port)
		}
	}
}

// Counter is a client that counts writes and can be told to fail.
type Counter struct {
	client.Client

	mu      sync.Mutex
	writes  int
	fail    error
	waiting []string
}

// Waiting returns the kinds of lists that waited for writes of everybody, those of other Canaries too, since the last
// call.
func (c *Counter) Waiting() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := c.waiting
	c.waiting = nil
	return out
}

// Writes returns the number of writes since the last call.
func (c *Counter) Writes() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.writes
	c.writes = 0
	return n
}

// Fail makes every call fail with err; nil ends it.
func (c *Counter) Fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fail = err
}

func (c *Counter) enter(write bool) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if write {
		c.writes++
	}
	return c.fail
}

// Get is counted as a read.
func (c *Counter) Get(ctx context.Context, key client.ObjectKey, obj client.Object, opts ...client.GetOption) error {
	if err := c.enter(false); err != nil {
		return err
	}
	return c.Client.Get(ctx, key, obj, opts...)
}

// List is counted as a read.
func (c *Counter) List(ctx context.Context, list client.ObjectList, opts ...client.ListOption) error {
	if err := c.enter(false); err != nil {
		return err
	}
	if !(&client.ListOptions{}).ApplyOptions(opts).DisableReadYourWritesConsistency {
		c.mu.Lock()
		c.waiting = append(c.waiting, fmt.Sprintf("%T", list))
		c.mu.Unlock()
	}
	return c.Client.List(ctx, list, opts...)
}

// Create is counted as a write.
func (c *Counter) Create(ctx context.Context, obj client.Object, opts ...client.CreateOption) error {
	if err := c.enter(true); err != nil {
		return err
	}
	return c.Client.Create(ctx, obj, opts...)
}

// Update is counted as a write.
func (c *Counter) Update(ctx context.Context, obj client.Object, opts ...client.UpdateOption) error {
	if err := c.enter(true); err != nil {
		return err
	}
	return c.Client.Update(ctx, obj, opts...)
}

// Patch is counted as a write.
func (c *Counter) Patch(ctx context.Context, obj client.Object, patch client.Patch, opts ...client.PatchOption) error {
	if err := c.enter(true); err != nil {
		return err
	}
	return c.Client.Patch(ctx, obj, patch, opts...)
}

// Apply is counted as a write.
func (c *Counter) Apply(ctx context.Context, obj runtime.ApplyConfiguration, opts ...client.ApplyOption) error {
	if err := c.enter(true); err != nil {
		return err
	}
	return c.Client.Apply(ctx, obj, opts...)
}

// Delete is counted as a write.
func (c *Counter) Delete(ctx context.Context, obj client.Object, opts ...client.DeleteOption) error {
	if err := c.enter(true); err != nil {
		return err
	}
	return c.Client.Delete(ctx, obj, opts...)
}
