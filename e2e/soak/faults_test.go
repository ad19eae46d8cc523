package soak

import (
	"context"
	"fmt"
	"maps"
	"net"
	"strings"
	"syscall"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/e2e/cluster"
	"github.com/siskin-dev/siskin/e2e/fixtures"
	"github.com/siskin-dev/siskin/e2e/gateway"
)

// act lets the fault of the turn strike. What lasts ends with it, or with the turn.
func (t *turn) act() {
	t.Helper()
	if do := t.doers()[t.row.Name]; do != nil {
		do()
		return
	}
	t.Fatalf("nobody knows how to do %s", t.row.Name)
}

// doers are all faults by name; those that prepare and disturb do are nil.
func (t *turn) doers() map[string]func() {
	out := map[string]func(){"canary-crash-loops": nil, "canary-never-ready": nil, "gateway-refuses": nil}
	for _, f := range []map[string]func(){t.podFaults(), t.peopleFaults(), t.gatewayFaults()} {
		maps.Copy(out, f)
	}
	for name := range t.disturbances() {
		out[name] = nil
	}
	return out
}

// disturbances are the faults that meet everybody.
func (t *turn) disturbances() map[string]func(context.Context) error {
	return map[string]func(context.Context) error{
		"controller-killed": t.killController, "leader-lost": t.loseLeader, "api-restarted": t.restartAPI,
		"api-slow": t.slowAPI, "api-refusing": t.refuseAPI, "writers": t.otherWriters, "prometheus-down": t.stopPrometheus,
		"gateway-down": t.gatewayDown,
	}
}

func (t *turn) podFaults() map[string]func() {
	return map[string]func(){
		"canary-killed": func() {
			t.excuse(t.canaryHealed)
			t.kill(siskinv1.RoleCanary, 0)
		},
		"canary-pods-lost": func() {
			t.excuse(t.canaryHealed)
			t.lose(siskinv1.RoleCanary)
		},
		"primary-pod-killed": func() {
			t.excuse(func(context.Context) string { return "" })
			t.kill(siskinv1.RolePrimary, 1)
		},
		"primary-pods-lost": func() {
			t.excuse(t.primaryHealed)
			t.lose(siskinv1.RolePrimary)
		},
		"primary-never-ready": func() {}, // the release is the fault
		"primary-turns-bad":   t.turnBad,
	}
}

// turnBad makes all pods of the primary fail half of their requests.
func (t *turn) turnBad() {
	t.Helper()
	t.bad[t.version] = true
	err := poll(t.Context(), 30*time.Second, func(ctx context.Context) string {
		for _, pod := range t.pods(siskinv1.RolePrimary) {
			if pod.DeletionTimestamp != nil {
				continue // of the version before
			}
			if err := t.FailFrom(ctx, &pod, "0.5"); err != nil {
				return err.Error()
			}
		}
		return ""
	})
	if err != nil {
		t.Fatal(err)
	}
}

// kill ends the processes of the pods of a role, of n at most (0: all).
func (t *turn) kill(role string, n int) {
	t.Helper()
	for i, pod := range t.pods(role) {
		if n > 0 && i == n {
			return
		}
		_ = t.KillPod(t.Context(), t.NS, pod.Name, syscall.SIGKILL) // which may be gone already
	}
}

// lose deletes the pods of a role as if their node were gone.
func (t *turn) lose(role string) {
	t.Helper()
	for _, pod := range t.pods(role) {
		t.write(func(ctx context.Context) error {
			return client.IgnoreNotFound(t.API.Delete(ctx, &pod, client.GracePeriodSeconds(0)))
		})
	}
}

// canaryHealed tells that no user meets a canary without a pod any more.
func (t *turn) canaryHealed(ctx context.Context) string {
	var route gatewayv1.HTTPRoute
	if err := t.API.Get(ctx, client.ObjectKey{Namespace: t.NS, Name: t.App.Name}, &route); err != nil {
		return err.Error()
	}
	if w, _, accepted := fixtures.Routed(&route, "-canary"); w == 0 && accepted {
		return ""
	}
	return t.lives(ctx, "-canary")
}

