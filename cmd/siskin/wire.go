package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/discovery"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	ctrlmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/canary"
	"github.com/siskin-dev/siskin/pkg/canary/act"
	"github.com/siskin-dev/siskin/pkg/canary/observe"
	"github.com/siskin-dev/siskin/pkg/hook"
	"github.com/siskin-dev/siskin/pkg/metrics"
	"github.com/siskin-dev/siskin/pkg/metrics/prometheus"
	"github.com/siskin-dev/siskin/pkg/notifier"
	"github.com/siskin-dev/siskin/pkg/notifier/slack"
	"github.com/siskin-dev/siskin/pkg/router"
	"github.com/siskin-dev/siskin/pkg/router/gatewayapi"
	"github.com/siskin-dev/siskin/pkg/router/istio"
	"github.com/siskin-dev/siskin/pkg/router/kubernetes"
	"github.com/siskin-dev/siskin/pkg/router/service"
)

// routers are the providers, one line for each.
func routers() router.Registry {
	return router.Registry{
		kubernetes.Registration(),
		gatewayapi.Registration(),
		istio.Registration(),
	}
}

// metricProviders are the metric providers by type.
func metricProviders() metrics.Registry {
	return metrics.Registry{"prometheus": prometheus.Constructor}
}

// notifiers are the notifiers by type.
func notifiers() notifier.Registry { return notifier.Registry{"slack": slack.Constructor} }

// run builds the manager, wires everything and runs until ctx ends.
func run(ctx context.Context, o *options) error {
	setLogger(o)
	tuneMemory(os.Getenv)
	mgr, err := manager(o)
	if err != nil {
		return err
	}
	if err := wireCanary(ctx, mgr, o); err != nil {
		return err
	}
	if o.gitSync.on() {
		if err := wireGitSync(mgr, o); err != nil {
			return err
		}
	}
	if err := errors.Join(mgr.AddHealthzCheck("healthz", healthz.Ping), mgr.AddReadyzCheck("readyz", healthz.Ping)); err != nil {
		return fmt.Errorf("adding the checks: %w", err)
	}
	if err := mgr.Start(ctx); err != nil {
		return fmt.Errorf("running: %w", err)
	}
	return nil
}

func setLogger(o *options) {
	level, _ := o.level() // validated
	opts := &slog.HandlerOptions{Level: level}
	var h slog.Handler = slog.NewJSONHandler(os.Stderr, opts)
	if o.logFormat == "text" {
		h = slog.NewTextHandler(os.Stderr, opts)
	}
	ctrl.SetLogger(logr.FromSlogHandler(lateHandler{inner: h}))
}

// servedVersion is the version of the API server.
func servedVersion(mgr ctrl.Manager) (string, error) {
	server, err := discovery.NewDiscoveryClientForConfigAndClient(mgr.GetConfig(), mgr.GetHTTPClient())
	if err != nil {
		return "", fmt.Errorf("making a discovery client: %w", err)
	}
	served, err := server.ServerVersion()
	if err != nil {
		return "", fmt.Errorf("asking for the API server's version: %w", err)
	}
	return served.GitVersion, nil
}

