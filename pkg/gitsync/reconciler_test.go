package gitsync

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/tools/events"
	testclock "k8s.io/utils/clock/testing"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/gitsync/apply/applytest"
	"github.com/siskin-dev/siskin/pkg/gitsync/build"
	"github.com/siskin-dev/siskin/pkg/gitsync/fetch"
	"github.com/siskin-dev/siskin/pkg/gitsync/tree"
)

// fakeGit is a repository with one branch.
type fakeGit struct {
	n        int
	files    map[string]string
	err      error
	password string // asked for, if set
	fetches  int
	heads    int
}

func (g *fakeGit) commit(files map[string]string) { g.n++; g.files = files }

func (g *fakeGit) revision() fetch.Revision {
	return fetch.Revision{Name: "main", SHA: fmt.Sprintf("%040d", g.n)}
}

func (g *fakeGit) check(req fetch.Request) error {
	want := fetch.NewCredentials(map[string][]byte{"password": []byte(g.password)})
	if g.password != "" && !cmp.Equal(want, req.Credentials, cmp.AllowUnexported(fetch.Credentials{})) {
		return &fetch.AuthError{Msg: "wrong password"}
	}
	return g.err
}

func (g *fakeGit) Head(_ context.Context, req fetch.Request) (fetch.Revision, error) {
	g.heads++
	return g.revision(), g.check(req)
}

func (g *fakeGit) Fetch(_ context.Context, req fetch.Request) (*fetch.Snapshot, error) {
	g.fetches++
	if err := g.check(req); err != nil {
		return nil, err
	}
	return &fetch.Snapshot{
		Revision: g.revision(), Tree: tree.FromFiles(g.files),
		Commit: fetch.Commit{SHA: g.revision().SHA, Author: "Jane", Email: "jane@example.com", Message: fmt.Sprintf("change %d", g.n), Time: time.Unix(1_800_000_000, 0)},
	}, nil
}

// world is a GitSync, its repository and its cluster.
type world struct {
	t       *testing.T
	git     *fakeGit
	cluster *applytest.Cluster
	clock   *testclock.FakeClock
	events  *events.FakeRecorder
	r       *Reconciler
	result  ctrl.Result
}

func newWorld(t *testing.T, objs ...client.Object) *world {
	t.Helper()
	gs := &siskinv1.GitSync{ObjectMeta: applytest.Meta("siskin", "app"), Spec: siskinv1.GitSyncSpec{URL: "https://git.example.com/app", Path: "./"}}
	gs.UID, gs.Generation = "uid", 1
	w := &world{
		t: t, git: &fakeGit{}, cluster: applytest.New(t, append(objs, gs)...),
		clock: testclock.NewFakeClock(time.Unix(1_800_000_000, 0)), events: events.NewFakeRecorder(100),
	}
	w.restart()
	return w
}

// restart gives the controller a new memory.
func (w *world) restart() {
	w.r = &Reconciler{
		Client: w.cluster, APIReader: w.cluster, Fetcher: w.git, Builder: &build.Builder{}, Recorder: w.events, Clock: w.clock,
		Jitter: func() float64 { return 0.5 },
		ClientFor: func(context.Context, string, string) (client.Client, error) {
			return nil, errors.New("no such account")
		},
	}
}

func (w *world) reconcile() *siskinv1.GitSync {
	w.t.Helper()
	result, err := w.r.Reconcile(w.t.Context(), ctrl.Request{NamespacedName: client.ObjectKey{Namespace: "siskin", Name: "app"}})
	if err != nil {
		w.t.Fatalf("Reconcile: %v", err)
	}
	w.result = result
	gs := w.get()
	if gs != nil {
		checkKstatus(w.t, gs)
	}
	return gs
}

func (w *world) get() *siskinv1.GitSync {
	w.t.Helper()
	gs := &siskinv1.GitSync{}
	err := w.cluster.Get(w.t.Context(), client.ObjectKey{Namespace: "siskin", Name: "app"}, gs)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		w.t.Fatal(err)
	}
	return gs
}

