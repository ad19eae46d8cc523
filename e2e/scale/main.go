// Command scale measures how punctual Siskin is with very many rollouts at once. The API server, etcd and Siskin's own process are
// real; there are no pods: one goroutine each plays the workload controllers, the gateway's controller and Prometheus, so that the
// machine's cores are left to what is measured. docs/install.md tells what the figures mean.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/go-logr/logr"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/siskin-dev/siskin/e2e/fixtures"
)

type options struct {
	canaries, namespaces, steps int
	interval                    time.Duration
	siskin, args, profile, log  string
	lockstepOnly                bool
	maxP99                      time.Duration
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	var o options
	flag.IntVar(&o.canaries, "canaries", 2000, "number of Canaries")
	flag.IntVar(&o.namespaces, "namespaces", 20, "number of namespaces that they are spread over")
	flag.IntVar(&o.steps, "steps", 5, "number of steps of a rollout, 10 % each, up to 9")
	flag.DurationVar(&o.interval, "interval", 30*time.Second, "interval of a step")
	flag.BoolVar(&o.lockstepOnly, "lockstep-only", false, "leave out the releases that are spread over an interval")
	flag.DurationVar(&o.maxP99, "max-p99", 0, "fail if the 99th percentile of the lag is longer in a round; 0: never")
	flag.StringVar(&o.siskin, "siskin", "bin/siskin", "path of the siskin binary")
	flag.StringVar(&o.args, "args", "", "further flags of siskin controller, separated by spaces")
	flag.StringVar(&o.profile, "cpuprofile", "", "write a CPU profile of Siskin during the releases in lockstep to this file")
	flag.StringVar(&o.log, "keeplog", "", "write Siskin's log to this file")
	flag.Parse()
	ctrl.SetLogger(logr.Discard())
	err := run(ctx, o, os.Stderr, os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "scale:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options, log, out io.Writer) error {
	if o.canaries < 1 || o.namespaces < 1 || o.steps < 1 || o.steps > 9 {
		return errors.New("--canaries and --namespaces must be at least 1, --steps between 1 and 9")
	}
	root, err := fixtures.Root()
	if err != nil {
		return err
	}
	if o.siskin, err = filepath.Abs(o.siskin); err != nil {
		return fmt.Errorf("finding the siskin binary: %w", err)
	}
	w, err := start(ctx, o, root, log)
	if err != nil {
		return err
	}
	text, worst, err := w.measure(ctx)
	if err = errors.Join(err, w.stop()); err != nil {
		return err
	}
	if _, err = fmt.Fprintln(out, text); err == nil && o.maxP99 > 0 && worst > o.maxP99 {
		return fmt.Errorf("the lag's 99th percentile is %s, more than --max-p99=%s", worst, o.maxP99)
	}
	return err
}
