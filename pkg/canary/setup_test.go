package canary

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/event"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/canary/act"
	"github.com/siskin-dev/siskin/pkg/canary/canarytest"
	"github.com/siskin-dev/siskin/pkg/canary/observe"
	"github.com/siskin-dev/siskin/pkg/canary/plan"
	"github.com/siskin-dev/siskin/pkg/canary/target"
	"github.com/siskin-dev/siskin/pkg/hook"
	"github.com/siskin-dev/siskin/pkg/router"
	"github.com/siskin-dev/siskin/pkg/router/routertest"
	"github.com/siskin-dev/siskin/pkg/router/service"
)

func TestWhoseDeploymentItIs(t *testing.T) {
	owned := func(role string) map[string]string {
		return map[string]string{siskinv1.CanaryLabel: "web", siskinv1.RoleLabel: role}
	}
	for name, tc := range map[string]struct {
		reason string
		labels map[string]string
		want   string
	}{
		"web":              {"a target is its own", nil, "web"},
		"web-primary":      {"a clone belongs to its target", owned("primary"), "web"},
		"web-canary":       {"a clone belongs to its target", owned("canary"), "web"},
		"my-canary":        {"a target may have such a name", nil, "my-canary"},
		"my-canary-canary": {"only one suffix is Siskin's", owned("canary"), "my-canary"},
		"half-primary":     {"a role alone makes no clone", map[string]string{siskinv1.RoleLabel: "primary"}, "half-primary"},
	} {
		if got := targetOf(&appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: tc.labels}}); got != tc.want {
			t.Errorf("%s: %s: %s, want %s", name, tc.reason, got, tc.want)
		}
	}
}

func TestWhichChangesOfADeploymentWake(t *testing.T) {
	for name, tc := range map[string]struct {
		reason string
		edit   func(*appsv1.Deployment)
		want   bool
	}{
		"nothing":    {"a resync", func(*appsv1.Deployment) {}, false},
		"spec":       {"a new revision, perhaps", func(d *appsv1.Deployment) { d.Generation++ }, true},
		"annotation": {"the record of replicas, perhaps", func(d *appsv1.Deployment) { d.Annotations = map[string]string{"a": "b"} }, true},
		"label":      {"the primary gets it", func(d *appsv1.Deployment) { d.Labels = map[string]string{"a": "b"} }, true},
		"available":  {"a pod became ready", func(d *appsv1.Deployment) { d.Status.AvailableReplicas++ }, true},
		"updated":    {"a pod was replaced", func(d *appsv1.Deployment) { d.Status.UpdatedReplicas++ }, true},
		"pods":       {"a pod is gone", func(d *appsv1.Deployment) { d.Status.Replicas++ }, true},
		"ready":      {"available is what counts", func(d *appsv1.Deployment) { d.Status.ReadyReplicas++ }, false},
		"observed":   {"the counts are of the present template", func(d *appsv1.Deployment) { d.Status.ObservedGeneration++ }, true},
		"deletion":   {"it goes", func(d *appsv1.Deployment) { d.DeletionTimestamp = new(metav1.Now()) }, true},
		"progress": {"its controller talks a lot", func(d *appsv1.Deployment) {
			d.Status.Conditions = []appsv1.DeploymentCondition{{Type: appsv1.DeploymentProgressing, Reason: "ReplicaSetUpdated", Message: "x"}}
		}, false},
		"gave up": {"the rollout may end", func(d *appsv1.Deployment) {
			d.Status.Conditions = []appsv1.DeploymentCondition{{Type: appsv1.DeploymentProgressing, Reason: "ProgressDeadlineExceeded"}}
		}, true},
		"quota": {"people want to read it", func(d *appsv1.Deployment) {
			d.Status.Conditions = []appsv1.DeploymentCondition{{Type: appsv1.DeploymentReplicaFailure, Status: corev1.ConditionTrue, Message: "quota"}}
		}, true},
	} {
		was := &appsv1.Deployment{}
		is := was.DeepCopy()
		tc.edit(is)
		e := event.UpdateEvent{ObjectOld: was, ObjectNew: is}
		if got := edited().Update(e) || counted().Update(e); got != tc.want {
			t.Errorf("%s: %s: wakes %t", name, tc.reason, got)
		}
		// Only what is counted is gathered for longer: a person's edit is looked at as soon as possible.
		if status := is.Generation == was.Generation && is.Annotations == nil && is.Labels == nil && is.DeletionTimestamp == nil; status == edited().Update(e) {
			t.Errorf("%s: %s: looked at at once %t", name, tc.reason, !status)
		}
	}
	if !edited().Create(event.CreateEvent{Object: &appsv1.Deployment{}}) || !edited().Update(event.UpdateEvent{ObjectOld: &siskinv1.Canary{}, ObjectNew: &siskinv1.Canary{}}) {
		t.Error("what is not an update of a Deployment passes")
	}
	if counted().Create(event.CreateEvent{Object: &appsv1.Deployment{}}) || counted().Delete(event.DeleteEvent{Object: &appsv1.Deployment{}}) {
		t.Error("a Deployment that comes or goes is counted as well as edited: it is looked at twice")
	}
}

