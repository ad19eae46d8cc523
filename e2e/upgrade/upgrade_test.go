// Package upgrade starts this version of Siskin on objects that the one before has written.
package upgrade

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/e2e/cluster"
	"github.com/siskin-dev/siskin/e2e/fixtures"
)

const analysis = `    interval: %s
    threshold: 1
    stepWeights: [20, 50]
    webhooks:
    - {name: go, type: confirm-rollout, url: %q}
    - {name: judge, type: rollout, url: %q}`

// settings is read by an app in every way that pods read configuration.
const settings = `
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {COLOUR: green}
---
apiVersion: v1
kind: Secret
metadata: {name: keys}
stringData: {key: value}
`

// TestUpgrade : objects that the previous commit's controller has written, then this one starts: no rollout begins, and nothing is
// written but what CHANGELOG.md names.
func TestUpgrade(t *testing.T) {
	root, err := fixtures.Root()
	if err != nil {
		t.Fatal(err)
	}
	old := buildPrevious(t, root)
	permitted := readAllowed(t, filepath.Join(root, "CHANGELOG.md"))
	r := fixtures.NewReceiver()
	defer r.Close()
	c := cluster.Start(t, cluster.Options{
		TestGateway: true, OutsidePorts: []int{r.Port()}, Siskin: fixtures.Build(t, root),
		Programs: map[string]cluster.Program{cluster.ImageSiskin + ":previous": {Path: old.binary}},
	})
	e, err := fixtures.Connect(c, root)
	if err != nil {
		t.Fatal(err)
	}
	install(t, e, old)
	stories := canaries(t, e, r)
	stop(t, e)
	var namespaces []string
	was := map[string]siskinv1.CanaryStatus{}
	for name, s := range stories {
		namespaces = append(namespaces, s.NS)
		was[name] = s.Now().Status
	}
	// What a CRD's new defaults add to what is read is no write.
	if out, err := e.Kubectl(t.Context(), "apply", "-k", filepath.Join(root, "kustomize", "crd")); err != nil {
		t.Fatalf("installing the new CRDs: %v: %s", err, out)
	}
	before := settled(t, e, namespaces, 3*time.Second)

	if out, err := e.Kubectl(t.Context(), "apply", "-k", filepath.Join(root, "kustomize", "default")); err != nil {
		t.Fatalf("installing the new version: %v: %s", err, out)
	}
	if err := e.Rollout(t.Context()); err != nil {
		t.Fatal(err)
	}
	reconciled(t, e, len(stories))
	after := settled(t, e, namespaces, 17*time.Second) // texts for people may be 15 s late

	for _, w := range after.since(before) {
		if permitted.has(w) {
			t.Logf("named in the change log: %s %s %s", w.object, w.path, w.text)
			continue
		}
		t.Errorf("a write that the change log does not name: %s %s %s", w.object, w.path, w.text)
	}
	for name, s := range stories {
		now, then := s.Now().Status, was[name]
		if fmt.Sprint(at(now)) != fmt.Sprint(at(then)) {
			t.Errorf("%s was %v before the upgrade and is %v after it", name, at(then), at(now))
		}
		if then.Step != nil && then.Step.EndsAt != nil && (now.Step == nil || now.Step.EndsAt == nil || now.Step.EndsAt.Before(then.Step.EndsAt)) {
			t.Errorf("%s: the step ended at %s and ends earlier now: %+v", name, then.Step.EndsAt, now.Step)
		}
	}
	if t.Failed() {
		e.Dump(t)
		return
	}
	goesOn(t, stories)
}

