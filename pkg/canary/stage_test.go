package canary_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	testingclock "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/canary"
	"github.com/siskin-dev/siskin/pkg/canary/act"
	"github.com/siskin-dev/siskin/pkg/canary/canarytest"
	"github.com/siskin-dev/siskin/pkg/canary/observe"
	"github.com/siskin-dev/siskin/pkg/hook"
	"github.com/siskin-dev/siskin/pkg/metrics"
	"github.com/siskin-dev/siskin/pkg/metrics/metricstest"
	"github.com/siskin-dev/siskin/pkg/notifier"
	"github.com/siskin-dev/siskin/pkg/notifier/notifiertest"
	"github.com/siskin-dev/siskin/pkg/router"
	"github.com/siskin-dev/siskin/pkg/router/routertest"
	"github.com/siskin-dev/siskin/pkg/router/service"
)

var (
	noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)
	web  = types.NamespacedName{Namespace: "shop", Name: "web"}
)

func newCanary(edits ...func(*siskinv1.Canary)) *siskinv1.Canary {
	c := &siskinv1.Canary{ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "shop", UID: "canary-uid", Generation: 1}}
	c.Spec.TargetRef = siskinv1.TargetRef{Kind: "Deployment", Name: "web"}
	c.Spec.Service.Port = 80
	c.Spec.Analysis = siskinv1.CanaryAnalysis{
		Interval: "10s", StepWeights: []int32{20, 50},
		Metrics: []siskinv1.CanaryMetric{{Name: "error-rate", Query: "errors", ThresholdRange: &siskinv1.ThresholdRange{Max: new(1.0)}}},
		Alerts:  []siskinv1.CanaryAlert{{Name: "team", ProviderRef: siskinv1.NamespacedRef{Name: "chat"}}},
	}
	for _, edit := range edits {
		edit(c)
	}
	return c
}

func newTarget() *appsv1.Deployment {
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "shop", Labels: map[string]string{"app": "web"}},
		Spec: appsv1.DeploymentSpec{
			Replicas: new(int32(2)), Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "web"}},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "web", Image: "web:1"}}},
			},
		},
	}
}

// recorder keeps events as "Type Reason note".
type recorder struct {
	mu      sync.Mutex
	told    []string
	names   []string // of the events of notices
	failing error    // of those
}

func (r *recorder) Eventf(_, _ runtime.Object, kind, reason, _, note string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.told = append(r.told, kind+" "+reason+" "+fmt.Sprintf(note, args...))
}

// Create takes the events of notices, as the API server does: a name is taken once.
func (r *recorder) Create(_ context.Context, obj client.Object, _ ...client.CreateOption) error {
	e, ok := obj.(*eventsv1.Event)
	if !ok {
		return fmt.Errorf("%T is no event", obj)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.failing; err != nil {
		return err
	}
	if slices.Contains(r.names, e.Name) {
		return apierrors.NewAlreadyExists(eventsv1.Resource("events"), e.Name)
	}
	r.names = append(r.names, e.Name)
	r.told = append(r.told, e.Type+" "+e.Reason+" "+e.Note)
	return nil
}

// take returns the events since the last call.
func (r *recorder) take() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := r.told
	r.told = nil
	return out
}

func reasons(told []string) string {
	var out []string
	for _, e := range told {
		out = append(out, strings.Fields(e)[1])
	}
	return strings.Join(out, " ")
}

// stage is a reconciler, the cluster that it works on, and a clock that only the test moves.
type stage struct {
	*canary.Reconciler

	t       *testing.T
	api     client.WithWatch
	writes  *routertest.Counter // of everything but status
	stored  int                 // writes of status
	failing error               // of the next write of status
	before  func()              // what happens just before the next write of status
	dies    bool                // each write of status is the last thing that the process does
	clock   *testingclock.FakePassiveClock
	router  *routertest.Fake
	metrics *metricstest.Fake
	events  *recorder
	chat    *notifiertest.Fake
	sick    map[string]bool // Deployments whose pods do not become ready
	woken   int
	mu      sync.Mutex
	read    []string // what templates, providers and Secrets were read for them: "namespace/name"
}

// play runs a story in a bubble: synctest.Wait tells when all answers are in.
func play(t *testing.T, c *siskinv1.Canary, story func(*stage)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { story(newStage(t, c)) })
}