// edit changes the GitSync as a person does.
func (w *world) edit(f func(*siskinv1.GitSync)) {
	w.t.Helper()
	gs := w.get()
	spec := *gs.Spec.DeepCopy()
	f(gs)
	if !cmp.Equal(spec, gs.Spec) {
		gs.Generation++
	}
	if err := w.cluster.Update(w.t.Context(), gs); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) told() []string {
	var out []string
	for {
		select {
		case e := <-w.events.Events:
			out = append(out, e)
		default:
			return out
		}
	}
}

func (w *world) configMap(name string) *unstructured.Unstructured {
	return w.cluster.Live(applytest.Core("ConfigMap"), "siskin", name)
}

// checkKstatus holds every status against the rules by which tools read it.
func checkKstatus(t *testing.T, gs *siskinv1.GitSync) {
	t.Helper()
	is := func(kind string) bool { return meta.IsStatusConditionTrue(gs.Status.Conditions, kind) }
	if is("Ready") && (is("Stalled") || is("Reconciling")) || is("Stalled") && is("Reconciling") {
		t.Errorf("conditions contradict each other: %+v", gs.Status.Conditions)
	}
	for _, c := range gs.Status.Conditions {
		if c.Message == "" || c.Reason == "" || strings.Contains(c.Message, "\n") || c.ObservedGeneration != gs.Generation {
			t.Errorf("condition %+v", c)
		}
	}
}

func ready(gs *siskinv1.GitSync) metav1.Condition {
	if c := meta.FindStatusCondition(gs.Status.Conditions, "Ready"); c != nil {
		return *c
	}
	return metav1.Condition{}
}

func cm(name, value string) string {
	return fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s}\ndata: {k: %q}\n", name, value)
}

func inventoryOf(gs *siskinv1.GitSync) []string {
	var out []string
	if gs.Status.Inventory != nil {
		for _, e := range gs.Status.Inventory.Entries {
			out = append(out, e.ID)
		}
	}
	return out
}

func TestSyncAppliesPrunesAndTells(t *testing.T) {
	w := newWorld(t)
	w.git.commit(map[string]string{"a.yaml": cm("a", "1"), "b.yaml": cm("b", "1")})
	gs := w.reconcile()
	if c := ready(gs); c.Status != metav1.ConditionTrue || c.Reason != "Synced" || c.Message != `applied main@sha1:0000000 by Jane: "change 1"` {
		t.Errorf("Ready = %+v", c)
	}
	st := gs.Status
	if st.LastAppliedRevision != w.git.revision().String() || st.LastAttemptedRevision != st.LastAppliedRevision || st.Revision != "main@sha1:0000000" || st.ObservedGeneration != 1 || st.LastAppliedTime == nil {
		t.Errorf("status = %+v", st)
	}
	if st.Commit == nil || st.Commit.Author != "Jane" || st.Commit.Message != "change 1" || st.Commit.SHA != w.git.revision().SHA {
		t.Errorf("commit = %+v", st.Commit)
	}
	if diff := cmp.Diff([]string{`Normal Synced applied main@sha1:0000000 by Jane: "change 1" (2 created, 0 changed, 0 unchanged, 0 pruned)`}, w.told()); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"siskin_a__ConfigMap", "siskin_b__ConfigMap"}, inventoryOf(gs)); diff != "" {
		t.Error(diff)
	}
	if w.result.RequeueAfter != time.Minute {
		t.Errorf("looks again after %s", w.result.RequeueAfter)
	}

	w.git.commit(map[string]string{"a.yaml": cm("a", "2")})
	gs = w.reconcile()
	if w.configMap("b") != nil || w.configMap("a").GetAnnotations()["siskin.dev/git-author"] != "Jane" {
		t.Error("b was not pruned, or a not stamped")
	}
	if diff := cmp.Diff([]string{"siskin_a__ConfigMap"}, inventoryOf(gs)); diff != "" {
		t.Error(diff)
	}
	if got := w.told(); len(got) != 1 || !strings.Contains(got[0], "0 created, 1 changed, 0 unchanged, 1 pruned") {
		t.Errorf("events = %v", got)
	}
}

