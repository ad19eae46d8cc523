package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/e2e/cluster"
	"github.com/siskin-dev/siskin/e2e/fixtures"
)

const (
	// Together less than six minutes, with the steps of the default length.
	startLimit   = 45 * time.Second
	installLimit = 75 * time.Second
	storyLimit   = 200 * time.Second
)

// demo is one run.
type demo struct {
	o      options
	screen *screen
	input  io.Reader
	began  time.Time
	root   string

	cluster *cluster.Cluster
	env     *fixtures.Env
	repo    *repo
	users   *users
	watch   *watcher

	quiet    atomic.Bool
	mu       sync.Mutex
	chapters []chapter
	footer   string
}

func newDemo(o options, out io.Writer, in io.Reader) *demo {
	first, good, bad := versions()
	return &demo{
		o: o, screen: newScreen(out, o.once), input: in, began: time.Now(), footer: "Return: how to look behind the scenes   Ctrl-C: stop",
		chapters: []chapter{{Text: first.message}, {Text: good.message}, {Text: bad.message}},
	}
}

// run does everything, from the start of the cluster to its end.
func (d *demo) run(ctx context.Context) (err error) {
	if d.root, err = fixtures.Root(); err != nil {
		return fmt.Errorf("run the demo inside Siskin's repository: %w", err)
	}
	if err := d.start(ctx); err != nil {
		return err
	}
	defer func() {
		d.screen.say("stopping the cluster")
		d.quiet.Store(true) // its servers' ends are no news
		err = errors.Join(err, d.cluster.Stop())
	}()
	live, end := context.WithCancel(ctx)
	var background sync.WaitGroup
	defer background.Wait()
	defer end()
	err = d.install(ctx)
	if err == nil {
		background.Go(func() { d.watch.run(live) })
		err = d.story(ctx, live)
	}
	d.screen.leave()
	if err != nil && ctx.Err() == nil {
		d.screen.print(d.whatHappened())
	}
	if ctx.Err() != nil || (err != nil && !errors.Is(err, errNotAsTold)) {
		return err
	}
	if !d.o.once || d.o.keep {
		d.stay(live)
	}
	return err
}

// start starts the cluster; building what is missing takes its own time.
func (d *demo) start(ctx context.Context) error {
	if _, err := exec.LookPath("git"); err != nil {
		return fmt.Errorf("git is needed: %w", err)
	}
	siskin, err := d.binary(ctx)
	if err != nil {
		return err
	}
	d.screen.say("starting etcd, Kubernetes, Traefik, Prometheus, git and Slack on this machine")
	d.cluster, err = cluster.New(ctx, cluster.Options{
		Siskin: siskin, Traefik: true, Prometheus: true, Git: true, Slack: true, StartTimeout: startLimit, Log: sayer{d},
	})
	if err != nil {
		return fmt.Errorf("starting the cluster: %w", err)
	}
	return nil
}

// sayer prints the cluster's progress.
type sayer struct{ demo *demo }

// Write prints lines, unless a view is shown or the cluster is being stopped.
func (s sayer) Write(p []byte) (int, error) {
	if !s.demo.quiet.Load() {
		s.demo.screen.say("%s", strings.TrimSpace(string(p)))
	}
	return len(p), nil
}

// binary finds the controller, or builds it.
func (d *demo) binary(ctx context.Context) (string, error) {
	path := os.Getenv("SISKIN_BINARY")
	if path == "" {
		path = filepath.Join(d.root, "bin", "siskin")
	}
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	d.screen.say("building %s", path)
	cmd := exec.CommandContext(ctx, "go", "build", "-o", path, "./cmd/siskin") //nolint:gosec // the person's own choice
	cmd.Dir, cmd.Env = d.root, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building siskin: %w: %s", err, out)
	}
	return path, nil
}

// install brings Siskin and the first commit into the cluster.
func (d *demo) install(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, installLimit)
	defer cancel()
	d.screen.say("installing Siskin: kubectl apply -k kustomize/default")
	var err error
	if d.env, err = fixtures.Install(ctx, d.cluster, d.root); err != nil {
		return fmt.Errorf("installing Siskin: %w", err)
	}
	d.users = newUsers(d.cluster.GatewayURL()+"/", host, d.o.rate)
	d.watch = &watcher{env: d.env, users: d.users}
	if err := d.cluster.CreateRepo(ctx, app); err != nil {
		return fmt.Errorf("creating the repository: %w", err)
	}
	d.screen.say("created the repository %s", d.cluster.GitURL(app))
	if d.repo, err = clone(ctx, filepath.Join(d.cluster.Dir(), "clone"), d.cluster.GitURL(app)); err != nil {
		return fmt.Errorf("cloning the repository: %w", err)
	}
	for name, content := range map[string]string{
		"kustomization.yaml": kustomization, "canary.yaml": canary(d.o.interval), "alerts.yaml": alerts(d.cluster.SlackURLInCluster()),
	} {
		if err := d.repo.write(name, content); err != nil {
			return err
		}
	}
	first, _, _ := versions()
	if _, err := d.commit(ctx, first); err != nil {
		return err
	}
	if err := d.cluster.Apply(ctx, []byte(bootstrap(d.cluster.GitURLInCluster(app)))); err != nil {
		return fmt.Errorf("applying the GitSync: %w", err)
	}
	return nil
}