func (t *turn) primaryHealed(ctx context.Context) string { return t.lives(ctx, "-primary") }

// lives tells that all pods of a clone are new enough to be alive, and ready.
func (t *turn) lives(ctx context.Context, suffix string) string {
	var slices discoveryv1.EndpointSliceList
	if err := t.API.List(ctx, &slices, client.InNamespace(t.NS), client.MatchingLabels{discoveryv1.LabelServiceName: t.App.Name + suffix}); err != nil {
		return err.Error()
	}
	n := 0
	for i := range slices.Items {
		n += fixtures.Ready(&slices.Items[i])
	}
	if n < size {
		return fmt.Sprintf("%d of %d pods are ready", n, size)
	}
	return ""
}

func (t *turn) peopleFaults() map[string]func() {
	return map[string]func(){
		"new-revision": func() {
			next := t.App
			t.newest = strings.TrimSuffix(t.version, "0") + "1"
			next.Version = t.newest
			t.deploy(next)
		},
		"return": func() {
			back := t.App
			back.Version = t.before
			if t.moment == Finalising || t.moment == Baking { // of what is promoted by now it is a new one
				t.newest = t.before
			}
			t.deploy(back)
		},
		"edit-service": func() {
			t.patch(fmt.Sprintf(`{"spec":{"service":{"headers":{"response":{"set":{"x-turn":"%d"}}}}}}`, t.turns))
		},
		"edit-steps": func() {
			t.patch(`{"spec":{"analysis":{"stepWeights":` + t.pick("[10,60]", "[20,30,50]", "[50]", "[20,50]") + `}}}`)
		},
		"edit-interval": func() { t.patch(`{"spec":{"analysis":{"interval":"` + t.pick("1s", "2s", "3s") + `"}}}`) },
		"suspend": func() {
			done := t.w.hinder() // its own app alone, but nobody is timed meanwhile
			t.patch(`{"spec":{"suspend":true}}`)
			pause(t.Context(), 4*time.Second)
			t.patch(`{"spec":{"suspend":false}}`)
			done()
		},
		"abort":            func() { t.demand("abort") },
		"rollback":         func() { t.demand("rollback") },
		"promote":          func() { t.demand("promote") },
		"nobody-decides":   func() {},
		"rollback-hook":    func() { t.answer(rollbackHook, fixtures.Yes) },
		"delete-canary":    t.deleteCanary,
		"target-recreated": t.recreateTarget,
		"target-scaled": func() {
			d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: t.NS, Name: t.App.Name}}
			t.merge(d, `{"spec":{"replicas":3}}`)
		},
		"service-edited": func() {
			svc := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: t.NS, Name: t.App.Name}}
			t.merge(svc, fmt.Sprintf(`{"spec":{"selector":{%q:null}}}`, siskinv1.RoleLabel))
		},
		"gate-late": func() {
			t.answer(increaseGate, fixtures.No)
			pause(t.Context(), 4*time.Second)
			t.answer(increaseGate, fixtures.Yes)
		},
		"gate-closed": func() { t.answer(increaseGate, fixtures.No) }, // the others are closed by the moment
	}
}

func (t *turn) pick(options ...string) string { return options[t.rnd.IntN(len(options))] }

// merge edits an object of the app.
func (t *turn) merge(obj client.Object, body string) {
	t.Helper()
	t.write(func(ctx context.Context) error {
		return t.API.Patch(ctx, obj, client.RawPatch(types.MergePatchType, []byte(body)), client.FieldOwner("person"))
	})
}

// deleteCanary deletes the Canary, waits until the target serves alone, and creates it again.
func (t *turn) deleteCanary() {
	t.Helper()
	c := &siskinv1.Canary{ObjectMeta: metav1.ObjectMeta{Namespace: t.NS, Name: t.App.Name}}
	t.write(func(ctx context.Context) error { return t.API.Delete(ctx, c) })
	err := poll(t.Context(), limit, func(ctx context.Context) string {
		err := t.API.Get(ctx, client.ObjectKeyFromObject(c), c)
		if apierrors.IsNotFound(err) {
			return ""
		}
		return fmt.Sprintf("the Canary is still there (%v): %s", err, c.Status.Message)
	})
	if err != nil {
		t.h.Print(t)
		t.Fatal(err)
	}
	t.rollout = 0
	t.git(t.manifest())
}