func newStage(t *testing.T, c *siskinv1.Canary) *stage {
	t.Helper()
	s := &stage{
		t: t, clock: testingclock.NewFakePassiveClock(noon), metrics: &metricstest.Fake{}, events: &recorder{}, chat: &notifiertest.Fake{},
		router: routertest.NewFake(router.Capabilities{Features: router.Features{}.With(router.Yes, router.FeatureWeights), Ceiling: router.EvidenceAccepted}), sick: map[string]bool{},
	}
	s.metrics.Answer(0.5)
	chat := &siskinv1.AlertProvider{ObjectMeta: metav1.ObjectMeta{Name: "chat", Namespace: "shop"}}
	chat.Spec = siskinv1.AlertProviderSpec{Type: "slack", Address: "http://chat"}
	s.api = canarytest.NewClient(t, c, newTarget(), chat)
	s.writes = &routertest.Counter{Client: interceptor.NewClient(s.api, interceptor.Funcs{SubResourcePatch: s.status})}
	memo := act.NewServiceMemo()
	s.Reconciler = &canary.Reconciler{
		Client: s.writes, Clock: s.clock, Recorder: s.events, Drain: 5 * time.Second, Gauges: canary.NewGauges(prometheus.NewRegistry()),
		Observer: &observe.Observer{
			Client: s.writes, Routers: map[string]router.Router{"fake": s.router}, Default: "fake", ServicesKnown: memo.Known, Clock: s.clock,
			Guard: func(what string) { t.Errorf("a pass has changed %s, which all passes share", what) },
		},
		Actor: &act.Actor{Client: s.writes, Services: service.New(s.writes, s.writes), Memo: memo, Clock: s.clock},
	}
	s.wire(false)
	return s
}

// wire connects metrics, hooks and alerts; strict is --no-cross-namespace-refs.
func (s *stage) wire(strict bool) {
	t := s.t
	reader := interceptor.NewClient(s.api, interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, obj client.Object, opts ...client.GetOption) error {
			s.mu.Lock()
			s.read = append(s.read, key.String())
			s.mu.Unlock()
			return c.Get(ctx, key, obj, opts...)
		},
	})
	pool := canary.NewPool(4, s.wake)
	dispatcher := notifier.NewDispatcher(notifier.DispatcherConfig{
		Providers: reader, Secrets: reader, Registry: notifier.Registry{"slack": s.chat.Constructor}, NoCrossNamespaceRefs: strict,
	})
	s.Asker = &canary.Asker{
		Pool: pool, Secrets: reader, Hooks: hook.NewClient(hook.Options{}),
		Metrics: metrics.NewEvaluator(metrics.EvaluatorConfig{
			Templates: reader, Secrets: reader, MetricsServer: "http://prometheus:9090", NoCrossNamespaceRefs: strict,
			Providers: metrics.NewFactory(metrics.Registry{"prometheus": s.metrics.Constructor}, nil),
		}),
	}
	s.Teller = &canary.Teller{Recorder: s.events, Events: s.events, Wake: s.wake, Dispatcher: dispatcher, Asker: s.Asker, Clock: s.clock}
	s.NoCrossNamespaceRefs = strict
	go func() { _ = pool.Start(t.Context()) }()
	go func() { _ = dispatcher.Start(t.Context()) }()
}

// wake counts answers, which may come at once. It is read when all are in.
func (s *stage) wake(types.NamespacedName) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.woken++
}

// shard makes the controller look after only those Canaries whose labels match.
func (s *stage) shard(t *testing.T, selector string) {
	t.Helper()
	var err error
	if s.Selector, err = labels.Parse(selector); err != nil {
		t.Fatal(err)
	}
}

func (s *stage) status(ctx context.Context, c client.Client, sub string, obj client.Object, p client.Patch, opts ...client.SubResourcePatchOption) error {
	if err := s.failing; err != nil {
		s.failing = nil
		return err
	}
	if before := s.before; before != nil {
		s.before = nil
		before()
	}
	s.stored++
	if err := c.SubResource(sub).Patch(ctx, obj, p, opts...); err != nil || !s.dies {
		return err
	}
	return errKilled
}

// errKilled is what a pass of stage.dies ends with.
var errKilled = errors.New("the process was killed")

// once makes one pass and waits until what it asked is answered.
func (s *stage) once() (reconcile.Result, error) {
	s.t.Helper()
	res, err := s.Reconcile(s.t.Context(), reconcile.Request{NamespacedName: web})
	synctest.Wait()
	return res, err
}

