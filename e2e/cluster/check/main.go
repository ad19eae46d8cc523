// Command check looks whether this machine can build and run the local cluster, before anything is built. It prints one
// line for each thing that is missing, with what to do about it, and fails if there is one. SISKIN_CACHE, GOCACHE and
// GOMODCACHE name the directories that must be writable.
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/siskin-dev/siskin/e2e/cluster/internal/sandbox"
)

// inside is the argument of the process that tries what the cluster's first process does.
const inside = "inside"

func main() {
	if len(os.Args) == 3 && os.Args[1] == inside {
		if err := tryInside(os.Args[2]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	problems := check(context.Background(), places())
	for _, p := range problems {
		fmt.Fprintln(os.Stderr, "check: "+p)
	}
	if len(problems) > 0 {
		os.Exit(1)
	}
}

// servers are what `make demo` builds.
func servers() []string {
	return []string{"etcd", "kube-apiserver", "kube-controller-manager", "kubectl", "podinfo", "podcli", "prometheus", "traefik"}
}

// place is a directory that is written to.
type place struct {
	name, dir string
	// need is what a build puts there, in MiB.
	need uint64
	// exec says that programs are started from there.
	exec bool
}

// places are the directories of the build and of the cluster, with what they need when the servers are not built yet.
func places() []place {
	cache := filepath.Join(os.Getenv("SISKIN_CACHE"), "bin")
	out := []place{
		{"the checkout's bin", "bin", 300, true},
		{"SISKIN_CACHE", cache, 500, true},
		{"GOCACHE", os.Getenv("GOCACHE"), 2500, false},
		{"GOMODCACHE", os.Getenv("GOMODCACHE"), 3000, false},
		{"the temporary directory of go", os.TempDir(), 500, true},
		{"the directory of clusters", sandbox.TempDir(), 200, true},
	}
	built := true
	for _, s := range servers() {
		_, err := os.Stat(filepath.Join(cache, s))
		built = built && err == nil
	}
	if built {
		for i := range out {
			out[i].need = 100
		}
	}
	return out
}
