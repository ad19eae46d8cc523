package cluster

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// module is the root of this module, whose tools/ has the servers.
func module(ctx context.Context) (string, error) {
	out, err := output(ctx, "", "go", "list", "-m", "-f", "{{.Dir}}", "github.com/siskin-dev/siskin")
	return strings.TrimSpace(out), err
}

// GatewayCRDs returns the files of the Gateway API's CRDs (standard channel), for Options.CRDs of a cluster without Traefik.
func GatewayCRDs(ctx context.Context) ([]string, error) { return gatewayCRDs(ctx) }

func gatewayCRDs(ctx context.Context) ([]string, error) {
	root, err := module(ctx)
	if err != nil {
		return nil, err
	}
	dir, err := output(ctx, root, "go", "list", "-m", "-f", "{{.Dir}}", "sigs.k8s.io/gateway-api")
	if err != nil {
		return nil, err
	}
	files, err := filepath.Glob(filepath.Join(strings.TrimSpace(dir), "config/crd/standard/gateway.networking.k8s.io_*s.yaml"))
	if err != nil {
		return nil, fmt.Errorf("listing the Gateway API's CRDs: %w", err)
	}
	var crds []string
	for _, f := range files {
		if !strings.Contains(filepath.Base(f), "_vap_") {
			crds = append(crds, f)
		}
	}
	if len(crds) == 0 {
		return nil, fmt.Errorf("no CRDs of the Gateway API in %s", dir)
	}
	return crds, nil
}

// binaries makes sure that the servers and the supervisor are built, and returns the path of the latter.
// SISKIN_LOCALCLUSTER names one that is built already; then nothing is built, and no Go is needed as long as
// the servers are there.
func (c *Cluster) binaries(ctx context.Context) (string, error) {
	cache := os.Getenv("SISKIN_CACHE")
	if cache == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", fmt.Errorf("finding the cache: %w", err)
		}
		cache = filepath.Join(home, ".cache", "siskin")
	}
	c.bin = filepath.Join(cache, "bin")
	servers := []string{"etcd", "kube-apiserver", "kube-controller-manager", "kubectl", "podinfo"}
	if c.o.Traefik {
		servers = append(servers, "traefik")
	}
	if c.o.Prometheus {
		servers = append(servers, "prometheus")
	}
	if self := os.Getenv("SISKIN_LOCALCLUSTER"); self != "" && exist(c.bin, servers) {
		return filepath.Abs(self)
	}
	root, err := module(ctx)
	if err != nil {
		return "", err
	}
	build := exec.CommandContext(ctx, filepath.Join(root, "hack", "build-servers.sh"), servers...)
	build.Env = append(os.Environ(), "SISKIN_CACHE="+cache)
	var errs bytes.Buffer
	build.Stdout, build.Stderr = c.o.Log, &errs
	if err := build.Run(); err != nil {
		return "", fmt.Errorf("building the servers: %w: %s", err, errs.String())
	}
	return buildSelf(ctx, root, c.bin)
}

func exist(dir string, names []string) bool {
	for _, n := range names {
		if _, err := os.Stat(filepath.Join(dir, n)); err != nil {
			return false
		}
	}
	return true
}

// buildSelf builds the supervisor; Go does nothing when it is up to date.
func buildSelf(ctx context.Context, root, bin string) (string, error) {
	lock, err := os.OpenFile(filepath.Join(bin, "localcluster.lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return "", fmt.Errorf("locking the build: %w", err)
	}
	defer func() { _ = lock.Close() }()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return "", fmt.Errorf("locking the build: %w", err)
	}
	path := filepath.Join(bin, "localcluster")
	_, err = output(ctx, root, "go", "build", "-o", path, "./e2e/cluster/localcluster")
	return path, err
}

func output(ctx context.Context, dir, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	var errs bytes.Buffer
	cmd.Stderr = &errs
	// With the settings of the tests themselves, so that both share Go's build cache.
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("running %s %s: %w: %s", name, args[0], err, errs.String())
	}
	return string(out), nil
}
