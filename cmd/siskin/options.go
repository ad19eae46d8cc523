package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation"
)

// options are the controller's flags.
type options struct {
	metricsAddr, probeAddr string
	pprofAddr              string
	defaultProvider        string
	metricsServer          string
	namespaces             []string
	shard                  string // a label selector
	leaderElection         bool
	leaderNamespace        string
	leaderID               string
	lease                  time.Duration
	workers, syncWorkers   int
	questions              int
	backoffBase            time.Duration
	backoffMax             time.Duration
	qps                    float32
	burst                  int
	drain                  time.Duration
	settle                 time.Duration
	noCrossNamespaceRefs   bool
	gitSync                gitSyncMode
	fileURLs               bool
	configTracking         bool
	includePrefixes        []string // of labels and annotations
	secretPoll             time.Duration
	logLevel, logFormat    string
}

// gitSyncMode tells whether this controller runs GitSync; "" is yes, unless there are shards: then it must be said.
type gitSyncMode string

func (m *gitSyncMode) String() string { return string(*m) }

// Type implements pflag.Value.
func (m *gitSyncMode) Type() string { return "bool" }

// Set implements pflag.Value.
func (m *gitSyncMode) Set(text string) error {
	if text != "true" && text != "false" {
		return fmt.Errorf("%q is neither true nor false", text)
	}
	*m = gitSyncMode(text)
	return nil
}

func (m *gitSyncMode) on() bool { return *m != "false" }

func defaults() *options {
	return &options{
		metricsAddr: ":8080", probeAddr: ":8081", defaultProvider: "gatewayapi", metricsServer: "http://prometheus:9090",
		leaderElection: true, lease: 15 * time.Second, workers: 8, syncWorkers: 2, questions: 64,
		backoffBase: 10 * time.Millisecond, backoffMax: 30 * time.Second, qps: 1000, burst: 2000, drain: 5 * time.Second, settle: 2 * time.Second,
		logLevel: "info", logFormat: "json", fileURLs: true,
		configTracking: true, includePrefixes: []string{"*"}, secretPoll: time.Minute,
	}
}

func (o *options) addFlags(f *pflag.FlagSet) {
	f.StringVar(&o.metricsAddr, "metrics-bind-address", o.metricsAddr, "address of the controller's own metrics; 0 turns them off")
	f.StringVar(&o.probeAddr, "health-probe-bind-address", o.probeAddr, "address of /healthz and /readyz")
	f.StringVar(&o.pprofAddr, "pprof-bind-address", o.pprofAddr, "address of /debug/pprof; empty: none")
	f.StringVar(&o.defaultProvider, "default-provider", o.defaultProvider, "provider of a Canary that names none")
	f.StringVar(&o.metricsServer, "metrics-server", o.metricsServer, "Prometheus that answers metrics without an address of their own")
	f.StringSliceVar(&o.namespaces, "namespace", o.namespaces, "watch only these namespaces (may be repeated, or be a list with commas); empty: all")
	f.StringVar(&o.shard, "watch-label-selector", o.shard, "look after only those Canaries whose labels match, for example shard=a; empty: all")
	f.BoolVar(&o.leaderElection, "leader-elect", o.leaderElection, "elect a leader, so that several replicas can stand by")
	f.StringVar(&o.leaderNamespace, "leader-election-namespace", o.leaderNamespace, "namespace of the leader's lease; empty: the pod's own")
	f.StringVar(&o.leaderID, "leader-election-id", o.leaderID, "name of the leader's lease; empty: siskin.dev, with --watch-label-selector one for each selector")
	f.DurationVar(&o.lease, "leader-election-lease", o.lease, "how long a leader that is not heard of keeps its lease")
	f.IntVar(&o.workers, "workers", o.workers, "Canaries that are reconciled at once")
	f.IntVar(&o.syncWorkers, "gitsync-workers", o.syncWorkers, "GitSyncs that are reconciled at once")
	f.IntVar(&o.questions, "questions", o.questions, "metric queries and webhooks that run at once")
	f.DurationVar(&o.backoffBase, "backoff-base", o.backoffBase, "how long a Canary whose pass failed is left alone; it doubles with each failure")
	f.DurationVar(&o.backoffMax, "backoff-max", o.backoffMax, "how long a Canary whose pass failed is left alone at most")
	f.Float32Var(&o.qps, "kube-api-qps", o.qps, "requests per second to the API server; -1: as many as it takes")
	f.IntVar(&o.burst, "kube-api-burst", o.burst, "requests to the API server that may come at once")
	f.DurationVar(&o.drain, "drain", o.drain, "how long pods that lost their traffic keep running")
	f.DurationVar(&o.settle, "settle", o.settle, "how long a target and what its pods read must not have changed before a revision is asked about or gets traffic")
	f.BoolVar(&o.noCrossNamespaceRefs, "no-cross-namespace-refs", o.noCrossNamespaceRefs, "refuse MetricTemplates and AlertProviders of other namespaces")
	f.Var(&o.gitSync, "gitsync", "run GitSync (default true; must be given with --watch-label-selector: one shard runs it)")
	f.Lookup("gitsync").NoOptDefVal = "true"
	f.BoolVar(&o.fileURLs, "gitsync-file-urls", o.fileURLs, "let GitSyncs read repositories on the controller's own disk (file://)")
	f.BoolVar(&o.configTracking, "config-tracking", o.configTracking, "release changes of the ConfigMaps and Secrets that pods read like changes of code")
	f.StringSliceVar(&o.includePrefixes, "include-label-prefix", o.includePrefixes,
		"prefixes of the labels and annotations of a target that its clones get (may be repeated, or be a list with commas); *: all that are not about the target alone")
	f.DurationVar(&o.secretPoll, "secret-poll", o.secretPoll, "how often each Secret that pods under release read is looked at; 0: only when their workload changes")
	f.StringVar(&o.logLevel, "log-level", o.logLevel, "debug, info, warn or error")
	f.StringVar(&o.logFormat, "log-format", o.logFormat, "json or text")
}