func wireCanary(ctx context.Context, mgr ctrl.Manager, o *options) error {
	clk, c, reg := clock.RealClock{}, canary.Anchored(newScoped(mgr.GetClient(), o.namespaces)), ctrlmetrics.Registry
	selector, err := o.selector()
	if err != nil {
		return err
	}
	recorder := mgr.GetEventRecorder("siskin")
	wakes := make(chan event.GenericEvent, 1024)
	wake := func(who types.NamespacedName) {
		obj := &siskinv1.Canary{}
		obj.Namespace, obj.Name = who.Namespace, who.Name
		wakes <- event.GenericEvent{Object: obj}
	}
	pool := canary.NewPool(o.questions, wake)
	dispatcher := notifier.NewDispatcher(notifier.DispatcherConfig{
		Providers: c, Secrets: mgr.GetAPIReader(), Registry: notifiers(), Registerer: reg,
		OnError: alertFailed(ctx, mgr), NoCrossNamespaceRefs: o.noCrossNamespaceRefs,
	})
	asker := &canary.Asker{
		Pool: pool, Hooks: hook.NewClient(hook.Options{Version: version, Registerer: reg}), Secrets: mgr.GetAPIReader(),
		Metrics: metrics.NewEvaluator(metrics.EvaluatorConfig{
			Templates: c, Secrets: mgr.GetAPIReader(), MetricsServer: o.metricsServer, NoCrossNamespaceRefs: o.noCrossNamespaceRefs,
			Providers: metrics.NewFactory(metricProviders(), metrics.NewInstruments(reg, clk)),
		}),
	}
	registry := routers()
	made, err := registry.Make(c, mgr.GetAPIReader(), mgr.GetRESTMapper())
	if err != nil {
		return fmt.Errorf("making the routers: %w", err)
	}
	reads := canary.NewReads(o.questions, clk, wake)
	introduce(made, reads)
	served, err := servedVersion(mgr)
	if err != nil {
		return err
	}
	kinds, err := servedScalers(mgr)
	if err != nil {
		return err
	}
	scalers, err := scalerClient(mgr)
	if err != nil {
		return err
	}
	memo := act.NewServiceMemo()
	live, err := client.New(mgr.GetConfig(), client.Options{Scheme: mgr.GetScheme(), Mapper: mgr.GetRESTMapper(), HTTPClient: mgr.GetHTTPClient()})
	if err != nil {
		return fmt.Errorf("making a client without a cache: %w", err)
	}
	var config *observe.ConfigTracker
	if o.configTracking {
		config = &observe.ConfigTracker{Cache: c, Live: live, Poll: o.secretPoll, Clock: clk, Reads: reads}
	}
	r := &canary.Reconciler{
		Client: c, Clock: clk, Recorder: recorder, Asker: asker, Drain: o.drain, Settle: o.settle, Gauges: canary.NewGauges(reg),
		Selector: selector, NoCrossNamespaceRefs: o.noCrossNamespaceRefs, Claims: registry.Claims,
		Observer: &observe.Observer{
			Client: c, Routers: made.Routers, Default: o.defaultProvider,
			Unavailable: made.Missing, ServicesKnown: memo.Known, EndpointIndex: canary.IndexEndpoints, SnapshotIndex: canary.IndexSnapshots,
			Normalize: canary.Normalizer(c), ServerVersion: served, Config: config, Clock: clk,
			Guard:   guard(),
			Ailing:  &observe.Ailing{Live: live, Clock: clk, Run: asker.Looks(wake)},
			Scalers: observe.ScalerSource{Reader: scalers, Kinds: kinds, MarkIndex: canary.IndexScales}, Include: o.includePrefixes,
		},
		Actor: &act.Actor{
			Client: c, Services: service.New(c, live), Memo: memo, ServerVersion: served, Live: live, Expire: config.Expire,
			Scalers: scalers, Clock: clk, Routers: made.All,
		},
		Teller: &canary.Teller{
			Recorder: recorder, Events: live, Instance: instance(), Dispatcher: dispatcher, Asker: asker, Clock: clk, Wake: wake,
		},
	}
	if err := errors.Join(mgr.Add(pool), mgr.Add(reads), mgr.Add(dispatcher)); err != nil {
		return fmt.Errorf("adding the pools and the dispatcher: %w", err)
	}
	return r.SetupWithManager(ctx, mgr, canary.Options{
		Workers: o.workers, BackoffBase: o.backoffBase, BackoffMax: o.backoffMax, Owns: made.Owns, Watches: made.Watches, Matters: registry.Matters, Scalers: kinds, Wakes: wakes,
	})
}

// introduce gives the routers that read what may be slow a place to read it beside the passes, and says which ones there are not.
func introduce(made router.Made, reads *canary.Reads) {
	for _, route := range made.All {
		if slow, ok := route.(router.Slow); ok {
			slow.ReadBeside(reads)
		}
	}
	for _, name := range made.Missing {
		ctrl.Log.Info("provider is not available: its CRDs are not installed; install them and restart", "provider", name)
	}
}

// guard ends the process, as client-go's detector of changed cache objects does and where that is turned on, when a pass
// changes what all passes share.
func guard() observe.Guard {
	if os.Getenv("KUBE_CACHE_MUTATION_DETECTOR") != "true" {
		return nil
	}
	return func(what string) { panic("a pass has changed " + what + ", which all passes share") }
}

// instance is this process as events name it.
func instance() string {
	host, err := os.Hostname()
	if err != nil || host == "" {
		return siskinv1.FieldManager
	}
	return siskinv1.FieldManager + "-" + host
}

// alertFailed tells on the Canary that an alert could not be sent.
func alertFailed(ctx context.Context, mgr ctrl.Manager) func(types.NamespacedName, string, error) {
	recorder := mgr.GetEventRecorder("siskin")
	return func(who types.NamespacedName, alert string, err error) {
		var c siskinv1.Canary
		if mgr.GetClient().Get(ctx, who, &c) == nil {
			recorder.Eventf(&c, nil, "Warning", "AlertFailed", "Notify", "alert %s could not be sent: %v; check its AlertProvider and Secret", alert, err)
		}
	}
}