func TestAnUnchangedCommitAsksTheClusterNothing(t *testing.T) {
	w := newWorld(t, &corev1.Secret{ObjectMeta: applytest.Meta("siskin", "git"), Data: map[string][]byte{"password": []byte("x")}})
	w.git.password = "x"
	w.edit(func(gs *siskinv1.GitSync) { gs.Spec.SecretRef = &siskinv1.GitSecretRef{Name: "git"} })
	w.git.commit(map[string]string{"a.yaml": cm("a", "1")})
	w.reconcile()
	w.told()
	for range 9 {
		w.clock.Step(time.Minute)
		w.cluster.Calls()
		fetches := w.git.fetches
		w.r.reconcileOnce(t, w)
		if n := w.cluster.Calls(); n != 1 { // the GitSync itself, which the manager has in its cache
			t.Errorf("%d requests to the API server", n)
		}
		if w.git.fetches != fetches {
			t.Error("the repository was fetched again")
		}
	}
	w.cluster.As("kubectl", applytest.Object(t, "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: siskin}\ndata: {k: hacked}\n"))
	w.clock.Step(time.Minute) // the tenth interval
	w.reconcile()
	if v, _, _ := unstructured.NestedString(w.configMap("a").Object, "data", "k"); v != "1" {
		t.Errorf("drift was not corrected: %s", v)
	}
	if diff := cmp.Diff([]string{"Normal DriftCorrected put back as in main@sha1:0000000: ConfigMap siskin/a"}, w.told()); diff != "" {
		t.Error(diff)
	}
}

func (r *Reconciler) reconcileOnce(t *testing.T, w *world) {
	t.Helper()
	if _, err := r.Reconcile(t.Context(), ctrl.Request{NamespacedName: key(&siskinv1.GitSync{ObjectMeta: applytest.Meta("siskin", "app")})}); err != nil {
		w.t.Fatal(err)
	}
}