func (o *options) validate() error {
	if u, err := url.Parse(o.metricsServer); err != nil || u.Host == "" {
		return fmt.Errorf("--metrics-server: %q is no URL, for example http://prometheus:9090", o.metricsServer)
	}
	if o.drain < 0 || o.drain > 10*time.Minute {
		return errors.New("--drain must be between 0 and 10m")
	}
	if o.settle < 0 || o.settle > time.Minute {
		return errors.New("--settle must be between 0 and 1m")
	}
	if o.secretPoll != 0 && o.secretPoll < time.Second {
		return errors.New("--secret-poll must be 0, or at least 1s")
	}
	if o.logFormat != "json" && o.logFormat != "text" {
		return fmt.Errorf("--log-format: %q is neither json nor text", o.logFormat)
	}
	_, err := o.level()
	return errors.Join(o.validateScope(), o.validateScheduling(), o.validateLease(), err)
}

// validateScope checks what is looked after.
func (o *options) validateScope() error {
	for _, ns := range o.namespaces {
		if problems := validation.IsDNS1123Label(ns); len(problems) > 0 {
			return fmt.Errorf("--namespace: %q is no name of a namespace: %s", ns, strings.Join(problems, "; "))
		}
	}
	slices.Sort(o.namespaces)
	o.namespaces = slices.Compact(o.namespaces)
	selector, err := o.selector()
	if err != nil {
		return err
	}
	if selector != nil && o.gitSync == "" {
		return errors.New("--watch-label-selector: say also --gitsync or --gitsync=false: GitSyncs are not sharded, and exactly one controller may run them")
	}
	return nil
}

// selector of the Canaries of this shard; nil: all.
func (o *options) selector() (labels.Selector, error) { //nolint:ireturn // apimachinery has no other type
	if strings.TrimSpace(o.shard) == "" {
		return nil, nil //nolint:nilnil // no selector is an answer
	}
	s, err := labels.Parse(o.shard)
	if err != nil {
		return nil, fmt.Errorf("--watch-label-selector: %q is no label selector, for example shard=a or shard!=a: %w", o.shard, err)
	}
	return s, nil
}

func (o *options) validateScheduling() error {
	switch {
	case o.workers < 1 || o.syncWorkers < 1 || o.questions < 1:
		return errors.New("--workers, --gitsync-workers and --questions must be at least 1")
	case o.backoffBase < time.Millisecond || o.backoffMax < o.backoffBase || o.backoffMax > 10*time.Minute:
		return errors.New("--backoff-base must be at least 1ms, and --backoff-max between it and 10m")
	case o.qps == 0 || o.qps > 0 && (o.qps < 1 || o.burst < 1):
		return errors.New("--kube-api-qps and --kube-api-burst must be at least 1; --kube-api-qps=-1 is without limit")
	}
	return nil
}

func (o *options) validateLease() error {
	if o.lease < 3*time.Second || o.lease > 10*time.Minute {
		return errors.New("--leader-election-lease must be between 3s and 10m")
	}
	if o.leaderID != "" {
		if problems := validation.IsDNS1123Subdomain(o.leaderID); len(problems) > 0 {
			return fmt.Errorf("--leader-election-id: %q is no name of a Lease: %s", o.leaderID, strings.Join(problems, "; "))
		}
	}
	return nil
}

func (o *options) level() (slog.Level, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(o.logLevel)); err != nil {
		return l, fmt.Errorf("--log-level: %q is none of debug, info, warn, error", o.logLevel)
	}
	return l, nil
}
