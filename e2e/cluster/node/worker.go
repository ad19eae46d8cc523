package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/siskin-dev/siskin/e2e/cluster/internal/sandbox"
	"github.com/siskin-dev/siskin/e2e/cluster/internal/wire"
)

// errTerminating ends a step of a pod because the pod is to end.
var errTerminating = errors.New("pod is terminating")

// worker owns one pod with processes, from its binding to its removal:
//
//	prepare (network, volumes) -> init containers -> containers -> (deleted or all done) -> remove
type worker struct {
	a      *Agent
	latest atomic.Pointer[corev1.Pod]
	dir    string
	ip     string
	net    *sandbox.PodNet

	dirty       chan struct{} // capacity 1: the status is to be written
	terminating chan struct{} // closed when the pod is to end
	once        sync.Once
	deadline    atomic.Pointer[time.Time] // when SIGKILL comes, once terminating

	mu          sync.Mutex
	initialized bool
	inits       []containerState
	containers  []containerState
}

func newWorker(a *Agent, pod *corev1.Pod) *worker {
	w := &worker{
		a: a, dir: filepath.Join(a.DataDir, "pods", string(pod.UID)),
		dirty: make(chan struct{}, 1), terminating: make(chan struct{}),
	}
	w.latest.Store(pod)
	waiting := func(reason string, cs []corev1.Container) []containerState {
		out := make([]containerState, len(cs))
		for i := range cs {
			out[i] = containerState{spec: &cs[i], state: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason}}}
		}
		return out
	}
	reason := "ContainerCreating"
	if len(pod.Spec.InitContainers) > 0 {
		reason = "PodInitializing"
	}
	w.inits = waiting(reason, pod.Spec.InitContainers)
	w.containers = waiting(reason, pod.Spec.Containers)
	return w
}

func (w *worker) pod() *corev1.Pod { return w.latest.Load() }

// update takes a new version of the pod.
func (w *worker) update(pod *corev1.Pod) {
	w.latest.Store(pod)
	if pod.DeletionTimestamp != nil {
		grace := time.Duration(0)
		if g := pod.DeletionGracePeriodSeconds; g != nil {
			grace = time.Duration(*g) * time.Second
		}
		w.terminate(grace)
	}
	w.touch()
}

// vanish ends the pod at once: its object is gone.
func (w *worker) vanish() {
	w.terminate(0)
	now := time.Now()
	w.deadline.Store(&now)
}

func (w *worker) terminate(grace time.Duration) {
	w.once.Do(func() {
		end := time.Now().Add(grace)
		w.deadline.Store(&end)
		close(w.terminating)
	})
}

func (w *worker) isTerminating() bool {
	select {
	case <-w.terminating:
		return true
	default:
		return false
	}
}

func (w *worker) touch() {
	select {
	case w.dirty <- struct{}{}:
	default:
	}
}

// run is the life of the pod.
func (w *worker) run(ctx context.Context) {
	pod := w.pod()
	defer w.a.forget(pod.UID)
	statusCtx, stopStatus := context.WithCancel(ctx)
	var status sync.WaitGroup
	status.Go(func() { w.statusLoop(statusCtx) })
	defer status.Wait()
	defer stopStatus()
	defer w.cleanup()

	err := w.prepare(ctx)
	if err == nil {
		err = w.runContainers(ctx)
	}
	if err != nil && !errors.Is(err, errTerminating) && ctx.Err() == nil {
		w.a.logf("pod %s/%s: %v", pod.Namespace, pod.Name, err)
	}
	select {
	case <-w.terminating:
	case <-ctx.Done():
		return
	}
	stopStatus()
	status.Wait()
	w.remove(ctx)
}

// remove writes the last status and takes the pod out of the API, for as long as that takes.
func (w *worker) remove(ctx context.Context) {
	for ctx.Err() == nil {
		pod := w.pod()
		err := w.a.writeStatus(ctx, pod, w.status())
		if err == nil {
			err = w.a.deletePod(ctx, pod)
		}
		if err == nil {
			return
		}
		w.a.logf("pod %s/%s: %v", pod.Namespace, pod.Name, err)
		_ = sleep(ctx, 200*time.Millisecond)
	}
}

func (w *worker) cleanup() {
	if err := w.net.Close(); err != nil {
		w.a.logf("pod %s: %v", w.pod().Name, err)
	}
	_ = os.RemoveAll(w.dir)
}