// Every kind of bad input: one clear condition, one event however often it is tried, and the cluster stays as it was.
func TestBadInputChangesNothing(t *testing.T) {
	for name, c := range map[string]struct {
		do      func(*world)
		reason  string
		says    string
		stalled bool
	}{
		"a path that is missing": {
			do:     func(w *world) { w.edit(func(gs *siskinv1.GitSync) { gs.Spec.Path = "apps/nope" }) },
			reason: "PathNotFound", says: `path "apps/nope" does not exist`,
		},
		"all manifests are gone": {
			do:     func(w *world) { w.git.commit(map[string]string{"README.md": "#"}) },
			reason: "BuildFailed", says: "delete the GitSync",
		},
		"a kustomization that does not build": {
			do:     func(w *world) { w.git.commit(map[string]string{"kustomization.yaml": "resources: [nope.yaml]"}) },
			reason: "BuildFailed", says: "kustomization.yaml: resources",
		},
		"a server that is down": {
			do: func(w *world) {
				w.git.err = &fetch.UnavailableError{Msg: "asking git.example.com", Err: errors.New("connection refused")}
			},
			reason: "GitOperationFailed", says: "connection refused",
		},
		"access denied": {
			do: func(w *world) {
				w.git.err = &fetch.AuthError{Msg: "git.example.com refused the credentials of the Secret"}
			},
			reason: "AuthenticationFailed", says: "refused the credentials",
		},
		"an unknown branch": {
			do:     func(w *world) { w.git.err = &fetch.NotFoundError{What: "branch", Name: "nope"} },
			reason: "RefNotFound", says: `branch "nope" does not exist; check spec.url and spec.ref`,
		},
		"a missing Secret": {
			do: func(w *world) {
				w.edit(func(gs *siskinv1.GitSync) { gs.Spec.SecretRef = &siskinv1.GitSecretRef{Name: "nope"} })
			},
			reason: "SecretInvalid", says: "Secret siskin/nope: it does not exist",
		},
		"a URL nobody can use": {
			do:     func(w *world) { w.git.err = &fetch.SpecError{Msg: "file:// URLs are switched off"} },
			reason: "InvalidSpec", says: "switched off", stalled: true,
		},
		"an unknown kind": {
			do: func(w *world) {
				w.git.commit(map[string]string{"a.yaml": cm("a", "2"), "x.yaml": "apiVersion: y.example/v1\nkind: Thing\nmetadata: {name: x}\n"})
			},
			reason: "ApplyFailed", says: "nothing was applied or pruned: Thing x: the cluster has no kind Thing",
		},
		"an object that the API server refuses": {
			do: func(w *world) {
				w.git.commit(map[string]string{"a.yaml": cm("a", "2"), "z.yaml": cm("z", "2")})
				w.cluster.Refuse = func(o *unstructured.Unstructured, _ bool) error {
					if o.GetName() == "z" {
						return apierrors.NewBadRequest("z is bad")
					}
					return nil
				}
			},
			reason: "ApplyFailed", says: "nothing was applied or pruned: ConfigMap siskin/z: trying it as a dry run: z is bad",
		},
		"a ServiceAccount that cannot be used": {
			do:     func(w *world) { w.edit(func(gs *siskinv1.GitSync) { gs.Spec.ServiceAccountName = "nope" }) },
			reason: "GitOperationFailed", says: "acting as ServiceAccount nope",
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.git.commit(map[string]string{"a.yaml": cm("a", "1"), "b.yaml": cm("b", "1")})
			w.reconcile()
			applied := w.git.revision().String()
			w.told()
			w.cluster.Log()
			c.do(w)
			for range 3 {
				gs := w.reconcile()
				if r := ready(gs); r.Status != metav1.ConditionFalse || r.Reason != c.reason || !strings.Contains(r.Message, c.says) {
					t.Errorf("Ready = %+v", r)
				}
				if got := meta.IsStatusConditionTrue(gs.Status.Conditions, "Stalled"); got != c.stalled {
					t.Errorf("Stalled = %t", got)
				}
				if got := w.result.RequeueAfter; (got == 0) != c.stalled || got > time.Minute {
					t.Errorf("looks again after %s", got)
				}
				if gs.Status.LastAppliedRevision != applied {
					t.Errorf("lastAppliedRevision = %s", gs.Status.LastAppliedRevision)
				}
				for _, id := range []string{"siskin_a__ConfigMap", "siskin_b__ConfigMap"} {
					if !slices.Contains(inventoryOf(gs), id) {
						t.Errorf("%s left the inventory", id)
					}
				}
			}
			if got := w.told(); len(got) != 1 || !strings.HasPrefix(got[0], "Warning "+c.reason) {
				t.Errorf("events = %q, want one", got)
			}
			if log := w.cluster.Log(); len(log) > 0 {
				t.Errorf("the cluster was changed: %v", log)
			}
			// and once it is put right it goes on
			w.git.err, w.cluster.Refuse = nil, nil
			w.edit(func(gs *siskinv1.GitSync) {
				gs.Spec.Path, gs.Spec.SecretRef, gs.Spec.ServiceAccountName, gs.Spec.Suspend = "", nil, "", false
				gs.Spec.Timeout.Duration++ // some edit
			})
			w.git.commit(map[string]string{"a.yaml": cm("a", "3")})
			if gs := w.reconcile(); !isReady(gs) || w.configMap("b") != nil {
				t.Errorf("after the repair: %+v", ready(gs))
			}
		})
	}
}

func TestABrokenCommitIsNotFetchedAgain(t *testing.T) {
	w := newWorld(t)
	w.git.commit(map[string]string{"a.yaml": "kind: ["})
	for range 4 {
		w.reconcile()
	}
	if w.git.fetches != 1 || w.git.heads != 4 {
		t.Errorf("%d fetches, %d looks", w.git.fetches, w.git.heads)
	}
	w.edit(func(gs *siskinv1.GitSync) {
		gs.Annotations = map[string]string{siskinv1.GitSyncReconcileAnnotation: "now"}
	})
	if gs := w.reconcile(); w.git.fetches != 2 || gs.Status.LastHandledReconcile != "now" {
		t.Errorf("the request was not followed: %d fetches, %+v", w.git.fetches, gs.Status)
	}
}

