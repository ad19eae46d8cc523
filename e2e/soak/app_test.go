package soak

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	"sigs.k8s.io/yaml"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/e2e/fixtures"
	"github.com/siskin-dev/siskin/e2e/gateway"
	"github.com/siskin-dev/siskin/e2e/load"
)

// size of the apps.
const size = 2

// deadline is progressDeadlineSeconds, where no fault is about it: longer than Siskin's caches may be old after the API server was away. While
// they are no check has a verdict, and a check that had no data yet would be taken back.
const deadline = 90

// limit of every wait for Siskin. Faults that meet everybody may come in a row, and a restart of the API server alone takes half a minute.
const limit = 5 * time.Minute

// Two of the apps are more than a Deployment: one reads a ConfigMap, one is sized by a HorizontalPodAutoscaler.
const (
	configuredApp = 1
	scaledApp     = 2
)

// crashAfter is how long a version that crash-loops runs.
const crashAfter = "4s"

// app is one app under release.
type app struct {
	*fixtures.Story

	w        *world
	settings bool   // each version has a ConfigMap of its own
	scaler   string // the line of the Canary that names the autoscaler

	rnd    *rand.Rand
	h      *fixtures.History
	users  *load.Generator
	turns  int
	judged int             // samples
	bad    map[string]bool // versions that may fail
	token  int             // of requests of people

	mu     sync.Mutex
	harmed []Span // times in which the app's users may see errors
}

func newApp(t *testing.T, w *world, i int) *app {
	t.Helper()
	a := &app{w: w, rnd: rand.New(rand.NewPCG(w.seed, uint64(i)+1)), bad: map[string]bool{}}
	a.Story = w.env.Story(t, fixtures.App{
		Name: fmt.Sprintf("app%d", i+1), Replicas: size, ReadyAfter: 1, Gateway: fixtures.TestGateway,
	})
	a.h = a.Follow()
	a.receive()
	switch i {
	case configuredApp:
		a.settings = true
	case scaledApp:
		a.scaler = fmt.Sprintf("autoscalerRef: {kind: HorizontalPodAutoscaler, name: %s}", a.App.Name)
		a.git(a.autoscaler())
	}
	a.deploy(a.App)
	a.git(a.manifest())
	a.Phase(siskinv1.PhaseInitialized, limit)
	a.users = a.Users(rate / apps)
	return a
}

// The hooks of an app. Each kind has one.
const (
	rolloutGate   = "confirm-rollout"
	increaseGate  = "confirm-traffic-increase"
	promotionGate = "confirm-promotion"
	rollbackHook  = "rollback"
	checkHook     = "rollout"
)

// manifest is the app's Canary: two steps of a second and what is asked of a check.
func (a *app) manifest() string {
	var hooks strings.Builder
	for _, kind := range []string{rolloutGate, increaseGate, promotionGate, rollbackHook, checkHook} {
		fmt.Fprintf(&hooks, "\n    - {name: %[1]s, type: %[1]s, url: %[2]q}", kind, a.w.receiver.URL(a.path(kind)))
	}
	return a.App.Canary(`    interval: 1s
    threshold: 1
    stepWeights: [20, 50]
    gateDeadlineSeconds: 600
    metrics:
    - {name: request-success-rate, interval: 10s, thresholdRange: {min: 95}}
    webhooks:`+hooks.String(), fmt.Sprintf("progressDeadlineSeconds: %d", deadline), a.scaler)
}

// autoscaler is the manifest of a HorizontalPodAutoscaler that has no metrics: it never scales, but sees that there are pods enough.
func (a *app) autoscaler() string {
	return fmt.Sprintf(`apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: %[1]s}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: %[1]s}
  minReplicas: %[2]d
  maxReplicas: %[2]d
  metrics: [{type: Resource, resource: {name: cpu, target: {type: AverageValue, averageValue: 100m}}}]
`, a.App.Name, size)
}

// deploy applies what git holds of a version: its ConfigMap under a name of its own, as kustomize generates them, and the Deployment that
// reads it.
func (a *app) deploy(version fixtures.App) {
	a.Helper()
	if a.settings {
		version.EnvFrom = "settings-" + version.Version
		a.git(fmt.Sprintf("{apiVersion: v1, kind: ConfigMap, metadata: {name: %q}, data: {SETTING: %q}}", version.EnvFrom, version.Version))
	}
	a.git(version.Deployment())
}

func (a *app) path(kind string) string { return a.NS + "/" + kind }

func (a *app) answer(kind string, with fixtures.Answer) { a.w.receiver.Set(a.path(kind), with) }

// receive lets all gates agree and the check pass, and nobody ask for a rollback.
func (a *app) receive() {
	for _, kind := range []string{rolloutGate, increaseGate, promotionGate, checkHook} {
		a.answer(kind, fixtures.Yes)
	}
	a.answer(rollbackHook, fixtures.No)
}