func (w *worker) statusLoop(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.dirty:
		}
		if err := w.a.writeStatus(ctx, w.pod(), w.status()); err != nil && ctx.Err() == nil {
			w.a.logf("pod %s: %v", w.pod().Name, err)
			if sleep(ctx, 200*time.Millisecond) == nil {
				w.touch()
			}
		}
	}
}

func (w *worker) status() corev1.PodStatus {
	w.mu.Lock()
	defer w.mu.Unlock()
	pod := w.pod()
	return podStatus(pod, statusInput{
		ip: w.ip, hostNetwork: pod.Spec.HostNetwork, initialized: w.initialized,
		inits: w.inits, containers: w.containers, now: metav1.Now().Rfc3339Copy(),
	})
}

// prepare makes the network and the volumes. A volume may have to wait for its ConfigMap.
func (w *worker) prepare(ctx context.Context) error {
	pod := w.pod()
	if err := os.MkdirAll(w.dir, 0o755); err != nil {
		return fmt.Errorf("making the pod's directory: %w", err)
	}
	ip := wire.NodeIP
	if !pod.Spec.HostNetwork {
		ip = w.a.allocateIP(pod.UID)
		if !w.a.Network.Shared {
			n, err := w.a.Network.AddPod(ip, wire.NodeIP, w.a.nextSerial())
			if err != nil {
				return fmt.Errorf("making the pod's network: %w", err)
			}
			w.net = n
		}
	}
	w.mu.Lock()
	w.ip = ip
	w.mu.Unlock()
	w.touch()
	return w.retry(ctx, func() error {
		err := w.writeVolumes(ctx)
		if err != nil {
			w.a.events.Eventf(pod, corev1.EventTypeWarning, "FailedMount", "%v", err)
		}
		return err
	})
}

// retry repeats a step, slower each time, until it succeeds or the pod is to end.
func (w *worker) retry(ctx context.Context, step func() error) error {
	for delay := 100 * time.Millisecond; ; delay = min(2*delay, 2*time.Second) {
		if step() == nil {
			return nil
		}
		if err := w.sleep(ctx, delay); err != nil {
			return err
		}
	}
}

// sleep waits, unless the pod is to end.
func (w *worker) sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-w.terminating:
		return errTerminating
	case <-ctx.Done():
		return ctx.Err()
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// runContainers runs the init containers one after the other, then the containers together, and returns when
// all have ended for good.
func (w *worker) runContainers(ctx context.Context) error {
	pod := w.pod()
	var wg sync.WaitGroup
	defer wg.Wait()
	for i := range w.inits {
		c := &container{w: w, s: &w.inits[i], spec: &pod.Spec.InitContainers[i], policy: pod.Spec.RestartPolicy, init: true}
		if p := c.spec.RestartPolicy; p != nil && *p == corev1.ContainerRestartPolicyAlways {
			c.policy, c.init = corev1.RestartPolicyAlways, false
			wg.Go(func() { c.run(ctx) })
			if err := c.waitStarted(ctx); err != nil {
				return err
			}
			continue
		}
		if c.policy == corev1.RestartPolicyAlways {
			c.policy = corev1.RestartPolicyOnFailure
		}
		c.run(ctx)
		if w.isTerminating() {
			return errTerminating
		}
		w.mu.Lock()
		t := c.s.state.Terminated
		w.mu.Unlock()
		if t == nil || t.ExitCode != 0 {
			return fmt.Errorf("init container %s failed", c.spec.Name)
		}
	}
	w.mu.Lock()
	w.initialized = true
	w.mu.Unlock()
	w.touch()
	for i := range w.containers {
		c := &container{w: w, s: &w.containers[i], spec: &pod.Spec.Containers[i], policy: pod.Spec.RestartPolicy}
		wg.Go(func() { c.run(ctx) })
	}
	return nil
}

func (w *worker) kill(name string, signal syscall.Signal) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	hit := false
	for _, list := range [][]containerState{w.inits, w.containers} {
		for i := range list {
			c := &list[i]
			if c.pid == 0 || c.state.Running == nil || (name != "" && c.spec.Name != name) {
				continue
			}
			if err := syscall.Kill(-c.pid, signal); err != nil {
				return fmt.Errorf("signalling container %s: %w", c.spec.Name, err)
			}
			hit = true
		}
	}
	if !hit {
		return fmt.Errorf("pod %s has no running container %q", w.pod().Name, name)
	}
	return nil
}