// greedy is a builder whose builds take too much while it says so.
type greedy struct {
	build.Builder

	on     bool
	builds int
}

func (g *greedy) Build(ctx context.Context, repo tree.Tree, o build.Options) ([]*unstructured.Unstructured, error) {
	g.builds++
	if g.on {
		return nil, &build.LimitError{Limit: "memory", Msg: "it took more than 256 MiB of memory"}
	}
	return g.Builder.Build(ctx, repo, o)
}

func TestACostlyCommitIsBuiltAgainButNotSoon(t *testing.T) {
	w := newWorld(t)
	g := &greedy{on: true}
	w.r.Builder = g
	w.git.commit(map[string]string{"a.yaml": cm("a", "1")})
	for minute := range 64 {
		gs := w.reconcile()
		if c := ready(gs); c.Reason != siskinv1.GitSyncBuildLimitExceeded || !strings.Contains(c.Message, "256 MiB of memory") {
			t.Fatalf("minute %d: %+v", minute, c)
		}
		if w.result.RequeueAfter != time.Minute {
			t.Fatalf("the next look at the repository is in %s", w.result.RequeueAfter)
		}
		w.clock.Step(time.Minute)
	}
	if g.builds != 7 || w.git.heads != 64 { // after 0, 1, 3, 7, 15, 31 and 63 minutes
		t.Errorf("%d builds, %d looks", g.builds, w.git.heads)
	}
	w.git.commit(map[string]string{"a.yaml": cm("b", "1")})
	g.on = false
	if gs := w.reconcile(); !isReady(gs) || g.builds != 8 {
		t.Errorf("a new commit: %+v after %d builds", ready(gs), g.builds)
	}
}

func TestACostlyCommitIsBuiltAtOnceOnRequest(t *testing.T) {
	w := newWorld(t)
	g := &greedy{on: true}
	w.r.Builder = g
	w.git.commit(map[string]string{"a.yaml": cm("a", "1")})
	w.reconcile()
	g.on = false
	w.edit(func(gs *siskinv1.GitSync) {
		gs.Annotations = map[string]string{siskinv1.GitSyncReconcileAnnotation: "now"}
	})
	if gs := w.reconcile(); !isReady(gs) {
		t.Errorf("after the request: %+v", ready(gs))
	}
}

func TestBackoffIsCappedByTheInterval(t *testing.T) {
	w := newWorld(t)
	w.git.err = &fetch.UnavailableError{Msg: "down"}
	var got []time.Duration
	for range 6 {
		w.reconcile()
		got = append(got, w.result.RequeueAfter)
	}
	want := []time.Duration{5 * time.Second, 10 * time.Second, 20 * time.Second, 40 * time.Second, time.Minute, time.Minute}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	gs := &siskinv1.GitSync{Spec: siskinv1.GitSyncSpec{Interval: metav1.Duration{Duration: time.Second}}}
	if d := backoff(gs, 9); d != minBackoff {
		t.Errorf("with an interval of 1s: %s", d)
	}
	r := &Reconciler{Jitter: func() float64 { return 1 }}
	if d := r.spread(100 * time.Second); d != 105*time.Second {
		t.Errorf("spread = %s", d)
	}
}

func TestRequestSyncsNow(t *testing.T) {
	w := newWorld(t)
	w.git.commit(map[string]string{"a.yaml": cm("a", "1")})
	w.reconcile()
	w.cluster.As("kubectl", applytest.Object(t, "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: siskin}\ndata: {k: hacked}\n"))
	w.edit(func(gs *siskinv1.GitSync) {
		gs.Annotations = map[string]string{siskinv1.GitSyncReconcileAnnotation: "42"}
	})
	gs := w.reconcile()
	if v, _, _ := unstructured.NestedString(w.configMap("a").Object, "data", "k"); v != "1" || gs.Status.LastHandledReconcile != "42" {
		t.Errorf("value = %s, status = %+v", v, gs.Status)
	}
}