// run plays the turns.
func (a *app) run(deals []deal) {
	a.w.busy.Add(1)
	through := sync.OnceFunc(func() { a.w.busy.Add(-1) })
	defer through()
	want := rollouts / apps
	if a.w.length > 0 {
		want = len(deals)
	}
	take(deals, want, func(d deal) (struck, over bool) {
		if a.w.length > 0 && time.Now().After(a.w.until) {
			return false, true
		}
		a.turns++
		struck = a.play(d)
		if a.Failed() {
			a.h.Print(a)
			a.FailNow()
		}
		return struck, false
	})
	// Users of all apps go on until the last one is through: the faults that meet everybody meet them too.
	through()
	err := poll(a.Context(), 10*time.Minute, func(context.Context) string {
		if n := a.w.busy.Load(); n > 0 {
			return fmt.Sprintf("%d apps are still being released", n)
		}
		return ""
	})
	if err != nil {
		a.Error(err)
	}
	a.users.Stop()
	a.judge("the end")
}

// turn is one rollout and what goes wrong in it.
type turn struct {
	*app
	deal

	version, before string // released, and promoted before
	newest          string // that superseded version
	restored        string // that serves after the Canary was deleted and created again
	doomed          bool   // version cannot be promoted
	rollout         int64  // number of the one before
	struck          time.Time
	refusal         string    // of the request that is the fault
	opened          bool      // the moment is held no longer
	asked           time.Time // when the person of the moment asked last
}

// take plays deals until the faults of as many as wanted have struck, or none is left. One that missed its moment counts for nothing.
func take(deals []deal, want int, play func(deal) (struck, over bool)) {
	for _, d := range deals {
		if want == 0 {
			return
		}
		struck, over := play(d)
		if over {
			return
		}
		if struck {
			want--
		}
	}
}

// play releases a version, lets the faults strike, waits for the end and checks it. It returns false if the fault missed its moment.
func (a *app) play(d deal) (struck bool) {
	a.Helper()
	began := time.Now()
	t := &turn{app: a, deal: d, version: fmt.Sprintf("2.%d.0", a.turns), before: a.served()}
	a.write(func(ctx context.Context) error {
		c, err := a.Canary(ctx, a.NS, a.App.Name)
		if err == nil && c.Status.Rollout != nil {
			t.rollout = c.Status.Rollout.ID
		}
		return err
	})
	release := a.App
	release.Version = t.version
	if !d.good {
		release.FailRatio = "0.5"
	}
	t.prepare(&release)
	t.doomed = release.FailRatio != "" || release.Env != nil
	if release.FailRatio != "" || release.Env["CRASH_AFTER_START"] != "" {
		a.bad[t.version] = true
	}
	name := fmt.Sprintf("turn %d: %s %s, good %t", a.turns, d.row.Name, d.moment, d.good)
	if d.extra.Name != "" {
		name += fmt.Sprintf(", and %s after %s", d.extra.Name, d.after.Round(100*time.Millisecond))
	}
	extra := make(chan error, 1)
	go func() { extra <- t.disturb() }()
	a.deploy(release)
	struck = d.moment == Release || t.strike()
	if !struck {
		name += " (missed)"
	}
	outcome := t.finish(name)
	if err := <-extra; err != nil {
		a.Errorf("%s: %v", name, err)
	}
	t.verify(name, outcome)
	a.w.count(func(f *figures) { f.ended(d, outcome, struck) })
	a.Logf("%s: %s after %s", name, outcome, time.Since(began).Round(100*time.Millisecond))
	return struck
}

// finish waits until the rollout has ended in a way that the table allows, and returns how.
func (t *turn) finish(name string) Outcome {
	t.Helper()
	allowed := t.allowed()
	var got Outcome
	err := poll(t.Context(), limit, func(ctx context.Context) string {
		if t.row.Name == "gateway-refuses" {
			t.relent(ctx)
		}
		c, err := t.Canary(ctx, t.NS, t.App.Name)
		if err != nil {
			return err.Error()
		}
		for _, o := range allowed {
			if t.is(o, c) {
				got = o
				return ""
			}
		}
		t.assist(c)
		return fmt.Sprintf("not %v: phase %s, %d %%: %s", allowed, c.Status.Phase, c.Status.CanaryWeight, c.Status.Message)
	})
	if err != nil {
		t.h.Print(t)
		t.Fatalf("%s: %v", name, err)
	}
	if got == AsWithout && t.row.Missable && !t.struck.IsZero() && slices.Contains(t.row.Outcomes[t.moment], TakenBack) && !t.couldNotLook() {
		t.Errorf("%s: the fault passed unseen, and nothing kept Siskin from looking", name)
	}
	t.quiet()
	return got
}

