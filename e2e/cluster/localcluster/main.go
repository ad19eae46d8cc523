// Command localcluster is the inside of a cluster without containers. It is started by package cluster, never
// by hand:
//
//	localcluster supervise CONFIG   PID 1 of a cluster
//	localcluster nsexec             enters the namespaces of a container and becomes its program
//	localcluster testapp            the application of tests
//	localcluster gateway KUBECONFIG LISTEN CONTROL
//	                                the data plane of tests that goes wrong as told
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"k8s.io/client-go/tools/clientcmd"

	"github.com/siskin-dev/siskin/e2e/cluster/internal/sandbox"
	"github.com/siskin-dev/siskin/e2e/cluster/internal/supervisor"
	"github.com/siskin-dev/siskin/e2e/cluster/internal/testapp"
	"github.com/siskin-dev/siskin/e2e/gateway"
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
	case len(args) == 4 && args[0] == "gateway":
		return runGateway(ctx, args[1], args[2], args[3])
	case len(args) == 2 && args[0] == "supervise":
		// Ctrl-C is the parent's business: it ends the cluster by ending itself.
		// Caught, not ignored: children would inherit that.
		signal.Notify(make(chan os.Signal, 1), syscall.SIGINT, syscall.SIGHUP)
		return supervisor.Run(ctx, args[1])
	}
	return fmt.Errorf("unknown command %q", args)
}

func runGateway(ctx context.Context, kubeconfig, listen, control string) error {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return fmt.Errorf("reading the kubeconfig: %w", err)
	}
	config.QPS = -1
	g, err := gateway.New(gateway.Options{Config: config, Listen: listen, Control: control, Log: os.Stderr})
	if err != nil {
		return fmt.Errorf("making the gateway: %w", err)
	}
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM)
	defer stop()
	if err := g.Run(ctx); err != nil {
		return fmt.Errorf("running the gateway: %w", err)
	}
	return nil
}
