// Command childmain is the child alone, for tests under the race detector: its own memory is beyond any limit of a build.
package main

import (
	"fmt"
	"os"

	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/siskin-dev/siskin/pkg/gitsync/build/child"
)

func main() {
	if err := child.Serve(ctrl.SetupSignalHandler(), os.Args[2:], os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
