package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/siskin-dev/siskin/e2e/cluster/internal/sandbox"
	"github.com/siskin-dev/siskin/e2e/cluster/internal/wire"
)

// Restart delays: a kubelet's start at 10 s and end at 5 min, which tests have no time for.
const (
	firstBackoff = time.Second
	maxBackoff   = time.Minute
)

// container runs one container, life after life.
type container struct {
	w      *worker
	s      *containerState // guarded by w.mu
	spec   *corev1.Container
	policy corev1.RestartPolicy
	init   bool
}

// set changes the state of the container and has it written.
func (c *container) set(f func(s *containerState)) {
	c.w.mu.Lock()
	f(c.s)
	c.w.mu.Unlock()
	c.w.touch()
}

func (c *container) waiting(reason, message string) {
	c.set(func(s *containerState) {
		s.state = corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}}
		s.ready, s.started = false, false
	})
}

// run returns when the container will not run again.
func (c *container) run(ctx context.Context) {
	if p, ok := c.w.a.program(c.spec.Image); ok && p.Path == "" {
		c.pause(ctx)
		return
	}
	backoff := firstBackoff
	for !c.w.isTerminating() && ctx.Err() == nil {
		cmd, ok := c.create(ctx)
		if !ok {
			return
		}
		began := time.Now()
		code := c.life(ctx, cmd, began)
		if c.w.isTerminating() || ctx.Err() != nil || !c.again(code) {
			return
		}
		if time.Since(began) > maxBackoff {
			backoff = firstBackoff
		}
		c.crashed(backoff, code)
		if c.w.sleep(ctx, backoff) != nil {
			return
		}
		backoff = min(2*backoff, maxBackoff)
		c.set(func(s *containerState) { s.restarts++ })
	}
}

// pause is a container without a process beside others that have one.
func (c *container) pause(ctx context.Context) {
	c.set(func(s *containerState) {
		s.state = corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.Now().Rfc3339Copy()}}
		s.started, s.ready = true, true
	})
	select {
	case <-c.w.terminating:
		c.ended(nil, "", time.Now())
	case <-ctx.Done():
	}
}

func (c *container) again(code int) bool {
	switch c.policy {
	case corev1.RestartPolicyNever:
		return false
	case corev1.RestartPolicyOnFailure:
		return code != 0
	default:
		return true
	}
}

func (c *container) crashed(backoff time.Duration, code int) {
	pod := c.w.pod()
	message := fmt.Sprintf("back-off %s restarting failed container=%s pod=%s_%s(%s)", backoff, c.spec.Name, pod.Name, pod.Namespace, pod.UID)
	c.w.a.events.Eventf(pod, corev1.EventTypeWarning, "BackOff", "Back-off restarting failed container %s in pod %s (exit code %d)", c.spec.Name, pod.Name, code)
	c.set(func(s *containerState) {
		s.last = s.state
		s.state = corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff", Message: message}}
	})
}

// create finds the program and the environment, for as long as that takes. It is false when the pod ends first.
func (c *container) create(ctx context.Context) (*exec.Cmd, bool) {
	program, ok := c.w.a.program(c.spec.Image)
	for attempt := 0; !ok; attempt++ {
		// The table does not change: this is how a wrong image looks until somebody fixes it.
		reason, message := "ErrImagePull", fmt.Sprintf("failed to pull image %q: not found", c.spec.Image)
		if attempt%2 == 1 {
			reason, message = "ImagePullBackOff", fmt.Sprintf("Back-off pulling image %q", c.spec.Image)
		}
		if attempt == 0 {
			c.w.a.events.Event(c.w.pod(), corev1.EventTypeWarning, "Failed", message)
		}
		c.waiting(reason, message)
		if c.w.sleep(ctx, time.Duration(1+min(attempt, 9))*2*time.Second) != nil {
			return nil, false
		}
	}
	var cmd *exec.Cmd
	err := c.w.retry(ctx, func() error {
		env, err := c.environment(ctx)
		if err != nil {
			c.waiting("CreateContainerConfigError", err.Error())
			return err
		}
		mounts, err := c.mounts()
		if err != nil {
			c.waiting("CreateContainerConfigError", err.Error())
			return err
		}
		spec := sandbox.Spec{
			Hostname: c.w.pod().Name, Mounts: mounts, Env: append(env, program.Env...),
			Argv: c.argv(program, env), Dir: c.spec.WorkingDir,
		}
		if spec.Dir == "" {
			spec.Dir = wire.ProgramsDir
		}
		var ns *os.File
		if c.w.net != nil {
			ns = c.w.net.File
		}
		cmd, err = sandbox.Command(context.WithoutCancel(ctx), c.w.a.Self, spec, ns)
		return err
	})
	return cmd, err == nil
}

