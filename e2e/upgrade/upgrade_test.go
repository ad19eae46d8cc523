// Package upgrade starts this version of Siskin on objects that the one before has written.
package upgrade

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/e2e/cluster"
	"github.com/siskin-dev/siskin/e2e/fixtures"
	"github.com/siskin-dev/siskin/e2e/load"
	"github.com/siskin-dev/siskin/pkg/canary/target"
)

// late is longer than texts for people may be held back, which are 15 s.
const late = 20 * time.Second

// TestUpgrade : objects that the previous commit's controller has written, then this one starts: no rollout begins,
// and nothing is written but what CHANGELOG.md names.
func TestUpgrade(t *testing.T) {
	root, err := fixtures.Root()
	if err != nil {
		t.Fatal(err)
	}
	old := buildPrevious(t, root)
	permitted := readAllowed(t, filepath.Join(root, "CHANGELOG.md"))
	r := fixtures.NewReceiver()
	defer r.Close()
	keda, err := fixtures.KEDACRD()
	if err != nil {
		t.Fatal(err)
	}
	c := cluster.Start(t, cluster.Options{
		TestGateway: true, MetricsAPI: true, CRDs: []string{keda}, OutsidePorts: []int{r.Port()}, Siskin: fixtures.Build(t, root),
		Programs: map[string]cluster.Program{cluster.ImageSiskin + ":previous": {Path: old.binary}},
	})
	e, err := fixtures.Connect(c, root)
	if err != nil {
		t.Fatal(err)
	}
	install(t, e, old)
	stories := canaries(t, e, r)
	users := usersOf(stories)
	stop(t, e)
	was := map[string]siskinv1.CanaryStatus{}
	for _, s := range stories {
		was[s.state.name] = s.Now().Status
	}
	// What a CRD's new defaults add to what is read is no write.
	if out, err := e.Kubectl(t.Context(), "apply", "-k", filepath.Join(root, "kustomize", "crd")); err != nil {
		t.Fatalf("installing the new CRDs: %v: %s", err, out)
	}
	before := settled(t, e, namespaces(stories), 3*time.Second)

	if out, err := e.Kubectl(t.Context(), "apply", "-k", filepath.Join(root, "kustomize", "default")); err != nil {
		t.Fatalf("installing the new version: %v: %s", err, out)
	}
	if err := e.Rollout(t.Context()); err != nil {
		t.Fatal(err)
	}
	reconciled(t, e, len(stories))
	after := settled(t, e, namespaces(stories), late)

	named, wrong := permitted.judge(after.since(before))
	t.Logf("named in the change log:\n%s", strings.Join(named, "\n"))
	for _, text := range wrong {
		t.Error(text)
	}
	for _, s := range stories {
		stays(t, s.state.name, was[s.state.name], s.Now().Status)
	}
	if t.Failed() {
		e.Dump(t)
		return
	}
	goesOn(t, stories)
	for _, s := range stories {
		labelled(s, was[s.state.name].Stable)
		if g := users[s.state.name]; g != nil {
			s.NobodyFailed("users of "+s.state.name, g, time.Time{})
		}
	}
}

// usersOf begins to send requests to apps that are at rest when the upgrade comes and are released after it, by their
// names.
func usersOf(stories []*story) map[string]*load.Generator {
	out := map[string]*load.Generator{}
	for _, s := range stories {
		switch s.state.name {
		case "promoted":
			out[s.state.name] = s.Users(20)
		case "switched":
			out[s.state.name] = s.Pods(20)
		}
	}
	return out
}

// labelled checks that clones which were released by this version have a label of their own, and that their Service
// selects by nothing else.
func labelled(s *story, before *siskinv1.RevisionStatus) {
	s.Helper()
	cluster.Eventually(s, time.Minute, func(ctx context.Context) error {
		obj, err := target.New(s.Now().Spec.TargetRef.Kind)
		if err != nil {
			return err
		}
		if err := s.API.Get(ctx, client.ObjectKey{Namespace: s.NS, Name: s.App.Name + "-primary"}, obj); err != nil {
			return err
		}
		var svc corev1.Service
		if err := s.API.Get(ctx, client.ObjectKey{Namespace: s.NS, Name: s.App.Name + "-primary"}, &svc); err != nil {
			return err
		}
		st := s.Now().Status
		is, _ := target.Labelled(obj, s.App.Name)
		wants := before != nil && st.Stable.Revision != before.Revision
		if by := svc.Spec.Selector[siskinv1.CloneLabel] != ""; by != is || wants && !is {
			return fmt.Errorf("%s: labelled %t, selected by that: %t; released: %t", s.state.name, is, by, wants)
		}
		return nil
	})
}