// pass is once that must not fail.
func (s *stage) pass() reconcile.Result {
	s.t.Helper()
	res, err := s.once()
	if err != nil {
		s.t.Fatalf("%v; status: %+v", err, s.canary().Status)
	}
	return res
}

// kubelet makes pods as the Deployments ask, and their endpoints.
func (s *stage) kubelet() {
	s.t.Helper()
	var list appsv1.DeploymentList
	if err := s.api.List(s.t.Context(), &list); err != nil {
		s.t.Fatal(err)
	}
	for i := range list.Items {
		d := &list.Items[i]
		n := *d.Spec.Replicas
		ready := n
		if s.sick[d.Name] {
			ready = 0
		}
		d.Status = appsv1.DeploymentStatus{ObservedGeneration: d.Generation, Replicas: n, UpdatedReplicas: n, AvailableReplicas: ready, ReadyReplicas: ready}
		if err := s.api.Status().Update(s.t.Context(), d); err != nil {
			s.t.Fatal(err)
		}
		s.endpoints(d.Name, ready)
	}
}

func (s *stage) endpoints(service string, n int32) {
	s.t.Helper()
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Name: service, Namespace: "shop", Labels: map[string]string{discoveryv1.LabelServiceName: service}},
		AddressType: discoveryv1.AddressTypeIPv4,
	}
	for i := range n {
		slice.Endpoints = append(slice.Endpoints, discoveryv1.Endpoint{Addresses: []string{fmt.Sprintf("10.0.0.%d", i+1)}})
	}
	_ = s.api.Delete(s.t.Context(), slice.DeepCopy())
	if err := s.api.Create(s.t.Context(), slice); err != nil {
		s.t.Fatal(err)
	}
}

// until makes passes, with pods that come up in between and time that goes on, until the Canary is in a phase and nothing is left
// to do there.
func (s *stage) until(phase siskinv1.Phase) {
	s.t.Helper()
	for range 200 {
		s.kubelet()
		woken := s.woken
		res := s.pass()
		switch {
		case s.canary().Status.Phase == phase && res.RequeueAfter == 0 && s.woken == woken:
			return
		case s.woken > woken:
		case res.RequeueAfter > 0:
			s.rest(res)
		}
	}
	s.t.Fatalf("never %s and quiet: %+v", phase, s.canary().Status)
}

// reach makes passes until the Canary is in a phase.
func (s *stage) reach(phase siskinv1.Phase) {
	s.t.Helper()
	for range 200 {
		if s.canary().Status.Phase == phase {
			return
		}
		s.kubelet()
		woken := s.woken
		if res := s.pass(); s.woken == woken {
			s.rest(res)
		}
	}
	s.t.Fatalf("never %s: %+v", phase, s.canary().Status)
}

// rest sleeps until the next pass, or until the pods have changed, which would be an event.
func (s *stage) rest(res reconcile.Result) { s.sleep(min(res.RequeueAfter, 15*time.Second)) }

func (s *stage) sleep(d time.Duration) { s.clock.SetTime(s.clock.Now().Add(d)) }

func (s *stage) canary() *siskinv1.Canary {
	s.t.Helper()
	var c siskinv1.Canary
	s.get("web", &c)
	return &c
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

// image releases another image, as git would.
func (s *stage) image(name string) {
	s.t.Helper()
	d := s.deployment("web")
	d.Spec.Template.Spec.Containers[0].Image = name
	if d.Annotations == nil {
		d.Annotations = map[string]string{}
	}
	d.Annotations[siskinv1.GitRevisionAnnotation], d.Annotations[siskinv1.GitAuthorAnnotation] = "main@sha1:0123456789abcdef", "Ann"
	if err := s.api.Update(s.t.Context(), d); err != nil {
		s.t.Fatal(err)
	}
}

// edit changes the Canary's spec, as git would.
func (s *stage) edit(change func(*siskinv1.Canary)) {
	s.t.Helper()
	c := s.canary()
	change(c)
	c.Generation++
	if err := s.api.Update(s.t.Context(), c); err != nil {
		s.t.Fatal(err)
	}
}

// quiet forgets what was counted and told so far.
func (s *stage) quiet() {
	s.writes.Writes()
	s.stored = 0
	s.events.take()
}