func TestFinalizersAndDeletionsWake(t *testing.T) {
	plain := &siskinv1.Canary{}
	kept := &siskinv1.Canary{ObjectMeta: metav1.ObjectMeta{Finalizers: []string{siskinv1.Finalizer}}}
	going := kept.DeepCopy()
	going.DeletionTimestamp = new(metav1.Now())
	for name, tc := range map[string]struct {
		was, is *siskinv1.Canary
		want    bool
	}{"finalizer": {plain, kept, true}, "deletion": {kept, going, true}, "status": {kept, kept, false}} {
		if got := finalized().Update(event.UpdateEvent{ObjectOld: tc.was, ObjectNew: tc.is}); got != tc.want {
			t.Errorf("%s: wakes %t", name, got)
		}
	}
}

func TestMutedHooks(t *testing.T) {
	c := &siskinv1.Canary{}
	c.Spec.Analysis.Webhooks = []siskinv1.CanaryWebhook{{Name: "quiet", MuteAlert: true}, {Name: "loud"}}
	about := func(kind, name string, s plan.Severity) plan.Notice {
		return plan.Notice{Severity: s, Result: &plan.Result{Kind: kind, Name: name}}
	}
	for name, tc := range map[string]struct {
		reason string
		n      plan.Notice
		want   bool
	}{
		"muted":          {"its owner asked for it", about("webhook", "quiet", plan.Warning), true},
		"not muted":      {"people want to know", about("webhook", "loud", plan.Warning), false},
		"a rollback":     {"that is never kept from people", about("webhook", "quiet", plan.Error), false},
		"a metric":       {"of the same name", about("metric", "quiet", plan.Warning), false},
		"no hook at all": {"nothing to mute", plan.Notice{Severity: plan.Info}, false},
		"gone":           {"it is not in the spec any more", about("webhook", "gone", plan.Warning), false},
	} {
		if got := muted(c, tc.n); got != tc.want {
			t.Errorf("%s: %s: muted %t", name, tc.reason, got)
		}
	}
}

func TestHookDeadlines(t *testing.T) {
	for name, tc := range map[string]struct {
		hook siskinv1.CanaryWebhook
		want time.Duration
	}{
		"default": {siskinv1.CanaryWebhook{}, 10 * time.Second},
		"timeout": {siskinv1.CanaryWebhook{Timeout: "1m"}, time.Minute},
		"broken":  {siskinv1.CanaryWebhook{Timeout: "-1s"}, 10 * time.Second},
		"retries": {siskinv1.CanaryWebhook{Timeout: "5s", Retries: 2}, 3*5*time.Second + 2*30*time.Second},
	} {
		if got := hookDeadline(tc.hook); got != tc.want {
			t.Errorf("%s: %s, want %s", name, got, tc.want)
		}
	}
}

