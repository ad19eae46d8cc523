// Command bench measures what Siskin costs: API calls, CPU, memory and time for many Canaries at once, on a real API server. Pods
// are marked ready without processes, metrics are programmed, and a stand-in gateway controller accepts routes at once.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/go-logr/logr"
	ctrl "sigs.k8s.io/controller-runtime"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/e2e/cluster"
	"github.com/siskin-dev/siskin/e2e/fixtures"
	"github.com/siskin-dev/siskin/e2e/fleet"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	var o options
	flag.IntVar(&o.canaries, "canaries", 200, "number of Canaries")
	flag.IntVar(&o.namespaces, "namespaces", 10, "number of namespaces that they are spread over")
	flag.DurationVar(&o.interval, "interval", 10*time.Second, "interval of a step")
	flag.DurationVar(&o.idle, "idle", time.Minute, "how long idle Canaries are watched")
	flag.StringVar(&o.siskin, "siskin", "bin/siskin", "path of the siskin binary")
	flag.StringVar(&o.keepLog, "keeplog", "", "write Siskin's log to this file")
	flag.StringVar(&o.profile, "cpuprofile", "", "write a CPU profile of Siskin during the releases to this file")
	flag.Parse()
	ctrl.SetLogger(logr.Discard())
	err := run(ctx, o, os.Stderr, os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

type options struct {
	canaries, namespaces int
	interval, idle       time.Duration
	siskin               string
	profile, keepLog     string
}

// figures are what is measured.
type figures struct {
	idleCalls, calls, writes, cpu float64 // idleCalls per Canary and minute, the others per rollout; cpu in ms
	rss                           float64 // MiB
	took                          []time.Duration
}

func (f figures) line(n int) string {
	slices.Sort(f.took)
	return fmt.Sprintf("bench: canaries=%d idle_calls_per_canary_min=%.3f calls_per_rollout=%.1f writes_per_rollout=%.1f "+
		"cpu_ms_per_rollout=%.1f rss_mib=%.0f rollout_p50_s=%.1f rollout_max_s=%.1f",
		n, f.idleCalls, f.calls, f.writes, f.cpu, f.rss, f.took[len(f.took)/2].Seconds(), f.took[len(f.took)-1].Seconds())
}

func run(ctx context.Context, o options, log, out io.Writer) error {
	root, err := fixtures.Root()
	if err != nil {
		return err
	}
	if o.siskin, err = filepath.Abs(o.siskin); err != nil {
		return fmt.Errorf("finding the siskin binary: %w", err)
	}
	prom, err := fleet.ServePrometheus(ctx)
	if err != nil {
		return err
	}
	crds, err := cluster.GatewayCRDs(ctx)
	if err != nil {
		return fmt.Errorf("finding the Gateway API's CRDs: %w", err)
	}
	c, err := cluster.New(ctx, cluster.Options{Siskin: o.siskin, Log: log, OutsidePorts: []int{prom}, CRDs: crds})
	if err != nil {
		return fmt.Errorf("starting the cluster: %w", err)
	}
	f, err := measure(ctx, c, o, root, log, prom)
	if err = errors.Join(err, c.Stop()); err != nil {
		return err
	}
	_, err = fmt.Fprintln(out, f.line(o.canaries))
	return err
}

// measure installs Siskin into the cluster and measures it.
func measure(ctx context.Context, c *cluster.Cluster, o options, root string, log io.Writer, prom int) (figures, error) {
	e, err := fixtures.Install(ctx, c, root)
	if err != nil {
		return figures{}, err
	}
	if o.profile != "" {
		if out, err := e.Kubectl(ctx, "-n", fixtures.SiskinNamespace, "patch", "deployment", "siskin", "--type=json", "-p",
			`[{"op":"add","path":"/spec/template/spec/containers/0/args/-","value":"--pprof-bind-address=:6060"}]`); err != nil {
			return figures{}, fmt.Errorf("turning profiling on: %w: %s", err, out)
		}
		if _, err := e.Kubectl(ctx, "-n", fixtures.SiskinNamespace, "rollout", "status", "deployment/siskin", "--timeout=60s"); err != nil {
			return figures{}, fmt.Errorf("waiting for Siskin: %w", err)
		}
	}
	b := newBench(o, e, log, "http://"+net.JoinHostPort(cluster.OutsideIP, strconv.Itoa(prom)))
	f, err := b.run(ctx)
	if o.keepLog != "" {
		err = errors.Join(err, os.WriteFile(o.keepLog, []byte(e.SiskinLog(1_000_000)), 0o600))
	}
	if err != nil {
		return f, fmt.Errorf("%w\n%s", err, e.SiskinLog(20))
	}
	return f, nil
}

func (b *bench) run(ctx context.Context) (figures, error) {
	var f figures
	ctx, cancel := context.WithCancel(ctx)
	gateway := make(chan struct{})
	go func() {
		defer close(gateway)
		fleet.AcceptRoutes(ctx, b.e.API, b.say)
	}()
	defer func() {
		cancel()
		<-gateway
	}()
	idle, err := b.atRest(ctx, &f)
	if err != nil {
		return f, err
	}
	err = b.rollouts(ctx, &f, idle)
	return f, err
}

// atRest creates the Canaries and measures what they cost when nothing happens.
func (b *bench) atRest(ctx context.Context, f *figures) (fleet.Reading, error) {
	var none fleet.Reading
	b.say("creating %d Canaries in %d namespaces", b.o.canaries, b.o.namespaces)
	if err := b.fleet.Create(ctx); err != nil {
		return none, err
	}
	if _, err := b.fleet.UntilAll(ctx, siskinv1.PhaseInitialized, 0, 5*time.Minute); err != nil {
		return none, err
	}
	b.say("all are initialized; watching them idle for %s", b.o.idle)
	if err := fleet.Pause(ctx, 15*time.Second); err != nil { // targets drain and are scaled to zero
		return none, err
	}
	before, err := b.scrape(ctx)
	if err != nil {
		return none, err
	}
	if err := fleet.Pause(ctx, b.o.idle); err != nil {
		return none, err
	}
	idle, err := b.scrape(ctx)
	if err != nil {
		return none, err
	}
	b.say("idle, Siskin uses %.1f ms of CPU per second", (idle.CPU-before.CPU)*1000/b.o.idle.Seconds())
	f.idleCalls = (idle.Calls - before.Calls) / float64(b.o.canaries) / b.o.idle.Minutes()
	return idle, nil
}

// rollouts releases a new version of each Canary and measures what that costs.
func (b *bench) rollouts(ctx context.Context, f *figures, idle fleet.Reading) error {
	n := float64(b.o.canaries)
	writes, err := b.serverWrites(ctx)
	if err != nil {
		return err
	}
	b.say("releasing a new version of each")
	if b.o.profile != "" {
		go b.profile(ctx)
	}
	began, err := b.fleet.Release(ctx, 2, 0)
	if err != nil {
		return err
	}
	ended, err := b.fleet.UntilAll(ctx, siskinv1.PhaseSucceeded, 1, 10*time.Minute)
	if err != nil {
		return err
	}
	if err := fleet.Pause(ctx, 10*time.Second); err != nil { // canaries drain and are scaled to zero
		return err
	}
	after, err := b.scrape(ctx)
	if err != nil {
		return err
	}
	f.calls, f.writes = (after.Calls-idle.Calls)/n, (after.Calls-idle.Calls)/n
	f.cpu = math.Max(after.CPU-idle.CPU, 0) * 1000 / n
	f.rss = after.RSS / (1 << 20)
	for key, at := range ended {
		f.took = append(f.took, at.Sub(began[key]))
	}
	b.say("calls per rollout by verb: %s; reconciles per rollout: %.1f", after.Since(idle, n), (after.Reconciles-idle.Reconciles)/n)
	if events, err := b.e.Events(ctx, "bench-0", "app-0"); err == nil {
		b.say("events of one Canary:\n  %s", strings.Join(events, "\n  "))
	}
	now, err := b.serverWrites(ctx)
	if err != nil {
		return err
	}
	b.say("writes of all clients per rollout: %s", fleet.Reading{ByVerb: now}.Since(fleet.Reading{ByVerb: writes}, n))
	return nil
}
