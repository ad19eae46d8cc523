package gateway

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// Controller is the controllerName of GatewayClasses that this gateway serves.
const Controller = "siskin.dev/test-gateway"

// OtherWriter is the field manager of the writer of a Reverted fault.
const OtherWriter = "other-writer"

// Options configure a Gateway.
type Options struct {
	// Config of the API server.
	Config *rest.Config
	// Listen is the address that serves users, and Control the one of the control API ("" none).
	Listen, Control string
	// Clock of faults and conditions. Default: the real one.
	Clock clock.Clock
	// Log receives a line for each error. Default: nothing.
	Log io.Writer

	// client instead of one made from Config.
	client client.WithWatch
}

// Gateway routes HTTP as the HTTPRoutes of an API server say.
type Gateway struct {
	o     Options
	c     client.WithWatch
	clock clock.Clock

	classes   *store[*gatewayv1.GatewayClass]
	gateways  *store[*gatewayv1.Gateway]
	routes    *store[*gatewayv1.HTTPRoute]
	endpoints *clusterEndpoints

	proxy  *proxy
	faults *faults
	door   *door
	poke   chan struct{}
	stages map[client.ObjectKey]*stage
}

// New returns a Gateway that Run starts.
func New(o Options) (*Gateway, error) {
	if o.client == nil {
		c, err := newClient(o.Config)
		if err != nil {
			return nil, err
		}
		o.client = c
	}
	if o.Clock == nil {
		o.Clock = clock.RealClock{}
	}
	if o.Log == nil {
		o.Log = io.Discard
	}
	g := &Gateway{
		o: o, c: o.client, clock: o.Clock,
		classes: newStore[*gatewayv1.GatewayClass](&gatewayv1.GatewayClassList{}), gateways: newStore[*gatewayv1.Gateway](&gatewayv1.GatewayList{}),
		routes: newStore[*gatewayv1.HTTPRoute](&gatewayv1.HTTPRouteList{}),
		endpoints: &clusterEndpoints{
			services: newStore[*corev1.Service](&corev1.ServiceList{}), slices: newStore[*discoveryv1.EndpointSlice](&discoveryv1.EndpointSliceList{}),
		},
		faults: &faults{}, poke: make(chan struct{}, 1), stages: map[client.ObjectKey]*stage{},
	}
	g.proxy = newProxy(g.endpoints)
	g.door = &door{addr: o.Listen, handler: g.proxy, clock: o.Clock}
	return g, nil
}

func newClient(config *rest.Config) (client.WithWatch, error) {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, gatewayv1.Install} {
		if err := add(scheme); err != nil {
			return nil, fmt.Errorf("building the scheme: %w", err)
		}
	}
	c, err := client.NewWithWatch(config, client.Options{Scheme: scheme})
	if err != nil {
		return nil, fmt.Errorf("making a client: %w", err)
	}
	return c, nil
}

// Run serves until ctx ends.
func (g *Gateway) Run(ctx context.Context) error {
	if err := g.door.open(); err != nil {
		return err
	}
	defer g.door.shut()
	if g.o.Control != "" {
		l, err := net.Listen("tcp", g.o.Control)
		if err != nil {
			return fmt.Errorf("listening for the control API: %w", err)
		}
		server := &http.Server{Handler: g.control(ctx), ReadHeaderTimeout: 10 * time.Second}
		defer func() { _ = server.Close() }()
		go func() { _ = server.Serve(l) }()
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { g.classes.follow(ctx, g.c, g.clock, g.changed, g.logf) })
	wg.Go(func() { g.gateways.follow(ctx, g.c, g.clock, g.changed, g.logf) })
	wg.Go(func() { g.routes.follow(ctx, g.c, g.clock, g.changed, g.logf) })
	wg.Go(func() { g.endpoints.services.follow(ctx, g.c, g.clock, g.changed, g.logf) })
	wg.Go(func() { g.endpoints.slices.follow(ctx, g.c, g.clock, g.changed, g.logf) })
	for ctx.Err() == nil {
		wake := g.pass(ctx)
		var timer <-chan time.Time
		if wake > 0 {
			timer = g.clock.After(wake)
		}
		select {
		case <-ctx.Done():
		case <-g.poke:
		case <-timer:
		}
	}
	return nil
}

func (g *Gateway) logf(format string, args ...any) {
	_, _ = fmt.Fprintf(g.o.Log, time.Now().Format("15:04:05.000 ")+format+"\n", args...)
}

// changed asks for another pass.
func (g *Gateway) changed() {
	select {
	case g.poke <- struct{}{}:
	default:
	}
}

func (g *Gateway) ready() bool {
	return g.classes.isSynced() && g.gateways.isSynced() && g.routes.isSynced() && g.endpoints.services.isSynced() && g.endpoints.slices.isSynced()
}

