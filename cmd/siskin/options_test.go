package main

import (
	"bytes"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"
)

func TestOptionsAreValidated(t *testing.T) {
	for name, tc := range map[string]struct {
		reason string
		args   []string
		want   string // part of the error
	}{
		"defaults":          {"the controller runs without a flag", nil, ""},
		"no scheme":         {"a host alone is no URL", []string{"--metrics-server=prometheus:9090"}, "--metrics-server"},
		"no server":         {"metrics need one", []string{"--metrics-server="}, "--metrics-server"},
		"no URL":            {"it must be one", []string{"--metrics-server=http://[::1"}, "--metrics-server"},
		"a path":            {"Prometheus may live below one", []string{"--metrics-server=https://host/prometheus"}, ""},
		"no workers":        {"nothing would ever be done", []string{"--workers=0"}, "--workers"},
		"no sync workers":   {"nothing would ever be synced", []string{"--gitsync-workers=0"}, "--gitsync-workers"},
		"no questions":      {"no check would ever be answered", []string{"--questions=-1"}, "--questions"},
		"drain before now":  {"time does not run back", []string{"--drain=-1s"}, "--drain"},
		"drain for ever":    {"a rollout must end", []string{"--drain=11m"}, "--drain"},
		"no drain":          {"some apps need none", []string{"--drain=0"}, ""},
		"settle before now": {"time does not run back", []string{"--settle=-1s"}, "--settle"},
		"settle for ever":   {"a rollout must begin", []string{"--settle=61s"}, "--settle"},
		"no settle":         {"some apply all at once", []string{"--settle=0"}, ""},
		"longest drain":     {"the limit is included", []string{"--drain=10m"}, ""},
		"no poll":           {"Secrets may be looked at only with their workload", []string{"--secret-poll=0"}, ""},
		"hasty poll":        {"each Secret costs a request", []string{"--secret-poll=10ms"}, "--secret-poll"},
		"unknown format":    {"it is never guessed", []string{"--log-format=xml"}, "--log-format"},
		"unknown level":     {"it is never guessed", []string{"--log-level=loud"}, "--log-level"},
		"another level":     {"it is known", []string{"--log-level=debug", "--log-format=text"}, ""},
		"namespaces":        {"one install, several teams", []string{"--namespace=shop,pay", "--namespace=web"}, ""},
		"a wrong name":      {"it would watch nothing", []string{"--namespace=shop,Pay"}, "--namespace"},
		"an empty name":     {"it would watch everything", []string{"--namespace=shop,"}, "--namespace"},
		"a shard":           {"one of several, without GitSync", []string{"--watch-label-selector=shard=a", "--gitsync=false"}, ""},
		"the git shard":     {"one of several, with GitSync", []string{"--watch-label-selector=shard!=a", "--gitsync"}, ""},
		"a silent shard":    {"two of them would sync the same GitSyncs", []string{"--watch-label-selector=shard=a"}, "--gitsync"},
		"no selector":       {"it would match nothing", []string{"--watch-label-selector=a b", "--gitsync"}, "--watch-label-selector"},
		"no backoff":        {"a failing Canary would keep a worker busy", []string{"--backoff-base=0s"}, "--backoff-base"},
		"shrinking":         {"it grows", []string{"--backoff-base=1m", "--backoff-max=1s"}, "--backoff-max"},
		"for ever":          {"clocks run on meanwhile", []string{"--backoff-max=1h"}, "--backoff-max"},
		"no requests":       {"nothing could be written", []string{"--kube-api-qps=0"}, "--kube-api-qps"},
		"no burst":          {"nothing could be written", []string{"--kube-api-burst=0"}, "--kube-api-burst"},
		"no limit":          {"the API server has its own", []string{"--kube-api-qps=-1", "--kube-api-burst=0"}, ""},
		"short lease":       {"a hiccup would cost the lead", []string{"--leader-election-lease=1s"}, "--leader-election-lease"},
		"lease name":        {"the API server would refuse it", []string{"--leader-election-id=My_Lease"}, "--leader-election-id"},
	} {
		t.Run(name, func(t *testing.T) {
			o := defaults()
			f := pflag.NewFlagSet("siskin", pflag.ContinueOnError)
			o.addFlags(f)
			if err := f.Parse(tc.args); err != nil {
				t.Fatal(err)
			}
			err := o.validate()
			if tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
				t.Errorf("%s: %v", tc.reason, err)
			}
		})
	}
}

