// Command localcluster is the inside of a cluster without containers. It is started by package cluster, never
// by hand:
//
//	localcluster supervise CONFIG   PID 1 of a cluster
//	localcluster nsexec             enters the namespaces of a container and becomes its program
//	localcluster testapp            the application of tests
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/siskin-dev/siskin/e2e/cluster/internal/sandbox"
	"github.com/siskin-dev/siskin/e2e/cluster/internal/supervisor"
	"github.com/siskin-dev/siskin/e2e/cluster/internal/testapp"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "localcluster:", err)
		os.Exit(128)
	}
}

func run(args []string) error {
	ctx := context.Background()
	switch {
	case len(args) == 1 && args[0] == "nsexec":
		return sandbox.NSExec()
	case len(args) >= 1 && args[0] == "testapp":
		return testapp.Run(ctx, args[1:])
	case len(args) == 2 && args[0] == "supervise":
		// Ctrl-C is the parent's business: it ends the cluster by ending itself.
		// Caught, not ignored: children would inherit that.
		signal.Notify(make(chan os.Signal, 1), syscall.SIGINT, syscall.SIGHUP)
		return supervisor.Run(ctx, args[1])
	}
	return fmt.Errorf("unknown command %q", args)
}