// pass looks at every route once: it programs what is to be programmed, then says what is to be said. It returns when to look again.
func (g *Gateway) pass(ctx context.Context) time.Duration {
	if !g.ready() {
		return again
	}
	routes := g.routes.all()
	slices.SortFunc(routes, func(a, b *gatewayv1.HTTPRoute) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Namespace+"/"+a.Name, b.Namespace+"/"+b.Name))
	})
	wake := time.Duration(0)
	var served []*compiled
	var say []func() error
	seen := map[client.ObjectKey]bool{}
	for _, route := range routes {
		key := client.ObjectKeyFromObject(route)
		seen[key] = true
		if g.stages[key] == nil {
			g.stages[key] = &stage{}
		}
		then, w := g.route(ctx, route, g.stages[key])
		say = append(say, then...)
		wake = sooner(wake, w)
		if p := g.stages[key].programmed; p != nil {
			served = append(served, p)
		}
	}
	for key, st := range g.stages {
		if !seen[key] {
			g.faults.record(Event{At: g.clock.Now(), Route: key.String(), What: "gone", Generation: st.generation})
			delete(g.stages, key)
		}
	}
	g.proxy.table.Store(newTable(served))
	say = append(say, func() error { return g.sayClasses(ctx) })
	for _, f := range say {
		if err := f(); err != nil && ctx.Err() == nil {
			g.logf("%v", err)
			wake = sooner(wake, again)
		}
	}
	return wake
}

func sooner(a, b time.Duration) time.Duration {
	if a == 0 || (b > 0 && b < a) {
		return b
	}
	return a
}

// route moves one route on. What it returns is written after everything is programmed: what is said is so, unless a fault wants
// it otherwise.
func (g *Gateway) route(ctx context.Context, route *gatewayv1.HTTPRoute, st *stage) ([]func() error, time.Duration) {
	parents := g.attach(route)
	if len(parents) == 0 {
		st.programmed = nil // nobody's, or another gateway's
		return nil, 0
	}
	name := route.Namespace + "/" + route.Name
	now, fault := g.clock.Now(), g.faults.of(name)
	st.see(route.Generation, now)
	if st.anchor == nil || fault.Kind != Reverted {
		st.anchor = route.Spec.Rules
	}
	all := verdict{accepted: true, resolved: true}
	for _, a := range parents {
		all = worse(all, a.verdict)
	}
	m := st.next(fault, all, now)
	event := Event{At: now, Route: name, Generation: route.Generation, Weights: weightsOf(route.Spec.Rules)}
	if m.program {
		g.program(route, parents, st, event)
	}
	var then []func() error
	if len(m.say) > 0 {
		then = append(then, func() error { return g.report(ctx, route, parents, st, m, all, event) })
	}
	if fault.Kind == Reverted && fault.Times > 0 && weightsOf(st.anchor) != event.Weights {
		then = append(then, func() error { return g.revert(ctx, route, st.anchor) })
	}
	return then, m.wake
}

// program makes the route carry its traffic.
func (g *Gateway) program(route *gatewayv1.HTTPRoute, parents []attached, st *stage, event Event) {
	var hosts []string
	for _, a := range parents {
		hosts = append(hosts, a.hosts...)
	}
	slices.Sort(hosts)
	c, err := compile(route, slices.Compact(hosts), g.resolver(route.Namespace), st.programmed)
	if err != nil {
		return // judged: not accepted
	}
	st.programmed, event.What = c, "programmed"
	g.faults.record(event)
}

// report writes a route's status.
func (g *Gateway) report(ctx context.Context, route *gatewayv1.HTTPRoute, parents []attached, st *stage, m move, all verdict, event Event) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	err := g.say(ctx, route, parents, func(a attached) []metav1.Condition { return conditionsFor(a, all, m, route.Generation) })
	if err != nil {
		return err
	}
	if st.last != m.what || st.told != route.Generation {
		event.At, event.What = g.clock.Now(), m.what
		g.faults.record(event)
	}
	st.told, st.last = route.Generation, m.what
	return nil
}

// conditionsFor are those of one parent: the move's, unless this parent has a verdict of its own that is worse.
func conditionsFor(a attached, all verdict, m move, generation int64) []metav1.Condition {
	if a.verdict == all || (a.verdict.accepted && a.verdict.resolved) {
		return m.say
	}
	return a.verdict.conditions(generation)
}

// worse joins the verdicts of several parents.
func worse(a, b verdict) verdict {
	switch {
	case !b.accepted && a.accepted:
		return b
	case !b.resolved && a.resolved && a.accepted:
		return b
	}
	return a
}

// revert is the other writer: it puts weights back.
func (g *Gateway) revert(ctx context.Context, route *gatewayv1.HTTPRoute, rules []gatewayv1.HTTPRouteRule) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	var live gatewayv1.HTTPRoute
	if err := g.c.Get(ctx, client.ObjectKeyFromObject(route), &live); err != nil {
		return client.IgnoreNotFound(err) //nolint:wrapcheck // wrapped by the caller
	}
	if live.Generation != route.Generation {
		return nil // seen in the next pass
	}
	live.Spec.Rules = rules
	if err := g.c.Update(ctx, &live, client.FieldOwner(OtherWriter)); err != nil {
		return fmt.Errorf("reverting HTTPRoute %s/%s: %w", route.Namespace, route.Name, err)
	}
	name := route.Namespace + "/" + route.Name
	g.faults.spend(name)
	g.faults.record(Event{At: g.clock.Now(), Route: name, What: "reverted", Generation: live.Generation, Weights: weightsOf(rules)})
	return nil
}