func TestRotatedCredentialsAreReadAtOnce(t *testing.T) {
	secret := &corev1.Secret{ObjectMeta: applytest.Meta("siskin", "git"), Data: map[string][]byte{"password": []byte("old")}}
	w := newWorld(t, secret)
	w.git.password = "old"
	w.edit(func(gs *siskinv1.GitSync) { gs.Spec.SecretRef = &siskinv1.GitSecretRef{Name: "git"} })
	w.git.commit(map[string]string{"a.yaml": cm("a", "1")})
	w.reconcile()
	w.git.password = "new"
	if gs := w.reconcile(); ready(gs).Reason != "AuthenticationFailed" {
		t.Errorf("Ready = %+v", ready(gs))
	}
	live := &corev1.Secret{}
	if err := w.cluster.Get(t.Context(), client.ObjectKeyFromObject(secret), live); err != nil {
		t.Fatal(err)
	}
	live.Data["password"] = []byte("new")
	if err := w.cluster.Update(t.Context(), live); err != nil {
		t.Fatal(err)
	}
	if gs := w.reconcile(); !isReady(gs) {
		t.Errorf("Ready = %+v", ready(gs))
	}
}

func TestTheInventoryIsStoredBeforeTheFirstObject(t *testing.T) {
	w := newWorld(t)
	w.git.commit(map[string]string{"a.yaml": cm("a", "1")})
	w.cluster.BeforeWrite = func(*unstructured.Unstructured) {
		gs := w.get()
		if diff := cmp.Diff([]string{"siskin_a__ConfigMap"}, inventoryOf(gs)); diff != "" {
			t.Error(diff)
		}
		if c := ready(gs); c.Status != metav1.ConditionUnknown || c.Reason != "Applying" {
			t.Errorf("Ready = %+v", c)
		}
	}
	w.reconcile()
}

// The controller dies after it applied and before it stored that; the next commit has dropped the object.
func TestWhatACrashLeftBehindIsPruned(t *testing.T) {
	w := newWorld(t)
	w.git.commit(map[string]string{"a.yaml": cm("a", "1"), "b.yaml": cm("b", "1")})
	w.cluster.Refuse = func(o *unstructured.Unstructured, dryRun bool) error {
		if !dryRun && o.GetName() == "b" {
			return apierrors.NewInternalError(errors.New("down"))
		}
		return nil
	}
	if gs := w.reconcile(); !strings.HasPrefix(ready(gs).Message, "applied in part, nothing was pruned") {
		t.Errorf("Ready = %+v", ready(gs))
	}
	w.restart()
	w.cluster.Refuse = nil
	w.git.commit(map[string]string{"c.yaml": cm("c", "1")})
	gs := w.reconcile()
	if w.configMap("a") != nil || !isReady(gs) {
		t.Error("the object of the crashed sync is still there")
	}
}

func TestAStaleReadDoesNotOverwriteTheInventory(t *testing.T) {
	w := newWorld(t)
	w.git.commit(map[string]string{"a.yaml": cm("a", "1")})
	w.cluster.BeforeWrite = func(*unstructured.Unstructured) { // somebody else writes the GitSync meanwhile
		w.cluster.BeforeWrite = nil
		w.edit(func(gs *siskinv1.GitSync) { gs.Labels = map[string]string{"x": "y"} })
	}
	gs := w.reconcile()
	if w.result.RequeueAfter != time.Second || gs.Status.LastAppliedRevision != "" {
		t.Errorf("result = %+v, status = %+v", w.result, gs.Status)
	}
	if gs = w.reconcile(); !isReady(gs) {
		t.Errorf("Ready = %+v", ready(gs))
	}
}