// couldNotLook tells whether something hindered Siskin around the time of the fault.
func (t *turn) couldNotLook() bool {
	for _, s := range t.w.spans(&t.w.hindered) {
		if s.overlaps(t.struck.Add(-time.Second), t.struck.Add(10*time.Second)) {
			return true
		}
	}
	return false
}

// relent ends the refusal when the rollback has begun.
func (t *turn) relent(ctx context.Context) {
	if c, err := t.Canary(ctx, t.NS, t.App.Name); err == nil && c.Status.Phase == siskinv1.PhaseRollingBack {
		_ = t.TestGateway().Clear(ctx, t.Route())
	}
}

// is tells whether the rollout has ended so.
func (t *turn) is(o Outcome, c *siskinv1.Canary) bool {
	st := c.Status
	stable := ""
	if st.Stable != nil {
		_, stable, _ = strings.Cut(st.Stable.Image, ":")
	}
	ended := st.Rollout != nil && st.Rollout.ID > t.rollout
	switch o {
	case AsWithout:
		if t.doomed {
			return t.is(TakenBack, c)
		}
		return ended && st.Phase == siskinv1.PhaseSucceeded && stable == t.version
	case TakenBack:
		back := st.Phase == siskinv1.PhaseFailed || (t.row.Name == "return" && st.Phase == siskinv1.PhaseInitialized)
		return ended && back && stable == t.before
	case Cancelled: // or, if the return came after the promotion, released like any other version
		return ended && stable == t.before && (st.Phase == siskinv1.PhaseCancelled || (st.Phase == siskinv1.PhaseSucceeded && st.Rollout.ID > t.rollout+1))
	case Superseded:
		return ended && st.Phase == siskinv1.PhaseSucceeded && stable == t.newest
	case Restored:
		t.restored = stable
		// What the primary has got while the traffic is given back counts as promoted.
		return st.Phase == siskinv1.PhaseInitialized && (stable == t.before || stable == t.version)
	}
	return false
}

// quiet ends what the turn has set up and waits until the canary is gone.
func (t *turn) quiet() {
	t.Helper()
	t.receive()
	if err := t.TestGateway().Clear(t.Context(), t.Route()); err != nil {
		t.Error(err)
	}
	t.patch(fmt.Sprintf(`{"spec":{"progressDeadlineSeconds":%d,"analysis":{"gateDeadlineSeconds":600,"onFailure":"Rollback","bake":null,"stepWeightPromotion":null}}}`, deadline))
	err := poll(t.Context(), limit, func(ctx context.Context) string {
		var d appsv1.Deployment
		err := t.API.Get(ctx, client.ObjectKey{Namespace: t.NS, Name: t.App.Name + "-canary"}, &d)
		switch {
		case apierrors.IsNotFound(err):
			return ""
		case err != nil:
			return err.Error()
		case fixtures.Replicas(&d) != 0 || d.Status.Replicas != 0:
			return "the canary is still there"
		}
		return ""
	})
	if err != nil {
		t.h.Print(t)
		t.Fatal(err)
	}
}

// verify checks what serves, the laws and the figures.
func (t *turn) verify(name string, o Outcome) {
	t.Helper()
	want := t.before
	switch {
	case o == Superseded:
		want = t.newest
	case o == Restored:
		want = t.restored
	case o == AsWithout && !t.doomed:
		want = t.version
	}
	if got := t.served(); got != want {
		t.Errorf("%s: version %s serves, not %s", name, got, want)
	}
	t.checkpoint(name)
	t.judge(name)
	slowest := slowestRollback(t.h.Changes())
	t.w.count(func(f *figures) { f.slowest = max(f.slowest, slowest) })
}

// checkpoint holds everything seen so far against the laws and the table.
func (a *app) checkpoint(name string) {
	a.Helper()
	laws := Laws{App: a.App.Name, Size: size, Hindered: a.w.spans(&a.w.hindered), Foreign: map[int64]bool{}}
	events, err := a.TestGateway().Events(a.Context(), a.Route())
	if err != nil {
		a.Error(err)
	}
	for _, e := range events {
		if e.What == "reverted" {
			laws.Foreign[e.Generation] = true
		}
	}
	for _, breach := range laws.Check(a.h.Changes()) {
		a.Errorf("%s: %s", name, breach)
	}
}

// judge holds what users saw since the last time against the table.
func (a *app) judge(name string) {
	a.Helper()
	samples := a.users.Samples()
	from := a.judged
	a.judged = len(samples)
	samples = samples[from:]
	a.mu.Lock()
	spans := slices.Clone(a.harmed)
	a.mu.Unlock()
	spans = append(spans, a.w.spans(&a.w.harmed)...)
	var out []string
	a.w.count(func(f *figures) { out = f.judge(samples, a.bad, spans) })
	for i, breach := range out {
		if i == 10 {
			a.Errorf("%s: and %d more", name, len(out)-i)
			break
		}
		a.Errorf("%s: %s", name, breach)
	}
}

