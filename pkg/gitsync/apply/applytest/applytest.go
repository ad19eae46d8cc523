// Package applytest is a cluster in memory for the tests of gitsync: controller-runtime's fake client, taught the dry run of
// a server-side apply, which it takes for done without doing it.
//
// It has no admission, no defaults and no schema but those of the built-in kinds. What depends on these is tested on a real
// API server.
package applytest

import (
	"context"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/yaml"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
)

// Cluster is a cluster in memory.
type Cluster struct {
	client.WithWatch

	// Refuse, if set, is asked before each apply; an error is the API server's answer.
	Refuse func(o *unstructured.Unstructured, dryRun bool) error
	// BeforeWrite, if set, is called before each apply that is not a dry run.
	BeforeWrite func(o *unstructured.Unstructured)

	t      *testing.T
	scheme *runtime.Scheme
	mapper *meta.DefaultRESTMapper

	mu    sync.Mutex
	log   []string
	calls int
}

// New makes a cluster that knows the usual kinds and holds objs.
func New(t *testing.T, objs ...client.Object) *Cluster {
	t.Helper()
	s := runtime.NewScheme()
	if err := clientgoscheme.AddToScheme(s); err != nil {
		t.Fatal(err)
	}
	if err := siskinv1.AddToScheme(s); err != nil {
		t.Fatal(err)
	}
	c := &Cluster{t: t, scheme: s, mapper: meta.NewDefaultRESTMapper([]schema.GroupVersion{{Group: "apps", Version: "v1"}, {Group: "x.example", Version: "v1"}})}
	for kind, scope := range map[schema.GroupVersionKind]meta.RESTScope{
		{Version: "v1", Kind: "Namespace"}:                                                            meta.RESTScopeRoot,
		{Version: "v1", Kind: "ConfigMap"}:                                                            meta.RESTScopeNamespace,
		{Version: "v1", Kind: "Secret"}:                                                               meta.RESTScopeNamespace,
		{Version: "v1", Kind: "Service"}:                                                              meta.RESTScopeNamespace,
		{Group: "apps", Version: "v1", Kind: "DaemonSet"}:                                             meta.RESTScopeNamespace,
		{Group: "apps", Version: "v1", Kind: "Deployment"}:                                            meta.RESTScopeNamespace,
		{Group: "autoscaling", Version: "v2", Kind: "HorizontalPodAutoscaler"}:                        meta.RESTScopeNamespace,
		{Group: "apiextensions.k8s.io", Version: "v1", Kind: "CustomResourceDefinition"}:              meta.RESTScopeRoot,
		{Group: siskinv1.GroupVersion.Group, Version: siskinv1.GroupVersion.Version, Kind: "GitSync"}: meta.RESTScopeNamespace,
	} {
		c.mapper.Add(kind, scope)
	}
	c.WithWatch = fake.NewClientBuilder().WithScheme(s).WithRESTMapper(c.mapper).WithObjects(objs...).
		WithStatusSubresource(&siskinv1.GitSync{}).WithReturnManagedFields().
		WithInterceptorFuncs(interceptor.Funcs{
			Apply: c.apply,
			Get: func(ctx context.Context, w client.WithWatch, key client.ObjectKey, obj client.Object, opts ...client.GetOption) error {
				c.count()
				if err := w.Get(ctx, key, obj, opts...); err != nil {
					return err
				}
				return c.establish(obj)
			},
			Delete: func(ctx context.Context, w client.WithWatch, obj client.Object, opts ...client.DeleteOption) error {
				c.note("delete " + Name(obj))
				return w.Delete(ctx, obj, opts...)
			},
			SubResourcePatch: func(ctx context.Context, w client.Client, sub string, obj client.Object, patch client.Patch, opts ...client.SubResourcePatchOption) error {
				c.count()
				return w.SubResource(sub).Patch(ctx, obj, patch, opts...)
			},
		}).Build()
	return c
}

// establish gives CustomResourceDefinitions whose kind AddKind made known the condition that the API server gives them.
func (c *Cluster) establish(o client.Object) error {
	u, ok := o.(*unstructured.Unstructured)
	if !ok || u.GetKind() != "CustomResourceDefinition" {
		return nil
	}
	group, _, _ := unstructured.NestedString(u.Object, "spec", "group")
	kind, _, _ := unstructured.NestedString(u.Object, "spec", "names", "kind")
	if _, err := c.mapper.RESTMapping(schema.GroupKind{Group: group, Kind: kind}); err != nil {
		return nil //nolint:nilerr // it is not served
	}
	delete(u.Object, "status")
	return unstructured.SetNestedSlice(u.Object, []any{map[string]any{"type": "Established", "status": "True"}}, "status", "conditions")
}