func TestSuspend(t *testing.T) {
	w := newWorld(t)
	w.git.commit(map[string]string{"a.yaml": cm("a", "1")})
	w.reconcile()
	w.told()
	w.edit(func(gs *siskinv1.GitSync) { gs.Spec.Suspend = true })
	w.git.commit(map[string]string{"a.yaml": cm("a", "2")})
	heads := w.git.heads
	gs := w.reconcile()
	if c := ready(gs); c.Status != metav1.ConditionUnknown || c.Reason != "Suspended" || w.git.heads != heads || w.result.RequeueAfter != 0 {
		t.Errorf("Ready = %+v", c)
	}
	if got := w.told(); len(got) != 1 || !strings.HasPrefix(got[0], "Normal Suspended") {
		t.Errorf("events = %v", got)
	}
	w.edit(func(gs *siskinv1.GitSync) { gs.Spec.Suspend = false })
	if gs = w.reconcile(); !isReady(gs) || gs.Status.LastAppliedRevision != w.git.revision().String() {
		t.Errorf("after resume: %+v", gs.Status)
	}
}

func TestDeletion(t *testing.T) {
	off := false
	for name, c := range map[string]struct {
		edit    func(*siskinv1.GitSync)
		deletes bool
	}{
		"deletes what was applied":         {func(*siskinv1.GitSync) {}, true},
		"leaves all when suspended":        {func(gs *siskinv1.GitSync) { gs.Spec.Suspend = true }, false},
		"leaves all with Orphan":           {func(gs *siskinv1.GitSync) { gs.Spec.DeletionPolicy = siskinv1.GitSyncOrphan }, false},
		"leaves all when prune is off":     {func(gs *siskinv1.GitSync) { gs.Spec.Prune = &off }, false},
		"deletes even if git is away":      {func(*siskinv1.GitSync) {}, true},
		"deletes with an explicit default": {func(gs *siskinv1.GitSync) { gs.Spec.DeletionPolicy = siskinv1.GitSyncMirrorPrune }, true},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.git.commit(map[string]string{"a.yaml": cm("a", "1")})
			w.reconcile()
			w.edit(c.edit)
			w.git.err = errors.New("away")
			if err := w.cluster.Delete(t.Context(), w.get()); err != nil {
				t.Fatal(err)
			}
			w.reconcile()
			if w.get() != nil {
				t.Error("the GitSync is still there")
			}
			if got := w.configMap("a") == nil; got != c.deletes {
				t.Errorf("object deleted = %t, want %t", got, c.deletes)
			}
			w.reconcile() // of an object that is gone
		})
	}
}

func TestPruneOff(t *testing.T) {
	w := newWorld(t)
	off := false
	w.edit(func(gs *siskinv1.GitSync) { gs.Spec.Prune = &off })
	w.git.commit(map[string]string{"a.yaml": cm("a", "1"), "b.yaml": cm("b", "1")})
	w.reconcile()
	w.git.commit(map[string]string{"a.yaml": cm("a", "1")})
	if gs := w.reconcile(); w.configMap("b") == nil || len(inventoryOf(gs)) != 1 {
		t.Error("an object was pruned")
	}
}

func TestTwoGitSyncsDoNotFightOverAnObject(t *testing.T) {
	other := &siskinv1.GitSync{ObjectMeta: applytest.Meta("siskin", "other")}
	other.Status.Inventory = &siskinv1.GitInventory{Entries: []siskinv1.GitInventoryEntry{{ID: "siskin_a__ConfigMap", V: "v1"}}}
	w := newWorld(t, other)
	taken := applytest.Object(t, "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: siskin, labels: {siskin.dev/gitsync-name: other, siskin.dev/gitsync-namespace: siskin}}\n")
	w.cluster.As("siskin-gitsync", taken)
	w.git.commit(map[string]string{"a.yaml": cm("a", "1")})
	if gs := w.reconcile(); !strings.Contains(ready(gs).Message, "GitSync siskin/other applies it too") {
		t.Errorf("Ready = %+v", ready(gs))
	}
}