// slowestRollback is the longest time from the decision to take a version back until the data plane had confirmed that it has no
// traffic.
func slowestRollback(changes []fixtures.Change) time.Duration {
	var slowest time.Duration
	var since time.Time
	reached := false
	for _, c := range changes {
		switch o := c.Object.(type) {
		case *siskinv1.Canary:
			switch {
			case o.Status.Phase == siskinv1.PhaseRollingBack && since.IsZero() && reached:
				since = c.At
			case o.Status.Phase != siskinv1.PhaseRollingBack:
				since = time.Time{}
			}
		case *gatewayv1.HTTPRoute:
			weight, mirror, accepted := fixtures.Routed(o, "-canary")
			reached = weight > 0 || mirror > 0 || (reached && !accepted)
			if !reached && !since.IsZero() {
				slowest, since = max(slowest, c.At.Sub(since)), time.Time{}
			}
		}
	}
	return slowest
}

// served asks the gateway several times which version answers; more than one are joined by "+".
func (a *app) served() string {
	a.Helper()
	var got string
	err := poll(a.Context(), 20*time.Second, func(ctx context.Context) string {
		versions := map[string]bool{}
		for range 8 {
			req, err := http.NewRequestWithContext(ctx, http.MethodGet, a.Entrance(), nil)
			if err != nil {
				return err.Error()
			}
			req.Host = a.App.Host
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				return err.Error()
			}
			_ = resp.Body.Close()
			versions[resp.Header.Get("X-Version")] = true
		}
		got = strings.Join(keys(versions), "+")
		if len(versions) > 1 || got == "" {
			return "versions " + got
		}
		return ""
	})
	if err != nil {
		a.Error(err)
	}
	return got
}

func keys(m map[string]bool) []string {
	var out []string
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

// git applies a manifest as a GitOps tool would.
func (a *app) git(manifest string) {
	a.Helper()
	obj := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(manifest), &obj.Object); err != nil {
		a.Fatal(err)
	}
	obj.SetNamespace(a.NS)
	data, err := json.Marshal(obj)
	if err != nil {
		a.Fatal(err)
	}
	a.write(func(ctx context.Context) error {
		return a.API.Patch(ctx, obj, client.RawPatch(types.ApplyPatchType, data), client.FieldOwner("git"), client.ForceOwnership)
	})
}

// patch edits the Canary with a JSON merge patch.
func (a *app) patch(body string) {
	a.Helper()
	c := &siskinv1.Canary{}
	c.Namespace, c.Name = a.NS, a.App.Name
	a.write(func(ctx context.Context) error {
		return a.API.Patch(ctx, c, client.RawPatch(types.MergePatchType, []byte(body)), client.FieldOwner("person"))
	})
}

// write writes while the API server can be written to.
func (a *app) write(f func(ctx context.Context) error) {
	a.Helper()
	a.w.api.RLock()
	defer a.w.api.RUnlock()
	ctx, cancel := context.WithTimeout(a.Context(), 20*time.Second)
	defer cancel()
	if err := f(ctx); err != nil {
		a.Fatal(err)
	}
}

// pods of a role.
func (a *app) pods(role string) []corev1.Pod {
	a.Helper()
	var list corev1.PodList
	a.write(func(ctx context.Context) error {
		return a.API.List(ctx, &list, client.InNamespace(a.NS), client.MatchingLabels{siskinv1.RoleLabel: role})
	})
	return list.Items
}

// fault makes the gateway go wrong for the app's route, until the turn ends.
func (a *app) fault(f gateway.Fault) {
	a.Helper()
	if err := a.TestGateway().Set(a.Context(), a.Route(), f); err != nil {
		a.Fatal(err)
	}
}

// excuse allows errors without a version from now until healed says "", and a second longer.
func (a *app) excuse(healed func(ctx context.Context) string) {
	began := time.Now()
	a.mu.Lock()
	i := len(a.harmed)
	a.harmed = append(a.harmed, Span{From: time.Now(), To: time.Now().Add(time.Hour)})
	a.mu.Unlock()
	go func() {
		_ = poll(a.Context(), limit, func(ctx context.Context) string {
			if time.Since(began) < 2*time.Second { // what is known of pods may still be old
				return "too early to tell"
			}
			return healed(ctx)
		})
		a.mu.Lock()
		defer a.mu.Unlock()
		a.harmed[i].To = time.Now().Add(time.Second)
	}()
}