func TestFlagsReachTheOptions(t *testing.T) {
	o := defaults()
	f := pflag.NewFlagSet("siskin", pflag.ContinueOnError)
	o.addFlags(f)
	before := *o
	if err := f.Parse(nil); err != nil || !cmp.Equal(before, *o, cmp.AllowUnexported(options{})) {
		t.Errorf("no flag changes a default: %v\n%s", err, cmp.Diff(before, *o, cmp.AllowUnexported(options{})))
	}
	args := []string{
		"--metrics-bind-address=:1", "--health-probe-bind-address=:2", "--pprof-bind-address=:3", "--default-provider=kubernetes",
		"--metrics-server=http://m", "--namespace=shop,pay", "--watch-label-selector=shard=a", "--leader-elect=false", "--leader-election-id=me",
		"--leader-election-lease=30s", "--backoff-base=20ms", "--backoff-max=20s", "--gitsync=false", "--leader-election-namespace=sys", "--workers=9",
		"--gitsync-workers=8", "--questions=7", "--kube-api-qps=6", "--kube-api-burst=5", "--drain=4s", "--settle=3s", "--no-cross-namespace-refs",
		"--gitsync-file-urls=false", "--log-level=warn", "--log-format=text", "--config-tracking=false", "--include-label-prefix=app,team/",
		"--secret-poll=3s",
	}
	if err := f.Parse(args); err != nil {
		t.Fatal(err)
	}
	want := options{
		metricsAddr: ":1", probeAddr: ":2", pprofAddr: ":3", defaultProvider: "kubernetes", metricsServer: "http://m", namespaces: []string{"shop", "pay"}, shard: "shard=a",
		leaderID: "me", lease: 30 * time.Second, backoffBase: 20 * time.Millisecond, backoffMax: 20 * time.Second, gitSync: "false",
		leaderNamespace: "sys", workers: 9, syncWorkers: 8, questions: 7, qps: 6, burst: 5, drain: 4 * time.Second, settle: 3 * time.Second,
		includePrefixes: []string{"app", "team/"}, secretPoll: 3 * time.Second, noCrossNamespaceRefs: true, logLevel: "warn", logFormat: "text",
	}
	if diff := cmp.Diff(want, *o, cmp.AllowUnexported(options{})); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	if level, err := o.level(); err != nil || level != slog.LevelWarn {
		t.Errorf("level %v, %v", level, err)
	}
	n := 0
	f.VisitAll(func(flag *pflag.Flag) {
		n++
		if flag.Usage == "" {
			t.Errorf("--%s tells nothing", flag.Name)
		}
	})
	if n != len(args) {
		t.Errorf("%d flags, %d are tested", n, len(args))
	}
}

func TestEachShardHasALeaseOfItsOwn(t *testing.T) {
	name := func(selector, id string) string {
		o := defaults()
		o.shard, o.leaderID = selector, id
		return o.leaseName()
	}
	if got := name("", ""); got != "siskin.dev" {
		t.Errorf("without shards it is %s", got)
	}
	a, b := name("shard=a", ""), name("shard!=a", "")
	if a == b || a == "siskin.dev" || b == "siskin.dev" {
		t.Errorf("shards share a lease: %s, %s: one of them would never work", a, b)
	}
	if one, other := name("shard=a,tier=b", ""), name("tier=b, shard=a", ""); one != other {
		t.Errorf("the same selector in another order has another lease: %s, %s", one, other)
	}
	if got := name("shard=a", "mine"); got != "mine" {
		t.Errorf("the name that was asked for is %s", got)
	}
}

func TestNamespacesAreASet(t *testing.T) {
	o := defaults()
	o.namespaces = []string{"shop", "pay", "shop"}
	if err := o.validate(); err != nil || !slices.Equal(o.namespaces, []string{"pay", "shop"}) {
		t.Errorf("%v, %v", o.namespaces, err)
	}
	cached, err := cacheOptions(o)
	if err != nil || len(cached.DefaultNamespaces) != 2 {
		t.Errorf("caches of %v, %v", cached.DefaultNamespaces, err)
	}
	if all, err := cacheOptions(defaults()); err != nil || all.DefaultNamespaces != nil {
		t.Errorf("caches of %v, %v: no list means all", all.DefaultNamespaces, err)
	}
}

func TestTheCommandTellsAboutItself(t *testing.T) {
	for name, tc := range map[string]struct {
		args []string
		want string
	}{
		"help":            {[]string{"--help"}, "Progressive delivery"},
		"nothing":         {nil, "controller"},
		"version":         {[]string{"--version"}, "siskin version dev"},
		"controller help": {[]string{"controller", "--help"}, "--leader-elect"},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			cmd := command()
			cmd.SetArgs(append([]string{}, tc.args...))
			cmd.SetOut(&out)
			if err := cmd.ExecuteContext(t.Context()); err != nil || !strings.Contains(out.String(), tc.want) {
				t.Errorf("%v: %s", err, out.String())
			}
		})
	}
}

func TestTheCommandRefusesWhatIsWrong(t *testing.T) {
	for name, args := range map[string][]string{
		"unknown verb":    {"fly"},
		"unknown flag":    {"controller", "--wings"},
		"an argument":     {"controller", "now"},
		"a wrong option":  {"controller", "--workers=0"},
		"no number at it": {"controller", "--workers=many"},
		"half a GitSync":  {"controller", "--gitsync=maybe"},
	} {
		t.Run(name, func(t *testing.T) {
			cmd := command()
			cmd.SetArgs(args)
			cmd.SetOut(&bytes.Buffer{})
			cmd.SetErr(&bytes.Buffer{})
			if err := cmd.ExecuteContext(t.Context()); err == nil {
				t.Error("no error")
			}
		})
	}
}

func TestProviders(t *testing.T) {
	all := routers()
	if diff := cmp.Diff([]string{"gatewayapi", "gatewayapi:v1", "gatewayapi:v1beta1", "istio", "kubernetes"}, all.Names()); diff != "" {
		t.Errorf("the documented names: -want +got\n%s", diff)
	}
	for _, reg := range all {
		if reg.New == nil {
			t.Errorf("%v cannot be made", reg.Names)
		}
	}
	if unique := slices.Compact(all.Names()); len(unique) != len(all.Names()) {
		t.Errorf("two routers have one name: %v", all.Names())
	}
	if !slices.Contains(all.Names(), defaults().defaultProvider) {
		t.Errorf("the default provider %s is unknown", defaults().defaultProvider)
	}
	if _, err := all.New("istoi", nil, nil); err == nil {
		t.Error("an unknown provider is an error, never a silent default")
	}
}

func TestLoggersAreMade(*testing.T) {
	for _, format := range []string{"json", "text"} {
		o := defaults()
		o.logFormat, o.logLevel = format, "error"
		setLogger(o)
	}
}
