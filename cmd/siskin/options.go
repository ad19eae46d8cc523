package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"time"

	"github.com/spf13/pflag"
)

// options are the controller's flags.
type options struct {
	metricsAddr, probeAddr string
	pprofAddr              string
	defaultProvider        string
	metricsServer          string
	namespace              string
	leaderElection         bool
	leaderNamespace        string
	workers, syncWorkers   int
	questions              int
	qps                    float32
	burst                  int
	drain                  time.Duration
	noCrossNamespaceRefs   bool
	fileURLs               bool
	configTracking         bool
	secretPoll             time.Duration
	logLevel, logFormat    string
}

func defaults() *options {
	return &options{
		metricsAddr: ":8080", probeAddr: ":8081", defaultProvider: "gatewayapi", metricsServer: "http://prometheus:9090",
		leaderElection: true, workers: 4, syncWorkers: 2, questions: 64, qps: 1000, burst: 2000, drain: 5 * time.Second,
		logLevel: "info", logFormat: "json", fileURLs: true,
		configTracking: true, secretPoll: time.Minute,
	}
}

func (o *options) addFlags(f *pflag.FlagSet) {
	f.StringVar(&o.metricsAddr, "metrics-bind-address", o.metricsAddr, "address of the controller's own metrics; 0 turns them off")
	f.StringVar(&o.probeAddr, "health-probe-bind-address", o.probeAddr, "address of /healthz and /readyz")
	f.StringVar(&o.pprofAddr, "pprof-bind-address", o.pprofAddr, "address of /debug/pprof; empty: none")
	f.StringVar(&o.defaultProvider, "default-provider", o.defaultProvider, "provider of a Canary that names none")
	f.StringVar(&o.metricsServer, "metrics-server", o.metricsServer, "Prometheus that answers metrics without an address of their own")
	f.StringVar(&o.namespace, "namespace", o.namespace, "watch only this namespace; empty: all")
	f.BoolVar(&o.leaderElection, "leader-elect", o.leaderElection, "elect a leader, so that several replicas can stand by")
	f.StringVar(&o.leaderNamespace, "leader-election-namespace", o.leaderNamespace, "namespace of the leader's lease; empty: the pod's own")
	f.IntVar(&o.workers, "workers", o.workers, "Canaries that are reconciled at once")
	f.IntVar(&o.syncWorkers, "gitsync-workers", o.syncWorkers, "GitSyncs that are reconciled at once")
	f.IntVar(&o.questions, "questions", o.questions, "metric queries and webhooks that run at once")
	f.Float32Var(&o.qps, "kube-api-qps", o.qps, "requests per second to the API server")
	f.IntVar(&o.burst, "kube-api-burst", o.burst, "requests to the API server that may come at once")
	f.DurationVar(&o.drain, "drain", o.drain, "how long pods that lost their traffic keep running")
	f.BoolVar(&o.noCrossNamespaceRefs, "no-cross-namespace-refs", o.noCrossNamespaceRefs, "refuse MetricTemplates and AlertProviders of other namespaces")
	f.BoolVar(&o.fileURLs, "gitsync-file-urls", o.fileURLs, "let GitSyncs read repositories on the controller's own disk (file://)")
	f.BoolVar(&o.configTracking, "config-tracking", o.configTracking, "release changes of the ConfigMaps and Secrets that pods read like changes of code")
	f.DurationVar(&o.secretPoll, "secret-poll", o.secretPoll, "how often each Secret that pods under release read is looked at; 0: only when their workload changes")
	f.StringVar(&o.logLevel, "log-level", o.logLevel, "debug, info, warn or error")
	f.StringVar(&o.logFormat, "log-format", o.logFormat, "json or text")
}

func (o *options) validate() error {
	if u, err := url.Parse(o.metricsServer); err != nil || u.Host == "" {
		return fmt.Errorf("--metrics-server: %q is no URL, for example http://prometheus:9090", o.metricsServer)
	}
	if o.workers < 1 || o.syncWorkers < 1 || o.questions < 1 {
		return errors.New("--workers, --gitsync-workers and --questions must be at least 1")
	}
	if o.drain < 0 || o.drain > 10*time.Minute {
		return errors.New("--drain must be between 0 and 10m")
	}
	if o.secretPoll != 0 && o.secretPoll < time.Second {
		return errors.New("--secret-poll must be 0, or at least 1s")
	}
	if o.logFormat != "json" && o.logFormat != "text" {
		return fmt.Errorf("--log-format: %q is neither json nor text", o.logFormat)
	}
	_, err := o.level()
	return err
}

func (o *options) level() (slog.Level, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(o.logLevel)); err != nil {
		return l, fmt.Errorf("--log-level: %q is none of debug, info, warn, error", o.logLevel)
	}
	return l, nil
}