func TestAnswersOfHooks(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/no" {
			http.Error(w, "not today", http.StatusForbidden)
		}
	}))
	defer server.Close()
	c := &siskinv1.Canary{ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "shop"}}
	empty := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "empty", Namespace: "shop"}}
	secrets := interceptor.NewClient(canarytest.NewClient(t, empty), interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, obj client.Object, opts ...client.GetOption) error {
			switch key.Name {
			case "late":
				return errors.New("etcdserver: request timed out")
			case "secret":
				return apierrors.NewForbidden(schema.GroupResource{Resource: "secrets"}, key.Name, nil)
			}
			return c.Get(ctx, key, obj, opts...)
		},
	})
	a := &Asker{Hooks: hook.NewClient(hook.Options{}), Secrets: secrets}
	with := func(secret string) siskinv1.CanaryWebhook {
		return siskinv1.CanaryWebhook{URL: server.URL, SecretRef: &siskinv1.SecretRef{Name: secret}}
	}
	for name, tc := range map[string]struct {
		reason  string
		hook    siskinv1.CanaryWebhook
		verdict plan.Verdict
		invalid bool
	}{
		"yes":       {"any 2xx agrees", siskinv1.CanaryWebhook{URL: server.URL}, plan.Pass, false},
		"no":        {"any other answer does not", siskinv1.CanaryWebhook{URL: server.URL + "/no"}, plan.Fail, false},
		"late":      {"it was not called: nobody said no", with("late"), plan.Inconclusive, false},
		"no secret": {"a person must create it", with("gone"), plan.Inconclusive, true},
		"no key":    {"a person must put it in", with("empty"), plan.Inconclusive, true},
		"no right":  {"a person must grant it", with("secret"), plan.Inconclusive, true},
		"no time":   {"a person must correct it", siskinv1.CanaryWebhook{URL: server.URL, Timeout: "soon"}, plan.Inconclusive, true},
	} {
		tc.hook.Name = "gate"
		got := a.hook(t.Context(), c, tc.hook, "r1/web-2/s1/a1/rollout/gate")
		if got.Verdict != tc.verdict || got.Invalid != tc.invalid || (got.Verdict == plan.Pass) != (got.Message == "") {
			t.Errorf("%s: %s: %+v", name, tc.reason, got)
		}
	}
}

func TestEventHooksAreTold(t *testing.T) {
	bodies := make(chan string, 4)
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		b := new(strings.Builder)
		_ = r.Write(b)
		bodies <- b.String()
	}))
	defer server.Close()
	c := &siskinv1.Canary{ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "shop"}}
	c.Spec.Analysis.Webhooks = []siskinv1.CanaryWebhook{{Name: "gate", URL: server.URL}, {Name: "log", Type: siskinv1.HookEvent, URL: server.URL}}
	pool := NewPool(2, func(types.NamespacedName) {})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); _ = pool.Start(ctx) }()
	a := &Asker{Pool: pool, Hooks: hook.NewClient(hook.Options{}), Secrets: canarytest.NewClient(t)}
	teller := &Teller{Asker: a, Clock: clock.RealClock{}, Events: canarytest.NewClient(t)}
	z := plan.State{Untold: []plan.Notice{{Number: 4, Rollout: 2, Revision: "web-2", Reason: "Promoted", Severity: plan.Info, Message: "promoted"}}}
	teller.notices(c, z, nil, func(string) siskinv1.RevisionStatus { return siskinv1.RevisionStatus{} })
	if body := <-bodies; !strings.Contains(body, "promoted") || !strings.Contains(body, "Idempotency-Key: /event/log/r2/web-2/Promoted/n4\r\n") {
		t.Errorf("told %s", body)
	}
	cancel()
	<-done
	if len(bodies) != 0 {
		t.Error("only event hooks are told events")
	}
}

