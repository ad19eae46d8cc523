// Command siskin is the controller.
package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"
	ctrl "sigs.k8s.io/controller-runtime"
)

// version is set by the linker.
var version = "dev"

func main() {
	if err := command().ExecuteContext(ctrl.SetupSignalHandler()); err != nil {
		fmt.Fprintln(os.Stderr, "siskin:", err)
		os.Exit(1)
	}
}

func command() *cobra.Command {
	root := &cobra.Command{
		Use: "siskin", Short: "Progressive delivery for Kubernetes", Version: version,
		SilenceUsage: true, SilenceErrors: true,
	}
	root.AddCommand(controllerCommand(), buildCommand(), routerCommand())
	return root
}

func controllerCommand() *cobra.Command {
	o := defaults()
	cmd := &cobra.Command{
		Use: "controller", Short: "Run the controller", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.validate(); err != nil {
				return err
			}
			return run(cmd.Context(), o)
		},
	}
	o.addFlags(cmd.Flags())
	return cmd
}
