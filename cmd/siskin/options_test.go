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
		"defaults":         {"the controller runs without a flag", nil, ""},
		"no scheme":        {"a host alone is no URL", []string{"--metrics-server=prometheus:9090"}, "--metrics-server"},
		"no server":        {"metrics need one", []string{"--metrics-server="}, "--metrics-server"},
		"no URL":           {"it must be one", []string{"--metrics-server=http://[::1"}, "--metrics-server"},
		"a path":           {"Prometheus may live below one", []string{"--metrics-server=https://host/prometheus"}, ""},
		"no workers":       {"nothing would ever be done", []string{"--workers=0"}, "--workers"},
		"no sync workers":  {"nothing would ever be synced", []string{"--gitsync-workers=0"}, "--gitsync-workers"},
		"no questions":     {"no check would ever be answered", []string{"--questions=-1"}, "--questions"},
		"drain before now": {"time does not run back", []string{"--drain=-1s"}, "--drain"},
		"drain for ever":   {"a rollout must end", []string{"--drain=11m"}, "--drain"},
		"no drain":         {"some apps need none", []string{"--drain=0"}, ""},
		"longest drain":    {"the limit is included", []string{"--drain=10m"}, ""},
		"no poll":          {"Secrets may be looked at only with their workload", []string{"--secret-poll=0"}, ""},
		"hasty poll":       {"each Secret costs a request", []string{"--secret-poll=10ms"}, "--secret-poll"},
		"unknown format":   {"it is never guessed", []string{"--log-format=xml"}, "--log-format"},
		"unknown level":    {"it is never guessed", []string{"--log-level=loud"}, "--log-level"},
		"another level":    {"it is known", []string{"--log-level=debug", "--log-format=text"}, ""},
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
	if err := f.Parse(nil); err != nil || before != *o {
		t.Errorf("no flag changes a default: %v\n%s", err, cmp.Diff(before, *o, cmp.AllowUnexported(options{})))
	}
	args := []string{
		"--metrics-bind-address=:1", "--health-probe-bind-address=:2", "--pprof-bind-address=:3", "--default-provider=kubernetes",
		"--metrics-server=http://m", "--namespace=shop", "--leader-elect=false", "--leader-election-namespace=sys", "--workers=9",
		"--gitsync-workers=8", "--questions=7", "--kube-api-qps=6", "--kube-api-burst=5", "--drain=4s", "--no-cross-namespace-refs",
		"--gitsync-file-urls=false", "--log-level=warn", "--log-format=text", "--config-tracking=false",
		"--secret-poll=3s",
	}
	if err := f.Parse(args); err != nil {
		t.Fatal(err)
	}
	want := options{
		metricsAddr: ":1", probeAddr: ":2", pprofAddr: ":3", defaultProvider: "kubernetes", metricsServer: "http://m", namespace: "shop",
		leaderNamespace: "sys", workers: 9, syncWorkers: 8, questions: 7, qps: 6, burst: 5, drain: 4 * time.Second,
		secretPoll: 3 * time.Second, noCrossNamespaceRefs: true, logLevel: "warn", logFormat: "text",
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
	if diff := cmp.Diff([]string{"gatewayapi", "gatewayapi:v1", "kubernetes"}, all.Names()); diff != "" {
		t.Errorf("the documented names: -want +got\n%s", diff)
	}
	for name, reg := range all {
		if reg.New == nil {
			t.Errorf("%s cannot be made", name)
		}
	}
	if !slices.Contains(all.Names(), defaults().defaultProvider) {
		t.Errorf("the default provider %s is unknown", defaults().defaultProvider)
	}
	if _, err := all.New("istio", nil, nil); err == nil {
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