func TestAQuestionThatIsNotInTheSpecAnyMore(t *testing.T) {
	w := &observe.World{Canary: &siskinv1.Canary{}}
	asker := &Asker{Pool: NewPool(1, func(types.NamespacedName) {})}
	for _, kind := range []plan.QuestionKind{plan.AskHook, plan.AskMetric} {
		got, done := asker.ask(types.NamespacedName{}, w, &plan.Snapshot{}, plan.Question{Kind: kind, Name: "gone"}, "k")
		if !done || got.Verdict != plan.Inconclusive || !strings.Contains(got.Message, "not in the spec") {
			t.Errorf("%s: %+v, %t: it must neither pass nor wait for ever", kind, got, done)
		}
	}
}

func TestAPanicIsAnAnswer(t *testing.T) {
	woken := make(chan struct{}, 1)
	pool := NewPool(1, func(types.NamespacedName) { woken <- struct{}{} })
	go func() { _ = pool.Start(t.Context()) }()
	ask := func() (plan.Answer, bool) {
		return pool.Ask(types.NamespacedName{Name: "web"}, "k", time.Minute, func(context.Context) plan.Answer { panic("oh") })
	}
	ask()
	<-woken
	if got, done := ask(); !done || got.Verdict != plan.Inconclusive || !strings.Contains(got.Message, "oh") {
		t.Errorf("%+v, %t", got, done)
	}
}

func TestNormalizerAsksForADryRun(t *testing.T) {
	live := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "shop"}}
	live.Spec.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}}
	live.Spec.Template.Labels = map[string]string{"app": "web", "v": "2"}
	c := canarytest.NewClient(t, live.DeepCopy())
	if err := c.Get(t.Context(), types.NamespacedName{Namespace: "shop", Name: "web"}, live); err != nil {
		t.Fatal(err)
	}
	stored := target.From(live)
	stored.Template.Labels = map[string]string{"app": "web", "v": "1"}
	before := live.DeepCopy()
	got, err := Normalizer(c)(t.Context(), live, stored)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(stored.Template.Labels, got.Template.Labels); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	after := &appsv1.Deployment{}
	if err := c.Get(t.Context(), types.NamespacedName{Namespace: "shop", Name: "web"}, after); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, live) + cmp.Diff(before.Spec, after.Spec); diff != "" {
		t.Errorf("the target was changed:\n%s", diff)
	}
	broken := &routertest.Counter{Client: c}
	broken.Fail(errors.New("boom"))
	if _, err := Normalizer(broken)(t.Context(), live, stored); err == nil || !strings.Contains(err.Error(), "web would be written") {
		t.Errorf("error %v", err)
	}
}

// TestUsersServicesWake : a Service that comes, goes or changes its selector may feed the canary's pods behind the router's back.
func TestUsersServicesWake(t *testing.T) {
	svc := func(selector, annotation, owner string) *corev1.Service {
		s := &corev1.Service{}
		s.Spec.Selector = map[string]string{"app": selector}
		s.Annotations = map[string]string{siskinv1.ServingAnnotation: annotation}
		if owner != "" {
			s.Labels = map[string]string{siskinv1.CanaryLabel: owner}
		}
		return s
	}
	p := foreign()
	for name, tc := range map[string]struct {
		was, is *corev1.Service
		want    bool
	}{
		"selector":   {svc("web", "primary", ""), svc("shop", "primary", ""), true},
		"annotation": {svc("web", "primary", ""), svc("web", "", ""), true},
		"the same":   {svc("web", "primary", ""), svc("web", "primary", ""), false},
		"our own":    {svc("web", "primary", "web"), svc("shop", "primary", "web"), false},
	} {
		if got := p.Update(event.UpdateEvent{ObjectOld: tc.was, ObjectNew: tc.is}); got != tc.want {
			t.Errorf("%s: %t", name, got)
		}
	}
	if user, own := svc("web", "", ""), svc("web", "", "web"); !p.Create(event.CreateEvent{Object: user}) || p.Create(event.CreateEvent{Object: own}) ||
		!p.Delete(event.DeleteEvent{Object: user}) || p.Delete(event.DeleteEvent{Object: own}) {
		t.Error("the users' Services that come and go count, ours do not")
	}
}