// Name is kind, namespace and name.
func Name(o client.Object) string {
	kind := o.GetObjectKind().GroupVersionKind().Kind
	if o.GetNamespace() == "" {
		return kind + " " + o.GetName()
	}
	return kind + " " + o.GetNamespace() + "/" + o.GetName()
}

// AddKind makes the API server serve a kind.
func (c *Cluster) AddKind(gvk schema.GroupVersionKind, scope meta.RESTScope) {
	c.mapper.Add(gvk, scope)
}

// Log returns the writes so far, and starts anew.
func (c *Cluster) Log() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := c.log
	c.log = nil
	return out
}

// Calls returns the number of requests so far, and starts anew.
func (c *Cluster) Calls() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.calls
	c.calls = 0
	return n
}

func (c *Cluster) count() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.calls++
}

func (c *Cluster) note(line string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.calls++
	c.log = append(c.log, line)
}

// apply answers server-side applies. A dry run is carried out on a copy of the object in a cluster of its own.
func (c *Cluster) apply(ctx context.Context, w client.WithWatch, cfg runtime.ApplyConfiguration, opts ...client.ApplyOption) error {
	var o client.ApplyOptions
	o.ApplyOptions(opts)
	u := toUnstructured(c.t, cfg)
	if c.Refuse != nil {
		if err := c.Refuse(u, len(o.DryRun) > 0); err != nil {
			return err
		}
	}
	if len(o.DryRun) == 0 {
		if c.BeforeWrite != nil {
			c.BeforeWrite(u)
		}
		c.note("apply " + Name(u))
		return w.Apply(ctx, cfg, opts...)
	}
	c.count()
	live := &unstructured.Unstructured{}
	live.SetGroupVersionKind(u.GroupVersionKind())
	builder := fake.NewClientBuilder().WithScheme(c.scheme).WithRESTMapper(c.mapper).WithReturnManagedFields()
	err := w.Get(ctx, client.ObjectKeyFromObject(u), live)
	switch {
	case err == nil:
		builder.WithObjects(live)
	case client.IgnoreNotFound(err) != nil:
		return err
	}
	opts = append(opts, noDryRun{})
	return builder.Build().Apply(ctx, cfg, opts...)
}

type noDryRun struct{}

func (noDryRun) ApplyToApply(o *client.ApplyOptions) { o.DryRun = nil }

func toUnstructured(t *testing.T, cfg runtime.ApplyConfiguration) *unstructured.Unstructured {
	t.Helper()
	data, err := yaml.Marshal(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return Object(t, string(data))
}

// Object reads an object from YAML.
func Object(t *testing.T, text string) *unstructured.Unstructured {
	t.Helper()
	data, err := yaml.YAMLToJSON([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	u := &unstructured.Unstructured{}
	if err := u.UnmarshalJSON(data); err != nil {
		t.Fatal(err)
	}
	return u
}

// Live reads an object, nil if it is not there.
func (c *Cluster) Live(gvk schema.GroupVersionKind, namespace, name string) *unstructured.Unstructured {
	c.t.Helper()
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(gvk)
	err := c.Get(c.t.Context(), client.ObjectKey{Namespace: namespace, Name: name}, u)
	if client.IgnoreNotFound(err) != nil {
		c.t.Fatal(err)
	}
	if err != nil {
		return nil
	}
	return u
}

// As applies an object as another field manager, as people and other controllers do.
func (c *Cluster) As(manager string, o *unstructured.Unstructured) {
	c.t.Helper()
	o = o.DeepCopy()
	if err := c.Apply(c.t.Context(), client.ApplyConfigurationFromUnstructured(o), client.FieldOwner(manager), client.ForceOwnership); err != nil {
		c.t.Fatal(err)
	}
}

// Deployment is the kind of Deployments.
func Deployment() schema.GroupVersionKind {
	return schema.GroupVersionKind{Group: "apps", Version: "v1", Kind: "Deployment"}
}

// Core is a kind of the core group.
func Core(kind string) schema.GroupVersionKind { return corev1.SchemeGroupVersion.WithKind(kind) }

// Meta is the metadata of an object.
func Meta(namespace, name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: namespace, Name: name}
}