// commit pushes a version.
func (d *demo) commit(ctx context.Context, v version) (string, error) {
	if v.bad {
		d.users.suspects(v.message)
	}
	if err := d.repo.write("deployment.yaml", deployment(v)); err != nil {
		return "", err
	}
	hash, err := d.repo.push(ctx, v.subject)
	if err != nil {
		return "", fmt.Errorf("committing %s: %w", v.message, err)
	}
	if !d.screen.drawn {
		d.screen.say("pushed  %s by %s: %s", hash[:12], author, v.subject)
	}
	return hash, nil
}

// story releases the good and the bad version, and judges what came of it.
func (d *demo) story(ctx, live context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, storyLimit+2*steps*(d.o.interval-defaultInterval))
	defer cancel()
	f := facts{Interval: d.o.interval}
	first, good, bad := versions()
	d.quiet.Store(d.screen.terminal())
	d.tell(0, "now", first.message)
	if err := d.until(ctx, 60*time.Second, "podinfo to be initialized", func(c *siskinv1.Canary) bool {
		return c.Status.Phase == siskinv1.PhaseInitialized
	}); err != nil {
		return err
	}
	d.users.start(live)
	d.tell(0, "ok", first.message+" serves")
	if err := d.pass(ctx, 5*time.Second); err != nil {
		return err
	}
	if err := d.release(ctx, 1, good, &f.Good); err != nil {
		return err
	}
	if f.Good.Phase == string(siskinv1.PhaseSucceeded) {
		if err := d.pass(ctx, 10*time.Second); err != nil { // the canary drains
			return err
		}
	}
	if err := d.release(ctx, 2, bad, &f.Bad); err != nil {
		return err
	}
	if err := d.pass(ctx, 10*time.Second); err != nil { // the canary drains, Slack and Prometheus hear of it
		return err
	}
	d.collect(ctx, &f)
	return d.conclude(f)
}

// conclude prints the verdict.
func (d *demo) conclude(f facts) error {
	if d.o.once {
		d.users.stop()
	}
	findings := judge(f)
	d.screen.print("\n" + table(findings, d.screen.terminal()) + "\n")
	for _, fault := range f.Faults {
		d.screen.print("  fault: " + fault + "\n")
	}
	if !allOK(findings) {
		return errNotAsTold
	}
	return nil
}

// release commits a version and waits for the end of its rollout.
func (d *demo) release(ctx context.Context, chapter int, v version, out *release) error {
	d.tell(chapter, "now", v.message)
	began := time.Now()
	hash, err := d.commit(ctx, v)
	if err != nil {
		return err
	}
	out.Version, out.Commit = v.message, hash
	limit := steps*(d.o.interval+2*time.Second) + 50*time.Second
	var end siskinv1.CanaryStatus
	err = d.until(ctx, limit, "the rollout of "+v.message+" to end", func(c *siskinv1.Canary) bool {
		st := c.Status
		if st.Canary == nil || !strings.HasSuffix(st.Canary.Commit, hash) {
			return false
		}
		end = st
		return st.Phase == siskinv1.PhaseSucceeded || st.Phase == siskinv1.PhaseFailed || st.Phase == siskinv1.PhaseCancelled
	})
	if err != nil {
		return err
	}
	out.Took, out.Phase = time.Since(began), string(end.Phase)
	if end.LastTransitionTime != nil {
		out.Took = end.LastTransitionTime.Sub(began) // not when it was noticed
	}
	if end.Rollout != nil {
		out.Cause = end.Rollout.Cause
	}
	word, state := "taken back", "ok"
	if end.Phase == siskinv1.PhaseSucceeded {
		word = "promoted"
	}
	if v.bad != (end.Phase != siskinv1.PhaseSucceeded) {
		state = "bad"
	}
	d.tell(chapter, state, fmt.Sprintf("%s %s in %.0f s", v.message, word, out.Took.Seconds()))
	return nil
}

// tell changes a chapter of the story.
func (d *demo) tell(i int, state, text string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.chapters[i].State = state
	if text != "" {
		d.chapters[i].Text = text
	}
}

// until shows what goes on until ok.
func (d *demo) until(ctx context.Context, limit time.Duration, what string, ok func(*siskinv1.Canary) bool) error {
	wait, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	err := d.display(wait, func() bool {
		c := d.watch.now().canary
		return c != nil && ok(c)
	})
	if err != nil && ctx.Err() == nil {
		return fmt.Errorf("waited %s for %s", limit, what)
	}
	return err
}

// pass lets time pass.
func (d *demo) pass(ctx context.Context, t time.Duration) error {
	end := time.Now().Add(t)
	return d.display(ctx, func() bool { return time.Now().After(end) })
}

// display shows the view until done.
func (d *demo) display(ctx context.Context, done func() bool) error {
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	for {
		d.draw()
		if done() {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting: %w", context.Cause(ctx))
		case <-tick.C:
		}
	}
}

func (d *demo) draw() {
	now := time.Now()
	v := view{Up: now.Sub(d.began)}
	d.mu.Lock()
	v.Story, v.Footer = append([]chapter(nil), d.chapters...), d.footer
	d.mu.Unlock()
	d.watch.now().fill(&v, now)
	all, _ := d.users.seen()
	v.Users = rows(all, d.users.rates(now))
	d.screen.show(v, now)
}