// TestWorkloadsBehindAdoptedServicesWake : one that comes, also without pods, would have no traffic from a Service that Siskin narrowed.
func TestWorkloadsBehindAdoptedServicesWake(t *testing.T) {
	workload := func(tier, owner string) *appsv1.Deployment {
		d := &appsv1.Deployment{}
		d.Namespace, d.Name, d.Spec.Template.Labels = "shop", "admin", map[string]string{"tier": tier}
		if owner != "" {
			d.Labels = map[string]string{siskinv1.CanaryLabel: owner}
		}
		return d
	}
	p, scaled := peopled(), workload("front", "")
	scaled.Spec.Replicas, scaled.Status.Replicas, scaled.Generation = new(int32(3)), 3, 2
	for name, tc := range map[string]struct {
		passes, want bool
	}{
		"create":    {p.Create(event.CreateEvent{Object: workload("front", "")}), true},
		"the start": {p.Create(event.CreateEvent{Object: workload("front", ""), IsInInitialList: true}), false},
		"a clone":   {p.Create(event.CreateEvent{Object: workload("front", "web")}), false},
		"labels":    {p.Update(event.UpdateEvent{ObjectOld: workload("back", ""), ObjectNew: workload("front", "")}), true},
		"status":    {p.Update(event.UpdateEvent{ObjectOld: workload("front", ""), ObjectNew: scaled}), false},
		"delete":    {p.Delete(event.DeleteEvent{Object: workload("front", "")}), true},
	} {
		if tc.passes != tc.want {
			t.Errorf("%s: %t", name, tc.passes)
		}
	}

	canary := func(name string) *siskinv1.Canary {
		return &siskinv1.Canary{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "shop"}}
	}
	adopted := &corev1.Service{ObjectMeta: metav1.ObjectMeta{
		Name: "front", Namespace: "shop", Annotations: map[string]string{siskinv1.ServingAnnotation: "primary", service.HolderAnnotation: "web"},
	}}
	adopted.Spec.Selector = map[string]string{"tier": "front", siskinv1.RoleLabel: "primary"}
	free := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "free", Namespace: "shop"}}
	free.Spec.Selector = map[string]string{"tier": "back"}
	r := &Reconciler{Client: routertest.NewClient(t, adopted, free, canary("web"), canary("other")), Actor: &act.Actor{Memo: act.NewServiceMemo()}}
	if got := r.holders(t.Context(), workload("front", "")); len(got) != 1 || got[0].Name != "web" {
		t.Errorf("woken: %v", got)
	}
	if got := r.holders(t.Context(), workload("back", "")); len(got) != 0 {
		t.Errorf("nobody has adopted it: %v", got)
	}
}

func TestOneErrorThatPassesIsTriedAgain(t *testing.T) {
	edit, passing := &router.InvalidError{Field: "spec.service.port"}, errors.New("boom")
	for _, tc := range []struct {
		err  error
		want bool
	}{{edit, true}, {errors.Join(edit, edit), true}, {errors.Join(edit, passing), false}, {passing, false}} {
		if onlyInvalid(tc.err) != tc.want {
			t.Errorf("%v: %t", tc.err, !tc.want)
		}
	}
}

func TestACanaryThatIsGoneIsForgotten(t *testing.T) {
	r := &Reconciler{
		Actor: &act.Actor{Memo: act.NewServiceMemo()}, Observer: &observe.Observer{}, Teller: &Teller{Clock: clock.RealClock{}},
		since: map[types.UID]watch{"u": {}},
	}
	r.problems.Store(types.UID("u"), errors.New("boom"))
	c := &siskinv1.Canary{ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "shop", UID: "u"}}
	r.Teller.textDue("u", time.Unix(1, 0), time.Time{})
	r.Teller.news("u", "ActionFailed", "boom")
	r.Teller.begin(c, plan.Notice{Number: 1}, false)
	r.drop("u")
	_, problem := r.problems.Load(types.UID("u"))
	if n := len(r.since) + len(r.Teller.texts) + len(r.Teller.said) + len(r.Teller.tellings); n != 0 || problem {
		t.Errorf("%d notes are left", n)
	}
}