// life runs the process once and returns its exit code.
func (c *container) life(ctx context.Context, cmd *exec.Cmd, began time.Time) int {
	pod := c.w.pod()
	log, err := c.w.a.openLog(pod.Namespace, pod.Name, c.spec.Name)
	if err != nil {
		return c.notStarted(err, began)
	}
	defer func() { _ = log.Close() }()
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return c.notStarted(err, began)
	}
	pid := cmd.Process.Pid
	c.set(func(s *containerState) {
		s.pid = pid
		s.state = corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(began).Rfc3339Copy()}}
		s.started = c.spec.StartupProbe == nil
		s.ready = !c.init && s.started && c.spec.ReadinessProbe == nil
	})
	c.w.a.events.Eventf(pod, corev1.EventTypeNormal, "Started", "Started container %s", c.spec.Name)

	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait() }()
	probeCtx, stopProbes := context.WithCancel(ctx)
	unhealthy := make(chan string, 1)
	probes := c.startProbes(probeCtx, pid, unhealthy)
	defer probes.Wait()
	defer stopProbes()
	if c.spec.Lifecycle != nil && c.spec.Lifecycle.PostStart != nil {
		c.hook(ctx, "PostStart", c.spec.Lifecycle.PostStart, pid, time.Minute)
	}

	var waitErr error
	reason := ""
	select {
	case waitErr = <-exited:
	case <-ctx.Done():
		_ = syscall.Kill(-pid, syscall.SIGKILL)
		waitErr = <-exited
	case message := <-unhealthy:
		c.w.a.events.Eventf(pod, corev1.EventTypeNormal, "Killing", "Container %s %s, will be restarted", c.spec.Name, message)
		grace := 30 * time.Second
		if g := pod.Spec.TerminationGracePeriodSeconds; g != nil {
			grace = time.Duration(*g) * time.Second
		}
		waitErr = c.end(ctx, pid, exited, func() time.Time { return began.Add(time.Since(began) + grace) }, grace)
	case <-c.w.terminating:
		c.w.a.events.Eventf(pod, corev1.EventTypeNormal, "Killing", "Stopping container %s", c.spec.Name)
		grace := time.Until(*c.w.deadline.Load())
		waitErr = c.end(ctx, pid, exited, func() time.Time { return *c.w.deadline.Load() }, grace)
	}
	// What the program has left behind in its process group goes with it.
	_ = syscall.Kill(-pid, syscall.SIGKILL)
	return c.ended(waitErr, reason, began)
}

// end runs the preStop hook, sends SIGTERM, and SIGKILL at the deadline, which may come nearer meanwhile.
func (c *container) end(ctx context.Context, pid int, exited <-chan error, deadline func() time.Time, grace time.Duration) error {
	limit := deadline()
	if l := c.spec.Lifecycle; l != nil && l.PreStop != nil && grace > 0 {
		c.hook(ctx, "PreStop", l.PreStop, pid, grace)
	}
	_ = syscall.Kill(pid, syscall.SIGTERM)
	if least := time.Now().Add(2 * time.Second); grace > 0 && limit.Before(least) {
		limit = least // a kubelet gives 2 s when the hook has used up the grace period
	}
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case err := <-exited:
			return err
		case <-ctx.Done():
			_ = syscall.Kill(-pid, syscall.SIGKILL)
			return <-exited
		case now := <-tick.C:
			sooner := c.w.deadline.Load()
			if now.After(limit) || (sooner != nil && now.After(*sooner) && grace <= 0) {
				_ = syscall.Kill(-pid, syscall.SIGKILL)
				return <-exited
			}
		}
	}
}

func (c *container) notStarted(err error, began time.Time) int {
	c.w.a.events.Eventf(c.w.pod(), corev1.EventTypeWarning, "Failed", "Error: %v", err)
	now := metav1.Now().Rfc3339Copy()
	c.set(func(s *containerState) {
		s.ready, s.started = false, false
		s.state = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
			ExitCode: 128, Reason: "StartError", Message: err.Error(), StartedAt: metav1.NewTime(began).Rfc3339Copy(), FinishedAt: now,
		}}
	})
	return 128
}

func (c *container) ended(err error, reason string, began time.Time) int {
	code, signal := 0, int32(0)
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		code = exit.ExitCode()
		if ws, ok := exit.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
			signal = int32(ws.Signal())
			code = 128 + int(signal)
		}
	} else if err != nil {
		code = 128
	}
	if reason == "" {
		reason = "Completed"
		if code != 0 {
			reason = "Error"
		}
	}
	c.set(func(s *containerState) {
		s.ready, s.started = c.init && code == 0, false
		s.state = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
			ExitCode: int32(code), Signal: 0, Reason: reason,
			StartedAt: metav1.NewTime(began).Rfc3339Copy(), FinishedAt: metav1.Now().Rfc3339Copy(),
		}}
		if signal != 0 {
			s.state.Terminated.Signal = signal
		}
	})
	return code
}

// waitStarted waits until a sidecar has started.
func (c *container) waitStarted(ctx context.Context) error {
	for {
		c.w.mu.Lock()
		started := c.s.started
		c.w.mu.Unlock()
		if started {
			return nil
		}
		if err := c.w.sleep(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
}
