package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/siskin-dev/siskin/pkg/gitsync/build/child"
)

// buildCommand serves one build of a GitSync. The controller starts it; it is of no use to people.
func buildCommand() *cobra.Command {
	return &cobra.Command{
		Use: child.Verb, Hidden: true, DisableFlagParsing: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := child.Serve(cmd.Context(), args, cmd.InOrStdin(), cmd.OutOrStdout()); err != nil {
				return fmt.Errorf("building: %w", err)
			}
			return nil
		},
	}
}