// TestACanaryThatWentWithoutItsFinalizerIsForgotten : only its name is known then, or another Canary has it.
func TestACanaryThatWentWithoutItsFinalizerIsForgotten(t *testing.T) {
	who := types.NamespacedName{Namespace: "shop", Name: "web"}
	at := func(uid types.UID) *siskinv1.Canary {
		return &siskinv1.Canary{ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "shop", UID: uid}}
	}
	for name, goes := range map[string]func(*Reconciler){
		"nobody has the name":      func(r *Reconciler) { r.vanished(who) },
		"another one has the name": func(r *Reconciler) { r.meet(at("v")) },
	} {
		t.Run(name, func(t *testing.T) {
			r := &Reconciler{
				Actor: &act.Actor{Memo: act.NewServiceMemo()}, Observer: &observe.Observer{}, Teller: &Teller{Clock: clock.RealClock{}},
				Asker: &Asker{Pool: NewPool(1, nil)},
			}
			c := at("u")
			r.meet(c)
			r.watchedSince(c, time.Unix(1, 0))
			r.problems.Store(c.UID, errors.New("boom"))
			r.wakes.Store(who, time.Second)
			r.Teller.news(c.UID, "ActionFailed", "boom")
			r.Teller.begin(c, plan.Notice{Number: 1}, false)
			goes(r)
			_, problem := r.problems.Load(c.UID)
			if n := len(r.since) + len(r.Teller.said) + len(r.Teller.tellings); n != 0 || problem {
				t.Errorf("%d notes are left, a problem %t", n, problem)
			}
		})
	}
}

func TestGauges(t *testing.T) {
	reg := prometheus.NewRegistry()
	g := NewGauges(reg)
	c := &siskinv1.Canary{ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "shop"}}
	at := func(p plan.Phase) plan.State {
		return plan.State{Phase: p, Rollout: 1, Split: plan.ToCanary(20), FailedChecks: 2}
	}
	g.set(c, plan.Snapshot{State: at(plan.Progressing)}, at(plan.Progressing))
	g.set(c, plan.Snapshot{State: at(plan.RollingBack)}, at(plan.Failed))
	g.set(c, plan.Snapshot{State: at(plan.Failed)}, at(plan.Failed))
	want := `
# HELP siskin_canary_phase 1 for the phase that the Canary is in.
# TYPE siskin_canary_phase gauge
siskin_canary_phase{name="web",namespace="shop",phase="Failed"} 1
# HELP siskin_canary_weight Share of the traffic in percent, as decided, by role.
# TYPE siskin_canary_weight gauge
siskin_canary_weight{name="web",namespace="shop",role="canary"} 20
siskin_canary_weight{name="web",namespace="shop",role="primary"} 80
# HELP siskin_rollouts_total Rollouts that ended, by outcome (Succeeded, Failed, Cancelled).
# TYPE siskin_rollouts_total counter
siskin_rollouts_total{name="web",namespace="shop",outcome="Failed"} 1
`
	if err := testutil.GatherAndCompare(reg, strings.NewReader(want), "siskin_canary_phase", "siskin_canary_weight", "siskin_rollouts_total"); err != nil {
		t.Error(err)
	}
	g.forget("shop", "web")
	if n, err := testutil.GatherAndCount(reg, "siskin_canary_phase", "siskin_canary_weight", "siskin_rollouts_total", "siskin_canary_failed_checks"); n != 0 || err != nil {
		t.Errorf("%d series are left, %v", n, err)
	}
	var none *Gauges
	none.set(c, plan.Snapshot{}, plan.State{})
	none.forget("shop", "web")
}
