package act_test

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/canary/act"
	"github.com/siskin-dev/siskin/pkg/canary/canarytest"
	"github.com/siskin-dev/siskin/pkg/canary/observe"
	"github.com/siskin-dev/siskin/pkg/canary/plan"
	"github.com/siskin-dev/siskin/pkg/canary/target"
	"github.com/siskin-dev/siskin/pkg/router"
	"github.com/siskin-dev/siskin/pkg/router/routertest"
	"github.com/siskin-dev/siskin/pkg/router/service"
)

func canary(edits ...func(*siskinv1.Canary)) *siskinv1.Canary {
	c := &siskinv1.Canary{ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "shop", UID: "canary-uid", Finalizers: []string{siskinv1.Finalizer}}}
	c.Spec.TargetRef = siskinv1.TargetRef{Kind: "Deployment", Name: "web"}
	c.Spec.Service.Port = 80
	for _, edit := range edits {
		edit(c)
	}
	return c
}

func deployment(image string, edits ...func(*appsv1.Deployment)) *appsv1.Deployment {
	d := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "shop", UID: "web-uid", Labels: map[string]string{"app": "web"}},
		Spec: appsv1.DeploymentSpec{
			Replicas: new(int32(3)), Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "web"}},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "web", Image: image}}},
			},
		},
	}
	for _, edit := range edits {
		edit(d)
	}
	return d
}

// patch is one write as it was sent.
type patch struct {
	kind string
	body map[string]any
}

// stage is an Actor and the cluster that it acts on.
type stage struct {
	*act.Actor

	t       *testing.T
	api     client.Client
	counter *routertest.Counter
	router  *routertest.Fake
	canary  *siskinv1.Canary
	patches []patch
	refuse  func(obj client.Object) error // makes writes of an object fail
	tried   []client.Object               // patches that were refused
	merge   func(body []byte) error       // makes server-side applies of what cannot be merged fail
	tracker *observe.ConfigTracker
}

func newStage(t *testing.T, c *siskinv1.Canary, objs ...client.Object) *stage {
	t.Helper()
	s := &stage{t: t, router: routertest.NewFake(router.Capabilities{Features: router.Features{}.With(router.Yes, router.FeatureWeights), Ceiling: router.EvidenceAccepted})}
	base := canarytest.NewClient(t, append(objs, c)...)
	s.api = base
	s.counter = &routertest.Counter{Client: interceptor.NewClient(base, interceptor.Funcs{
		Create: func(ctx context.Context, c client.WithWatch, obj client.Object, opts ...client.CreateOption) error {
			if s.refuse != nil && s.refuse(obj) != nil {
				return s.refuse(obj)
			}
			return c.Create(ctx, obj, opts...)
		},
		Patch: func(ctx context.Context, c client.WithWatch, obj client.Object, p client.Patch, opts ...client.PatchOption) error {
			if s.refuse != nil {
				if err := s.refuse(obj); err != nil {
					s.tried = append(s.tried, obj)
					return err
				}
			}
			s.record(obj, p)
			if data, err := p.Data(obj); s.merge != nil && p.Type() == types.ApplyPatchType && err == nil && s.merge(data) != nil {
				return s.merge(data)
			}
			return c.Patch(ctx, obj, p, opts...)
		},
	})}
	s.Actor = &act.Actor{Client: s.counter, Services: service.New(s.counter, s.counter), Memo: act.NewServiceMemo(), ServerVersion: "v9", Live: s.counter, Routers: []router.Router{s.router}}
	s.canary = &siskinv1.Canary{}
	s.get(c.Name, s.canary)
	return s
}

func (s *stage) record(obj client.Object, p client.Patch) {
	data, err := p.Data(obj)
	if err != nil {
		s.t.Error(err)
		return
	}
	sent := patch{kind: fmt.Sprintf("%T", obj)}
	if err := json.Unmarshal(data, &sent.body); err != nil {
		s.t.Error(err)
	}
	s.patches = append(s.patches, sent)
}

func (s *stage) get(name string, obj client.Object) {
	s.t.Helper()
	if err := s.api.Get(s.t.Context(), client.ObjectKey{Namespace: "shop", Name: name}, obj); err != nil {
		s.t.Fatal(err)
	}
}

func (s *stage) deployment(name string) *appsv1.Deployment {
	s.t.Helper()
	var d appsv1.Deployment
	s.get(name, &d)
	return &d
}

func (s *stage) service(name string) *corev1.Service {
	s.t.Helper()
	var svc corev1.Service
	s.get(name, &svc)
	return &svc
}

func (s *stage) snapshots() []string {
	s.t.Helper()
	var list appsv1.ControllerRevisionList
	if err := s.api.List(s.t.Context(), &list); err != nil {
		s.t.Fatal(err)
	}
	var names []string
	for i := range list.Items {
		names = append(names, list.Items[i].Name)
	}
	return names
}

// world is what is observed now.
func (s *stage) world() *observe.World {
	s.t.Helper()
	o := &observe.Observer{Client: s.api, Routers: map[string]router.Router{"fake": s.router}, Default: "fake", Config: s.tracker}
	w, err := o.World(s.t.Context(), s.canary, s.router, s.router.Capabilities(s.t.Context(), s.canary))
	if err != nil {
		s.t.Fatal(err)
	}
	return w
}

// snapshotOf is what the plan sees of a world.
func (s *stage) snapshotOf(w *observe.World) plan.Snapshot {
	s.t.Helper()
	o := &observe.Observer{}
	return o.Snapshot(w, plan.Spec{}, w.Canary.CreationTimestamp.Time, w.Canary.CreationTimestamp.Time)
}

// do carries effects out on what is observed now.
func (s *stage) do(effects ...plan.Effect) error {
	s.t.Helper()
	_, err := s.Run(s.t.Context(), s.world(), effects)
	return err
}

func (s *stage) must(effects ...plan.Effect) {
	s.t.Helper()
	if err := s.do(effects...); err != nil {
		s.t.Fatal(err)
	}
}

// revision is the name of the target's present content.
func (s *stage) revision() string {
	s.t.Helper()
	return s.world().RevisionName
}

// stored is a snapshot of d's content.
func stored(t *testing.T, name string, number int64, d *appsv1.Deployment) *appsv1.ControllerRevision {
	t.Helper()
	cr, err := target.Snapshot(canary(), name, number, target.From(d))
	if err != nil {
		t.Fatal(err)
	}
	return cr
}

// cloned is the clone of a revision, for a Canary of a Deployment.
func cloned(c *siskinv1.Canary, role, name string, r target.Revision, replicas int32) *appsv1.Deployment {
	obj, err := target.Clone(c, role, name, r, replicas)
	if err != nil {
		panic(err)
	}
	return obj.(*appsv1.Deployment)
}