// recreateTarget deletes the target and, when it is gone, creates it again as it was.
func (t *turn) recreateTarget() {
	t.Helper()
	d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: t.NS, Name: t.App.Name}}
	t.write(func(ctx context.Context) error {
		return t.API.Delete(ctx, d, client.PropagationPolicy(metav1.DeletePropagationBackground))
	})
	pause(t.Context(), time.Duration(t.rnd.Int64N(int64(2*time.Second))))
	same := t.App
	same.Version = t.version
	if !t.good {
		same.FailRatio = "0.5"
	}
	t.deploy(same)
}

func (t *turn) gatewayFaults() map[string]func() {
	briefly := func(f gateway.Fault) {
		t.fault(f)
		pause(t.Context(), 4*time.Second)
		t.fault(gateway.Fault{})
	}
	seconds := func(n int64) time.Duration { return time.Second + time.Duration(t.rnd.Int64N(n*int64(time.Second))) }
	return map[string]func(){
		"gateway-late":            func() { t.fault(gateway.Fault{Kind: gateway.Late, Delay: seconds(3)}) },
		"gateway-unprogrammed":    func() { t.fault(gateway.Fault{Kind: gateway.Unprogrammed, Delay: seconds(2)}) },
		"gateway-refuses-briefly": func() { briefly(gateway.Fault{Kind: gateway.Refused}) },
		"gateway-partial":         func() { briefly(gateway.Fault{Kind: gateway.Partial}) },
		"route-reverted":          func() { t.fault(gateway.Fault{Kind: gateway.Reverted, Times: 1 + t.rnd.IntN(3)}) },
	}
}

// disturb lets the fault that meets everybody strike. One does at a time.
func (t *turn) disturb() error {
	if t.extra.Name == "" {
		return nil
	}
	pause(t.Context(), t.after)
	t.w.disturbance.Lock()
	defer t.w.disturbance.Unlock()
	do, ok := t.disturbances()[t.extra.Name]
	if !ok {
		return fmt.Errorf("nobody knows how to do %s", t.extra.Name)
	}
	if t.extra.Name == "api-restarted" {
		if since := time.Since(t.w.restarted); since < recovered {
			t.Logf("no restart of the API server: the last was %s ago", since.Round(time.Second))
			return nil
		}
		defer func() { t.w.restarted = time.Now() }()
	}
	t.w.count(func(f *figures) { f.faults[t.extra.Name]++ })
	if err := do(t.Context()); err != nil {
		return fmt.Errorf("%s: %w", t.extra.Name, err)
	}
	return nil
}

var lease = client.ObjectKey{Namespace: fixtures.SiskinNamespace, Name: "siskin.dev"}

// leader is the pod that holds the lease.
func (t *turn) leader(ctx context.Context) (name string, err error) {
	err = poll(ctx, time.Minute, func(ctx context.Context) string {
		var l coordinationv1.Lease
		if err := t.API.Get(ctx, lease, &l); err != nil {
			return err.Error()
		}
		if l.Spec.HolderIdentity == nil || *l.Spec.HolderIdentity == "" {
			return "nobody leads"
		}
		name = *l.Spec.HolderIdentity
		return ""
	})
	return name, err
}

// led waits until a leader has renewed the lease since a time.
func (t *turn) led(ctx context.Context, since time.Time) error {
	return poll(ctx, time.Minute, func(ctx context.Context) string {
		var l coordinationv1.Lease
		if err := t.API.Get(ctx, lease, &l); err != nil {
			return err.Error()
		}
		if l.Spec.RenewTime == nil || !l.Spec.RenewTime.After(since) {
			return "nobody leads"
		}
		return ""
	})
}

func (t *turn) killController(ctx context.Context) error {
	defer t.w.hinder()()
	pod, err := t.leader(ctx)
	if err != nil {
		return err
	}
	if err := t.KillPod(ctx, fixtures.SiskinNamespace, pod, syscall.SIGKILL); err != nil {
		return fmt.Errorf("killing %s: %w", pod, err)
	}
	return t.led(ctx, time.Now())
}

