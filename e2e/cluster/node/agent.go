// Package node is a kubelet without containers: it binds every pending pod to the one node of the cluster and
// runs the pod's containers as processes, each pod with a network namespace and an address of its own.
//
// What it keeps of a real kubelet: init containers, environment and volumes, probes, restarts with back-off,
// conditions and phases, hooks and grace periods, events, logs. What it leaves out: images (a table maps their
// names to programs), resources, security contexts and persistent volumes.
package node

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"
	"k8s.io/client-go/util/workqueue"

	"github.com/siskin-dev/siskin/e2e/cluster/internal/sandbox"
	"github.com/siskin-dev/siskin/e2e/cluster/internal/wire"
)

// syncWorkers is how many pods are bound, or updated without a process, at the same time.
const syncWorkers = 8

// Options configure an Agent.
type Options struct {
	Client kubernetes.Interface
	// Network is where pods get their address.
	Network *sandbox.Network
	// Self is the binary with the subcommand nsexec.
	Self string
	// LogDir holds a log file for each container.
	LogDir string
	// DataDir holds volumes; it should be a tmpfs.
	DataDir string
	// Path is the PATH of containers.
	Path string
	// Programs maps image names without tag to programs.
	Programs map[string]wire.Program
	// Env is in the environment of every container.
	Env []string
	Log io.Writer
}

// Agent runs pods.
type Agent struct {
	Options

	pods   cache.Store
	queue  workqueue.TypedRateLimitingInterface[string]
	events record.EventRecorder

	mu      sync.Mutex
	workers map[types.UID]*worker
	ips     map[types.UID]string
	nextIP  netip.Addr
	serial  int
	wg      sync.WaitGroup
}

// New returns an agent that Run starts.
func New(o Options) *Agent {
	return &Agent{
		Options: o,
		queue:   workqueue.NewTypedRateLimitingQueue(workqueue.NewTypedItemExponentialFailureRateLimiter[string](20*time.Millisecond, 2*time.Second)),
		workers: map[types.UID]*worker{},
		ips:     map[types.UID]string{},
		nextIP:  netip.MustParseAddr("10.244.1.0"),
	}
}

// Run runs pods until the context ends. The processes then die with the PID namespace.
func (a *Agent) Run(ctx context.Context) error {
	if err := a.registerNode(ctx); err != nil {
		return err
	}
	broadcaster := record.NewBroadcaster(record.WithContext(ctx))
	broadcaster.StartRecordingToSink(&typedcorev1.EventSinkImpl{Interface: a.Client.CoreV1().Events("")})
	defer broadcaster.Shutdown()
	a.events = broadcaster.NewRecorder(scheme.Scheme, corev1.EventSource{Component: "kubelet", Host: wire.NodeName})

	factory := informers.NewSharedInformerFactory(a.Client, 0)
	informer := factory.Core().V1().Pods().Informer()
	a.pods = informer.GetStore()
	enqueue := func(obj any) {
		if key, err := cache.DeletionHandlingMetaNamespaceKeyFunc(obj); err == nil {
			a.queue.Add(key)
		}
	}
	_, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    enqueue,
		UpdateFunc: func(_, obj any) { enqueue(obj) },
		DeleteFunc: func(obj any) { a.gone(obj) },
	})
	if err != nil {
		return fmt.Errorf("watching pods: %w", err)
	}
	factory.Start(ctx.Done())
	defer factory.Shutdown()
	for range syncWorkers {
		a.wg.Go(func() {
			for a.next(ctx) {
			}
		})
	}
	a.wg.Go(func() { a.refreshVolumes(ctx) })
	<-ctx.Done()
	a.queue.ShutDown()
	a.wg.Wait()
	return nil
}

func (a *Agent) logf(format string, args ...any) {
	_, _ = fmt.Fprintf(a.Log, time.Now().Format("15:04:05.000 ")+format+"\n", args...)
}

func (a *Agent) next(ctx context.Context) bool {
	key, quit := a.queue.Get()
	if quit {
		return false
	}
	defer a.queue.Done(key)
	if err := a.sync(ctx, key); err != nil && ctx.Err() == nil {
		a.logf("pod %s: %v", key, err)
		a.queue.AddRateLimited(key)
		return true
	}
	a.queue.Forget(key)
	return true
}