// at is where a rollout stands.
func at(st siskinv1.CanaryStatus) []any {
	out := []any{st.Phase, st.CanaryWeight, st.FailedChecks}
	if st.Stable != nil {
		out = append(out, st.Stable.Revision)
	}
	if st.Canary != nil {
		out = append(out, st.Canary.Revision)
	}
	if st.Rollout != nil {
		out = append(out, st.Rollout.ID, st.Rollout.StartedAt)
	}
	return out
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

// canaries brings one Canary into each state that an upgrade may meet.
func canaries(t *testing.T, e *fixtures.Env, r *fixtures.Receiver) map[string]*fixtures.Story {
	t.Helper()
	out := map[string]*fixtures.Story{}
	begin := func(name, interval string) *fixtures.Story {
		s := e.Story(t, fixtures.App{Name: name, Gateway: fixtures.TestGateway, Replicas: 2})
		s.Start(s.App.Canary(fmt.Sprintf(analysis, interval, r.URL(s.NS+"/go"), r.URL(s.NS+"/judge"))))
		out[name] = s
		return s
	}
	begin("fresh", "1s")

	midway := begin("midway", "600s")
	midway.Release("1.1.0")

	waiting := begin("waiting", "5s")
	r.Set(waiting.NS+"/go", fixtures.No)
	waiting.Release("1.1.0")

	promoted := begin("promoted", "1s")
	promoted.Release("1.1.0")

	failed := begin("failed", "1s")
	r.Set(failed.NS+"/judge", fixtures.No)
	failed.Release("1.1.0")

	suspended := begin("suspended", "600s")
	suspended.Release("1.1.0")

	configured := e.Story(t, fixtures.App{Name: "configured", Gateway: fixtures.TestGateway})
	configured.Apply(settings)
	configured.Apply(strings.Replace(configured.App.Deployment(), "        env:\n", `        envFrom: [{configMapRef: {name: settings}}]
        volumeMounts: [{name: keys, mountPath: /etc/keys}]
        env:
`, 1) + "      volumes: [{name: keys, secret: {secretName: keys}}]\n")
	configured.Apply(configured.App.Canary("    interval: 1s\n    stepWeights: [50]"))
	out["configured"] = configured

	switched := e.Story(t, fixtures.App{Name: "switched", Replicas: 2})
	switched.Apply(switched.App.Service())
	switched.Start(switched.App.BlueGreen("    interval: 1s\n    iterations: 1"))
	switched.Release("1.1.0")
	out["switched"] = switched

	configured.Phase(siskinv1.PhaseInitialized, time.Minute)
	midway.Weight(20, time.Minute)
	suspended.Weight(20, time.Minute)
	suspended.Patch(`{"suspend":true}`)
	waiting.Phase(siskinv1.PhaseWaiting, time.Minute)
	promoted.Phase(siskinv1.PhaseSucceeded, time.Minute)
	failed.Phase(siskinv1.PhaseFailed, time.Minute)
	switched.Phase(siskinv1.PhaseSucceeded, time.Minute)
	for _, s := range []*fixtures.Story{promoted, failed, switched} {
		s.When(time.Minute, func(*siskinv1.Canary) string {
			if d := s.Deployment("-canary"); *d.Spec.Replicas != 0 || d.Status.Replicas != 0 {
				return "the canary is still there"
			}
			return ""
		})
	}
	for name, s := range out {
		if name == "suspended" {
			continue // nothing at all is done for it
		}
		s.When(time.Minute, func(*siskinv1.Canary) string {
			if d := s.Deployment(""); *d.Spec.Replicas != 0 || d.Status.Replicas != 0 {
				return "the target is not held yet"
			}
			return ""
		})
	}
	suspended.When(time.Minute, func(c *siskinv1.Canary) string {
		if !strings.Contains(c.Status.Message, "suspended") {
			return "not shown as suspended"
		}
		return ""
	})
	settledTexts(t, e, out)
	return out
}

// settledTexts waits until the previous version has nothing to write any more: it may hold texts back for 15 s.
func settledTexts(t *testing.T, e *fixtures.Env, stories map[string]*fixtures.Story) {
	t.Helper()
	var namespaces []string
	for _, s := range stories {
		namespaces = append(namespaces, s.NS)
	}
	settled(t, e, namespaces, 17*time.Second)
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
	since := time.Now()
	cluster.Eventually(t, 3*time.Minute, func(ctx context.Context) error {
		var err error
		if w, err = look(ctx, e, namespaces); err != nil {
			return err
		}
		if v := w.versions(); v != last {
			last, since = v, time.Now()
		}
		if d := time.Since(since); d < still {
			return fmt.Errorf("nothing has been written for %s only", d)
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

// goesOn checks that the new version works on what the old one left: it releases, and takes a rollout back that it did not begin.
func goesOn(t *testing.T, stories map[string]*fixtures.Story) {
	t.Helper()
	promoted, midway := stories["promoted"], stories["midway"]
	promoted.Release("1.2.0")
	midway.Release("1.0.0")
	midway.Phase(siskinv1.PhaseCancelled, time.Minute)
	promoted.When(time.Minute, func(c *siskinv1.Canary) string {
		if c.Status.Rollout.ID != 2 || c.Status.Phase != siskinv1.PhaseSucceeded {
			return "1.2.0 is not promoted"
		}
		return ""
	})
}
