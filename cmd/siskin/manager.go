package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/selection"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/canary"
)

func manager(o *options) (ctrl.Manager, error) {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, siskinv1.AddToScheme, routers().AddToScheme} {
		if err := add(scheme); err != nil {
			return nil, fmt.Errorf("building the scheme: %w", err)
		}
	}
	cfg, err := ctrl.GetConfig()
	if err != nil {
		return nil, fmt.Errorf("finding the API server: %w", err)
	}
	cfg.QPS, cfg.Burst, cfg.UserAgent = o.qps, o.burst, "siskin/"+version
	cached, err := cacheOptions(o)
	if err != nil {
		return nil, err
	}
	renew, retry := o.renewal()
	opts := ctrl.Options{
		Scheme: scheme, Metrics: metricsserver.Options{BindAddress: o.metricsAddr}, HealthProbeBindAddress: o.probeAddr,
		PprofBindAddress: o.pprofAddr,
		LeaderElection:   o.leaderElection, LeaderElectionID: o.leaseName(), LeaderElectionNamespace: o.leaderNamespace,
		LeaseDuration: &o.lease, RenewDeadline: &renew, RetryPeriod: &retry,
		LeaderElectionReleaseOnCancel: true,
		// A replica that stands by watches as the leader does: it decides as soon as it leads.
		Controller: config.Controller{EnableWarmup: new(true)},
		// What was written is seen by the next read: no decision is made on a cache that is behind one's own writes.
		Client: client.Options{Cache: &client.CacheOptions{EnableReadYourWritesConsistency: new(true)}},
		Cache:  cached,
	}
	if opts.LeaderElectionResourceLockInterface, err = podLock(cfg, o); err != nil {
		return nil, err
	}
	mgr, err := ctrl.NewManager(cfg, opts)
	if err != nil {
		return nil, fmt.Errorf("building the manager: %w", err)
	}
	return mgr, nil
}

// cacheOptions keep out of memory what no decision reads.
func cacheOptions(o *options) (cache.Options, error) {
	mine, err := labels.NewRequirement(siskinv1.CanaryLabel, selection.Exists, nil)
	if err != nil {
		return cache.Options{}, fmt.Errorf("selecting snapshots: %w", err)
	}
	selector, err := o.selector()
	if err != nil {
		return cache.Options{}, err
	}
	out := cache.Options{
		DefaultTransform: canary.Slim,
		ByObject: map[client.Object]cache.ByObject{
			// Of ControllerRevisions, which StatefulSets and DaemonSets have too, only the snapshots.
			&appsv1.ControllerRevision{}: {Label: labels.NewSelector().Add(*mine)},
			&corev1.ConfigMap{}:          {Transform: canary.SlimConfig},
			&discoveryv1.EndpointSlice{}: {Transform: canary.SlimEndpoints},
			&siskinv1.Canary{}:           {Transform: canary.SlimCanary(selector)},
		},
	}
	if len(o.namespaces) > 0 {
		out.DefaultNamespaces = map[string]cache.Config{}
		for _, ns := range o.namespaces {
			out.DefaultNamespaces[ns] = cache.Config{}
		}
	}
	return out, nil
}

// leaseName is the name of the leader's lease. Shards run side by side, so that each selector has a lease of its own.
func (o *options) leaseName() string {
	const name = "siskin.dev"
	selector, err := o.selector()
	switch {
	case o.leaderID != "":
		return o.leaderID
	case err != nil || selector == nil:
		return name
	}
	sum := sha256.Sum256([]byte(selector.String())) // sorted: the order in the flag does not matter
	return name + "-" + hex.EncodeToString(sum[:4])
}

// renewal returns how long a leader tries to renew its lease before it gives up, and how often; both in the proportions that
// client-go has with a lease of 15 s.
func (o *options) renewal() (deadline, retry time.Duration) { return o.lease * 2 / 3, o.lease * 2 / 15 }

// podLock is a leader's lease whose holder is the pod. A container that is restarted in its pod is the same holder and goes on at
// once: with an identity of its own it would wait for the lease of its dead predecessor to run out, and rollbacks with it.
// Outside of a pod it is nil, which means controller-runtime's lock.
func podLock(cfg *rest.Config, o *options) (resourcelock.Interface, error) { //nolint:ireturn // client-go has no other type
	pod, namespace := os.Getenv("POD_NAME"), os.Getenv("POD_NAMESPACE")
	if o.leaderNamespace != "" {
		namespace = o.leaderNamespace
	}
	if !o.leaderElection || pod == "" || namespace == "" {
		return nil, nil //nolint:nilnil // no lock of our own
	}
	renew, _ := o.renewal()
	// This makes a client of its own: renewals never wait behind other requests in a rate limiter.
	lock, err := resourcelock.NewFromKubeconfig(resourcelock.LeasesResourceLock, namespace, o.leaseName(),
		resourcelock.ResourceLockConfig{Identity: pod}, cfg, renew)
	if err != nil {
		return nil, fmt.Errorf("making the leader's lock: %w", err)
	}
	return lock, nil
}