// sync brings one pod one step further: bind it, then hand it to its worker (or, when it has no process, write
// its status).
func (a *Agent) sync(ctx context.Context, key string) error {
	obj, found, err := a.pods.GetByKey(key)
	if err != nil || !found {
		return err
	}
	pod, ok := obj.(*corev1.Pod)
	if !ok {
		return fmt.Errorf("not a pod: %T", obj)
	}
	if pod.Spec.NodeName == "" {
		return a.bind(ctx, pod)
	}
	if a.fake(pod) {
		return a.syncFake(ctx, pod)
	}
	a.mu.Lock()
	w := a.workers[pod.UID]
	if w == nil {
		// A finished pod of an earlier life of the agent, or one whose worker has ended, gets no new worker.
		if pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed {
			a.mu.Unlock()
			if pod.DeletionTimestamp != nil {
				return a.deletePod(ctx, pod)
			}
			return nil
		}
		w = newWorker(a, pod)
		a.workers[pod.UID] = w
		a.wg.Go(func() { w.run(ctx) })
	}
	a.mu.Unlock()
	w.update(pod)
	return nil
}

func (a *Agent) bind(ctx context.Context, pod *corev1.Pod) error {
	if len(pod.Spec.SchedulingGates) > 0 {
		return nil
	}
	if pod.DeletionTimestamp != nil {
		return a.deletePod(ctx, pod)
	}
	err := a.Client.CoreV1().Pods(pod.Namespace).Bind(ctx, &corev1.Binding{
		ObjectMeta: metav1.ObjectMeta{Name: pod.Name, Namespace: pod.Namespace, UID: pod.UID},
		Target:     corev1.ObjectReference{Kind: "Node", Name: wire.NodeName},
	}, metav1.CreateOptions{})
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return fmt.Errorf("binding: %w", err)
	}
	return nil
}

func (a *Agent) deletePod(ctx context.Context, pod *corev1.Pod) error {
	err := a.Client.CoreV1().Pods(pod.Namespace).Delete(ctx, pod.Name, metav1.DeleteOptions{
		GracePeriodSeconds: new(int64),
		Preconditions:      metav1.NewUIDPreconditions(string(pod.UID)),
	})
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return fmt.Errorf("deleting: %w", err)
	}
	return nil
}

// gone ends the worker of a pod that was deleted without waiting for it.
func (a *Agent) gone(obj any) {
	if t, ok := obj.(cache.DeletedFinalStateUnknown); ok {
		obj = t.Obj
	}
	pod, ok := obj.(*corev1.Pod)
	if !ok {
		return
	}
	a.mu.Lock()
	delete(a.ips, pod.UID)
	w := a.workers[pod.UID]
	a.mu.Unlock()
	if w != nil {
		w.vanish()
	}
}

func (a *Agent) forget(uid types.UID) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.workers, uid)
}

// allocateIP gives the pod an address. Addresses are not used again before all others were: connections and
// neighbour tables may remember them.
func (a *Agent) allocateIP(uid types.UID) string {
	a.mu.Lock()
	defer a.mu.Unlock()
	if ip, ok := a.ips[uid]; ok {
		return ip
	}
	used := make(map[string]bool, len(a.ips))
	for _, ip := range a.ips {
		used[ip] = true
	}
	pods := netip.MustParsePrefix(wire.PodCIDR)
	for {
		a.nextIP = a.nextIP.Next()
		if !pods.Contains(a.nextIP) || a.nextIP == netip.MustParseAddr("10.244.255.255") {
			a.nextIP = netip.MustParseAddr("10.244.1.1")
		}
		if ip := a.nextIP.String(); !used[ip] {
			a.ips[uid] = ip
			return ip
		}
	}
}

func (a *Agent) nextSerial() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.serial++
	return a.serial
}

// program finds the program of an image: first by the whole name, then by the name without registry digest and
// tag.
func (a *Agent) program(image string) (wire.Program, bool) {
	name, _, _ := strings.Cut(image, "@")
	if i := strings.LastIndex(name, ":"); i > strings.LastIndex(name, "/") {
		name = name[:i]
	}
	for _, n := range []string{image, name} {
		if p, ok := a.Programs[n]; ok {
			return p, true
		}
	}
	return wire.Program{}, false
}

// Kill sends a signal to the processes of a pod, as if they had crashed. An empty container means all.
func (a *Agent) Kill(namespace, name, container string, signal syscall.Signal) error {
	w := a.find(namespace, name)
	if w == nil {
		return fmt.Errorf("pod %s/%s has no process", namespace, name)
	}
	return w.kill(container, signal)
}

func (a *Agent) find(namespace, name string) *worker {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, w := range a.workers {
		if p := w.pod(); p.Namespace == namespace && p.Name == name {
			return w
		}
	}
	return nil
}

// LogFile is the log of a container, of all its lives.
func (a *Agent) LogFile(namespace, pod, container string) string {
	return filepath.Join(a.LogDir, namespace+"_"+pod+"_"+container+".log")
}

func (a *Agent) openLog(namespace, pod, container string) (*os.File, error) {
	f, err := os.OpenFile(a.LogFile(namespace, pod, container), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, fmt.Errorf("opening the log: %w", err)
	}
	return f, nil
}