// stays checks that a rollout stands where it stood, and has as much time as it had.
func stays(t *testing.T, name string, then, now siskinv1.CanaryStatus) {
	t.Helper()
	if was, is := at(then), at(now); was != is {
		t.Errorf("%s was before the upgrade and is after it\n%s\n%s", name, was, is)
	}
	is := ends(now)
	for what, was := range ends(then) {
		if was != nil && (is[what] == nil || is[what].Before(was)) {
			t.Errorf("%s: its %s ended at %s before the upgrade, and ends earlier after it: %v", name, what, was, is[what])
		}
	}
}

// at is where a rollout stands, but for words and for clocks that begin anew.
func at(st siskinv1.CanaryStatus) string {
	at := siskinv1.CanaryStatus{
		Phase: st.Phase, CanaryWeight: st.CanaryWeight, FailedChecks: st.FailedChecks, Iterations: st.Iterations, Stable: st.Stable, Canary: st.Canary,
		Rejected: st.Rejected, Split: st.Split, Rollout: st.Rollout, Checks: st.Checks, History: st.History, Request: st.Request, Replicas: st.Replicas,
	}
	if st.Step != nil {
		at.Step = &siskinv1.StepStatus{
			Index: st.Step.Index, Total: st.Step.Total, Summary: st.Step.Summary, StartedAt: st.Step.StartedAt, Late: st.Step.Late,
			Halted: st.Step.Halted, Paused: st.Step.Paused, PausedUntil: st.Step.PausedUntil, Overdue: st.Step.Overdue,
		}
	}
	text, err := json.Marshal(at)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// ends are the moments that may move away, but not nearer.
func ends(st siskinv1.CanaryStatus) map[string]*metav1.MicroTime {
	if st.Step == nil {
		return nil
	}
	return map[string]*metav1.MicroTime{"step": st.Step.EndsAt, "deadline": st.Step.Deadline}
}

// install installs the previous version from its own manifests.
func install(t *testing.T, e *fixtures.Env, old previous) {
	t.Helper()
	text, err := e.Kubectl(t.Context(), "kustomize", filepath.Join(old.dir, "kustomize", "default"))
	if err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	i := strings.Index(text, cluster.ImageSiskin+":")
	if i < 0 {
		t.Fatalf("no image %s in the previous version's manifests", cluster.ImageSiskin)
	}
	image, _, _ := strings.Cut(text[i:], "\n")
	file := filepath.Join(t.TempDir(), "previous.yaml")
	if err := os.WriteFile(file, []byte(strings.ReplaceAll(text, image, cluster.ImageSiskin+":previous")), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := e.Kubectl(t.Context(), "apply", "-f", file); err != nil {
		t.Fatalf("installing the previous version: %v: %s", err, out)
	}
	if err := e.Rollout(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// stop stops Siskin.
func stop(t *testing.T, e *fixtures.Env) {
	t.Helper()
	if out, err := e.Kubectl(t.Context(), "-n", fixtures.SiskinNamespace, "scale", "deployment/siskin", "--replicas=0"); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	cluster.Eventually(t, time.Minute, func(ctx context.Context) error {
		var pods corev1.PodList
		if err := e.API.List(ctx, &pods, client.InNamespace(fixtures.SiskinNamespace)); err != nil {
			return err
		}
		if len(pods.Items) > 0 {
			return errors.New("the previous version still runs")
		}
		return nil
	})
}

// settled waits until nothing has been written for a while, and returns the world as it is then.
func settled(t *testing.T, e *fixtures.Env, namespaces []string, still time.Duration) world {
	t.Helper()
	var last string
	var w world
	var looked time.Time
	why := errors.New("not looked yet")
	since := time.Now()
	cluster.Eventually(t, 3*time.Minute, func(ctx context.Context) error {
		if time.Since(looked) < still/30 { // it is a lot to read
			return why
		}
		looked = time.Now()
		var err error
		if w, err = look(ctx, e, namespaces); err != nil {
			return err
		}
		if v := w.versions(); v != last {
			last, since = v, time.Now()
		}
		if d := time.Since(since); d < still {
			why = fmt.Errorf("nothing has been written for %s only", d)
			return why
		}
		return nil
	})
	return w
}

// reconciled waits until the new version has looked at every Canary.
func reconciled(t *testing.T, e *fixtures.Env, n int) {
	t.Helper()
	cluster.Eventually(t, time.Minute, func(ctx context.Context) error {
		text, err := e.SiskinMetrics(ctx)
		if err != nil {
			return err
		}
		names := map[string]bool{}
		for l := range strings.Lines(text) {
			if rest, ok := strings.CutPrefix(l, "siskin_canary_failed_checks{"); ok {
				labels, _, _ := strings.Cut(rest, "}")
				names[labels] = true
			}
		}
		if len(names) < n {
			return fmt.Errorf("%d of %d Canaries were looked at: %v", len(names), n, names)
		}
		return nil
	})
}