func (t *turn) loseLeader(ctx context.Context) error {
	defer t.w.hinder()()
	name, err := t.leader(ctx)
	if err != nil {
		return err
	}
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: fixtures.SiskinNamespace, Name: name}}
	if err := t.API.Delete(ctx, pod, client.GracePeriodSeconds(0)); err != nil {
		return fmt.Errorf("deleting %s: %w", name, err)
	}
	return t.led(ctx, time.Now())
}

func (t *turn) restartAPI(ctx context.Context) error {
	defer t.w.away()()
	t.w.api.Lock()
	defer t.w.api.Unlock()
	if err := t.StopComponent(ctx, "apiserver"); err != nil {
		return fmt.Errorf("stopping: %w", err)
	}
	pause(ctx, time.Second)
	if err := t.StartComponent(ctx, "apiserver"); err != nil {
		return fmt.Errorf("starting: %w", err)
	}
	return t.led(ctx, time.Now())
}

func (t *turn) slowAPI(ctx context.Context) error {
	return t.hamper(ctx, cluster.Trouble{Delay: 100*time.Millisecond + time.Duration(t.luck*float64(200*time.Millisecond))}, 8*time.Second)
}

func (t *turn) refuseAPI(ctx context.Context) error {
	return t.hamper(ctx, cluster.Trouble{Refuse: true}, 3*time.Second+time.Duration(t.luck*float64(9*time.Second)))
}

func (t *turn) hamper(ctx context.Context, trouble cluster.Trouble, d time.Duration) error {
	defer t.w.away()()
	if err := t.HamperAPI(ctx, trouble); err != nil {
		return fmt.Errorf("hampering: %w", err)
	}
	pause(ctx, d)
	if err := t.HamperAPI(ctx, cluster.Trouble{}); err != nil {
		return fmt.Errorf("ending it: %w", err)
	}
	return t.led(ctx, time.Now())
}

// otherWriters writes to what Siskin writes to, so that its versions are always old ones. What is written means nothing.
func (t *turn) otherWriters(ctx context.Context) error {
	key := func(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Namespace: t.NS, Name: name} }
	name := t.App.Name
	objects := []client.Object{
		&siskinv1.Canary{ObjectMeta: key(name)}, &appsv1.Deployment{ObjectMeta: key(name)}, &appsv1.Deployment{ObjectMeta: key(name + "-primary")},
		&appsv1.Deployment{ObjectMeta: key(name + "-canary")}, &gatewayv1.HTTPRoute{ObjectMeta: key(name)}, &corev1.Service{ObjectMeta: key(name + "-canary")},
	}
	for i := range 50 {
		body := fmt.Sprintf(`{"metadata":{"annotations":{"example.org/note":"%d"}}}`, i)
		for _, obj := range objects {
			err := t.API.Patch(ctx, obj, client.RawPatch(types.MergePatchType, []byte(body)), client.FieldOwner("other"))
			if client.IgnoreNotFound(err) != nil && !apierrors.IsConflict(err) {
				return fmt.Errorf("writing: %w", err)
			}
		}
		pause(ctx, 100*time.Millisecond)
	}
	return nil
}

func (t *turn) stopPrometheus(ctx context.Context) error {
	if err := t.StopComponent(ctx, "prometheus"); err != nil {
		return fmt.Errorf("stopping: %w", err)
	}
	pause(ctx, 6*time.Second)
	if err := t.StartComponent(ctx, "prometheus"); err != nil {
		return fmt.Errorf("starting: %w", err)
	}
	return nil
}

func (t *turn) gatewayDown(ctx context.Context) error {
	defer t.w.harm()()
	if err := t.TestGateway().Down(ctx, 2*time.Second); err != nil {
		return err
	}
	pause(ctx, 2*time.Second)
	return poll(ctx, 10*time.Second, func(ctx context.Context) string {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", t.ForwardAddr("test-gateway"))
		if err != nil {
			return err.Error()
		}
		_ = conn.Close()
		return ""
	})
}
