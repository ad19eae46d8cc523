// Command demo shows Siskin at work: it starts the local cluster, installs Siskin, commits podinfo and its Canary to a
// git repository, and releases a good and a bad version of it to a steady load, while the terminal tells what happens.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"
)

const (
	exitFailed      = 1
	exitUsage       = 2
	exitInterrupted = 130
)

// errNotAsTold is the error of a demo whose verdict table, which was printed, has a FAIL.
var errNotAsTold = errors.New("the demo did not go as told: see the lines marked FAIL")

func main() { os.Exit(start()) }

func start() int {
	o, err := parse(os.Args[1:], os.Getenv, os.Stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return exitUsage
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends the program at once; the cluster ends with it

	err = newDemo(o, os.Stdout, os.Stdin).run(ctx)
	switch {
	case err == nil, ctx.Err() != nil && !o.once:
		return 0
	case ctx.Err() != nil && !errors.Is(err, errNotAsTold):
		_, _ = fmt.Fprintln(os.Stderr, "demo: interrupted")
		return exitInterrupted
	}
	_, _ = fmt.Fprintln(os.Stderr, "demo:", err)
	return exitFailed
}

// options are the flags.
type options struct {
	once, keep bool
	rate       int
	interval   time.Duration
}

func parse(args []string, getenv func(string) string, out io.Writer) (options, error) {
	var o options
	f := flag.NewFlagSet("demo", flag.ContinueOnError)
	f.SetOutput(out)
	once := getenv("ONCE")
	f.BoolVar(&o.once, "once", once != "" && once != "0" && once != "false", "end by itself with a verdict; also ONCE=1 in the environment")
	f.BoolVar(&o.keep, "keep", false, "with --once: stay up after the verdict, until Ctrl-C")
	f.IntVar(&o.rate, "rate", 0, "requests per second of the users (default 50, with --once 200)")
	f.DurationVar(&o.interval, "interval", defaultInterval, "length of a step of the release")
	if err := f.Parse(args); err != nil {
		return o, fmt.Errorf("reading the flags: %w", err)
	}
	if o.rate == 0 {
		o.rate = 50
		if o.once {
			o.rate = 200
		}
	}
	var err error
	switch {
	case f.NArg() > 0:
		err = fmt.Errorf("unexpected argument %q", f.Arg(0))
	case o.rate < 1 || o.rate > 2000:
		err = errors.New("--rate must be between 1 and 2000")
	case o.interval < 5*time.Second || o.interval > 10*time.Minute:
		err = errors.New("--interval must be between 5s and 10m")
	}
	if err != nil {
		_, _ = fmt.Fprintln(out, "demo:", err)
	}
	return o, err
}
