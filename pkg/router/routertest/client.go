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
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	gatewayapply "sigs.k8s.io/gateway-api/applyconfiguration"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
)

// TB is what NewClient needs of a test.
type TB interface {
	Helper()
	Fatalf(format string, args ...any)
}

// NewClient returns controller-runtime's fake client, taught what a router depends on of a real API server: defaults of Services
// and HTTPRoutes, and generations that count changes of the spec. Objects given to it are stored without defaults.
func NewClient(t TB, objects ...client.Object) client.WithWatch {
	t.Helper()
	s := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{scheme.AddToScheme, gatewayv1.Install, siskinv1.AddToScheme} {
		if err := add(s); err != nil {
			t.Fatalf("building the scheme: %v", err)
		}
	}
	base := fake.NewClientBuilder().WithScheme(s).WithObjects(objects...).
		WithStatusSubresource(&gatewayv1.HTTPRoute{}, &gatewayv1.GatewayClass{}, &siskinv1.Canary{}).
		WithReturnManagedFields().
		WithTypeConverters(gatewayapply.NewTypeConverter(s), clientapply.NewTypeConverter(scheme.Scheme),
			managedfields.NewDeducedTypeConverter()).
		Build()
	return interceptor.NewClient(base, interceptor.Funcs{
		Create: func(ctx context.Context, c client.WithWatch, obj client.Object, opts ...client.CreateOption) error {
			return finish(ctx, c, client.ObjectKeyFromObject(obj), func() error { return c.Create(ctx, obj, opts...) })
		},
		Update: func(ctx context.Context, c client.WithWatch, obj client.Object, opts ...client.UpdateOption) error {
			return finish(ctx, c, client.ObjectKeyFromObject(obj), func() error { return c.Update(ctx, obj, opts...) })
		},
		Patch: func(ctx context.Context, c client.WithWatch, obj client.Object, patch client.Patch, opts ...client.PatchOption) error {
			return finish(ctx, c, client.ObjectKeyFromObject(obj), func() error { return c.Patch(ctx, obj, patch, opts...) })
		},
		Apply: func(ctx context.Context, c client.WithWatch, obj runtime.ApplyConfiguration, opts ...client.ApplyOption) error {
			key := client.ObjectKey{}
			if o, ok := obj.(interface {
				GetName() string
				GetNamespace() string
			}); ok {
				key = client.ObjectKey{Namespace: o.GetNamespace(), Name: o.GetName()}
			}
			return finish(ctx, c, key, func() error { return c.Apply(ctx, obj, opts...) })
		},
	})
}

// finish does after a write what the API server would have done in it. A name may be a Service's and an HTTPRoute's.
func finish(ctx context.Context, c client.WithWatch, key client.ObjectKey, write func() error) error {
	var before gatewayv1.HTTPRoute
	_ = c.Get(ctx, key, &before) // Absent: its generation is 0 and its spec empty.
	if err := write(); err != nil {
		return err
	}
	var svc corev1.Service
	if c.Get(ctx, key, &svc) == nil {
		base := svc.DeepCopy()
		if defaultService(&svc); !equality.Semantic.DeepEqual(base, &svc) {
			if err := c.Update(ctx, &svc, client.FieldOwner("apiserver")); err != nil {
				return err
			}
		}
	}
	var route gatewayv1.HTTPRoute
	if err := c.Get(ctx, key, &route); err != nil {
		return client.IgnoreNotFound(err)
	}
	defaultRoute(&route)
	if equality.Semantic.DeepEqual(before.Spec, route.Spec) {
		return nil
	}
	route.Generation = before.Generation + 1
	return c.Update(ctx, &route, client.FieldOwner("apiserver"))
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

func defaultRoute(route *gatewayv1.HTTPRoute) {
	for i := range route.Spec.ParentRefs {
		ref := &route.Spec.ParentRefs[i]
		if ref.Group == nil {
			ref.Group = new(gatewayv1.Group(gatewayv1.GroupName))
		}
		if ref.Kind == nil {
			ref.Kind = new(gatewayv1.Kind("Gateway"))
		}
	}
	for i := range route.Spec.Rules {
		rule := &route.Spec.Rules[i]
		if rule.Matches == nil {
			rule.Matches = []gatewayv1.HTTPRouteMatch{{}}
		}
		for j := range rule.Matches {
			if rule.Matches[j].Path == nil {
				rule.Matches[j].Path = &gatewayv1.HTTPPathMatch{Type: new(gatewayv1.PathMatchPathPrefix), Value: new("/")}
			}
		}
		for j := range rule.BackendRefs {
			ref := &rule.BackendRefs[j]
			if ref.Group == nil {
				ref.Group = new(gatewayv1.Group(""))
			}
			if ref.Kind == nil {
				ref.Kind = new(gatewayv1.Kind("Service"))
			}
			if ref.Weight == nil {
				ref.Weight = new(int32(1))
			}
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
